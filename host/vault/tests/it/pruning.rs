//! Pruning: what goes, what stays and why, one thing at a time.

use std::collections::BTreeSet;
use std::sync::Arc;

use longshore_model::{Clock, Codec, Timestamp};
use longshore_vault::testing::{Effect, Fault, FaultStore, Operation, TestClock, TimedStore};
use longshore_vault::*;
use object_store::ObjectStoreExt;

use crate::support::*;

pub(crate) const HOUR: i64 = 60 * 60 * 1000;
pub(crate) const DAY: i64 = 24 * HOUR;

/// A vault whose store shows the time of a clock that the test moves.
pub(crate) struct Timed {
    pub(crate) clock: TestClock,
    pub(crate) faults: FaultStore,
    pub(crate) vault: Vault,
    runs: std::sync::atomic::AtomicU64,
}

pub(crate) async fn timed() -> Timed {
    timed_as(options("local", 1)).await
}

pub(crate) async fn timed_as(options: VaultOptions) -> Timed {
    let clock = TestClock::new(Timestamp::from_millis(NOW));
    let store = Arc::new(TimedStore::new(memory(), clock.clone()));
    let faults = FaultStore::new(store);
    let vault = Vault::init(faults.store(), options).await.unwrap().with_limits(small_limits());
    Timed { clock, faults, vault, runs: std::sync::atomic::AtomicU64::new(0) }
}

impl Timed {
    pub(crate) fn store(&self) -> Store {
        self.faults.store()
    }

    pub(crate) fn clock(&self) -> Arc<dyn Clock> {
        Arc::new(self.clock.clone())
    }

    pub(crate) async fn prune(&self, options: &PruneOptions) -> Result<VaultPlan, VaultError> {
        let run = self.runs.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        let mut random = [0; 16];
        random[..8].copy_from_slice(&run.to_le_bytes());
        let report = prune(std::slice::from_ref(&self.vault), options, &self.clock, random).await?;
        Ok(report.vaults.into_iter().next().unwrap())
    }

    pub(crate) async fn back_up(&self, number: u8, content: &Content) {
        let token = 100 + u64::from(number);
        let pin = self.vault.pin(request(token), self.clock()).await.unwrap();
        let part = write_part(&self.vault, &pin, &backup_id(number), 1, content, Codec::Store).await.unwrap();
        self.vault.commit_root(&root_of(&backup_id(number), 1, &[&part.reference]), &pin).await.unwrap();
        pin.release().await.unwrap();
    }

    pub(crate) async fn delete(&self, number: u8) {
        self.vault.delete_backup(&backup_id(number), &withdrawal()).await.unwrap();
    }

    /// Prunes until nothing more can go, moving the clock on each time.
    pub(crate) async fn prune_out(&self, options: &PruneOptions) {
        for _ in 0..6 {
            self.clock.advance_ms(26 * HOUR);
            self.prune(options).await.unwrap();
        }
    }

    /// Everything but the header, by folder.
    pub(crate) async fn folders(&self) -> BTreeSet<String> {
        let all = keys(&self.store(), "").await;
        let folders = all.iter().filter(|key| key.as_ref() != HEADER_KEY);
        folders.map(|key| key.as_ref().split('/').next().unwrap_or_default().to_owned()).collect()
    }
}

/// No fence and no minimum age.
pub(crate) fn at_once() -> PruneOptions {
    PruneOptions { fence_ms: 0, minimum_age_ms: 0, ..PruneOptions::default() }
}

pub(crate) fn reasons(plan: &VaultPlan, action: PruneAction) -> BTreeSet<PruneReason> {
    plan.objects.iter().filter(|object| object.action == action).map(|object| object.reason.clone()).collect()
}

