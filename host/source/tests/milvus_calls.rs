//! How a Milvus server is called: what is sent, what is sent again, what its refusals mean; and what is read from versions
//! that cannot be run here.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod fake;

use std::sync::Arc;
use std::time::Duration;

use fake::{Answer, Fake, fixed};
use longshore_model::{FileClass, SystemClock};
use longshore_source::milvus::proto::common::{SegmentLevel, SegmentState, ServerInfo, Status};
use longshore_source::milvus::proto::milvus::{
    BackupRbacMetaResponse, ConnectResponse, DescribeCollectionRequest, DescribeCollectionResponse,
    DescribeDatabaseResponse, FlushResponse, GetFlushStateResponse, GetLoadStateResponse,
    GetPersistentSegmentInfoResponse, InsertRequest, ListDatabasesRequest, ListDatabasesResponse, MutationResult,
    PersistentSegmentInfo, SelectGrantResponse, SelectRoleResponse, SelectUserResponse, ShowCollectionsResponse,
    ShowPartitionsResponse,
};
use longshore_source::milvus::proto::schema::{CollectionSchema, DataType, FieldSchema};
use longshore_source::milvus::{
    Credentials, KeptPoint, MilvusClient, MilvusServer, MilvusSource, Refusal, Secret, ServerAddress, StorageLocation,
};
use longshore_source::{Limits, PointOptions, PointState, Source, SourceError};
use parquet::data_type::Int64Type;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;
use prost::Message;

const LIMITS: Limits = Limits {
    call_timeout_ms: 300,
    call_pause_ms: 1,
    call_longest_pause_ms: 2,
    unavailable_patience_ms: 2_000,
    rate_patience_ms: 2_000,
    flush_pause_ms: 1,
    flush_longest_pause_ms: 2,
    ..Limits::DEFAULT
};

fn version(build_tags: &str) -> Vec<u8> {
    let server_info = Some(ServerInfo { build_tags: build_tags.to_owned(), ..ServerInfo::default() });
    ConnectResponse { server_info, ..ConnectResponse::default() }.encode_to_vec()
}

async fn connect(fake: &Fake) -> MilvusClient {
    MilvusClient::connect(&ServerAddress::open(&fake.address), LIMITS).await.unwrap()
}

#[tokio::test]
async fn a_call_carries_credentials_and_its_database_twice() {
    let fake = Fake::start(fixed(vec![
        ("Connect", version("v2.3.5-lite")),
        ("DescribeCollection", DescribeCollectionResponse::default().encode_to_vec()),
    ]))
    .await;
    let credentials = Credentials::Password { user: "root".to_owned(), password: Secret::new("Milvus") };
    let address = ServerAddress { credentials: Some(credentials), ..ServerAddress::open(&fake.address) };
    let client = MilvusClient::connect(&address, LIMITS).await.unwrap();
    assert_eq!(client.version().unwrap().to_string(), "2.3.5");
    let request = DescribeCollectionRequest {
        db_name: "sales".to_owned(),
        collection_name: "docs".to_owned(),
        ..DescribeCollectionRequest::default()
    };
    client.call(request.clone()).await.unwrap();
    let call = fake.calls("DescribeCollection").pop().unwrap();
    assert_eq!(call.headers["dbname"], "sales");
    assert_eq!(call.headers["authorization"], "cm9vdDpNaWx2dXM=");
    assert_eq!(DescribeCollectionRequest::decode(call.body).unwrap(), request);
    assert!(call.headers.contains_key("grpc-timeout"));
}

