//! Months of a host that stops and dies: what is due is started once, soon, and never twice at once.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, Ordering};

use longshore_catalog::{
    BackupFilter, BackupOutcome, BackupRow, Catalog as _, CatalogError, JobEnd, JobRow, NewBackup, NewBackupJob,
    NewCluster, Page as CatalogPage, SqliteCatalog,
};
use longshore_model::{BackupId, BackupStatus, BackupType, CreationMethod, JobId, JobStatus};
use serde_json::Value;

use super::*;
use crate::host::going;
use crate::{EngineError, HostConfig, Random};

const CLUSTERS: u8 = 5;
/// Longer than any job of these months, so that no worker has to renew its lease.
const LEASE_MS: i64 = 30 * DAY_MS;
const MINUTE_MS: i64 = 60_000;
/// Days for which the automatic backups of a dropped cluster stay.
const GRACE_DAYS: i64 = 1;

/// Numbers that look random and are the same for the same seed.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    fn one_in(&mut self, bound: u64) -> bool {
        self.below(bound) == 0
    }
}

/// Gives ids until it has given as many as it may: whoever draws another one dies there. Drawing comes between all
/// calls of the catalog, so this stops a look between any two of its steps.
struct Dying(AtomicI64);

impl Random for Dying {
    fn fill(&self, bytes: &mut [u8]) -> Result<(), EngineError> {
        if self.0.fetch_sub(1, Ordering::Relaxed) <= 0 {
            return Err(EngineError::NoRandomness { why: "the host died here".to_owned() });
        }
        crate::SystemRandom.fill(bytes)
    }
}

const CONFIG: &str = "data_directory = \"data\"\n[project]\nid = \"proj-a\"\nname = \"A\"\n\
                      [[region]]\nid = \"eu\"\nvault = \"eu\"\n[[region]]\nid = \"us\"\nvault = \"us\"";

fn registered(number: u8) -> NewCluster {
    NewCluster {
        id: cluster(number),
        name: format!("Dedicated-{number}"),
        project: "proj-a".parse().unwrap(),
        region: "eu".parse().unwrap(),
        source_kind: "milvus-lite".to_owned(),
        location: "/data".to_owned(),
        cu_size: 1,
        status: "RUNNING".to_owned(),
    }
}

struct World {
    folder: tempfile::TempDir,
    catalog: SqliteCatalog,
    config: HostConfig,
    numbers: Numbers,
    now: Timestamp,
    /// When the workers end the jobs that run.
    ends: BTreeMap<Timestamp, JobRow>,
    /// When each cluster's schedule was set, and to what; `None` for off.
    history: BTreeMap<ClusterId, Vec<(Timestamp, Option<Starts>)>>,
    /// Clusters that are dropped, and since when.
    dropped: BTreeMap<ClusterId, Timestamp>,
    /// Backups made by hand.
    manual: Vec<BackupId>,
    /// How many backups went by themselves.
    expired: usize,
}

fn open(folder: &std::path::Path) -> SqliteCatalog {
    let limits = longshore_catalog::Limits { lease_ms: LEASE_MS, ..longshore_catalog::Limits::DEFAULT };
    SqliteCatalog::open_with(&folder.join("catalog.db"), limits).unwrap()
}