#[tokio::test]
async fn a_deleted_backup_goes_in_two_runs_a_fence_apart_and_nothing_of_it_is_left() {
    let timed = timed().await;
    timed.back_up(1, &sample(1)).await;
    timed.back_up(2, &sample(2)).await;
    let used = timed.vault.used_bytes().await.unwrap();
    timed.delete(1).await;
    let options = PruneOptions::default();
    let young = timed.prune(&options).await.unwrap();
    assert_eq!(young.count(PruneAction::Mark).0, 0);
    assert!(reasons(&young, PruneAction::Keep).contains(&PruneReason::Young));
    timed.clock.advance_ms(DAY);
    let marked = timed.prune(&options).await.unwrap();
    assert!(marked.count(PruneAction::Mark).0 > 0, "{marked:?}");
    assert!(marked.next_deletion.is_some());
    assert!(reasons(&marked, PruneAction::Delete).contains(&PruneReason::Withdrawn), "{marked:?}");
    assert!(timed.vault.used_bytes().await.unwrap() >= used);
    let waiting = timed.prune(&options).await.unwrap();
    assert!(reasons(&waiting, PruneAction::Wait).contains(&PruneReason::InFence));
    assert!(timed.vault.used_bytes().await.unwrap() >= used);
    timed.clock.advance_ms(HOUR);
    let done = timed.prune(&options).await.unwrap();
    assert!(done.count(PruneAction::Delete).1 > 0);
    assert_eq!(keys(&timed.store(), "marks").await.len(), 1, "what was removed is known for another fence");
    let left = timed.vault.used_bytes().await.unwrap();
    assert!(left < used * 2 / 3, "{left} of {used}");
    timed.prune_out(&options).await;
    assert_eq!(timed.folders().await, ["index", "packs", "parts", "roots"].map(str::to_owned).into());
    assert_eq!(read_back(&timed.vault, &backup_id(2)).await.unwrap(), sample(2));
    assert!(verify(&timed.vault, &backup_id(2), VerifyLevel::Decoded).await.is_whole());
    timed.delete(2).await;
    timed.prune_out(&options).await;
    assert_eq!(timed.folders().await, BTreeSet::new(), "nothing at all is left");
}

#[tokio::test]
async fn a_dry_run_says_what_a_run_would_do_and_writes_nothing() {
    let timed = timed().await;
    timed.back_up(1, &sample(1)).await;
    timed.back_up(2, &sample(2)).await;
    timed.delete(1).await;
    timed.clock.advance_ms(2 * DAY);
    let before = keys(&timed.store(), "").await;
    let vaults = [timed.vault.clone()];
    let plan = plan_prune(&vaults, &PruneOptions::default(), timed.clock.now()).await.unwrap();
    assert_eq!(keys(&timed.store(), "").await, before);
    let done = timed.prune(&PruneOptions::default()).await.unwrap();
    let of = |plan: &VaultPlan| plan.objects.clone();
    assert_eq!(of(&plan.vaults[0]), of(&done));
    assert_eq!(plan.vaults[0].space, done.space);
    let space = &done.space;
    assert_eq!(space.backups.len(), 1);
    assert_eq!(space.backups[0].alone_bytes + space.backups[0].shared_bytes, space.needed_bytes);
    assert!(space.unneeded_bytes > 0 && space.marked_bytes == 0 && space.pack_bytes > space.needed_bytes);
}

#[tokio::test]
async fn a_pack_of_which_little_is_needed_is_rewritten() {
    let timed = timed().await;
    let (first, mut second) = (sample(1), sample(2));
    // One file of the first backup stays needed.
    let kept = first["articles"]["data/shared"].clone();
    second.get_mut("images").unwrap().insert("kept".to_owned(), kept);
    timed.back_up(1, &first).await;
    timed.back_up(2, &second).await;
    timed.delete(1).await;
    timed.clock.advance_ms(2 * DAY);
    let plan = timed.prune(&PruneOptions::default()).await.unwrap();
    assert!(plan.count(PruneAction::Compact).0 > 0, "{plan:?}");
    timed.prune_out(&PruneOptions::default()).await;
    assert_eq!(read_back(&timed.vault, &backup_id(2)).await.unwrap(), second);
    let plan = timed.prune(&PruneOptions::default()).await.unwrap();
    assert!(plan.space.unneeded_bytes * 2 < plan.space.pack_bytes, "{:?}", plan.space);
    assert_eq!(plan.space.marked_bytes, 0);
}

