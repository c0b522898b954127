//! Vaults in memory, files with content that can be told apart, and backups of them from one call.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use longshore_model::{
    BackupId, BackupType, Codec, CollectionName, CreationMethod, FileClass, FixedClock, JobType, LoadState, Timestamp,
};
pub(crate) use longshore_vault::testing::golden::noise;
use longshore_vault::*;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use serde_json::Value;

pub(crate) type Store = Arc<dyn ObjectStore>;
/// Collection name to path to content.
pub(crate) type Content = BTreeMap<String, BTreeMap<String, Vec<u8>>>;

pub(crate) const NOW: i64 = 1_722_358_190_000;

pub(crate) fn memory() -> Store {
    Arc::new(InMemory::new())
}

pub(crate) fn options(region: &str, vault: u8) -> VaultOptions {
    VaultOptions {
        project_id: "proj-demo".parse().unwrap(),
        region_id: region.parse().unwrap(),
        vault_id: longshore_model::VaultId::from_random([vault; 10]),
        id_key: IdKey::new([9; 32]),
        encryption: Encryption::None,
    }
}

pub(crate) async fn new_vault(store: Store) -> Vault {
    Vault::init(store, options("local", 1)).await.unwrap()
}

pub(crate) fn clock() -> Arc<FixedClock> {
    Arc::new(FixedClock(Timestamp::from_millis(NOW)))
}

pub(crate) fn request(token: u64) -> PinRequest {
    PinRequest {
        job_id: "job-1a".parse().unwrap(),
        job_type: JobType::Backup,
        token,
        random: token.to_be_bytes(),
        relies_on: ReliesOn { everything: true, ..ReliesOn::default() },
        state: Value::Null,
    }
}

pub(crate) fn withdrawal() -> Withdrawal {
    Withdrawal { time: Timestamp::from_millis(NOW), by: "a test".to_owned(), job_id: None }
}

pub(crate) fn backup_id(number: u8) -> BackupId {
    BackupId::from_random([number; 10])
}

/// Two collections: files of nothing, of a few bytes, and of several pieces; one file is in both.
pub(crate) fn sample(seed: u64) -> Content {
    let shared = noise(seed + 100, 70_000);
    let mut content = Content::new();
    for (number, name) in ["articles", "images"].into_iter().enumerate() {
        let seed = seed * 10 + number as u64;
        let files = [
            ("manifest.json".to_owned(), vec![b'x'; 300 + number]),
            ("data/empty".to_owned(), Vec::new()),
            ("data/noise.parquet".to_owned(), noise(seed, 150_000)),
            ("data/even.bin".to_owned(), vec![seed as u8; 200_000]),
            ("data/shared".to_owned(), shared.clone()),
        ];
        content.insert(name.to_owned(), files.into_iter().collect());
    }
    content
}

/// Small pieces and packs, so that a few hundred kilobytes reach every branch.
pub(crate) fn small_limits() -> Limits {
    Limits { split_bytes: 32 * 1024, pack_target_bytes: 128 * 1024, ..Limits::DEFAULT }
}

pub(crate) struct Memory(pub(crate) Bytes);

#[async_trait]
impl PieceSource for Memory {
    async fn read(&self, offset: u64, length: usize) -> Result<Bytes, Box<dyn std::error::Error + Send + Sync>> {
        let start = offset as usize;
        Ok(self.0.slice(start..start + length))
    }
}

/// Stores the content as a part, without a root.
pub(crate) async fn write_part(
    vault: &Vault,
    pin: &Pin,
    backup: &BackupId,
    token: u64,
    content: &Content,
    codec: Codec,
) -> Result<FinishedPart, VaultError> {
    let session = vault.begin(pin, SessionOptions { cpu_threads: 2, ..SessionOptions::default() }).await?;
    let (mut collections, mut sealed) = (Vec::new(), PartSealed::default());
    for (number, (name, files)) in (0..).zip(content) {
        let (mut entries, mut names, mut digests) = (Vec::new(), Vec::new(), Vec::new());
        for (number, (path, bytes)) in (0..).zip(files) {
            let source = Memory(Bytes::from(bytes.clone()));
            let stored = session.put_file(&source, bytes.len() as u64, codec, &|_| {}).await?;
            assert_eq!(stored.digest, digest_of(bytes), "the digest put together from pieces");
            let StoredFile { size_bytes, blobs, digest, .. } = stored;
            let class = FileClass::Segment;
            entries.push(FileEntry { number, class, size_bytes, blobs, identity: None, masked_digest: None });
            names.push(FileSealed { number, path: path.clone(), partition: None, digest, rows: None });
            digests.push((path.as_str(), size_bytes, digest));
        }
        collections.push(CollectionFiles { number, name_id: None, files: entries });
        sealed.collections.push(CollectionSealed {
            number,
            name: CollectionName::new("", name).unwrap(),
            schema: longshore_vault::JsonText::of(&serde_json::json!({"name": name})).unwrap(),
            properties: Vec::new(),
            indexes: Vec::new(),
            consistent_point: Value::Null,
            physical_rows: 0,
            live_rows: None,
            content_digest: content_digest(digests),
            load_state: LoadState::Unknown,
            finding: CollectionFinding::Unaltered,
            files: names,
            extra: Value::Null,
        });
    }
    let (created, sealed) = (Timestamp::from_millis(NOW), Sealed::Readable(sealed));
    let home_vault_id = Some(longshore_model::VaultId::from_random([1; 10]));
    session.finish(PartDraft { backup_id: backup.clone(), token, home_vault_id, created, collections, sealed }).await
}

