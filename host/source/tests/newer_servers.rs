//! Restores into servers that cannot be had here: a fake one answers as the sources of Milvus say that they do.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod fake;

use std::collections::BTreeMap;
use std::path::Path;

use fake::importing::{Behaviour, Imported, Importing};
use fake::packed::{Layout, pack};
use longshore_model::{CollectionMapping, FileClass};
use longshore_source::milvus::{ServerAddress, StorageLocation};
use longshore_source::{
    Committed, Limits, MilvusServer, MilvusTarget, MilvusTargetOptions, RestoreTarget, SourceError, TargetCollection,
    TargetFile, TargetPlan,
};
use serde_json::{Value, json};

const LIMITS: Limits = Limits {
    call_timeout_ms: 2_000,
    call_pause_ms: 1,
    call_longest_pause_ms: 2,
    flush_pause_ms: 1,
    flush_longest_pause_ms: 2,
    proof_patience_ms: 20,
    ..Limits::DEFAULT
};

/// Thirty rows, three of them deleted, as 2.3.5 wrote them; changed as a test wants it.
struct Backup {
    schema: Value,
    point: Value,
    files: BTreeMap<String, Vec<u8>>,
}

impl Backup {
    fn new() -> Self {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/binlogs/two.plain");
        let mut kept: Value = serde_json::from_slice(&std::fs::read(folder.join("kept.json")).unwrap()).unwrap();
        // An index is no part of what is tested here.
        kept["schema"]["indexes"] = json!([]);
        let mut files = BTreeMap::new();
        for kind in ["insert_log", "delta_log"] {
            read(&folder, &folder.join(kind), &mut files);
        }
        Self { schema: kept["schema"].take(), point: kept["point"].take(), files }
    }

    /// The hybrid timestamp of its deletes.
    fn deleted(&self) -> u64 {
        let log = self.files.iter().find(|(path, _)| path.starts_with("delta_log")).unwrap().1;
        u64::from_le_bytes(log[4 + 17 + 32..][..8].try_into().unwrap())
    }

    /// The same at a point before its deletes, the milliseconds of which come with it.
    fn before_the_deletes(mut self) -> (Self, u64) {
        let end_ms = (self.deleted() >> 18) - 1;
        self.point["flushTimestamp"] = json!(end_ms << 18);
        (self, end_ms)
    }

    /// The same at a point after all that is in it.
    fn after_everything(mut self) -> Self {
        self.point["flushTimestamp"] = json!(((self.deleted() >> 18) + 1) << 18);
        self
    }

    /// The same as servers from 2.4 on keep deletes: in a level-zero segment of all partitions, or of the only one.
    fn level_zero(mut self, of_all: bool) -> Self {
        let partition = if of_all { json!(-1) } else { self.point["partitions"][0]["partitionId"].clone() };
        let (path, log) = self.files.iter().find(|(path, _)| path.starts_with("delta_log")).unwrap();
        let (path, log) = (path.clone(), log.clone());
        self.files.remove(&path);
        self.files.insert(format!("delta_log/{partition}/999/{}", path.rsplit('/').next().unwrap()), log);
        let segment = json!({"partitionId": partition, "segmentId": 999, "rows": 0, "isLevelZero": true});
        self.point["segments"].as_array_mut().unwrap().push(segment);
        self.point["serverVersion"] = json!("v2.4.13");
        self
    }

    /// The same with files of storage version 2: several fields in one Parquet file.
    fn storage_version_2(mut self) -> Self {
        self.files = pack(&self.files, &Layout { files: 2, row_group: 7, ..Layout::PLAIN });
        self.point["segments"][0]["storageVersion"] = json!(2);
        self.point["serverVersion"] = json!("v2.6.3");
        self
    }

    /// The same as of a server whose files cannot be read.
    fn storage_version_3(mut self) -> Self {
        self.point["segments"][0]["storageVersion"] = json!(3);
        self.point["serverVersion"] = json!("v2.6.7");
        self
    }

    fn plan(&self) -> TargetPlan {
        let file = |(path, bytes): (&String, &Vec<u8>)| TargetFile {
            path: path.clone(),
            class: if path.starts_with("delta_log") { FileClass::Delta } else { FileClass::Segment },
            size_bytes: bytes.len() as u64,
        };
        let mapping = CollectionMapping {
            from: "two.plain".parse().unwrap(),
            to: "back".parse().unwrap(),
            load_state: Default::default(),
        };
        let collection = TargetCollection {
            mapping,
            schema: self.schema.clone(),
            files: self.files.iter().map(file).collect(),
            description: self.point.clone(),
        };
        TargetPlan { databases: Vec::new(), whole_cluster: false, collections: vec![collection], access: None }
    }
}

fn read(root: &Path, folder: &Path, files: &mut BTreeMap<String, Vec<u8>>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            read(root, &path, files);
        } else {
            files.insert(path.strip_prefix(root).unwrap().to_str().unwrap().to_owned(), std::fs::read(&path).unwrap());
        }
    }
}

