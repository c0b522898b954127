//! The part manifest: which files of which collections are in this vault, and of which blobs they consist.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use bytes::Bytes;
use longshore_model::{BackupId, CollectionName, Digest, FileClass, IndexFacts, LoadState, Timestamp, VaultId};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::to_raw_value;

use super::{JsonText, ManifestSeal, PackedHalf, Sealed, Sizes, bad, read};
use crate::crypto::SessionKey;
use crate::layout::ManifestKind;
use crate::{BlobId, IdKey, Limits, PackId, VaultError};

/// From as many files on, the two halves of a part are written down side by side.
const SIDE_BY_SIDE_FILES: usize = 1_000;

/// What of a backup is in one vault. Means nothing without a root or a receipt that names it.
#[derive(Debug, Clone, PartialEq)]
pub struct Part {
    /// For whoever keeps the vault.
    pub open: PartOpen,
    /// For readers.
    pub sealed: Sealed<PartSealed>,
}

/// The open half of a part.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PartOpen {
    /// The backup it belongs to.
    pub backup_id: BackupId,
    /// Fencing token of the job that wrote it.
    pub token: u64,
    /// The vault it was written to.
    pub vault_id: VaultId,
    /// The vault whose root names it, or will: a part that no root or receipt names *here* may still be needed there.
    /// Parts written by early versions lack it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub home_vault_id: Option<VaultId>,
    /// When it was written.
    pub created: Timestamp,
    /// Generation of the list of recipients that counted when it was written: whoever finds none as new as that knows that
    /// one is lost. Only in encrypted vaults; parts written by early versions lack it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recipients: Option<u64>,
    /// Sizes of this part.
    pub sizes: Sizes,
    /// Collections by number, in order of number.
    pub collections: Vec<CollectionFiles>,
    /// Packs that hold the blobs, in order of name.
    pub packs: Vec<PackRef>,
}

/// A pack a part relies on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct PackRef {
    /// Its name.
    pub id: PackId,
    /// Its length.
    pub size_bytes: u64,
}

/// The files of one collection, without names.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CollectionFiles {
    /// Number of the collection in this part; [`CollectionSealed::number`] gives it its name.
    pub number: u32,
    /// Recognises the collection for hosts that cannot read its name ([`IdKey::name_id`](crate::IdKey::name_id)); only
    /// in encrypted vaults. [`Session::finish`](crate::Session::finish) sets it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name_id: Option<Digest>,
    /// Its files, in order of number.
    pub files: Vec<FileEntry>,
}

/// One file, without its name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileEntry {
    /// Number of the file in its collection; [`FileSealed::number`] gives it its path.
    pub number: u32,
    /// Its class.
    pub class: FileClass,
    /// Its length.
    pub size_bytes: u64,
    /// Blobs it was split into, in order. Their lengths stand in the index and add up to the file's.
    pub blobs: Vec<BlobId>,
    /// Keyed digest of what makes the file the same in a later backup ([`IdKey::identity`](crate::IdKey::identity)).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity: Option<Digest>,
    /// The file's digest, hidden from all but holders of the writer key
    /// ([`IdKey::mask_digest`](crate::IdKey::mask_digest)); only in encrypted vaults.
    /// [`Session::finish`](crate::Session::finish) sets it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub masked_digest: Option<Digest>,
}

/// The sealed half of a part.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct PartSealed {
    /// Collections, in order of number.
    pub collections: Vec<CollectionSealed>,
}

