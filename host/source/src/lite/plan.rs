//! Checks a restore plan and derives from it what else has to be written: databases, their properties and aliases.
//!
//! A plan comes out of a backup, so every name and path in it is checked as if a stranger had written it.

use std::collections::{BTreeMap, BTreeSet};

use longshore_model::{CollectionName, Digest, FileClass};
use serde_json::{Value, json};

use super::layout;
use crate::{DatabaseEntry, Limits, SourceError, TargetCollection, TargetPlan};

/// Space that a file takes is a multiple of this, in bytes.
const BLOCK_BYTES: u64 = 4_096;

/// Refuses plans that cannot be carried out, or that would write outside of their collections.
pub(crate) fn check(plan: &TargetPlan, limits: &Limits) -> Result<(), SourceError> {
    let bad = |reason: String| Err(SourceError::BadPlan { reason });
    let mut targets = BTreeSet::new();
    let mut files = 0_u64;
    for database in &plan.databases {
        CollectionName::new(&database.name, "c")?;
    }
    for collection in &plan.collections {
        let name = &collection.mapping.to;
        CollectionName::new(&name.database, &name.collection)?;
        if !targets.insert(name) {
            return bad(format!("two collections would be restored as {name}; give one of them another name"));
        }
        let mut paths = BTreeSet::new();
        for file in &collection.files {
            files += 1;
            if !layout::is_collection_file(&file.path, file.class) {
                let shown: String = file.path.chars().take(200).flat_map(char::escape_debug).collect();
                return bad(format!(
                    "collection {name} has a file `{shown}` of class {}, which Milvus Lite has no place for",
                    file.class
                ));
            }
            if !paths.insert(file.path.as_str()) {
                return bad(format!("collection {name} has the file `{}` twice", file.path));
            }
        }
        if !paths.contains(layout::SCHEMA) {
            return bad(format!("collection {name} has no {}", layout::SCHEMA));
        }
    }
    if files > limits.plan_files {
        let (what, limit) = ("the number of files", limits.plan_files);
        return Err(SourceError::LimitExceeded { path: "the restore".to_owned(), what, used: files, limit });
    }
    Ok(())
}

/// A name for everything a plan says: runs of the same plan write the same files.
pub(crate) fn digest(plan: &TargetPlan) -> Digest {
    let mut hasher = blake3::Hasher::new();
    // Each value is one line of JSON, so no two plans give the same bytes.
    let mut add = |value: Value| {
        hasher.update(value.to_string().as_bytes()).update(b"\n");
    };
    add(json!([plan.whole_cluster, plan.databases]));
    for TargetCollection { mapping, schema, files, description } in &plan.collections {
        add(json!([mapping, schema, description, files.len()]));
        files.iter().for_each(|file| add(json!([file.path, file.class, file.size_bytes])));
    }
    Digest::new(*hasher.finalize().as_bytes())
}

/// Bytes that the plan takes on disk, with some to spare.
pub(crate) fn needed_bytes(plan: &TargetPlan, limits: &Limits) -> u64 {
    let files = plan.collections.iter().flat_map(|collection| &collection.files);
    files.fold(limits.spare_bytes, |sum, file| {
        let blocks = file.size_bytes.div_ceil(BLOCK_BYTES).saturating_add(1);
        sum.saturating_add(blocks.saturating_mul(BLOCK_BYTES))
    })
}

/// Folders that must be there before files are written, relative to the data directory, parents first.
pub(crate) fn folders(plan: &TargetPlan) -> BTreeSet<String> {
    let mut folders: BTreeSet<String> = [layout::COLLECTIONS.to_owned(), layout::DATABASES.to_owned()].into();
    for database in databases(plan).keys() {
        folders.insert(format!("{}{}", layout::database_folder(database), layout::COLLECTIONS));
    }
    for collection in &plan.collections {
        let folder = layout::collection_folder(&collection.mapping.to);
        for file in &collection.files {
            let path = format!("{folder}/{}", file.path);
            folders.extend(path.rsplit_once('/').map(|(parent, _)| parent.to_owned()));
        }
    }
    folders
}

/// The databases that collections go to, with the properties a new one gets. For a whole cluster all of the backup's.
pub(crate) fn databases(plan: &TargetPlan) -> BTreeMap<&str, Value> {
    let entry = |name: &str| plan.databases.iter().find(|database| database.name == name);
    let properties = |name: &str| entry(name).map(|database| database.properties.clone());
    let mut wanted = BTreeMap::new();
    for DatabaseEntry { name, properties, .. } in &plan.databases {
        if plan.whole_cluster {
            wanted.insert(name.as_str(), properties.clone());
        }
    }
    for collection in &plan.collections {
        let (from, to) = (&collection.mapping.from, &collection.mapping.to);
        let found = properties(&to.database).or_else(|| properties(&from.database));
        wanted
            .entry(to.database.as_str())
            .or_insert_with(|| found.unwrap_or_else(|| Value::Object(Default::default())));
    }
    wanted
}

