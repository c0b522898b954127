//! Records that should be there and are not: what other vaults of the project, and the packs and manifests here, say of them.
//!
//! Contract: nothing is called lost that a crash, a job under way, or a vault that was made later may leave missing; what can
//! be lost without anybody being able to tell is said in FORMAT.md, "What is missed". Looking changes nothing and needs no
//! key, but for lists of recipients.

use std::collections::BTreeSet;

use longshore_model::BackupId;
use object_store::path::Path;

use crate::index::NOTHING;
use crate::layout::{self, ManifestKey, ManifestKind};
use crate::records::{Kind, parsed};
use crate::verify::ObjectDamage;
use crate::verify::keys::{lost_key, sessions_of};
use crate::{Erasure, Part, Receipt, Root, Sealed, SessionId, Vault, VaultError};

fn lost(kind: Kind, object: String) -> ObjectDamage {
    ObjectDamage { object, expected: kind.word().to_owned(), found: NOTHING.to_owned() }
}

impl Vault {
    /// Records that other vaults of the project say should be here, and a list of recipients where there is none; in order
    /// of key.
    ///
    /// # Errors
    /// Failures of any of the stores.
    pub async fn record_losses(&self, others: &[Self]) -> Result<Vec<ObjectDamage>, VaultError> {
        let mut losses = Vec::new();
        for other in others.iter().filter(|other| other.project_id() == self.project_id()) {
            for loss in self.lost_erasures(other).await?.into_iter().chain(self.lost_tombstones(other).await?) {
                if !losses.contains(&loss) {
                    losses.push(loss);
                }
            }
        }
        if self.is_encrypted() {
            losses.extend(self.lost_lists(others).await?);
        }
        losses.sort_by(|one, other| one.object.cmp(&other.object));
        Ok(losses)
    }

