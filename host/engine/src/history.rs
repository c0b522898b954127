//! What earlier backups of a cluster hold: facts for policies, and the files that need not be read again.
//!
//! Contract: read from the vaults alone, newest backups first, a bounded number of them, then the pins of attempts that did
//! not end in a backup. A vault that cannot be read
//! only makes the history shorter: a backup then reads more than it had to, and is as good.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use longshore_model::{CollectionName, Digest, LastBackup, RegionId};
use longshore_source::{FileIdentity, PointFile};
use longshore_vault::{BlobId, CollectionFiles, CollectionSealed, IdKey};

use crate::opened::OpenedBackup;
use crate::plan::ClusterTarget;
use crate::resume::{Unfinished, content_id, unfinished};
use crate::vaults::RegionVaults;
use crate::{EngineError, RunContext};

/// Earlier backups that are looked at. A collection that was in none of them counts as never backed up.
const BACKUPS: usize = 8;

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
    reasons: BTreeMap<Digest, String>,
    /// By region, because a file is only there where its blobs are.
    files: HashMap<(RegionId, Digest), KnownFile>,
    /// Regions of the newest backup of each collection.
    /// Regions of the newest backup of each collection, by [`IdKey::name_id`].
    regions: BTreeMap<Digest, RegionId>,
    /// All regions there are.
    all_regions: Vec<RegionId>,
    /// Live rows by keyed content, of backups and of attempts that did not end in one.
    counts: HashMap<Digest, u64>,
}

impl History {
    /// Reads the newest backups of a cluster.
    pub(crate) async fn load(
        vaults: &RegionVaults,
        cluster: &ClusterTarget,
        context: &RunContext,
    ) -> Result<Self, EngineError> {
        let key = vaults.all().first().and_then(|vault| vault.id_key().ok().cloned());
        let mut history = Self { key, ..Self::default() };
        history.all_regions = vaults.all().iter().map(|vault| vault.region_id().clone()).collect();
        history.load_backups(vaults, cluster, context).await?;
        history.load_unfinished(vaults, cluster, context).await?;
        Ok(history)
    }

