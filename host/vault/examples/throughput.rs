//! Times the storage core against `cp -r` and `sync` on the same bytes:
//! `throughput <work folder> [megabytes] [rounds] [codec] [seconds of rest]`.
//!
//! Makes files that do not compress, then per round, resting before each step so that the disk has settled: copy and
//! sync, first backup, the same again (all read, nothing stored), restore, full verify. Every other round begins with
//! the backup instead of the copy.

use std::error::Error;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use longshore_model::{
    BackupId, BackupType, Codec, CollectionName, CreationMethod, FileClass, JobType, LoadState, SystemClock, Timestamp,
    VaultId,
};
use longshore_vault::*;

type Failure = Box<dyn Error + Send + Sync>;

/// A file on disk, read piece by piece off the async threads.
struct OnDisk(Arc<std::fs::File>);

#[async_trait::async_trait]
impl PieceSource for OnDisk {
    async fn read(&self, offset: u64, length: usize) -> Result<Bytes, Failure> {
        let file = Arc::clone(&self.0);
        let bytes = tokio::task::spawn_blocking(move || {
            use std::os::unix::fs::FileExt;
            let mut bytes = vec![0; length];
            file.read_exact_at(&mut bytes, offset).map(|()| bytes)
        });
        Ok(Bytes::from(bytes.await??))
    }
}

/// Makes files of 1 KB to 16 MB, about as a Milvus Lite directory has them.
fn make_files(folder: &Path, megabytes: u64) -> Result<(), Failure> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let (mut left, mut number) = (megabytes * 1_000_000, 0_u64);
    while left > 0 {
        let length = [1_000, 200_000, 800_000, 2_500_000, 16_000_000][number as usize % 5].min(left);
        let mut bytes = Vec::with_capacity(length as usize + 8);
        while (bytes.len() as u64) < length {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            bytes.extend_from_slice(&state.to_le_bytes());
        }
        bytes.truncate(length as usize);
        let parent = folder.join(format!("collection{}", number % 20));
        std::fs::create_dir_all(&parent)?;
        std::fs::write(parent.join(format!("{number}.parquet")), bytes)?;
        left -= length;
        number += 1;
    }
    Ok(())
}

fn list_files(folder: &Path) -> Result<Vec<PathBuf>, Failure> {
    let mut files = Vec::new();
    for collection in std::fs::read_dir(folder)? {
        for file in std::fs::read_dir(collection?.path())? {
            files.push(file?.path());
        }
    }
    files.sort();
    Ok(files)
}

async fn back_up(vault: &Vault, files: &[PathBuf], codec: Codec) -> Result<Part, Failure> {
    let request = PinRequest {
        job_id: "job-bench".parse()?,
        job_type: JobType::Backup,
        token: 1,
        random: [1; 8],
        relies_on: ReliesOn { everything: true, ..ReliesOn::default() },
        state: serde_json::Value::Null,
    };
    let pin = vault.pin(request, Arc::new(SystemClock)).await?;
    let session = vault.begin(&pin, SessionOptions::default()).await?;
    let stored: Vec<(FileEntry, FileSealed)> = stream::iter((0..).zip(files))
        .map(|(number, path)| store_file(&session, number, path, codec))
        .buffered(8)
        .try_collect()
        .await?;
    let (files, names): (Vec<_>, Vec<_>) = stored.into_iter().unzip();
    let entries = names.iter().zip(&files).map(|(name, file)| (name.path.as_str(), file.size_bytes, name.digest));
    let collection = CollectionSealed {
        number: 0,
        name: CollectionName::new("", "all")?,
        schema: longshore_vault::JsonText::default(),
        properties: Vec::new(),
        indexes: Vec::new(),
        consistent_point: serde_json::Value::Null,
        physical_rows: 0,
        live_rows: None,
        content_digest: content_digest(entries),
        load_state: LoadState::Unknown,
        finding: CollectionFinding::Unaltered,
        files: names,
        extra: serde_json::Value::Null,
    };
    let (backup_id, created) = (BackupId::from_random([1; 10]), Timestamp::from_millis(0));
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
            cluster_id: "in01-bench".parse()?,
            project_id: vault.project_id().clone(),
            home_region: vault.region_id().clone(),
            created,
            expires: None,
            sizes: part.reference.sizes,
            parts: vec![part.reference.clone()],
        },
        sealed: Sealed::Readable(RootSealed::default()),
    };
    vault.commit_root(&root, &pin).await?;
    pin.release().await?;
    Ok(part.part)
}

