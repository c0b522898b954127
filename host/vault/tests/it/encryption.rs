//! An encrypted vault: who can do what with which key, what is hidden, and that every changed byte is noticed.

use longshore_model::{Codec, Timestamp};
use longshore_vault::*;
use object_store::{ObjectStore, ObjectStoreExt};

use crate::support::*;

/// The id key of every vault that [`options`] makes.
pub(crate) fn writer() -> WriterKey {
    WriterKey::new(IdKey::new([9; 32]))
}

pub(crate) fn named(name: &str, key: &ReaderKey) -> NamedRecipient {
    NamedRecipient { name: name.to_owned(), recipient: key.to_recipient(), added: Timestamp::from_millis(NOW) }
}

pub(crate) fn encrypted(region: &str, vault: u8, reader: &ReaderKey) -> VaultOptions {
    let encryption = Encryption::Age1 { recipients: vec![named("recovery key", reader)] };
    VaultOptions { encryption, ..options(region, vault) }
}

pub(crate) async fn open(store: &Store, keys: &Keys) -> Vault {
    Vault::open(store.clone(), keys).await.unwrap().with_limits(small_limits())
}

/// A vault with one backup that was written by a host without a reader key.
pub(crate) async fn prepared(codec: Codec) -> (Store, ReaderKey, FinishedPart) {
    let (store, reader) = (memory(), ReaderKey::generate());
    Vault::init(store.clone(), encrypted("local", 1, &reader)).await.unwrap();
    let vault = open(&store, &Keys::none().with_writer(writer())).await;
    let part = back_up(&vault, &backup_id(1), 1, &sample(1), codec).await.unwrap();
    (store, reader, part)
}

#[tokio::test]
async fn what_a_writer_stores_a_reader_gets_back_bit_for_bit() {
    for codec in [Codec::Store, Codec::Lz4, Codec::Zstd { level: 1 }, Codec::ShuffleZstd { element_bytes: 4, level: 1 }]
    {
        let (store, reader, _) = prepared(codec).await;
        let vault = open(&store, &Keys::none().with_reader(reader)).await;
        assert_eq!(read_back(&vault, &backup_id(1)).await.unwrap(), sample(1));
        for level in [VerifyLevel::Exists, VerifyLevel::Stored, VerifyLevel::Decoded] {
            let report = verify(&vault, &backup_id(1), level).await;
            assert!(report.is_whole() && report.objects.is_empty(), "{report:?}");
        }
        let loaded = vault.load_backup(&backup_id(1)).await.unwrap();
        assert_eq!(loaded.root.sealed.open().unwrap().cluster_name, "demo");
    }
}

#[tokio::test]
async fn a_writer_lists_deduplicates_and_verifies_stored_bytes_and_reads_nothing() {
    let (store, _, first) = prepared(Codec::Zstd { level: 1 }).await;
    let vault = open(&store, &Keys::none().with_writer(writer())).await;
    assert_eq!(listed(&vault).await, [backup_id(1)]);
    let second = back_up(&vault, &backup_id(2), 2, &sample(1), Codec::Store).await.unwrap();
    assert_eq!(second.part.open.sizes.new_bytes, 0, "everything was there");
    assert_eq!(second.part.open.packs, first.part.open.packs);
    assert!(verify(&vault, &backup_id(2), VerifyLevel::Stored).await.is_whole());
    let loaded = vault.load_backup(&backup_id(1)).await.unwrap();
    assert!(loaded.root.sealed.is_locked());
    let part = vault.load_part_of(&loaded).await.unwrap();
    assert!(matches!(part.collections(), Err(VaultError::Locked)));
    assert!(part.collections().unwrap_err().to_string().contains("reader key"));
    let blob = part.open.collections[0].files[2].blobs[0];
    let error = vault.open_reader().await.unwrap().read_blob(&blob).await.unwrap_err();
    assert!(matches!(error, VaultError::Locked), "{error}");
    let decoded = vault.verify(&part, VerifyOptions::new(VerifyLevel::Decoded, &|_, _| {})).await;
    assert!(matches!(decoded, Err(VaultError::Locked)));
}

