//! Both ways, without a server: collections of a real Milvus 2.3.5 (`tests/binlogs`) become Milvus Lite and logs of a server again,
//! and those of a real Milvus Lite (`examples/sample-cluster`) become logs.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use longshore_model::FileClass;
use serde_json::Value;

use super::fit_lite::lite_plan;
use super::fit_server::server_plan;
use super::into_lite::{IntoLite, bucket};
use super::into_server::{ForServer, IntoServer, place_of};
use super::lite_files::DataReader;
use super::lite_rows::LiteFiles;
use super::lite_schema::{LiteType, Scalar};
use crate::disk::{Folder, OpenFile, ReadAt};
use crate::milvus::{CollectionLogs, KeptPoint, KeptSchema, RowSchema};
use crate::{Limits, RowSum, SourceError, StoredBytes, StoredFile, TargetFile};

struct Bytes(OpenFile);

impl StoredBytes for Bytes {
    fn fill(&self, buffer: &mut [u8], offset: u64) -> std::io::Result<()> {
        self.0.file.fill(buffer, offset)
    }
}

fn paths(root: &Path, within: &Path, found: &mut Vec<String>) {
    for path in std::fs::read_dir(within).unwrap().map(|entry| entry.unwrap().path()).collect::<Vec<PathBuf>>() {
        if path.is_dir() {
            paths(root, &path, found);
        } else {
            found.push(path.strip_prefix(root).unwrap().to_str().unwrap().to_owned());
        }
    }
}

fn files_of(root: &Path) -> Vec<String> {
    let mut found = Vec::new();
    paths(root, root, &mut found);
    found.sort();
    found
}

/// The logs of a server below a folder.
fn logs(root: &Path) -> Vec<StoredFile> {
    let is_log = |path: &String| path.starts_with("insert_log") || path.starts_with("delta_log");
    let stored = files_of(root).into_iter().filter(is_log).map(|path| {
        let file = Folder::at(root).file(&path).unwrap().unwrap();
        let class = if path.starts_with("delta_log") { FileClass::Delta } else { FileClass::Segment };
        StoredFile { path, class, size_bytes: file.stat.size_bytes, bytes: Arc::new(Bytes(file)) }
    });
    stored.collect()
}

/// The files of a Milvus Lite collection.
fn lite_files(root: &Path) -> Vec<TargetFile> {
    let class = |path: &str| match path.split('/').next().unwrap() {
        "wal" => FileClass::Wal,
        "partitions" if path.contains("/delta/") => FileClass::Delta,
        "partitions" if path.contains("/indexes/") => FileClass::Index,
        "partitions" => FileClass::Segment,
        _ => FileClass::Metadata,
    };
    let files = files_of(root).into_iter().filter(|path| !path.ends_with(".prev"));
    let size_bytes = |path: &str| Folder::at(root).stat(path).unwrap().unwrap().size_bytes;
    files.map(|path| TargetFile { class: class(&path), size_bytes: size_bytes(&path), path }).collect()
}

struct Corpus {
    schema: KeptSchema,
    point: KeptPoint,
    expected: Value,
    files: Vec<StoredFile>,
}

fn corpus(name: &str) -> Corpus {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/binlogs").join(name);
    let kept: Value = serde_json::from_slice(&std::fs::read(root.join("kept.json")).unwrap()).unwrap();
    Corpus {
        schema: KeptSchema::read(&kept["schema"], name).unwrap(),
        point: KeptPoint::read(&kept["point"], name).unwrap(),
        expected: kept["expected"].clone(),
        files: logs(&root),
    }
}

fn sum(rows: &BTreeMap<String, RowSum>) -> RowSum {
    rows.values().copied().fold(RowSum::default(), RowSum::plus)
}

/// Makes Milvus Lite of a corpus in a folder.
fn into_lite(corpus: &Corpus, to: &Path, limits: &Limits) {
    let name = "shop.docs".parse().unwrap();
    let decoded = corpus.schema.decode("it").unwrap();
    let plan = lite_plan(&name, &corpus.schema, &decoded, &corpus.point).unwrap();
    let rows = RowSchema::of(&decoded, "it").unwrap();
    let (point, target) = (&corpus.point, Folder::at(to));
    let job = IntoLite { from: &name, to: &name, plan: &plan, rows: &rows, point, folder: &target, limits };
    let made = job.run(&corpus.files).unwrap();
    let expected = corpus.expected["rows"].as_u64().unwrap();
    assert_eq!(sum(&made.live).rows, expected);
    if let Some(digest) = corpus.expected["digest"].as_str() {
        assert_eq!(sum(&made.live).digest().to_string(), digest);
    }
}

/// Makes logs of a server of a Milvus Lite collection in a folder.
fn into_server(lite: &Path, to: &Path, limits: &Limits) -> Result<ForServer, SourceError> {
    let name = "shop.docs".parse().unwrap();
    let schema: Value = serde_json::from_slice(&std::fs::read(lite.join("schema.json")).unwrap()).unwrap();
    let plan = server_plan(&name, &name, &schema).unwrap().unwrap();
    let rows = RowSchema::of(&plan.decoded, "it").unwrap();
    let target = Arc::new(Folder::at(to));
    let (from, files) = (Folder::at(lite), lite_files(lite));
    let job = IntoServer { from: &name, to: &name, plan: &plan, rows: &rows, folder: &target, limits };
    job.run(LiteFiles { folder: &from, files: &files })
}

/// Small enough that everything is in several pieces.
fn small() -> Limits {
    Limits { lite_file_rows: 20, lite_write_bytes: 3_000, import_segment_bytes: 10_000, ..Limits::DEFAULT }
}

