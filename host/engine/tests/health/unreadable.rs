//! Every kind of object, on a disk that cannot read it: one such object ends neither a verification nor a heal.

use longshore_engine::{EngineError, HealOutcome, HealRequest, VerifyLevel, heal};
use longshore_model::Timestamp;
use longshore_vault::testing::{Effect, Fault, FaultStore, Operation};
use longshore_vault::{NamedRecipient, Vault};
use object_store::path::Path as Key;

use crate::deletion::Full;
use crate::records::{everything, put_back};
use crate::support::*;

/// What follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Said {
    /// Nothing: it counts for the worst it could say, and is of no use to the backup.
    Nothing,
    /// It is named; the backup is whole all the same.
    Named,
    /// It is named, and something of the backup is lost with it.
    Hit,
}
use Said::{Hit, Named, Nothing};

/// How the keys begin, and what a verification says of the last one of these.
const ROWS: [(&str, Said); 15] = [
    ("packs/{pack}", Hit),
    ("index/", Named),
    ("parts/{backup}/", Hit),
    ("roots/{backup}/", Hit),
    ("pins/job-live/", Nothing),
    ("pins/job-dead/", Nothing),
    ("damaged/", Nothing),
    ("withdrawn/{gone}.json", Named),
    ("withdrawn/{old}.", Named),
    ("erasures/", Named),
    ("keys/recipients/0000000000000001", Named),
    ("keys/recipients/", Named),
    ("keys/sessions/{session}/", Named),
    ("catalogs/", Named),
    ("marks/", Named),
];

/// What cannot be thrown away, because nothing says the same and it may be read again some day.
fn stays(prefix: &str) -> bool {
    ["keys/recipients/", "catalogs/"].contains(&prefix)
}

