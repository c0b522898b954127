//! A server that imports: it takes the files that it is given into its storage, as segments, so that a restore into it can be
//! proven. It stands for versions that cannot be run here, as far as their sources say what they do.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use longshore_model::FileClass;
use longshore_source::milvus::proto::common::{
    ImportState, KeyValuePair, SegmentLevel, SegmentState, ServerInfo, Status,
};
use longshore_source::milvus::proto::milvus::{
    ConnectResponse, CreateCollectionRequest, DescribeCollectionRequest, DescribeCollectionResponse,
    DescribeIndexResponse, FlushRequest, FlushResponse, GetFlushStateResponse, GetImportStateRequest,
    GetImportStateResponse, GetLoadStateResponse, GetPersistentSegmentInfoResponse, GetVersionResponse, ImportRequest,
    ImportResponse, ListDatabasesResponse, ListImportTasksResponse, PersistentSegmentInfo, RenameCollectionRequest,
    ShowPartitionsResponse,
};
use longshore_source::milvus::proto::schema::CollectionSchema;
use longshore_source::milvus::{CollectionLogs, RowSchema};
use longshore_source::{Limits, StoredBytes, StoredFile};
use prost::Message;

use super::packed::{Layout, pack};
use super::{Answer, Call, Fake};

/// The collection's number, and that of its only partition.
const COLLECTION: i64 = 7;
const PARTITION: i64 = 8;
/// When everything is flushed: later than anything that is imported.
const FLUSHED_MS: u64 = 1_900_000_000_000;
/// The years 2019 to 9999, as Milvus' `IsValidPhysicalTs` has it.
const VALID_MS: std::ops::RangeInclusive<u64> = 1_546_300_800_000..=253_402_300_799_000;

/// How a server behaves.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Behaviour {
    pub(crate) version: &'static str,
    /// Whether `end_ts` is a hybrid timestamp, and anything else is refused; else it is milliseconds.
    pub(crate) wants_hybrid: bool,
    /// Whether it refuses in the answer of the call; else the task fails.
    pub(crate) refuses_at_once: bool,
    /// What it adds to the number of rows that it says it took.
    pub(crate) more_rows: i64,
    /// Whether level-zero deletes are lost.
    pub(crate) loses_level_zero: bool,
    /// How its segments are laid out.
    pub(crate) storage_version: i64,
    /// Whether a value of a file of several fields becomes another.
    pub(crate) loses_a_value: bool,
}

impl Behaviour {
    pub(crate) const fn of(version: &'static str) -> Self {
        Self {
            version,
            wants_hybrid: false,
            refuses_at_once: false,
            more_rows: 0,
            loses_level_zero: false,
            storage_version: 0,
            loses_a_value: false,
        }
    }
}

/// A call of Import, as far as tests look at it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Imported {
    pub(crate) partition: String,
    pub(crate) options: Vec<(String, String)>,
}

/// A running server.
pub(crate) struct Importing {
    pub(crate) fake: Fake,
    inner: Arc<Inner>,
}

struct Inner {
    behaviour: Behaviour,
    root: PathBuf,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    name: String,
    schema: Vec<u8>,
    /// Rows that each task took, or why it failed.
    tasks: Vec<Result<i64, String>>,
    segments: Vec<PersistentSegmentInfo>,
}

impl Importing {
    /// `root` is the server's storage.
    pub(crate) async fn start(root: &Path, behaviour: Behaviour) -> Self {
        let inner = Arc::new(Inner { behaviour, root: root.to_owned(), state: Mutex::default() });
        let answering = Arc::clone(&inner);
        Self { fake: Fake::start(move |call, _| answering.answer(call)).await, inner }
    }

    /// The calls of Import so far.
    pub(crate) fn imports(&self) -> Vec<Imported> {
        let of = |call: Call| {
            let request = ImportRequest::decode(call.body).unwrap();
            let options = request.options.into_iter().map(|pair| (pair.key, pair.value)).collect();
            Imported { partition: request.partition_name, options }
        };
        self.fake.calls("Import").into_iter().map(of).collect()
    }