async fn store_file(
    session: &Session,
    number: u32,
    path: &Path,
    codec: Codec,
) -> Result<(FileEntry, FileSealed), Failure> {
    let file = std::fs::File::open(path)?;
    let size = file.metadata()?.len();
    let stored = session.put_file(&OnDisk(Arc::new(file)), size, codec, &|_| {}).await?;
    let StoredFile { size_bytes, blobs, digest, .. } = stored;
    let entry = FileEntry { number, class: FileClass::Segment, size_bytes, blobs, identity: None, masked_digest: None };
    let path = format!("{number}-{}", path.file_name().unwrap_or_default().to_string_lossy());
    Ok((entry, FileSealed { number, path, partition: None, digest, rows: None }))
}

const WRITE_BYTES: usize = 128 * 1024;

/// Reads everything and writes it to files, synced, as a restore would.
async fn restore(vault: &Vault, part: &Part, folder: &Path) -> Result<(), Failure> {
    std::fs::create_dir(folder)?;
    let reader = vault.open_reader().await?;
    let files = part.open.collections.iter().flat_map(|collection| &collection.files);
    stream::iter(files.map(Ok::<_, Failure>))
        .try_for_each_concurrent(8, |entry| {
            let reader = &reader;
            async move {
                let file = Arc::new(std::fs::File::create(folder.join(entry.number.to_string()))?);
                for piece in reader.file_pieces(entry)? {
                    let bytes = reader.read_blob(&piece.blob).await?;
                    let file = Arc::clone(&file);
                    tokio::task::spawn_blocking(move || {
                        use std::os::unix::fs::FileExt;
                        // Larger writes cost the system more.
                        let places = (piece.offset..).step_by(WRITE_BYTES);
                        bytes.chunks(WRITE_BYTES).zip(places).try_for_each(|(bytes, at)| file.write_all_at(bytes, at))
                    })
                    .await??;
                }
                Ok(())
            }
        })
        .await?;
    Command::new("sync").arg("-f").arg(folder).status()?;
    Ok(())
}

/// What one step took, in seconds.
#[derive(Default, Clone, Copy)]
struct Took {
    wall: f64,
    user: f64,
    system: f64,
}

impl std::fmt::Display for Took {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:.2} s (CPU {:.2} user, {:.2} system)", self.wall, self.user, self.system)
    }
}

/// What one round measured.
#[derive(Default)]
struct Round {
    copy: Took,
    backup: Took,
    again: Took,
    restore: Took,
    verify: Took,
}

/// CPU seconds of this process so far, in user and in system mode.
fn cpu_seconds() -> Result<(f64, f64), Failure> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    let after_name = stat.rsplit(')').next().unwrap_or_default();
    let ticks: Vec<f64> =
        after_name.split_whitespace().skip(11).take(2).filter_map(|field| field.parse().ok()).collect();
    match ticks[..] {
        [user, system] => Ok((user / 100.0, system / 100.0)),
        _ => Err("the system does not tell CPU time".into()),
    }
}

/// One step, after a rest.
async fn timed<T>(rest: u64, step: impl Future<Output = Result<T, Failure>>) -> Result<(T, Took), Failure> {
    tokio::time::sleep(std::time::Duration::from_secs(rest)).await;
    let (begun, before) = (Instant::now(), cpu_seconds()?);
    let done = step.await?;
    let (wall, after) = (begun.elapsed().as_secs_f64(), cpu_seconds()?);
    Ok((done, Took { wall, user: after.0 - before.0, system: after.1 - before.1 }))
}