#[tokio::test]
async fn a_writer_recognises_files_and_collections_by_keyed_digests() {
    let (store, _, first) = prepared(Codec::Store).await;
    let vault = open(&store, &Keys::none().with_writer(writer())).await;
    let part = vault.load_part_of(&vault.load_backup(&backup_id(1)).await.unwrap()).await.unwrap();
    let key = vault.id_key().unwrap();
    let sealed = first.part.sealed.open().unwrap();
    for (files, collection) in part.open.collections.iter().zip(&sealed.collections) {
        assert_eq!(files.name_id, Some(key.name_id(&collection.name)));
        for (file, name) in files.files.iter().zip(&collection.files) {
            let masked = file.masked_digest.unwrap();
            assert_ne!(masked, name.digest);
            assert_eq!(key.mask_digest(&file.blobs, &masked), name.digest);
        }
    }
    let plain = new_vault(memory()).await;
    let part = back_up(&plain, &backup_id(1), 1, &sample(1), Codec::Store).await.unwrap().part;
    let named = part.open.collections.iter().any(|one| one.name_id.is_some());
    assert!(!named && part.open.collections[0].files[0].masked_digest.is_none(), "a plain vault needs none of that");
}

#[tokio::test]
async fn nothing_that_is_to_be_hidden_stands_in_the_store() {
    use futures::TryStreamExt;
    let (store, reader, part) = prepared(Codec::Store).await;
    let all: Vec<_> = store.list(None).map_ok(|meta| meta.location).try_collect().await.unwrap();
    let words = ["articles", "images", "noise.parquet", "manifest.json", "cluster_name", "schema"];
    let mut hidden: Vec<Vec<u8>> = words.iter().map(|word| word.as_bytes().to_vec()).collect();
    hidden.extend([vec![b'x'; 32], noise(10, 64), writer().to_text().as_bytes().to_vec(), vec![9; 32]]);
    hidden.push("09".repeat(32).into_bytes());
    hidden.push(reader.to_text().as_bytes().to_vec());
    for collection in &part.part.sealed.open().unwrap().collections {
        hidden.extend(collection.files.iter().map(|file| file.digest.to_string().into_bytes()));
    }
    assert!(all.len() > 6, "{all:?}");
    for key in all {
        let bytes = bytes_of(&store, &key).await;
        for secret in &hidden {
            let found = bytes.windows(secret.len()).any(|window| window == secret.as_slice());
            assert!(!found, "{key} shows {}", String::from_utf8_lossy(secret));
        }
    }
}

#[tokio::test]
async fn a_wrong_key_says_so_and_says_which_is_needed() {
    let (store, reader, _) = prepared(Codec::Store).await;
    let other = Keys::none().with_writer(WriterKey::new(IdKey::new([8; 32])));
    let error = Vault::open(store.clone(), &other).await.unwrap_err();
    assert!(matches!(&error, VaultError::WrongKey { kind: "writer key", .. }), "{error}");
    let error = Vault::open(store.clone(), &Keys::none().with_reader(ReaderKey::generate())).await.unwrap_err();
    assert!(matches!(&error, VaultError::WrongKey { kind: "reader key", .. }), "{error}");
    assert!(error.to_string().contains(&format!("recovery key ({})", reader.to_recipient())), "{error}");
    // Without a key: stored bytes can be verified, nothing can be written.
    let vault = open(&store, &Keys::none()).await;
    assert!(verify(&vault, &backup_id(1), VerifyLevel::Stored).await.is_whole());
    let error = back_up(&vault, &backup_id(2), 2, &sample(2), Codec::Store).await.unwrap_err();
    assert!(matches!(error, VaultError::KeyNeeded { .. }), "{error}");
    // And keys for a vault that is not encrypted: somebody may have replaced its header.
    let plain = memory();
    new_vault(plain.clone()).await;
    let error = Vault::open(plain, &Keys::none().with_writer(writer())).await.unwrap_err();
    assert!(matches!(error, VaultError::NotEncrypted { .. }), "{error}");
}

