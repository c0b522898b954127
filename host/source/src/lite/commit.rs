//! The last step of a restore: staged collections become visible.
//!
//! Order: everything staged is forced to disk, then renamed into place, then the folders it was renamed into are forced
//! to disk. So whatever is visible is whole, after a power cut too. A new database appears with one rename. Into an
//! existing one collections are moved one by one, under the lock that Milvus Lite takes; if one cannot be moved, those
//! that were are moved back. A kill between two of these renames leaves the ones before it, each of them whole.

use std::collections::BTreeMap;
use std::io::ErrorKind;

use longshore_model::DEFAULT_DATABASE;
use serde_json::Value;

use super::target::{Place, STAGED, Staging, check_names_are_free, lock_database};
use super::{inventory, layout, plan};
use crate::disk::{Folder, io_error};
use crate::staged::{self, Written, force_folders};
use crate::{Limits, SourceError, TargetPlan};

/// Moves what was staged into place and removes the staging folder.
pub(crate) fn run(staging: Staging, plan: &TargetPlan, limits: &Limits) -> Result<(), SourceError> {
    match &staging.place {
        Place::New { parent, name } => {
            write_databases(&staging.root, plan, &|_| true)?;
            write_aliases(&staging.root, plan::aliases(plan, &|_, _| false), limits)?;
            force(&staging, plan)?;
            // rename(2) replaces nothing but an empty folder.
            let moved = staging.folder.folder.dir.rename(STAGED, &parent.dir, name);
            moved.map_err(|error| match error.kind() {
                ErrorKind::DirectoryNotEmpty | ErrorKind::NotADirectory | ErrorKind::AlreadyExists => {
                    let path = parent.show(name);
                    SourceError::BadPlan { reason: format!("`{path}` has appeared meanwhile; restore to another path") }
                }
                _ => io_error("move", &parent.show(name), error),
            })?;
            parent.sync()?;
        }
        Place::Existing { root } => {
            // Held until the end: no program can open the database while its collections appear.
            let _lock = lock_database(root, true)?;
            check_names_are_free(root, plan, limits)?;
            let is_new =
                |database: &str| Ok::<_, SourceError>(root.stat(&layout::database_folder(database))?.is_none());
            let mut new = BTreeMap::new();
            for database in plan::databases(plan).keys() {
                new.insert((*database).to_owned(), *database != DEFAULT_DATABASE && is_new(database)?);
            }
            write_databases(&staging.root, plan, &|name| new.get(name).copied().unwrap_or(false))?;
            let mut aliases = plan::aliases(plan, &|database, alias| taken(root, database, alias, limits));
            // A new database is moved as a whole, so its aliases are forced to disk with it.
            let fresh: BTreeMap<_, _> = aliases.extract_if(.., |name, _| new.get(name) == Some(&true)).collect();
            write_aliases(&staging.root, fresh, limits)?;
            force(&staging, plan)?;
            into_existing(&staging, root, plan, &new, aliases, limits)?;
        }
    }
    staging.folder.remove()
}

/// Writes the properties of databases that are new in the target.
fn write_databases(root: &Folder, plan: &TargetPlan, is_new: &dyn Fn(&str) -> bool) -> Result<(), SourceError> {
    for (database, properties) in plan::databases(plan) {
        if is_new(database) && properties.as_object().is_some_and(|properties| !properties.is_empty()) {
            let path = format!("{}{}", layout::database_folder(database), layout::PROPERTIES);
            write_json(root, &path, &properties)?;
        }
    }
    Ok(())
}

/// Adds aliases to those that databases have.
fn write_aliases(
    root: &Folder,
    added: BTreeMap<String, BTreeMap<String, String>>,
    limits: &Limits,
) -> Result<(), SourceError> {
    for (database, added) in added {
        let mut aliases = inventory::aliases(root, &database, limits.json_bytes)?;
        aliases.extend(added);
        let value = serde_json::to_value(aliases).unwrap_or_default();
        write_json(root, &format!("{}{}", layout::database_folder(&database), layout::ALIASES), &value)?;
    }
    Ok(())
}

