//! What earlier backups of a cluster hold: facts for policies, and the files that need not be read again.
//!
//! Contract: read from the vaults alone, newest backups first, as few as hold all collections and a bounded number of them,
//! then the pins of attempts that did not end in a backup. A file that only an older backup holds is read again and found
//! by its content. A vault that cannot be read only makes the history shorter: a backup then reads more than it had to, and
//! is as good.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, OnceLock};

use longshore_model::{CollectionName, Digest, FileClass, LastBackup, PolicyKind, RegionId};
use longshore_source::{FileIdentity, KnownFiles};
use longshore_vault::{
    BackupSummary, BlobId, CollectionFiles, CollectionSealed, IdKey, NamedBackup, Part, RootOpen, Vault, VaultError,
};
use serde_json::Value;

use crate::request::ClusterTarget;
use crate::resume::{Unfinished, content_id, unfinished};
use crate::vaults::RegionVaults;
use crate::{EngineError, RunContext};

/// Earlier backups of the cluster that are looked at. A collection that was in none of them counts as never backed up.
const BACKUPS: usize = 8;
/// A manifest that was written so long after its backup was made was written again: a vault that was copied file by file,
/// or one out of which a collection was erased. When its manifests were written then says little about their order.
const WRITTEN_AGAIN_MS: i64 = 36 * 60 * 60 * 1000;

/// A file that an earlier backup holds.
#[derive(Debug, Clone)]
pub(crate) struct KnownFile {
    pub(crate) size_bytes: u64,
    pub(crate) blobs: Vec<BlobId>,
    pub(crate) digest: Digest,
    /// True when only an attempt that did not end in a backup stored it.
    pub(crate) unfinished: bool,
}

/// What earlier backups hold.
#[derive(Debug, Default)]
pub(crate) struct History {
    key: Option<IdKey>,
    /// Collections by [`IdKey::name_id`].
    last: BTreeMap<Digest, LastBackup>,
    /// Why its newest backup chose as it did, by kind of policy.
    reasons: BTreeMap<(&'static str, Digest), String>,
    /// By region, because a file is only there where its blobs are.
    files: BTreeMap<RegionId, HashMap<Digest, KnownFile>>,
    /// Regions of the newest backup of each collection, by [`IdKey::name_id`].
    regions: BTreeMap<Digest, RegionId>,
    /// All regions there are.
    all_regions: Vec<RegionId>,
    /// Rows of data files by keyed identity.
    rows: HashMap<Digest, u64>,
    /// Points of servers' collections as the newest backup describes them, by [`IdKey::name_id`]: what was counted of their
    /// rows need not be counted again.
    points: BTreeMap<Digest, Value>,
    /// Live rows by keyed content, of backups and of attempts that did not end in one.
    counts: HashMap<Digest, u64>,
}

impl History {
    /// Reads the newest backups of a cluster, until each of the `wanted` collections was in one of them.
    pub(crate) async fn load(
        vaults: &RegionVaults,
        cluster: &ClusterTarget,
        wanted: &[CollectionName],
        context: &RunContext,
    ) -> Result<Self, EngineError> {
        let key = vaults.all().first().and_then(|vault| vault.id_key().ok().cloned());
        let mut history = Self { key, ..Self::default() };
        history.all_regions = vaults.all().iter().map(|vault| vault.region_id().clone()).collect();
        history.load_backups(vaults, cluster, wanted, context).await?;
        history.load_unfinished(vaults, cluster, context).await?;
        Ok(history)
    }

