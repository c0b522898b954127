//! Where things are in a Milvus Lite 3 data directory, and which names can be paths.

use longshore_model::{CollectionName, DEFAULT_DATABASE, FileClass};

/// Folder of a database's collections.
pub(crate) const COLLECTIONS: &str = "collections";
/// Folder of all databases but the default one.
pub(crate) const DATABASES: &str = "databases";
/// Aliases of a database.
pub(crate) const ALIASES: &str = "aliases.json";
/// Properties of a database.
pub(crate) const PROPERTIES: &str = "database_properties.json";
/// Held by flock(2) while a program has the directory open.
pub(crate) const LOCK: &str = "LOCK";
/// Schema of a collection.
pub(crate) const SCHEMA: &str = "schema.json";
/// Commit point of a collection; absent until its first flush.
pub(crate) const MANIFEST: &str = "manifest.json";
/// The manifest before that one.
pub(crate) const PREVIOUS_MANIFEST: &str = "manifest.json.prev";
/// Folder of a collection's partitions.
pub(crate) const PARTITIONS: &str = "partitions";
/// Folder of a collection's write-ahead log.
pub(crate) const WAL: &str = "wal";
/// Folder of Milvus Lite's own snapshots of a collection.
pub(crate) const SNAPSHOTS: &str = "snapshots";
/// What makes a folder a Longshore vault.
pub(crate) const VAULT_MARKER: &str = "longshore-vault.json";

/// Folder of a database, relative to the data directory; empty for the default one.
pub(crate) fn database_folder(database: &str) -> String {
    if database == DEFAULT_DATABASE { String::new() } else { format!("{DATABASES}/{database}/") }
}

/// Folder of a collection, relative to the data directory.
pub(crate) fn collection_folder(name: &CollectionName) -> String {
    format!("{}{COLLECTIONS}/{}", database_folder(&name.database), name.collection)
}

/// Accepts what can be one component of a path, and says what is wrong otherwise.
pub(crate) fn check_component(name: &str) -> Result<(), String> {
    let bad = name.is_empty()
        || name == "."
        || name == ".."
        || name.len() > 255
        || name.contains(['/', '\\'])
        || name.chars().any(char::is_control);
    if bad {
        let shown: String = name.chars().take(80).flat_map(char::escape_debug).collect();
        return Err(format!("it names `{shown}`, which cannot be the name of a file"));
    }
    Ok(())
}

/// Whether a path relative to a collection is one that a collection of a backup can have, given its class.
pub(crate) fn is_collection_file(path: &str, class: FileClass) -> bool {
    let parts: Vec<&str> = path.split('/').collect();
    if parts.iter().any(|part| check_component(part).is_err()) {
        return false;
    }
    match (parts.as_slice(), class) {
        ([file], FileClass::Metadata) => *file == SCHEMA || *file == MANIFEST,
        ([folder, file], FileClass::Wal) => *folder == WAL && wal_file(file).is_some(),
        ([folder, _, kind, _], FileClass::Segment) => *folder == PARTITIONS && *kind == "data",
        ([folder, _, kind, _], FileClass::Delta) => *folder == PARTITIONS && *kind == "delta",
        ([folder, _, kind, _], FileClass::Index) => *folder == PARTITIONS && *kind == "indexes",
        _ => false,
    }
}

/// The partition that a file named by a manifest is in.
pub(crate) fn partition_of(path: &str) -> Option<&str> {
    path.strip_prefix(PARTITIONS)?.strip_prefix('/')?.split('/').next()
}

/// Whether a path relative to a collection is that of a log of inserted rows.
pub(crate) fn is_log_of_rows(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or_default();
    matches!(wal_file(name), Some((WalKind::Data, _)))
}

/// Kind and number of a log file by its name.
pub(crate) fn wal_file(name: &str) -> Option<(WalKind, u64)> {
    let middle = name.strip_prefix("wal_")?.strip_suffix(".arrow")?;
    let (kind, number) = middle.split_once('_')?;
    let kind = match kind {
        "data" => WalKind::Data,
        "delta" => WalKind::Delta,
        _ => return None,
    };
    let digits = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| number.parse().ok()).flatten().map(|number| (kind, number))
}

/// The two streams of a write-ahead log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum WalKind {
    /// Inserted rows.
    Data,
    /// Deletions.
    Delta,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_that_no_collection_has_are_refused() {
        for (path, class) in [
            ("schema.json", FileClass::Metadata),
            ("manifest.json", FileClass::Metadata),
            ("wal/wal_data_000001.arrow", FileClass::Wal),
            ("wal/wal_delta_1000000.arrow", FileClass::Wal),
            ("partitions/_default/data/data_000001_000002.parquet", FileClass::Segment),
            ("partitions/_pk_3/delta/delta_000001_000002.parquet", FileClass::Delta),
            ("partitions/_default/indexes/data_1_2.vector.hnsw.idx", FileClass::Index),
        ] {
            assert!(is_collection_file(path, class), "{path}");
            assert!(!is_collection_file(&format!("../{path}"), class), "{path}");
            assert!(!is_collection_file(&format!("/{path}"), class), "{path}");
        }
        for (path, class) in [
            ("", FileClass::Metadata),
            ("LOCK", FileClass::Metadata),
            ("schema.json", FileClass::Segment),
            ("wal/../schema.json", FileClass::Wal),
            ("wal/wal_data_.arrow", FileClass::Wal),
            ("wal/wal_data_+1.arrow", FileClass::Wal),
            ("partitions/../data/x", FileClass::Segment),
            ("partitions/p/data/a\\b", FileClass::Segment),
            ("partitions/p/data/a/b", FileClass::Segment),
            ("snapshots/metadata/a.json", FileClass::Metadata),
        ] {
            assert!(!is_collection_file(path, class), "{path}");
        }
    }
}