/// Writes a small file so that it is there whole or not at all.
fn write_json(root: &Folder, path: &str, value: &Value) -> Result<(), SourceError> {
    let temporary = format!("{path}.tmp");
    let fail = |error| io_error("write", &root.show(path), error);
    let bytes = serde_json::to_vec_pretty(value).unwrap_or_default();
    root.dir.write(&temporary, bytes).map_err(fail)?;
    root.dir.open(&temporary).and_then(|file| file.sync_all()).map_err(fail)?;
    root.dir.rename(&temporary, &root.dir, path).map_err(fail)
}

/// Forces everything staged to disk, files and the folders that name them.
fn force(staging: &Staging, plan: &TargetPlan) -> Result<(), SourceError> {
    let written = || {
        let files = plan.collections.iter().flat_map(|collection| {
            let folder = layout::collection_folder(&collection.mapping.to);
            collection.files.iter().map(move |file| format!("{folder}/{}", file.path))
        });
        Written { files: files.collect(), folders: plan::folders(plan) }
    };
    let count = plan.collections.iter().map(|collection| collection.files.len()).sum();
    staged::force(&staging.root, staging.whole.as_ref(), count, written)
}

/// Moves collections and new databases into an existing data directory, or none of them.
fn into_existing(
    staging: &Staging,
    root: &Folder,
    plan: &TargetPlan,
    new: &BTreeMap<String, bool>,
    aliases: BTreeMap<String, BTreeMap<String, String>>,
    limits: &Limits,
) -> Result<(), SourceError> {
    let mut paths: Vec<String> = Vec::new();
    for (database, is_new) in new {
        if *is_new {
            paths.push(format!("{}/{database}", layout::DATABASES));
        } else {
            let names = plan.collections.iter().map(|collection| &collection.mapping.to);
            let names = names.filter(|name| name.database == *database);
            paths.extend(names.map(layout::collection_folder));
            let folder = format!("{}{}", layout::database_folder(database), layout::COLLECTIONS);
            make_folder(root, &folder)?;
        }
    }
    make_folder(root, layout::DATABASES)?;
    let mut moved = Vec::new();
    let result = move_all(staging, root, &paths, &mut moved)
        .and_then(|()| write_missing_properties(root, plan))
        .and_then(|()| write_aliases(root, aliases, limits));
    if let Err(error) = result {
        for path in moved.iter().rev() {
            if let Err(error) = root.dir.rename(path, &staging.root.dir, path) {
                tracing::error!(%error, path, "a restored folder could not be taken back");
            }
        }
        return Err(error);
    }
    force_folders(root, paths.iter().filter_map(|path| path.rsplit_once('/')).map(|(parent, _)| parent))
}

/// The default database is always there; in an empty target it gets the properties of a whole cluster all the same.
fn write_missing_properties(root: &Folder, plan: &TargetPlan) -> Result<(), SourceError> {
    let is_new = |database: &str| plan.whole_cluster && database == DEFAULT_DATABASE;
    if root.stat(layout::PROPERTIES)?.is_none() { write_databases(root, plan, &is_new) } else { Ok(()) }
}

fn make_folder(root: &Folder, path: &str) -> Result<(), SourceError> {
    root.dir.create_dir_all(path).map_err(|error| io_error("make the folder", &root.show(path), error))
}

fn move_all<'a>(
    staging: &Staging,
    root: &Folder,
    paths: &'a [String],
    moved: &mut Vec<&'a str>,
) -> Result<(), SourceError> {
    for path in paths {
        let renamed = staging.root.dir.rename(path, &root.dir, path);
        renamed.map_err(|error| io_error("move", &root.show(path), error))?;
        moved.push(path);
    }
    Ok(())
}