#[tokio::test]
async fn every_flipped_byte_is_noticed() {
    let (store, reader) = (memory(), ReaderKey::generate());
    Vault::init(store.clone(), encrypted("local", 1, &reader)).await.unwrap();
    let keys = Keys::none().with_reader(reader);
    let vault = open(&store, &keys).await;
    let content = Content::from([("articles".to_owned(), [("a".to_owned(), noise(1, 300))].into())]);
    back_up(&vault, &backup_id(1), 1, &content, Codec::Store).await.unwrap();
    drop(vault);
    for folder in ["keys/recipients", "keys/sessions", "roots", "parts", "packs"] {
        let found = crate::support::keys(&store, folder).await;
        assert_eq!(found.len(), 1, "{folder}");
        let key = &found[0];
        let whole = bytes_of(&store, key).await;
        for place in 0..whole.len() {
            let mut bytes = whole.clone();
            bytes[place] ^= 1 << (place % 8);
            store.put(key, bytes.into()).await.unwrap();
            let error = read_all(&store, &keys, &content).await;
            assert!(error.is_err(), "byte {place} of {key}");
        }
        store.put(key, whole.into()).await.unwrap();
    }
    read_all(&store, &keys, &content).await.unwrap();
}

/// Opens, reads and verifies everything; an error or a finding says that something is wrong.
async fn read_all(store: &Store, keys: &Keys, content: &Content) -> Result<(), String> {
    let vault = Vault::open(store.clone(), keys).await.map_err(|error| error.to_string())?;
    let loaded = vault.load_backup(&backup_id(1)).await.map_err(|error| error.to_string())?;
    let part = vault.load_part_of(&loaded).await.map_err(|error| error.to_string())?;
    let report = vault.verify(&part, VerifyOptions::new(VerifyLevel::Decoded, &|_, _| {})).await;
    let report = report.map_err(|error| error.to_string())?;
    if !report.is_whole() || !report.objects.is_empty() {
        return Err(format!("{report:?}"));
    }
    let read = read_back(&vault, &backup_id(1)).await.map_err(|error| error.to_string())?;
    if read == *content { Ok(()) } else { panic!("other content came out") }
}

#[tokio::test]
async fn a_flipped_ciphertext_under_a_matching_name_is_noticed_all_the_same() {
    // Whoever can write to the store can give a changed manifest or pack the name that fits its bytes.
    let (store, reader, _) = prepared(Codec::Store).await;
    let keys = Keys::none().with_reader(reader);
    for folder in ["roots", "parts"] {
        let key = crate::support::keys(&store, folder).await.remove(0);
        let whole = bytes_of(&store, &key).await;
        store.delete(&key).await.unwrap();
        let mut bytes = whole.clone();
        // Within the token of the open half: valid JSON as before.
        let text = String::from_utf8(whole.clone()).unwrap();
        let place = text.find("\"plain_bytes\":").unwrap() + "\"plain_bytes\":".len();
        bytes[place] = if bytes[place] == b'1' { b'2' } else { b'1' };
        let name = key.as_ref().rsplit_once('-').unwrap().0;
        let forged = object_store::path::Path::from(format!("{name}-{}.json", digest_of(&bytes)));
        store.put(&forged, bytes.into()).await.unwrap();
        let vault = open(&store, &keys).await;
        let error = match vault.load_backup(&backup_id(1)).await {
            Ok(loaded) => vault.load_part_of(&loaded).await.map(drop).unwrap_err(),
            Err(error) => error,
        };
        let expected = matches!(error, VaultError::Unauthentic { .. } | VaultError::MissingObject { .. });
        assert!(expected, "{folder}: {error}");
        store.delete(&forged).await.unwrap();
        store.put(&key, whole.into()).await.unwrap();
    }
}

