//! A restore that is stopped goes on with what it had written.

use longshore_engine::{Limits, RestoreScope, RunContext, plan_restore, run_restore};
use longshore_model::RestoredLoadState;
use longshore_source::MilvusLiteTarget;
use longshore_vault::Vault;
use longshore_vault::testing::{Effect, Event, Fault, Operation, RecordingStore};

use crate::support::{Counting, Place, root, tree};

/// Bytes are fetched from packs only; this counts how often.
fn pack_reads(record: &RecordingStore) -> usize {
    let is_read = |event: &Event| matches!(event, Event::Began(Operation::Get, key) if key.starts_with("packs/"));
    record.events().iter().filter(|event| is_read(event)).count()
}

fn leftovers(folder: &std::path::Path) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.filter(|path| path.to_str().unwrap().contains(".longshore-restore")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rerun_fetches_only_what_is_missing_or_wrong() {
    let directory = root().join("examples/sample-cluster");
    let place = Place::new().await;
    let id = place.back_up(&directory, &Counting::open(&directory), Limits::default()).await.unwrap().backup_id;
    let record = RecordingStore::new(place.store.store());
    let vault = Vault::open(record.store(), &longshore_vault::Keys::none()).await.unwrap();
    let vaults = longshore_engine::RegionVaults::of([vault]).unwrap();
    let whole = RestoreScope::WholeCluster(RestoredLoadState::Keep);
    // One read for each piece, so that it shows which of them were fetched.
    let limits =
        Limits { parallel_collections: 1, parallel_chunks: 1, small_files_batch_bytes: 0, ..Limits::default() };
    let context = || RunContext::new(limits);
    let restore = async |to: &std::path::Path, scope: RestoreScope| {
        let plan = plan_restore(&vaults, None, &id, scope).await.unwrap();
        record.clear();
        let result = run_restore(plan, &MilvusLiteTarget::new(to), &context()).await;
        (result, pack_reads(&record))
    };
    let folder = tempfile::tempdir().unwrap();
    let (reference, to) = (folder.path().join("reference.db"), folder.path().join("restored.db"));
    let (result, all) = restore(&reference, whole.clone()).await;
    result.unwrap();
    assert!(all > 40, "{all}");

    // Stopped after part of it, again and again: each run goes on where the one before was.
    let (mut fetched, mut runs) = (0, 0);
    loop {
        place.store.plan(vec![Fault::on(Operation::Get, "packs/", Effect::Fail).after(15)]);
        let (result, reads) = restore(&to, whole.clone()).await;
        place.store.plan(Vec::new());
        (fetched, runs) = (fetched + reads, runs + 1);
        if result.is_ok() {
            break;
        }
        assert!(!to.exists(), "nothing is visible before it is whole");
        let left = leftovers(folder.path());
        assert_eq!(left.len(), 1, "{left:?}");
        if runs == 2 {
            // What is left is not believed: one file is cut, one has another byte, one is longer.
            let files = tree(&left[0]);
            let mut damaged = files.iter().filter(|(path, bytes)| path.contains("collections/") && bytes.len() > 100);
            for (number, change) in [(0, 0), (1, 1), (2, 2)] {
                let Some((path, bytes)) = damaged.next() else { break };
                let mut bytes = bytes.clone();
                match change {
                    0 => bytes.truncate(50),
                    1 => bytes[60] ^= 1,
                    _ => bytes.extend([number; 3]),
                }
                std::fs::write(left[0].join(path), bytes).unwrap();
            }
        }
        assert!(runs < 20, "it never ends");
    }
    assert!(runs > 2, "{runs}");
    assert!(tree(&to) == tree(&reference));
    // The refused reads, the three damaged files, and schemas that were adapted in place already come on top.
    assert!(fetched < all + 3 * runs + 20, "{fetched} reads instead of {all}");
    assert!(leftovers(folder.path()).is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn another_restore_removes_what_nobody_holds() {
    let directory = root().join("examples/sample-cluster");
    let place = Place::new().await;
    let id = place.back_up(&directory, &Counting::open(&directory), Limits::default()).await.unwrap().backup_id;
    let folder = tempfile::tempdir().unwrap();
    let to = folder.path().join("restored.db");
    place.store.plan(vec![Fault::on(Operation::Get, "packs/", Effect::Fail).after(9)]);
    let whole = RestoreScope::WholeCluster(RestoredLoadState::Keep);
    let plan = plan_restore(&place.vaults, None, &id, whole).await.unwrap();
    run_restore(plan, &MilvusLiteTarget::new(&to), &RunContext::new(Limits::default())).await.unwrap_err();
    place.store.plan(Vec::new());
    let left = leftovers(folder.path());
    assert_eq!(left.len(), 1, "{left:?}");
    let one = "python_manual".parse().unwrap();
    let scope = longshore_engine::all_under_their_own_names(&[one], RestoredLoadState::Keep);
    let plan = plan_restore(&place.vaults, None, &id, RestoreScope::Collections(scope)).await.unwrap();
    run_restore(plan, &MilvusLiteTarget::new(&to), &RunContext::new(Limits::default())).await.unwrap();
    assert!(leftovers(folder.path()).is_empty());
}

/// A host that stops goes on at its next start; what somebody canceled is not wanted any more.
#[tokio::test(flavor = "multi_thread")]
async fn a_canceled_restore_leaves_nothing_and_one_whose_host_stops_what_it_had() {
    let directory = root().join("examples/sample-cluster");
    let place = Place::new().await;
    let id = place.back_up(&directory, &Counting::open(&directory), Limits::default()).await.unwrap().backup_id;
    for (why, stays) in [("canceled on request", 0), ("the host is shutting down", 1)] {
        let folder = tempfile::tempdir().unwrap();
        let to = folder.path().join("restored.db");
        let whole = RestoreScope::WholeCluster(RestoredLoadState::Keep);
        let plan = plan_restore(&place.vaults, None, &id, whole).await.unwrap();
        let context = RunContext::new(Limits::default());
        context.stop.stop(why);
        let error = run_restore(plan, &MilvusLiteTarget::new(&to), &context).await.unwrap_err();
        assert!(error.to_string().contains(why), "{error}");
        assert!(!to.exists());
        assert_eq!(leftovers(folder.path()).len(), stays, "{why}");
    }
}