async fn heal_all(vault: &Vault, sources: &[Vault], dry_run: bool) -> Result<HealOutcome, EngineError> {
    heal(vault, sources, &HealRequest { backup: None, level: VerifyLevel::Stored, dry_run }, &context()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_the_disk_cannot_read_is_named_and_mended_and_ends_nothing() {
    let full = Full::new().await;
    let store = &full.place.home_store;
    let original = everything(store).await;
    let source = full.open(&full.place.other_store).await.unwrap();
    for (prefix, said) in ROWS {
        for can_copy in [true, false] {
            let what = format!("{prefix} can be copied: {can_copy}");
            let prefix = full.fill(prefix);
            let key = original.iter().map(|(key, _)| key).rfind(|key| key.as_ref().starts_with(&prefix)).unwrap();
            let faults = FaultStore::new(store.clone());
            let mut plan = vec![Fault::on(Operation::Get, key.as_ref(), Effect::Unreadable)];
            plan.extend((!can_copy).then(|| Fault::on(Operation::Copy, key.as_ref(), Effect::Unreadable)));
            faults.plan(plan);
            let open = async || full.open(&faults.store()).await.unwrap_or_else(|error| panic!("{what}: {error}"));
            let outcome = full.verify(vec![open().await]).await.unwrap_or_else(|error| panic!("{what}: {error}"));
            let named = outcome.damaged_objects.iter().any(|one| one.object == key.as_ref())
                || outcome.problems.iter().any(|problem| problem.contains(key.as_ref()));
            assert_eq!((named, outcome.whole), (said != Nothing, said != Hit), "{what}: {outcome:?}");
            let (sources, before) = (std::slice::from_ref(&source), everything(store).await);
            let would = heal_all(&open().await, sources, true).await.unwrap_or_else(|error| panic!("{what}: {error}"));
            assert!(would.whole && everything(store).await == before, "{what}: {would:?}");
            let healed =
                heal_all(&open().await, sources, false).await.unwrap_or_else(|error| panic!("{what}: {error}"));
            let left = !can_copy && stays(&prefix);
            assert_eq!(healed.whole, !left, "{what}: {healed:?}");
            let told = healed.objects.iter().find(|one| one.object == key.as_ref());
            assert!(said == Nothing || told.is_some_and(|one| one.healed != left), "{what}: {healed:?}");
            // Whether it can be copied shows only when that is tried.
            assert!(!can_copy || healed.objects == would.objects, "{what}: {would:?} {healed:?}");
            let after = full.verify(vec![open().await]).await.unwrap();
            assert_eq!((after.whole, after.is_sound()), (true, !left), "{what}: {after:?}");
            assert!(!left || keys(store, "").await.contains(key), "{what}: it was thrown away");
            put_back(store, &original).await;
        }
    }
}

/// A vault to heal from has bad sectors, too. It gives what it can.
#[tokio::test(flavor = "multi_thread")]
async fn a_source_with_a_bad_sector_ends_no_heal() {
    let full = Full::new().await;
    let (store, other_store) = (&full.place.home_store, &full.place.other_store);
    let original = everything(store).await;
    let lost = |prefix: &str| -> Vec<Key> {
        let prefix = full.fill(prefix);
        original.iter().map(|(key, _)| key.clone()).filter(|key| key.as_ref().starts_with(&prefix)).collect()
    };
    // What is lost here; what cannot be read there; whether it can be healed all the same.
    for (gone, bad, whole) in [
        ("packs/{pack}", "packs/{pack}", false),
        ("packs/{pack}", "index/", true),
        ("packs/{pack}", "packs/{pack} and erasures/", false),
        ("roots/{backup}/", "receipts/{old}/", true),
        ("keys/sessions/{session}/", "keys/sessions/{session}/", false),
        ("packs/{pack}", "keys/recipients/", true),
        ("packs/{pack}", "keys/sessions/", true),
        ("packs/{pack}", "withdrawn/{gone}.json", true),
    ] {
        let what = format!("{gone} of which {bad} cannot be read");
        for key in lost(gone) {
            object_store::ObjectStoreExt::delete(store, &key).await.unwrap();
        }
        let source = full.open(other_store).await.unwrap();
        let faults = FaultStore::new(other_store.clone());
        // Opened before: a vault of which no list can be read is not opened.
        let reading = full.open(&faults.store()).await.unwrap();
        let prefixes = bad.split(" and ").map(|prefix| full.fill(prefix));
        faults.plan(prefixes.map(|prefix| Fault::on(Operation::Get, &prefix, Effect::Unreadable)).collect());
        let vault = full.open(store).await.unwrap();
        for dry_run in [true, false] {
            let healed = heal_all(&vault, std::slice::from_ref(&reading), dry_run).await;
            let healed = healed.unwrap_or_else(|error| panic!("{what}: {error}"));
            // A dry run goes by what the source lists, and reads none of its packs.
            assert!(dry_run || healed.whole == whole, "{what}: {healed:?}");
        }
        assert!(heal_all(&vault, &[source], false).await.unwrap().whole, "{what}");
        put_back(store, &original).await;
    }
}

/// What the one that cannot be read said is said again, and then it goes.
#[tokio::test(flavor = "multi_thread")]
async fn a_list_of_recipients_that_was_left_goes_once_the_change_is_made_again() {
    let full = Full::new().await;
    let store = &full.place.home_store;
    let newest = keys(store, "keys/recipients").await.pop().unwrap();
    let faults = FaultStore::new(store.clone());
    let bad = |operation| Fault::on(operation, newest.as_ref(), Effect::Unreadable);
    faults.plan(vec![bad(Operation::Get), bad(Operation::Copy)]);
    let vault = full.open(&faults.store()).await.unwrap();
    let told = heal_all(&vault, &[], false).await.unwrap();
    assert!(told.objects.iter().any(|one| !one.healed && one.how.contains("key recipient")), "{told:?}");
    let recipient = longshore_vault::ReaderKey::generate().to_recipient();
    let added = Timestamp::from_millis(0);
    vault.add_recipient(NamedRecipient { name: "other".to_owned(), recipient, added }).await.unwrap();
    assert!(heal_all(&vault, &[], false).await.unwrap().whole);
    assert!(!keys(store, "keys/recipients").await.contains(&newest));
    assert_eq!(vault.recipients().await.unwrap().recipients.len(), 2);
}
