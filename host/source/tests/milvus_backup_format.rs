//! Backups of milvus-backup, made here of binlogs that a real Milvus 2.3.5 wrote, as `core/proto/backup.proto` of that tool
//! describes them: both layouts, what is missing or strange in one, and what is written here in that layout.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::path::{Path, PathBuf};
use std::sync::Arc;

use base64::Engine as _;
use longshore_model::{CollectionMapping, Digest, FileClass, RestoredLoadState};
use longshore_source::milvus::proto::schema::CollectionSchema;
use longshore_source::milvus::{
    CollectionLogs, CountedRows, KeptPoint, KeptSchema, MilvusBackupSource, MilvusBackupTarget, RowSchema,
};
use longshore_source::{
    CollectionPoint, Limits, PointOptions, RestoreTarget, RowSum, Source, SourceError, StoredBytes, StoredFile,
    TargetCollection, TargetFile, TargetPlan,
};
use prost::Message;
use serde_json::{Value, json};

const NAMES: [&str; 3] = ["docs", "tenants", "two.plain"];

fn corpus(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/binlogs").join(name)
}

fn kept(name: &str) -> Value {
    serde_json::from_slice(&std::fs::read(corpus(name).join("kept.json")).unwrap()).unwrap()
}

/// The collection's metadata as milvus-backup writes it.
fn collection(name: &str, files: &[String]) -> Value {
    let kept = kept(name);
    let schema = KeptSchema::read(&kept["schema"], name).unwrap();
    let point = KeptPoint::read(&kept["point"], name).unwrap();
    let message = base64::engine::general_purpose::STANDARD.decode(&schema.message).unwrap();
    let message = CollectionSchema::decode(message.as_slice()).unwrap();
    let pairs = |pairs: &[longshore_source::milvus::proto::common::KeyValuePair]| -> Value {
        pairs.iter().map(|pair| json!({ "key": pair.key, "value": pair.value })).collect()
    };
    let fields: Vec<Value> = message
        .fields
        .iter()
        .map(|field| {
            json!({
                "fieldID": field.field_id, "name": field.name, "is_primary_key": field.is_primary_key,
                "data_type": field.data_type, "type_params": pairs(&field.type_params), "autoID": field.auto_id,
                "element_type": field.element_type, "is_partition_key": field.is_partition_key,
            })
        })
        .collect();
    let segments = |partition: i64| -> Vec<Value> {
        let own = point.segments.iter().filter(|segment| segment.partition_id == partition);
        own.map(|segment| {
            let prefix = format!("insert_log/{partition}/{}/", segment.segment_id);
            let logs = files.iter().filter_map(|file| file.strip_prefix(&prefix)).map(|rest| {
                let (field, log) = rest.split_once('/').unwrap();
                let (field, log): (i64, i64) = (field.parse().unwrap(), log.parse().unwrap());
                json!({ "fieldID": field, "binlogs": [{ "log_path": format!("files/{prefix}{rest}"), "log_id": log }] })
            });
            json!({
                "segment_id": segment.segment_id, "collection_id": point.collection_id, "partition_id": partition,
                "num_of_rows": segment.rows, "binlogs": logs.collect::<Vec<_>>(),
            })
        })
        .collect()
    };
    let partitions: Vec<Value> = point
        .partitions
        .iter()
        .map(|partition| {
            json!({
                "partition_id": partition.partition_id, "partition_name": partition.name,
                "collection_id": point.collection_id, "segment_backups": segments(partition.partition_id),
            })
        })
        .collect();
    json!({
        "collection_id": point.collection_id, "collection_name": name.replace('.', "_"),
        "schema": { "name": name, "fields": fields, "enable_dynamic_field": message.enable_dynamic_field },
        "shards_num": schema.shards, "consistency_level": schema.consistency_level, "partition_backups": partitions,
        "index_infos": [{ "field_name": "vec", "index_name": "vec_idx", "index_type": "FLAT",
            "params": { "index_type": "FLAT", "metric_type": "L2", "params": "{}" } }],
        "load_state": "Loaded", "aliases": [format!("{}_alias", name.replace('.', "_"))],
        "properties": [{ "key": "collection.ttl.seconds", "value": "5" }],
    })
}

/// Paths of the files below a folder, relative to `root`.
fn collect(root: &Path, folder: &Path, into: &mut Vec<String>) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    for path in entries.map(|entry| entry.unwrap().path()) {
        if path.is_dir() {
            collect(root, &path, into);
        } else {
            into.push(path.strip_prefix(root).unwrap().to_str().unwrap().to_owned());
        }
    }
}