#[tokio::test]
async fn compaction_of_a_damaged_pack_loses_nothing_and_says_so() {
    let timed = timed().await;
    let (first, mut second) = (sample(1), sample(2));
    let kept = first["articles"]["data/shared"].clone();
    second.get_mut("images").unwrap().insert("kept".to_owned(), kept);
    timed.back_up(1, &first).await;
    let old = keys(&timed.store(), "packs").await;
    timed.back_up(2, &second).await;
    timed.delete(1).await;
    timed.clock.advance_ms(2 * DAY);
    // The byte that is hit belongs to no needed blob, so everything can still be read.
    let whole = read_back(&timed.vault, &backup_id(2)).await.unwrap();
    for key in &old {
        for place in (0..bytes_of(&timed.store(), key).await.len()).step_by(5_000) {
            change(&timed.store(), key, |bytes| bytes[place] ^= 1).await;
            if read_back(&timed.vault, &backup_id(2)).await.is_ok_and(|content| content == whole) {
                break;
            }
            change(&timed.store(), key, |bytes| bytes[place] ^= 1).await;
        }
    }
    timed.clock.advance_ms(2 * DAY);
    let plan = timed.prune(&PruneOptions::default()).await.unwrap();
    assert!(reasons(&plan, PruneAction::Keep).contains(&PruneReason::OnlyGoodCopy), "{plan:?}");
    timed.prune_out(&PruneOptions::default()).await;
    assert_eq!(read_back(&timed.vault, &backup_id(2)).await.unwrap(), second);
}

#[tokio::test]
async fn a_writer_that_does_not_honour_a_mark_holds_it_back() {
    let timed = timed().await;
    timed.back_up(1, &sample(1)).await;
    timed.delete(1).await;
    // It has loaded its index: what is about to be marked counts as present for it.
    let pin = timed.vault.pin(request(7), timed.clock()).await.unwrap();
    let session = timed.vault.begin(&pin, SessionOptions::default()).await.unwrap();
    assert!(timed.prune(&at_once()).await.unwrap().count(PruneAction::Mark).0 > 0);
    let held = timed.prune(&at_once()).await.unwrap();
    assert!(reasons(&held, PruneAction::Wait).iter().any(|reason| matches!(reason, PruneReason::Pinned { .. })));
    drop(session);
    // This one began after the mark: it relies on nothing the mark lists, and stores it again.
    pin.release().await.unwrap();
    let later = timed.vault.pin(request(8), timed.clock()).await.unwrap();
    let part = write_part(&timed.vault, &later, &backup_id(2), 1, &sample(1), Codec::Store).await.unwrap();
    assert!(part.reference.sizes.new_bytes > 0, "what is marked counts as absent");
    assert!(timed.prune(&at_once()).await.unwrap().count(PruneAction::Delete).1 > 0, "it honours the mark");
    timed.vault.commit_root(&root_of(&backup_id(2), 1, &[&part.reference]), &later).await.unwrap();
    assert_eq!(read_back(&timed.vault, &backup_id(2)).await.unwrap(), sample(1));
}

#[tokio::test]
async fn what_is_needed_again_is_kept_and_counts_as_present_again() {
    let timed = timed().await;
    timed.back_up(1, &sample(1)).await;
    timed.delete(1).await;
    let pin = timed.vault.pin(request(7), timed.clock()).await.unwrap();
    let session = Arc::new(timed.vault.begin(&pin, SessionOptions::default()).await.unwrap());
    timed.prune(&at_once()).await.unwrap();
    drop(session);
    // The session's index is older than the mark. `write_part` begins its own, so the old pin is used for a new session
    // whose honours are those of both.
    let part = write_part(&timed.vault, &pin, &backup_id(2), 1, &sample(1), Codec::Store).await.unwrap();
    timed.vault.commit_root(&root_of(&backup_id(2), 1, &[&part.reference]), &pin).await.unwrap();
    pin.release().await.unwrap();
    timed.prune_out(&PruneOptions::default()).await;
    assert_eq!(read_back(&timed.vault, &backup_id(2)).await.unwrap(), sample(1));
}

