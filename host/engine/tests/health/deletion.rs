//! Every kind of object, deleted: who misses it, what that means for the backup, and what brings it back. The table is that
//! of FORMAT.md, "What is missed"; every key in the table of "Objects" there has a row here.

use longshore_engine::{
    EngineError, HealRequest, RegionVaults, VerifyLevel, VerifyOutcome, VerifyRequest, delete_backup, heal,
    verify_backup,
};
use longshore_model::{BackupId, Timestamp};
use longshore_vault::{Keys, LOST_LIST, NamedRecipient, ReaderKey, Vault, VaultError, WriterKey};
use object_store::ObjectStoreExt;
use object_store::path::Path as Key;

use crate::records::{add_records, everything, put_back};
use crate::support::*;

/// What a verification says after the deletion.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Said {
    /// Nothing: nobody misses it, and the backup is whole.
    Nothing,
    /// The object is missing; the backup is whole all the same.
    Missing,
    /// The object is missing, and with it something of the backup.
    Hit,
    /// There is no such backup.
    NoBackup,
    /// The vault cannot be opened; the sentence says how its header is made again.
    Closed,
}
use Said::{Closed, Hit, Missing, NoBackup, Nothing};

/// Which objects of a kind go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Which {
    One,
    /// The last one in order of key.
    Newest,
    All,
}
use Which::{All, Newest, One};