fn files_of(name: &str) -> Vec<String> {
    let mut files = Vec::new();
    for kind in ["insert_log", "delta_log"] {
        collect(&corpus(name), &corpus(name).join(kind), &mut files);
    }
    files
}

/// Writes a backup; newer versions put each segment in a group and all metadata in one file.
fn write(to: &Path, newer: bool) {
    let mut collections = Vec::new();
    for name in NAMES {
        let files = files_of(name);
        let described = collection(name, &files);
        for file in &files {
            let mut parts: Vec<&str> = file.split('/').collect();
            let id = described["collection_id"].to_string();
            parts.insert(1, &id);
            let segment = parts[3].to_owned();
            if newer {
                parts.insert(3, &segment);
            }
            let path = to.join("binlogs").join(parts.join("/"));
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::copy(corpus(name).join(file), path).unwrap();
        }
        collections.push(described);
    }
    let meta = to.join("meta");
    std::fs::create_dir_all(&meta).unwrap();
    let put = |name: &str, value: &Value| std::fs::write(meta.join(name), value.to_string()).unwrap();
    let backup = json!({ "id": "1", "name": "backup_1", "milvus_version": "v2.3.5", "end_time": 1_700_000_000 });
    put("backup_meta.json", &backup);
    if newer {
        let mut full = backup;
        full["collection_backups"] = collections.into();
        put("full_meta.json", &full);
        return;
    }
    let take = |value: &mut Value, key: &str| value.as_object_mut().unwrap().remove(key).unwrap_or_default();
    let (mut partitions, mut segments) = (Vec::new(), Vec::new());
    for one in &mut collections {
        for mut partition in take(one, "partition_backups").as_array().cloned().unwrap() {
            segments.extend(take(&mut partition, "segment_backups").as_array().cloned().unwrap());
            partitions.push(partition);
        }
    }
    put("collection_meta.json", &json!({ "infos": collections }));
    put("partition_meta.json", &json!({ "infos": partitions }));
    put("segment_meta.json", &json!({ "infos": segments }));
}

struct Held(Vec<u8>);

impl StoredBytes for Held {
    fn fill(&self, buffer: &mut [u8], offset: u64) -> std::io::Result<()> {
        let start = usize::try_from(offset).unwrap();
        buffer.copy_from_slice(&self.0[start..start + buffer.len()]);
        Ok(())
    }
}

async fn count(point: &Arc<dyn CollectionPoint>) -> CountedRows {
    let mut files = Vec::new();
    for (place, file) in point.files().iter().enumerate() {
        let bytes = point.read(place, 0, usize::try_from(file.size_bytes).unwrap()).await.unwrap();
        let (path, class, size_bytes) = (file.path.clone(), file.class, file.size_bytes);
        files.push(StoredFile { path, class, size_bytes, bytes: Arc::new(Held(bytes.to_vec())) });
    }
    let schema = KeptSchema::read(point.schema(), "it").unwrap().decode("it").unwrap();
    let kept = KeptPoint::read(point.description(), "it").unwrap();
    let name_of = |id: i64| kept.partitions.iter().find(|one| one.partition_id == id).map(|one| one.name.clone());
    let rows = RowSchema::of(&schema, "it").unwrap();
    let counted = CollectionLogs::of(&files).unwrap().count(&rows, &name_of, None, &Limits::DEFAULT).unwrap();
    counted.into_values().fold(CountedRows::default(), CountedRows::plus)
}

#[tokio::test]
async fn both_layouts_are_read_with_every_row_as_the_server_had_it() {
    for newer in [false, true] {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), newer);
        assert!(MilvusBackupSource::is_one(folder.path()));
        let source = MilvusBackupSource::open(folder.path()).unwrap();
        let inventory = source.inventory().await.unwrap();
        assert_eq!(inventory.collections.len(), 3);
        assert_eq!(inventory.databases[0].aliases["docs_alias"], "docs");
        for name in NAMES {
            let expected = kept(name)["expected"].clone();
            let named = format!("default.{}", name.replace('.', "_")).parse().unwrap();
            let point = source.open_point(&named, PointOptions::default()).await.unwrap();
            let counted = count(&point).await;
            assert_eq!(counted.live.rows, expected["rows"].as_u64().unwrap(), "{name}");
            if let Some(digest) = expected["digest"].as_str() {
                assert_eq!(counted.live.digest().to_string(), digest, "{name}");
            }
            let entry = inventory.collections.iter().find(|entry| entry.name == named).unwrap();
            assert_eq!((entry.rows, entry.indexes[0].metric_type.as_str()), (counted.physical, "L2"));
        }
    }
}

