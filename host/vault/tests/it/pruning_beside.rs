//! Pruning beside readers, several vaults of a project, erasures and unfinished files.

use longshore_model::{Clock, Codec};
use longshore_vault::testing::{Effect, Fault, Operation};
use longshore_vault::*;
use object_store::ObjectStoreExt;

use crate::pruning::*;
use crate::support::*;

#[tokio::test]
async fn what_a_reader_has_pinned_is_neither_rewritten_nor_deleted() {
    let timed = timed().await;
    let (first, mut second) = (sample(1), sample(2));
    let kept = first["articles"]["data/shared"].clone();
    second.get_mut("images").unwrap().insert("kept".to_owned(), kept);
    timed.back_up(1, &first).await;
    timed.back_up(2, &second).await;
    timed.delete(1).await;
    let part = timed.vault.load_part_of(&timed.vault.load_backup(&backup_id(2)).await.unwrap()).await.unwrap();
    let reads = PinRequest { relies_on: ReliesOn::default(), ..request(9) };
    let (pin, reader) = timed.vault.begin_reading(&[&part], reads, timed.clock()).await.unwrap();
    // Also when its backup is deleted meanwhile.
    timed.delete(2).await;
    for _ in 0..4 {
        timed.prune(&at_once()).await.unwrap();
    }
    let files = part.open.collections.iter().flat_map(|collection| &collection.files);
    for blob in files.flat_map(|file| &file.blobs) {
        reader.read_blob(blob).await.unwrap();
    }
    pin.release().await.unwrap();
    timed.prune_out(&at_once()).await;
    assert!(!timed.folders().await.contains("packs"));
}

#[tokio::test]
async fn a_root_that_is_not_listed_yet_is_protected_by_the_pin_that_led_to_it() {
    let timed = timed().await;
    let options = PruneOptions { fence_ms: HOUR, minimum_age_ms: 0, ..PruneOptions::default() };
    timed.back_up(1, &sample(1)).await;
    timed.delete(1).await;
    let pin = timed.vault.pin(request(7), timed.clock()).await.unwrap();
    let session = timed.vault.begin(&pin, SessionOptions::default()).await.unwrap();
    assert!(timed.prune(&options).await.unwrap().count(PruneAction::Mark).0 > 0);
    timed.clock.advance_ms(2 * HOUR);
    // It is done just before the next run, and refers to what is marked.
    let part = finish_with(&session, 2, &[sample(1)["articles"]["manifest.json"].clone()]).await;
    assert_eq!(part.reference.sizes.new_bytes, 0);
    timed.vault.commit_root(&root_of(&backup_id(2), 1, &[&part.reference]), &pin).await.unwrap();
    pin.release().await.unwrap();
    timed.faults.plan(vec![Fault::on(Operation::List, "roots", Effect::Stale(u64::MAX))]);
    timed.prune(&options).await.unwrap();
    timed.faults.plan(Vec::new());
    read_back(&timed.vault, &backup_id(2)).await.unwrap();
    timed.prune_out(&options).await;
    read_back(&timed.vault, &backup_id(2)).await.unwrap();
}

/// A home vault and another, whose clocks and stores are one's own; a backup with a part in each.
async fn home_and_away() -> (Timed, Timed) {
    let (home, away) = (timed().await, timed_as(options("far", 2)).await);
    let pins = (
        home.vault.pin(request(1), home.clock()).await.unwrap(),
        away.vault.pin(request(1), away.clock()).await.unwrap(),
    );
    let here = write_part(&home.vault, &pins.0, &backup_id(1), 1, &sample(1), Codec::Store).await.unwrap();
    let there = write_part(&away.vault, &pins.1, &backup_id(1), 1, &sample(2), Codec::Store).await.unwrap();
    let root = root_of(&backup_id(1), 1, &[&here.reference, &there.reference]);
    home.vault.commit_root(&root, &pins.0).await.unwrap();
    pins.0.release().await.unwrap();
    pins.1.release().await.unwrap();
    (home, away)
}