    async fn load_backups(
        &mut self,
        vaults: &RegionVaults,
        cluster: &ClusterTarget,
        wanted: &[CollectionName],
        context: &RunContext,
    ) -> Result<(), EngineError> {
        let Ok(home) = vaults.get(&cluster.home_region) else { return Ok(()) };
        let mut missing: BTreeSet<Digest> = wanted.iter().filter_map(|name| self.name_id(name)).collect();
        let mut recent = match Recent::of(&home).await {
            Ok(recent) => recent,
            Err(error) => {
                tracing::warn!(%error, "earlier backups could not be listed; everything is read anew");
                return Ok(());
            }
        };
        let mut read = 0;
        while !missing.is_empty() && read < BACKUPS {
            context.stop.check()?;
            let Some(root) = recent.next(&home).await else { break };
            if root.cluster_id != cluster.id {
                continue;
            }
            read += 1;
            let parts = read_parts(vaults, &root).await;
            let known = self.add(&root, &parts);
            missing.retain(|name| !known.contains(name));
        }
        Ok(())
    }

    /// Reads what attempts that did not end in a backup have stored, from their pins.
    async fn load_unfinished(
        &mut self,
        vaults: &RegionVaults,
        cluster: &ClusterTarget,
        context: &RunContext,
    ) -> Result<(), EngineError> {
        let Some(key) = self.key.clone() else { return Ok(()) };
        for vault in vaults.all() {
            context.stop.check()?;
            let region = vault.region_id();
            match vault.list_pins().await {
                Ok(pins) => {
                    for Unfinished { files, counts } in pins.iter().map(|pin| unfinished(pin, &cluster.id, &key)) {
                        for (identity, known) in files {
                            self.files.entry(region.clone()).or_default().entry(identity).or_insert(known);
                        }
                        self.counts.extend(counts);
                    }
                }
                Err(error) => tracing::warn!(%region, %error, "earlier attempts cannot be read; more is read anew"),
            }
        }
        Ok(())
    }

    /// Gives back the collections for which no older backup need be asked.
    fn add(&mut self, root: &RootOpen, parts: &[(RegionId, Part)]) -> BTreeSet<Digest> {
        let Some(key) = self.key.clone() else { return BTreeSet::new() };
        let mut regions: Vec<RegionId> = parts.iter().map(|(region, _)| region.clone()).collect();
        regions.push(root.home_region.clone());
        regions.sort();
        regions.dedup();
        let (mut seen, mut known) = (BTreeSet::new(), BTreeSet::new());
        for (region, part) in parts {
            // A host without a reader key finds in the open half what it needs: who the collection is and what digest a
            // file has, both hidden by the project's key.
            let sealed = part.sealed.open().ok();
            for (place, collection) in part.open.collections.iter().enumerate() {
                let named = sealed.and_then(|sealed| sealed.collections.get(place));
                self.add_files(&key, region, collection, named);
                if let Some((content, live_rows)) = named.and_then(|one| Some((&one.content_digest, one.live_rows?))) {
                    self.counts.insert(content_id(&key, content), live_rows);
                }
                let Some(name) = named.map(|named| key.name_id(&named.name)).or(collection.name_id) else { continue };
                // A backup made while the clock was wrong knows no file by its identity, an older one may.
                let mut segments = collection.files.iter().filter(|file| file.class == FileClass::Segment).peekable();
                if segments.peek().is_none() || segments.any(|file| file.identity.is_some()) {
                    known.insert(name);
                }
                if seen.insert(name) {
                    self.add_collection(root, &regions, region, name, named);
                }
            }
        }
        known
    }

    fn add_files(
        &mut self,
        key: &IdKey,
        region: &RegionId,
        collection: &CollectionFiles,
        named: Option<&CollectionSealed>,
    ) {
        let files = self.files.entry(region.clone()).or_default();
        for (place, file) in collection.files.iter().enumerate() {
            let Some(identity) = file.identity else { continue };
            let named = named.and_then(|named| named.files.get(place));
            if let Some(rows) = named.and_then(|named| named.rows) {
                self.rows.insert(identity, rows);
            }
            let named = named.map(|named| named.digest);
            let masked = || file.masked_digest.map(|masked| key.mask_digest(&file.blobs, &masked));
            let Some(digest) = named.or_else(masked) else { continue };
            let known = KnownFile { size_bytes: file.size_bytes, blobs: file.blobs.clone(), digest, unfinished: false };
            files.entry(identity).or_insert(known);
        }
    }