#[tokio::test]
async fn an_added_recipient_reads_old_and_new_and_a_removed_one_only_old() {
    let (store, recovery, _) = prepared(Codec::Store).await;
    let (vault, second) = (open(&store, &Keys::none().with_reader(recovery.clone())).await, ReaderKey::generate());
    let locked = open(&store, &Keys::none().with_writer(writer())).await;
    assert!(matches!(locked.add_recipient(named("second", &second)).await, Err(VaultError::Locked)));
    let change = vault.add_recipient(named("second", &second)).await.unwrap();
    assert_eq!((change.list.generation, change.rewrapped_sessions), (2, 1));
    assert!(change.unreadable_sessions.is_empty());
    // Twice is harmless.
    assert_eq!(vault.add_recipient(named("second", &second)).await.unwrap().list.generation, 2);
    back_up(&locked, &backup_id(2), 2, &sample(2), Codec::Store).await.unwrap();
    let theirs = open(&store, &Keys::none().with_reader(second.clone())).await;
    assert_eq!(read_back(&theirs, &backup_id(1)).await.unwrap(), sample(1));
    assert_eq!(read_back(&theirs, &backup_id(2)).await.unwrap(), sample(2));

    assert_eq!(locked.remove_recipient("second").await.unwrap().list.generation, 3);
    assert_eq!(vault.recipients().await.unwrap().recipients, [named("recovery key", &recovery)]);
    back_up(&locked, &backup_id(3), 3, &sample(3), Codec::Store).await.unwrap();
    let removed = open(&store, &Keys::none().with_reader(second)).await;
    assert_eq!(read_back(&removed, &backup_id(2)).await.unwrap(), sample(2));
    let error = read_back(&removed, &backup_id(3)).await.unwrap_err();
    assert!(matches!(error, VaultError::SessionKey { .. }), "{error}");
    assert_eq!(listed(&removed).await.len(), 3, "and is not made to believe that it is not there");
    assert_eq!(read_back(&vault, &backup_id(3)).await.unwrap(), sample(3));
    let last = locked.remove_recipient("recovery key").await.unwrap_err();
    assert!(last.to_string().contains("at least one recipient"), "{last}");
}

#[tokio::test]
async fn a_list_of_recipients_that_is_gone_is_missed_by_what_was_written_since() {
    let (store, reader, part) = prepared(Codec::Store).await;
    assert_eq!(part.part.open.recipients, Some(1));
    let (reader, other) = (Keys::none().with_reader(reader), ReaderKey::generate());
    open(&store, &reader).await.add_recipient(named("other", &other)).await.unwrap();
    let vault = open(&store, &Keys::none().with_writer(writer())).await;
    back_up(&vault, &backup_id(2), 2, &sample(2), Codec::Store).await.unwrap();
    let missed = async |number| -> Vec<String> {
        let report = verify(&vault, &backup_id(number), VerifyLevel::Exists).await;
        assert!(report.is_whole(), "{report:?}");
        report.objects.into_iter().map(|damage| damage.object).collect()
    };
    let nothing = Vec::<String>::new();
    assert_eq!((missed(1).await, missed(2).await), (nothing.clone(), nothing.clone()));
    store.delete(&keys(&store, "keys/recipients").await[1]).await.unwrap();
    assert_eq!((missed(1).await, missed(2).await), (nothing.clone(), vec![LOST_LIST.to_owned()]));
    // The change is made again.
    open(&store, &reader).await.add_recipient(named("other", &other)).await.unwrap();
    assert_eq!(missed(2).await, nothing);
}

