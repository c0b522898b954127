//! Records that stand beside backups: tombstones, erasures, marks, snapshots of catalogs, wrapped keys. Which of them
//! cannot be trusted, and how they come right again.
//!
//! Contract: looking changes nothing, and needs no key (with one, codes are checked too). Mending writes only what is
//! proven by a name, what a key says by itself, or what can do no harm; what is damaged is kept under `set-aside/`, as far as
//! the disk can copy it. Which records should be there and are not is found in `losses.rs`; they are mended here as well.
//!
//! Pins and notes of damage are left out: one that cannot be read counts for the worst it could say, until its job writes it
//! again, it lapses, or its pack is read.

use std::collections::BTreeSet;

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use longshore_model::Timestamp;
use object_store::path::Path;

use crate::crypto::has_good_code;
use crate::index::NOTHING;
use crate::layout::{self, CatalogKey, FORMAT_VERSION};
use crate::verify::ObjectDamage;
use crate::{Erasure, Mark, PackId, Tombstone, Vault, VaultError, Withdrawal, digest_of};

/// What a record should be, by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Tombstone,
    Mark,
    Erasure,
    Catalog,
    Recipients,
    Session,
}

impl Kind {
    const FOLDERS: [&'static str; 6] =
        [layout::WITHDRAWN, layout::MARKS, layout::ERASURES, layout::CATALOGS, layout::RECIPIENTS, layout::SESSIONS];

    fn of(key: &str) -> Option<Self> {
        let kinds = [
            (layout::parse_tombstone_path(key).is_some(), Self::Tombstone),
            (layout::parse_mark_path(key).is_some(), Self::Mark),
            (layout::parse_erasure_path(key).is_some(), Self::Erasure),
            (CatalogKey::parse(key).is_some(), Self::Catalog),
            (layout::parse_recipients_path(key).is_some(), Self::Recipients),
            (layout::parse_session_path(key).is_some(), Self::Session),
        ];
        kinds.into_iter().find_map(|(is, kind)| is.then_some(kind))
    }

    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Tombstone => "the tombstone of a backup",
            Self::Mark => "a mark of a prune",
            Self::Erasure => "the record of an erasure",
            Self::Catalog => "a snapshot of a catalog",
            Self::Recipients => "a list of recipients",
            Self::Session => "the wrapped key of a session",
        }
    }
}

const NOT_ITS_NAME: &str = "its bytes do not match its name";
const NOT_SUCH: &str = "it is not what its name says";

impl Vault {
    /// Reads every record and names those that cannot be trusted, in order of key.
    ///
    /// # Errors
    /// Failures of the store.
    pub async fn record_damages(&self) -> Result<Vec<ObjectDamage>, VaultError> {
        let mut keys = Vec::new();
        for folder in Kind::FOLDERS {
            let listed = self.objects().list(Some(folder)).await?;
            keys.extend(listed.into_iter().filter_map(|meta| Some((Kind::of(meta.location.as_ref())?, meta.location))));
        }
        let looks = stream::iter(keys).map(|(kind, path)| async move {
            let found = self.look_at_record(kind, &path).await?;
            let damage = |found| ObjectDamage { object: path.to_string(), expected: kind.word().to_owned(), found };
            Ok::<_, VaultError>(found.map(damage))
        });
        let found: Vec<_> = looks.buffer_unordered(self.limits().requests_in_flight.max(1)).try_collect().await?;
        let mut damages: Vec<ObjectDamage> = found.into_iter().flatten().collect();
        damages.sort_by(|one, other| one.object.cmp(&other.object));
        Ok(damages)
    }

    /// What is wrong with a record; `None` also for one that is gone since it was listed, or of a newer format.
    async fn look_at_record(&self, kind: Kind, path: &Path) -> Result<Option<String>, VaultError> {
        match self.objects().get(path, self.record_bytes(kind)).await {
            Ok(Some(bytes)) => Ok(self.judge_record(kind, path.as_ref(), &bytes).err().map(str::to_owned)),
            Ok(None) => Ok(None),
            Err(error) if error.is_unreadable_object() => Ok(Some(error.to_string())),
            Err(error) => Err(error),
        }
    }