#[tokio::test]
async fn only_what_may_be_repeated_is_sent_again() {
    let fake = Fake::start(|call, before| match call.name.as_str() {
        "Connect" => Answer::Message(version("v2.4.0")),
        "ListDatabases" if before < 3 => Answer::Status(14, "away"),
        "ListDatabases" => Answer::of(&ListDatabasesResponse::default()),
        _ => Answer::Status(14, "away"),
    })
    .await;
    let client = connect(&fake).await;
    client.call(ListDatabasesRequest {}).await.unwrap();
    assert_eq!(fake.calls("ListDatabases").len(), 4);
    let error = client.call(InsertRequest::default()).await.unwrap_err();
    assert!(matches!(error, SourceError::ServerUnreachable { .. }), "{error}");
    assert_eq!(fake.calls("Insert").len(), 1, "rows would be there twice");
}

#[tokio::test]
async fn what_was_refused_for_its_rate_is_sent_again_whatever_it_is() {
    let refused = |code, error_code| MutationResult {
        status: Some(Status { code, error_code, reason: "rate limit exceeded".to_owned(), ..Status::default() }),
        ..MutationResult::default()
    };
    let fake = Fake::start(move |call, before| match (call.name.as_str(), before) {
        ("Connect", _) => Answer::Message(version("v2.4.0")),
        ("Insert", 0) => Answer::of(&refused(8, 0)),
        // As servers before 2.3 say it.
        ("Insert", 1) => Answer::of(&refused(0, 49)),
        _ => Answer::of(&MutationResult { insert_cnt: 7, ..MutationResult::default() }),
    })
    .await;
    assert_eq!(connect(&fake).await.call(InsertRequest::default()).await.unwrap().insert_cnt, 7);
    assert_eq!(fake.calls("Insert").len(), 3);
}

#[tokio::test]
async fn each_way_to_say_no_has_its_own_error() {
    let fake = Fake::start(|call, before| match (call.name.as_str(), before) {
        ("Connect", _) => Answer::Status(12, "unknown method"),
        ("GetVersion", _) => Answer::Message(version_answer("2.3.9")),
        ("ListDatabases", 0) => Answer::Status(16, "auth check failure"),
        ("ListDatabases", 1) => Answer::Status(7, "PrivilegeListDatabases"),
        ("ListDatabases", 2) => Answer::Status(12, "unknown method"),
        ("ListDatabases", 3) => Answer::Never,
        ("ListDatabases", 4) => {
            let status = Status { error_code: 1, reason: "it is broken".to_owned(), ..Status::default() };
            Answer::of(&ListDatabasesResponse { status: Some(status), ..ListDatabasesResponse::default() })
        }
        _ => Answer::Message(vec![0xff; 9]),
    })
    .await;
    let client = connect(&fake).await;
    assert_eq!(client.version_text(), "2.3.9", "a server that does not know Connect");
    let mut said = Vec::new();
    for _ in 0..6 {
        said.push(client.call(ListDatabasesRequest {}).await.unwrap_err());
    }
    assert!(matches!(said[0], SourceError::NotLetIn { .. }), "{}", said[0]);
    assert!(matches!(said[1], SourceError::NotPermitted { call: "ListDatabases", .. }), "{}", said[1]);
    assert!(matches!(said[2], SourceError::CallNotOffered { .. }), "{}", said[2]);
    assert!(matches!(said[3], SourceError::NoAnswer { waited_ms: 300, .. }), "{}", said[3]);
    assert!(matches!(said[4], SourceError::CallRefused { refusal: Refusal::Other, code: 1, .. }), "{}", said[4]);
    assert!(said[4].to_string().contains("it is broken"));
    assert!(matches!(said[5], SourceError::CallRefused { .. }), "{}", said[5]);
    let nobody = MilvusClient::connect(&ServerAddress::open("127.0.0.1:1"), LIMITS).await.unwrap_err();
    assert!(nobody.to_string().contains("refused"), "{nobody}");
}

fn version_answer(version: &str) -> Vec<u8> {
    longshore_source::milvus::proto::milvus::GetVersionResponse { version: version.to_owned(), ..Default::default() }
        .encode_to_vec()
}

const FLUSHED_MS: u64 = 1_790_000_000_000;