/// One row: the key as FORMAT.md writes it; where the objects lie (`home/` or `other/`, and how their keys begin; `{backup}`
/// and `{session}` are those of the backup that is looked at); which go; what its vault alone says, and both together; and
/// what the damage is called where the name of the lost object is not known.
type Row = (&'static str, &'static str, Which, Said, Said, Option<&'static str>);

const ROWS: [Row; 22] = [
    ("longshore-vault.json", "home/longshore-vault.json", One, Closed, Closed, None),
    ("packs/<first 2 characters>/<digest>", "home/packs/{pack}", One, Hit, Hit, None),
    ("index/<digest>", "home/index/", All, Missing, Missing, Some("index")),
    // The copy has everything, so together nothing is hit.
    ("parts/<backup id>/<token>-<digest>.json", "home/parts/{backup}/", All, Hit, Missing, None),
    ("roots/<backup id>/<token>-<digest>.json", "home/roots/{backup}/", All, NoBackup, Missing, None),
    // Of a copy that was made later: nobody but a catalog knows of it. See `tests/tests/health.rs` for the others.
    ("receipts/<backup id>/<token>-<digest>.json", "other/receipts/{backup}/", All, NoBackup, Nothing, None),
    ("pins/<job id>/<token>-<random>.json", "home/pins/job-live/", All, Nothing, Nothing, None),
    ("damaged/<digest>.json", "home/damaged/", All, Nothing, Nothing, None),
    ("set-aside/<key>", "home/set-aside/", All, Nothing, Nothing, None),
    ("pins/<job id>/<token>-<random>.lapsed", "home/pins/job-dead/", All, Nothing, Nothing, None),
    // At home it is written last: the other vault must have it, too. The other way round it may be an expired copy.
    ("withdrawn/<backup id>.json", "other/withdrawn/{gone}.json", One, Nothing, Missing, None),
    ("withdrawn/<backup id>.json", "home/withdrawn/{gone}.json", One, Nothing, Nothing, None),
    ("withdrawn/<backup id>.<token>.json", "other/withdrawn/{old}.", One, Nothing, Missing, None),
    ("erasures/erasure-<16 hexadecimal characters>.json", "home/erasures/", One, Nothing, Missing, None),
    // The one before counts: no backup was made since, so only a copy of the vault knows that there was another.
    ("keys/recipients/<generation>-<digest>.json", "home/keys/recipients/", Newest, Nothing, Nothing, None),
    (
        "keys/recipients/<generation>-<digest>.json",
        "home/keys/recipients/",
        All,
        Missing,
        Missing,
        Some("keys/recipients"),
    ),
    ("keys/sessions/<session id>/<digest>.age", "home/keys/sessions/{session}/", One, Nothing, Nothing, None),
    (
        "keys/sessions/<session id>/<digest>.age",
        "home/keys/sessions/{session}/",
        All,
        Hit,
        Missing,
        Some("keys/sessions/{session}"),
    ),
    ("catalogs/<time>-<digest>", "home/catalogs/", Newest, Nothing, Nothing, None),
    ("clock/<name>", "home/clock/", All, Nothing, Nothing, None),
    ("marks/<mark id>.json", "home/marks/", One, Nothing, Nothing, None),
    ("marks/<mark id>.json", "home/marks/", All, Nothing, Nothing, None),
];

/// Two vaults with everything in them that a vault can hold.
pub(crate) struct Full {
    pub(crate) place: Place,
    reader: ReaderKey,
    writer: WriterKey,
    session: String,
    pack: String,
    gone: BackupId,
    old: BackupId,
}

impl Full {
    pub(crate) async fn new() -> Self {
        let reader = ReaderKey::generate();
        let place = Place::encrypted(&three()[..2], Some(&reader)).await;
        let writer = WriterKey::new(place.home.id_key().unwrap().clone());
        let session = keys(&place.home_store, "keys/sessions").await.remove(0);
        let session = session.as_ref().split('/').nth(2).unwrap().to_owned();
        let loaded = place.home.load_backup(&place.backup).await.unwrap();
        let pack = place.home.load_part_of(&loaded).await.unwrap().open.packs[0].id;
        let pack = format!("{}/{pack}", &pack.to_string()[..2]);
        let (gone, old) = (place.back_up(&three()[..1]).await, place.back_up(&three()[..1]).await);
        place.copy(&gone).await;
        place.copy(&old).await;
        delete_backup(&place.both(), &gone, "a test", &context()).await.unwrap();
        for vault in [&place.other, &place.home] {
            let withdrawal =
                longshore_vault::Withdrawal { time: Timestamp::from_millis(0), by: "a test".to_owned(), job_id: None };
            vault.withdraw_before(&old, 9, &withdrawal).await.unwrap();
        }
        add_records(&place).await;
        let added = Timestamp::from_millis(0);
        let recipient = ReaderKey::generate().to_recipient();
        place.home.add_recipient(NamedRecipient { name: "other".to_owned(), recipient, added }).await.unwrap();
        place.home.note_damage(&[pack[3..].parse().unwrap()], added).await.unwrap();
        for key in [
            "pins/job-live/0000000000000001-0000000000000001.json",
            "pins/job-dead/0000000000000001-0000000000000001.lapsed",
            "set-aside/index/anything",
            "clock/anything",
        ] {
            put(&place.home_store, &key.into(), b"{\"format\":1,\"kind\":\"pin\"}".to_vec()).await;
        }
        Self { place, reader, writer, session, pack, gone, old }
    }

    pub(crate) fn fill(&self, text: &str) -> String {
        text.replace("{backup}", self.place.backup.as_str())
            .replace("{gone}", self.gone.as_str())
            .replace("{old}", self.old.as_str())
            .replace("{session}", &self.session)
            .replace("{pack}", &self.pack)
    }

    /// A vault as somebody opens it who knows nothing yet: with the writer key alone where there is no list of recipients.
    pub(crate) async fn open(&self, store: &Store) -> Result<Vault, VaultError> {
        let keys = Keys::none().with_writer(self.writer.clone());
        match Vault::open(store.clone(), &keys.clone().with_reader(self.reader.clone())).await {
            Err(VaultError::NoRecipients { .. }) => Vault::open(store.clone(), &keys).await,
            opened => opened,
        }
    }

    pub(crate) async fn open_without_keys(&self, store: &Store) -> Vault {
        Vault::open(store.clone(), &Keys::none()).await.unwrap()
    }

    pub(crate) async fn verify(&self, vaults: Vec<Vault>) -> Result<VerifyOutcome, EngineError> {
        let readable = vaults.iter().all(Vault::is_readable);
        let request = VerifyRequest::new(if readable { VerifyLevel::Decoded } else { VerifyLevel::Stored });
        verify_backup(&RegionVaults::of(vaults).unwrap(), &self.place.backup, &request, &context()).await
    }

    /// Checks what is said of a deletion of `gone`, or of the name that stands for it.
    async fn judge(&self, vaults: Vec<Vault>, expected: Said, gone: &str, what: &str) {
        let outcome = match self.verify(vaults).await {
            Ok(outcome) => outcome,
            Err(EngineError::NotFound { .. }) => return assert_eq!(expected, NoBackup, "{what}"),
            Err(error) => panic!("{what}: {error}"),
        };
        let named = outcome.damaged_objects.iter().any(|one| one.object == gone && one.found == "nothing");
        let told = named || outcome.problems.iter().any(|problem| problem.contains(gone));
        match expected {
            Nothing => assert!(outcome.is_sound(), "{what}: {outcome:?}"),
            Missing => assert!(outcome.whole && named, "{what}: {outcome:?}"),
            Hit => assert!(!outcome.whole && told, "{what}: {outcome:?}"),
            NoBackup | Closed => panic!("{what}: {outcome:?}"),
        }
    }

    async fn closed(&self, store: &Store, other: &Vault, what: &str) {
        let error = self.open(store).await.unwrap_err().to_string();
        assert!(error.contains("--header-from"), "{what}: {error}");
        Vault::rebuild_header(store.clone(), other, true).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_is_deleted_is_missed_by_whom_the_format_says_and_comes_back() {
    let full = Full::new().await;
    let Place { home_store, other_store, .. } = &full.place;
    let original = [everything(home_store).await, everything(other_store).await];
    let sound = full.verify(vec![full.open(home_store).await.unwrap(), full.open(other_store).await.unwrap()]).await;
    assert!(sound.unwrap().is_sound());
    for (format, place, which, alone, both, called) in ROWS {
        let what = format!("{place} {which:?}");
        let (store, other) = match place.starts_with("home/") {
            true => (home_store, other_store),
            false => (other_store, home_store),
        };
        let prefix = full.fill(place.split_once('/').unwrap().1);
        let mut objects: Vec<Key> = keys(store, "").await;
        objects.retain(|key| key.as_ref().starts_with(&prefix));
        assert!(!objects.is_empty(), "{what}: there is none ({format})");
        match which {
            One => objects.truncate(1),
            Newest => drop(objects.drain(..objects.len() - 1)),
            All => {}
        }
        for key in &objects {
            store.delete(key).await.unwrap();
        }
        let gone = called.map_or_else(|| objects[0].to_string(), |called| full.fill(called));
        if alone == Closed {
            full.closed(store, &full.open(other).await.unwrap(), &what).await;
        } else {
            full.judge(vec![full.open(store).await.unwrap()], alone, &gone, &what).await;
            full.judge(vec![full.open(store).await.unwrap(), full.open(other).await.unwrap()], both, &gone, &what)
                .await;
        }
        let (vault, source) = (full.open(store).await.unwrap(), full.open(other).await.unwrap());
        let request = HealRequest { backup: None, level: VerifyLevel::Stored, dry_run: false };
        let healed = heal_after_a_dry_run(&vault, store, std::slice::from_ref(&source), request).await;
        let healed = healed.unwrap_or_else(|error| panic!("{what}: {error}"));
        assert!(healed.whole, "{what}: {healed:?}");
        if both == Missing {
            assert!(healed.objects.iter().any(|one| one.object == gone && one.healed), "{what}: {healed:?}");
        }
        let (vault, source) = (full.open(store).await.unwrap(), full.open(other).await.unwrap());
        full.judge(vec![vault.clone(), source], Nothing, &gone, &what).await;
        if alone != NoBackup || both == Missing {
            full.judge(vec![vault], Nothing, &gone, &what).await;
        }
        put_back(home_store, &original[0]).await;
        put_back(other_store, &original[1]).await;
    }
}

/// The table of FORMAT.md names every kind of object there is, and each has a row.
#[test]
fn every_kind_of_object_has_a_row() {
    let format = include_str!("../../../vault/FORMAT.md");
    let table = format.split("## Objects").nth(1).unwrap().split("`<token>` is").next().unwrap();
    let keys: Vec<&str> =
        table.lines().filter_map(|line| line.strip_prefix("| `")?.split_once('`')).map(|(key, _)| key).collect();
    assert!(keys.len() > 15, "{keys:?}");
    for key in keys {
        assert!(ROWS.iter().any(|row| row.0 == key), "nothing says what it means when {key} is gone");
    }
}

/// A newest list of recipients that is gone is missed where a copy of the vault has it, and comes back from there.
#[tokio::test(flavor = "multi_thread")]
async fn a_lost_list_of_recipients_comes_back_from_a_copy_of_the_vault() {
    let full = Full::new().await;
    let copy: Store = std::sync::Arc::new(object_store::memory::InMemory::new());
    put_back(&copy, &everything(&full.place.home_store).await).await;
    let newest = keys(&full.place.home_store, "keys/recipients").await.pop().unwrap();
    full.place.home_store.delete(&newest).await.unwrap();
    let (vault, copy) = (full.open(&full.place.home_store).await.unwrap(), full.open(&copy).await.unwrap());
    assert_eq!(vault.recipients().await.unwrap().recipients.len(), 1, "who was added is not encrypted to any more");
    let request = HealRequest { backup: None, level: VerifyLevel::Stored, dry_run: true };
    let would = heal(&vault, std::slice::from_ref(&copy), &request, &context()).await.unwrap();
    assert!(would.objects.iter().any(|one| one.object == newest.as_ref() && one.healed), "{would:?}");
    assert_eq!(vault.recipients().await.unwrap().recipients.len(), 1, "a dry run wrote something");
    let request = HealRequest { dry_run: false, ..request };
    heal(&vault, std::slice::from_ref(&copy), &request, &context()).await.unwrap();
    assert_eq!(vault.recipients().await.unwrap().recipients.len(), 2);
}

/// What was encrypted since knows of it without a copy, and heal says what is to be done.
#[tokio::test(flavor = "multi_thread")]
async fn a_lost_list_of_recipients_is_missed_by_a_backup_that_was_made_since() {
    let full = Full::new().await;
    let store = &full.place.home_store;
    let backup = full.place.back_up(&three()[..1]).await;
    let copy: Store = std::sync::Arc::new(object_store::memory::InMemory::new());
    put_back(&copy, &everything(store).await).await;
    store.delete(&keys(store, "keys/recipients").await.pop().unwrap()).await.unwrap();
    let objects = async || {
        let vaults = RegionVaults::of([full.open(store).await.unwrap()]).unwrap();
        let request = VerifyRequest::new(VerifyLevel::Stored);
        let outcome = verify_backup(&vaults, &backup, &request, &context()).await.unwrap();
        assert!(outcome.whole, "{outcome:?}");
        outcome.damaged_objects.into_iter().map(|one| one.object).collect::<Vec<_>>()
    };
    assert_eq!(objects().await, [LOST_LIST]);
    let request = HealRequest { backup: None, level: VerifyLevel::Stored, dry_run: false };
    let (vault, other) = (full.open(store).await.unwrap(), full.open(&full.place.other_store).await.unwrap());
    let healed = heal(&vault, &[other], &request, &context()).await.unwrap();
    let told: Vec<_> = healed.objects.iter().filter(|one| one.object == LOST_LIST).collect();
    assert!(!healed.whole && told.len() == 1 && told[0].how.contains("key recipient"), "{healed:?}");
    let healed = heal(&vault, &[full.open(&copy).await.unwrap()], &request, &context()).await.unwrap();
    assert!(healed.whole, "{healed:?}");
    assert_eq!(objects().await, Vec::<String>::new());
}

/// Whoever has no reader key misses a key of a session, too, and the next backup does not rely on what nobody can decrypt.
#[tokio::test(flavor = "multi_thread")]
async fn a_lost_key_is_missed_without_a_reader_key_and_its_packs_are_not_relied_on() {
    let full = Full::new().await;
    let place = &full.place;
    let lost = format!("keys/sessions/{}", full.session);
    for key in keys(&place.home_store, &lost).await {
        place.home_store.delete(&key).await.unwrap();
    }
    let keys_of_writer = || Keys::none().with_writer(full.writer.clone());
    let home = Vault::open(place.home_store.clone(), &keys_of_writer()).await.unwrap();
    let alone = || RegionVaults::of([home.clone()]).unwrap();
    for level in [VerifyLevel::Exists, VerifyLevel::Stored] {
        let request = VerifyRequest::new(level);
        let outcome = verify_backup(&alone(), &place.backup, &request, &context()).await.unwrap();
        assert!(!outcome.whole && outcome.damaged_objects.iter().any(|one| one.object == lost), "{outcome:?}");
        assert!(outcome.collections.iter().all(|one| one.damaged_files > 0), "{outcome:?}");
    }
    let again = Place {
        home,
        other: place.other.clone(),
        home_store: place.home_store.clone(),
        other_store: place.other_store.clone(),
        backup: place.backup.clone(),
    };
    let new = again.back_up(&three()[..2]).await;
    let reading = RegionVaults::of([full.open(&place.home_store).await.unwrap()]).unwrap();
    let outcome = verify_backup(&reading, &new, &VerifyRequest::new(VerifyLevel::Decoded), &context()).await.unwrap();
    assert!(outcome.whole, "what only the lost key opens was relied on: {outcome:?}");
}

/// In a vault that is not its home a root is sealed with the key of another vault's session, and no pack names that.
#[tokio::test(flavor = "multi_thread")]
async fn the_key_of_a_root_is_missed_in_other_vaults_without_a_reader_key() {
    let full = Full::new().await;
    let (home_store, store) = (&full.place.home_store, &full.place.other_store);
    let lost = format!("keys/sessions/{}", full.session);
    let wrapped = keys(store, &lost).await;
    assert!(!wrapped.is_empty(), "the receipt brought no key");
    for key in wrapped {
        store.delete(&key).await.unwrap();
    }
    let open = async |store: &Store| {
        let keys = Keys::none().with_writer(full.writer.clone());
        Vault::open(store.clone(), &keys).await.unwrap()
    };
    let verify = async |vaults: Vec<Vault>| {
        let request = VerifyRequest::new(VerifyLevel::Exists);
        let vaults = RegionVaults::of(vaults).unwrap();
        verify_backup(&vaults, &full.place.backup, &request, &context()).await.unwrap()
    };
    let alone = verify(vec![open(store).await]).await;
    assert!(!alone.whole && alone.damaged_objects.iter().any(|one| one.object == lost), "{alone:?}");
    let both = verify(vec![open(store).await, open(home_store).await]).await;
    assert!(both.damaged_objects.iter().any(|one| one.object == lost && one.region.as_str() == "us"), "{both:?}");
    assert!(verify(vec![open(home_store).await]).await.is_sound());
}