#[tokio::test]
async fn a_job_that_was_away_for_too_long_loses_its_pin_and_cannot_revive_it() {
    let timed = timed().await;
    let pin = timed.vault.pin(request(1), timed.clock()).await.unwrap();
    let part = write_part(&timed.vault, &pin, &backup_id(1), 1, &sample(1), Codec::Store).await.unwrap();
    // The job's own clock stood still while it was away.
    let asleep = Arc::new(TestClock::new(timed.clock.now()));
    let sleeper = timed.vault.pin(request(2), asleep).await.unwrap();
    let held = keys(&timed.store(), "pins").await.into_iter().find(|key| key.as_ref().contains("0000000000000002-"));
    let held = held.unwrap();
    let bytes = bytes_of(&timed.store(), &held).await;
    timed.clock.advance_ms(26 * HOUR);
    timed.prune(&PruneOptions::default()).await.unwrap();
    assert!(timed.vault.list_pins().await.unwrap().is_empty());
    assert!(matches!(
        pin.refresh(ReliesOn::default(), serde_json::Value::Null).await,
        Err(VaultError::PinLapsed { .. })
    ));
    // A refresh that was under way writes the pin again.
    timed.store().put(&held, bytes.into()).await.unwrap();
    let root = root_of(&backup_id(1), 1, &[&part.reference]);
    assert!(matches!(timed.vault.commit_root(&root, &sleeper).await, Err(VaultError::PinLapsed { .. })));
    assert!(listed(&timed.vault).await.is_empty());
    timed.prune_out(&PruneOptions::default()).await;
    assert!(!timed.folders().await.contains("packs"));
}

#[tokio::test]
async fn a_root_written_after_the_pin_was_taken_away_is_withdrawn() {
    let timed = timed().await;
    let pin = timed.vault.pin(request(1), timed.clock()).await.unwrap();
    let part = write_part(&timed.vault, &pin, &backup_id(1), 1, &sample(1), Codec::Store).await.unwrap();
    let gate = Arc::new(tokio::sync::Semaphore::new(0));
    timed.faults.plan(vec![Fault::on(Operation::Put, "roots/", Effect::Wait(Arc::clone(&gate)))]);
    let root = root_of(&backup_id(1), 1, &[&part.reference]);
    let (vault, writer) = (timed.vault.clone(), pin.clone());
    let commit = tokio::spawn(async move { vault.commit_root(&root, &writer).await });
    while timed.faults.fired() == 0 {
        tokio::task::yield_now().await;
    }
    timed.clock.advance_ms(26 * HOUR);
    timed.prune(&at_once()).await.unwrap();
    gate.add_permits(1);
    assert!(matches!(commit.await.unwrap(), Err(VaultError::PinLapsed { .. })));
    assert!(listed(&timed.vault).await.is_empty(), "the root does not count");
}

#[tokio::test]
async fn a_store_that_refuses_deletes_serves_everything_but_a_prune() {
    let timed = timed().await;
    timed.faults.plan(vec![Fault::on(Operation::Delete, "", Effect::Deny)]);
    timed.back_up(1, &sample(1)).await;
    timed.back_up(2, &sample(2)).await;
    assert_eq!(read_back(&timed.vault, &backup_id(1)).await.unwrap(), sample(1));
    assert!(verify(&timed.vault, &backup_id(1), VerifyLevel::Decoded).await.is_whole());
    let part = timed.vault.load_part_of(&timed.vault.load_backup(&backup_id(2)).await.unwrap()).await.unwrap();
    let reads = PinRequest { relies_on: ReliesOn::default(), ..request(9) };
    let (pin, _) = timed.vault.begin_reading(&[&part], reads, timed.clock()).await.unwrap();
    pin.release().await.unwrap();
    timed.delete(1).await;
    assert_eq!(listed(&timed.vault).await, [backup_id(2)]);
    timed.clock.advance_ms(2 * DAY);
    let mut refused = 0;
    for _ in 0..3 {
        refused += u32::from(matches!(timed.prune(&at_once()).await, Err(VaultError::MayNotDelete { .. })));
        timed.clock.advance_ms(2 * DAY);
    }
    assert!(refused > 0);
    assert_eq!(read_back(&timed.vault, &backup_id(2)).await.unwrap(), sample(2));
    timed.faults.plan(Vec::new());
    timed.prune_out(&PruneOptions::default()).await;
    assert_eq!(timed.folders().await, ["index", "packs", "parts", "roots"].map(str::to_owned).into());
}