#[test]
fn a_collection_that_goes_to_milvus_lite_and_back_has_the_digest_that_it_had() {
    for name in ["docs", "two.plain", "empty", "tenants"] {
        for limits in [Limits::DEFAULT, small()] {
            let corpus = corpus(name);
            let (lite, server) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
            into_lite(&corpus, lite.path(), &limits);
            let made = into_server(lite.path(), server.path(), &limits).unwrap();
            assert_eq!(sum(&made.live).rows, corpus.expected["rows"].as_u64().unwrap(), "{name}");
            assert_eq!(made.notes, Vec::<String>::new(), "{name}");
            // Read once more, as a backup of a server is.
            let rows = RowSchema::of(&made.schema.decode("it").unwrap(), "it").unwrap();
            let name_of =
                |id: i64| made.point.partitions.iter().find(|one| one.partition_id == id).map(|one| one.name.clone());
            let counted =
                CollectionLogs::of(&logs(server.path())).unwrap().count(&rows, &name_of, None, &limits).unwrap();
            let found = counted.into_values().map(|rows| rows.live).fold(RowSum::default(), RowSum::plus);
            assert_eq!(found, sum(&made.live), "{name}");
            if name == "tenants" {
                assert_eq!(made.schema.partitions.len(), 16);
            } else if let Some(digest) = corpus.expected["digest"].as_str() {
                assert_eq!(found.digest().to_string(), digest, "{name}");
            }
            if name != "tenants" {
                let (mut was, mut is) = (corpus.schema.partitions.clone(), made.schema.partitions.clone());
                was.sort();
                is.sort();
                assert_eq!(was, is, "{name}");
            }
            let decoded = (corpus.schema.decode("it").unwrap(), made.schema.decode("it").unwrap());
            let of_fields = |schema: &crate::milvus::proto::schema::CollectionSchema| {
                let fields = schema.fields.iter().map(|field| {
                    let mut params: Vec<_> =
                        field.type_params.iter().map(|pair| (pair.key.clone(), pair.value.clone())).collect();
                    params.sort();
                    (field.name.clone(), field.field_id, field.data_type, field.element_type, field.auto_id, params)
                });
                (fields.collect::<Vec<_>>(), schema.enable_dynamic_field)
            };
            assert_eq!(of_fields(&decoded.0), of_fields(&decoded.1), "{name}");
        }
    }
}

#[test]
fn what_milvus_lite_wrote_becomes_logs_with_every_live_row() {
    let sample = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/sample-cluster");
    for name in [
        "collections/medium_articles",
        "collections/python_manual",
        "collections/recent_searches",
        "databases/handbook/collections/postgres_manual",
        "databases/handbook/collections/postgres_commands",
    ] {
        let root = sample.join(name);
        let made = |limits: &Limits| {
            let to = tempfile::tempdir().unwrap();
            let made = into_server(&root, to.path(), limits).unwrap();
            (made.live, made.physical_rows)
        };
        let whole = made(&Limits::DEFAULT);
        assert!(sum(&whole.0).rows > 0 && sum(&whole.0).rows <= whole.1, "{name}");
        assert_eq!(whole, made(&small()), "{name}: how it is split does not matter");
        let few = Limits { count_memory_bytes: 100, ..Limits::DEFAULT };
        let refused = into_server(&root, tempfile::tempdir().unwrap().path(), &few);
        assert!(matches!(refused, Err(SourceError::LimitExceeded { .. })), "{name}");
    }
}

/// Both kinds were asked: the real partitions of real rows.
#[test]
fn partitions_of_a_key_are_those_that_the_real_ones_chose() {
    // A server with 4 partitions.
    let corpus = corpus("tenants");
    let lite = tempfile::tempdir().unwrap();
    into_lite(&corpus, lite.path(), &Limits::DEFAULT);
    let text = LiteType::Scalar(Scalar::VarChar);
    let logs = CollectionLogs::of(&corpus.files).unwrap();
    let rows = RowSchema::of(&corpus.schema.decode("it").unwrap(), "it").unwrap();
    let mut seen = 0;
    for segment in logs.segments() {
        let partition = corpus.point.partitions.iter().find(|one| one.partition_id == segment.partition_id).unwrap();
        let mut pieces =
            crate::milvus::SegmentPieces::open(segment, &rows, &BTreeMap::new(), None, &Limits::DEFAULT).unwrap();
        let place = pieces.names().position(|name| name == "tenant").unwrap();
        while let Some(piece) = pieces.next().unwrap() {
            for tenant in piece.columns[place].iter() {
                assert_eq!(format!("_default_{}", place_of(text, tenant, 4)), partition.name);
                seen += 1;
            }
        }
    }
    assert!(seen > 20, "{seen}");
    // Milvus Lite with its 16.
    let sample = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/sample-cluster/collections/python_manual");
    let schema: Value = serde_json::from_slice(&std::fs::read(sample.join("schema.json")).unwrap()).unwrap();
    let plan = server_plan(&"a".parse().unwrap(), &"a".parse().unwrap(), &schema).unwrap().unwrap();
    let place = plan.lite.columns().iter().position(|(name, _)| *name == "chapter").unwrap();
    let mut seen = 0;
    for file in lite_files(&sample).iter().filter(|file| file.class == FileClass::Segment) {
        let opened = Arc::new(Folder::at(&sample).seen_file(&file.path).unwrap());
        let mut reader = DataReader::open(&opened, &plan.lite, &Limits::DEFAULT).unwrap();
        while let Some(piece) = reader.next().unwrap() {
            for row in 0..piece.rows {
                let number = bucket(text, piece.columns.get(place), row);
                assert!(file.path.starts_with(&format!("partitions/_pk_{number}/")), "{}", file.path);
                seen += 1;
            }
        }
    }
    assert!(seen > 20, "{seen}");
}
