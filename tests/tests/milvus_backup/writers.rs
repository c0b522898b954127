//! A point beside writers: everything that was acknowledged before it was asked for, nothing that was begun after it was
//! there, and of what was under way each call whole or not at all.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use longshore_engine::{RegionVaults, RestoreScope, all_under_their_own_names, plan_restore};
use longshore_model::RestoredLoadState;
use longshore_source::milvus::KeptPoint;
use longshore_source::milvus::proto::milvus::MutationResult;
use longshore_source::{PointOptions, Source};
use longshore_tests::longshore_in;
use longshore_tests::milvus::{Milvus, milvus_judge};

use super::points::live;
use super::support::{Rows, as_source, configuration, server, vector};

const WRITERS: usize = 8;
const POINTS: usize = 6;
/// Keys of each writer, and rows of each call.
const KEYS: i64 = 400;
const AT_ONCE: i64 = 40;

/// A call of a writer, as it was sent.
#[derive(Debug, Clone)]
enum Call {
    Insert(Vec<(i64, i64)>),
    Upsert(Vec<(i64, i64)>),
    Delete(Vec<i64>),
}

/// What a writer did, in order; it waits for each answer before it goes on.
#[derive(Default)]
struct Written {
    begun: Vec<Call>,
    /// The times of the rows of those that were answered, 0 where the server does not tell: 2.3.5 does not for deletes.
    answered: Vec<u64>,
}

/// One writer, alone in its partition.
struct Writer {
    rows: Arc<Rows>,
    partition: String,
    first_key: i64,
    written: std::sync::Mutex<Written>,
}

impl Writer {
    /// Inserts its keys and then, until it is stopped, upserts some and deletes and inserts others.
    async fn write(&self, stop: &AtomicBool) {
        let all: Vec<(i64, i64)> = (0..KEYS).map(|key| (self.first_key + key, 0)).collect();
        self.call(Call::Insert(all)).await;
        for round in 1_i64.. {
            if stop.load(Ordering::Relaxed) {
                break;
            }
            // Numbers tell the rounds apart; a step that has no divisor in common with the number of keys goes to all of them.
            let keys: Vec<i64> = (0..AT_ONCE).map(|one| self.first_key + (round * 173 + one * 7) % KEYS).collect();
            let numbered: Vec<(i64, i64)> = keys.iter().map(|key| (*key, round)).collect();
            if round % 4 == 0 {
                self.call(Call::Delete(keys)).await;
                self.call(Call::Insert(numbered)).await;
            } else {
                self.call(Call::Upsert(numbered)).await;
            }
        }
    }

    async fn call(&self, call: Call) {
        self.written.lock().unwrap().begun.push(call.clone());
        let answer: MutationResult = match &call {
            Call::Insert(rows) => self.rows.insert_into(&self.partition, rows).await,
            Call::Upsert(rows) => self.rows.upsert_into(&self.partition, rows).await,
            Call::Delete(keys) => self.rows.delete_from(&self.partition, keys).await,
        };
        self.written.lock().unwrap().answered.push(answer.timestamp);
    }

    fn answered(&self) -> usize {
        self.written.lock().unwrap().answered.len()
    }

    fn begun(&self) -> usize {
        self.written.lock().unwrap().begun.len()
    }

    /// Rows, and their digest, after each number of calls.
    fn states(&self) -> Vec<(u64, String)> {
        let mut live: BTreeMap<i64, i64> = BTreeMap::new();
        let mut sum = Sum::default();
        let mut states = vec![(0, sum.shown())];
        for call in &self.written.lock().unwrap().begun {
            let (gone, new) = match call {
                Call::Insert(rows) => (Vec::new(), rows.clone()),
                Call::Upsert(rows) => (rows.iter().map(|(key, _)| *key).collect(), rows.clone()),
                Call::Delete(keys) => (keys.clone(), Vec::new()),
            };
            for key in gone {
                if let Some(number) = live.remove(&key) {
                    sum.take(&self.digest(key, number));
                }
            }
            for (key, number) in new {
                assert_eq!(live.insert(key, number), None, "a key twice is no row that anybody could tell");
                sum.add(&self.digest(key, number));
            }
            states.push((live.len() as u64, sum.shown()));
        }
        states
    }

