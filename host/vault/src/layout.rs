//! Where objects lie in a vault (FORMAT.md, "Objects"). Every key is made and taken apart here and nowhere else.

use longshore_model::{BackupId, Digest, JobId, Timestamp};
use object_store::path::Path;

use crate::{MarkId, PackId, SessionId};

/// The format this version writes, and the newest it reads.
pub const FORMAT_VERSION: u32 = 1;

/// Key of the header.
pub const HEADER_KEY: &str = "longshore-vault.json";

/// Folder of packs.
pub(crate) const PACKS: &str = "packs";
/// Folder of index objects.
pub(crate) const INDEX: &str = "index";
/// Folder of pins.
pub(crate) const PINS: &str = "pins";
/// Folder of notes about damaged packs.
pub(crate) const DAMAGED: &str = "damaged";
/// Folder of damaged objects that were moved out of the way.
pub(crate) const SET_ASIDE: &str = "set-aside";
/// Folder of marks.
pub(crate) const MARKS: &str = "marks";
/// Folder of tombstones of backups.
pub(crate) const WITHDRAWN: &str = "withdrawn";
/// Folder of records of erasures.
pub(crate) const ERASURES: &str = "erasures";
/// Folder of the objects a prune asks the store's time by.
pub(crate) const CLOCK: &str = "clock";
/// Folder of snapshots of catalogs.
pub(crate) const CATALOGS: &str = "catalogs";
/// Folder of an encrypted vault's wrapped keys.
pub(crate) const KEYS: &str = "keys";
/// Folder of lists of recipients.
pub(crate) const RECIPIENTS: &str = "keys/recipients";
/// Folder of the wrapped data keys of sessions.
pub(crate) const SESSIONS: &str = "keys/sessions";

/// The three kinds of manifest, each with a folder of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ManifestKind {
    /// What of a backup is in this vault; means nothing alone.
    Part,
    /// Names all parts; its existence is the backup's existence. In the home region's vault.
    Root,
    /// A copy of the root and the part of this vault; in every other vault.
    Receipt,
}

impl ManifestKind {
    /// Its folder.
    #[must_use]
    pub const fn folder(self) -> &'static str {
        match self {
            Self::Part => "parts",
            Self::Root => "roots",
            Self::Receipt => "receipts",
        }
    }

    /// The word for `kind` in the object.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Part => "part",
            Self::Root => "root",
            Self::Receipt => "receipt",
        }
    }
}

/// Name of one manifest: whose, by which token, and the BLAKE3 of its bytes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ManifestKey {
    pub(crate) backup_id: BackupId,
    pub(crate) token: u64,
    pub(crate) digest: Digest,
}

impl ManifestKey {
    /// The key in its folder.
    pub(crate) fn path(&self, kind: ManifestKind) -> Path {
        Path::from(format!("{}/{}/{:016x}-{}.json", kind.folder(), self.backup_id, self.token, self.digest))
    }

    /// Takes a key apart; `None` for anything that is not a manifest of this kind.
    pub(crate) fn parse(kind: ManifestKind, key: &str) -> Option<Self> {
        let rest = key.strip_prefix(kind.folder())?.strip_prefix('/')?;
        let (backup_id, name) = rest.split_once('/')?;
        let (token, digest) = name.strip_suffix(".json")?.split_once('-')?;
        Some(Self { backup_id: backup_id.parse().ok()?, token: parse_token(token)?, digest: digest.parse().ok()? })
    }
}

/// Name of a snapshot of a catalog: when it was made, and the BLAKE3 of its bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct CatalogKey {
    pub(crate) created: Timestamp,
    pub(crate) digest: Digest,
}

impl CatalogKey {
    /// The key in its folder. Keys sort by time.
    pub(crate) fn path(&self) -> Path {
        Path::from(format!("{CATALOGS}/{:016x}-{}", self.created.as_millis().max(0), self.digest))
    }

    /// Takes a key apart; `None` for anything that is not a snapshot.
    pub(crate) fn parse(key: &str) -> Option<Self> {
        let name = key.strip_prefix(CATALOGS)?.strip_prefix('/')?;
        let (created, digest) = name.split_once('-')?;
        let created = i64::try_from(parse_token(created)?).ok()?;
        Some(Self { created: Timestamp::from_millis(created), digest: digest.parse().ok()? })
    }
}

