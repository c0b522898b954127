//! Collections with more files than a process may have open. A binary of its own with one test: the limit holds for the
//! whole process.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod fake;

use std::sync::Arc;

use arrow_array::types::Float32Type;
use arrow_array::{ArrayRef, FixedSizeListArray, Int64Array, RecordBatch, UInt64Array};
use fake::{Answer, Fake};
use longshore_model::{CollectionMapping, Digest, FileClass};
use longshore_source::milvus::proto::common::Status;
use longshore_source::milvus::proto::milvus::{DescribeCollectionResponse, GetVersionResponse};
use longshore_source::milvus::{ServerAddress, StorageLocation};
use longshore_source::{
    Limits, MilvusServer, MilvusTarget, MilvusTargetOptions, RestoreTarget, TargetCollection, TargetFile, TargetPlan,
};
use parquet::arrow::ArrowWriter;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde_json::json;

/// What the process may have open.
const DESCRIPTORS: u64 = 64;
/// Data files, of two rows each; so many are the logs that are made of them, and more.
const FILES: u64 = 100;

fn data_file(number: u64) -> (String, Vec<u8>) {
    let numbers = [2 * number + 1, 2 * number + 2];
    let vectors = numbers.map(|number| Some([Some(number as f32), Some(1.0)]));
    let columns: [(&str, ArrayRef); 3] = [
        ("_seq", Arc::new(UInt64Array::from(numbers.to_vec()))),
        ("id", Arc::new(Int64Array::from_iter_values(numbers.map(|number| i64::try_from(number).unwrap())))),
        ("vec", Arc::new(FixedSizeListArray::from_iter_primitive::<Float32Type, _, _>(vectors, 2))),
    ];
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    let mut writer = ArrowWriter::try_new(Vec::new(), batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    (format!("data/data_{:06}_{:06}.parquet", numbers[0], numbers[1]), writer.into_inner().unwrap())
}

/// The files of a collection of Milvus Lite, and the plan that restores them.
fn collection() -> (Vec<(TargetFile, Vec<u8>)>, TargetPlan) {
    let schema = json!({
        "collection_name": "docs", "schema_format_version": 2, "version": 1, "enable_dynamic_field": false, "properties": {},
        "fields": [
            {"name": "id", "dtype": "int64", "nullable": false, "is_primary": true},
            {"name": "vec", "dtype": "float_vector", "nullable": false, "dim": 2},
        ],
    });
    let data: Vec<_> = (0..FILES).map(data_file).collect();
    let names: Vec<&str> = data.iter().map(|(name, _)| name.as_str()).collect();
    let manifest = json!({
        "manifest_format_version": 2, "version": 1, "current_seq": 2 * FILES, "index_specs": {},
        "partitions": {"_default": {"data_files": names, "delta_files": []}},
    });
    let metadata = [("schema.json", &schema), ("manifest.json", &manifest)];
    let metadata = metadata.map(|(path, value)| (path.to_owned(), FileClass::Metadata, value.to_string().into_bytes()));
    let data = data.into_iter().map(|(name, bytes)| (format!("partitions/_default/{name}"), FileClass::Segment, bytes));
    let files = metadata.into_iter().chain(data).map(|(path, class, bytes)| {
        let size_bytes = bytes.len() as u64;
        (TargetFile { path, class, size_bytes }, bytes)
    });
    let files: Vec<_> = files.collect();
    let mapping = CollectionMapping {
        from: "docs".parse().unwrap(),
        to: "docs".parse().unwrap(),
        load_state: Default::default(),
    };
    let planned = files.iter().map(|(file, _)| file.clone()).collect();
    let collection = TargetCollection { mapping, schema, files: planned, description: json!({}) };
    let plan = TargetPlan { databases: Vec::new(), whole_cluster: false, collections: vec![collection], access: None };
    (files, plan)
}

/// Nothing is in it, and nothing is made in it here: that begins with the commit.
async fn empty_server() -> Fake {
    Fake::start(|call, _| match call.name.as_str() {
        "GetVersion" => Answer::of(&GetVersionResponse { version: "2.3.9".to_owned(), ..Default::default() }),
        "DescribeCollection" => {
            let status = Some(Status { code: 100, ..Status::default() });
            Answer::of(&DescribeCollectionResponse { status, ..Default::default() })
        }
        _ => Answer::Status(12, "unknown method"),
    })
    .await
}

#[tokio::test]
async fn more_files_of_milvus_lite_than_descriptors_become_logs_of_a_server() {
    let limit = Rlimit { current: Some(DESCRIPTORS), maximum: getrlimit(Resource::Nofile).maximum };
    setrlimit(Resource::Nofile, limit).unwrap();
    let (server, storage, (files, plan)) = (empty_server().await, tempfile::tempdir().unwrap(), collection());
    let address = ServerAddress::open(&server.address);
    let place = StorageLocation::Folder(storage.path().to_owned());
    // Each piece of two rows becomes logs of its own.
    let limits = Limits { lite_write_bytes: 1, ..Limits::DEFAULT };
    let server = MilvusServer { address, storage: place };
    let target = MilvusTarget::with_limits(server, MilvusTargetOptions::default(), limits);
    let run = target.begin(&plan, &()).await.unwrap();
    for (number, (_, bytes)) in files.iter().enumerate() {
        run.write(0, number, 0, bytes.clone().into()).await.unwrap();
    }
    let finished = run.finish_collection(0).await.unwrap();
    assert_eq!((finished.physical_rows, finished.live_rows), (2 * FILES, Some(2 * FILES)));
    let digests = files.iter().map(|(_, bytes)| Digest::new(*blake3::hash(bytes).as_bytes()));
    assert_eq!(finished.file_digests, digests.collect::<Vec<_>>());
    run.abort().await.unwrap();
}
