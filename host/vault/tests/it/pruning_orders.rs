//! Pruning beside writers, readers and other pruners, in all orders of their operations; stopped after any operation;
//! on stores whose listings lag.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use futures::FutureExt;
use longshore_model::{Codec, Timestamp};
use longshore_vault::testing::{Effect, Fault, FaultStore, Gates, SeededRandom, TestClock, TimedStore, long, seeds};
use longshore_vault::*;

use crate::pruning::{HOUR, at_once, timed};
use crate::support::*;

/// Files by letter: the same letter is always the same file.
fn files(letters: &str) -> Content {
    let file = |letter: char| (format!("data/{letter}"), noise(u64::from(letter), 2_000));
    BTreeMap::from([("articles".to_owned(), letters.chars().map(file).collect())])
}

/// What happened to the backups, for the end.
#[derive(Default)]
struct Told {
    committed: BTreeMap<u8, Content>,
    deleted: Vec<u8>,
    reader: Option<Result<Content, String>>,
}

struct World {
    clock: TestClock,
    store: Store,
    told: Arc<Mutex<Told>>,
}

impl World {
    async fn new() -> Self {
        let clock = TestClock::new(Timestamp::from_millis(NOW));
        let store: Store = Arc::new(TimedStore::new(memory(), clock.clone()));
        Vault::init(store.clone(), options("local", 1)).await.unwrap();
        Self { clock, store, told: Arc::default() }
    }

    async fn vault(&self, store: Store) -> Vault {
        Vault::open(store, &Keys::none()).await.unwrap().with_limits(small_limits())
    }
}

async fn back_up_as(vault: Vault, clock: TestClock, number: u8, content: Content, told: Arc<Mutex<Told>>) {
    let request = request(1_000 + u64::from(number));
    let Ok(pin) = vault.pin(request, Arc::new(clock)).await else { return };
    let id = backup_id(number);
    let Ok(part) = write_part(&vault, &pin, &id, 1, &content, Codec::Store).await else { return };
    if vault.commit_root(&root_of(&id, 1, &[&part.reference]), &pin).await.is_ok() {
        told.lock().unwrap().committed.insert(number, content);
    }
    let _ = pin.release().await;
}

async fn read_as(vault: Vault, clock: TestClock, number: u8, told: Arc<Mutex<Told>>) {
    let read = async {
        let loaded = vault.load_backup(&backup_id(number)).await.map_err(|error| error.to_string())?;
        let part = vault.load_part_of(&loaded).await.map_err(|error| error.to_string())?;
        let request = PinRequest { relies_on: ReliesOn::default(), ..request(2_000) };
        let begun = vault.begin_reading(&[&part], request, Arc::new(clock)).await;
        let (pin, reader) = begun.map_err(|error| error.to_string())?;
        if !vault.exists(&backup_id(number)).await.map_err(|error| error.to_string())? {
            return Ok(Err("deleted before it was pinned".to_owned()));
        }
        // From here on nothing may fail, whatever is deleted.
        let mut content = Content::new();
        for (files, sealed) in part.collections().map_err(|error| error.to_string())? {
            for (file, name) in files.files.iter().zip(&sealed.files) {
                let mut bytes = Vec::new();
                for blob in &file.blobs {
                    let read = reader.read_blob(blob).await;
                    bytes.extend_from_slice(&read.map_err(|error| format!("PINNED: {error}"))?);
                }
                content.entry(sealed.name.collection.clone()).or_default().insert(name.path.clone(), bytes);
            }
        }
        let _ = pin.release().await;
        Ok(Ok(content))
    };
    let result: Result<Result<Content, String>, String> = read.await;
    told.lock().unwrap().reader = Some(result.and_then(|inner| inner));
}

async fn prune_as(vault: Vault, clock: TestClock, run: u8, times: u8) {
    for time in 0..times {
        prune(std::slice::from_ref(&vault), &at_once(), &clock, [run * 16 + time + 1; 16]).await.unwrap();
    }
}

/// Who goes first: the ready actor with the highest priority. At a few moments whoever goes on falls behind all others,
/// which finds orders that need one actor to stop for long in a certain place.
struct Order {
    priorities: Vec<u64>,
    moments: Vec<u64>,
    operations: u64,
}

