//! Collections of a real Milvus 2.3.5 (`tests/binlogs`) restored into a Milvus Lite directory: no server is needed, and the
//! real Milvus Lite is the judge.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "common/mod.rs"]
mod common;
#[path = "fake/packed.rs"]
mod packed;

use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use common::{judge, python, tree};
use longshore_model::{CollectionMapping, Digest, FileClass};
use longshore_source::milvus::proto::common::KeyValuePair;
use longshore_source::milvus::proto::schema::{CollectionSchema, DataType, FunctionSchema, ValueField, value_field};
use longshore_source::milvus::{KeptIndex, KeptPoint, KeptRows, KeptSchema};
use longshore_source::{
    Committed, DatabaseEntry, Limits, MilvusLiteSource, MilvusLiteTarget, RestoreTarget, RestoredCollection, RowSum,
    Source, SourceError, TargetCollection, TargetFile, TargetPlan,
};
use prost::Message as _;
use serde_json::{Value, json};

/// A backup of one collection, held in memory.
struct Held {
    schema: KeptSchema,
    point: KeptPoint,
    expected: Value,
    files: Vec<(String, Vec<u8>)>,
}

impl Held {
    fn corpus(name: &str) -> Self {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/binlogs").join(name);
        let kept: Value = serde_json::from_slice(&std::fs::read(folder.join("kept.json")).unwrap()).unwrap();
        let files = tree(&folder).into_iter().filter(|(path, _)| path != "kept.json");
        Self {
            schema: KeptSchema::read(&kept["schema"], name).unwrap(),
            point: KeptPoint::read(&kept["point"], name).unwrap(),
            expected: kept["expected"].clone(),
            files: files.collect(),
        }
    }

    /// The same with another schema.
    fn with_schema(mut self, change: impl FnOnce(&mut CollectionSchema)) -> Self {
        let mut schema = self.schema.decode("it").unwrap();
        change(&mut schema);
        self.schema.message = STANDARD.encode(schema.encode_to_vec());
        self
    }

    fn plan(&self, to: &str) -> TargetPlan {
        let file = |(path, bytes): &(String, Vec<u8>)| TargetFile {
            path: path.clone(),
            class: if path.starts_with("delta_log") { FileClass::Delta } else { FileClass::Segment },
            size_bytes: bytes.len() as u64,
        };
        let collection = TargetCollection {
            mapping: CollectionMapping {
                from: "shop.docs".parse().unwrap(),
                to: to.parse().unwrap(),
                load_state: Default::default(),
            },
            schema: serde_json::to_value(&self.schema).unwrap(),
            files: self.files.iter().map(file).collect(),
            description: serde_json::to_value(&self.point).unwrap(),
        };
        let aliases = [("best".to_owned(), "docs".to_owned())].into();
        let databases = vec![DatabaseEntry { name: "shop".to_owned(), properties: json!({}), aliases }];
        TargetPlan { databases, whole_cluster: false, collections: vec![collection], access: None }
    }

    async fn restore_as(
        &self,
        to: &str,
        target: &MilvusLiteTarget,
    ) -> Result<(RestoredCollection, Committed), SourceError> {
        let run = target.begin(&self.plan(to), &()).await?;
        for (file, (_, bytes)) in self.files.iter().enumerate() {
            // The second half first: pieces may come in any order.
            let half = bytes.len() / 2;
            run.write(0, file, half as u64, bytes[half..].to_vec().into()).await?;
            run.write(0, file, 0, bytes[..half].to_vec().into()).await?;
        }
        let finished = match run.finish_collection(0).await {
            Ok(finished) => finished,
            Err(error) => {
                run.abort().await.unwrap();
                return Err(error);
            }
        };
        let digests = self.files.iter().map(|(_, bytes)| Digest::new(*blake3::hash(bytes).as_bytes()));
        assert_eq!(finished.file_digests, digests.collect::<Vec<_>>());
        Ok((finished, run.commit(&()).await?))
    }

    async fn refused(&self) -> String {
        let folder = tempfile::tempdir().unwrap();
        let error = MilvusLiteTarget::new(&folder.path().join("lite.db")).begin(&self.plan("docs"), &()).await.err();
        let error = error.expect("it does not fit");
        assert!(matches!(error, SourceError::DoesNotFit(_)), "{error}");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "nothing was written");
        error.to_string()
    }
}

fn place(folder: &tempfile::TempDir) -> PathBuf {
    folder.path().join("lite.db")
}

