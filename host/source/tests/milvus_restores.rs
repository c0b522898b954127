//! Restores into a server that only seems to be one, and checks before them: what is said and what is not done where something
//! is wrong with times, with staged files and with the store that files are put into.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod corpus;
mod fake;
mod s3;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use corpus::{files_below, folder_of};
use fake::{Answer, Call, Fake};
use hyper::Method;
use longshore_model::{CollectionMapping, RestoredLoadState};
use longshore_source::milvus::proto::common::{ImportState, SegmentState, ServerInfo, Status};
use longshore_source::milvus::proto::milvus::{
    ConnectResponse, CreateCollectionRequest, DescribeCollectionRequest, DescribeCollectionResponse,
    DescribeIndexResponse, DropCollectionRequest, FlushRequest, FlushResponse, GetFlushStateResponse,
    GetImportStateResponse, GetLoadStateResponse, GetPersistentSegmentInfoResponse, GetVersionResponse, ImportRequest,
    ImportResponse, ListDatabasesResponse, ListImportTasksResponse, PersistentSegmentInfo, RenameCollectionRequest,
    SelectRoleResponse, SelectUserResponse, ShowCollectionsResponse, ShowPartitionsResponse,
};
use longshore_source::milvus::proto::schema::LongArray;
use longshore_source::milvus::{
    BucketLocation, BucketProvider, KeptPoint, MilvusSource, Secret, ServerAddress, StorageLocation, check_until,
};
use longshore_source::{
    Committed, FindingState, Limits, MilvusServer, MilvusTarget, MilvusTargetOptions, RestoreTarget, Source,
    SourceError, StagingPlace, TargetCollection, TargetFile, TargetPlan,
};
use prost::Message;
use s3::S3;
use serde_json::{Value, json};

const LIMITS: Limits = Limits {
    call_pause_ms: 1,
    call_longest_pause_ms: 2,
    flush_pause_ms: 1,
    flush_longest_pause_ms: 2,
    proof_patience_ms: 20,
    // The logs of the corpus are small: so they go in parts, too.
    upload_bytes: 2_000,
    upload_part_bytes: 1_000,
    ..Limits::DEFAULT
};

/// A backup of 30 rows, 3 of them deleted, that a real 2.3.5 wrote.
struct Held {
    plan: TargetPlan,
    files: BTreeMap<String, Vec<u8>>,
}

/// The milliseconds of the first and the last row, of the first delete, and those in which the first log of rows was written.
struct Times {
    first_row: u64,
    last_row: u64,
    delete: u64,
    written: u64,
}

impl Held {
    fn new() -> Self {
        let folder = folder_of("two.plain");
        let kept: Value = serde_json::from_slice(&std::fs::read(folder.join("kept.json")).unwrap()).unwrap();
        let mut files = files_below(&folder);
        files.retain(|path, _| path.contains("_log/"));
        let mut schema = kept["schema"].clone();
        schema["indexes"] = json!([]);
        let mut point = kept["point"].clone();
        point["serverVersion"] = json!("v2.3.5");
        let listed = files.iter().map(|(path, bytes)| TargetFile {
            path: path.clone(),
            class: if path.starts_with("delta_log") {
                longshore_model::FileClass::Delta
            } else {
                longshore_model::FileClass::Segment
            },
            size_bytes: bytes.len() as u64,
        });
        let mapping = CollectionMapping {
            from: "plain".parse().unwrap(),
            to: "again".parse().unwrap(),
            load_state: RestoredLoadState::NotLoaded,
        };
        let collection = TargetCollection { mapping, schema, files: listed.collect(), description: point };
        let plan =
            TargetPlan { databases: Vec::new(), whole_cluster: false, collections: vec![collection], access: None };
        Self { plan, files }
    }