/// What a collection is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CollectionSealed {
    /// Number of the collection in this part.
    pub number: u32,
    /// Its name.
    #[serde(flatten)]
    pub name: CollectionName,
    /// Its schema, as the source keeps it.
    pub schema: JsonText,
    /// Its properties, in order of key.
    #[serde(default)]
    pub properties: Vec<(String, String)>,
    /// Its indexes, in order of field.
    #[serde(default)]
    pub indexes: Vec<IndexFacts>,
    /// The point the files belong to, in the source's own words.
    #[serde(default)]
    pub consistent_point: Value,
    /// Rows in the files, deleted ones included.
    pub physical_rows: u64,
    /// Rows a client sees; `None` where counting them was too much.
    #[serde(default)]
    pub live_rows: Option<u64>,
    /// [`content_digest`] of its files.
    pub content_digest: Digest,
    /// Whether it was held in memory.
    #[serde(default)]
    pub load_state: LoadState,
    /// What happened to the collection while it was backed up.
    #[serde(default)]
    pub finding: CollectionFinding,
    /// Its files, in order of number.
    pub files: Vec<FileSealed>,
    /// What only this collection's source knows of.
    #[serde(default)]
    pub extra: Value,
}

/// What the look after the transfer found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CollectionFinding {
    /// The same collection with the same schema.
    #[default]
    Unaltered,
    /// Altered meanwhile, or dropped and created again.
    Altered,
    /// Dropped meanwhile.
    Dropped,
}

/// What a file is called.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileSealed {
    /// Number of the file in its collection.
    pub number: u32,
    /// Path relative to the collection, `/` between components.
    pub path: String,
    /// The partition it belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub partition: Option<String>,
    /// BLAKE3 of its bytes, without a key.
    pub digest: Digest,
    /// Rows in it, where it is a data file: so that nobody need open it again to count them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rows: Option<u64>,
}

impl Part {
    /// The bytes of the object, after all checks.
    ///
    /// # Errors
    /// [`VaultError::BadManifest`] when the halves do not agree; [`VaultError::TooLarge`].
    pub(crate) fn to_bytes(&self, seal: &ManifestSeal<'_>, limits: &Limits) -> Result<Bytes, VaultError> {
        self.check("part")?;
        let backup = (&self.open.backup_id, self.open.token);
        let pack = || PackedHalf::of(ManifestKind::Part, backup, &self.sealed, seal, limits);
        let open = || to_raw_value(&self.open).map_err(|error| bad("part", error.to_string()));
        let files: usize = self.open.collections.iter().map(|collection| collection.files.len()).sum();
        let (packed, open) = if files < SIDE_BY_SIDE_FILES {
            (pack(), open())
        } else {
            std::thread::scope(|scope| {
                let packing = scope.spawn(pack);
                let open = open();
                let stopped =
                    |_| Err(VaultError::TaskStopped { task: "packs a part", reason: "it panicked".to_owned() });
                (packing.join().unwrap_or_else(stopped), open)
            })
        };
        packed?.write(ManifestKind::Part, &open?, seal, limits)
    }

    /// Reads the bytes of the object called `object`. What is encrypted stays locked.
    ///
    /// # Errors
    /// [`VaultError::BadManifest`], [`VaultError::NewerFormat`], [`VaultError::Unsupported`].
    pub fn parse(object: &str, bytes: &[u8], limits: &Limits) -> Result<Self, VaultError> {
        let (open, sealed) = read(ManifestKind::Part, object, bytes, limits)?;
        let part = Self { open, sealed };
        part.check(object)?;
        Ok(part)
    }

    /// Opens the sealed half with the key of its session.
    pub(crate) fn unlock(&mut self, key: &SessionKey, object: &str, limits: &Limits) -> Result<(), VaultError> {
        if let Sealed::Locked(locked) = &self.sealed {
            let backup = (&self.open.backup_id, self.open.token);
            self.sealed = Sealed::Readable(locked.open(key, object, ManifestKind::Part, backup, limits)?);
        }
        self.check(object)
    }

    /// Sets in the open half what hosts without a reader key recognise collections and files by.
    pub(crate) fn mark_for_writers(&mut self, id_key: &IdKey) {
        let Sealed::Readable(sealed) = &self.sealed else { return };
        for (files, collection) in self.open.collections.iter_mut().zip(&sealed.collections) {
            files.name_id = Some(id_key.name_id(&collection.name));
            for (file, name) in files.files.iter_mut().zip(&collection.files) {
                file.masked_digest = Some(id_key.mask_digest(&file.blobs, &name.digest));
            }
        }
    }