/// Key of a pack: `packs/<first 2 characters>/<64 characters>`.
pub(crate) fn pack_path(pack: &PackId) -> Path {
    let name = pack.to_string();
    Path::from(format!("{PACKS}/{}/{name}", name.get(..2).unwrap_or_default()))
}

/// Takes the key of a pack apart; `None` for anything else under `packs/`.
pub(crate) fn parse_pack_path(key: &str) -> Option<PackId> {
    let (folder, name) = key.strip_prefix(PACKS)?.strip_prefix('/')?.split_once('/')?;
    if name.get(..2) != Some(folder) {
        return None;
    }
    name.parse().ok()
}

/// Key of an index object.
pub(crate) fn index_path(digest: &Digest) -> Path {
    Path::from(format!("{INDEX}/{digest}"))
}

/// Takes the key of an index object apart.
pub(crate) fn parse_index_path(key: &str) -> Option<Digest> {
    key.strip_prefix(INDEX)?.strip_prefix('/')?.parse().ok()
}

/// Key of the note about a damaged pack.
pub(crate) fn damage_path(pack: &PackId) -> Path {
    Path::from(format!("{DAMAGED}/{pack}.json"))
}

/// Takes the key of such a note apart.
pub(crate) fn parse_damage_path(key: &str) -> Option<PackId> {
    key.strip_prefix(DAMAGED)?.strip_prefix('/')?.strip_suffix(".json")?.parse().ok()
}

/// Key under which a damaged object is kept out of the way.
pub(crate) fn set_aside_path(key: &Path) -> Path {
    Path::from(format!("{SET_ASIDE}/{key}"))
}

/// Key of a list of recipients.
pub(crate) fn recipients_path(generation: u64, digest: &Digest) -> Path {
    Path::from(format!("{RECIPIENTS}/{generation:016x}-{digest}.json"))
}

/// Takes the key of a list of recipients apart: generation and digest.
pub(crate) fn parse_recipients_path(key: &str) -> Option<(u64, Digest)> {
    let name = key.strip_prefix(RECIPIENTS)?.strip_prefix('/')?.strip_suffix(".json")?;
    let (generation, digest) = name.split_once('-')?;
    Some((parse_token(generation)?, digest.parse().ok()?))
}

/// Key of a session's wrapped data key.
pub(crate) fn session_path(session: &SessionId, digest: &Digest) -> Path {
    Path::from(format!("{SESSIONS}/{session}/{digest}.age"))
}

/// Takes the key of a session's wrapped data key apart.
pub(crate) fn parse_session_path(key: &str) -> Option<(SessionId, Digest)> {
    let (session, name) = key.strip_prefix(SESSIONS)?.strip_prefix('/')?.split_once('/')?;
    Some((session.parse().ok()?, name.strip_suffix(".age")?.parse().ok()?))
}

/// Takes the folder of a session's wrapped data keys apart.
pub(crate) fn parse_session_folder(key: &str) -> Option<SessionId> {
    key.strip_prefix(SESSIONS)?.strip_prefix('/')?.parse().ok()
}

/// Key of a pin.
pub(crate) fn pin_path(job_id: &JobId, token: u64, random: [u8; 8]) -> Path {
    Path::from(format!("{PINS}/{job_id}/{token:016x}-{:016x}.json", u64::from_be_bytes(random)))
}

/// What a lapsed pin leaves, so that a refresh that comes late cannot revive it.
pub(crate) fn lapsed_path(pin: &Path) -> Path {
    let key = pin.as_ref();
    Path::from(format!("{}.lapsed", key.strip_suffix(".json").unwrap_or(key)))
}

/// Key of a mark.
pub(crate) fn mark_path(mark: &MarkId) -> Path {
    Path::from(format!("{MARKS}/{mark}.json"))
}

/// Takes the key of a mark apart.
pub(crate) fn parse_mark_path(key: &str) -> Option<MarkId> {
    key.strip_prefix(MARKS)?.strip_prefix('/')?.strip_suffix(".json")?.parse().ok()
}

/// Key of a tombstone: of a whole backup, or of all its commits below a token.
pub(crate) fn tombstone_path(backup_id: &BackupId, below_token: Option<u64>) -> Path {
    Path::from(match below_token {
        None => format!("{WITHDRAWN}/{backup_id}.json"),
        Some(token) => format!("{WITHDRAWN}/{backup_id}.{token:016x}.json"),
    })
}