    fn times(&self) -> Times {
        let number = |bytes: &[u8], at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap()) >> 18;
        let of_rows = self.files.iter().filter(|(path, _)| path.starts_with("insert_log") && path.contains("/1/"));
        let logs: Vec<&Vec<u8>> = of_rows.map(|(_, bytes)| bytes).collect();
        let delete = self.files.iter().find(|(path, _)| path.starts_with("delta_log")).unwrap().1;
        Times {
            first_row: logs.iter().map(|log| number(log, 53)).min().unwrap(),
            last_row: logs.iter().map(|log| number(log, 61)).max().unwrap(),
            delete: number(delete, 53),
            written: logs.iter().map(|log| number(log, 4)).min().unwrap(),
        }
    }

    /// Sets the point to this millisecond.
    fn ended(mut self, end_ms: u64) -> Self {
        self.plan.collections[0].description["flushTimestamp"] = json!(end_ms << 18);
        self
    }

    /// Restores it as an engine does; `meanwhile` happens when all is staged and compared.
    async fn restore(&self, target: &MilvusTarget, meanwhile: impl FnOnce()) -> Result<Committed, SourceError> {
        let run = target.begin(&self.plan, &()).await?;
        for (file, bytes) in self.files.values().enumerate() {
            run.write(0, file, 0, bytes.clone().into()).await?;
        }
        run.finish_collection(0).await?;
        meanwhile();
        run.commit(&()).await
    }
}

/// Where the server has its files.
#[derive(Clone)]
enum Place {
    Folder(PathBuf),
    Bucket(S3),
}

impl Place {
    /// Everything below a folder, as it was named to the server.
    fn below(&self, folder: &str) -> BTreeMap<String, Vec<u8>> {
        match self {
            Self::Folder(_) => files_below(Path::new(folder)),
            Self::Bucket(store) => store.with(|objects| {
                let found = objects.iter().filter_map(|(key, bytes)| Some((key.strip_prefix(folder)?, bytes)));
                found.map(|(key, bytes)| (key.to_owned(), bytes.to_vec())).collect()
            }),
        }
    }

    fn put(&self, path: &str, bytes: Vec<u8>) {
        match self {
            Self::Folder(root) => {
                let path = root.join(path);
                std::fs::create_dir_all(path.parent().unwrap()).unwrap();
                std::fs::write(path, bytes).unwrap();
            }
            Self::Bucket(store) => store.with(|objects| drop(objects.insert(format!("files/{path}"), bytes.into()))),
        }
    }
}

#[derive(Default)]
struct State {
    /// By name: number, and how it was made.
    collections: BTreeMap<String, (i64, CreateCollectionRequest)>,
    segments: Vec<PersistentSegmentInfo>,
    imports: Vec<ImportRequest>,
}

/// A server that takes what it is given as a real one does, but leaves rows' timestamps as they are. It counts nothing: it says
/// that it took `rows`; none for 0, and without deletes for 30.
async fn server(place: Place, rows: i64) -> (Fake, Arc<Mutex<State>>) {
    let state: Arc<Mutex<State>> = Arc::default();
    let inner = Arc::clone(&state);
    let fake = Fake::start(move |call, _| answer(&mut inner.lock().unwrap(), &place, rows, call)).await;
    (fake, state)
}

fn no(code: i32, reason: &str) -> Option<Status> {
    Some(Status { code, reason: reason.to_owned(), ..Status::default() })
}