/// Rows in files of several fields (storage version 2) are read field by field as well, and proven by the same digest.
#[tokio::test]
async fn rows_in_files_of_several_fields_come_into_milvus_lite_as_those_of_older_files_do() {
    for name in ["docs", "two.plain"] {
        let mut held = Held::corpus(name);
        let expected = held.expected["rows"].as_u64();
        for segment in &mut held.point.segments {
            segment.storage_version = 2;
        }
        let layout = packed::Layout { files: 3, row_group: 4, ..packed::Layout::PLAIN };
        held.files = packed::pack(&held.files.into_iter().collect(), &layout).into_iter().collect();
        let folder = tempfile::tempdir().unwrap();
        let (restored, _) = held.restore_as("shop.docs", &MilvusLiteTarget::new(&place(&folder))).await.unwrap();
        assert_eq!(restored.live_rows, expected, "{name}");
        let swapped = held.files.iter().position(|(path, _)| path.contains("/101/")).unwrap();
        held.files[swapped].1.truncate(100);
        let elsewhere = tempfile::tempdir().unwrap();
        let error = held.restore_as("shop.docs", &MilvusLiteTarget::new(&place(&elsewhere))).await.unwrap_err();
        assert!(matches!(error, SourceError::Damaged { .. }), "{error}");
    }
}

/// What a client of Milvus Lite sees has the digest of what a client of the server saw.
#[tokio::test]
async fn every_row_of_a_server_is_in_milvus_lite_and_no_deleted_one() {
    for name in ["docs", "two.plain", "empty", "tenants"] {
        let (held, folder) = (Held::corpus(name), tempfile::tempdir().unwrap());
        // Several row groups and files.
        let limits = Limits { lite_file_rows: 20, lite_write_bytes: 4_000, ..Limits::DEFAULT };
        let target = MilvusLiteTarget::with_limits(&place(&folder), limits);
        let (restored, _) = held.restore_as("shop.docs", &target).await.unwrap();
        let promised: u64 = held.point.segments.iter().map(|segment| segment.rows).sum();
        assert_eq!((restored.physical_rows, restored.live_rows), (promised, held.expected["rows"].as_u64()), "{name}");
        let inventory = MilvusLiteSource::open(&place(&folder)).unwrap().inventory().await.unwrap();
        assert_eq!(Some(inventory.collections[0].rows), held.expected["rows"].as_u64(), "{name}");
        assert_eq!(inventory.databases[1].aliases.get("best").map(String::as_str), Some("docs"), "{name}");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "no staging folder is left");
        let Some(python) = python("every_row_of_a_server_is_in_milvus_lite") else { continue };
        let path = place(&folder);
        let path = path.to_str().unwrap();
        let arguments =
            if name == "empty" { vec!["digest", path, "shop.docs"] } else { vec!["use", path, "shop.docs", "vec"] };
        let found: Value = serde_json::from_str(&judge(&python, &arguments)).unwrap();
        assert_eq!(found["rows"], held.expected["rows"], "{name}");
        // Partitions of a partition key are others.
        if name != "tenants" && name != "empty" {
            assert_eq!(found["digest"], held.expected["digest"], "{name}");
        }
        if name != "empty" {
            assert_eq!(
                (&found["found"], found["before"].as_u64()),
                (&found["searches"], found["rows"].as_u64()),
                "{name}"
            );
            assert_eq!(found["after"].as_u64(), found["before"].as_u64().map(|rows| rows + 1), "{name}: {found}");
        }
    }
}

/// Milvus Lite goes on counting after the largest number of a row; a new key must not be one that is there.
#[tokio::test]
async fn automatic_keys_go_on_after_those_that_are_there() {
    let (held, folder) = (Held::corpus("tenants"), tempfile::tempdir().unwrap());
    held.restore_as("docs", &MilvusLiteTarget::new(&place(&folder))).await.unwrap();
    let manifest = std::fs::read(place(&folder).join("collections/docs/manifest.json")).unwrap();
    let manifest: Value = serde_json::from_slice(&manifest).unwrap();
    // The server's are hybrid timestamps.
    assert!(manifest["current_seq"].as_u64().unwrap() > 400_000_000_000_000_000, "{}", manifest["current_seq"]);
    let partitions = manifest["partitions"].as_object().unwrap();
    assert_eq!(partitions.len(), 17, "_default and 16 of the key: {partitions:?}");
}

