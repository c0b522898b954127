//! Pruning of packs that are noted as damaged, and of the notes.

use longshore_model::Clock;
use longshore_vault::testing::{Effect, Fault, FaultStore, Operation};
use longshore_vault::*;

use crate::pruning::*;
use crate::support::*;

/// Damages a pack of the vault in place and has it noted, as a verify does.
async fn damage_and_note(timed: &Timed) -> PackId {
    let pack = keys(&timed.store(), "packs").await.remove(0);
    change(&timed.store(), &pack, |bytes| bytes[200] ^= 1).await;
    let report = verify(&timed.vault, &backup_id(1), VerifyLevel::Stored).await;
    assert_eq!(report.damaged_packs.len(), 1);
    timed.vault.note_damage(&report.damaged_packs, timed.clock.now()).await.unwrap();
    report.damaged_packs[0]
}

#[tokio::test]
async fn a_damaged_pack_goes_once_what_it_held_was_stored_again_and_its_note_with_it() {
    let timed = timed().await;
    timed.back_up(1, &sample(1)).await;
    let damaged = damage_and_note(&timed).await;
    // The next backup of the same content stores what the damaged pack held again.
    timed.back_up(2, &sample(1)).await;
    timed.prune_out(&PruneOptions::default()).await;
    assert!(!keys(&timed.store(), "packs").await.iter().any(|key| key.as_ref().contains(&damaged.to_string())));
    assert!(keys(&timed.store(), "damaged").await.is_empty());
    for number in [1, 2] {
        assert_eq!(read_back(&timed.vault, &backup_id(number)).await.unwrap(), sample(1));
    }
}

#[tokio::test]
async fn a_damaged_pack_that_was_healed_is_compacted_like_any_other() {
    let timed = timed().await;
    let second = Content::from([("kept".to_owned(), [("shared".to_owned(), noise(9, 32 * 1024))].into())]);
    let mut first = second.clone();
    first.extend(sample(1).into_iter().filter(|(name, _)| name != "images"));
    timed.back_up(1, &first).await;
    timed.back_up(2, &second).await;
    let pack_of_second = {
        let part = timed.vault.load_part_of(&timed.vault.load_backup(&backup_id(2)).await.unwrap()).await.unwrap();
        part.open.packs[0].id
    };
    timed.vault.note_damage(&[pack_of_second], timed.clock.now()).await.unwrap();
    timed.delete(1).await;
    let options = PruneOptions { compact_below_percent: 100, ..PruneOptions::default() };
    for _ in 0..3 {
        timed.clock.advance_ms(2 * DAY);
        let plan = timed.prune(&options).await.unwrap();
        assert_eq!(plan.count(PruneAction::Compact).0, 0, "noted as damaged: {plan:?}");
    }
    // Where deleting is refused, a heal says in the note that the pack is good again.
    let refusing = FaultStore::new(timed.store());
    refusing.plan(vec![Fault::on(Operation::Delete, "damaged/", Effect::Fail)]);
    let healer = Vault::open(refusing.store(), &Keys::none()).await.unwrap();
    healer.clear_damage(&[pack_of_second], timed.clock.now()).await.unwrap();
    assert_eq!(keys(&timed.store(), "damaged").await.len(), 1);
    let mut compacted = 0;
    for _ in 0..3 {
        timed.clock.advance_ms(2 * DAY);
        compacted += timed.prune(&options).await.unwrap().count(PruneAction::Compact).0;
    }
    assert_eq!(compacted, 1);
    assert!(keys(&timed.store(), "damaged").await.is_empty(), "the note about a pack that is gone");
    assert_eq!(read_back(&timed.vault, &backup_id(2)).await.unwrap(), second);
}

#[tokio::test]
async fn a_note_about_a_pack_that_is_gone_goes_after_a_fence() {
    let timed = timed().await;
    timed.back_up(1, &sample(1)).await;
    let gone = PackId::new(digest_of(b"a pack that was there once"));
    let there = damage_and_note(&timed).await;
    timed.vault.note_damage(&[gone], timed.clock.now()).await.unwrap();
    let notes = async || -> Vec<String> {
        let keys = keys(&timed.store(), "damaged").await;
        keys.iter().map(|key| key.filename().unwrap().to_owned()).collect()
    };
    timed.prune(&PruneOptions::default()).await.unwrap();
    assert_eq!(notes().await.len(), 2, "a listing may lag");
    timed.clock.advance_ms(2 * HOUR);
    let plan = timed.prune(&PruneOptions::default()).await.unwrap();
    assert!(reasons(&plan, PruneAction::Delete).contains(&PruneReason::Obsolete), "{plan:?}");
    assert_eq!(notes().await, [format!("{there}.json")]);
}
