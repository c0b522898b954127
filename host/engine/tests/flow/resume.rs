//! A backup that is stopped in the middle goes on where it was.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::FutureExt;
use longshore_engine::Limits;
use longshore_source::SourceError;
use longshore_vault::PinRecord;
use longshore_vault::testing::{Effect, Fault, Operation};

use crate::support::{BeforeRead, Counting, Place, root};

/// One collection after the other, and a checkpoint whenever a file is finished.
fn limits() -> Limits {
    Limits { parallel_collections: 1, parallel_chunks: 1, checkpoint_ms: 2, ..Limits::default() }
}

/// Collections of the sample cluster.
const COLLECTIONS: usize = 5;

/// Collection and path of a file.
type File = (String, String);

/// Files that a pin names, and counts of collections.
fn named(pin: &PinRecord) -> usize {
    ["files", "counts"].iter().filter_map(|key| pin.state[key].as_array()).map(Vec::len).sum()
}

/// Backs up the sample cluster until the first read of the last collection, and until the pin names all files of the
/// others that have an identity (all but the logs); then it fails. `dead`: the store answers nothing any more, as if the
/// process had been killed. Answers those files.
async fn stopped(place: &Place, dead: bool) -> BTreeSet<File> {
    let directory = root().join("examples/sample-cluster");
    let finished: Arc<Mutex<BTreeSet<File>>> = Arc::default();
    let (vault, store, seen) = (place.vault.clone(), place.store.clone(), Arc::clone(&finished));
    let hook: BeforeRead = Arc::new(move |name, path| {
        let (vault, store, seen) = (vault.clone(), store.clone(), Arc::clone(&seen));
        let file = (name.to_string(), path.to_owned());
        async move {
            // Sampling reads, too; a pin is there only from the transfer on.
            if vault.list_pins().await.unwrap_or_default().is_empty() {
                return Ok(());
            }
            let wanted = {
                let mut seen = seen.lock().unwrap();
                let others: BTreeSet<String> = seen.iter().map(|(name, _)| name.clone()).collect();
                if others.len() < COLLECTIONS - 1 || others.contains(&file.0) {
                    seen.insert(file);
                    return Ok(());
                }
                seen.retain(|(_, path)| !path.starts_with("wal/"));
                seen.len() + others.len()
            };
            while vault.list_pins().await.map_or(0, |pins| pins.iter().map(named).sum()) < wanted {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            if dead {
                store.plan(vec![Fault::dead_from(0)]);
            }
            Err(SourceError::Cancelled)
        }
        .boxed()
    });
    let source = Counting::open(&directory).before_read(hook);
    place.back_up(&directory, &source, limits()).await.unwrap_err();
    place.store.plan(Vec::new());
    assert!(place.vault.list_backups().await.unwrap().backups.is_empty());
    let finished = finished.lock().unwrap().clone();
    assert!(finished.len() > 20, "{finished:?}");
    finished
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_checkpoint_names_is_neither_read_nor_stored_again() {
    let directory = root().join("examples/sample-cluster");
    let clean = Place::new().await;
    clean.back_up(&directory, &Counting::open(&directory), limits()).await.unwrap();
    for dead in [true, false] {
        let place = Place::new().await;
        let before = stopped(&place, dead).await;
        let pins = place.vault.list_pins().await.unwrap();
        assert_eq!(pins.len(), 1);
        // Whoever was killed could not say what it relies on; whoever failed keeps only what the next one needs.
        assert_eq!(pins[0].relies_on.everything, dead);
        assert_eq!(pins[0].relies_on.packs.is_empty(), dead);

        let again = Counting::open(&directory);
        let outcome = place.back_up(&directory, &again, limits()).await.unwrap();
        let second = again.read.lock().unwrap().clone();
        for file in &before {
            assert!(!second.contains_key(file), "{file:?} was read again");
        }
        let collections: BTreeSet<&String> = second.keys().map(|(name, _)| name).collect();
        assert!(!collections.is_empty(), "the last collection had to be read");
        assert!(outcome.reused_bytes > 2_000_000, "{}", outcome.reused_bytes);
        // Not a single blob lies in the vault twice.
        let (reader, whole) = (place.vault.open_reader().await.unwrap(), clean.vault.open_reader().await.unwrap());
        assert_eq!(reader.blob_count(), whole.blob_count());
        let (used, wanted) = (place.vault.used_bytes().await.unwrap(), clean.vault.used_bytes().await.unwrap());
        // Packs that a checkpoint closed cost a header and an index each.
        assert!(used < wanted + wanted / 20, "{used} instead of {wanted}");
        let folder = tempfile::tempdir().unwrap();
        place.restore(&outcome.backup_id, &folder.path().join("restored.db")).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_state_whose_packs_are_gone_is_not_believed() {
    let directory = root().join("examples/sample-cluster");
    let place = Place::new().await;
    stopped(&place, true).await;
    let store = place.store.store();
    use futures::TryStreamExt;
    use object_store::ObjectStoreExt;
    let packs: Vec<_> = store.list(Some(&"packs".into())).map_ok(|meta| meta.location).try_collect().await.unwrap();
    assert!(!packs.is_empty());
    for pack in packs {
        store.delete(&pack).await.unwrap();
    }
    let again = Counting::open(&directory);
    let outcome = place.back_up(&directory, &again, limits()).await.unwrap();
    assert_eq!(outcome.reused_bytes, 0);
    let folder = tempfile::tempdir().unwrap();
    place.restore(&outcome.backup_id, &folder.path().join("restored.db")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_checkpoint_that_cannot_be_written_costs_nothing_but_time() {
    let directory = root().join("examples/sample-cluster");
    let place = Place::new().await;
    let put_pin = Fault::on(Operation::Put, "pins/", Effect::Fail).after(1);
    place.store.plan(vec![put_pin]);
    let outcome = place.back_up(&directory, &Counting::open(&directory), limits()).await.unwrap();
    place.store.plan(Vec::new());
    let folder = tempfile::tempdir().unwrap();
    place.restore(&outcome.backup_id, &folder.path().join("restored.db")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pieces_of_a_file_that_was_not_finished_are_found_by_content() {
    let directory = root().join("examples/sample-cluster");
    let pieces =
        longshore_vault::Limits { split_bytes: 32 * 1024, pack_target_bytes: 256 * 1024, ..Default::default() };
    let (clean, place) = (Place::with_limits(pieces).await, Place::with_limits(pieces).await);
    clean.back_up(&directory, &Counting::open(&directory), limits()).await.unwrap();
    // The reads of the first big file, and a checkpoint after every piece.
    let (seen, store, vault) = (Arc::new(AtomicU64::new(0)), place.store.clone(), place.vault.clone());
    let reads = Arc::clone(&seen);
    let hook: BeforeRead = Arc::new(move |_, path| {
        let (reads, store, vault) = (Arc::clone(&reads), store.clone(), vault.clone());
        let big = path.ends_with(".parquet");
        async move {
            if !big
                || vault.list_pins().await.unwrap_or_default().is_empty()
                || reads.fetch_add(1, Ordering::SeqCst) < 8
            {
                return Ok(());
            }
            while vault.open_reader().await.is_ok_and(|reader| reader.blob_count() < 8) {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            store.plan(vec![Fault::dead_from(0)]);
            Err(SourceError::Cancelled)
        }
        .boxed()
    });
    let limits = Limits { checkpoint_bytes: 1, ..limits() };
    place.back_up(&directory, &Counting::open(&directory).before_read(hook), limits).await.unwrap_err();
    place.store.plan(Vec::new());
    let stored = place.vault.open_reader().await.unwrap().blob_count();
    let named: usize = place
        .vault
        .list_pins()
        .await
        .unwrap()
        .iter()
        .flat_map(|pin| pin.state["files"].as_array().cloned())
        .flatten()
        .map(|file| file["blobs"].as_array().unwrap().len())
        .sum();
    assert!(stored > named, "{stored} blobs are there, the finished files have {named}");
    let outcome = place.back_up(&directory, &Counting::open(&directory), limits).await.unwrap();
    assert!(outcome.deduplicated_bytes > 0);
    let reader = place.vault.open_reader().await.unwrap();
    assert_eq!(reader.blob_count(), clean.vault.open_reader().await.unwrap().blob_count());
    let (used, wanted) = (place.vault.used_bytes().await.unwrap(), clean.vault.used_bytes().await.unwrap());
    assert!(used < wanted + wanted / 10, "{used} instead of {wanted}");
    let folder = tempfile::tempdir().unwrap();
    place.restore(&outcome.backup_id, &folder.path().join("restored.db")).await;
}
