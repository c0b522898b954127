//! What is put comes back; what is there already is not stored again; memory stays within its budget.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use futures::FutureExt;
use longshore_model::{Codec, Timestamp};
use longshore_vault::testing::{Effect, Event, Fault, FaultStore, Operation, RecordingStore};
use longshore_vault::*;
use tokio::sync::Semaphore;

use crate::support::*;

const CODECS: [Codec; 4] =
    [Codec::Store, Codec::Lz4, Codec::Zstd { level: 1 }, Codec::ShuffleZstd { element_bytes: 4, level: 1 }];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_codec_gives_back_every_file() {
    for codec in CODECS {
        let vault = new_vault(memory()).await.with_limits(small_limits());
        let part = back_up(&vault, &backup_id(1), 1, &sample(1), codec).await.unwrap();
        assert_eq!(read_back(&vault, &backup_id(1)).await.unwrap(), sample(1), "{codec}");
        let Sizes { plain_bytes, stored_bytes, new_bytes } = part.part.open.sizes;
        let files: usize = sample(1).values().flat_map(|files| files.values()).map(Vec::len).sum();
        assert_eq!(plain_bytes, files as u64);
        assert!(stored_bytes <= plain_bytes - 70_000, "the shared file counts once: {stored_bytes} of {plain_bytes}");
        assert!(new_bytes > stored_bytes && new_bytes == vault.used_bytes().await.unwrap());
        assert!(part.part.open.packs.len() >= 2, "several packs, so that their order matters");
        if codec != Codec::Store {
            assert!(stored_bytes < 400_000, "{codec} shrinks the even files: {stored_bytes}");
        }
    }
}

#[tokio::test]
async fn the_default_limits_split_at_four_mebibytes_and_share_packs() {
    let store = memory();
    let vault = new_vault(store.clone()).await;
    let big = noise(1, 9 * 1024 * 1024);
    let mut content = Content::new();
    content.entry("big".to_owned()).or_default().insert("data".to_owned(), big);
    for number in 0..50 {
        content.entry(format!("small{number}")).or_default().insert("data".to_owned(), noise(number + 10, 500));
    }
    let part = back_up(&vault, &backup_id(1), 1, &content, Codec::Store).await.unwrap();
    assert_eq!(part.part.open.collections[0].files[0].blobs.len(), 3);
    assert_eq!(keys(&store, "packs").await.len(), 1);
    assert_eq!(keys(&store, "index").await.len(), 1);
    assert_eq!(read_back(&vault, &backup_id(1)).await.unwrap(), content);
}