/// A log that says of itself when its first and its last entry were, in milliseconds from the flush.
fn log(folder: &std::path::Path, path: &str, first_ms: i64, last_ms: i64) {
    let mut bytes = 0x00ff_fabc_u32.to_le_bytes().to_vec();
    bytes.resize(4 + 17 + 32, 0);
    for ms in [first_ms, last_ms] {
        bytes.extend((FLUSHED_MS.wrapping_add_signed(ms) << 18).to_le_bytes());
    }
    bytes.resize(200, 0);
    let path = folder.join(path);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, bytes).unwrap();
}

/// A log of timestamps with rows at these milliseconds around the flush, as Milvus writes it.
fn log_of_rows(folder: &std::path::Path, path: &str, rows_ms: &[i64]) {
    let rows: Vec<i64> = rows_ms.iter().map(|ms| ((FLUSHED_MS.wrapping_add_signed(*ms)) << 18) as i64).collect();
    let schema = Arc::new(parse_message_type("message schema { required int64 val; }").unwrap());
    let mut payload = Vec::new();
    let mut writer = SerializedFileWriter::new(&mut payload, schema, Arc::default()).unwrap();
    let mut group = writer.next_row_group().unwrap();
    let mut column = group.next_column().unwrap().unwrap();
    column.typed::<Int64Type>().write_batch(&rows, None, None).unwrap();
    column.close().unwrap();
    group.close().unwrap();
    writer.close().unwrap();
    let span: Vec<u8> = [rows[0], rows[rows.len() - 1]].iter().flat_map(|row| row.to_le_bytes()).collect();
    let numbers: Vec<u8> = [7_i64, 8, 4, 1].iter().flat_map(|number| number.to_le_bytes()).collect();
    // The type of the values (5: 64-bit numbers), eight lengths of headers, and no JSON.
    let descriptor = [numbers, span.clone(), 5_i32.to_le_bytes().to_vec(), vec![0; 8], vec![0; 4]].concat();
    let mut bytes = 0x00ff_fabc_u32.to_le_bytes().to_vec();
    for (kind, body) in [(0, descriptor), (1, [span, payload].concat())] {
        let length = u32::try_from(17 + body.len()).unwrap();
        let next = u32::try_from(bytes.len()).unwrap() + length;
        bytes.extend([&[0; 8], &[kind][..], &length.to_le_bytes(), &next.to_le_bytes(), &body].concat());
    }
    std::fs::write(folder.join(path), bytes).unwrap();
}

fn segment(segment_id: i64, partition_id: i64, rows: i64, level: SegmentLevel) -> PersistentSegmentInfo {
    PersistentSegmentInfo {
        segment_id,
        collection_id: 7,
        partition_id,
        num_rows: rows,
        state: SegmentState::Flushed.into(),
        level: level.into(),
        ..PersistentSegmentInfo::default()
    }
}

