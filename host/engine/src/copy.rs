//! Copies collections of a committed backup into another region's vault, vault to vault: the cluster is not read again.
//!
//! Order: blobs and their index, then a part, then a receipt that names it. The receipt is what makes the copy count, and
//! it repeats the root, so the vault with the copy can be restored from alone for the collections it holds.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use longshore_model::{BackupId, CollectionName, Digest, JobId, JobType, Phase, RegionId, VaultId};
use longshore_vault::{
    BlobId, CollectionFiles, CollectionSealed, CommittedRoot, PartDraft, PartRef, PartSealed, Pin, PinRequest, Reader,
    ReliesOn, Sealed, Session, SessionOptions, Vault, VaultError,
};
use serde::Serialize;
use serde_json::Value;

use crate::copy_locked;
use crate::opened::{OpenedBackup, OpenedCollection};
use crate::pins::{self, Reading};
use crate::random::draw;
use crate::vaults::RegionVaults;
use crate::{EngineError, RunContext, space};

/// What was copied.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CopyOutcome {
    /// Which backup.
    pub backup_id: BackupId,
    /// Into which region.
    pub region: RegionId,
    /// Which collections; none where this host cannot read their names, and then the whole backup was copied.
    pub collections: Vec<CollectionName>,
    /// Bytes of their files.
    pub size_bytes: u64,
    /// Bytes this added to the vault.
    pub stored_bytes: u64,
    /// How long it took, in milliseconds.
    pub duration_ms: i64,
}

/// A copy to make.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CopyRequest {
    /// The job that makes it.
    pub job_id: JobId,
    /// Grows with every attempt of the job.
    pub fencing_token: u64,
    /// Which backup.
    pub backup_id: BackupId,
    /// Its home region, which is asked for it first.
    pub home: RegionId,
    /// Into which region.
    pub to: RegionId,
    /// Which collections; all when there are none.
    pub collections: Vec<CollectionName>,
}

/// Copies collections of a backup into another region. Repeating it is harmless: bytes that are there are found by
/// content.
///
/// An erasure may write the backup anew while it is copied. Its order is the new root, then reduced copies for the
/// receipts it finds in the other vaults, then tombstones for what was before. So it is asked *after* the receipt was
/// written which commit is the newest. Still the one that was copied: the receipt was there before the new root, and the
/// erasure finds it. A newer one: the erasure may have looked before, the receipt may count for nothing, and the newer one
/// is copied.
///
/// The pin is looked at after the receipt, too: a prune on another host may have taken it away, and then the part that only
/// the pin protected. The backup is copied again then, and the new receipt says that its part replaces the lost one.
///
/// # Errors
/// [`EngineError::NotFound`] for a backup or a region that is not there, also for a backup that was deleted meanwhile;
/// [`EngineError::Conflict`] when it was written anew each time; [`EngineError::DamagedBackup`], [`EngineError::Vault`],
/// [`EngineError::Stopped`]. What was stored by then is found again by the next attempt.
pub async fn copy_backup(
    request: &CopyRequest,
    vaults: &RegionVaults,
    context: &RunContext,
) -> Result<CopyOutcome, EngineError> {
    let CopyRequest { backup_id: backup, home, to, .. } = request;
    let started = context.clock.now();
    let vaults = &vaults.throttled(&context.throttle);
    let (mut stored_bytes, mut lost) = (0, Vec::new());
    for _ in 0..context.limits.copied_commits {
        let opened = OpenedBackup::find(vaults, Some(home), backup).await?;
        let attempt = copy_commit(&opened, request, &lost, vaults, context).await?;
        let newest = newest_commit(backup, vaults).await?;
        match attempt {
            Attempt::Made(copied) => {
                stored_bytes += copied.stored_bytes;
                if newest == Some(opened.root.open.token) {
                    context.progress.enter(Phase::Done);
                    let duration_ms = context.clock.now().millis_since(started);
                    return Ok(CopyOutcome { stored_bytes, duration_ms, ..copied });
                }
            }
            Attempt::PinLapsed { stored_bytes: more, parts } => {
                tracing::warn!(%backup, region = %to, "the pin lapsed while the copy ended: it is made again");
                stored_bytes += more;
                lost.extend(parts);
            }
            Attempt::Withdrawn => {}
        }
        if newest.is_none() {
            return Err(EngineError::NotFound { what: "backup", id: backup.to_string() });
        }
        tracing::info!(%backup, region = %to, "what was copied may not count: it is copied again");
    }
    let what = format!(
        "each time {backup} was copied to {to}, an erasure wrote it anew or the pin of the copy lapsed; copy it again"
    );
    Err(EngineError::Conflict { what })
}