#[tokio::test]
async fn users_that_are_not_taken_are_a_warning_without_their_secrets() {
    for newer in [false, true] {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), newer);
        let file = folder.path().join("meta").join(if newer { "full_meta.json" } else { "backup_meta.json" });
        let mut meta: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
        let warnings = async |meta: &Value| {
            std::fs::write(&file, meta.to_string()).unwrap();
            let source = MilvusBackupSource::open(folder.path()).unwrap();
            assert!(!format!("{source:?}").contains("hunter2"));
            source.inventory().await.unwrap().warnings
        };
        for nothing in [Value::Null, json!({}), json!({ "users": null, "roles": [] })] {
            meta["rbac_meta"] = nothing;
            assert_eq!(warnings(&meta).await, Vec::<String>::new());
        }
        meta["rbac_meta"] = json!({
            "users": [{ "user": "ann", "password": "hunter2", "roles": [{ "name": "reader" }] }, { "user": "bob" }],
            "roles": [{ "name": "reader" }], "grants": [{}, {}, {}],
        });
        let said = warnings(&meta).await.concat();
        assert!(said.contains("its users, roles and grants (2, 1 and 3 of them) were not taken"), "{said}");
        assert!(!said.contains("hunter2"), "{said}");
    }
}

/// Restores everything that a source has into a target.
async fn restore(source: &dyn Source, target: &dyn RestoreTarget) {
    let inventory = source.inventory().await.unwrap();
    let (mut collections, mut points) = (Vec::new(), Vec::new());
    for entry in &inventory.collections {
        let point = source.open_point(&entry.name, PointOptions::default()).await.unwrap();
        let files = point.files().iter();
        collections.push(TargetCollection {
            mapping: CollectionMapping {
                from: entry.name.clone(),
                to: entry.name.clone(),
                load_state: RestoredLoadState::Keep,
            },
            schema: point.schema().clone(),
            files: files
                .map(|file| TargetFile { path: file.path.clone(), class: file.class, size_bytes: file.size_bytes })
                .collect(),
            description: point.description().clone(),
        });
        points.push(point);
    }
    let plan = TargetPlan { databases: inventory.databases, whole_cluster: true, collections, access: None };
    let run = target.begin(&plan, &()).await.unwrap();
    for (place, point) in points.iter().enumerate() {
        let mut digests = Vec::new();
        for (file, entry) in point.files().iter().enumerate() {
            let bytes = point.read(file, 0, usize::try_from(entry.size_bytes).unwrap()).await.unwrap();
            digests.push(Digest::new(*blake3::hash(&bytes).as_bytes()));
            run.write(place, file, 0, bytes).await.unwrap();
        }
        let restored = run.finish_collection(place).await.unwrap();
        assert_eq!(restored.file_digests, digests);
        assert_eq!(restored.physical_rows, point.physical_rows());
        assert_eq!(restored.live_rows, Some(count(point).await.live.rows));
    }
    assert_eq!(run.commit(&()).await.unwrap().notes, Vec::<String>::new());
}

#[tokio::test]
async fn what_is_written_in_the_layout_is_read_back_as_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let (from, to) = (folder.path().join("from"), folder.path().join("to"));
    write(&from, true);
    let source = MilvusBackupSource::open(&from).unwrap();
    restore(&source, &MilvusBackupTarget::new(&to)).await;
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 2, "no staging folder is left");
    // The metadata names every log that is there, of rows and of deletes.
    let text = std::fs::read_to_string(to.join("meta/full_meta.json")).unwrap();
    let mut named: Vec<&str> =
        text.split("\"log_path\":\"").skip(1).filter_map(|rest| rest.split('"').next()).collect();
    named.sort_unstable();
    let mut there = Vec::new();
    collect(&to.join("binlogs"), &to.join("binlogs"), &mut there);
    there.sort_unstable();
    assert_eq!(named, there);
    assert!(named.iter().any(|path| path.starts_with("delta_log/")));
    let nothing = TargetPlan { databases: Vec::new(), whole_cluster: false, collections: Vec::new(), access: None };
    let taken = MilvusBackupTarget::new(&to).begin(&nothing, &()).await.err().unwrap().to_string();
    assert!(taken.contains("is there already"), "{taken}");
    // All in one file, and level by level.
    for levels in [false, true] {
        if levels {
            std::fs::remove_file(to.join("meta/full_meta.json")).unwrap();
        }
        let written = MilvusBackupSource::open(&to).unwrap();
        let (was, is) = (source.inventory().await.unwrap(), written.inventory().await.unwrap());
        // A backup has the name of its folder.
        assert_eq!(is.source_version, was.source_version.replace("backup_1", "to"));
        assert_eq!(is.databases, was.databases);
        for (was, is) in was.collections.iter().zip(&is.collections) {
            assert_eq!((&is.name, &is.schema, &is.partitions), (&was.name, &was.schema, &was.partitions));
            assert_eq!((&is.indexes, &is.properties, is.rows), (&was.indexes, &was.properties, was.rows));
            let one = source.open_point(&was.name, PointOptions::default()).await.unwrap();
            let other = written.open_point(&is.name, PointOptions::default()).await.unwrap();
            assert_eq!(other.description(), one.description());
            let paths = |point: &Arc<dyn CollectionPoint>| -> Vec<String> {
                point.files().iter().map(|file| file.path.clone()).collect()
            };
            assert_eq!(paths(&other), paths(&one));
            assert_eq!(count(&other).await, count(&one).await);
        }
    }
}

