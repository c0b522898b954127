//! Snapshots of a host's catalog, as objects of their own beside the backups (FORMAT.md, "Snapshots of catalogs").
//!
//! Contract: what a catalog holds is bytes here. A snapshot is written once, named by its time and its content, encrypted
//! where the vault is, and carries a code that only holders of the project's id key can make. Backups never depend on one.
//! Only a prune removes them: all but the newest few and one of each of the last days.
//!
//! Failure: [`VaultError`]; a snapshot that is damaged or was not made with the project's key is an error, never content.

use std::collections::BTreeSet;
use std::io::Read as _;

use bytes::Bytes;
use longshore_model::{Digest, Timestamp};
use serde::{Deserialize, Serialize};

use crate::crypto::{open_whole, random_bytes, seal_whole};
use crate::layout::{self, CatalogKey, FORMAT_VERSION};
use crate::manifest::bad;
use crate::{SessionId, Vault, VaultError, digest_of};

/// Level of compression: written now and again, read once if ever.
const LEVEL: i32 = 6;
/// Bytes of the code at the end.
const CODE_BYTES: usize = 32;
/// Longest head line.
const HEAD_BYTES: usize = 4 * 1024;
/// The newest snapshots that a prune leaves, whatever their age.
const KEPT_NEWEST: usize = 24;
/// Days of which a prune leaves the newest snapshot.
const KEPT_DAYS: i64 = 30;
const DAY_MS: i64 = 24 * 60 * 60 * 1_000;

/// A snapshot of a catalog in a vault.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct CatalogSnapshot {
    /// When it was made.
    pub created: Timestamp,
    /// BLAKE3 of the object.
    pub digest: Digest,
    /// Bytes of the object.
    pub stored_bytes: u64,
}

/// The line before the content.
#[derive(Debug, Serialize, Deserialize)]
struct Head {
    format: u32,
    kind: String,
    created: Timestamp,
    plain_bytes: u64,
    /// With a session and a salt the content is encrypted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    session: Option<SessionId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    salt: Option<Digest>,
}

const KIND: &str = "catalog";

impl Vault {
    /// Stores a snapshot of a catalog. What was written is read back before this returns.
    ///
    /// # Errors
    /// [`VaultError::TooLarge`], [`VaultError::KeyNeeded`], failures of the store.
    pub async fn put_catalog(&self, catalog: Bytes, created: Timestamp) -> Result<CatalogSnapshot, VaultError> {
        let plain_bytes = catalog.len() as u64;
        self.check_catalog_size(plain_bytes)?;
        let key = if self.is_encrypted() { Some(self.new_session().await?) } else { None };
        let code = self.id_key()?.clone();
        let object = tokio::task::spawn_blocking(move || {
            let packed = zstd::bulk::compress(&catalog, LEVEL).map_err(|error| bad(KIND, error.to_string()))?;
            let salt = key.as_ref().map(|_| random_bytes::<32>()).transpose()?;
            let head = Head {
                format: FORMAT_VERSION,
                kind: KIND.to_owned(),
                created,
                plain_bytes,
                session: key.as_ref().map(crate::crypto::SessionKey::id),
                salt: salt.as_ref().map(|salt| Digest::new(**salt)),
            };
            let head = serde_json::to_vec(&head).map_err(|error| bad(KIND, error.to_string()))?;
            let body = match (&key, &salt) {
                (Some(key), Some(salt)) => seal_whole(key, salt, &head, packed)?,
                _ => packed,
            };
            let mut object = [head.as_slice(), b"\n", &body].concat();
            object.extend_from_slice(code.catalog_code(&object).as_bytes());
            Ok(Bytes::from(object))
        });
        let object: Bytes = object
            .await
            .map_err(|error| VaultError::TaskStopped { task: "packs a catalog", reason: error.to_string() })??;
        let digest = digest_of(&object);
        let path = CatalogKey { created, digest }.path();
        self.objects().put_content(&path, vec![object.clone()]).await?;
        let snapshot = CatalogSnapshot { created, digest, stored_bytes: object.len() as u64 };
        match self.objects().get(&path, self.limits().catalog_bytes).await? {
            Some(found) if found == object => Ok(snapshot),
            _ => Err(damaged(&path, "what was just written reads differently")),
        }
    }

    /// The snapshots of catalogs in this vault, newest first.
    ///
    /// # Errors
    /// Failures of the store.
    pub async fn list_catalogs(&self) -> Result<Vec<CatalogSnapshot>, VaultError> {
        let listed = self.objects().list(Some(layout::CATALOGS)).await?.into_iter().filter_map(|meta| {
            let CatalogKey { created, digest } = CatalogKey::parse(meta.location.as_ref())?;
            Some(CatalogSnapshot { created, digest, stored_bytes: meta.size })
        });
        let mut snapshots: Vec<CatalogSnapshot> = listed.collect();
        snapshots.sort_by(|one, other| other.cmp(one));
        Ok(snapshots)
    }