    /// Whether a record is here and good.
    async fn is_here(&self, kind: Kind, path: &Path) -> Result<bool, VaultError> {
        match self.objects().get(path, self.record_bytes(kind)).await {
            Ok(bytes) => Ok(bytes.is_some_and(|bytes| self.judge_record(kind, path.as_ref(), &bytes).is_ok())),
            Err(error) if error.is_unreadable_object() => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn record_bytes(&self, kind: Kind) -> u64 {
        match kind {
            Kind::Tombstone => self.limits().header_bytes,
            Kind::Mark | Kind::Erasure => self.limits().mark_bytes,
            Kind::Catalog => self.limits().catalog_bytes,
            Kind::Recipients | Kind::Session => self.limits().key_object_bytes,
        }
    }

    fn judge_record(&self, kind: Kind, key: &str, bytes: &Bytes) -> Result<(), &'static str> {
        let named = |good: bool| if good { Ok(()) } else { Err(NOT_ITS_NAME) };
        let is = |good: bool| if good { Ok(()) } else { Err(NOT_SUCH) };
        match kind {
            Kind::Catalog => named(CatalogKey::parse(key).is_some_and(|name| name.digest == digest_of(bytes))),
            Kind::Session => named(layout::parse_session_path(key).is_some_and(|(_, name)| name == digest_of(bytes))),
            Kind::Recipients => {
                named(layout::parse_recipients_path(key).is_some_and(|(_, name)| name == digest_of(bytes)))?;
                let Ok(id_key) = self.id_key() else { return Ok(()) };
                is(has_good_code(bytes, |body| id_key.recipients_code(body)))
            }
            _ if is_newer(bytes) => Ok(()),
            Kind::Tombstone => is(parsed::<Tombstone>(bytes).is_some_and(|one| {
                let name = layout::tombstone_path(&one.backup_id, one.below_token);
                one.kind == "withdrawn" && name.as_ref() == key
            })),
            Kind::Mark => is(parsed::<Mark>(bytes)
                .is_some_and(|one| one.kind == "mark" && layout::mark_path(&one.id).as_ref() == key)),
            Kind::Erasure => is(parsed::<Erasure>(bytes)
                .is_some_and(|one| one.kind == Erasure::KIND && layout::erasure_path(&one.erasure_id).as_ref() == key)),
        }
    }

    /// Mends a record that [`Vault::record_damages`] or [`Vault::record_losses`] named, or with `write` false says how. Answers what was done; `Err` in
    /// words when nothing could be.
    ///
    /// # Errors
    /// Failures of this vault's store.
    pub async fn heal_record(
        &self,
        damage: &ObjectDamage,
        sources: &[Self],
        now: Timestamp,
        write: bool,
    ) -> Result<Result<String, String>, VaultError> {
        if let Some(session) = layout::parse_session_folder(&damage.object) {
            return self.bring_key(&session, sources, write).await;
        }
        if damage.object == layout::RECIPIENTS {
            return self.bring_list(sources, write).await;
        }
        let path = Path::from(damage.object.as_str());
        let Some(kind) = Kind::of(path.as_ref()) else { return Ok(Err("it is no record".to_owned())) };
        if damage.found == NOTHING && self.is_here(kind, &path).await? {
            return Ok(Ok("it is here: the store had not listed it yet".to_owned()));
        }
        if let Some((bytes, place)) = self.same_record(kind, &path, sources).await {
            if write {
                self.objects().replace(&path, bytes).await?;
            }
            return Ok(Ok(format!("copied from {place}")));
        }
        match kind {
            Kind::Tombstone => self.renew_tombstone(&path, now, write).await,
            // A mark that nobody can read binds nobody: a writer that does not honour it keeps the prune from deleting.
            Kind::Mark => self.give_up(&path, write, "the next prune marks again what is to go").await,
            Kind::Catalog => {
                self.give_up_content(kind, &path, write, "others are there or the host writes the next").await
            }
            Kind::Erasure => self.renew_erasure(&path, sources, damage.found == NOTHING, write).await,
            Kind::Recipients if damage.found == NOTHING => Ok(Err("the copy of it is damaged, too".to_owned())),
            Kind::Recipients => self.give_up_list(&path, write).await,
            Kind::Session => self.give_up_key(&path, sources, write).await,
        }
    }

    /// The same object, good, in another vault of the project, and where.
    async fn same_record(&self, kind: Kind, path: &Path, sources: &[Self]) -> Option<(Bytes, String)> {
        // Marks and erasures speak of the packs of one vault.
        let elsewhere = |source: &&Self| match kind {
            Kind::Mark | Kind::Erasure => source.id() == self.id(),
            _ => source.project_id() == self.project_id(),
        };
        for source in sources.iter().filter(elsewhere) {
            if let Ok(Some(bytes)) = source.objects().get(path, self.record_bytes(kind)).await
                && self.judge_record(kind, path.as_ref(), &bytes).is_ok()
            {
                return Some((bytes, source.place()));
            }
        }
        None
    }

    /// Sets aside what nobody needs any more: it is worth nothing, or what it says is here under another name.
    async fn give_up(&self, path: &Path, write: bool, why: &str) -> Result<Result<String, String>, VaultError> {
        if write && self.set_aside_or_remove(path).await?.is_none() {
            return Ok(Ok(removed(why)));
        }
        Ok(Ok(format!("set aside: {why}")))
    }

    /// Sets aside what stands nowhere else. What the disk cannot even copy stays until something newer of its kind is here:
    /// a disk may come to itself again, a deletion does not.
    async fn give_up_content(
        &self,
        kind: Kind,
        path: &Path,
        write: bool,
        why: &str,
    ) -> Result<Result<String, String>, VaultError> {
        if !write || self.set_aside(path).await?.is_some() {
            return Ok(Ok(format!("set aside: {why}")));
        }
        if !self.has_newer(kind, path).await? {
            let left = "the disk cannot even copy it, so it was left where it is; heal again when something newer of its \
                        kind is here";
            return Ok(Err(format!("{left}. Until then: {why}")));
        }
        self.objects().delete(path).await?;
        tracing::warn!(object = %path, "removed: the disk cannot read it, and something newer is here");
        Ok(Ok(removed(why)))
    }

    /// Whether a good record of this kind is here that was written after this one, or, of lists of recipients, takes its
    /// place.
    async fn has_newer(&self, kind: Kind, path: &Path) -> Result<bool, VaultError> {
        let age = |path: &Path| match kind {
            Kind::Recipients => {
                layout::parse_recipients_path(path.as_ref()).and_then(|(number, _)| number.try_into().ok())
            }
            _ => CatalogKey::parse(path.as_ref()).map(|key| key.created.as_millis()),
        };
        let folder = if kind == Kind::Recipients { layout::RECIPIENTS } else { layout::CATALOGS };
        for meta in self.objects().list(Some(folder)).await? {
            let newer = age(&meta.location).is_some_and(|there| Some(there) >= age(path));
            if meta.location != *path && newer && self.is_here(kind, &meta.location).await? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Its key says all that counts.
    async fn renew_tombstone(
        &self,
        path: &Path,
        now: Timestamp,
        write: bool,
    ) -> Result<Result<String, String>, VaultError> {
        let Some((backup_id, below)) = layout::parse_tombstone_path(path.as_ref()) else {
            return Ok(Err(NOT_SUCH.to_owned()));
        };
        if write {
            let withdrawal =
                Withdrawal { time: now, by: "unknown: the tombstone was damaged".to_owned(), job_id: None };
            self.replace_tombstone(&backup_id, below, &withdrawal).await?;
        }
        Ok(Ok("written again; who deleted the backup is lost".to_owned()))
    }

    /// What another vault records of the same erasure. Which packs of this one hold what was erased is lost: all are named,
    /// so prunes rewrite all.
    async fn renew_erasure(
        &self,
        path: &Path,
        sources: &[Self],
        lost: bool,
        write: bool,
    ) -> Result<Result<String, String>, VaultError> {
        let wanted = layout::parse_erasure_path(path.as_ref()).unwrap_or_default();
        for source in sources.iter().filter(|source| source.project_id() == self.project_id()) {
            let Ok(records) = source.list_erasures().await else { continue };
            let Some(record) = records.into_iter().find(|one| one.erasure_id == wanted) else { continue };
            if write {
                let listed = self.objects().list(Some(layout::PACKS)).await?;
                let packs: BTreeSet<PackId> =
                    listed.iter().filter_map(|meta| layout::parse_pack_path(meta.location.as_ref())).collect();
                self.put_erasure(&Erasure { packs, completed: None, ..record }).await?;
            }
            let how = format!("written again from {}; prunes will rewrite every pack of this vault", source.place());
            return Ok(Ok(how));
        }
        let else_do =
            if lost { "or copies of them" } else { "or erase the collection again and then move this object away" };
        Ok(Err(format!(
            "an erasure must not be forgotten, and no vault that was named records it: name the project's other vaults, {else_do}"
        )))
    }

    async fn give_up_list(&self, path: &Path, write: bool) -> Result<Result<String, String>, VaultError> {
        if !self.has_other_lists(path).await? {
            let why = "there is no other list of recipients here: copy this object from a copy of the vault";
            return Ok(Err(why.to_owned()));
        }
        let why = "an older list counts now; look with `longshore key recipient list` whether somebody is missing";
        self.give_up_content(Kind::Recipients, path, write, why).await
    }

    async fn has_other_lists(&self, path: &Path) -> Result<bool, VaultError> {
        for meta in self.objects().list(Some(layout::RECIPIENTS)).await? {
            let kind = Kind::of(meta.location.as_ref());
            if meta.location != *path
                && kind == Some(Kind::Recipients)
                && self.is_here(Kind::Recipients, &meta.location).await?
            {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The key of a session may be wrapped in several objects: any good one will do.
    async fn give_up_key(
        &self,
        path: &Path,
        sources: &[Self],
        write: bool,
    ) -> Result<Result<String, String>, VaultError> {
        let Some((session, _)) = layout::parse_session_path(path.as_ref()) else {
            return Ok(Err(NOT_SUCH.to_owned()));
        };
        if self.wrapped_session(&session).await?.files.is_empty()
            && let Err(why) = self.bring_key(&session, sources, write).await?
        {
            return Ok(Err(why));
        }
        self.give_up(path, write, "the same key is here in another object").await
    }
}

fn removed(why: &str) -> String {
    format!("removed, because the disk cannot even copy it: {why}")
}

pub(crate) fn parsed<T: serde::de::DeserializeOwned>(bytes: &[u8]) -> Option<T> {
    serde_json::from_slice(bytes).ok()
}

/// Whether a record says that it is of a format that this version does not know. Then it is not for us to judge.
fn is_newer(bytes: &[u8]) -> bool {
    let format = |value: serde_json::Value| value.get("format").and_then(serde_json::Value::as_u64);
    parsed::<serde_json::Value>(bytes).and_then(format).is_some_and(|format| format > u64::from(FORMAT_VERSION))
}