/// What became of a restore, and the server that it was into.
struct Restored {
    server: Importing,
    done: Result<Committed, SourceError>,
    storage: tempfile::TempDir,
}

impl Restored {
    fn error(self) -> SourceError {
        self.done.expect_err("it fails")
    }
}

async fn restore(backup: &Backup, behaviour: Behaviour, any_version: bool) -> Restored {
    let storage = tempfile::tempdir().unwrap();
    let server = Importing::start(storage.path(), behaviour).await;
    let done = restored(backup, &server, storage.path(), any_version).await;
    Restored { server, done, storage }
}

async fn restored(
    backup: &Backup,
    server: &Importing,
    storage: &Path,
    any_version: bool,
) -> Result<Committed, SourceError> {
    let location = StorageLocation::Folder(storage.to_owned());
    let milvus = MilvusServer { address: ServerAddress::open(&server.fake.address), storage: location };
    let options = MilvusTargetOptions { any_version, ..MilvusTargetOptions::default() };
    let run = MilvusTarget::with_limits(milvus, options, LIMITS).begin(&backup.plan(), &()).await?;
    for (file, bytes) in backup.files.values().enumerate() {
        run.write(0, file, 0, bytes.clone().into()).await?;
    }
    run.finish_collection(0).await?;
    run.commit(&()).await
}

fn imported(options: &[(&str, &str)]) -> Imported {
    let options = options.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    Imported { partition: "_default".to_owned(), options }
}

#[tokio::test]
async fn the_cut_is_told_in_the_unit_that_the_version_wants() {
    let (backup, end_ms) = Backup::new().before_the_deletes();
    for (version, wants_hybrid) in
        [("v2.3.5", false), ("v2.4.23", false), ("v2.4.24", true), ("v2.5.5", false), ("v2.5.7", true)]
    {
        let restored = restore(&backup, Behaviour { wants_hybrid, ..Behaviour::of(version) }, false).await;
        restored.done.unwrap();
        let end = if wants_hybrid { end_ms << 18 } else { end_ms };
        let expected = imported(&[("backup", "true"), ("end_ts", &end.to_string())]);
        assert_eq!(restored.server.imports(), [expected], "{version}");
        assert_eq!(restored.server.there(), ("back".to_owned(), 1, 0), "{version}");
    }
}

#[tokio::test]
async fn a_server_that_refuses_the_unit_is_told_the_other_one_and_takes_the_rows_once() {
    let (backup, end_ms) = Backup::new().before_the_deletes();
    for (version, refuses_at_once) in [("v2.5.6", false), ("v2.5.6", true), ("master-20250801-abcdef", false)] {
        let behaviour = Behaviour { wants_hybrid: true, refuses_at_once, ..Behaviour::of(version) };
        let restored = restore(&backup, behaviour, true).await;
        restored.done.unwrap();
        let expected = [end_ms, end_ms << 18].map(|end| imported(&[("backup", "true"), ("end_ts", &end.to_string())]));
        assert_eq!(restored.server.imports(), expected, "{version}");
        assert_eq!(restored.server.there(), ("back".to_owned(), 1, 0), "{version}");
    }
}

#[tokio::test]
async fn where_nothing_is_later_than_the_point_the_server_is_told_no_cut() {
    let backup = Backup::new().after_everything();
    for (version, wants_hybrid) in [("v2.3.5", false), ("v2.5.6", true), ("v2.5.20", true)] {
        let restored = restore(&backup, Behaviour { wants_hybrid, ..Behaviour::of(version) }, false).await;
        restored.done.unwrap();
        assert_eq!(restored.server.imports(), [imported(&[("backup", "true")])], "{version}");
    }
}

#[tokio::test]
async fn level_zero_deletes_take_rows_away_after_they_were_imported() {
    for of_all in [true, false] {
        let backup = Backup::new().after_everything().level_zero(of_all);
        let restored = restore(&backup, Behaviour::of("v2.4.13"), false).await;
        restored.done.unwrap();
        let deletes = Imported {
            partition: if of_all { String::new() } else { "_default".to_owned() },
            options: vec![("l0_import".to_owned(), "true".to_owned())],
        };
        assert_eq!(restored.server.imports(), [imported(&[("backup", "true")]), deletes]);
        assert_eq!(restored.server.there(), ("back".to_owned(), 1, 1));
    }
}

/// No server before 2.6.1 cuts level-zero deletes, so they must not be given to it.
#[tokio::test]
async fn level_zero_deletes_after_the_point_are_left_out() {
    for of_all in [true, false] {
        let (backup, _) = Backup::new().level_zero(of_all).before_the_deletes();
        let restored = restore(&backup, Behaviour::of("v2.4.13"), false).await;
        restored.done.unwrap();
        assert_eq!(restored.server.imports(), [imported(&[("backup", "true")])]);
        assert_eq!(restored.server.there(), ("back".to_owned(), 1, 0));
    }
}