#[tokio::test]
async fn an_unchanged_backup_adds_no_pack_and_no_index() {
    let store = memory();
    let vault = new_vault(store.clone()).await.with_limits(small_limits());
    back_up(&vault, &backup_id(1), 1, &sample(1), Codec::Zstd { level: 1 }).await.unwrap();
    let (packs, index) = (keys(&store, "packs").await, keys(&store, "index").await);
    // Whatever codec is asked for now: what is there stays as it is.
    let part = back_up(&vault, &backup_id(2), 2, &sample(1), Codec::Store).await.unwrap();
    assert_eq!(part.part.open.sizes.new_bytes, 0);
    assert_eq!((keys(&store, "packs").await, keys(&store, "index").await), (packs, index));
    assert_eq!(read_back(&vault, &backup_id(2)).await.unwrap(), sample(1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_bytes_put_by_many_at_once_are_stored_once() {
    let vault = new_vault(memory()).await;
    let pin = vault.pin(request(1), clock()).await.unwrap();
    let session = Arc::new(vault.begin(&pin, SessionOptions::default()).await.unwrap());
    let bytes = Bytes::from(noise(5, 300_000));
    let puts = (0..16).map(|_| {
        let (session, bytes) = (Arc::clone(&session), bytes.clone());
        tokio::spawn(async move { session.put(bytes, Codec::Zstd { level: 1 }).await.unwrap() })
    });
    let blobs: Vec<StoredBlob> = futures::future::try_join_all(puts).await.unwrap();
    assert_eq!(blobs.iter().filter(|blob| blob.new).count(), 1);
    assert!(blobs.iter().all(|blob| blob.id == vault.id_key().unwrap().blob_id(&bytes)));
    session.checkpoint().await.unwrap();
    let used = vault.used_bytes().await.unwrap();
    assert!((300_000..310_000).contains(&used), "{used}");
}

#[tokio::test]
async fn a_checkpoint_makes_what_was_put_known_to_the_next_session() {
    let vault = new_vault(memory()).await;
    let pin = vault.pin(request(1), clock()).await.unwrap();
    let session = vault.begin(&pin, SessionOptions::default()).await.unwrap();
    let bytes = Bytes::from(noise(5, 50_000));
    let id = session.put(bytes.clone(), Codec::Store).await.unwrap().id;
    session.checkpoint().await.unwrap();
    drop(session);
    let next = vault.begin(&pin, SessionOptions::default()).await.unwrap();
    let known = BlobInfo { plain_bytes: 50_000, stored_bytes: 50_000, codec: Codec::Store };
    assert_eq!(next.lookup(&id), Some(known));
    assert!(!next.put(bytes.clone(), Codec::Store).await.unwrap().new);
    assert_eq!(vault.open_reader().await.unwrap().read_blob(&id).await.unwrap(), bytes);
}

#[tokio::test]
async fn a_put_that_nobody_waits_for_still_ends_well() {
    let vault = new_vault(memory()).await.with_limits(small_limits());
    let pin = vault.pin(request(1), clock()).await.unwrap();
    let session = vault.begin(&pin, SessionOptions::default()).await.unwrap();
    let bytes = Bytes::from(noise(5, 200_000));
    {
        let mut put = Box::pin(session.put(bytes.clone(), Codec::Zstd { level: 1 }));
        // Far enough to have claimed the blob on its own thread, or not, or even done: all must end well.
        let _ = put.as_mut().now_or_never();
    }
    let blob = session.put(bytes.clone(), Codec::Store).await.unwrap();
    session.checkpoint().await.unwrap();
    assert_eq!(vault.open_reader().await.unwrap().read_blob(&blob.id).await.unwrap(), bytes);
}

/// Counts what was read of a long file that repeats nothing.
struct Counting {
    read_bytes: AtomicU64,
}

#[async_trait::async_trait]
impl PieceSource for Counting {
    async fn read(&self, offset: u64, length: usize) -> Result<Bytes, Box<dyn std::error::Error + Send + Sync>> {
        self.read_bytes.fetch_add(length as u64, Ordering::SeqCst);
        Ok(Bytes::from(noise(offset + 1, length)))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reading_stops_when_the_budget_is_used_up_and_goes_on_as_packs_are_written() {
    const MIB: u64 = 1024 * 1024;
    let faults = FaultStore::new(memory());
    let vault = new_vault(faults.store()).await;
    let pin = vault.pin(request(1), clock()).await.unwrap();
    let options = SessionOptions { memory_budget_bytes: 32 * MIB as usize, cpu_threads: 2 };
    let session = Arc::new(vault.begin(&pin, options).await.unwrap());
    let gate = Arc::new(Semaphore::new(0));
    faults.plan(vec![Fault::on(Operation::Put, "packs/", Effect::Wait(Arc::clone(&gate)))]);
    let source = Arc::new(Counting { read_bytes: AtomicU64::new(0) });
    let task = tokio::spawn({
        let (session, source) = (Arc::clone(&session), Arc::clone(&source));
        async move { session.put_file(source.as_ref(), 100 * MIB, Codec::Store, &|_| {}).await }
    });
    // With no pack written nothing is given back: reading must stop at 32 MiB of the 100.
    while session.idle_budget_bytes() >= 4 * MIB as usize {
        assert!(!task.is_finished(), "100 MiB were held in memory");
        tokio::task::yield_now().await;
    }
    let held = source.read_bytes.load(Ordering::SeqCst);
    assert!((24 * MIB..=32 * MIB).contains(&held), "{held} bytes read while none could be written");
    gate.add_permits(1_000);
    let file = task.await.unwrap().unwrap();
    assert_eq!((file.blobs.len(), file.added_bytes), (25, 100 * MIB));
    session.checkpoint().await.unwrap();
    assert_eq!(session.idle_budget_bytes(), 32 * MIB as usize, "everything was given back");
}

#[tokio::test]
async fn a_draft_that_names_what_was_not_stored_is_refused_and_writes_no_part() {
    let store = memory();
    let vault = new_vault(store.clone()).await;
    let pin = vault.pin(request(1), clock()).await.unwrap();
    let good = write_part(&vault, &pin, &backup_id(1), 1, &sample(1), Codec::Store).await.unwrap().part;
    let parts = keys(&store, "parts").await.len();
    let PartOpen { backup_id, created, collections, .. } = good.open;
    let Sealed::Readable(sealed) = good.sealed else { unreachable!() };
    let sealed = Sealed::Readable(sealed);
    let draft = PartDraft { home_vault_id: None, backup_id, token: 2, created, collections, sealed };
    let mut unknown = draft.clone();
    unknown.collections[0].files[2].blobs[0] = vault.id_key().unwrap().blob_id(b"never stored");
    let mut shorter = draft.clone();
    shorter.collections[0].files[2].size_bytes -= 1;
    // Two wrong lengths that cancel out in the sum.
    let mut shifted = draft.clone();
    shifted.collections[0].files[2].size_bytes -= 1;
    shifted.collections[0].files[3].size_bytes += 1;
    for bad in [unknown, shorter, shifted] {
        let session = vault.begin(&pin, SessionOptions::default()).await.unwrap();
        let error = session.finish(bad).await.unwrap_err();
        assert!(matches!(error, VaultError::BadManifest { .. }), "{error}");
    }
    assert_eq!(keys(&store, "parts").await.len(), parts);
    let session = vault.begin(&pin, SessionOptions::default()).await.unwrap();
    session.finish(draft.clone()).await.unwrap();
    assert!(matches!(session.finish(draft).await, Err(VaultError::SessionEnded)));
    assert!(matches!(session.put(Bytes::new(), Codec::Store).await, Err(VaultError::SessionEnded)));
}

#[tokio::test]
async fn a_piece_beyond_the_limit_and_a_file_that_got_shorter_are_errors_of_that_file_alone() {
    let vault = new_vault(memory()).await;
    let pin = vault.pin(request(1), clock()).await.unwrap();
    let session = vault.begin(&pin, SessionOptions::default()).await.unwrap();
    let long = Bytes::from(vec![0; Limits::DEFAULT.blob_bytes + 1]);
    assert!(matches!(session.put(long, Codec::Store).await, Err(VaultError::TooLarge { .. })));
    struct Short;
    #[async_trait::async_trait]
    impl PieceSource for Short {
        async fn read(&self, _: u64, length: usize) -> Result<Bytes, Box<dyn std::error::Error + Send + Sync>> {
            Ok(Bytes::from(vec![0; length - 1]))
        }
    }
    let error = session.put_file(&Short, 100, Codec::Store, &|_| {}).await.unwrap_err();
    assert!(matches!(error, VaultError::Input { .. }), "{error}");
    session.put(Bytes::from_static(b"still works"), Codec::Store).await.unwrap();
    session.checkpoint().await.unwrap();
}

fn small_file(bytes: &[u8], codec: Codec) -> SmallFile {
    let plain = Bytes::copy_from_slice(bytes);
    SmallFile { size_bytes: plain.len(), codec, reading: Box::new(move || Ok(plain)), look: None }
}

#[tokio::test]
async fn small_files_stored_together_are_what_they_are_one_by_one() {
    let files = [noise(1, 5_000), Vec::new(), vec![7; 20_000], noise(1, 5_000), noise(2, 3), Vec::new()];
    let vault = new_vault(memory()).await;
    let pin = vault.pin(request(1), clock()).await.unwrap();
    let together = vault.begin(&pin, SessionOptions::default()).await.unwrap();
    let batch = files.iter().zip(CODECS.into_iter().cycle()).map(|(bytes, codec)| small_file(bytes, codec));
    let stored = together.put_small_files(batch.collect()).await.unwrap();
    assert_eq!(stored.len(), files.len());
    assert_eq!(stored[3].new_plain_bytes, 0, "the same bytes are stored once");
    let other = new_vault(memory()).await;
    let pin = other.pin(request(1), clock()).await.unwrap();
    let alone = other.begin(&pin, SessionOptions::default()).await.unwrap();
    for ((bytes, codec), stored) in files.iter().zip(CODECS.into_iter().cycle()).zip(stored) {
        let source = Memory(Bytes::from(bytes.clone()));
        let one = alone.put_file(&source, bytes.len() as u64, codec, &|_| {}).await.unwrap();
        assert_eq!((one.size_bytes, one.digest, one.new_plain_bytes), {
            (stored.size_bytes, stored.digest, stored.new_plain_bytes)
        });
        // Ids are made with the key of the vault.
        let blobs: Vec<BlobId> =
            (!bytes.is_empty()).then(|| vault.id_key().unwrap().blob_id(bytes)).into_iter().collect();
        assert_eq!((stored.blobs, one.blobs.len()), (blobs.clone(), blobs.len()));
    }
    let budget = together.idle_budget_bytes();
    together.checkpoint().await.unwrap();
    let held = together.idle_budget_bytes() - budget;
    assert!(held > 5_000, "what waits in the open pack counts until it is written: {held}");
}

#[tokio::test]
async fn of_small_files_of_which_one_cannot_be_read_none_is_stored_and_the_session_goes_on() {
    let vault = new_vault(memory()).await.with_limits(small_limits());
    let pin = vault.pin(request(1), clock()).await.unwrap();
    let session = vault.begin(&pin, SessionOptions::default()).await.unwrap();
    let idle = session.idle_budget_bytes();
    let short = SmallFile {
        size_bytes: 100,
        codec: Codec::Store,
        reading: Box::new(|| Ok(Bytes::from_static(b"50"))),
        look: None,
    };
    let lost =
        SmallFile { size_bytes: 100, codec: Codec::Store, reading: Box::new(|| Err("it is gone".into())), look: None };
    for (bad, said) in [(short, "the file changed"), (lost, "it is gone")] {
        let batch = vec![small_file(&noise(1, 900), Codec::Store), bad];
        let error = session.put_small_files(batch).await.map(drop).unwrap_err();
        assert!(matches!(&error, VaultError::Input { source } if source.to_string().contains(said)), "{error}");
    }
    assert_eq!(session.idle_budget_bytes(), idle, "their memory was given back");
    let long = vec![small_file(&vec![0; Limits::DEFAULT.blob_bytes], Codec::Store), small_file(b"x", Codec::Store)];
    assert!(matches!(session.put_small_files(long).await, Err(VaultError::TooLarge { .. })));
    let whole = session.put_small_files(vec![small_file(&noise(1, 900), Codec::Store)]).await.unwrap();
    assert_eq!(whole[0].new_plain_bytes, 900, "it was not stored before");
    session.checkpoint().await.unwrap();
}

#[tokio::test]
async fn small_files_are_looked_at_before_any_of_them_is_stored() {
    let vault = new_vault(memory()).await.with_limits(small_limits());
    let pin = vault.pin(request(1), clock()).await.unwrap();
    let session = vault.begin(&pin, SessionOptions::default()).await.unwrap();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let batch = |refused: Option<usize>| -> Vec<SmallFile> {
        let files = [noise(1, 900), Vec::new(), noise(2, 700)].into_iter().enumerate();
        let file = |(number, bytes): (usize, Vec<u8>)| {
            let seen = Arc::clone(&seen);
            let look: Look = Box::new(move |bytes: &Bytes| {
                seen.lock().unwrap().push(bytes.len());
                if refused == Some(number) { Err("it makes no sense".into()) } else { Ok(()) }
            });
            SmallFile { look: Some(look), ..small_file(&bytes, Codec::Store) }
        };
        files.map(file).collect()
    };
    let error = session.put_small_files(batch(Some(2))).await.map(drop).unwrap_err();
    assert!(matches!(&error, VaultError::Input { source } if source.to_string() == "it makes no sense"), "{error}");
    let stored = session.put_small_files(batch(None)).await.unwrap();
    let new: Vec<u64> = stored.iter().map(|file| file.new_plain_bytes).collect();
    assert_eq!(new, [900, 0, 700], "nothing of the refused batch was stored");
    // An empty file is not read, and so not looked at.
    assert_eq!(*seen.lock().unwrap(), [900, 700, 900, 700]);
    session.checkpoint().await.unwrap();
}

#[tokio::test]
async fn after_a_failed_upload_the_session_stores_nothing_more_and_says_why() {
    let faults = FaultStore::new(memory());
    let vault = new_vault(faults.store()).await.with_limits(small_limits());
    let pin = vault.pin(request(1), clock()).await.unwrap();
    let session = vault.begin(&pin, SessionOptions::default()).await.unwrap();
    faults.plan(vec![Fault::on(Operation::Put, "packs/", Effect::Fail).times(1)]);
    session.put(Bytes::from(noise(1, 200_000)), Codec::Store).await.unwrap();
    let error = session.checkpoint().await.unwrap_err();
    assert!(matches!(error, VaultError::SessionFailed { .. }));
    assert!(error.to_string().contains("could not write `packs/"), "{error}");
    let again = session.put(Bytes::from_static(b"more"), Codec::Store).await.unwrap_err();
    assert_eq!(again.to_string(), error.to_string());
    let created = Timestamp::from_millis(0);
    let draft = PartDraft {
        home_vault_id: None,
        backup_id: backup_id(1),
        token: 1,
        created,
        collections: Vec::new(),
        sealed: Sealed::Readable(PartSealed::default()),
    };
    assert!(matches!(session.finish(draft).await, Err(VaultError::SessionFailed { .. })));
}

#[tokio::test]
async fn a_second_backup_reads_no_pack() {
    let recording = RecordingStore::new(memory());
    let vault = new_vault(recording.store()).await.with_limits(small_limits());
    back_up(&vault, &backup_id(1), 1, &sample(1), Codec::Store).await.unwrap();
    recording.clear();
    back_up(&vault, &backup_id(2), 2, &sample(1), Codec::Store).await.unwrap();
    let packs: Vec<Event> = recording
        .events()
        .into_iter()
        .filter(
            |event| matches!(event, Event::Began(Operation::Get | Operation::Put, key) if key.starts_with("packs/")),
        )
        .collect();
    assert_eq!(packs, []);
}
