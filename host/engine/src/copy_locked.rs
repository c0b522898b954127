//! Copies a backup whose names this host cannot read: whole parts, byte for byte.
//!
//! A host with a writer key alone cannot tell collections apart, so it copies every part as it is: the wrapped keys of
//! sessions first, then packs, then a part with the same sealed half, then a receipt. What arrives can be read by whoever
//! could read the original. Failure: [`EngineError`]; what was stored by then is found again by the next attempt.

use std::collections::BTreeMap;

use longshore_model::{CollectionName, VaultId};
use longshore_vault::{BlobId, PartDraft, Pin, Reader, SessionOptions, Vault, VaultError};

use crate::opened::{OpenedBackup, OpenedPart};
use crate::vaults::RegionVaults;
use crate::{EngineError, RunContext};

/// Bytes of the files of all parts that `target` does not hold itself.
pub(crate) fn size_bytes(opened: &OpenedBackup, target: &Vault) -> u64 {
    parts(opened, target).map(|part| part.part.open.sizes.plain_bytes).sum()
}

/// What progress counts: one entry for all that is copied. A copy of some collections only needs their names.
pub(crate) fn expect(
    opened: &OpenedBackup,
    target: &Vault,
    names: &[CollectionName],
) -> Result<(CollectionName, u64), EngineError> {
    let open = &opened.root.open;
    if !names.is_empty() {
        return Err(EngineError::vault(&open.home_region)(VaultError::Locked));
    }
    let everything = CollectionName { database: String::new(), collection: open.backup_id.to_string() };
    Ok((everything, size_bytes(opened, target)))
}

fn parts<'a>(opened: &'a OpenedBackup, target: &Vault) -> impl Iterator<Item = &'a OpenedPart> {
    let target = target.id().clone();
    opened.parts.iter().filter(move |part| *part.vault.id() != target)
}

/// Copies all parts; gives the bytes this added to the vault.
pub(crate) async fn write(
    vaults: &RegionVaults,
    opened: &OpenedBackup,
    readers: &BTreeMap<VaultId, Reader>,
    target: &Vault,
    pin: &Pin,
    context: &RunContext,
) -> Result<u64, EngineError> {
    let mut new_bytes = 0;
    for part in parts(opened, target) {
        context.stop.check()?;
        let lost = || EngineError::Internal { what: "a reader of a vault got lost".to_owned() };
        let reader = readers.get(part.vault.id()).ok_or_else(lost)?;
        new_bytes += write_part(vaults, opened, (part, reader), target, pin, context).await?;
    }
    Ok(new_bytes)
}

async fn write_part(
    vaults: &RegionVaults,
    opened: &OpenedBackup,
    (part, reader): (&OpenedPart, &Reader),
    target: &Vault,
    pin: &Pin,
    context: &RunContext,
) -> Result<u64, EngineError> {
    let (from, to) = (part.vault.region_id(), target.region_id());
    // Before anything that is encrypted with them.
    target.copy_session_objects(&part.vault).await.map_err(EngineError::vault(to))?;
    let session = target.begin(pin, SessionOptions::default()).await.map_err(EngineError::vault(to))?;
    let open = &part.part.open;
    let files = open.collections.iter().flat_map(|collection| &collection.files);
    let blobs: Vec<BlobId> = files.flat_map(|file| file.blobs.iter().copied()).collect();
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
    target.put_receipt(&opened.committed, &finished.reference).await.map_err(EngineError::vault(to))?;
    Ok(finished.reference.sizes.new_bytes)
}