#[tokio::test]
async fn lost_rows_and_lost_level_zero_deletes_are_found() {
    let backup = Backup::new().after_everything().level_zero(true);
    let lost = Behaviour { loses_level_zero: true, ..Behaviour::of("v2.4.13") };
    let restored = restore(&backup, lost, false).await;
    assert_eq!(restored.server.imports().len(), 2, "what it says of deletes is not believed");
    let error = restored.error();
    assert!(matches!(error, SourceError::RowsDiffer { .. }), "{error}");
    assert!(error.to_string().contains("0 rows are missing and 3 are too many"), "{error}");

    let fewer = Behaviour { more_rows: -3, ..Behaviour::of("v2.4.13") };
    let restored = restore(&backup, fewer, false).await;
    assert_eq!(restored.server.imports().len(), 1, "the deletes are not given to it any more");
    assert_eq!(restored.server.there().1, 0, "what was made is dropped");
    let error = restored.error();
    assert!(
        error.to_string().contains("took 27 rows in a call of Import into partition _default, and 30 are"),
        "{error}"
    );
}

#[tokio::test]
async fn a_backup_whose_files_cannot_be_read_is_refused_before_anything_is_made() {
    let backup = Backup::new().storage_version_3();
    for any_version in [false, true] {
        let restored = restore(&backup, Behaviour::of("v2.6.7"), any_version).await;
        for call in ["CreateCollection", "CreateDatabase", "Import"] {
            assert!(restored.server.fake.calls(call).is_empty(), "{call}");
        }
        let left = std::fs::read_dir(restored.storage.path()).unwrap().count();
        assert_eq!(left, 0, "no staging folder either");
        let error = restored.error();
        assert!(
            matches!(&error, SourceError::CannotBeRestored { collections, .. } if collections == "two.plain"),
            "{error}"
        );
        assert!(
            error.to_string().contains("storage version 3") && error.to_string().contains("longshore export"),
            "{error}"
        );
    }
}

/// A server that packs several fields into one file, as all from 2.6.9 on do.
const PACKS: Behaviour = Behaviour { wants_hybrid: true, storage_version: 2, ..Behaviour::of("v2.6.3") };

#[tokio::test]
async fn rows_in_files_of_several_fields_are_imported_as_such_and_proven() {
    let backup = Backup::new().storage_version_2().after_everything();
    let restored = restore(&backup, PACKS, false).await;
    let notes = restored.done.unwrap().notes;
    assert!(matches!(notes.as_slice(), [note] if note.contains("v2.6.3 were not run")), "{notes:?}");
    assert_eq!(restored.server.imports(), [imported(&[("backup", "true"), ("storage_version", "2")])]);
    assert_eq!(restored.server.there(), ("back".to_owned(), 1, 0));

    let (backup, end_ms) = Backup::new().storage_version_2().before_the_deletes();
    let restored = restore(&backup, PACKS, false).await;
    restored.done.unwrap();
    let end = (end_ms << 18).to_string();
    let expected = imported(&[("backup", "true"), ("end_ts", &end), ("storage_version", "2")]);
    assert_eq!(restored.server.imports(), [expected]);
}

/// No server before 2.6 is given such a file, whatever somebody says: one that it does not expect may end it.
#[tokio::test]
async fn files_of_several_fields_are_not_given_to_an_older_server() {
    let backup = Backup::new().storage_version_2().after_everything();
    for any_version in [false, true] {
        let restored = restore(&backup, Behaviour::of("v2.5.20"), any_version).await;
        assert!(restored.server.imports().is_empty());
        let error = restored.error();
        assert!(matches!(error, SourceError::WrongVersion { .. }), "{error}");
    }
}

#[tokio::test]
async fn older_rows_are_proven_in_a_server_that_packs_them() {
    let backup = Backup::new().after_everything();
    let restored = restore(&backup, PACKS, false).await;
    restored.done.unwrap();
    assert_eq!(restored.server.imports(), [imported(&[("backup", "true")])]);
    assert_eq!(restored.server.there(), ("back".to_owned(), 1, 0));
    // And what it made of them is compared.
    let loses = Behaviour { loses_a_value: true, ..PACKS };
    let restored = restore(&backup, loses, false).await;
    assert_eq!(restored.server.there(), (String::new(), 0, 0));
    let error = restored.error();
    assert!(matches!(error, SourceError::RowsDiffer { .. }), "{error}");
}

#[tokio::test]
async fn a_restore_into_a_version_that_was_never_run_says_so() {
    let backup = Backup::new().after_everything();
    for (version, is_said) in [("v2.3.5-lite", false), ("v2.4.13", true), ("v2.5.20", true)] {
        let notes = restore(&backup, Behaviour::of(version), false).await.done.unwrap().notes;
        assert_eq!(notes.iter().any(|note| note.contains("were not run")), is_said, "{version}: {notes:?}");
    }
}