fn answer(state: &mut State, place: &Place, rows: i64, call: &Call) -> Answer {
    let body = call.body.clone();
    match call.name.as_str() {
        "Connect" => {
            let server_info = Some(ServerInfo { build_tags: "v2.3.5".to_owned(), ..ServerInfo::default() });
            Answer::of(&ConnectResponse { server_info, ..ConnectResponse::default() })
        }
        "GetVersion" => Answer::of(&GetVersionResponse { version: "v2.3.5".to_owned(), ..Default::default() }),
        "ListDatabases" => {
            Answer::of(&ListDatabasesResponse { db_names: vec!["default".to_owned()], ..Default::default() })
        }
        "ShowCollections" => {
            let collection_names = state.collections.keys().cloned().collect();
            Answer::of(&ShowCollectionsResponse { collection_names, ..Default::default() })
        }
        "DescribeCollection" => {
            let asked = DescribeCollectionRequest::decode(body).unwrap();
            let Some((id, made)) = state.collections.get(&asked.collection_name) else {
                let status = no(100, "collection not found");
                return Answer::of(&DescribeCollectionResponse { status, ..Default::default() });
            };
            Answer::of(&DescribeCollectionResponse {
                schema: made.schema.clone(),
                collection_id: *id,
                shards_num: made.shards_num,
                ..Default::default()
            })
        }
        "CreateCollection" => {
            let made = CreateCollectionRequest::decode(body).unwrap();
            let id = 7 + state.collections.len() as i64;
            state.collections.insert(made.collection_name.clone(), (id, made));
            Answer::of(&Status::default())
        }
        "RenameCollection" => {
            let asked = RenameCollectionRequest::decode(body).unwrap();
            let made = state.collections.remove(&asked.old_name).unwrap();
            state.collections.insert(asked.new_name, made);
            Answer::of(&Status::default())
        }
        "DropCollection" => {
            state.collections.remove(&DropCollectionRequest::decode(body).unwrap().collection_name);
            Answer::of(&Status::default())
        }
        "ShowPartitions" => Answer::of(&ShowPartitionsResponse {
            partition_names: vec!["_default".to_owned()],
            partition_i_ds: vec![8],
            ..Default::default()
        }),
        "DescribeIndex" => Answer::of(&DescribeIndexResponse { status: no(700, "no index"), ..Default::default() }),
        "GetLoadState" => Answer::of(&GetLoadStateResponse::default()),
        "SelectUser" => Answer::of(&SelectUserResponse::default()),
        "SelectRole" => Answer::of(&SelectRoleResponse::default()),
        "Flush" => {
            let name = FlushRequest::decode(body).unwrap().collection_names.remove(0);
            let data = state.segments.iter().map(|segment| segment.segment_id).collect();
            Answer::of(&FlushResponse {
                flush_coll_seg_i_ds: [(name.clone(), LongArray { data })].into(),
                coll_flush_ts: [(name, 4_000_000_000_000 << 18)].into(),
                ..Default::default()
            })
        }
        "GetFlushState" => Answer::of(&GetFlushStateResponse { flushed: true, ..Default::default() }),
        "GetPersistentSegmentInfo" => {
            Answer::of(&GetPersistentSegmentInfoResponse { infos: state.segments.clone(), ..Default::default() })
        }
        "Import" => {
            let asked = ImportRequest::decode(body).unwrap();
            let id = state.collections[&asked.collection_name].0;
            for (kind, folder) in ["insert_log", "delta_log"].iter().zip(&asked.files).take(match rows {
                0 => 0,
                30 => 1,
                _ => 2,
            }) {
                for (path, bytes) in place.below(folder) {
                    let segment_id: i64 = path.split('/').next().unwrap().parse().unwrap();
                    place.put(&format!("{kind}/{id}/8/{path}"), bytes);
                    if !state.segments.iter().any(|segment| segment.segment_id == segment_id) {
                        let state_of = SegmentState::Flushed.into();
                        state.segments.push(PersistentSegmentInfo {
                            segment_id,
                            collection_id: id,
                            partition_id: 8,
                            num_rows: rows,
                            state: state_of,
                            ..Default::default()
                        });
                    }
                }
            }
            state.imports.push(asked);
            Answer::of(&ImportResponse { tasks: vec![1], ..Default::default() })
        }
        "GetImportState" => Answer::of(&GetImportStateResponse {
            state: ImportState::ImportCompleted.into(),
            row_count: rows,
            ..Default::default()
        }),
        "ListImportTasks" => Answer::of(&ListImportTasksResponse::default()),
        _ => Answer::Status(12, "unknown method"),
    }
}

fn bucket(store: &S3) -> StorageLocation {
    StorageLocation::Bucket(BucketLocation {
        provider: BucketProvider::S3,
        bucket: s3::BUCKET.to_owned(),
        root_path: "files".to_owned(),
        endpoint: Some(store.endpoint.clone()),
        region: "us-east-1".to_owned(),
        key: Some(("id".to_owned(), Secret::new("hunter2"))),
        ca_certificate: None,
        virtual_hosted: false,
    })
}

fn target(fake: &Fake, storage: StorageLocation, folder: &Path, until_ms: Option<u64>) -> MilvusTarget {
    let staging = Some(StagingPlace { folder: folder.join("staging"), server_folder: None });
    let server = MilvusServer { address: ServerAddress::open(&fake.address), storage };
    MilvusTarget::with_limits(
        server,
        MilvusTargetOptions { staging, until_ms, ..MilvusTargetOptions::default() },
        LIMITS,
    )
}

/// Flips a byte in the middle of the largest file below a folder.
fn rot(folder: &Path) {
    let (path, mut bytes) = files_below(folder).into_iter().max_by_key(|(_, bytes)| bytes.len()).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(folder.join(path), bytes).unwrap();
}