impl World {
    fn new(seed: u64) -> Self {
        // In memory where there is such a place: this is about what is done, not about what a power cut leaves.
        let folder = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
        let catalog = open(folder.path());
        let text = &format!("dropped_cluster_grace_days = {GRACE_DAYS}\n{CONFIG}");
        let config = HostConfig::parse(text, folder.path()).unwrap();
        let now = time("2026-01-28T21:00:00Z");
        catalog.put_project(&config.project.id, "A", now).unwrap();
        for number in 0..CLUSTERS {
            catalog.put_cluster(&registered(number), now).unwrap();
        }
        let numbers = Numbers(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
        Self {
            folder,
            catalog,
            config,
            numbers,
            now,
            ends: BTreeMap::new(),
            history: BTreeMap::new(),
            dropped: BTreeMap::new(),
            manual: Vec::new(),
            expired: 0,
        }
    }

    fn die(&mut self) {
        self.catalog = open(self.folder.path());
    }

    fn some_cluster(&mut self) -> u8 {
        u8::try_from(self.numbers.below(u64::from(CLUSTERS))).unwrap()
    }

    fn set_some_schedule(&mut self) {
        let id = cluster(self.some_cluster());
        let starts = match self.numbers.below(5) {
            0 => weekly("1,3,5", "23:00-01:00"),
            1 => weekly("7", "02:00-04:00"),
            2 => cron("0 */5 * * *"),
            3 => cron("15 3 1 * * America/New_York"),
            _ => weekly("1,2,3,4,5,6,7", "02:00-04:00"),
        };
        let set = if self.numbers.one_in(6) {
            SetSchedule::Off
        } else {
            let mut change = ScheduleChange { retention_days: Some(3), ..ScheduleChange::default() };
            match &starts {
                Starts::Weekly { days, window } => (change.days, change.window) = (Some(*days), Some(*window)),
                Starts::Cron(cron) => change.cron = Some(cron.clone()),
            }
            SetSchedule::On(change)
        };
        let view = set_schedule(&self.catalog, &self.config, &id, &set, self.now);
        if self.dropped.contains_key(&id) {
            view.unwrap_err();
            return;
        }
        let view = view.unwrap();
        assert_eq!(view.next_run.is_some(), set != SetSchedule::Off);
        let starts = (set != SetSchedule::Off).then_some(starts);
        self.history.entry(id).or_default().push((self.now, starts));
    }

    /// A cluster is dropped, if no job of it is under way, or one that was is registered again.
    fn drop_or_register(&mut self) {
        let number = self.some_cluster();
        let id = cluster(number);
        if self.dropped.remove(&id).is_some() {
            self.catalog.put_cluster(&registered(number), self.now).unwrap();
            return;
        }
        match self.catalog.drop_cluster(&id, self.now) {
            Ok(_) => {
                self.dropped.insert(id.clone(), self.now);
                self.history.entry(id).or_default().push((self.now, None));
            }
            Err(CatalogError::ClusterBusy { .. }) => {}
            Err(error) => panic!("{error}"),
        }
    }

    /// Somebody makes a backup by hand, where the rules allow it.
    fn back_up_by_hand(&mut self) {
        let id = cluster(self.some_cluster());
        let (mut backup_id, mut job_id) = ([0; 10], [0; 12]);
        crate::SystemRandom.fill(&mut backup_id).unwrap();
        crate::SystemRandom.fill(&mut job_id).unwrap();
        let backup = NewBackup {
            id: BackupId::from_random(backup_id),
            cluster: id.clone(),
            backup_type: BackupType::Cluster,
            creation_method: CreationMethod::Manual,
            expires: None,
            expiring_copies: Vec::new(),
            collections: Value::Null,
            detail: Value::Null,
        };
        let job = NewBackupJob { id: JobId::from_random(job_id), request: Value::Null };
        match self.catalog.create_backup(&backup, &job, self.now) {
            Ok(_) => self.manual.push(backup.id),
            Err(CatalogError::ClusterNotFound { .. }) => assert!(self.dropped.contains_key(&id)),
            Err(CatalogError::ManualBackupActive { .. } | CatalogError::AutomaticBackupActive { .. }) => {}
            Err(error) => panic!("{error}"),
        }
    }

    /// Deletes what is to go, as a host does; now and then the host dies on the way.
    fn expire(&mut self) {
        let half = BackupFilter { statuses: Some(vec![BackupStatus::Deleted]), not_purged: true, ..Default::default() };
        for row in self.catalog.list_backups(&half, CatalogPage { size: 1_000, current: 1 }).unwrap().items {
            self.catalog.mark_backup_purged(&row.id, self.now).unwrap();
        }
        let (now, grace, rows) = (self.now, GRACE_DAYS * DAY_MS, self.automatic());
        for (row, why) in going(&self.catalog, &self.config, now).unwrap() {
            let over = row.expires.is_some_and(|expires| expires <= now);
            let gone = self.dropped.get(&row.cluster).is_some_and(|at| at.plus_millis(grace) <= now);
            assert!(row.creation_method == CreationMethod::Auto && (over || gone), "{why}: {row:?}");
            let on = get_schedule(&self.catalog, &row.cluster).is_ok_and(|view| view.next_run.is_some());
            let of_it = |other: &&BackupRow| other.cluster == row.cluster && other.status == BackupStatus::Available;
            let newest = rows.iter().rev().find(of_it).is_some_and(|newest| newest.id == row.id);
            assert!(!(on && newest), "{why}: the last backup of a schedule goes: {row:?}");
            match self.catalog.mark_backup_deleted(&row.id, now) {
                Ok(_) => self.expired += 1,
                Err(CatalogError::BackupBusy { .. }) => continue,
                Err(error) => panic!("{error}"),
            }
            if self.numbers.one_in(20) {
                self.die();
                return;
            }
            self.catalog.mark_backup_purged(&row.id, now).unwrap();
        }
        self.check_what_stays();
    }

    /// After a look that nothing cut short, nothing is left whose time is over but the last hope of a schedule.
    fn check_what_stays(&self) {
        let rows = self.automatic();
        let left: Vec<&BackupRow> = rows.iter().filter(|row| row.status == BackupStatus::Available).collect();
        for row in &left {
            let gone = self.dropped.get(&row.cluster).is_some_and(|at| at.plus_millis(GRACE_DAYS * DAY_MS) <= self.now);
            assert!(!gone, "{row:?} outlives its cluster");
            if row.expires.is_some_and(|expires| expires <= self.now) {
                let newest = left.iter().rev().find(|other| other.cluster == row.cluster);
                let on = get_schedule(&self.catalog, &row.cluster).is_ok_and(|view| view.next_run.is_some());
                assert!(
                    on && newest.is_some_and(|newest| newest.id == row.id),
                    "{row:?} stays though its time is over"
                );
            }
        }
    }

    /// Workers end what has run long enough and take what waits.
    fn work(&mut self) {
        while let Some((at, job)) = self.ends.first_key_value().map(|(at, job)| (*at, job.clone())) {
            if at > self.now {
                break;
            }
            self.ends.remove(&at);
            let well = !self.numbers.one_in(8);
            let outcome = BackupOutcome { size_bytes: 1, collections: Value::Null, detail: Value::Null };
            let end = JobEnd {
                status: if well { JobStatus::Successful } else { JobStatus::Failed },
                reason: (!well).then(|| "the cluster did not answer".to_owned()),
                result: Value::Null,
                backup: well.then_some(outcome),
                follow_ups: Vec::new(),
            };
            self.catalog.finish_job(&job.id, job.fencing_token, &end, self.now).unwrap();
        }
        while let Some(job) = self.catalog.claim_job("worker", None, self.now, LEASE_MS).unwrap() {
            // Mostly minutes, now and then longer than the time to the next run.
            let minutes = if self.numbers.one_in(10) { 2_000 } else { self.numbers.below(90) };
            let mut at = self.now.plus_millis(i64::try_from(minutes).unwrap() * MINUTE_MS + 1);
            while self.ends.contains_key(&at) {
                at = at.plus_millis(1);
            }
            self.ends.insert(at, job);
        }
    }

    fn automatic(&self) -> Vec<BackupRow> {
        let every = [BackupStatus::Creating, BackupStatus::Available, BackupStatus::Failed, BackupStatus::Deleted];
        let filter = BackupFilter {
            creation_method: Some(CreationMethod::Auto),
            statuses: Some(every.to_vec()),
            ..BackupFilter::default()
        };
        let mut rows = Vec::new();
        for current in 1.. {
            let listed = self.catalog.list_backups(&filter, CatalogPage { size: 1_000, current }).unwrap();
            rows.extend(listed.items);
            if rows.len() as u64 >= listed.count {
                break;
            }
        }
        rows.reverse();
        rows
    }

    /// The look of a host that does not die: afterwards nothing is owed but what waits for the backup before.
    fn look(&mut self) {
        let (made, more) = start_due(&self.catalog, &crate::SystemRandom, self.now).unwrap();
        assert!(!more);
        for (backup, _) in made {
            assert_eq!((backup.created, backup.expires), (self.now, Some(self.now.plus_millis(3 * DAY_MS))));
        }
        for view in list_schedules(&self.catalog).unwrap().iter().filter(|view| view.next_run.is_some()) {
            let filter = BackupFilter {
                cluster: Some(view.cluster_id.clone()),
                creation_method: Some(CreationMethod::Auto),
                statuses: Some(vec![BackupStatus::Creating]),
                ..BackupFilter::default()
            };
            let running = self.catalog.list_backups(&filter, CatalogPage::default()).unwrap().count;
            assert!(running <= 1, "two automatic backups of {} at once", view.cluster_id);
            let next = view.next_run.unwrap();
            assert!(running == 1 || next > self.now, "{} was due at {next}, it is {}", view.cluster_id, self.now);
        }
    }

    /// Each backup has a reason: a schedule was turned on, or a start lies between the backup before and this one.
    fn check_reasons(&self) {
        let rows = self.automatic();
        for (id, history) in &self.history {
            let own: Vec<&BackupRow> = rows.iter().filter(|row| row.cluster == *id).collect();
            let mut before = Timestamp::from_millis(0);
            for row in own {
                let set = history.iter().filter(|(at, _)| *at <= row.created).collect::<Vec<_>>();
                let on = |place: usize| set[place].1.is_some() && (place == 0 || set[place - 1].1.is_none());
                let turned_on = (0..set.len()).any(|place| on(place) && set[place].0 >= before);
                let started = set.iter().enumerate().any(|(place, (at, starts))| {
                    let until = set.get(place + 1).map_or(row.created, |(at, _)| *at);
                    let from = before.max(*at);
                    let next = starts.as_ref().and_then(|starts| starts.next_after(id, from));
                    next.is_some_and(|next| next <= until.max(from) && next <= row.created)
                });
                assert!(
                    turned_on || started,
                    "backup at {} has no reason; the one before was at {before}",
                    row.created
                );
                before = row.created;
            }
        }
    }
}

fn simulate(seed: u64, days: i64) -> usize {
    let mut world = World::new(seed);
    let end = world.now.plus_millis(days * DAY_MS);
    world.set_some_schedule();
    while world.now < end {
        // A host looks every few minutes; now and then none runs for days.
        let minutes = if world.numbers.one_in(400) { world.numbers.below(8_000) } else { 5 + world.numbers.below(90) };
        world.now = world.now.plus_millis(i64::try_from(minutes).unwrap() * MINUTE_MS);
        if world.numbers.one_in(40) {
            world.set_some_schedule();
        }
        if world.numbers.one_in(6) {
            // It dies during the look, somewhere; the next one looks again.
            let left = i64::try_from(world.numbers.below(12)).unwrap();
            let _ = start_due(&world.catalog, &Dying(AtomicI64::new(left)), world.now);
            world.die();
        }
        world.look();
        world.work();
        if world.numbers.one_in(150) {
            world.drop_or_register();
        }
        if world.numbers.one_in(50) {
            world.back_up_by_hand();
        }
        if world.numbers.one_in(8) {
            world.expire();
        }
    }
    world.check_reasons();
    for id in &world.manual {
        let row = world.catalog.get_backup(id).unwrap().unwrap().backup;
        assert_ne!(row.status, BackupStatus::Deleted, "made by hand, and deleted by nobody: {row:?}");
    }
    assert!(world.expired > 4 && world.manual.len() > 1, "{} expired, {} by hand", world.expired, world.manual.len());
    world.automatic().len()
}

#[test]
fn months_pass_and_nothing_is_missed_or_made_twice() {
    let seeds: Vec<u64> = match std::env::var("LONGSHORE_SEED") {
        Ok(seed) => vec![seed.parse().unwrap()],
        Err(_) if std::env::var_os("LONGSHORE_LONG").is_some() => (1..=20).collect(),
        Err(_) => vec![1],
    };
    for seed in seeds {
        let made = std::panic::catch_unwind(|| simulate(seed, 60));
        let made = made.unwrap_or_else(|_| panic!("see above; play it again with LONGSHORE_SEED={seed}"));
        assert!(made > 10, "seed {seed}: only {made} automatic backups in two months");
    }
}

#[test]
fn what_was_missed_is_made_up_for_once() {
    let mut world = World::new(9);
    let id = cluster(0);
    let change = ScheduleChange { days: Some("1,2,3,4,5,6,7".parse().unwrap()), ..ScheduleChange::default() };
    set_schedule(&world.catalog, &world.config, &id, &SetSchedule::On(change), world.now).unwrap();
    let started = |world: &World| start_due(&world.catalog, &crate::SystemRandom, world.now).unwrap().0.len();
    assert_eq!(started(&world), 1, "the first backup, when it is enabled");
    assert_eq!(started(&world), 0);
    world.work();
    world.now = world.now.plus_millis(10 * DAY_MS);
    world.work();
    assert_eq!(started(&world), 1, "ten days without a host are made up for by one backup");
    let next = get_schedule(&world.catalog, &id).unwrap().next_run.unwrap();
    assert!(next > world.now && next.millis_since(world.now) <= DAY_MS, "then it goes on as before");
}

#[test]
fn a_change_keeps_what_is_owed_and_turning_on_again_owes_a_first_backup() {
    let world = World::new(9);
    let id = cluster(0);
    let set = |set: SetSchedule, at: Timestamp| set_schedule(&world.catalog, &world.config, &id, &set, at).unwrap();
    let on = |days: &str| SetSchedule::On(ScheduleChange { days: Some(days.parse().unwrap()), ..Default::default() });
    assert_eq!(set(SetSchedule::Off, world.now).schedule, None, "turning off what never was does nothing");
    assert_eq!(set(on("1"), world.now).next_run, Some(world.now));
    let later = world.now.plus_millis(MINUTE_MS);
    assert_eq!(set(on("2"), later).next_run, Some(world.now), "the first backup is still owed");
    start_due(&world.catalog, &crate::SystemRandom, later).unwrap();
    let moved = set(on("3"), later).next_run.unwrap();
    assert!(moved > later, "nothing is owed, so a change makes no backup");
    let off = set(SetSchedule::Off, later);
    assert_eq!((off.next_run, off.schedule.is_some()), (None, true));
    let again = set(SetSchedule::On(ScheduleChange::default()), later);
    assert_eq!(again.next_run, Some(later));
    assert_eq!(again.schedule.unwrap().starts, weekly("3", "02:00-04:00"), "what was left out is as it was");
}

#[test]
fn a_schedule_that_cannot_be_kept_is_refused_with_the_reason() {
    let world = World::new(9);
    let copy = |region: &str, retention_days| ScheduledCopy { region_id: region.parse().unwrap(), retention_days };
    let change = |copies: Vec<ScheduledCopy>| ScheduleChange { copies: Some(copies), ..Default::default() };
    let cases = [
        (ScheduleChange { retention_days: Some(0), ..Default::default() }, "1 to 30 days"),
        (ScheduleChange { retention_days: Some(31), ..Default::default() }, "1 to 30 days"),
        (change(vec![copy("us", 31)]), "1 to 30 days"),
        (change(vec![copy("us", 1), copy("us", 2)]), "twice"),
        (change(vec![copy("eu", 1)]), "another region"),
        (change(vec![copy("mars", 1)]), "no region `mars`"),
        (
            ScheduleChange {
                days: Some("1".parse().unwrap()),
                cron: Some("0 0 * * *".parse().unwrap()),
                ..Default::default()
            },
            "not both",
        ),
    ];
    for (change, reason) in cases {
        let set = SetSchedule::On(change);
        let error = set_schedule(&world.catalog, &world.config, &cluster(0), &set, world.now).unwrap_err().to_string();
        assert!(error.contains(reason), "{set:?}: {error}");
    }
    assert_eq!(get_schedule(&world.catalog, &cluster(0)).unwrap().schedule, None, "a refused one changes nothing");
    let unknown = set_schedule(&world.catalog, &world.config, &cluster(99), &SetSchedule::Off, world.now);
    assert!(matches!(unknown, Err(EngineError::NotFound { what: "cluster", .. })));
}