    /// The collection that is there, and how many segments with rows and without it has.
    pub(crate) fn there(&self) -> (String, usize, usize) {
        let state = self.inner.state.lock().unwrap();
        let without = state.segments.iter().filter(|one| one.level() == SegmentLevel::L0).count();
        (state.name.clone(), state.segments.len() - without, without)
    }
}

impl Inner {
    fn answer(&self, call: &Call) -> Answer {
        let mut state = self.state.lock().unwrap();
        let no_collection = || Status { code: 100, reason: "collection not found".to_owned(), ..Status::default() };
        match call.name.as_str() {
            "Connect" => {
                let server_info =
                    Some(ServerInfo { build_tags: self.behaviour.version.to_owned(), ..ServerInfo::default() });
                Answer::of(&ConnectResponse { server_info, ..ConnectResponse::default() })
            }
            "GetVersion" => {
                let version = self.behaviour.version.to_owned();
                Answer::of(&GetVersionResponse { version, ..GetVersionResponse::default() })
            }
            "ListDatabases" => {
                Answer::of(&ListDatabasesResponse { db_names: vec!["default".to_owned()], ..Default::default() })
            }
            "CreateCollection" => {
                let request = CreateCollectionRequest::decode(call.body.clone()).unwrap();
                (state.name, state.schema) = (request.collection_name, request.schema);
                Answer::of(&Status::default())
            }
            "DescribeCollection" => {
                let request = DescribeCollectionRequest::decode(call.body.clone()).unwrap();
                let is_it = !state.name.is_empty() && request.collection_name == state.name;
                let status = if is_it { Status::default() } else { no_collection() };
                let mut schema = CollectionSchema::decode(state.schema.as_slice()).unwrap();
                schema.name.clone_from(&state.name);
                Answer::of(&DescribeCollectionResponse {
                    status: Some(status),
                    schema: schema.encode_to_vec(),
                    collection_id: COLLECTION,
                    shards_num: 1,
                    ..DescribeCollectionResponse::default()
                })
            }
            "ShowPartitions" => Answer::of(&ShowPartitionsResponse {
                partition_names: vec!["_default".to_owned()],
                partition_i_ds: vec![PARTITION],
                ..ShowPartitionsResponse::default()
            }),
            "DescribeIndex" => {
                let status = Status { code: 700, reason: "index not found".to_owned(), ..Status::default() };
                Answer::of(&DescribeIndexResponse { status: Some(status), ..DescribeIndexResponse::default() })
            }
            "GetLoadState" => Answer::of(&GetLoadStateResponse::default()),
            "Import" => self.import(&mut state, &ImportRequest::decode(call.body.clone()).unwrap()),
            "GetImportState" => {
                let request = GetImportStateRequest::decode(call.body.clone()).unwrap();
                Answer::of(&said(&state, usize::try_from(request.task).unwrap()))
            }
            "ListImportTasks" => {
                let tasks = (0..state.tasks.len()).map(|task| said(&state, task)).collect();
                Answer::of(&ListImportTasksResponse { tasks, ..ListImportTasksResponse::default() })
            }
            "Flush" => {
                let request = FlushRequest::decode(call.body.clone()).unwrap();
                let coll_flush_ts = request.collection_names.into_iter().map(|name| (name, FLUSHED_MS << 18)).collect();
                Answer::of(&FlushResponse { coll_flush_ts, ..FlushResponse::default() })
            }
            "GetFlushState" => Answer::of(&GetFlushStateResponse { flushed: true, ..Default::default() }),
            "GetPersistentSegmentInfo" => Answer::of(&GetPersistentSegmentInfoResponse {
                infos: state.segments.clone(),
                ..GetPersistentSegmentInfoResponse::default()
            }),
            "RenameCollection" => {
                state.name = RenameCollectionRequest::decode(call.body.clone()).unwrap().new_name;
                Answer::of(&Status::default())
            }
            "DropCollection" => {
                *state = State { tasks: std::mem::take(&mut state.tasks), ..State::default() };
                Answer::of(&Status::default())
            }
            _ => Answer::Status(12, "unknown method"),
        }
    }