    /// Reads a snapshot.
    ///
    /// # Errors
    /// [`VaultError::MissingObject`], [`VaultError::Damaged`], [`VaultError::Unauthentic`], [`VaultError::Locked`] without
    /// a reader key for an encrypted one, failures of the store.
    pub async fn load_catalog(&self, snapshot: &CatalogSnapshot) -> Result<Vec<u8>, VaultError> {
        let path = CatalogKey { created: snapshot.created, digest: snapshot.digest }.path();
        let limit_bytes = self.limits().catalog_bytes;
        let bytes = self.objects().get(&path, limit_bytes).await?;
        let what = "a snapshot of the catalog".to_owned();
        let bytes = bytes.ok_or_else(|| VaultError::MissingObject { what, object: path.to_string() })?;
        if digest_of(&bytes) != snapshot.digest {
            return Err(damaged(&path, "its bytes do not match its name"));
        }
        let object = path.as_ref();
        let split = bytes.len().checked_sub(CODE_BYTES).and_then(|end| bytes.split_at_checked(end));
        let (content, code) = split.ok_or_else(|| damaged(&path, "it is cut short"))?;
        if self.id_key()?.catalog_code(content).as_bytes().as_slice() != code {
            return Err(VaultError::Unauthentic { object: object.to_owned() });
        }
        let end = content.iter().take(HEAD_BYTES).position(|byte| *byte == b'\n');
        let (line, body) = end
            .and_then(|end| Some((content.get(..end)?, content.get(end + 1..)?)))
            .ok_or_else(|| damaged(&path, "it has no head"))?;
        let head: Head = serde_json::from_slice(line).map_err(|error| bad(object, error.to_string()))?;
        if head.format > FORMAT_VERSION {
            let (object, found) = (object.to_owned(), head.format);
            return Err(VaultError::NewerFormat { object, found, supported: FORMAT_VERSION });
        }
        if head.kind != KIND || head.created != snapshot.created {
            return Err(bad(object, "it is not the snapshot that it is named after"));
        }
        self.check_catalog_size(head.plain_bytes)?;
        let packed = match (&head.session, &head.salt) {
            (Some(session), Some(salt)) => {
                let key = self.session_key(session).await?;
                let opened = open_whole(&key, salt.as_bytes(), line, body)?;
                opened.ok_or_else(|| VaultError::Unauthentic { object: object.to_owned() })?
            }
            (None, None) if !self.is_encrypted() => Bytes::copy_from_slice(body),
            _ => return Err(VaultError::Unauthentic { object: object.to_owned() }),
        };
        unpack(&packed, head.plain_bytes, object)
    }

    fn check_catalog_size(&self, size_bytes: u64) -> Result<(), VaultError> {
        let limit_bytes = self.limits().catalog_bytes;
        if size_bytes > limit_bytes {
            return Err(VaultError::TooLarge { what: "a catalog".to_owned(), size_bytes, limit_bytes });
        }
        Ok(())
    }
}

fn unpack(packed: &[u8], plain_bytes: u64, object: &str) -> Result<Vec<u8>, VaultError> {
    let fail = |error: std::io::Error| bad(object, error.to_string());
    let mut catalog = Vec::new();
    let decoder = zstd::stream::read::Decoder::new(packed).map_err(fail)?;
    decoder.take(plain_bytes.saturating_add(1)).read_to_end(&mut catalog).map_err(fail)?;
    if catalog.len() as u64 != plain_bytes {
        return Err(bad(object, "it has another length than its head says"));
    }
    Ok(catalog)
}

fn damaged(path: &object_store::path::Path, reason: &str) -> VaultError {
    bad(path.as_ref(), reason)
}

/// The snapshots that a prune leaves: the newest ones, and the newest of each of the last days. `times` in any order.
pub(crate) fn kept(times: &[Timestamp], now: Timestamp) -> BTreeSet<Timestamp> {
    let mut newest_first: Vec<Timestamp> = times.to_vec();
    newest_first.sort_by(|one, other| other.cmp(one));
    let mut kept: BTreeSet<Timestamp> = newest_first.iter().take(KEPT_NEWEST).copied().collect();
    let mut days = BTreeSet::new();
    for time in newest_first {
        if now.millis_since(time) < KEPT_DAYS * DAY_MS && days.insert(time.as_millis().div_euclid(DAY_MS)) {
            kept.insert(time);
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_stay_and_one_of_each_day() {
        let hour = |hour: i64| Timestamp::from_millis(hour * 3_600_000);
        // Every hour of 60 days.
        let times: Vec<Timestamp> = (0..60 * 24).map(hour).collect();
        let kept = kept(&times, hour(60 * 24));
        assert!((60 * 24 - 24..60 * 24).all(|number| kept.contains(&hour(number))));
        for day in 31..59 {
            let of_day: Vec<_> = (0..24).filter(|one| kept.contains(&hour(day * 24 + one))).collect();
            assert_eq!(of_day, [23], "day {day}");
        }
        assert!(kept.iter().all(|time| *time >= hour(30 * 24)), "older ones go");
        // A host that stood still for a year has its last ones all the same.
        let old = [hour(1), hour(2)];
        assert_eq!(super::kept(&old, hour(9_000)).len(), 2);
    }
}