/// A server of version 2.4.10 with one collection: what it answers, but for its segments.
fn answers_of_2_4() -> Vec<(&'static str, Vec<u8>)> {
    let key = FieldSchema {
        field_id: 100,
        name: "id".to_owned(),
        is_primary_key: true,
        data_type: DataType::Int64.into(),
        ..FieldSchema::default()
    };
    let schema = CollectionSchema { name: "docs".to_owned(), fields: vec![key], ..CollectionSchema::default() };
    // And a field that no version known here has: it must come back as it was.
    let mut schema = schema.encode_to_vec();
    schema.extend([0xfa, 0x3f, 3, b'n', b'e', b'w']);
    let described = DescribeCollectionResponse {
        schema,
        collection_id: 7,
        shards_num: 2,
        aliases: vec!["also".to_owned()],
        ..DescribeCollectionResponse::default()
    };
    let partitions = ShowPartitionsResponse {
        partition_names: vec!["_default".to_owned()],
        partition_i_ds: vec![8],
        ..ShowPartitionsResponse::default()
    };
    let no_index = longshore_source::milvus::proto::milvus::DescribeIndexResponse {
        status: Some(Status { code: 700, reason: "index not found".to_owned(), ..Status::default() }),
        ..Default::default()
    };
    let lists =
        |id: i64| [("docs".to_owned(), longshore_source::milvus::proto::schema::LongArray { data: vec![id] })].into();
    let flushed = FlushResponse {
        coll_seg_i_ds: lists(1),
        flush_coll_seg_i_ds: lists(2),
        coll_flush_ts: [("docs".to_owned(), FLUSHED_MS << 18)].into(),
        ..FlushResponse::default()
    };
    let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    vec![
        ("Connect", version("v2.4.10")),
        (
            "ListDatabases",
            ListDatabasesResponse { db_names: names(&["default"]), ..Default::default() }.encode_to_vec(),
        ),
        (
            "DescribeDatabase",
            DescribeDatabaseResponse {
                properties: vec![longshore_source::milvus::proto::common::KeyValuePair {
                    key: "database.replica.number".to_owned(),
                    value: "2".to_owned(),
                }],
                ..Default::default()
            }
            .encode_to_vec(),
        ),
        (
            "ShowCollections",
            ShowCollectionsResponse { collection_names: names(&["docs"]), ..Default::default() }.encode_to_vec(),
        ),
        ("DescribeCollection", described.encode_to_vec()),
        ("ShowPartitions", partitions.encode_to_vec()),
        ("DescribeIndex", no_index.encode_to_vec()),
        ("GetLoadState", GetLoadStateResponse::default().encode_to_vec()),
        ("Flush", flushed.encode_to_vec()),
        ("GetFlushState", GetFlushStateResponse { flushed: true, ..Default::default() }.encode_to_vec()),
        ("SelectUser", SelectUserResponse::default().encode_to_vec()),
        ("SelectRole", SelectRoleResponse::default().encode_to_vec()),
        ("SelectGrant", SelectGrantResponse::default().encode_to_vec()),
        ("BackupRBAC", BackupRbacMetaResponse { rbac_meta: b"hashes".to_vec(), ..Default::default() }.encode_to_vec()),
    ]
}

async fn source_of(
    segments: impl Fn(usize) -> Vec<PersistentSegmentInfo> + Send + Sync + 'static,
    folder: &std::path::Path,
) -> (Fake, MilvusSource) {
    let others = fixed(answers_of_2_4());
    let fake = Fake::start(move |call, before| match call.name.as_str() {
        "GetPersistentSegmentInfo" => {
            let infos = segments(before);
            Answer::of(&GetPersistentSegmentInfoResponse { infos, ..GetPersistentSegmentInfoResponse::default() })
        }
        _ => others(call, before),
    })
    .await;
    let storage = StorageLocation::Folder(folder.to_owned());
    let server = MilvusServer { address: ServerAddress::open(&fake.address), storage };
    (fake, MilvusSource::with(server, LIMITS, Arc::new(SystemClock)))
}

fn docs() -> longshore_model::CollectionName {
    "docs".parse().unwrap()
}

