//! What a restore plan says that is the same for every kind of target: names, databases, aliases, space.
//!
//! A plan comes out of a backup, so every name in it is checked as if a stranger had written it.

use std::collections::{BTreeMap, BTreeSet};

use longshore_model::{CollectionName, Digest};
use serde_json::{Value, json};

use crate::{DatabaseEntry, Limits, SourceError, TargetCollection, TargetPlan};

/// Space that a file takes is a multiple of this, in bytes.
const BLOCK_BYTES: u64 = 4_096;

/// Refuses names that cannot be, two collections of one name, and more files than the limits allow.
pub(crate) fn check_names(plan: &TargetPlan, limits: &Limits) -> Result<(), SourceError> {
    let mut targets = BTreeSet::new();
    for database in &plan.databases {
        CollectionName::new(&database.name, "c")?;
    }
    for collection in &plan.collections {
        let name = &collection.mapping.to;
        CollectionName::new(&name.database, &name.collection)?;
        if !targets.insert(name) {
            let reason = format!("two collections would be restored as {name}; give one of them another name");
            return Err(SourceError::BadPlan { reason });
        }
    }
    let files = plan.collections.iter().fold(0_u64, |sum, collection| sum + collection.files.len() as u64);
    if files > limits.plan_files {
        let (what, limit) = ("the number of files", limits.plan_files);
        return Err(SourceError::LimitExceeded { path: "the restore".to_owned(), what, used: files, limit });
    }
    Ok(())
}

/// Whether a collection was backed up from a Milvus server: the bytes of its schema are kept. Milvus Lite has none.
pub(crate) fn is_of_server(collection: &TargetCollection) -> bool {
    collection.schema.get("message").is_some_and(Value::is_string)
}

/// A name for everything a plan says: runs of the same plan write the same files.
pub(crate) fn digest(plan: &TargetPlan) -> Digest {
    let mut hasher = blake3::Hasher::new();
    // Each with its length before it, so no two plans give the same bytes.
    let mut add = |text: &str| {
        hasher.update(&(text.len() as u64).to_le_bytes()).update(text.as_bytes());
    };
    add(&json!([plan.whole_cluster, plan.databases, plan.access.as_ref().map(|access| &access.kept)]).to_string());
    for TargetCollection { mapping, schema, files, description } in &plan.collections {
        add(&json!([mapping, files.len()]).to_string());
        add(&schema.to_string());
        add(&description.to_string());
        for file in files {
            add(&file.path);
            add(file.class.as_str());
            add(&file.size_bytes.to_string());
        }
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

#[cfg(test)]
pub(crate) mod testing {
    #![allow(clippy::unwrap_used)]
    use longshore_model::{CollectionMapping, FileClass};

    use super::*;
    use crate::TargetFile;

    /// A plan of collections of Milvus Lite, from which name to which.
    pub(crate) fn plan(mappings: &[(&str, &str)], whole_cluster: bool) -> TargetPlan {
        let file = TargetFile { path: "schema.json".to_owned(), class: FileClass::Metadata, size_bytes: 1 };
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
        TargetPlan { databases, whole_cluster, collections: collections.collect(), access: None }
    }
}

#[cfg(test)]
mod tests {
    use super::testing::plan;
    use super::*;

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
}