#[tokio::test]
async fn schema_and_indexes_are_those_of_the_server() {
    let (mut held, folder) = (Held::corpus("docs"), tempfile::tempdir().unwrap());
    held.schema.properties.push(("mmap.enabled".to_owned(), "true".to_owned()));
    let index = |field: &str, params: &[(&str, &str)]| KeptIndex {
        field_name: field.to_owned(),
        index_name: format!("{field}_idx"),
        params: params.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect(),
    };
    held.schema.indexes.push(index("meta", &[("index_type", "INVERTED")]));
    let held = held.with_schema(|schema| {
        let default = ValueField { data: Some(value_field::Data::LongData(7)) };
        schema.fields[3].default_value = default.encode_to_vec();
    });
    let (_, done) = held.restore_as("docs", &MilvusLiteTarget::new(&place(&folder))).await.unwrap();
    assert_eq!(
        done.notes,
        ["collection shop.docs: the index `meta_idx` on field `meta` is left out: Milvus Lite makes none for its type"]
    );
    let read = |path: &str| -> Value {
        serde_json::from_slice(&std::fs::read(place(&folder).join("collections/docs").join(path)).unwrap()).unwrap()
    };
    let schema = read("schema.json");
    assert_eq!(schema["properties"], json!({"mmap.enabled": "true"}), "without the time to live");
    let field =
        |name: &str| schema["fields"].as_array().unwrap().iter().find(|one| one["name"] == name).unwrap().clone();
    assert_eq!((field("n")["default_value"].clone(), field("id")["max_length"].clone()), (json!(7), json!(64)));
    let tags = field("tags");
    assert_eq!((&tags["element_type"], &tags["max_capacity"]), (&json!("varchar"), &json!(8)));
    let indexes = &read("manifest.json")["index_specs"];
    assert_eq!(
        indexes["vec"],
        json!({
            "field_name": "vec", "index_type": "HNSW", "metric_type": "COSINE",
            "build_params": {"M": 16, "efConstruction": 64}, "search_params": {},
        })
    );
    assert_eq!(indexes["title"]["index_type"], "INVERTED");
    let Some(python) = python("schema_and_indexes_are_those_of_the_server") else { return };
    let dumped: Value = serde_json::from_str(&judge(&python, &["dump", place(&folder).to_str().unwrap()])).unwrap();
    let dumped = &dumped["default.docs"];
    assert_eq!((&dumped["dynamic"], &dumped["partitions"]), (&json!(true), &json!(["_default", "p1", "p2"])));
    assert_eq!(dumped["indexes"]["vec"]["index_type"], "HNSW", "{dumped}");
}

/// What the directory has already stays, and the new collection is beside it.
#[tokio::test]
async fn a_collection_comes_into_a_directory_with_others() {
    let (held, folder) = (Held::corpus("two.plain"), tempfile::tempdir().unwrap());
    let path = common::sample(folder.path());
    let before = tree(&path);
    held.restore_as("shop.docs", &MilvusLiteTarget::new(&path)).await.unwrap();
    let after = tree(&path);
    assert!(before.iter().all(|(file, bytes)| after.get(file) == Some(bytes)));
    let names = MilvusLiteSource::open(&path).unwrap().collection_names().await.unwrap();
    assert!(names.iter().any(|name| name.to_string() == "shop.docs"), "{names:?}");
    let error = held.restore_as("shop.docs", &MilvusLiteTarget::new(&path)).await.unwrap_err();
    assert!(matches!(error, SourceError::CollectionExists { .. }), "{error}");
}

#[tokio::test]
async fn what_does_not_fit_is_refused_with_the_names_of_the_fields() {
    let of = |number: usize, kind: DataType| {
        Held::corpus("docs").with_schema(move |schema| schema.fields[number].data_type = kind.into())
    };
    let mut said = vec![Held::corpus("two.binv").refused().await];
    for (number, kind) in [
        (1, DataType::Float16Vector),
        (1, DataType::BFloat16Vector),
        (1, DataType::Int8Vector),
        (1, DataType::SparseFloatVector),
        (10, DataType::Geometry),
        (10, DataType::Timestamptz),
        (10, DataType::Text),
    ] {
        said.push(of(number, kind).refused().await);
    }
    let change = |change: fn(&mut CollectionSchema)| Held::corpus("docs").with_schema(change);
    for held in [
        change(|schema| schema.fields[9].element_type = DataType::Json.into()),
        change(|schema| schema.fields[9].data_type = 999),
        change(|schema| schema.fields[4].name = "Interval".to_owned()),
        change(|schema| schema.fields[4].name = "_seq".to_owned()),
        change(|schema| schema.fields[0].auto_id = true),
        change(|schema| schema.fields[1].nullable = true),
        change(|schema| drop(schema.fields.remove(1))),
        change(|schema| {
            let pair = KeyValuePair { key: "enable_analyzer".to_owned(), value: "true".to_owned() };
            schema.fields[10].type_params.push(pair);
        }),
        change(|schema| {
            schema.functions.push(FunctionSchema {
                name: "bm25".to_owned(),
                output_field_names: vec!["sparse".to_owned()],
                ..FunctionSchema::default()
            });
        }),
        // Several at once.
        change(|schema| {
            schema.fields[1].data_type = DataType::BinaryVector.into();
            schema.fields[4].name = "iso".to_owned();
        }),
    ] {
        said.push(held.refused().await);
    }
    let mut held = Held::corpus("docs");
    held.schema.partitions.push("_all".to_owned());
    said.push(held.refused().await);
    let mut held = Held::corpus("docs");
    held.point.segments[0].storage_version = 3;
    said.push(held.refused().await);
    insta::assert_snapshot!(said.join("\n"));
}