impl Order {
    fn new(random: &mut SeededRandom, actors: usize) -> Self {
        let moments = random.below(4) + 1;
        Self {
            priorities: (0..actors).map(|_| 1_000 + random.below(1_000_000)).collect(),
            moments: (0..moments).map(|_| random.below(120)).collect(),
            operations: 0,
        }
    }

    fn pick(&mut self, ready: &[usize]) -> usize {
        let first = |priorities: &[u64]| ready.iter().copied().max_by_key(|actor| priorities[*actor]).unwrap();
        if self.moments.contains(&self.operations) {
            let falls = first(&self.priorities);
            self.priorities[falls] = 1_000_u64.saturating_sub(self.operations);
        }
        self.operations += 1;
        first(&self.priorities)
    }
}

/// One order of operations: backup 2 is read, backup 3 written, two hosts prune; in some, backup 2 is deleted meanwhile.
async fn one_order(seed: u64) -> Result<(), String> {
    let mut random = SeededRandom::new(seed);
    let world = World::new().await;
    let plain = world.vault(world.store.clone()).await;
    for (number, letters) in [(1, "ABx"), (2, "BCxy")] {
        back_up_as(plain.clone(), world.clock.clone(), number, files(letters), world.told.clone()).await;
    }
    plain.delete_backup(&backup_id(1), &withdrawal()).await.unwrap();
    // So that some orders begin with marks that are due.
    prune_as(plain.clone(), world.clock.clone(), 1, random.below(3) as u8).await;
    let gates = Gates::default();
    let mut actors = Vec::new();
    let mut vaults = Vec::new();
    for actor in 0..5 {
        vaults.push(world.vault(gates.store(world.store.clone(), actor)).await);
    }
    let (told, clock) = (world.told.clone(), world.clock.clone());
    actors.push(back_up_as(vaults[0].clone(), clock.clone(), 3, files("ACxz"), told.clone()).boxed());
    actors.push(read_as(vaults[1].clone(), clock.clone(), 2, told.clone()).boxed());
    actors.push(prune_as(vaults[2].clone(), clock.clone(), 2, 2).boxed());
    actors.push(prune_as(vaults[3].clone(), clock.clone(), 3, 2).boxed());
    let deletes = random.chance(50);
    let deleter = (vaults[4].clone(), told.clone());
    actors.push(
        async move {
            if deletes {
                deleter.0.withdraw_backup(&backup_id(2), &withdrawal()).await.unwrap();
                deleter.1.lock().unwrap().deleted.push(2);
            }
        }
        .boxed(),
    );
    let mut order = Order::new(&mut random, 5);
    gates.run(actors, |ready| order.pick(ready)).await;
    judge(&world, &plain).await.map_err(|error| format!("{error}\n{}", gates.trace().join("\n")))
}

/// Everything that was reported as committed and not deleted can be read, and in the end nothing unneeded is left.
async fn judge(world: &World, vault: &Vault) -> Result<(), String> {
    for round in 0..6 {
        {
            let told = world.told.lock().unwrap();
            match &told.reader {
                Some(Ok(content)) if *content != files("BCxy") => return Err("the reader got something else".into()),
                Some(Err(error)) if error.contains("PINNED") || !told.deleted.contains(&2) => return Err(error.clone()),
                _ => {}
            }
        }
        let told = std::mem::take(&mut *world.told.lock().unwrap());
        for (number, content) in &told.committed {
            if *number == 1 || told.deleted.contains(number) {
                continue;
            }
            match read_back(vault, &backup_id(*number)).await {
                Ok(read) if read == *content => {}
                Ok(_) => return Err(format!("backup {number} reads back as something else, round {round}")),
                Err(error) => return Err(format!("backup {number}, round {round}: {error}")),
            }
        }
        *world.told.lock().unwrap() = told;
        world.clock.advance_ms(26 * HOUR);
        prune_as(vault.clone(), world.clock.clone(), 5 + round, 1).await;
    }
    let plan = plan_prune(std::slice::from_ref(vault), &at_once(), longshore_model::Clock::now(&world.clock)).await;
    let plan = plan.map_err(|error| error.to_string())?.vaults.remove(0);
    if !plan.objects.is_empty() || plan.space.unneeded_bytes > plan.space.needed_bytes {
        return Err(format!("something is left: {plan:?}"));
    }
    Ok(())
}