#[tokio::test]
async fn a_restore_puts_files_into_the_bucket_in_parts_and_removes_them_one_by_one() {
    let (folder, store) = (tempfile::tempdir().unwrap(), S3::start().await);
    let (fake, state) = server(Place::Bucket(store.clone()), 27).await;
    let held = Held::new();
    let done = held.restore(&target(&fake, bucket(&store), folder.path(), None), || ()).await.unwrap();
    assert_eq!(done.notes, Vec::<String>::new());
    assert_eq!(state.lock().unwrap().imports.len(), 1);
    assert!(state.lock().unwrap().collections.contains_key("again"));
    assert!(store.with(|objects| objects.keys().all(|key| !key.contains("longshore-staging"))), "all were removed");
    let calls = store.calls();
    assert!(calls.iter().any(|call| call.contains("partNumber=2")), "in parts: {calls:?}");
    assert!(!calls.iter().any(|call| call.starts_with("POST") && call.contains("delete")), "{calls:?}");
}

#[tokio::test]
async fn a_store_with_an_authority_of_its_own_is_trusted_where_that_is_given() {
    let (folder, (store, authority)) = (tempfile::tempdir().unwrap(), S3::start_with_tls().await);
    let (fake, _) = server(Place::Bucket(store.clone()), 27).await;
    let uploads = async |ca_certificate: Option<Vec<u8>>| {
        let StorageLocation::Bucket(location) = bucket(&store) else { panic!("it is a bucket") };
        let storage = StorageLocation::Bucket(BucketLocation { ca_certificate, ..location });
        let into = target(&fake, storage, folder.path(), None);
        found(&into.check().await, "uploads")
    };
    let (is, text) = uploads(Some(authority)).await;
    assert_eq!(is, FindingState::Good, "{text}");
    let (is, text) = uploads(Some(b"no certificate".to_vec())).await;
    assert!(is == FindingState::Bad && text.contains("ca_certificate_file"), "{text}");
    let (is, text) = uploads(None).await;
    assert!(is == FindingState::Bad && text.contains("ca_certificate_file"), "{text}");
}

/// What Google calls its XML interface: not S3, but near to it. No Google was asked.
#[tokio::test]
async fn a_bucket_of_google_is_written_listed_read_and_emptied_with_a_service_account() {
    let (folder, store) = (tempfile::tempdir().unwrap(), S3::start().await);
    let (fake, state) = server(Place::Bucket(store.clone()), 27).await;
    let StorageLocation::Bucket(location) = bucket(&store) else { panic!("it is a bucket") };
    let account = json!({
        "private_key": "hunter2", "private_key_id": "1", "client_email": "a@b", "disable_oauth": true,
    });
    let key = Some((String::new(), Secret::new(account.to_string())));
    let storage = StorageLocation::Bucket(BucketLocation { provider: BucketProvider::Gcs, key, ..location });
    let into = target(&fake, storage.clone(), folder.path(), None);
    assert_eq!(Held::new().restore(&into, || ()).await.unwrap().notes, Vec::<String>::new());
    assert_eq!(state.lock().unwrap().imports.len(), 1);
    assert!(store.with(|objects| objects.keys().all(|key| !key.contains("longshore-staging"))), "all were removed");
    assert!(store.calls().iter().any(|call| call.contains("partNumber=2")));
    let source = MilvusSource::new(MilvusServer { address: ServerAddress::open(&fake.address), storage });
    let (is, text) = found(&source.check().await, "storage");
    assert!(is == FindingState::Good && text.starts_with("gs://a-bucket/files holds the files of 1"), "{text}");
    store.refuse(&[Method::PUT]);
    let (is, text) = found(&into.check().await, "uploads");
    assert!(is == FindingState::Bad && text.contains("storage.objects.create") && !text.contains("hunter2"), "{text}");
}

#[tokio::test]
async fn files_that_cannot_be_removed_after_an_import_are_a_note() {
    let (folder, store) = (tempfile::tempdir().unwrap(), S3::start().await);
    let (fake, state) = server(Place::Bucket(store.clone()), 27).await;
    let refuse = || store.refuse(&[Method::DELETE]);
    let done = Held::new().restore(&target(&fake, bucket(&store), folder.path(), None), refuse).await.unwrap();
    assert!(done.notes.len() == 1 && done.notes[0].contains("could not be removed"), "{:?}", done.notes);
    assert!(state.lock().unwrap().collections.contains_key("again"));
    // The next restore into the same staging folder removes them.
    store.refuse(&[]);
    let (fake, _) = server(Place::Bucket(store.clone()), 27).await;
    let mut other = Held::new();
    other.plan.collections[0].mapping.to = "another".parse().unwrap();
    store.with(|objects| objects.retain(|key, _| key.contains("longshore-staging")));
    assert!(store.with(|objects| !objects.is_empty()));
    other.restore(&target(&fake, bucket(&store), folder.path(), None), || ()).await.unwrap();
    assert!(store.with(|objects| objects.keys().all(|key| !key.contains("longshore-staging"))));
}