    /// The digest of a row, as `host/source/src/rows.rs` defines it.
    fn digest(&self, key: i64, number: i64) -> [u8; 32] {
        let begin = [b"longshore row 1".as_slice(), self.partition.as_bytes()].concat();
        let mut digest = *blake3::hash(&begin).as_bytes();
        let floats: Vec<u8> = vector(key).flat_map(f32::to_le_bytes).collect();
        for (name, value) in [("id", &key.to_le_bytes()[..]), ("n", &number.to_le_bytes()), ("vec", &floats)] {
            let length = u32::try_from(name.len()).unwrap().to_le_bytes();
            digest = *blake3::hash(&[&digest[..], &length, name.as_bytes(), &[1], value].concat()).as_bytes();
        }
        digest
    }
}

/// A sum of digests as 256-bit numbers.
#[derive(Default, Clone, Copy)]
struct Sum([u8; 32]);

impl Sum {
    fn add(&mut self, digest: &[u8; 32]) {
        let mut carry = 0;
        for (to, other) in self.0.iter_mut().zip(digest) {
            let digit = u16::from(*to) + u16::from(*other) + carry;
            (*to, carry) = (digit as u8, digit >> 8);
        }
    }

    fn take(&mut self, digest: &[u8; 32]) {
        let mut borrow = 0;
        for (to, other) in self.0.iter_mut().zip(digest) {
            let digit = 256 + u16::from(*to) - u16::from(*other) - borrow;
            (*to, borrow) = (digit as u8, 1 - (digit >> 8));
        }
    }

    fn shown(&self) -> String {
        longshore_model::Digest::new(self.0).to_string()
    }
}

/// Writers at work.
struct Writing {
    rows: Arc<Rows>,
    writers: Vec<Arc<Writer>>,
    stop: Arc<AtomicBool>,
    tasks: Vec<tokio::task::JoinHandle<()>>,
}

impl Writing {
    /// Makes the collection and lets them begin.
    async fn begin(milvus: &Milvus, name: &str) -> Self {
        let partitions: Vec<String> = (0..WRITERS).map(|writer| format!("of_writer_{writer}")).collect();
        let rows = Arc::new(Rows::create_with(milvus, name, 2, &partitions).await);
        let writer = |(number, partition): (usize, String)| {
            let first_key = number as i64 * KEYS;
            Arc::new(Writer { rows: Arc::clone(&rows), partition, first_key, written: Default::default() })
        };
        let writers: Vec<Arc<Writer>> = partitions.into_iter().enumerate().map(writer).collect();
        let stop = Arc::new(AtomicBool::new(false));
        let write = |writer: &Arc<Writer>| {
            let (writer, stop) = (Arc::clone(writer), Arc::clone(&stop));
            tokio::spawn(async move { writer.write(&stop).await })
        };
        let tasks = writers.iter().map(write).collect();
        Self { rows, writers, stop, tasks }
    }

    fn answered(&self) -> Vec<usize> {
        self.writers.iter().map(|writer| writer.answered()).collect()
    }

    fn begun(&self) -> Vec<usize> {
        self.writers.iter().map(|writer| writer.begun()).collect()
    }

    /// Ends the work; all of it was answered.
    async fn end(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for one in self.tasks.drain(..) {
            one.await.unwrap();
        }
        assert!(self.writers.iter().all(|writer| writer.begun() > 20), "the writers hardly wrote");
    }

