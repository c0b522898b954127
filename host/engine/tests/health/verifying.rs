//! Levels, samples, resuming.

use longshore_engine::{EngineError, VerifyLevel, VerifyRequest, verify_all, verify_backup};
use longshore_vault::testing::{Event, Operation, RecordingStore};
use std::sync::{Arc, Mutex};

use crate::support::*;

#[tokio::test(flavor = "multi_thread")]
async fn every_level_finds_a_whole_backup_whole_and_counts_its_rows() {
    let place = Place::new().await;
    let scratch = tempfile::tempdir().unwrap();
    let seen = Arc::new(Mutex::new(None));
    for level in
        [VerifyLevel::Exists, VerifyLevel::Stored, VerifyLevel::Decoded, VerifyLevel::Parsed, VerifyLevel::Opened]
    {
        let mut request = VerifyRequest::new(level);
        request.scratch = Some(scratch.path().to_owned());
        let at = Arc::clone(&seen);
        request.open_with = Some(Arc::new(move |path| {
            *at.lock().unwrap() = Some(path.join("collections").is_dir());
            Ok(())
        }));
        let outcome = verify_backup(&place.home_alone(), &place.backup, &request, &context()).await.unwrap();
        assert!(outcome.whole, "{level:?}: {outcome:?}");
        assert_eq!(outcome.collections.len(), 5);
        for one in &outcome.collections {
            assert_eq!(one.physical_rows.is_some(), level >= VerifyLevel::Parsed, "{level:?} {one:?}");
            assert_eq!(one.parsed_files == one.files, level >= VerifyLevel::Parsed, "{level:?} {one:?}");
        }
        assert_eq!((outcome.restored, outcome.opened), (level == VerifyLevel::Opened, level == VerifyLevel::Opened));
    }
    assert_eq!(*seen.lock().unwrap(), Some(true), "the program saw the restored database");
    assert_eq!(std::fs::read_dir(scratch.path()).unwrap().count(), 0, "the scratch folder is left as it was");
    let mut request = VerifyRequest::new(VerifyLevel::Opened);
    request.scratch = Some(scratch.path().to_owned());
    request.open_with = Some(Arc::new(|_| Err("it does not like it".to_owned())));
    let outcome = verify_backup(&place.home_alone(), &place.backup, &request, &context()).await.unwrap();
    assert!(!outcome.whole && outcome.problems[0].contains("does not like"), "{outcome:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_verification_goes_on_and_never_forgets_damage() {
    let place = Place::new().await;
    let folder = tempfile::tempdir().unwrap();
    let packs = keys(&place.home_store, "packs").await;
    // The last pack in order of reading is lost to the store, as if it had died there.
    let mut request = VerifyRequest::new(VerifyLevel::Stored);
    request.resume_file = Some(folder.path().join("state.json"));
    let run = |request: VerifyRequest| {
        let vaults = place.home_alone();
        let backup = place.backup.clone();
        async move { verify_backup(&vaults, &backup, &request, &context()).await }
    };
    let state = |good: &[String], finished: bool| {
        serde_json::json!({
            "format": 1, "kind": "longshore-verify", "scope": place.backup, "level": "stored", "sample": null,
            "seed": 7, "finished": finished, "good": { place.home.id().to_string(): good },
        })
        .to_string()
    };
    let good: Vec<String> = packs[1..].iter().map(|key| key.filename().unwrap().to_owned()).collect();
    std::fs::write(folder.path().join("state.json"), state(&good, false)).unwrap();
    flip(&place.home_store, &packs[0], 3_000).await;
    let outcome = run(request.clone()).await.unwrap();
    assert_eq!(outcome.packs_read, 1, "only what was not known: {outcome:?}");
    assert!(!outcome.whole);
    // Finished: the next run begins anew and reads everything.
    assert_eq!(run(request.clone()).await.unwrap().packs_read as usize, packs.len());
    // A file of another run, or of another program, is not overwritten.
    std::fs::write(folder.path().join("state.json"), state(&good, false)).unwrap();
    let mut deeper = request.clone();
    deeper.level = VerifyLevel::Decoded;
    let error = run(deeper).await.unwrap_err();
    assert!(matches!(&error, EngineError::File { .. }), "{error}");
    std::fs::write(folder.path().join("state.json"), "my notes").unwrap();
    assert!(run(request.clone()).await.unwrap_err().to_string().contains("another file"));
    assert_eq!(std::fs::read_to_string(folder.path().join("state.json")).unwrap(), "my notes");
}

#[tokio::test(flavor = "multi_thread")]
async fn samples_rotate_through_the_resume_file_until_everything_was_read() {
    let place = Place::new().await;
    let folder = tempfile::tempdir().unwrap();
    let packs = keys(&place.home_store, "packs").await;
    flip(&place.home_store, &packs[packs.len() / 2], 3_000).await;
    let mut request = VerifyRequest::new(VerifyLevel::Parsed);
    request.sample_percent = Some(1);
    request.resume_file = Some(folder.path().join("state.json"));
    let (mut found, mut seeds) = (0, Vec::new());
    for _ in 0..packs.len() {
        let outcome = verify_backup(&place.home_alone(), &place.backup, &request, &context()).await.unwrap();
        assert_eq!(outcome.packs_read, 1);
        seeds.push(outcome.seed.unwrap());
        found += usize::from(!outcome.whole);
    }
    assert!(seeds.windows(2).all(|pair| pair[1] == pair[0] + 1), "{seeds:?}");
    assert!(found >= 1, "the damaged pack was in no sample");
}

#[tokio::test(flavor = "multi_thread")]
async fn all_backups_are_verified_with_each_pack_read_once() {
    let place = Place::new().await;
    place.back_up(&[]).await;
    let request = VerifyRequest::new(VerifyLevel::Stored);
    let outcomes = verify_all(&place.home_alone(), &request, &context()).await.unwrap();
    assert_eq!(outcomes.len(), 2);
    let read: u64 = outcomes.iter().map(|outcome| outcome.packs_read).sum();
    assert_eq!(read as usize, keys(&place.home_store, "packs").await.len());
    let checked = |outcome: &longshore_engine::VerifyOutcome| {
        outcome.whole && outcome.collections.iter().all(|one| one.checked_blobs == one.blobs)
    };
    assert!(outcomes.iter().all(checked), "{outcomes:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn verified_damage_is_not_relied_on_by_the_next_backup() {
    let place = Place::new().await;
    let packs = keys(&place.home_store, "packs").await;
    let length = bytes_of(&place.home_store, &packs[0]).await.len();
    flip(&place.home_store, &packs[0], length / 2).await;
    let mut silent = VerifyRequest::new(VerifyLevel::Stored);
    silent.note_damage = false;
    verify_backup(&place.home_alone(), &place.backup, &silent, &context()).await.unwrap();
    assert!(keys(&place.home_store, "damaged").await.is_empty());
    assert!(!place.verify(VerifyLevel::Stored).await.unwrap().whole);
    assert_eq!(keys(&place.home_store, "damaged").await.len(), 1);
    place.back_up(&[]).await;
    assert!(place.verify(VerifyLevel::Decoded).await.unwrap().whole, "the old backup is whole again too");
}

#[tokio::test(flavor = "multi_thread")]
async fn records_beside_backups_are_read_once_however_many_backups_are_verified() {
    let place = Place::of(&three()[..1]).await;
    place.back_up(&three()[..1]).await;
    crate::records::add_records(&place).await;
    let record = RecordingStore::new(Arc::clone(&place.home_store));
    let vault = longshore_vault::Vault::open(record.store(), &longshore_vault::Keys::none()).await.unwrap();
    let vaults = longshore_engine::RegionVaults::of([vault]).unwrap();
    let outcomes = verify_all(&vaults, &VerifyRequest::new(VerifyLevel::Exists), &context()).await.unwrap();
    assert_eq!(outcomes.len(), 2);
    for folder in ["withdrawn/", "erasures/", "catalogs/"] {
        let of_folder = |event: &Event| match event {
            Event::Began(Operation::Get, key) => key.starts_with(folder),
            _ => false,
        };
        let (read, there) = (
            record.events().iter().filter(|event| of_folder(event)).count(),
            keys(&place.home_store, folder).await.len(),
        );
        assert_eq!(read, there, "{folder}");
    }
}