/// The digests of all files of a point.
async fn digests(point: &Arc<dyn CollectionPoint>) -> Vec<Digest> {
    let mut digests = Vec::new();
    for (place, file) in point.files().iter().enumerate() {
        let bytes = point.read(place, 0, usize::try_from(file.size_bytes).unwrap()).await.unwrap();
        digests.push(Digest::new(*blake3::hash(&bytes).as_bytes()));
    }
    digests
}

/// What a backup keeps of rows is what counting them all says, and a later backup reads only segments that it does not know.
#[tokio::test]
async fn rows_are_digested_segment_by_segment_and_what_is_known_is_not_read_again() {
    for name in NAMES {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), false);
        let source = MilvusBackupSource::open(folder.path()).unwrap();
        let named = format!("default.{}", name.replace('.', "_")).parse().unwrap();
        let point = source.open_point(&named, PointOptions::default()).await.unwrap();
        assert!(point.digests_rows());
        let (digests, all) = (digests(&point).await, count(&point).await);
        let counted = point.count_rows(&digests, None).await.unwrap().unwrap();
        let kept = KeptPoint::read(&counted.description, "it").unwrap();
        let sums = kept.live_by_partition().unwrap().into_values();
        assert_eq!(sums.fold(RowSum::default(), RowSum::plus), all.live, "{name}");
        assert_eq!(counted.live_rows, all.live.rows);
        assert_eq!(KeptPoint::read(point.description(), "it").unwrap().live_by_partition(), None, "not counted yet");

        // Nothing is read of what is known: the files are gone.
        std::fs::rename(folder.path().join("binlogs"), folder.path().join("away")).unwrap();
        let again = point.count_rows(&digests, Some(&counted.description)).await.unwrap().unwrap();
        assert_eq!(again, counted);
        point.count_rows(&digests, None).await.unwrap_err();
        // Another file in one segment, a delete log or any other, and that segment is read.
        for place in [0, digests.len() - 1] {
            let mut other = digests.clone();
            other[place] = Digest::new([7; 32]);
            point.count_rows(&other, Some(&counted.description)).await.unwrap_err();
        }
        // One with something in it that was later than the earlier point is read as well.
        let mut earlier = kept.clone();
        earlier.flush_timestamp = 1 << 18;
        let described = serde_json::to_value(&earlier).unwrap();
        point.count_rows(&digests, Some(&described)).await.unwrap_err();
        std::fs::rename(folder.path().join("away"), folder.path().join("binlogs")).unwrap();
        // Rows that are not as many as the server said.
        let whole = std::fs::read_to_string(folder.path().join("meta/segment_meta.json")).unwrap();
        let rows = kept.segments.iter().find(|segment| segment.rows > 0).unwrap().rows;
        let wrong = whole.replace(&format!("\"num_of_rows\":{rows}"), &format!("\"num_of_rows\":{}", rows + 1));
        assert_ne!(whole, wrong);
        std::fs::write(folder.path().join("meta/segment_meta.json"), wrong).unwrap();
        let source = MilvusBackupSource::open(folder.path()).unwrap();
        let point = source.open_point(&named, PointOptions::default()).await.unwrap();
        let error = point.count_rows(&digests, None).await.unwrap_err().to_string();
        assert!(error.contains("rows, and the server told"), "{error}");
    }
}

