//! Copies a backup whose names this host cannot read: whole parts, byte for byte.
//!
//! A host with a writer key alone cannot take a part apart, so it copies parts as they are: the wrapped keys of
//! sessions first, then packs, then a part with the same sealed half, then a receipt. What arrives can be read by whoever
//! could read the original. Failure: [`EngineError`]; what was stored by then is found again by the next attempt.

use std::collections::{BTreeMap, BTreeSet};

use longshore_model::{CollectionName, Digest, VaultId};
use longshore_vault::{BlobId, CollectionFiles, PartDraft, Reader, SessionOptions, Vault};

use crate::copy::{Receipted, Target};
use crate::opened::{OpenedBackup, OpenedPart};
use crate::vaults::RegionVaults;
use crate::{EngineError, RunContext, space};

/// Parts to copy: those that `target` does not hold itself and of which all collections are asked for. Collections are
/// recognised by their keyed names; no `names` are all of them.
///
/// # Errors
/// [`EngineError::BadRequest`] when only some collections of a part are asked for: the others must not go where nobody
/// placed them, and the sealed half, which lists all of them, cannot be written anew without a reader key.
pub(crate) fn choose<'a>(
    opened: &'a OpenedBackup,
    target: &Vault,
    names: &[CollectionName],
) -> Result<Vec<&'a OpenedPart>, EngineError> {
    let key = target.id_key().map_err(EngineError::vault(target.region_id()))?;
    let asked: BTreeSet<Digest> = names.iter().map(|name| key.name_id(name)).collect();
    let mut chosen = Vec::new();
    for part in opened.parts.iter().filter(|part| part.vault.id() != target.id()) {
        let collections = &part.part.open.collections;
        let is_asked = |one: &&CollectionFiles| one.name_id.is_some_and(|id| asked.contains(&id));
        let wanted = collections.iter().filter(is_asked).count();
        if names.is_empty() || wanted == collections.len() {
            chosen.push(part);
        } else if wanted > 0 {
            let (backup, all) = (&opened.root.open.backup_id, collections.len());
            let what = format!(
                "only {wanted} of the {all} collections of {backup} in region {} are to be copied, which takes a reader \
                 key; give the host one ([keys] reader_key_file), or let policies copy all collections of a region",
                part.vault.region_id()
            );
            return Err(EngineError::BadRequest { what });
        }
    }
    Ok(chosen)
}

/// Bytes of the files of parts.
pub(crate) fn size_bytes(parts: &[&OpenedPart]) -> u64 {
    parts.iter().map(|part| part.part.open.sizes.plain_bytes).sum()
}

/// What progress counts: one entry for all that is copied.
pub(crate) fn expect(opened: &OpenedBackup, parts: &[&OpenedPart]) -> (CollectionName, u64) {
    let everything = CollectionName { database: String::new(), collection: opened.root.open.backup_id.to_string() };
    (everything, size_bytes(parts))
}

/// Copies parts; gives the bytes this added to the vault.
pub(crate) async fn write(
    vaults: &RegionVaults,
    (opened, parts): (&OpenedBackup, &[&OpenedPart]),
    readers: &BTreeMap<VaultId, Reader>,
    into: Target<'_>,
    context: &RunContext,
) -> Result<(u64, Receipted), EngineError> {
    let (mut new_bytes, mut receipted) = (0, Receipted::default());
    for part in parts.iter().copied() {
        context.stop.check()?;
        let lost = || EngineError::Internal { what: "a reader of a vault got lost".to_owned() };
        let reader = readers.get(part.vault.id()).ok_or_else(lost)?;
        new_bytes += write_part(vaults, opened, (part, reader), into, &mut receipted, context).await?;
    }
    Ok((new_bytes, receipted))
}

async fn write_part(
    vaults: &RegionVaults,
    opened: &OpenedBackup,
    (part, reader): (&OpenedPart, &Reader),
    into: Target<'_>,
    receipted: &mut Receipted,
    context: &RunContext,
) -> Result<u64, EngineError> {
    let (target, pin, _) = into;
    let (from, to) = (part.vault.region_id(), target.region_id());
    // Before anything that is encrypted with them.
    target.copy_session_objects(&part.vault).await.map_err(EngineError::vault(to))?;
    let session = target
        .begin(pin, SessionOptions::holding(context.limits.content_budget_bytes()))
        .await
        .map_err(EngineError::vault(to))?;
    let open = &part.part.open;
    let files = open.collections.iter().flat_map(|collection| &collection.files);
    let blobs: Vec<BlobId> = files.flat_map(|file| file.blobs.iter().copied()).collect();
    space::check_copy(target, session.copy_bytes(reader, &blobs), context)?;
    let on_blob = |_: &BlobId, bytes: u64| context.progress.add(0, bytes);
    let copied = tokio::select! {
        copied = session.copy_from(reader, &blobs, &on_blob) => copied.map_err(EngineError::vault(to))?,
        () = context.stop.stopped() => {
            context.stop.check()?;
            return Err(EngineError::Stopped { why: "asked to stop".to_owned() });
        }
    };
    if let Some((blob, error)) = copied.unreadable.into_iter().next() {
        tracing::warn!(%blob, %error, "a blob could not be copied");
        return Err(EngineError::vault(from)(error));
    }
    let draft = PartDraft {
        backup_id: open.backup_id.clone(),
        token: open.token,
        home_vault_id: opened.home_vault_id(vaults),
        created: context.clock.now(),
        collections: open.collections.clone(),
        sealed: part.part.sealed.clone(),
    };
    let finished = session.finish(draft).await.map_err(EngineError::vault(to))?;
    let put = receipted.put(&opened.committed, (part.reference.digest, &finished.reference), into).await;
    put.map_err(EngineError::vault(to))?;
    Ok(finished.reference.sizes.new_bytes)
}