#[tokio::test]
async fn a_clock_that_is_wrong_prunes_nothing() {
    let timed = timed().await;
    timed.back_up(1, &sample(1)).await;
    timed.delete(1).await;
    let before = keys(&timed.store(), "").await;
    for skew_ms in [-HOUR, HOUR] {
        let wrong = TestClock::new(timed.clock.now().plus_millis(skew_ms));
        let result = prune(std::slice::from_ref(&timed.vault), &at_once(), &wrong, [1; 16]).await;
        assert!(matches!(result, Err(VaultError::ClockSkew { .. })));
        assert_eq!(keys(&timed.store(), "").await, before);
    }
}

#[tokio::test]
async fn a_part_that_cannot_be_read_stops_the_prune_of_its_vault() {
    let timed = timed().await;
    timed.back_up(1, &sample(1)).await;
    timed.back_up(2, &sample(2)).await;
    timed.delete(1).await;
    let part = keys(&timed.store(), &format!("parts/{}", backup_id(2))).await.remove(0);
    let bytes = bytes_of(&timed.store(), &part).await;
    for gone in [false, true] {
        if gone {
            timed.store().delete(&part).await.unwrap();
        } else {
            change(&timed.store(), &part, |bytes| bytes.truncate(20)).await;
        }
        timed.clock.advance_ms(2 * DAY);
        let plan = timed.prune(&at_once()).await.unwrap();
        assert_eq!((plan.blocked.len(), plan.count(PruneAction::Mark).0), (1, 0), "{plan:?}");
        timed.store().put(&part, bytes.clone().into()).await.unwrap();
    }
    timed.prune_out(&at_once()).await;
    assert_eq!(read_back(&timed.vault, &backup_id(2)).await.unwrap(), sample(2));
}

/// A part of one file made of these blobs, each put in this session.
pub(crate) async fn finish_with(session: &Session, number: u8, blobs: &[Vec<u8>]) -> FinishedPart {
    let (mut ids, mut all) = (Vec::new(), Vec::new());
    for blob in blobs {
        ids.push(session.put(blob.clone().into(), Codec::Store).await.unwrap().id);
        all.extend_from_slice(blob);
    }
    let (size_bytes, digest) = (all.len() as u64, digest_of(&all));
    let file = FileEntry {
        number: 0,
        class: longshore_model::FileClass::Segment,
        size_bytes,
        blobs: ids,
        identity: None,
        masked_digest: None,
    };
    let sealed = CollectionSealed {
        number: 0,
        name: longshore_model::CollectionName::new("", "articles").unwrap(),
        schema: longshore_vault::JsonText::default(),
        properties: Vec::new(),
        indexes: Vec::new(),
        consistent_point: serde_json::Value::Null,
        physical_rows: 0,
        live_rows: None,
        content_digest: digest,
        load_state: longshore_model::LoadState::Unknown,
        finding: CollectionFinding::Unaltered,
        files: vec![FileSealed { number: 0, path: "file".to_owned(), partition: None, digest, rows: None }],
        extra: serde_json::Value::Null,
    };
    let draft = PartDraft {
        backup_id: backup_id(number),
        token: 1,
        home_vault_id: Some(longshore_model::VaultId::from_random([1; 10])),
        created: Timestamp::from_millis(NOW),
        collections: vec![CollectionFiles { number: 0, files: vec![file], name_id: None }],
        sealed: Sealed::Readable(PartSealed { collections: vec![sealed] }),
    };
    session.finish(draft).await.unwrap()
}

#[tokio::test]
async fn a_duplicate_goes_only_when_the_other_copy_is_good() {
    for damage in [false, true] {
        let timed = timed().await;
        // Two sessions that do not know of each other store the same.
        let pins = [
            timed.vault.pin(request(1), timed.clock()).await.unwrap(),
            timed.vault.pin(request(2), timed.clock()).await.unwrap(),
        ];
        let mut sessions = Vec::new();
        for pin in &pins {
            sessions.push(timed.vault.begin(pin, SessionOptions::default()).await.unwrap());
        }
        for (number, (session, pin)) in (1..).zip(sessions.iter().zip(pins)) {
            let part = finish_with(session, number, &[noise(1, 30_000), noise(2, 30_000)]).await;
            timed.vault.commit_root(&root_of(&backup_id(number), 1, &[&part.reference]), &pin).await.unwrap();
            pin.release().await.unwrap();
        }
        assert_eq!(keys(&timed.store(), "packs").await.len(), 2);
        timed.clock.advance_ms(2 * DAY);
        let plan = timed.prune(&PruneOptions::default()).await.unwrap();
        assert_eq!(reasons(&plan, PruneAction::Mark), [PruneReason::Redundant].into(), "{plan:?}");
        if damage {
            let goes = plan.objects.iter().find(|object| object.action == PruneAction::Mark).unwrap().object.clone();
            let packs = keys(&timed.store(), "packs").await;
            let stays = packs.iter().find(|key| key.as_ref() != goes).unwrap();
            change(&timed.store(), stays, |bytes| bytes[40_000] ^= 1).await;
        }
        timed.prune_out(&PruneOptions::default()).await;
        for number in [1, 2] {
            read_back(&timed.vault, &backup_id(number)).await.unwrap();
        }
        assert_eq!(keys(&timed.store(), "packs").await.len(), 1, "one copy is left, the good one");
    }
}

