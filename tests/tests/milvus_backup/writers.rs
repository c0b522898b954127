//! A point beside writers: everything that was acknowledged before it was asked for, nothing that was begun after it was
//! there, and of what was under way each call whole or not at all.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use longshore_source::milvus::KeptPoint;
use longshore_source::milvus::proto::milvus::MutationResult;
use longshore_source::{PointOptions, Source};

use super::points::live;
use super::support::{Rows, as_source, server, vector};

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

#[tokio::test(flavor = "multi_thread")]
async fn a_point_beside_writers_is_the_state_at_its_timestamp() {
    let Some((milvus, _turn)) = server() else { return };
    let partitions: Vec<String> = (0..WRITERS).map(|writer| format!("of_writer_{writer}")).collect();
    let rows = Arc::new(Rows::create_with(milvus, "writers.rows", 2, &partitions).await);
    let writer = |(number, partition): (usize, String)| {
        let first_key = number as i64 * KEYS;
        Arc::new(Writer { rows: Arc::clone(&rows), partition, first_key, written: Default::default() })
    };
    let writers: Vec<Arc<Writer>> = partitions.into_iter().enumerate().map(writer).collect();
    let stop = Arc::new(AtomicBool::new(false));
    let writing: Vec<_> = writers
        .iter()
        .map(|writer| {
            let (writer, stop) = (Arc::clone(writer), Arc::clone(&stop));
            tokio::spawn(async move { writer.write(&stop).await })
        })
        .collect();
    let source = as_source(milvus);
    let mut points = Vec::new();
    for _ in 0..POINTS {
        let before: Vec<usize> = writers.iter().map(|writer| writer.answered()).collect();
        let point = source.open_point(&rows.name, PointOptions::default()).await.unwrap();
        let after: Vec<usize> = writers.iter().map(|writer| writer.begun()).collect();
        points.push((point, before, after));
    }
    stop.store(true, Ordering::Relaxed);
    for one in writing {
        one.await.unwrap();
    }
    let states: Vec<Vec<(u64, String)>> = writers.iter().map(|writer| writer.states()).collect();
    for (number, (point, before, after)) in points.iter().enumerate() {
        let at = KeptPoint::read(point.description(), "the point").unwrap().flush_timestamp;
        let found = live(point.as_ref()).await;
        assert_eq!(point.live_rows(64 << 20).await.unwrap(), Some(found.values().map(|rows| rows.rows).sum()));
        for (place, writer) in writers.iter().enumerate() {
            let there = found.get(&writer.partition).copied().unwrap_or_default();
            let there = (there.rows, there.digest().to_string());
            let (least, most) = (before[place], after[place]);
            let calls = (least..=most).find(|calls| states[place][*calls] == there);
            let calls = calls.unwrap_or_else(|| {
                let (counts, any): (Vec<u64>, _) = (
                    states[place][least..=most].iter().map(|state| state.0).collect(),
                    states[place].iter().position(|state| *state == there),
                );
                panic!("point {number}, writer {place}: {} rows are no state after {least} to {most} calls ({any:?}; {counts:?})", there.0)
            });
            // And the times of rows say the same.
            let times = writer.written.lock().unwrap().answered.clone();
            let (inside, outside) = times.split_at(calls);
            assert!(inside.iter().all(|time| *time <= at), "point {number}, writer {place}");
            assert!(outside.iter().all(|time| *time == 0 || *time > at), "point {number}, writer {place}");
        }
    }
    assert!(writers.iter().all(|writer| writer.begun() > 20), "the writers hardly wrote");
}