#[tokio::test]
async fn whoever_adds_himself_without_the_id_key_is_ignored() {
    let (store, recovery, _) = prepared(Codec::Store).await;
    // He makes a vault of his own, which gives him a list with his key, and puts that list in as the newest.
    let (his_store, his) = (memory(), ReaderKey::generate());
    let his_options = VaultOptions { id_key: IdKey::new([66; 32]), ..encrypted("local", 1, &his) };
    let his_vault = Vault::init(his_store.clone(), his_options).await.unwrap();
    for name in ["b", "c", "d"] {
        let keys = Keys::none().with_reader(his.clone());
        let reading = Vault::open(his_store.clone(), &keys).await.unwrap();
        reading.add_recipient(named(name, &ReaderKey::generate())).await.unwrap();
    }
    drop(his_vault);
    for key in keys(&his_store, "keys/recipients").await {
        store.put(&key, bytes_of(&his_store, &key).await.into()).await.unwrap();
    }
    let vault = open(&store, &Keys::none().with_writer(writer())).await;
    assert_eq!(vault.recipients().await.unwrap().recipients, [named("recovery key", &recovery)]);
    back_up(&vault, &backup_id(2), 2, &sample(2), Codec::Store).await.unwrap();
    let error = Vault::open(store.clone(), &Keys::none().with_reader(his)).await.unwrap_err();
    assert!(matches!(error, VaultError::WrongKey { .. }), "{error}");
    let reading = open(&store, &Keys::none().with_reader(recovery)).await;
    assert_eq!(read_back(&reading, &backup_id(2)).await.unwrap(), sample(2));
}

#[tokio::test]
async fn the_key_of_a_session_is_durable_before_its_first_pack() {
    let (inner, reader) = (memory(), ReaderKey::generate());
    Vault::init(inner.clone(), encrypted("local", 1, &reader)).await.unwrap();
    let recording = testing::RecordingStore::new(inner.clone());
    let store: Store = recording.store();
    let vault = open(&store, &Keys::none().with_writer(writer())).await;
    back_up(&vault, &backup_id(1), 1, &sample(1), Codec::Store).await.unwrap();
    let events = format!("{:?}", recording.events());
    let (session, pack) = (events.find("keys/sessions/").unwrap(), events.find("packs/").unwrap());
    assert!(session < pack, "{events}");
}

#[test]
fn keys_are_written_and_read_and_mistakes_in_them_are_told() {
    let (writer, reader) = (WriterKey::new(IdKey::new([0xa7; 32])), ReaderKey::generate());
    let text = writer.to_text();
    assert_eq!(text.parse::<WriterKey>().unwrap(), writer);
    assert_eq!(format!("# made today\n\n {} \n", *text).parse::<WriterKey>().unwrap(), writer);
    for place in 0..text.len() {
        let mut bytes = text.as_bytes().to_vec();
        bytes[place] = if bytes[place] == b'B' { b'C' } else { b'B' };
        let error = String::from_utf8(bytes).unwrap().parse::<WriterKey>().unwrap_err().to_string();
        assert!(!error.contains("A7A7"), "{error}");
    }
    assert!(text[..text.len() - 2].parse::<WriterKey>().is_err());
    let text = reader.to_text();
    assert_eq!(text.parse::<ReaderKey>().unwrap().to_recipient(), reader.to_recipient());
    let swapped = text.parse::<WriterKey>().unwrap_err().to_string();
    assert!(swapped.contains("it is a reader key") && !swapped.contains(&text[20..]), "{swapped}");
    let swapped = writer.to_text().parse::<ReaderKey>().unwrap_err().to_string();
    assert!(swapped.contains("it is a writer key"), "{swapped}");
    let secret = text.parse::<Recipient>().unwrap_err().to_string();
    assert!(secret.contains("secret key") && !secret.contains(&text[20..]), "{secret}");
    let shown =
        format!("{writer:?} {reader:?} {:?}", Keys::none().with_writer(writer.clone()).with_reader(reader.clone()));
    assert_eq!(shown, "WriterKey(..) ReaderKey(..) Keys { writer: true, reader: true }");
}