    async fn load_backups(
        &mut self,
        vaults: &RegionVaults,
        cluster: &ClusterTarget,
        context: &RunContext,
    ) -> Result<(), EngineError> {
        let Ok(home) = vaults.get(&cluster.home_region) else { return Ok(()) };
        let listed = match home.list_backups().await {
            Ok(listed) => listed,
            Err(error) => {
                tracing::warn!(%error, "earlier backups could not be listed; everything is read anew");
                return Ok(());
            }
        };
        let earlier =
            listed.backups.into_iter().map(|summary| summary.root).filter(|root| root.cluster_id == cluster.id);
        // Listed oldest first.
        let newest: Vec<_> = earlier.rev().take(BACKUPS).collect();
        for summary in newest {
            context.stop.check()?;
            match OpenedBackup::find(vaults, Some(&cluster.home_region), &summary.backup_id).await {
                Ok(opened) => self.add(&opened),
                Err(error) => tracing::warn!(backup = %summary.backup_id, %error, "left out of the history"),
            }
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
                            self.files.entry((region.clone(), identity)).or_insert(known);
                        }
                        self.counts.extend(counts);
                    }
                }
                Err(error) => tracing::warn!(%region, %error, "earlier attempts cannot be read; more is read anew"),
            }
        }
        Ok(())
    }

    fn add(&mut self, opened: &OpenedBackup) {
        let Some(key) = self.key.clone() else { return };
        let mut seen = BTreeSet::new();
        for part in &opened.parts {
            let region = part.vault.region_id();
            // A host without a reader key finds in the open half what it needs: who the collection is and what digest a
            // file has, both hidden by the project's key.
            let sealed = part.part.sealed.open().ok();
            for (place, collection) in part.part.open.collections.iter().enumerate() {
                let named = sealed.and_then(|sealed| sealed.collections.get(place));
                self.add_files(&key, region, collection, named);
                if let Some((content, live_rows)) = named.and_then(|one| Some((&one.content_digest, one.live_rows?))) {
                    self.counts.insert(content_id(&key, content), live_rows);
                }
                let name = named.map(|named| key.name_id(&named.name)).or(collection.name_id);
                let Some(name) = name.filter(|name| seen.insert(*name)) else { continue };
                self.add_collection(opened, region, name, named);
            }
        }
    }

    fn add_files(
        &mut self,
        key: &IdKey,
        region: &RegionId,
        collection: &CollectionFiles,
        named: Option<&CollectionSealed>,
    ) {
        for (place, file) in collection.files.iter().enumerate() {
            let Some(identity) = file.identity else { continue };
            let named = named.and_then(|named| named.files.get(place)).map(|named| named.digest);
            let masked = || file.masked_digest.map(|masked| key.mask_digest(&file.blobs, &masked));
            let Some(digest) = named.or_else(masked) else { continue };
            let known = KnownFile { size_bytes: file.size_bytes, blobs: file.blobs.clone(), digest, unfinished: false };
            self.files.entry((region.clone(), identity)).or_insert(known);
        }
    }

    fn add_collection(
        &mut self,
        opened: &OpenedBackup,
        region: &RegionId,
        name: Digest,
        named: Option<&CollectionSealed>,
    ) {
        if self.last.contains_key(&name) {
            return;
        }
        let open = &opened.root.open;
        let extra = named.map(|named| &named.extra);
        let last = LastBackup {
            backup_id: open.backup_id.clone(),
            time: open.created,
            regions: opened.regions(),
            codecs: extra.map(|extra| strings(extra, "codecs")).unwrap_or_default(),
            stored_bytes: open.sizes.stored_bytes,
        };
        self.last.insert(name, last);
        self.regions.insert(name, region.clone());
        let code = extra.and_then(|extra| extra.get("selectionReason")).and_then(serde_json::Value::as_str);
        if let Some(code) = code {
            self.reasons.insert(name, code.to_owned());
        }
    }

    fn name_id(&self, name: &CollectionName) -> Option<Digest> {
        Some(self.key.as_ref()?.name_id(name))
    }

    /// The newest good backup of a collection.
    pub(crate) fn last_backup(&self, name: &CollectionName) -> Option<LastBackup> {
        self.last.get(&self.name_id(name)?).cloned()
    }

    /// Reason code of the previous selection of a collection.
    pub(crate) fn reason_code(&self, name: &CollectionName) -> Option<String> {
        self.reasons.get(&self.name_id(name)?).cloned()
    }

    /// Whether the region that held this collection last holds this file; any region when none held it.
    pub(crate) fn holds(&self, name: &CollectionName, file: &PointFile) -> bool {
        match self.name_id(name).and_then(|name| self.regions.get(&name)) {
            Some(region) => self.find(region, file).is_some(),
            None => self.all_regions.iter().any(|region| self.find(region, file).is_some()),
        }
    }

    /// Live rows of a collection, if the very same content was counted before: they follow from it.
    pub(crate) fn live_rows(&self, content: &Digest) -> Option<u64> {
        self.counts.get(&content_id(self.key.as_ref()?, content)).copied()
    }

    /// The file as a region's vault holds it, if an earlier backup stored the same one there.
    pub(crate) fn find(&self, region: &RegionId, file: &PointFile) -> Option<&KnownFile> {
        let identity = self.keyed(file.identity.as_ref()?)?;
        self.files.get(&(region.clone(), identity)).filter(|known| known.size_bytes == file.size_bytes)
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

fn strings(value: &serde_json::Value, key: &str) -> Vec<String> {
    let list = value.get(key).and_then(serde_json::Value::as_array);
    list.into_iter().flatten().filter_map(|item| item.as_str().map(str::to_owned)).collect()
}