/// Takes the key of a tombstone apart.
pub(crate) fn parse_tombstone_path(key: &str) -> Option<(BackupId, Option<u64>)> {
    let name = key.strip_prefix(WITHDRAWN)?.strip_prefix('/')?.strip_suffix(".json")?;
    match name.split_once('.') {
        None => Some((name.parse().ok()?, None)),
        Some((backup_id, token)) => Some((backup_id.parse().ok()?, Some(parse_token(token)?))),
    }
}

/// Key of the record of an erasure.
pub(crate) fn erasure_path(erasure_id: &str) -> Path {
    Path::from(format!("{ERASURES}/{erasure_id}.json"))
}

/// Takes the key of such a record apart: `erasure-` and hexadecimal characters.
pub(crate) fn parse_erasure_path(key: &str) -> Option<&str> {
    let id = key.strip_prefix(ERASURES)?.strip_prefix('/')?.strip_suffix(".json")?;
    parse_token(id.strip_prefix("erasure-")?).map(|_| id)
}

/// Sixteen lower-case hexadecimal characters.
fn parse_token(text: &str) -> Option<u64> {
    let lower_hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    if text.len() != 16 || !text.bytes().all(lower_hex) {
        return None;
    }
    u64::from_str_radix(text, 16).ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::digest_of;

    #[test]
    fn every_key_can_be_taken_apart_again() {
        let pack = PackId::new(digest_of(b"p"));
        assert_eq!(parse_pack_path(pack_path(&pack).as_ref()), Some(pack));
        assert_eq!(parse_index_path(index_path(&digest_of(b"i")).as_ref()), Some(digest_of(b"i")));
        assert_eq!(parse_damage_path(damage_path(&pack).as_ref()), Some(pack));
        let (session, digest) = (SessionId::new(digest_of(b"s")), digest_of(b"w"));
        assert_eq!(parse_session_path(session_path(&session, &digest).as_ref()), Some((session, digest)));
        assert_eq!(parse_session_folder(&format!("{SESSIONS}/{session}")), Some(session));
        assert_eq!(parse_recipients_path(recipients_path(0xfe, &digest).as_ref()), Some((0xfe, digest)));
        let key = ManifestKey { backup_id: "backup0_ab12".parse().unwrap(), token: 0xfe, digest: digest_of(b"m") };
        for kind in [ManifestKind::Part, ManifestKind::Root, ManifestKind::Receipt] {
            assert_eq!(ManifestKey::parse(kind, key.path(kind).as_ref()), Some(key.clone()));
        }
        assert_eq!(ManifestKey::parse(ManifestKind::Root, key.path(ManifestKind::Part).as_ref()), None);
        let catalog = CatalogKey { created: Timestamp::from_millis(1_700_000_000_123), digest };
        assert_eq!(CatalogKey::parse(catalog.path().as_ref()), Some(catalog));
        let mark = MarkId::derive(&[1; 16], 2);
        assert_eq!(parse_mark_path(mark_path(&mark).as_ref()), Some(mark));
        for below in [None, Some(0xfe)] {
            let path = tombstone_path(&key.backup_id, below);
            assert_eq!(parse_tombstone_path(path.as_ref()), Some((key.backup_id.clone(), below)));
        }
        let pin = pin_path(&"job-1a".parse().unwrap(), 1, [2; 8]);
        assert_ne!(lapsed_path(&pin), pin);
    }

    #[test]
    fn keys_that_are_not_ours_are_not_taken_for_ours() {
        let digest = digest_of(b"x").to_string();
        for key in [
            format!("packs/zz/{digest}"),
            format!("packs/{digest}"),
            format!("packs/{}/{}", &digest[..2], &digest[..63]),
            format!("index/{digest}.tmp"),
        ] {
            assert_eq!((parse_pack_path(&key), parse_index_path(&key)), (None, None), "{key}");
        }
        for name in ["1-{}.json", "000000000000000G-{}.json", "+00000000000000a-{}.json", "0000000000000001-{}"] {
            let key = format!("roots/backup0_a/{}", name.replace("{}", &digest));
            assert_eq!(ManifestKey::parse(ManifestKind::Root, &key), None, "{key}");
        }
    }
}