/// What came of copying one commit.
enum Attempt {
    /// Its receipts were there while the pin lasted.
    Made(CopyOutcome),
    /// The pin had lapsed by the time the receipts were there: the parts they name, as [`Receipted::parts`], may be gone.
    PinLapsed { stored_bytes: u64, parts: Vec<(Digest, Digest)> },
    /// The backup was deleted, or written anew, before its receipt.
    Withdrawn,
}

/// The token of the newest commit that counts anywhere.
async fn newest_commit(backup: &BackupId, vaults: &RegionVaults) -> Result<Option<u64>, EngineError> {
    let mut newest = None;
    for vault in vaults.all() {
        let commits = vault.commits(backup).await.map_err(EngineError::vault(vault.region_id()))?;
        newest = newest.max(commits.into_iter().max());
    }
    Ok(newest)
}

/// Where a copy goes: the vault, the pin in it, and the parts of earlier attempts that may be lost, as [`Receipted::parts`].
pub(crate) type Target<'a> = (&'a Vault, &'a Pin, &'a [(Digest, Digest)]);

/// What was written by the time the receipts were there.
#[derive(Debug, Default)]
pub(crate) struct Receipted {
    /// The parts that receipts name, each with the digest of what it is a copy of.
    pub(crate) parts: Vec<(Digest, Digest)>,
    /// The pin had lapsed by then: the parts, or what they need, may be gone.
    pub(crate) pin_lapsed: bool,
}

impl Receipted {
    /// Writes the receipt of a part that is a copy of `source`, and looks at the pin once it is there. The part takes the place
    /// of those in `lost` that were copies of the same.
    pub(crate) async fn put(
        &mut self,
        root: &CommittedRoot,
        (source, part): (Digest, &PartRef),
        (target, pin, lost): Target<'_>,
    ) -> Result<(), VaultError> {
        let replaces: Vec<Digest> = lost.iter().filter(|(of, _)| *of == source).map(|(_, lost)| *lost).collect();
        target.put_replacing_receipt(root, part, &replaces).await?;
        self.parts.push((source, part.digest));
        let record = pin.record();
        match pin.refresh(record.relies_on, record.state).await {
            Err(VaultError::PinLapsed { .. }) => self.pin_lapsed = true,
            // A store that does not answer leaves the clock to decide, as for every refresh.
            Err(error) => tracing::debug!(%error, "the pin could not be refreshed"),
            Ok(()) => {}
        }
        Ok(())
    }
}

/// Copies one commit of the backup. The parts in `lost` were named by receipts and may be gone.
async fn copy_commit(
    opened: &OpenedBackup,
    request: &CopyRequest,
    lost: &[(Digest, Digest)],
    vaults: &RegionVaults,
    context: &RunContext,
) -> Result<Attempt, EngineError> {
    let CopyRequest { backup_id: backup, to, collections: names, .. } = request;
    let target = vaults.get(to)?;
    // A folder whose disk is not mounted would be made anew, and filled with what nobody finds again.
    vaults.check_one(to).await?;
    let locked = opened.is_locked();
    let parts = if locked { copy_locked::choose(opened, &target, names)? } else { Vec::new() };
    let collections: Vec<OpenedCollection<'_>> = if locked {
        context.progress.expect([copy_locked::expect(opened, &parts)]);
        Vec::new()
    } else {
        opened.collections()?.into_iter().filter(|one| names.is_empty() || names.contains(&one.sealed.name)).collect()
    };
    if !locked {
        context.progress.expect(collections.iter().map(|one| (one.sealed.name.clone(), size(one))));
    }
    context.progress.enter(Phase::Transfer);
    let to_pin = pin_target(&target, request, context).await?;
    let named = Some((request.job_id.clone(), request.fencing_token));
    let reading = pins::begin_reading(opened, &|_| true, (JobType::Copy, named), &context.throttle, context).await;
    let Reading { mut pins, readers } = match reading {
        Ok(reading) => reading,
        Err(error) => {
            pins::release(vec![(to.clone(), to_pin)]).await;
            return Err(error);
        }
    };
    pins.push((to.clone(), to_pin.clone()));
    let into = (&target, &to_pin, lost);
    let writing = async {
        if locked {
            copy_locked::write(vaults, (opened, &parts), &readers, into, context).await
        } else {
            write(vaults, opened, &collections, &readers, into, context).await
        }
    };
    let copied = tokio::select! {
        copied = writing => copied,
        error = pins::keep_fresh(&pins) => Err(error),
    };
    pins::release(pins).await;
    let (stored_bytes, receipted) = match copied {
        Err(EngineError::Vault { source, .. }) if matches!(*source, VaultError::Withdrawn { .. }) => {
            return Ok(Attempt::Withdrawn);
        }
        copied => copied?,
    };
    if let Receipted { pin_lapsed: true, parts } = receipted {
        return Ok(Attempt::PinLapsed { stored_bytes, parts });
    }
    Ok(Attempt::Made(CopyOutcome {
        backup_id: backup.clone(),
        region: to.clone(),
        size_bytes: if locked { copy_locked::size_bytes(&parts) } else { collections.iter().map(size).sum() },
        collections: collections.iter().map(|one| one.sealed.name.clone()).collect(),
        stored_bytes,
        duration_ms: 0,
    }))
}