    /// A list that is newer than those here and lies in a copy of this vault, or that there is no list at all.
    async fn lost_lists(&self, others: &[Self]) -> Result<Vec<ObjectDamage>, VaultError> {
        let generation = match self.recipients().await {
            Ok(list) => list.generation,
            Err(VaultError::NoRecipients { .. }) => 0,
            // Without a key nobody can tell which lists are good.
            Err(VaultError::KeyNeeded { .. }) => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let mut losses = Vec::new();
        for copy in others.iter().filter(|other| other.id() == self.id()) {
            let listed = copy.objects().list(Some(layout::RECIPIENTS)).await?.into_iter().map(|meta| meta.location);
            let is_newer = |path: &Path| {
                layout::parse_recipients_path(path.as_ref()).is_some_and(|(number, _)| number > generation)
            };
            losses.extend(listed.filter(is_newer).map(|path| lost(Kind::Recipients, path.to_string())));
        }
        if generation == 0 && losses.is_empty() {
            losses.push(lost(Kind::Recipients, layout::RECIPIENTS.to_owned()));
        }
        Ok(losses)
    }

    /// Ids of the erasures that have a record here, readable or not.
    ///
    /// # Errors
    /// Failures of the store.
    pub async fn erasure_ids(&self) -> Result<BTreeSet<String>, VaultError> {
        let listed = self.objects().list(Some(layout::ERASURES)).await?;
        let ids = listed.iter().filter_map(|meta| layout::parse_erasure_path(meta.location.as_ref()));
        Ok(ids.map(str::to_owned).collect())
    }

    /// Of erasures that a root names those that have no record here. The record is written before the root.
    ///
    /// # Errors
    /// Failures of the store.
    pub async fn lost_of_erasures(&self, named: &[String]) -> Result<Vec<ObjectDamage>, VaultError> {
        if named.is_empty() {
            return Ok(Vec::new());
        }
        let here = self.erasure_ids().await?;
        let gone = named.iter().filter(|id| !here.contains(*id));
        Ok(gone.map(|id| lost(Kind::Erasure, layout::erasure_path(id).to_string())).collect())
    }

    /// Erasures that reached every backup have a record in every vault: it was written before the first one was rewritten.
    async fn lost_erasures(&self, other: &Self) -> Result<Vec<ObjectDamage>, VaultError> {
        let mut named = Vec::new();
        for meta in other.objects().list(Some(layout::ERASURES)).await? {
            let bytes = match other.objects().get(&meta.location, other.limits().mark_bytes).await {
                Err(error) if error.is_unreadable_object() => None,
                bytes => bytes?,
            };
            let record = bytes.and_then(|bytes| parsed::<Erasure>(&bytes));
            named.extend(record.filter(|record| record.rewritten.is_some()).map(|record| record.erasure_id));
        }
        // Listed after theirs were read: one that is being begun is not missed.
        self.lost_of_erasures(&named).await
    }

    /// A backup is withdrawn in its home vault last: what still counts here then has lost its tombstone. A copy of this vault
    /// has those that were here.
    async fn lost_tombstones(&self, home: &Self) -> Result<Vec<ObjectDamage>, VaultError> {
        let mut theirs: Vec<(Path, _)> = Vec::new();
        for meta in home.objects().list(Some(layout::WITHDRAWN)).await? {
            theirs.extend(layout::parse_tombstone_path(meta.location.as_ref()).map(|key| (meta.location, key)));
        }
        let mut losses = Vec::new();
        if theirs.is_empty() {
            return Ok(losses);
        }
        // Tombstones here are read after theirs: a deletion under way is told here first.
        for found in self.visible_manifests(None).await? {
            let covers = |backup: &BackupId, below: Option<u64>| {
                *backup == found.key.backup_id && below.is_none_or(|below| found.key.token < below)
            };
            let Some((path, _)) = theirs.iter().find(|(_, (backup, below))| covers(backup, *below)) else { continue };
            match self.load_summary(found.kind, &found.key).await {
                Ok((summary, _)) if home.id() == self.id() || summary.root.home_region == *home.region_id() => {
                    losses.push(lost(Kind::Tombstone, path.to_string()));
                }
                Err(error) if error.is_unanswered() => return Err(error),
                // A copy that went before its backup, or a manifest that cannot be read and is told elsewhere.
                _ => {}
            }
        }
        losses.dedup();
        Ok(losses)
    }

    /// Keys that are lost of sessions in which packs or manifests here are encrypted. What a damaged pack says of its session
    /// does not count. Reads every manifest.
    ///
    /// # Errors
    /// Failures of the store.
    pub async fn lost_keys(&self) -> Result<Vec<ObjectDamage>, VaultError> {
        if !self.is_encrypted() {
            return Ok(Vec::new());
        }
        let packs = self.objects().list(Some(layout::PACKS)).await?;
        let packs = packs.iter().filter_map(|meta| layout::parse_pack_path(meta.location.as_ref()));
        let of_packs = self.sessions_without_key(sessions_of(self, packs).await?).await?;
        let mut sessions = BTreeSet::new();
        for kind in [ManifestKind::Root, ManifestKind::Receipt, ManifestKind::Part] {
            for key in self.manifests(kind, None).await? {
                sessions.extend(self.session_of(kind, &key).await?);
            }
        }
        let mut lost = self.without_key(sessions.into_iter()).await?;
        lost.extend(of_packs.into_keys());
        Ok(lost.iter().map(lost_key).collect())
    }

    /// The key that a root of this vault, or one that a receipt here repeats, is sealed with, where it is gone. Needs no key;
    /// whoever opened the root has had it.
    ///
    /// # Errors
    /// Failures of the store.
    pub async fn lost_key_of(&self, root: &Root) -> Result<Option<ObjectDamage>, VaultError> {
        let Sealed::Locked(locked) = &root.sealed else { return Ok(None) };
        Ok(self.without_key(std::iter::once(locked.session)).await?.first().map(lost_key))
    }

    /// The session that a manifest is sealed in; `None` for one that cannot be read.
    async fn session_of(&self, kind: ManifestKind, key: &ManifestKey) -> Result<Option<SessionId>, VaultError> {
        fn of<T>(sealed: Sealed<T>) -> Option<SessionId> {
            match sealed {
                Sealed::Locked(locked) => Some(locked.session),
                Sealed::Readable(_) => None,
            }
        }
        let bytes = match self.read_manifest(kind, key).await {
            Err(error) if error.is_unanswered() => return Err(error),
            bytes => bytes.ok(),
        };
        let (object, limits) = (key.path(kind).to_string(), self.limits());
        Ok(bytes.and_then(|bytes| match kind {
            ManifestKind::Part => of(Part::parse(&object, &bytes, limits).ok()?.sealed),
            ManifestKind::Root => of(Root::parse(&object, &bytes, limits).ok()?.sealed),
            ManifestKind::Receipt => of(Receipt::parse(&object, &bytes, limits).ok()?.1.sealed),
        }))
    }

    /// Copies the wrapped key of a session from a vault that has it.
    pub(crate) async fn bring_key(
        &self,
        session: &SessionId,
        sources: &[Self],
        write: bool,
    ) -> Result<Result<String, String>, VaultError> {
        for source in sources.iter().filter(|source| source.project_id() == self.project_id()) {
            let wrapped = source.wrapped_session(session).await?;
            if wrapped.files.is_empty() {
                continue;
            }
            if write {
                self.put_wrapped_session(&wrapped).await?;
            }
            return Ok(Ok(format!("copied from {}", source.place())));
        }
        let why =
            "without it nothing of its session can be read: name another vault of the project, or a copy of this one";
        Ok(Err(why.to_owned()))
    }

    /// Copies the list of recipients that counts in another vault of the project into one that has none.
    pub(crate) async fn bring_list(&self, sources: &[Self], write: bool) -> Result<Result<String, String>, VaultError> {
        for source in sources.iter().filter(|source| source.project_id() == self.project_id()) {
            let Ok(list) = source.recipients().await else { continue };
            if write {
                self.put_recipients(&list).await?;
            }
            let place = source.place();
            return Ok(Ok(format!(
                "the recipients of {place} can read it now; look with `longshore key recipient list` whether they should"
            )));
        }
        Ok(Err("no vault that was named has a list of recipients: name another vault of the project".to_owned()))
    }

    /// Records the erasures of another vault of the project in this one, which was just made: every vault of a project has
    /// them. It holds nothing yet that a prune would have to rewrite.
    ///
    /// # Errors
    /// [`VaultError::BadManifest`] for a record that cannot be read; failures of the stores.
    pub async fn adopt_erasures(&self, from: &Self) -> Result<(), VaultError> {
        let here = self.erasure_ids().await?;
        for record in from.list_erasures().await?.into_iter().filter(|record| !here.contains(&record.erasure_id)) {
            self.put_erasure(&Erasure { packs: BTreeSet::new(), completed: None, ..record }).await?;
        }
        Ok(())
    }
}
