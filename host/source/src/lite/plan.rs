//! Checks a restore plan: a plan comes out of a backup, so every name and path in it is checked as if a stranger had
//! written it.

use std::collections::BTreeSet;

use longshore_model::FileClass;

use super::layout;
use crate::plan::check_names;
pub(crate) use crate::plan::{aliases, databases, digest, needed_bytes};
use crate::{Limits, SourceError, TargetPlan};

/// Refuses plans that cannot be carried out, or that would write outside of their collections.
pub(crate) fn check(plan: &TargetPlan, limits: &Limits) -> Result<(), SourceError> {
    let bad = |reason: String| Err(SourceError::BadPlan { reason });
    check_names(plan, limits)?;
    for collection in &plan.collections {
        let name = &collection.mapping.to;
        let mut paths = BTreeSet::new();
        for file in &collection.files {
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
    Ok(())
}

/// The folders that collections lie in, relative to the data directory, parents first. They are there also when nothing is in
/// them; the folders of a collection come with its files.
pub(crate) fn outer_folders(plan: &TargetPlan) -> BTreeSet<String> {
    let mut folders: BTreeSet<String> = [layout::COLLECTIONS.to_owned(), layout::DATABASES.to_owned()].into();
    for database in databases(plan).keys() {
        folders.insert(format!("{}{}", layout::database_folder(database), layout::COLLECTIONS));
    }
    folders
}

/// All folders, those of files included.
pub(crate) fn folders(plan: &TargetPlan) -> BTreeSet<String> {
    let mut folders = outer_folders(plan);
    for collection in &plan.collections {
        let folder = layout::collection_folder(&collection.mapping.to);
        for file in &collection.files {
            let path = format!("{folder}/{}", file.path);
            folders.extend(path.rsplit_once('/').map(|(parent, _)| parent.to_owned()));
        }
    }
    folders
}

/// Whether a plan's file is the collection's schema.
pub(crate) fn is_schema(path: &str, class: FileClass) -> bool {
    class == FileClass::Metadata && path == layout::SCHEMA
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::TargetFile;
    use crate::plan::testing::plan;

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