#[tokio::test]
async fn a_file_that_changed_after_it_was_compared_never_reaches_the_server() {
    for in_bucket in [false, true] {
        let (folder, store) = (tempfile::tempdir().unwrap(), S3::start().await);
        let place = if in_bucket { Place::Bucket(store.clone()) } else { Place::Folder(folder.path().join("storage")) };
        let (fake, state) = server(place, 27).await;
        std::fs::create_dir(folder.path().join("storage")).unwrap();
        let storage = if in_bucket { bucket(&store) } else { StorageLocation::Folder(folder.path().join("storage")) };
        let into = target(&fake, storage, folder.path(), None);
        let staging = folder.path().join("staging");
        let error = Held::new().restore(&into, || rot(&staging)).await.unwrap_err();
        let said = error.to_string();
        assert!(matches!(error, SourceError::Damaged { .. }), "{said}");
        assert!(said.contains("staging/") && said.contains("restore again"), "{said}");
        {
            let state = state.lock().unwrap();
            assert!(state.imports.is_empty() && state.collections.is_empty(), "{:?}", state.imports);
        }
        assert!(store.with(|objects| objects.is_empty()), "nothing of it stays");
        // The same without the rot.
        let done = Held::new().restore(&into, || ()).await.unwrap();
        assert_eq!(done.notes, Vec::<String>::new());
    }
}

#[tokio::test]
async fn an_earlier_time_says_what_may_be_missing_of_it() {
    let times = Held::new().times();
    assert!(times.first_row <= times.last_row && times.last_row < times.written && times.written < times.delete);
    let restored = async |until_ms: u64, rows: i64| {
        let folder = tempfile::tempdir().unwrap();
        let storage = folder.path().join("storage");
        std::fs::create_dir(&storage).unwrap();
        let (fake, state) = server(Place::Folder(storage.clone()), rows).await;
        let into = target(&fake, StorageLocation::Folder(storage), folder.path(), Some(until_ms));
        let done = Held::new().ended(times.delete + 60_000).restore(&into, || ()).await;
        let options = state.lock().unwrap().imports.first().map(|import| import.options.clone()).unwrap_or_default();
        let end = options.into_iter().find(|pair| pair.key == "end_ts").map(|pair| pair.value);
        (done, end)
    };
    // After the last row and before its log was written: a compaction may have written it.
    let (done, end) = restored(times.last_row + 1, 30).await;
    assert_eq!(end, Some((times.last_row + 1).to_string()));
    let notes = done.unwrap().notes;
    assert_eq!(notes.len(), 2, "{notes:?}");
    assert!(notes[0].starts_with("collection default.again: 1 of its segments hold rows from before"), "{notes:?}");
    assert!(notes[0].contains("may be missing, because a compaction leaves them out"), "{notes:?}");
    assert!(notes[1].contains("partitions that were dropped"), "{notes:?}");
    // When that log was there already nothing speaks for a gap.
    let (done, _) = restored(times.written + 1, 30).await;
    let notes = done.unwrap().notes;
    assert!(notes.len() == 1 && notes[0].contains("partitions that were dropped"), "{notes:?}");
    // Before all rows.
    let (done, _) = restored(times.first_row - 1, 0).await;
    let notes = done.unwrap().notes;
    assert_eq!(notes.len(), 2, "{notes:?}");
    assert!(notes[0].starts_with("collection default.again is empty: none of the 30 rows"), "{notes:?}");
    assert!(notes[1].contains("partitions that were dropped"), "{notes:?}");
    // At the point itself nothing is earlier.
    let (done, _) = restored(times.delete + 60_000, 27).await;
    assert_eq!(done.unwrap().notes, Vec::<String>::new());
}