async fn copy(source: &Path, target: &Path) -> Result<(), Failure> {
    Command::new("cp").arg("-r").arg(source).arg(target).status()?;
    Command::new("sync").arg("-f").arg(target).status()?;
    Ok(())
}

async fn round(
    work: &Path,
    number: u32,
    files: &[PathBuf],
    (codec, reader): (Codec, Option<ReaderKey>),
    rest: u64,
) -> Result<Round, Failure> {
    let mut round = Round::default();
    let (source, target) = (work.join("source"), work.join(format!("copy{number}")));
    if number.is_multiple_of(2) {
        round.copy = timed(rest, copy(&source, &target)).await?.1;
    }
    let options = VaultOptions {
        project_id: "proj-bench".parse()?,
        region_id: "local".parse()?,
        vault_id: VaultId::from_random([1; 10]),
        id_key: IdKey::new([1; 32]),
        encryption: reader.as_ref().map_or(Encryption::None, |reader| Encryption::Age1 {
            recipients: vec![NamedRecipient {
                name: "bench".to_owned(),
                recipient: reader.to_recipient(),
                added: Timestamp::from_millis(0),
            }],
        }),
    };
    let folder = work.join(format!("vault{number}"));
    Vault::init_local(&folder, options).await?;
    let keys = reader.map_or_else(Keys::none, |reader| Keys::none().with_reader(reader));
    let vault = Vault::open_local(&folder, &keys).await?;
    let part;
    (part, round.backup) = timed(rest, back_up(&vault, files, codec)).await?;
    if !number.is_multiple_of(2) {
        round.copy = timed(rest, copy(&source, &target)).await?.1;
    }
    round.again = timed(rest, back_up(&vault, files, codec)).await?.1;
    round.restore = timed(rest, restore(&vault, &part, &work.join(format!("restored{number}")))).await?.1;
    let verify = async { Ok(vault.verify(&part, VerifyOptions::new(VerifyLevel::Decoded, &|_, _| {})).await?) };
    let report;
    (report, round.verify) = timed(rest, verify).await?;
    if report.is_whole() { Ok(round) } else { Err("the backup is damaged".into()) }
}

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let mut arguments = std::env::args().skip(1);
    let work = PathBuf::from(
        arguments.next().ok_or("throughput <work folder> [megabytes] [rounds] [codec] [rest] [encrypted]")?,
    );
    let megabytes: u64 = arguments.next().map_or(Ok(700), |text| text.parse())?;
    let rounds: u32 = arguments.next().map_or(Ok(4), |text| text.parse())?;
    let codec: Codec = arguments.next().map_or(Ok(Codec::Store), |text| text.parse())?;
    let rest: u64 = arguments.next().map_or(Ok(5), |text| text.parse())?;
    let encrypted = arguments.next().is_some_and(|text| text == "encrypted");
    let mut out = std::io::stdout().lock();
    let source = work.join("source");
    if !source.exists() {
        std::fs::create_dir_all(&source)?;
        make_files(&source, megabytes)?;
        Command::new("sync").status()?;
    }
    let files = list_files(&source)?;
    writeln!(out, "{megabytes} MB in {} files, {codec}{}", files.len(), if encrypted { ", encrypted" } else { "" })?;
    for number in 0..rounds {
        let Round { copy, backup, again, restore, verify } =
            round(&work, number, &files, (codec, encrypted.then(ReaderKey::generate)), rest).await?;
        writeln!(
            out,
            "round {number}: cp -r + sync {:.2} s, backup {:.2} x {backup}, all read again {again}, restore {:.2} x \
             {restore}, verify {:.0} MB/s {verify}",
            copy.wall,
            backup.wall / copy.wall,
            restore.wall / copy.wall,
            megabytes as f64 / verify.wall
        )?;
    }
    Ok(())
}