    fn add_collection(
        &mut self,
        open: &RootOpen,
        regions: &[RegionId],
        region: &RegionId,
        name: Digest,
        named: Option<&CollectionSealed>,
    ) {
        if self.last.contains_key(&name) {
            return;
        }
        let extra = named.map(|named| &named.extra);
        let last = LastBackup {
            backup_id: open.backup_id.clone(),
            time: open.created,
            regions: regions.to_vec(),
            codecs: extra.map(|extra| strings(extra, "codecs")).unwrap_or_default(),
            stored_bytes: open.sizes.stored_bytes,
        };
        self.last.insert(name, last);
        self.regions.insert(name, region.clone());
        if let Some(named) = named {
            self.points.insert(name, named.consistent_point.clone());
        }
        for kind in [PolicyKind::Selection, PolicyKind::Placement] {
            let code = extra.and_then(|extra| extra.get(reason_key(kind))).and_then(Value::as_str);
            if let Some(code) = code {
                self.reasons.insert((kind.as_str(), name), code.to_owned());
            }
        }
    }

    fn name_id(&self, name: &CollectionName) -> Option<Digest> {
        Some(self.key.as_ref()?.name_id(name))
    }

    /// The newest good backup of a collection.
    pub(crate) fn last_backup(&self, name: &CollectionName) -> Option<LastBackup> {
        self.last.get(&self.name_id(name)?).cloned()
    }

    /// Code of the reason that a kind of policy gave for a collection in its newest backup.
    pub(crate) fn reason_code(&self, kind: PolicyKind, name: &CollectionName) -> Option<String> {
        self.reasons.get(&(kind.as_str(), self.name_id(name)?)).cloned()
    }

    /// Tells whether the region that held this collection last holds a file of it; any region when none held it.
    pub(crate) fn holder(&self, name: &CollectionName) -> impl Fn(&Digest, u64) -> bool {
        let last = self.name_id(name).and_then(|name| self.regions.get(&name));
        let regions = last.map_or(self.all_regions.as_slice(), std::slice::from_ref);
        move |identity, size_bytes| regions.iter().any(|region| self.find_keyed(region, identity, size_bytes).is_some())
    }

    /// The description of the newest point of a collection.
    pub(crate) fn point(&self, name: &CollectionName) -> Option<&Value> {
        self.points.get(&self.name_id(name)?)
    }

    /// Live rows of a collection, if the very same content was counted before: they follow from it.
    pub(crate) fn live_rows(&self, content: &Digest) -> Option<u64> {
        self.counts.get(&content_id(self.key.as_ref()?, content)).copied()
    }

    /// The file as a region's vault holds it, if an earlier backup stored the one of this keyed identity there.
    pub(crate) fn find_keyed(&self, region: &RegionId, identity: &Digest, size_bytes: u64) -> Option<&KnownFile> {
        self.files.get(region)?.get(identity).filter(|known| known.size_bytes == size_bytes)
    }

    /// The project's key, where there is a vault.
    pub(crate) fn key(&self) -> Option<IdKey> {
        self.key.clone()
    }