#[tokio::test]
async fn times_that_cannot_be_meant_are_refused_before_anything_is_done() {
    let (folder, store) = (tempfile::tempdir().unwrap(), S3::start().await);
    let (fake, _) = server(Place::Bucket(store.clone()), 27).await;
    let end_ms = Held::new().times().delete + 60_000;
    let held = Held::new().ended(end_ms);
    for (until_ms, expected) in [
        (end_ms / 1_000, "looks like seconds"),
        (end_ms + 1, "is after the point of collection default.plain in this backup"),
        (5, "there was no Milvus at that time"),
    ] {
        let into = target(&fake, bucket(&store), folder.path(), Some(until_ms));
        let said = into.begin(&held.plan, &()).await.err().unwrap().to_string();
        assert!(said.contains(expected) && said.contains(&until_ms.to_string()), "{said}");
        assert!(check_until(&held.plan, until_ms).is_err());
    }
    assert!(fake.calls("Connect").is_empty() && !folder.path().join("staging").exists());
    check_until(&held.plan, end_ms).unwrap();
    assert_eq!(KeptPoint::read(&held.plan.collections[0].description, "it").unwrap().end_ms(), Some(end_ms));
}

fn found(findings: &[longshore_source::SourceFinding], what: &str) -> (FindingState, String) {
    let finding = findings.iter().find(|finding| finding.what == what);
    let finding = finding.unwrap_or_else(|| panic!("nothing of {what} in {findings:?}"));
    (finding.state, finding.text.clone())
}

#[tokio::test]
async fn a_key_that_lists_and_does_not_read_is_found_by_a_check() {
    let (folder, store) = (tempfile::tempdir().unwrap(), S3::start().await);
    let (fake, state) = server(Place::Bucket(store.clone()), 27).await;
    Held::new().restore(&target(&fake, bucket(&store), folder.path(), None), || ()).await.unwrap();
    let check = async || {
        let server = MilvusServer { address: ServerAddress::open(&fake.address), storage: bucket(&store) };
        MilvusSource::new(server).check().await
    };
    let (is, text) = found(&check().await, "storage");
    assert!(is == FindingState::Good && text.contains("can be read") && !text.contains("only the first"), "{text}");
    store.refuse(&[Method::GET]);
    let (is, text) = found(&check().await, "storage");
    assert!(is == FindingState::Bad && text.contains("was listed") && text.contains("may list and read"), "{text}");
    store.refuse(&[]);
    store.with(|objects| objects.values_mut().for_each(|bytes| *bytes = vec![b'x'; bytes.len()].into()));
    let (is, text) = found(&check().await, "storage");
    assert!(is == FindingState::Bad && text.contains("does not begin like a log"), "{text}");
    // Many collections: which ones were looked at.
    {
        let mut made = state.lock().unwrap();
        let again = made.collections["again"].clone();
        made.segments.clear();
        made.collections.extend((0..60).map(|number| (format!("c{number:02}"), again.clone())));
    }
    let (is, text) = found(&check().await, "storage");
    assert_eq!(is, FindingState::Good, "{text}");
    assert!(text.contains("the first 50 of 61 collections") && text.contains("default.again to default.c48"), "{text}");
}

#[tokio::test]
async fn a_check_before_restores_names_the_right_that_is_missing_and_leaves_nothing() {
    let (folder, store) = (tempfile::tempdir().unwrap(), S3::start().await);
    let (fake, _) = server(Place::Bucket(store.clone()), 27).await;
    let into = target(&fake, bucket(&store), folder.path(), None);
    let findings = into.check().await;
    for what in ["server", "uploads"] {
        assert_eq!(found(&findings, what).0, FindingState::Good, "{findings:?}");
    }
    let (is, text) = found(&findings, "staging");
    assert!(is != FindingState::Bad && text.contains("MiB are free"), "{text}");
    assert!(store.with(|objects| objects.is_empty()) && !folder.path().join("staging").exists());
    for (method, right) in
        [(Method::PUT, "s3:PutObject"), (Method::GET, "s3:GetObject"), (Method::DELETE, "s3:DeleteObject")]
    {
        store.refuse(&[method]);
        let (is, text) = found(&into.check().await, "uploads");
        assert!(is == FindingState::Bad && text.contains(right) && text.contains("files/longshore-staging/"), "{text}");
        assert!(!text.contains("hunter2"), "{text}");
        store.refuse(&[]);
        store.with(|objects| objects.clear());
    }
    // A folder that cannot be one.
    std::fs::write(folder.path().join("staging"), "a file").unwrap();
    let (is, text) = found(&into.check().await, "staging");
    assert!(is == FindingState::Bad && text.contains("let this user write"), "{text}");
    // And none at all.
    let server = MilvusServer { address: ServerAddress::open(&fake.address), storage: bucket(&store) };
    let (is, text) = found(&MilvusTarget::new(server, MilvusTargetOptions::default()).check().await, "staging");
    assert!(is == FindingState::Bad && text.contains("[cluster.milvus.staging]"), "{text}");
}