#[tokio::test]
async fn what_is_missing_or_unknown_is_an_error_and_no_smaller_backup() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), true);
    let open = || MilvusBackupSource::open(folder.path());
    let docs = "default.docs".parse().unwrap();
    // A log that the metadata names.
    let id = collection("docs", &[])["collection_id"].to_string();
    let insert = folder.path().join("binlogs/insert_log").join(&id);
    let first = |folder: &Path| std::fs::read_dir(folder).unwrap().next().unwrap().unwrap().path();
    let field = first(&first(&first(&first(&insert))));
    let log = first(&field);
    let bytes = std::fs::read(&log).unwrap();
    std::fs::remove_file(&log).unwrap();
    let error = open().unwrap().open_point(&docs, PointOptions::default()).await.err().unwrap();
    assert!(matches!(error, SourceError::MissingFile { .. }), "{error}");
    std::fs::write(&log, bytes).unwrap();
    // Something that is no log.
    std::fs::write(field.join("notes.txt"), "x").unwrap();
    let error = open().unwrap().inventory().await.unwrap_err();
    assert!(matches!(error, SourceError::Unsupported { .. }), "{error}");
    std::fs::remove_file(field.join("notes.txt")).unwrap();
    open().unwrap().inventory().await.unwrap();
    // Schemas that could not be given back.
    let path = folder.path().join("meta/full_meta.json");
    let full: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    let with = |change: &dyn Fn(&mut Value)| {
        let mut full = full.clone();
        change(&mut full);
        std::fs::write(&path, full.to_string()).unwrap();
    };
    with(&|full| full["collection_backups"][0]["schema"]["fields"][2]["default_value"] = json!({ "Data": {} }));
    let error = open().unwrap().inventory().await.unwrap_err().to_string();
    assert!(error.contains("`meta` has a default value"), "{error}");
    with(&|full| full["collection_backups"][0]["schema"]["functions"] = json!([{ "name": "bm25" }]));
    assert!(open().unwrap().inventory().await.unwrap_err().to_string().contains("functions"));
    with(&|full| full["format"] = "snapshot".into());
    assert!(open().unwrap_err().to_string().contains("snapshot"));
    std::fs::write(&path, "{").unwrap();
    assert!(matches!(open().unwrap_err(), SourceError::Damaged { .. }));
}

/// What is kept and cannot be restored here has a way out: the layout from which milvus-backup restores.
#[tokio::test]
async fn files_that_cannot_be_read_are_exported_as_they_are() {
    let folder = tempfile::tempdir().unwrap();
    let (from, to) = (folder.path().join("from"), folder.path().join("to"));
    write(&from, true);
    let source = MilvusBackupSource::open(&from).unwrap();
    let name = source.inventory().await.unwrap().collections[0].name.clone();
    let point = source.open_point(&name, PointOptions::default()).await.unwrap();
    let mut description = point.description().clone();
    description["segments"][0]["storageVersion"] = json!(3);
    let first = &description["segments"][0];
    let path = format!("insert_log/{}/{}/0/1", first["partitionId"], first["segmentId"]);
    let bytes = b"PAR1 of several fields".to_vec();
    let file = TargetFile { path: path.clone(), class: FileClass::Segment, size_bytes: bytes.len() as u64 };
    let mapping = CollectionMapping { from: name.clone(), to: name.clone(), load_state: RestoredLoadState::Keep };
    let collection = TargetCollection { mapping, schema: point.schema().clone(), files: vec![file], description };
    let plan = TargetPlan { databases: Vec::new(), whole_cluster: false, collections: vec![collection], access: None };
    let run = MilvusBackupTarget::new(&to).begin(&plan, &()).await.unwrap();
    run.write(0, 0, 0, bytes.clone().into()).await.unwrap();
    let restored = run.finish_collection(0).await.unwrap();
    assert_eq!(restored.file_digests, [Digest::new(*blake3::hash(&bytes).as_bytes())]);
    assert_eq!(restored.live_rows, None);
    let notes = run.commit(&()).await.unwrap().notes;
    assert!(matches!(notes.as_slice(), [note] if note.contains("rows were not counted")), "{notes:?}");
    let metadata = std::fs::read_to_string(to.join("meta/full_meta.json")).unwrap();
    assert!(metadata.contains("\"storage_version\":3"), "{metadata}");
    // Each segment is a group, as milvus-backup wants it for them, and it is read back as what it is.
    let segment = plan.collections[0].description["segments"][0]["segmentId"].to_string();
    assert!(metadata.contains(&format!("\"group_id\":{segment}")), "{metadata}");
    let again = MilvusBackupSource::open(&to).unwrap();
    let name = again.inventory().await.unwrap().collections[0].name.clone();
    let point = again.open_point(&name, PointOptions::default()).await.unwrap();
    assert_eq!(point.files().iter().map(|file| file.path.as_str()).collect::<Vec<_>>(), [path.as_str()]);
    assert!(longshore_source::cannot_be_restored(point.description()).is_some());
}