#[tokio::test]
async fn a_run_that_is_held_up_between_looking_and_deleting_harms_nobody() {
    let timed = timed().await;
    let options = PruneOptions { compact_below_percent: 0, ..at_once() };
    let (b, x, z) = (noise(1, 60_000), noise(2, 50_000), noise(3, 10_000));
    let pins = [
        timed.vault.pin(request(1), timed.clock()).await.unwrap(),
        timed.vault.pin(request(2), timed.clock()).await.unwrap(),
    ];
    let one = timed.vault.begin(&pins[0], SessionOptions::default()).await.unwrap();
    let other = timed.vault.begin(&pins[1], SessionOptions::default()).await.unwrap();
    // The pack of the second backup also holds something that is not needed yet.
    other.put(z.clone().into(), Codec::Store).await.unwrap();
    for (number, session, blobs, pin) in
        [(1, &one, vec![b.clone(), x], &pins[0]), (2, &other, vec![b.clone()], &pins[1])]
    {
        let part = finish_with(session, number, &blobs).await;
        timed.vault.commit_root(&root_of(&backup_id(number), 1, &[&part.reference]), pin).await.unwrap();
    }
    for pin in pins {
        pin.release().await.unwrap();
    }
    assert_eq!(timed.prune(&options).await.unwrap().count(PruneAction::Mark).0, 1);
    // The next run stops just before it deletes the second pack.
    let held = FaultStore::new(timed.store());
    let gate = Arc::new(tokio::sync::Semaphore::new(0));
    let vault = Vault::open(held.store(), &Keys::none()).await.unwrap();
    held.plan(vec![Fault::on(Operation::Delete, "packs/", Effect::Wait(Arc::clone(&gate)))]);
    let (clock, of_held) = (timed.clock.clone(), options.clone());
    let run = tokio::spawn(async move { prune(&[vault], &of_held, &clock, [99; 16]).await });
    while held.fired() == 0 {
        tokio::task::yield_now().await;
    }
    // Another run, which saw it needed, has put it back into service.
    for key in keys(&timed.store(), "marks").await {
        let mark: Mark = serde_json::from_slice(&bytes_of(&timed.store(), &key).await).unwrap();
        if mark.state == MarkState::Marked {
            timed.store().delete(&key).await.unwrap();
        }
    }
    // A writer that begins now wants what only that pack holds.
    let pin = timed.vault.pin(request(3), timed.clock()).await.unwrap();
    let session = timed.vault.begin(&pin, SessionOptions::default()).await.unwrap();
    let part = finish_with(&session, 3, &[z]).await;
    timed.vault.commit_root(&root_of(&backup_id(3), 1, &[&part.reference]), &pin).await.unwrap();
    pin.release().await.unwrap();
    // Now the other copy of the shared blob looks like the one that can go.
    timed.delete(1).await;
    for _ in 0..3 {
        timed.prune(&options).await.unwrap();
    }
    gate.add_permits(10);
    run.await.unwrap().unwrap();
    for number in [2, 3] {
        read_back(&timed.vault, &backup_id(number)).await.unwrap_or_else(|error| panic!("{number}: {error}"));
    }
    timed.prune_out(&options).await;
    for number in [2, 3] {
        read_back(&timed.vault, &backup_id(number)).await.unwrap_or_else(|error| panic!("{number}: {error}"));
    }
}
