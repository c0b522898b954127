//! Compaction: what is needed of a mostly unneeded pack is written into a new one.
//!
//! Contract: only a pack whose bytes match its name is rewritten, blob by blob as it stands, so nothing is decoded and no
//! key is needed; a damaged one stays as it is. The new packs are durable, were read back and hashed, and stand in an
//! index object before anybody hears that the old ones may go. What is rewritten of plain packs is gathered; an encrypted
//! pack becomes one new pack, because its blobs are encrypted under a key made from its salt.

use crate::index::{self, PackIndex};
use crate::pack::{DISTINCTION_BYTES, PackBuilder, PackHeader};
use crate::session::fetch_pack;
use crate::{MarkId, PackId, Vault, VaultError, layout};

use super::packs::Placing;

/// What was rewritten.
#[derive(Debug, Default)]
pub(super) struct Compacted {
    /// Packs of which everything that is kept is in new packs.
    pub(super) done: Vec<PackId>,
    /// Packs that are not what their names say.
    pub(super) damaged: Vec<PackId>,
}

/// Rewrites packs. `name` gives bytes that no other writer uses; `on_pack` is told of each pack before it is read.
pub(super) async fn compact(
    vault: &Vault,
    packs: &[PackId],
    placing: &Placing,
    mut name: impl FnMut() -> MarkId,
    mut on_pack: impl FnMut(&PackId),
) -> Result<Compacted, VaultError> {
    let target_bytes = vault.limits().pack_target_bytes as u64;
    let mut compacted = Compacted::default();
    let mut written: Vec<PackIndex> = Vec::new();
    let (mut gathered, mut sources) = (None::<PackBuilder>, Vec::new());
    for pack in packs {
        on_pack(pack);
        let Some((bytes, entries)) = fetch_pack(vault, *pack).await? else {
            compacted.damaged.push(*pack);
            continue;
        };
        let Ok(header) = PackHeader::read(&bytes) else {
            compacted.damaged.push(*pack);
            continue;
        };
        let alone = header.encryption.is_some();
        let header = PackHeader { distinction: distinction(name()), ..header };
        let mut builder = if alone { None } else { gathered.take() }.unwrap_or_else(|| PackBuilder::new(&header));
        for entry in entries.iter().filter(|entry| placing.keeps(pack, &entry.id)) {
            let range = usize::try_from(entry.offset).ok().zip(usize::try_from(entry.end()).ok());
            let Some((start, end)) = range.filter(|(start, end)| start <= end && *end <= bytes.len()) else { continue };
            builder.push(*entry, bytes.slice(start..end));
        }
        if alone {
            compacted.done.extend(store(vault, builder, vec![*pack], &mut written).await?);
            continue;
        }
        sources.push(*pack);
        if builder.size_bytes() >= target_bytes || builder.blobs() * 2 >= vault.limits().pack_blobs {
            compacted.done.extend(store(vault, builder, std::mem::take(&mut sources), &mut written).await?);
        } else {
            gathered = Some(builder);
        }
    }
    if let Some(builder) = gathered {
        compacted.done.extend(store(vault, builder, sources, &mut written).await?);
    }
    index::write(vault.objects(), &written).await?;
    Ok(compacted)
}

fn distinction(name: MarkId) -> [u8; DISTINCTION_BYTES] {
    name.bytes()
}

/// Writes one new pack and reads it back. Answers the packs it replaces.
async fn store(
    vault: &Vault,
    builder: PackBuilder,
    replaces: Vec<PackId>,
    written: &mut Vec<PackIndex>,
) -> Result<Vec<PackId>, VaultError> {
    let thread = vault.throttle().cpu().await;
    let sealing = tokio::task::spawn_blocking(move || {
        let _thread = thread;
        builder.seal()
    });
    let sealed = sealing.await.map_err(VaultError::stopped("closes a pack"))??;
    vault.objects().put_content(&layout::pack_path(&sealed.id), sealed.pieces).await?;
    if fetch_pack(vault, sealed.id).await?.is_none() {
        return Err(VaultError::Damaged {
            what: "a pack that was just written".to_owned(),
            object: layout::pack_path(&sealed.id).to_string(),
            expected: sealed.id.to_string(),
            found: "something else".to_owned(),
        });
    }
    written.push(PackIndex { id: sealed.id, size_bytes: sealed.size_bytes, entries: sealed.entries });
    Ok(replaces)
}
