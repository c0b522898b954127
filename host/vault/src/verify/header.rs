//! Whether the header of a damaged pack can still be relied on, in an encrypted vault.
//!
//! A header names the session and holds the salt, and nothing in the pack can be decrypted with other ones. No checksum but
//! the pack's name covers it, so of a pack that does not match its name any blob may be lost although its own stored bytes
//! are sound. Whoever has a reader key decrypts one blob and knows. Whoever has none counts all as lost where the header
//! cannot be right, or where nothing else in the pack explains the damage. Failure of the store is an error.

use super::keys;
use crate::index::Location;
use crate::{BlobEntry, PackId, Reader, VaultError};

/// Why these blobs of a damaged pack, whose stored bytes match their checksums, count as lost all the same; `None` when they
/// do not. `explained`: something else in the pack is damaged.
pub(super) async fn doubt(
    reader: &Reader,
    pack: PackId,
    sound: &[BlobEntry],
    explained: bool,
) -> Result<Option<String>, VaultError> {
    let vault = reader.vault();
    let Some(smallest) = sound.iter().min_by_key(|entry| entry.stored_bytes) else { return Ok(None) };
    if !vault.is_encrypted() {
        return Ok(None);
    }
    if vault.is_readable() {
        return match reader.read_from(&Location { pack, entry: *smallest }).await {
            Ok(_) => Ok(None),
            Err(error) if error.is_unanswered() => Err(error),
            Err(error) => Ok(Some(format!("it cannot be decrypted any more: {error}"))),
        };
    }
    let named = keys::sessions_of(vault, std::iter::once(pack)).await?;
    if named.is_empty() {
        return Ok(Some("the header of its pack, which says how it is encrypted, is damaged".to_owned()));
    }
    if let Some(session) = vault.without_key(named.into_keys()).await?.first() {
        return Ok(Some(format!("its pack names the session {session}, of which no key is here")));
    }
    let why = "nothing else of its pack is damaged, so the header is, which says how it is encrypted";
    Ok((!explained).then(|| why.to_owned()))
}
