//! Keys that packs are encrypted with: a pack whose session has no wrapped key left is there, and nobody can read it.
//!
//! Needs no key itself: a pack names its session in its header, and a wrapped key is named by its session. Whether a
//! wrapped key is damaged is told by its own name ([`Vault::record_damages`](crate::Vault::record_damages)); here it counts
//! only when its bytes match.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use futures::{StreamExt, TryStreamExt, stream};

use super::ObjectDamage;
use crate::index::NOTHING;
use crate::layout;
use crate::pack::{self, PackHeader};
use crate::session::fetch_pack;
use crate::{PackId, SessionId, Vault, VaultError};

/// The key of a session that is not here.
pub(crate) fn lost_key(session: &SessionId) -> ObjectDamage {
    let expected = "the wrapped key of a session".to_owned();
    ObjectDamage { object: format!("{}/{session}", layout::SESSIONS), expected, found: NOTHING.to_owned() }
}

/// The sessions that these packs are encrypted in. One that is gone, or whose header cannot be read, says nothing.
pub(crate) async fn sessions_of(
    vault: &Vault,
    packs: impl Iterator<Item = PackId>,
) -> Result<BTreeMap<SessionId, HashSet<PackId>>, VaultError> {
    let mut sessions: BTreeMap<SessionId, HashSet<PackId>> = BTreeMap::new();
    if !vault.is_encrypted() {
        return Ok(sessions);
    }
    let mut headers = stream::iter(packs)
        .map(|pack| async move {
            let range = 0..pack::HEADER_BYTES as u64;
            let bytes = match vault.objects().get_range(&layout::pack_path(&pack), range).await {
                Err(error) if error.is_unreadable_medium() => None,
                bytes => bytes?,
            };
            let header = bytes.and_then(|bytes| PackHeader::read(&bytes).ok());
            Ok::<_, VaultError>(header.and_then(|header| header.encryption).map(|found| (found.session, pack)))
        })
        .buffer_unordered(vault.limits().requests_in_flight.max(1));
    while let Some(found) = headers.try_next().await? {
        if let Some((session, pack)) = found {
            sessions.entry(session).or_default().insert(pack);
        }
    }
    Ok(sessions)
}

impl Vault {
    /// Of these sessions those of which no good wrapped key is here.
    pub(crate) async fn without_key(
        &self,
        sessions: impl Iterator<Item = SessionId>,
    ) -> Result<BTreeSet<SessionId>, VaultError> {
        let mut lost = BTreeSet::new();
        for session in sessions {
            if self.wrapped_session(&session).await?.files.is_empty() {
                lost.insert(session);
            }
        }
        Ok(lost)
    }

    /// Of the sessions that packs name those of which no good wrapped key is here, with their packs. A session that only
    /// damaged packs name is none of them: one flipped bit in a header names a session that never was, and no key of it
    /// could ever be found. Such packs are damage of their own. Reads packs whole where a key is missing.
    pub(crate) async fn sessions_without_key(
        &self,
        mut sessions: BTreeMap<SessionId, HashSet<PackId>>,
    ) -> Result<BTreeMap<SessionId, HashSet<PackId>>, VaultError> {
        let mut lost = BTreeMap::new();
        for session in self.without_key(sessions.keys().copied()).await? {
            let packs = sessions.remove(&session).unwrap_or_default();
            for pack in &packs {
                if fetch_pack(self, *pack).await?.is_some() {
                    lost.insert(session, packs);
                    break;
                }
            }
        }
        Ok(lost)
    }
}