fn size(collection: &OpenedCollection<'_>) -> u64 {
    collection.files.files.iter().map(|file| file.size_bytes).sum()
}

/// Pins the vault that is written to.
async fn pin_target(target: &Vault, copy: &CopyRequest, context: &RunContext) -> Result<Pin, EngineError> {
    let request = PinRequest {
        job_id: copy.job_id.clone(),
        job_type: JobType::Copy,
        token: copy.fencing_token,
        random: draw(context.random.as_ref())?,
        relies_on: ReliesOn { everything: true, ..ReliesOn::default() },
        state: Value::Null,
    };
    target.pin(request, Arc::clone(&context.clock)).await.map_err(EngineError::vault(target.region_id()))
}

async fn write(
    vaults: &RegionVaults,
    opened: &OpenedBackup,
    collections: &[OpenedCollection<'_>],
    readers: &BTreeMap<VaultId, Reader>,
    into: Target<'_>,
    context: &RunContext,
) -> Result<(u64, Receipted), EngineError> {
    let (target, pin, _) = into;
    let region = target.region_id();
    let session = target
        .begin(pin, SessionOptions::holding(context.limits.content_budget_bytes()))
        .await
        .map_err(EngineError::vault(region))?;
    let needed = readers.values().map(|reader| session.copy_bytes(reader, &blobs_in(reader, collections)));
    space::check_copy(target, needed.fold(0, u64::saturating_add), context)?;
    for reader in readers.values() {
        copy_blobs(reader, collections, &session, region, context).await?;
    }
    context.stop.check()?;
    context.progress.enter(Phase::Commit);
    let numbered = || (0_u32..).zip(collections);
    let draft = PartDraft {
        backup_id: opened.root.open.backup_id.clone(),
        token: opened.root.open.token,
        home_vault_id: opened.home_vault_id(vaults),
        created: context.clock.now(),
        collections: numbered().map(|(number, one)| CollectionFiles { number, ..one.files.clone() }).collect(),
        sealed: Sealed::Readable(PartSealed {
            collections: numbered().map(|(number, one)| CollectionSealed { number, ..one.sealed.clone() }).collect(),
        }),
    };
    let part = session.finish(draft).await.map_err(EngineError::vault(region))?;
    let mut receipted = Receipted::default();
    let put = receipted.put(&opened.committed, (opened.committed.digest, &part.reference), into).await;
    put.map_err(EngineError::vault(region))?;
    Ok((part.reference.sizes.new_bytes, receipted))
}

/// The blobs of these collections that one vault is to give, with repetitions.
fn blobs_in(reader: &Reader, collections: &[OpenedCollection<'_>]) -> Vec<BlobId> {
    let of_vault = collections.iter().filter(|collection| collection.vault.id() == reader.vault().id());
    of_vault.flat_map(|collection| &collection.files.files).flat_map(|file| file.blobs.iter().copied()).collect()
}

/// Copies what one vault holds of these collections: whole packs where most of one is wanted, single blobs else. All
/// collections at once, because a pack holds blobs of several.
async fn copy_blobs(
    reader: &Reader,
    collections: &[OpenedCollection<'_>],
    session: &Session,
    region: &RegionId,
    context: &RunContext,
) -> Result<(), EngineError> {
    let from = reader.vault().region_id();
    // Which collections a blob counts for, once for each use: progress is told in bytes of files.
    let mut uses: HashMap<BlobId, Vec<usize>> = HashMap::new();
    let mut blobs = Vec::new();
    for (place, collection) in collections.iter().enumerate() {
        if collection.vault.id() != reader.vault().id() {
            continue;
        }
        for blob in collection.files.files.iter().flat_map(|file| &file.blobs) {
            let places = uses.entry(*blob).or_default();
            if places.is_empty() {
                blobs.push(*blob);
            }
            places.push(place);
        }
    }
    let on_blob = |blob: &BlobId, bytes: u64| {
        for place in uses.get(blob).into_iter().flatten() {
            context.progress.add(*place, bytes);
        }
    };
    let copied = tokio::select! {
        copied = session.copy_from(reader, &blobs, &on_blob) => copied.map_err(EngineError::vault(region))?,
        () = context.stop.stopped() => return context.stop.check(),
    };
    match copied.unreadable.into_iter().next() {
        Some((_, error)) => Err(EngineError::vault(from)(error)),
        None => Ok(()),
    }
}
