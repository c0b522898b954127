//! Writes a vault that `tests/it/golden.rs` reads for ever: `make_golden_vault <new folder> [codec...]`, one file for
//! each codec (without any: those of the first vault of format 1). Run it once for whatever is new in the format and
//! commit the result; never write over one. With an age recipient in the environment variable
//! `LONGSHORE_GOLDEN_RECIPIENT` the vault is encrypted to it.

use std::error::Error;
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use longshore_model::{
    BackupId, BackupType, Codec, CollectionName, CreationMethod, FileClass, FixedClock, JobType, LoadState, Timestamp,
    VaultId,
};
use longshore_vault::testing::golden::{FIRST_FILES, content};
use longshore_vault::*;

/// So short that some files have several pieces.
const PIECE_BYTES: usize = 32 * 1024;

struct Memory(Bytes);

#[async_trait]
impl PieceSource for Memory {
    async fn read(&self, offset: u64, length: usize) -> Result<Bytes, InputError> {
        let start = usize::try_from(offset)?;
        Ok(self.0.slice(start..start + length))
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let folder = std::env::args().nth(1).ok_or("say where: make_golden_vault <new folder>")?;
    let created = Timestamp::from_millis(1_722_358_190_000);
    let encryption = match std::env::var("LONGSHORE_GOLDEN_RECIPIENT") {
        Ok(recipient) => Encryption::Age1 {
            recipients: vec![NamedRecipient {
                name: "golden".to_owned(),
                recipient: recipient.parse()?,
                added: created,
            }],
        },
        Err(_) => Encryption::None,
    };
    let options = VaultOptions {
        project_id: "proj-golden".parse()?,
        region_id: "local".parse()?,
        vault_id: VaultId::from_random([1; 10]),
        id_key: IdKey::new([2; 32]),
        encryption,
    };
    let limits = Limits { split_bytes: PIECE_BYTES, ..Limits::DEFAULT };
    let vault = Vault::init_local(Path::new(&folder), options).await?.with_limits(limits);
    let request = PinRequest {
        job_id: "job-golden".parse()?,
        job_type: JobType::Backup,
        token: 1,
        random: [3; 8],
        relies_on: ReliesOn { everything: true, ..ReliesOn::default() },
        state: serde_json::Value::Null,
    };
    let pin = vault.pin(request, Arc::new(FixedClock(created))).await?;
    let session = vault.begin(&pin, SessionOptions::default()).await?;
    let (mut files, mut names) = (Vec::new(), Vec::new());
    let asked: Vec<String> = std::env::args().skip(2).collect();
    let paths: Vec<&str> =
        if asked.is_empty() { FIRST_FILES.to_vec() } else { asked.iter().map(String::as_str).collect() };
    for (number, path) in (0..).zip(paths) {
        let content = content(path);
        let size_bytes = content.len() as u64;
        let digest = digest_of(&content);
        let content = Memory(Bytes::from(content));
        let codec = if size_bytes == 0 { Codec::Store } else { path.parse()? };
        let blobs = session.put_file(&content, size_bytes, codec, &|_| {}).await?.blobs;
        let identity = Some(vault.id_key()?.identity(path.as_bytes()));
        let class = FileClass::Segment;
        files.push(FileEntry { number, class, size_bytes, blobs, identity, masked_digest: None });
        names.push(FileSealed { number, path: path.to_owned(), partition: None, digest, rows: None });
    }
    let entries = names.iter().zip(&files).map(|(name, file)| (name.path.as_str(), file.size_bytes, name.digest));
    let collection = CollectionSealed {
        number: 0,
        name: CollectionName::new("", "articles")?,
        schema: longshore_vault::JsonText::of(&serde_json::json!({"fields": [{"name": "id", "type": "int64"}]}))?,
        properties: Vec::new(),
        indexes: Vec::new(),
        consistent_point: serde_json::json!({"sequence": 7}),
        physical_rows: 3,
        live_rows: Some(2),
        content_digest: content_digest(entries),
        load_state: LoadState::Loaded,
        finding: CollectionFinding::Unaltered,
        files: names,
        extra: serde_json::Value::Null,
    };
    let backup_id = BackupId::from_random([4; 10]);
    let draft = PartDraft {
        home_vault_id: None,
        backup_id: backup_id.clone(),
        token: 1,
        created,
        collections: vec![CollectionFiles { number: 0, name_id: None, files }],
        sealed: Sealed::Readable(PartSealed { collections: vec![collection] }),
    };
    let part = session.finish(draft).await?;
    let root = Root {
        open: RootOpen {
            backup_id,
            token: 1,
            backup_type: BackupType::Cluster,
            creation_method: CreationMethod::Manual,
            cluster_id: "in01-golden".parse()?,
            project_id: vault.project_id().clone(),
            home_region: vault.region_id().clone(),
            created,
            expires: None,
            sizes: part.reference.sizes,
            parts: vec![part.reference],
        },
        sealed: Sealed::Readable(RootSealed { cluster_name: "golden".to_owned(), ..RootSealed::default() }),
    };
    vault.commit_root(&root, &pin).await?;
    pin.release().await?;
    Ok(())
}