/// Whether a name is a collection or an alias in the target. What cannot be read counts as taken.
fn taken(root: &Folder, database: &str, alias: &str, limits: &Limits) -> bool {
    let folder = format!("{}{}/{alias}", layout::database_folder(database), layout::COLLECTIONS);
    let is_collection = root.stat(&folder).map_or(true, |stat| stat.is_some());
    let aliases = inventory::aliases(root, database, limits.json_bytes);
    is_collection || aliases.map_or(true, |aliases| aliases.contains_key(alias))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::path::Path;

    use longshore_model::FileClass;

    use super::*;
    use crate::TargetFile;
    use crate::plan::testing::plan;
    use crate::staged::{StagingFolder, WholeFileSystem};

    const LIMITS: Limits = Limits::DEFAULT;
    /// So many files that a whole file system is synchronised where it can be.
    const MANY: usize = 600;

    /// A collection of so many files that goes to a database of its own, with an alias.
    fn collection(files: usize) -> TargetPlan {
        let mut plan = plan(&[("a", "new.a")], true);
        let path = |number| format!("partitions/_default/data/data_{number:06}_{number:06}.parquet");
        let file = |number| TargetFile { path: path(number), class: FileClass::Segment, size_bytes: 1 };
        plan.collections[0].files.extend((1..files).map(file));
        plan
    }

    /// What a file system is taken for.
    type Whole = fn(&Folder) -> Option<WholeFileSystem>;

    /// Everything written, to go into a new directory beside `base` or into `base` itself.
    fn written(base: &Path, is_new: bool, plan: &TargetPlan, whole: Whole) -> Staging {
        let place = match is_new {
            true => Place::New { parent: Folder::at(base), name: "target".to_owned() },
            false => Place::Existing { root: Folder::at(base) },
        };
        let staging = StagingFolder::alone(place.base(), ".staging", &plan::digest(plan), &LIMITS).unwrap();
        let root = staging.inner(STAGED).unwrap();
        plan::folders(plan).iter().for_each(|folder| root.dir.create_dir_all(folder).unwrap());
        for collection in &plan.collections {
            let within = layout::collection_folder(&collection.mapping.to);
            collection.files.iter().for_each(|file| root.dir.write(format!("{within}/{}", file.path), "x").unwrap());
        }
        let whole = whole(&root);
        Staging { place, folder: staging, root, whole }
    }

    /// What could not be forced to disk, in words.
    fn not_forced(staging: Staging, plan: &TargetPlan) -> String {
        let error = run(staging, plan, &LIMITS).unwrap_err();
        assert!(matches!(error, SourceError::Io { action: "synchronise", .. }), "{error}");
        error.to_string()
    }

    #[test]
    fn nothing_gets_its_name_before_everything_is_forced_to_disk() {
        let (broken, well, none): (Whole, Whole, Whole) =
            (|root| Some(WholeFileSystem::broken(root)), |root| Some(WholeFileSystem::unchecked(root)), |_| None);
        for is_new in [true, false] {
            let base = tempfile::tempdir().unwrap();
            let visible = || ["target", "databases/new"].map(|name| base.path().join(name).exists());
            // The whole file system for many files; each single one for few, and where there is no whole to rely on.
            let plan = collection(MANY);
            not_forced(written(base.path(), is_new, &plan, broken), &plan);
            assert_eq!(visible(), [false, false]);
            for (count, whole) in [(3, broken), (3, none), (MANY, none)] {
                for missing in [0, count - 1] {
                    let plan = collection(count);
                    let staging = written(base.path(), is_new, &plan, whole);
                    let missing = format!("databases/new/collections/a/{}", plan.collections[0].files[missing].path);
                    staging.root.dir.remove_file(&missing).unwrap();
                    let said = not_forced(staging, &plan);
                    assert!(said.contains(&missing) && visible() == [false, false], "{count}: {said}");
                }
            }
            run(written(base.path(), is_new, &plan, well), &plan, &LIMITS).unwrap();
            assert_eq!(visible(), [is_new, !is_new]);
        }
    }

    #[test]
    fn the_aliases_of_a_new_database_are_forced_to_disk_with_it() {
        let (base, plan) = (tempfile::tempdir().unwrap(), collection(MANY));
        let staging = written(base.path(), false, &plan, |root| Some(WholeFileSystem::broken(root)));
        staging.folder.keep_when_dropped();
        let aliases = base.path().join(staging.folder.name()).join(STAGED).join("databases/new").join(layout::ALIASES);
        not_forced(staging, &plan);
        assert!(aliases.exists(), "they are written before");
    }
}
