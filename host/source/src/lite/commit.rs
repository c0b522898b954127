//! The last step of a restore: staged collections become visible.
//!
//! Order: everything staged is forced to disk, then renamed into place, then the folders it was renamed into are forced
//! to disk. So whatever is visible is whole, after a power cut too. A new database appears with one rename. Into an
//! existing one collections are moved one by one, under the lock that Milvus Lite takes; if one cannot be moved, those
//! that were are moved back. A kill between two of these renames leaves the ones before it, each of them whole.

use std::collections::{BTreeMap, BTreeSet};
use std::io::ErrorKind;

use longshore_model::DEFAULT_DATABASE;
use serde_json::Value;

use super::target::{Place, STAGED, Staging, check_names_are_free, lock_database};
use super::{inventory, layout, plan};
use crate::disk::{Folder, io_error};
use crate::{Limits, SourceError, TargetPlan};

/// From this number of files on, the whole file system is synchronised at once, or several threads synchronise them.
const MANY_FILES: usize = 500;
/// Threads that do.
const FORCING_THREADS: usize = 4;

/// Moves what was staged into place and removes the staging folder.
pub(crate) fn run(mut staging: Staging, plan: &TargetPlan, limits: &Limits) -> Result<(), SourceError> {
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
            force(&staging, plan)?;
            into_existing(&staging, root, plan, &new, limits)?;
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

/// Forces everything staged to disk, files and the folders that name them: at once where there are many and that can be
/// relied on, because each single call waits for the disk (18,000 of them took one of three seconds); else one by one.
fn force(staging: &Staging, plan: &TargetPlan) -> Result<(), SourceError> {
    let root = &staging.root;
    let paths = plan.collections.iter().flat_map(|collection| {
        let folder = layout::collection_folder(&collection.mapping.to);
        collection.files.iter().map(move |file| format!("{folder}/{}", file.path))
    });
    let paths: Vec<String> = paths.collect();
    if paths.len() > MANY_FILES
        && let Some(whole) = &staging.whole
    {
        return whole.force();
    }
    let force = |paths: &[String]| {
        paths.iter().try_for_each(|path| {
            let synced = root.dir.open(path).and_then(|file| file.sync_all());
            synced.map_err(|error| io_error("synchronise", &root.show(path), error))
        })
    };
    let share = paths.len().div_ceil(if paths.len() > MANY_FILES { FORCING_THREADS } else { 1 }).max(1);
    let stopped = |_| Err(SourceError::Cancelled);
    std::thread::scope(|scope| {
        let (first, others) = paths.split_at(share.min(paths.len()));
        let others: Vec<_> = others.chunks(share).map(|share| scope.spawn(move || force(share))).collect();
        let first = force(first);
        others.into_iter().fold(first, |all, one| all.and(one.join().unwrap_or_else(stopped)))
    })?;
    sync_with_parents(root, plan::folders(plan).iter().map(String::as_str))
}

/// Moves collections and new databases into an existing data directory, or none of them.
fn into_existing(
    staging: &Staging,
    root: &Folder,
    plan: &TargetPlan,
    new: &BTreeMap<String, bool>,
    limits: &Limits,
) -> Result<(), SourceError> {
    let taken = |database: &str, alias: &str| taken(root, database, alias, limits);
    let mut aliases = plan::aliases(plan, &taken);
    // A new database is moved as a whole, so its aliases are written before.
    let fresh = aliases.iter().filter(|(name, _)| new.get(*name) == Some(&true));
    let fresh: BTreeMap<_, _> = fresh.map(|(name, aliases)| (name.clone(), aliases.clone())).collect();
    aliases.retain(|name, _| !fresh.contains_key(name));
    write_aliases(&staging.root, fresh, limits)?;
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
    sync_with_parents(root, paths.iter().filter_map(|path| path.rsplit_once('/')).map(|(parent, _)| parent))
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

/// Forces folders, and those above them, to disk.
fn sync_with_parents<'a>(root: &Folder, folders: impl Iterator<Item = &'a str>) -> Result<(), SourceError> {
    let mut all: BTreeSet<&str> = BTreeSet::new();
    for folder in folders {
        let mut path = Some(folder);
        while let Some(folder) = path {
            all.insert(folder);
            path = folder.rsplit_once('/').map(|(parent, _)| parent);
        }
    }
    for folder in all {
        root.folder(folder)?.map_or(Ok(()), |folder| folder.sync())?;
    }
    root.sync()
}