/// Two rows of one key are two rows of a server; Milvus Lite would show one of them.
#[tokio::test]
async fn rows_that_share_a_key_are_no_silent_loss() {
    let mut held = Held::corpus("two.plain");
    let copies: Vec<(String, Vec<u8>)> =
        held.files.iter().filter(|(path, _)| path.starts_with("insert_log")).cloned().collect();
    let segment = held.point.segments[0].segment_id;
    let mut doubled = held.point.segments[0].clone();
    doubled.segment_id = 7;
    held.point.segments.push(doubled);
    held.files.extend(
        copies
            .into_iter()
            .filter(|(path, _)| path.contains(&format!("/{segment}/")))
            .map(|(path, bytes)| (path.replace(&format!("/{segment}/"), "/7/"), bytes)),
    );
    held.files.sort();
    let folder = tempfile::tempdir().unwrap();
    for count_memory_bytes in [1_000, Limits::DEFAULT.count_memory_bytes] {
        let limits = Limits { count_memory_bytes, ..Limits::DEFAULT };
        let target = MilvusLiteTarget::with_limits(&place(&folder), limits);
        let error = held.restore_as("docs", &target).await.unwrap_err();
        assert!(matches!(error, SourceError::DoesNotFit(_) | SourceError::LimitExceeded { .. }), "{error}");
        if let SourceError::DoesNotFit(_) = error {
            // The copies are not deleted, because deletes stand beside their own segment.
            assert!(error.to_string().contains("27 of its rows share their key `id`"), "{error}");
        }
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "nothing is left");
    }
}

/// The rows are those that the backup counted, or the restore fails.
#[tokio::test]
async fn rows_that_differ_from_the_manifest_are_found() {
    let mut held = Held::corpus("two.plain");
    for segment in &mut held.point.segments {
        segment.live = Some(KeptRows { sum: RowSum::default(), of: Digest::new([0; 32]), is_whole: true });
    }
    let folder = tempfile::tempdir().unwrap();
    let error = held.restore_as("docs", &MilvusLiteTarget::new(&place(&folder))).await.unwrap_err();
    assert!(matches!(error, SourceError::RowsDiffer { .. }), "{error}");
    assert!(error.to_string().contains("has 27 live rows, 27 more than the 0 of the backup"), "{error}");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "nothing is left");
    // And a log that is not there.
    let mut held = Held::corpus("docs");
    held.files.retain(|(path, _)| !path.contains("/105/"));
    let error = held.restore_as("docs", &MilvusLiteTarget::new(&place(&folder))).await.unwrap_err();
    assert!(matches!(error, SourceError::Damaged { .. }), "{error}");
}

/// A run that was stopped leaves what was fetched, and the next one makes everything of it anew.
#[tokio::test]
async fn a_stopped_restore_goes_on_with_what_was_fetched() {
    let (held, folder) = (Held::corpus("docs"), tempfile::tempdir().unwrap());
    let target = MilvusLiteTarget::new(&place(&folder));
    let run = target.begin(&held.plan("docs"), &()).await.unwrap();
    for (file, (_, bytes)) in held.files.iter().enumerate() {
        run.write(0, file, 0, bytes.clone().into()).await.unwrap();
    }
    run.finish_collection(0).await.unwrap();
    run.suspend().await.unwrap();
    let run = target.begin(&held.plan("docs"), &()).await.unwrap();
    for (file, (_, bytes)) in held.files.iter().enumerate() {
        let left = run.left_over(0, file).await.unwrap();
        assert_eq!(left, Some(Digest::new(*blake3::hash(bytes).as_bytes())));
    }
    let finished = run.finish_collection(0).await.unwrap();
    assert_eq!(finished.live_rows, held.expected["rows"].as_u64());
    run.commit(&()).await.unwrap();
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "no staging folder is left");
}

#[tokio::test]
async fn paths_that_are_no_logs_are_refused() {
    for path in ["../x", "insert_log/1/2/3", "insert_log/1/../2/3/4", "1/insert_log/1/2/3/4", ""] {
        let mut held = Held::corpus("two.plain");
        held.files[0].0 = path.to_owned();
        let folder = tempfile::tempdir().unwrap();
        let error = MilvusLiteTarget::new(&place(&folder)).begin(&held.plan("docs"), &()).await.err().unwrap();
        assert!(matches!(error, SourceError::BadPlan { .. }), "{path}: {error}");
    }
}