#[tokio::test]
async fn level_zero_deletes_of_2_4_are_kept_and_hashes_of_passwords_are_not() {
    let folder = tempfile::tempdir().unwrap();
    for field in ["0", "1", "100"] {
        log(folder.path(), &format!("insert_log/7/8/1/{field}/11"), -50, -10);
    }
    log(folder.path(), "delta_log/7/-1/3/12", -5, -1);
    // Of a segment that was dropped, and what a file system leaves.
    log(folder.path(), "insert_log/7/8/99/0/13", -50, -10);
    log(folder.path(), "insert_log/7/8/1/0/.nfs1", -50, -10);
    let segments = || vec![segment(1, 8, 40, SegmentLevel::L1), segment(3, -1, 0, SegmentLevel::L0)];
    let (fake, source) = source_of(move |_| segments(), folder.path()).await;
    let inventory = source.inventory().await.unwrap();
    assert_eq!(inventory.source_version, "milvus v2.4.10");
    assert_eq!(inventory.databases[0].properties["database.replica.number"], "2");
    assert_eq!(inventory.databases[0].aliases["also"], "docs");
    assert!(!inventory.access.unwrap().to_string().contains("aGFzaGVz"));
    assert!(fake.calls("BackupRBAC").is_empty(), "what is not kept is not asked for");
    let entry = &inventory.collections[0];
    assert_eq!((entry.rows, entry.size_bytes.segment, entry.size_bytes.delta), (40, 600, 200));

    let point = source.open_point(&docs(), PointOptions::default()).await.unwrap();
    let files: Vec<(&str, FileClass)> = point.files().iter().map(|file| (file.path.as_str(), file.class)).collect();
    let expected = [
        ("delta_log/-1/3/12", FileClass::Delta),
        ("insert_log/8/1/0/11", FileClass::Segment),
        ("insert_log/8/1/1/11", FileClass::Segment),
        ("insert_log/8/1/100/11", FileClass::Segment),
    ];
    assert_eq!(files, expected);
    let kept = KeptPoint::read(point.description(), "the point").unwrap();
    assert_eq!(kept.flush_timestamp, FLUSHED_MS << 18);
    assert_eq!(kept.segments.iter().map(|one| one.is_level_zero).collect::<Vec<_>>(), [false, true]);
    let schema = longshore_source::milvus::KeptSchema::read(point.schema(), "it").unwrap();
    assert!(schema.message_bytes("it").unwrap().ends_with(b"new"), "what is not known here is kept");
    assert_eq!(point.recheck().await.unwrap(), PointState::Unaltered);
    assert!(!fake.calls("GetFlushState").is_empty());
}

#[tokio::test]
async fn a_user_who_may_not_describe_databases_gets_a_backup_that_says_so() {
    let others = fixed(answers_of_2_4());
    let fake = Fake::start(move |call, before| match call.name.as_str() {
        "DescribeDatabase" => Answer::Status(7, "PrivilegeDescribeDatabase"),
        "GetPersistentSegmentInfo" => Answer::of(&GetPersistentSegmentInfoResponse::default()),
        _ => others(call, before),
    })
    .await;
    let folder = tempfile::tempdir().unwrap();
    let storage = StorageLocation::Folder(folder.path().to_owned());
    let server = MilvusServer { address: ServerAddress::open(&fake.address), storage };
    let inventory = MilvusSource::with(server, LIMITS, Arc::new(SystemClock)).inventory().await.unwrap();
    assert_eq!((inventory.collections.len(), inventory.databases[0].properties.to_string().as_str()), (1, "{}"));
    let [warning] = inventory.warnings.as_slice() else { panic!("{:?}", inventory.warnings) };
    assert!(warning.contains("properties of these databases are not in the backup: default"), "{warning}");
    assert!(warning.contains("DescribeDatabase"), "{warning}");
}