    fn import(&self, state: &mut State, request: &ImportRequest) -> Answer {
        let option = |key: &str| request.options.iter().find(|pair| pair.key == key).map(|pair| pair.value.as_str());
        let end = match option("end_ts").map(|value| (value, value.parse::<u64>().unwrap())) {
            None => u64::MAX,
            Some((value, end)) if self.behaviour.wants_hybrid && !VALID_MS.contains(&(end >> 18)) => {
                let reason = format!("end_ts is not a valid hybrid timestamp, value={value}: importing data failed");
                if self.behaviour.refuses_at_once {
                    let status = Status { code: 2100, reason, ..Status::default() };
                    return Answer::of(&ImportResponse { status: Some(status), ..ImportResponse::default() });
                }
                state.tasks.push(Err(reason));
                return task_of(state);
            }
            Some((_, end)) if self.behaviour.wants_hybrid => end,
            Some((_, end)) => end.wrapping_shl(18),
        };
        let is_level_zero = option("l0_import") == Some("true");
        assert_eq!(is_level_zero, option("backup") != Some("true"), "{request:?}");
        let taken = if is_level_zero {
            if !self.behaviour.loses_level_zero {
                let partition = if request.partition_name.is_empty() { -1 } else { PARTITION };
                let [folder] = request.files.as_slice() else { panic!("{:?}", request.files) };
                self.take_deletes(state, folder, partition);
            }
            // Servers say what they like here.
            99
        } else {
            assert_eq!((request.partition_name.as_str(), request.files.len()), ("_default", 2));
            let is_packed = option("storage_version") == Some("2");
            self.take_rows(state, &request.files, is_packed, end) + self.behaviour.more_rows
        };
        state.tasks.push(Ok(taken));
        task_of(state)
    }

    /// Takes segments in; how many rows that are not deleted they have.
    fn take_rows(&self, state: &mut State, files: &[String], is_packed: bool, end: u64) -> i64 {
        let mut taken = Vec::new();
        for from in entries(Path::new(&files[0])) {
            let segment = self.segment(state, PARTITION, SegmentLevel::L1, 30);
            let mut logs = BTreeMap::new();
            for field in entries(&from) {
                for log in entries(&field) {
                    let place = format!("insert_log/{PARTITION}/{segment}/{}/{}", name(&field), name(&log));
                    logs.insert(place, std::fs::read(&log).unwrap());
                }
            }
            let are_packed = logs.values().all(|bytes| bytes.starts_with(b"PAR1"));
            assert_eq!(are_packed, is_packed, "it is told how files are laid out");
            if self.behaviour.storage_version == 2 && !is_packed {
                logs = pack(&logs, &Layout::PLAIN);
            }
            if self.behaviour.loses_a_value {
                // Vectors are not compressed, and this is in the middle of them: the first rows are deleted.
                let vectors = logs.iter_mut().find(|(path, _)| path.contains("/101/")).unwrap().1;
                vectors[2_000] ^= 1;
            }
            taken.extend(logs.into_iter().map(|(place, bytes)| self.keep(&place, bytes)));
            let deletes = Path::new(&files[1]).join(name(&from));
            if !files[1].is_empty() && deletes.is_dir() {
                taken.extend(self.take_logs(&deletes, PARTITION, segment, end));
            }
        }
        let schema = RowSchema::of(&CollectionSchema::decode(state.schema.as_slice()).unwrap(), "it").unwrap();
        let counted = CollectionLogs::of(&taken).unwrap().count(
            &schema,
            &|_| Some("_default".to_owned()),
            (end < u64::MAX).then_some(end),
            &Limits::DEFAULT,
        );
        counted.unwrap().values().map(|rows| i64::try_from(rows.live.rows).unwrap()).sum()
    }