    /// Every collection with its name and its files with theirs.
    ///
    /// # Errors
    /// [`VaultError::Locked`].
    pub fn collections(&self) -> Result<Vec<(&CollectionFiles, &CollectionSealed)>, VaultError> {
        let sealed = self.sealed.open()?;
        Ok(self.open.collections.iter().zip(&sealed.collections).collect())
    }

    /// Checks the open half, and, where it can be read, that the sealed half speaks of the same collections and files
    /// in order, and that no path leads out.
    fn check(&self, object: &str) -> Result<(), VaultError> {
        rising(object, self.open.collections.iter().map(|c| c.number), "collections")?;
        let mut plain_bytes = 0_u64;
        for collection in &self.open.collections {
            rising(object, collection.files.iter().map(|file| file.number), "files")?;
            plain_bytes = collection.files.iter().fold(plain_bytes, |sum, file| sum.saturating_add(file.size_bytes));
        }
        if plain_bytes != self.open.sizes.plain_bytes {
            return Err(bad(object, "the sizes of its files do not add up"));
        }
        match &self.sealed {
            Sealed::Readable(sealed) => self.check_halves(object, sealed),
            Sealed::Locked(_) => Ok(()),
        }
    }

    fn check_halves(&self, object: &str, sealed: &PartSealed) -> Result<(), VaultError> {
        let open = self.open.collections.iter().map(|collection| collection.number);
        if !open.eq(sealed.collections.iter().map(|collection| collection.number)) {
            return Err(bad(object, "its halves name different collections"));
        }
        let names: BTreeSet<_> = sealed.collections.iter().map(|collection| &collection.name).collect();
        if names.len() != sealed.collections.len() {
            return Err(bad(object, "it names a collection twice"));
        }
        for (files, collection) in self.open.collections.iter().zip(&sealed.collections) {
            let CollectionName { database, collection: name } = &collection.name;
            CollectionName::new(database, name).map_err(|error| bad(object, error.to_string()))?;
            let open = files.files.iter().map(|file| file.number);
            if !open.eq(collection.files.iter().map(|file| file.number)) {
                return Err(bad(object, format!("its halves name different files of {}", collection.name)));
            }
            let mut paths = HashSet::new();
            for file in &collection.files {
                if !is_inside(&file.path) || !paths.insert(file.path.as_str()) {
                    let path = file.path.escape_debug();
                    return Err(bad(object, format!("the path `{path}` in {} leads out or is twice", collection.name)));
                }
            }
        }
        Ok(())
    }
}

/// Checks that numbers rise.
fn rising(object: &str, numbers: impl Iterator<Item = u32> + Clone, what: &str) -> Result<(), VaultError> {
    let rising = numbers.clone().zip(numbers.skip(1)).all(|(one, next)| one < next);
    if rising { Ok(()) } else { Err(bad(object, format!("the numbers of {what} do not rise"))) }
}

/// True for a relative path that stays where it is put.
fn is_inside(path: &str) -> bool {
    path.len() <= 4096
        && !path.contains(['\0', '\\'])
        && path.split('/').all(|component| !matches!(component, "" | "." | ".."))
}

/// Digest of a collection's files, independent of their order: BLAKE3 over, for each file in order of path (as bytes),
/// the length of the path as 8 bytes little-endian, the path, the length of the file as 8 bytes little-endian, and the
/// 32 bytes of the file's digest.
#[must_use]
pub fn content_digest<'a>(files: impl IntoIterator<Item = (&'a str, u64, Digest)>) -> Digest {
    let sorted: BTreeMap<&[u8], (u64, Digest)> =
        files.into_iter().map(|(path, size, digest)| (path.as_bytes(), (size, digest))).collect();
    let mut hasher = blake3::Hasher::new();
    for (path, (size, digest)) in sorted {
        hasher.update(&(path.len() as u64).to_le_bytes());
        hasher.update(path);
        hasher.update(&size.to_le_bytes());
        hasher.update(digest.as_bytes());
    }
    Digest::new(*hasher.finalize().as_bytes())
}