#[tokio::test]
async fn what_came_after_the_flush_is_not_of_the_point() {
    let folder = tempfile::tempdir().unwrap();
    for (segment, first) in [(1, -50), (2, -90), (4, 3), (5, -70)] {
        for field in ["0", "1", "100"] {
            log(folder.path(), &format!("insert_log/7/8/{segment}/{field}/1{segment}"), first, 5);
        }
    }
    // Whether a segment came later is told by its rows, and rows do not come in the order of their timestamps.
    log_of_rows(folder.path(), "insert_log/7/8/4/1/14", &[3, 9, 5]);
    log_of_rows(folder.path(), "insert_log/7/8/1/1/11", &[7, -3, 9]);
    // Into an old segment: one before and one after the flush, one that holds both, and one that is being written.
    log(folder.path(), "delta_log/7/8/2/21", -5, -1);
    log(folder.path(), "delta_log/7/8/2/22", 1, 9);
    log(folder.path(), "delta_log/7/8/2/23", -3, 9);
    std::fs::write(folder.path().join("delta_log/7/8/2/24"), b"").unwrap();
    let segments = || [1, 2, 4, 5].map(|id| segment(id, 8, 10, SegmentLevel::L1)).to_vec();
    let (_fake, source) = source_of(move |_| segments(), folder.path()).await;
    let point = source.open_point(&docs(), PointOptions::default()).await.unwrap();
    let kept = KeptPoint::read(point.description(), "the point").unwrap();
    // 4 was sealed and flushed after the flush; 5 is what a compaction made of old ones.
    assert_eq!(kept.segments.iter().map(|one| one.segment_id).collect::<Vec<_>>(), [1, 2, 5]);
    let deltas: Vec<&str> =
        point.files().iter().filter(|file| file.class == FileClass::Delta).map(|file| file.path.as_str()).collect();
    assert_eq!(deltas, ["delta_log/8/2/21", "delta_log/8/2/23"]);
    assert_eq!(point.physical_rows(), 30);
}

#[tokio::test]
async fn segments_that_a_compaction_replaces_are_listed_again() {
    let folder = tempfile::tempdir().unwrap();
    for segment in [1, 2, 6] {
        for field in ["0", "1", "100"] {
            log(folder.path(), &format!("insert_log/7/8/{segment}/{field}/1{segment}"), -50, -10);
        }
    }
    // The second look finds that 1 and 2 have become 6.
    let segments = |before: usize| {
        let ids: &[i64] = if before == 0 { &[1, 2] } else { &[6] };
        ids.iter().map(|id| segment(*id, 8, 20 / ids.len() as i64, SegmentLevel::L1)).collect()
    };
    let (fake, source) = source_of(segments, folder.path()).await;
    let point = source.open_point(&docs(), PointOptions::default()).await.unwrap();
    assert!(point.files().iter().all(|file| file.path.starts_with("insert_log/8/6/")), "{:?}", point.files());
    assert_eq!(point.physical_rows(), 20);
    // Two calls for each look, and a third look after another flush: 6 was there before the server listed it.
    assert_eq!(fake.calls("GetPersistentSegmentInfo").len(), 6);
    // One that never holds still.
    let segments = |before: usize| vec![segment(before as i64, 8, 0, SegmentLevel::L1)];
    let (_fake, source) = source_of(segments, folder.path()).await;
    let name = docs();
    let opened = tokio::time::timeout(Duration::from_secs(60), source.open_point(&name, PointOptions::default()));
    let error = opened.await.unwrap().err().unwrap();
    assert!(matches!(error, SourceError::KeepsChanging { attempts: 16, .. }), "{error}");
}

#[tokio::test]
async fn rows_without_files_and_files_that_are_not_known_make_no_point() {
    let folder = tempfile::tempdir().unwrap();
    let segments = |_| vec![segment(1, 8, 40, SegmentLevel::L1)];
    let (_fake, source) = source_of(segments, folder.path()).await;
    let name = docs();
    let open = || source.open_point(&name, PointOptions::default());
    let error = open().await.err().unwrap();
    assert!(matches!(error, SourceError::SegmentWithoutFiles { rows: 40, .. }), "{error}");
    for field in ["0", "100"] {
        log(folder.path(), &format!("insert_log/7/8/1/{field}/11"), -50, -10);
    }
    let error = open().await.err().unwrap();
    assert!(matches!(&error, SourceError::MissingFile { path, .. } if path == "insert_log/7/8/1/1"), "{error}");
    log(folder.path(), "insert_log/7/8/1/1/11", -50, -10);
    open().await.unwrap();
    log(folder.path(), "insert_log/7/8/1/1/what", -50, -10);
    let error = open().await.err().unwrap();
    assert!(matches!(error, SourceError::Unsupported { .. }), "{error}");
}