    /// The identity of a file as a manifest keeps it.
    pub(crate) fn keyed(&self, identity: &FileIdentity) -> Option<Digest> {
        // Field order is fixed by the type, so the same identity always gives the same bytes.
        let bytes = serde_json::to_vec(identity).ok()?;
        Some(self.key.as_ref()?.identity(&bytes))
    }
}

impl KnownFiles for History {
    fn look_up(&self, collection: &CollectionName, file: &FileIdentity) -> longshore_source::KnownFile {
        let Some(identity) = self.keyed(file) else { return longshore_source::KnownFile::default() };
        longshore_source::KnownFile {
            rows: self.rows.get(&identity).copied(),
            is_stored: self.holder(collection)(&identity, file.size_bytes),
        }
    }
}

/// A history that is being read, and what waits for it.
pub(crate) fn loading() -> (Loading, Awaited) {
    let cell = Arc::new(OnceLock::new());
    (Loading(Arc::clone(&cell)), Awaited(cell))
}

/// The end of [`loading`] that reads. Dropped before it finished, it leaves an empty history, so that nobody waits for ever.
pub(crate) struct Loading(Arc<OnceLock<Arc<History>>>);

impl Loading {
    pub(crate) fn finish(self, history: Arc<History>) {
        // Only this end ever sets it.
        drop(self.0.set(history));
    }
}

impl Drop for Loading {
    fn drop(&mut self) {
        self.0.get_or_init(Arc::default);
    }
}

/// The end of [`loading`] that waits, on threads that may.
pub(crate) struct Awaited(Arc<OnceLock<Arc<History>>>);

impl KnownFiles for Awaited {
    fn look_up(&self, collection: &CollectionName, file: &FileIdentity) -> longshore_source::KnownFile {
        self.0.wait().look_up(collection, file)
    }
}

/// The backups of a vault, newest first, read one by one.
enum Recent {
    /// By the time at which the store says they were written.
    Named(std::vec::IntoIter<NamedBackup>),
    /// All were read; by the time they say themselves.
    Read(std::vec::IntoIter<RootOpen>),
}

impl Recent {
    async fn of(home: &Vault) -> Result<Self, VaultError> {
        Ok(Self::Named(home.name_backups().await?.into_iter()))
    }

    async fn next(&mut self, home: &Vault) -> Option<RootOpen> {
        loop {
            let named = match self {
                Self::Named(named) => named.next()?,
                Self::Read(roots) => return roots.next(),
            };
            match home.summary(&named).await {
                Ok(BackupSummary { root, .. }) => {
                    let late_ms = named.written.as_millis().saturating_sub(root.created.as_millis());
                    if late_ms <= WRITTEN_AGAIN_MS {
                        return Some(root);
                    }
                    let listed = home.list_backups().await.unwrap_or_default();
                    // Listed oldest first. What was given out before is given again, which changes nothing.
                    let roots: Vec<RootOpen> = listed.backups.into_iter().rev().map(|summary| summary.root).collect();
                    *self = Self::Read(roots.into_iter());
                }
                Err(error) => tracing::warn!(backup = %named.backup_id, %error, "left out of the history"),
            }
        }
    }
}

/// What the open vaults hold of a backup; what cannot be read is left out.
async fn read_parts(vaults: &RegionVaults, root: &RootOpen) -> Vec<(RegionId, Part)> {
    let mut parts = Vec::new();
    for vault in vaults.all() {
        let references = match vault.parts_here(&root.backup_id, root.token).await {
            Ok(references) => references,
            Err(error) => {
                tracing::warn!(backup = %root.backup_id, vault = %vault.id(), %error, "left out of the history");
                continue;
            }
        };
        for reference in references {
            match vault.load_part(&reference).await {
                Ok(part) => parts.push((vault.region_id().clone(), part)),
                Err(error) => {
                    tracing::warn!(part = reference.key, vault = %vault.id(), %error, "left out of the history");
                }
            }
        }
    }
    parts
}

/// Under which name a manifest keeps the reason code of a kind of policy about a collection.
pub(crate) fn reason_key(kind: PolicyKind) -> &'static str {
    match kind {
        PolicyKind::Selection => "selectionReason",
        PolicyKind::Compression => "compressionReason",
        PolicyKind::Placement => "placementReason",
    }
}

fn strings(value: &Value, key: &str) -> Vec<String> {
    let list = value.get(key).and_then(Value::as_array);
    list.into_iter().flatten().filter_map(|item| item.as_str().map(str::to_owned)).collect()
}