#[tokio::test]
async fn whatever_the_order_of_a_writer_a_reader_and_two_pruners_nothing_needed_is_lost() {
    for seed in seeds(0..if long() { 2_000 } else { 150 }, 5_000) {
        if let Err(error) = one_order(seed).await {
            panic!("seed {seed}: {error}");
        }
    }
}

#[tokio::test]
async fn a_pruner_that_dies_after_any_operation_loses_nothing_and_the_next_one_cleans_up() {
    let mut step = 0;
    loop {
        let timed = timed().await;
        for (number, letters) in [(1, "ABx"), (2, "BCxy"), (3, "zw")] {
            timed.back_up(number, &files(letters)).await;
        }
        timed.delete(1).await;
        timed.delete(3).await;
        let mut died = false;
        timed.clock.advance_ms(26 * HOUR);
        // Over three runs: marks, deletions, and the records that go last.
        timed.faults.plan(vec![Fault::dead_from(step)]);
        for _ in 0..3 {
            died |= timed.prune(&at_once()).await.is_err();
            if died {
                break;
            }
            timed.clock.advance_ms(26 * HOUR);
        }
        timed.faults.plan(Vec::new());
        assert_eq!(read_back(&timed.vault, &backup_id(2)).await.unwrap(), files("BCxy"), "step {step}");
        timed.prune_out(&at_once()).await;
        assert_eq!(read_back(&timed.vault, &backup_id(2)).await.unwrap(), files("BCxy"), "step {step}");
        assert_eq!(
            timed.folders().await,
            ["index", "packs", "parts", "roots"].map(str::to_owned).into(),
            "step {step}: {:?}",
            keys(&timed.store(), "").await
        );
        assert_eq!(keys(&timed.store(), "parts").await.len(), 1, "step {step}");
        if !died {
            break;
        }
        step += 1;
    }
    assert!(step > 40, "only {step} operations");
}

#[tokio::test]
async fn listings_that_lag_by_less_than_half_a_fence_lose_nothing() {
    for seed in seeds(0..if long() { 400 } else { 25 }, 2_000) {
        let mut random = SeededRandom::new(seed);
        let clock = TestClock::new(Timestamp::from_millis(NOW));
        let faults = FaultStore::new(Arc::new(TimedStore::new(memory(), clock.clone())));
        let vault = Vault::init(faults.store(), options("local", 1)).await.unwrap().with_limits(small_limits());
        let options = PruneOptions { fence_ms: HOUR, minimum_age_ms: 0, ..PruneOptions::default() };
        let told: Arc<Mutex<Told>> = Arc::default();
        let letters = ["AB", "BC", "CD", "DA", "ABCD", "E"];
        // A listing shows the world as it was a few operations ago, and every second step is more than a fence later.
        let lag = random.below(12) + 1;
        faults.plan(vec![Fault::on(longshore_vault::testing::Operation::List, "", Effect::Stale(lag))]);
        for step in 0..14_u8 {
            match random.below(4) {
                0 | 1 => {
                    let content = files(random.pick(&letters).unwrap());
                    back_up_as(vault.clone(), clock.clone(), step + 1, content, told.clone()).await;
                }
                2 => {
                    let alive: Vec<u8> = told.lock().unwrap().committed.keys().copied().collect();
                    if let Some(number) = random.pick(&alive) {
                        vault.withdraw_backup(&backup_id(*number), &withdrawal()).await.unwrap();
                        told.lock().unwrap().committed.remove(number);
                    }
                }
                _ => {
                    let report = prune(std::slice::from_ref(&vault), &options, &clock, [step + 1; 16]).await;
                    report.unwrap_or_else(|error| panic!("seed {seed}: {error}"));
                }
            }
            if random.chance(60) {
                clock.advance_ms(HOUR + 1);
                // A fence later listings have caught up; operations stand for time in the lag.
                for _ in 0..lag {
                    let _ = vault.check().await;
                }
            }
        }
        faults.plan(Vec::new());
        let committed = std::mem::take(&mut told.lock().unwrap().committed);
        for (number, content) in committed {
            let read = read_back(&vault, &backup_id(number)).await;
            assert_eq!(read.unwrap_or_else(|error| panic!("seed {seed}, {number}: {error}")), content, "seed {seed}");
        }
    }
}