/// The aliases to add, by database of the target.
///
/// An alias follows its collection, when the whole cluster is restored even under a new name. None is taken from an
/// existing alias or collection of the target (`taken`), or from a collection of this plan.
pub(crate) fn aliases(
    plan: &TargetPlan,
    taken: &dyn Fn(&str, &str) -> bool,
) -> BTreeMap<String, BTreeMap<String, String>> {
    let restored: BTreeSet<&CollectionName> =
        plan.collections.iter().map(|collection| &collection.mapping.to).collect();
    let mut added: BTreeMap<String, BTreeMap<String, String>> = BTreeMap::new();
    for collection in &plan.collections {
        let (from, to) = (&collection.mapping.from, &collection.mapping.to);
        if !plan.whole_cluster && from != to {
            continue;
        }
        let database = plan.databases.iter().find(|database| database.name == from.database);
        for (alias, target) in database.into_iter().flat_map(|database| &database.aliases) {
            let Ok(as_name) = CollectionName::new(&to.database, alias) else { continue };
            if *target == from.collection && !restored.contains(&as_name) && !taken(&to.database, alias) {
                let aliases = added.entry(to.database.clone()).or_default();
                aliases.entry(alias.clone()).or_insert_with(|| to.collection.clone());
            }
        }
    }
    added
}

/// Whether a plan's file is the collection's schema.
pub(crate) fn is_schema(path: &str, class: FileClass) -> bool {
    class == FileClass::Metadata && path == layout::SCHEMA
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use longshore_model::CollectionMapping;
    use serde_json::json;

    use super::*;
    use crate::{TargetCollection, TargetFile};

    fn plan(mappings: &[(&str, &str)], whole_cluster: bool) -> TargetPlan {
        let file = TargetFile { path: layout::SCHEMA.to_owned(), class: FileClass::Metadata, size_bytes: 1 };
        let collections = mappings.iter().map(|(from, to)| TargetCollection {
            mapping: CollectionMapping {
                from: from.parse().unwrap(),
                to: to.parse().unwrap(),
                load_state: Default::default(),
            },
            schema: json!({}),
            files: vec![file.clone()],
            description: json!({}),
        });
        let aliases = [("x".to_owned(), "a".to_owned()), ("y".to_owned(), "b".to_owned())].into();
        let databases = vec![
            DatabaseEntry { name: "default".to_owned(), properties: json!({"p": 1}), aliases },
            DatabaseEntry { name: "empty".to_owned(), properties: json!({}), aliases: BTreeMap::new() },
        ];
        TargetPlan { databases, whole_cluster, collections: collections.collect() }
    }

    #[test]
    fn aliases_follow_their_collections_only_where_they_cannot_surprise() {
        let free = |_: &str, _: &str| false;
        assert!(aliases(&plan(&[("a", "c")], false), &free).is_empty(), "renamed");
        assert!(aliases(&plan(&[("a", "other.a")], false), &free).is_empty(), "another database");
        assert!(aliases(&plan(&[("a", "a")], false), &|_, alias| alias == "x").is_empty(), "taken");
        assert!(aliases(&plan(&[("a", "a"), ("b", "x")], false), &free).is_empty(), "a restored collection's name");
        let expected: BTreeMap<_, _> = [("default".to_owned(), [("x".to_owned(), "a".to_owned())].into())].into();
        assert_eq!(aliases(&plan(&[("a", "a")], false), &free), expected);
        let expected: BTreeMap<_, _> = [("other".to_owned(), [("x".to_owned(), "c".to_owned())].into())].into();
        assert_eq!(aliases(&plan(&[("a", "other.c")], true), &free), expected);
    }

    #[test]
    fn a_whole_cluster_brings_its_empty_databases_and_chosen_collections_do_not() {
        assert_eq!(databases(&plan(&[("a", "a")], true)).keys().copied().collect::<Vec<_>>(), ["default", "empty"]);
        assert_eq!(databases(&plan(&[("a", "new.a")], false)), [("new", json!({"p": 1}))].into());
    }

    #[test]
    fn plans_that_would_write_elsewhere_are_refused() {
        let limits = Limits::DEFAULT;
        assert!(check(&plan(&[("a", "a"), ("b", "b")], false), &limits).is_ok());
        assert!(check(&plan(&[("a", "c"), ("b", "c")], false), &limits).is_err(), "two of one name");
        for path in ["../schema.json", "/etc/passwd", "wal/../../x", "LOCK", ""] {
            let mut plan = plan(&[("a", "a")], false);
            plan.collections[0].files.push(TargetFile { path: path.into(), class: FileClass::Metadata, size_bytes: 1 });
            assert!(matches!(check(&plan, &limits), Err(SourceError::BadPlan { .. })), "{path}");
        }
        let mut plan = plan(&[("a", "a")], false);
        plan.collections[0].mapping.to.collection = "../b".to_owned();
        assert!(matches!(check(&plan, &limits), Err(SourceError::Name(_))));
        plan.collections[0].mapping.to.collection = "b".to_owned();
        plan.collections[0].files.clear();
        assert!(matches!(check(&plan, &limits), Err(SourceError::BadPlan { .. })), "no schema");
    }
}