    /// Takes deletes in whole: before 2.6.1 no server cuts them.
    fn take_deletes(&self, state: &mut State, folder: &str, partition: i64) {
        for from in entries(Path::new(folder)) {
            let segment = self.segment(state, partition, SegmentLevel::L0, 0);
            self.take_logs(&from, partition, segment, u64::MAX);
        }
    }

    /// Deletes are cut log by log: those of tests are all on one side.
    fn take_logs(&self, from: &Path, partition: i64, segment: i64, end: u64) -> Vec<StoredFile> {
        let mut taken = Vec::new();
        for log in entries(from) {
            let bytes = std::fs::read(&log).unwrap();
            let first = u64::from_le_bytes(bytes[4 + 17 + 32..][..8].try_into().unwrap());
            if first <= end {
                taken.push(self.keep(&format!("delta_log/{partition}/{segment}/{}", name(&log)), bytes));
            }
        }
        taken
    }

    fn keep(&self, place: &str, bytes: Vec<u8>) -> StoredFile {
        let (kind, rest) = place.split_once('/').unwrap();
        let to = self.root.join(kind).join(COLLECTION.to_string()).join(rest);
        std::fs::create_dir_all(to.parent().unwrap()).unwrap();
        std::fs::write(&to, &bytes).unwrap();
        StoredFile {
            path: place.to_owned(),
            class: if kind == "delta_log" { FileClass::Delta } else { FileClass::Segment },
            size_bytes: bytes.len() as u64,
            bytes: Arc::new(Held(bytes)),
        }
    }

    fn segment(&self, state: &mut State, partition_id: i64, level: SegmentLevel, num_rows: i64) -> i64 {
        let segment_id = 100 + i64::try_from(state.segments.len()).unwrap();
        state.segments.push(PersistentSegmentInfo {
            segment_id,
            collection_id: COLLECTION,
            partition_id,
            num_rows,
            state: SegmentState::Flushed.into(),
            level: level.into(),
            storage_version: self.behaviour.storage_version,
            ..PersistentSegmentInfo::default()
        });
        segment_id
    }
}

fn task_of(state: &State) -> Answer {
    let task = i64::try_from(state.tasks.len()).unwrap() - 1;
    Answer::of(&ImportResponse { tasks: vec![task], ..ImportResponse::default() })
}

fn said(state: &State, task: usize) -> GetImportStateResponse {
    let pair = |key: &str, value: &str| KeyValuePair { key: key.to_owned(), value: value.to_owned() };
    let id = i64::try_from(task).unwrap();
    match &state.tasks[task] {
        Ok(rows) => GetImportStateResponse {
            id,
            state: ImportState::ImportCompleted.into(),
            row_count: *rows,
            ..GetImportStateResponse::default()
        },
        Err(reason) => GetImportStateResponse {
            id,
            state: ImportState::ImportFailed.into(),
            infos: vec![pair("failed_reason", reason)],
            ..GetImportStateResponse::default()
        },
    }
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    let mut entries: Vec<PathBuf> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    entries.sort();
    entries
}

fn name(path: &Path) -> &str {
    path.file_name().unwrap().to_str().unwrap()
}

/// Bytes in memory.
pub(crate) struct Held(pub(crate) Vec<u8>);

impl StoredBytes for Held {
    fn fill(&self, buffer: &mut [u8], offset: u64) -> std::io::Result<()> {
        let start = usize::try_from(offset).unwrap();
        let piece = self.0.get(start..start + buffer.len()).ok_or(std::io::ErrorKind::UnexpectedEof)?;
        buffer.copy_from_slice(piece);
        Ok(())
    }
}