#[tokio::test]
async fn making_an_encrypted_vault_that_stopped_half_way_can_be_repeated() {
    let (store, reader) = (memory(), ReaderKey::generate());
    let first = VaultOptions { id_key: IdKey::new([1; 32]), ..encrypted("local", 1, &reader) };
    Vault::init(store.clone(), first).await.unwrap();
    store.delete(&HEADER_KEY.into()).await.unwrap();
    Vault::init(store.clone(), encrypted("local", 1, &reader)).await.unwrap();
    let vault = open(&store, &Keys::none().with_reader(reader)).await;
    back_up(&vault, &backup_id(1), 1, &sample(1), Codec::Store).await.unwrap();
    assert_eq!(read_back(&vault, &backup_id(1)).await.unwrap(), sample(1));
    let nobody = VaultOptions { encryption: Encryption::Age1 { recipients: Vec::new() }, ..options("local", 1) };
    assert!(matches!(Vault::init(memory(), nobody).await, Err(VaultError::BadKey { .. })));
}

#[tokio::test]
async fn a_host_without_any_reader_key_prunes_and_compacts() {
    use longshore_vault::testing::{TestClock, TimedStore};
    let clock = TestClock::new(Timestamp::from_millis(NOW));
    let store: Store = std::sync::Arc::new(TimedStore::new(memory(), clock.clone()));
    let reader = ReaderKey::generate();
    Vault::init(store.clone(), encrypted("local", 1, &reader)).await.unwrap();
    let vault = open(&store, &Keys::none().with_writer(writer())).await;
    let (first, mut second) = (sample(1), sample(2));
    let kept = first["articles"]["data/shared"].clone();
    second.get_mut("images").unwrap().insert("kept".to_owned(), kept);
    back_up(&vault, &backup_id(1), 1, &first, Codec::Zstd { level: 1 }).await.unwrap();
    back_up(&vault, &backup_id(2), 2, &second, Codec::Zstd { level: 1 }).await.unwrap();
    let used = vault.used_bytes().await.unwrap();
    vault.delete_backup(&backup_id(1), &withdrawal()).await.unwrap();
    let mut compacted = 0;
    for run in 0..5 {
        clock.advance_ms(26 * 60 * 60 * 1000);
        let random = [run + 1; 16];
        let vaults = [vault.clone()];
        let report = prune(&vaults, &PruneOptions::default(), &clock, random).await.unwrap();
        compacted += report.vaults[0].count(PruneAction::Compact).0;
    }
    assert!(compacted > 0);
    assert!(vault.used_bytes().await.unwrap() < used);
    assert_eq!(listed(&vault).await, [backup_id(2)]);
    let vault = open(&store, &Keys::none().with_reader(reader)).await;
    assert_eq!(read_back(&vault, &backup_id(2)).await.unwrap(), second);
    assert!(verify(&vault, &backup_id(2), VerifyLevel::Decoded).await.is_whole());
}

#[tokio::test]
async fn lists_of_recipients_are_bounded() {
    let (store, recovery, _) = prepared(Codec::Store).await;
    let limits = Limits { recipients: 2, recipient_name_bytes: 12, ..Limits::DEFAULT };
    let vault = open(&store, &Keys::none().with_reader(recovery)).await.with_limits(limits);
    let add = async |name: &str| vault.add_recipient(named(name, &ReaderKey::generate())).await;
    for (name, said) in [("longer than it may be", "TooLarge"), ("", "BadKey"), ("line\nbreak", "BadKey")] {
        let error = add(name).await.unwrap_err();
        assert!(format!("{error:?}").starts_with(said), "{error:?}");
    }
    add("second").await.unwrap();
    let error = add("third").await.unwrap_err();
    assert!(matches!(error, VaultError::TooMany { count: 3, limit: 2, .. }), "{error}");
    assert_eq!(vault.recipients().await.unwrap().generation, 2, "a list that was refused was written");
}