#[tokio::test]
async fn a_missing_receipt_is_written_before_anything_is_judged() {
    let (home, away) = home_and_away().await;
    // Alone, the vault cannot know that a root elsewhere names its part: it keeps it.
    for time in [home.clock.clone(), away.clock.clone()] {
        time.advance_ms(2 * DAY);
    }
    for _ in 0..3 {
        let plan = away.prune(&at_once()).await.unwrap();
        assert!(
            reasons(&plan, PruneAction::Keep)
                .iter()
                .any(|reason| matches!(reason, PruneReason::HomeVaultUnknown { .. }))
        );
    }
    assert!(listed(&away.vault).await.is_empty());
    let both = [home.vault.clone(), away.vault.clone()];
    let report = prune(&both, &at_once(), &home.clock, [50; 16]).await.unwrap();
    assert_eq!(reasons(&report.vaults[1], PruneAction::Write), [PruneReason::MissingReceipt].into());
    assert_eq!(read_back(&away.vault, &backup_id(1)).await.unwrap(), sample(2));
    // Deleted here, but not at home yet: everything stays.
    away.vault.withdraw_backup(&backup_id(1), &withdrawal()).await.unwrap();
    for run in 0..3 {
        prune(&both, &at_once(), &home.clock, [60 + run; 16]).await.unwrap();
    }
    assert!(
        away.vault.load_part(&home.vault.load_backup(&backup_id(1)).await.unwrap().root.open.parts[1]).await.is_ok()
    );
    home.vault.withdraw_backup(&backup_id(1), &withdrawal()).await.unwrap();
    for run in 0..6 {
        home.clock.advance_ms(26 * HOUR);
        away.clock.advance_ms(26 * HOUR);
        prune(&both, &at_once(), &home.clock, [70 + run; 16]).await.unwrap();
    }
    assert!(home.folders().await.is_empty() && away.folders().await.is_empty());
}

#[tokio::test]
async fn a_vault_whose_home_is_lost_for_good_can_be_cleaned() {
    let (home, away) = home_and_away().await;
    let options = PruneOptions { lost_vaults: [home.vault.id().clone()].into(), ..at_once() };
    away.prune_out(&options).await;
    assert!(away.folders().await.is_empty(), "nothing here says that the backup exists");
}

#[tokio::test]
async fn an_erasure_rewrites_its_packs_whatever_share_is_needed_and_is_completed() {
    let timed = timed().await;
    let (first, mut second) = (sample(1), sample(1));
    second.get_mut("articles").unwrap().remove("data/noise.parquet");
    timed.back_up(1, &first).await;
    timed.back_up(2, &second).await;
    timed.delete(1).await;
    let packs: Vec<String> =
        keys(&timed.store(), "packs").await.iter().map(|key| key.filename().unwrap().to_owned()).collect();
    let record = serde_json::json!({"kind": "erasure", "why": "asked for", "packs": packs, "rewritten": "2024-07-30T16:49:50Z", "completed": null});
    let key = object_store::path::Path::from("erasures/one.json");
    timed.store().put(&key, record.to_string().into()).await.unwrap();
    let options = PruneOptions { compact_below_percent: 0, fence_ms: HOUR, ..PruneOptions::default() };
    let open = async || {
        let record: serde_json::Value = serde_json::from_slice(&bytes_of(&timed.store(), &key).await).unwrap();
        assert_eq!(record["why"], "asked for");
        record["completed"].is_null()
    };
    let plan = timed.prune(&options).await.unwrap();
    assert!(reasons(&plan, PruneAction::Compact).contains(&PruneReason::Erasure), "{plan:?}");
    assert!(open().await);
    timed.clock.advance_ms(2 * HOUR);
    timed.prune(&options).await.unwrap();
    timed.prune(&options).await.unwrap();
    assert!(!open().await);
    let plan = timed.prune(&options).await.unwrap();
    assert_eq!(plan.space.unneeded_bytes, 0, "{:?}", plan.space);
    assert_eq!(read_back(&timed.vault, &backup_id(2)).await.unwrap(), second);
}

#[tokio::test]
async fn unfinished_files_of_a_local_vault_go_after_a_day_and_nothing_else_does() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("vault");
    let vault = Vault::init_local(&root, options("local", 1)).await.unwrap();
    std::fs::create_dir_all(root.join("packs/ab")).unwrap();
    let (old, young) = (root.join("packs/ab/abcd#7"), root.join("packs/ab/abce#8"));
    let other = root.join("packs/ab/note#x");
    for file in [&old, &young, &other] {
        std::fs::write(file, "half").unwrap();
    }
    let days_ago = std::time::SystemTime::now() - std::time::Duration::from_secs(2 * 86_400);
    for file in [&old, &other] {
        std::fs::File::options().write(true).open(file).unwrap().set_modified(days_ago).unwrap();
    }
    let clock = longshore_model::SystemClock;
    let plan = plan_prune(std::slice::from_ref(&vault), &PruneOptions::default(), clock.now()).await.unwrap();
    assert!(old.exists() && plan.vaults[0].count(PruneAction::Delete).0 == 1, "{plan:?}");
    prune(&[vault], &PruneOptions::default(), &clock, [1; 16]).await.unwrap();
    assert!(!old.exists() && young.exists() && other.exists());
}