    /// Checks that rows are those of the point at a timestamp, which was asked for after the calls `before` were answered and
    /// was there before those after the first `after` were begun: each writer's are a state that was, with all calls up to the
    /// timestamp in it and none after it.
    fn check(&self, found: &BTreeMap<String, (u64, String)>, at: u64, before: &[usize], after: &[usize], what: &str) {
        let nothing = (0, Sum::default().shown());
        for ((writer, least), most) in self.writers.iter().zip(before).zip(after) {
            let (there, states) = (found.get(&writer.partition).unwrap_or(&nothing), writer.states());
            let calls = (*least..=*most).find(|calls| states[*calls] == *there).unwrap_or_else(|| {
                let counts: Vec<u64> = states[*least..=*most].iter().map(|state| state.0).collect();
                let (any, partition) = (states.iter().position(|state| state == there), &writer.partition);
                panic!(
                    "{what}, {partition}: {} rows are no state after {least} to {most} calls ({any:?}; {counts:?})",
                    there.0
                )
            });
            // And the times of rows say the same.
            let times = writer.written.lock().unwrap().answered.clone();
            let (inside, outside) = times.split_at(calls);
            assert!(inside.iter().all(|time| *time <= at), "{what}, {}", writer.partition);
            assert!(outside.iter().all(|time| *time == 0 || *time > at), "{what}, {}", writer.partition);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_point_beside_writers_is_the_state_at_its_timestamp() {
    let Some((milvus, _turn)) = server() else { return };
    let mut writing = Writing::begin(milvus, "writers.rows").await;
    let source = as_source(milvus);
    let mut points = Vec::new();
    for _ in 0..POINTS {
        let before = writing.answered();
        let point = source.open_point(&writing.rows.name, PointOptions::default()).await.unwrap();
        points.push((point, before, writing.begun()));
    }
    writing.end().await;
    for (number, (point, before, after)) in points.iter().enumerate() {
        let at = KeptPoint::read(point.description(), "the point").unwrap().flush_timestamp;
        let found = live(point.as_ref()).await;
        assert_eq!(point.live_rows(64 << 20).await.unwrap(), Some(found.values().map(|rows| rows.rows).sum()));
        let found = found.into_iter().map(|(name, rows)| (name, (rows.rows, rows.digest().to_string()))).collect();
        writing.check(&found, at, before, after, &format!("point {number}"));
    }
}

/// The whole way: what a client finds in the restored collection is what the writers had written at the backup's point.
#[tokio::test(flavor = "multi_thread")]
async fn a_backup_beside_writers_is_restored_as_a_state_that_was() {
    let Some((milvus, _turn)) = server() else { return };
    let folder = tempfile::tempdir().unwrap();
    configuration(folder.path(), &milvus.address(), &milvus.storage, "");
    let mut writing = Writing::begin(milvus, "writers_whole.rows").await;
    // Two: the second finds segments that it knows, with deletes in them that are new.
    let mut backups = Vec::new();
    for number in 0..2 {
        let before = writing.answered();
        let here = folder.path().to_owned();
        let backup = tokio::task::spawn_blocking(move || {
            let name = "writers_whole.rows";
            let arguments = ["backup", "--config", "longshore.toml", "--to", "vault", "--collection", name, "--json"];
            longshore_in(&here, arguments).ok().json()
        });
        let outcome = backup.await.unwrap();
        let after = writing.begun();
        assert!(after.iter().zip(&before).all(|(after, before)| after > before), "nobody wrote beside backup {number}");
        backups.push((outcome["backupId"].as_str().unwrap().to_owned(), before, after));
    }
    writing.end().await;
    let vault = RegionVaults::open_one(&folder.path().join("vault"), &longshore_vault::Keys::none()).await.unwrap();
    let vaults = RegionVaults::of([vault]).unwrap();
    for (number, (id, before, after)) in backups.iter().enumerate() {
        let scope = RestoreScope::Collections(all_under_their_own_names(
            std::slice::from_ref(&writing.rows.name),
            RestoredLoadState::Keep,
        ));
        let plan = plan_restore(&vaults, None, &id.parse().unwrap(), scope).await.unwrap();
        let at = KeptPoint::read(&plan.target.collections[0].description, "it").unwrap().flush_timestamp;
        let to = format!("writers_again.rows_{number}");
        let named = format!("writers_whole.rows={to}");
        let restore = ["restore", "vault", id, "--config", "longshore.toml", "--collection", &named];
        longshore_in(folder.path(), restore).ok();
        let judged = milvus_judge(milvus, ["digest", &to, "--by-partition"]).ok().json();
        let parts = judged["partitions"].as_object().unwrap().iter();
        let found = parts.map(|(name, part)| {
            let (rows, digest) = (part["rows"].as_u64().unwrap(), part["digest"].as_str().unwrap());
            (name.clone(), (rows, digest.to_owned()))
        });
        writing.check(&found.collect(), at, before, after, &format!("backup {number}"));
    }
    milvus_judge(milvus, ["drop", "writers_whole", "writers_again"]).ok();
}