pub(crate) fn root_of(backup: &BackupId, token: u64, parts: &[&PartRef]) -> Root {
    Root {
        open: RootOpen {
            backup_id: backup.clone(),
            token,
            backup_type: BackupType::Cluster,
            creation_method: CreationMethod::Manual,
            cluster_id: "in01-demo".parse().unwrap(),
            project_id: "proj-demo".parse().unwrap(),
            home_region: "local".parse().unwrap(),
            created: Timestamp::from_millis(NOW),
            expires: None,
            sizes: parts.iter().fold(Sizes::default(), |sum, part| sum.plus(part.sizes)),
            parts: parts.iter().map(|part| (*part).clone()).collect(),
        },
        sealed: Sealed::Readable(RootSealed { cluster_name: "demo".to_owned(), ..RootSealed::default() }),
    }
}

/// A whole backup in one vault.
pub(crate) async fn back_up(
    vault: &Vault,
    backup: &BackupId,
    token: u64,
    content: &Content,
    codec: Codec,
) -> Result<FinishedPart, VaultError> {
    let pin = vault.pin(request(token), clock()).await?;
    let part = write_part(vault, &pin, backup, token, content, codec).await?;
    vault.commit_root(&root_of(backup, token, &[&part.reference]), &pin).await?;
    // The backup exists; a pin that cannot be released lapses by itself.
    let _ = pin.release().await;
    Ok(part)
}

/// Reads a whole backup as a user would, checking every digest on the way.
pub(crate) async fn read_back(vault: &Vault, backup: &BackupId) -> Result<Content, VaultError> {
    let loaded = vault.load_backup(backup).await?;
    let part = vault.load_part_of(&loaded).await?;
    let reader = vault.open_reader().await?;
    let mut content = Content::new();
    for (files, sealed) in part.collections()? {
        let mut collection = BTreeMap::new();
        for (entry, name) in files.files.iter().zip(&sealed.files) {
            let mut bytes = Vec::new();
            for piece in reader.file_pieces(entry)? {
                assert_eq!(piece.offset, bytes.len() as u64);
                bytes.extend_from_slice(&reader.read_blob(&piece.blob).await?);
            }
            assert_eq!(digest_of(&bytes), name.digest);
            collection.insert(name.path.clone(), bytes);
        }
        content.insert(sealed.name.collection.clone(), collection);
    }
    Ok(content)
}

pub(crate) async fn listed(vault: &Vault) -> Vec<BackupId> {
    vault.list_backups().await.unwrap().backups.into_iter().map(|backup| backup.root.backup_id).collect()
}

/// Keys under a folder, in order.
pub(crate) async fn keys(store: &Store, folder: &str) -> Vec<Path> {
    use futures::TryStreamExt;
    let prefix = Path::from(folder);
    let mut keys: Vec<Path> = store.list(Some(&prefix)).map_ok(|meta| meta.location).try_collect().await.unwrap();
    keys.sort();
    keys
}

pub(crate) async fn bytes_of(store: &Store, key: &Path) -> Vec<u8> {
    store.get(key).await.unwrap().bytes().await.unwrap().to_vec()
}

/// Changes an object in place.
pub(crate) async fn change(store: &Store, key: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = bytes_of(store, key).await;
    change(&mut bytes);
    store.put(key, bytes.into()).await.unwrap();
}

pub(crate) async fn verify(vault: &Vault, backup: &BackupId, level: VerifyLevel) -> VerifyReport {
    let part = vault.load_part_of(&vault.load_backup(backup).await.unwrap()).await.unwrap();
    vault.verify(&part, VerifyOptions::new(level, &|_, _| {})).await.unwrap()
}

/// Numbers of the collections that a report calls damaged.
pub(crate) fn damaged(report: &VerifyReport) -> Vec<u32> {
    report.collections.iter().filter(|c| c.damaged_files > 0).map(|c| c.number).collect()
}
