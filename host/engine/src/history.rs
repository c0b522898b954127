//! What earlier backups of a cluster hold: facts for policies, and the files that need not be read again.
//!
//! Contract: read from the vaults alone, newest backups first, a bounded number of them. A vault that cannot be read
//! only makes the history shorter: a backup then reads more than it had to, and is as good.

use std::collections::{BTreeMap, HashMap};

use longshore_model::{CollectionName, Digest, LastBackup, RegionId};
use longshore_source::{FileIdentity, PointFile};
use longshore_vault::{BlobId, IdKey};

use crate::opened::OpenedBackup;
use crate::plan::ClusterTarget;
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
}

/// What earlier backups hold.
#[derive(Debug, Default)]
pub(crate) struct History {
    key: Option<IdKey>,
    last: BTreeMap<CollectionName, LastBackup>,
    reasons: BTreeMap<CollectionName, String>,
    /// By region, because a file is only there where its blobs are.
    files: HashMap<(RegionId, Digest), KnownFile>,
    /// Regions of the newest backup of each collection.
    regions: BTreeMap<CollectionName, RegionId>,
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
        let Ok(home) = vaults.get(&cluster.home_region) else { return Ok(history) };
        let listed = match home.list_backups().await {
            Ok(listed) => listed,
            Err(error) => {
                tracing::warn!(%error, "earlier backups could not be listed; everything is read anew");
                return Ok(history);
            }
        };
        let earlier =
            listed.backups.into_iter().map(|summary| summary.root).filter(|root| root.cluster_id == cluster.id);
        // Listed oldest first.
        let newest: Vec<_> = earlier.rev().take(BACKUPS).collect();
        for summary in newest {
            context.stop.check()?;
            match OpenedBackup::find(vaults, Some(&cluster.home_region), &summary.backup_id).await {
                Ok(opened) => history.add(&opened)?,
                Err(error) => tracing::warn!(backup = %summary.backup_id, %error, "left out of the history"),
            }
        }
        Ok(history)
    }

    fn add(&mut self, opened: &OpenedBackup) -> Result<(), EngineError> {
        let open = &opened.root.open;
        for collection in opened.collections()? {
            let region = collection.vault.region_id();
            for (file, sealed) in collection.files.files.iter().zip(&collection.sealed.files) {
                let Some(identity) = file.identity else { continue };
                let known = KnownFile { size_bytes: file.size_bytes, blobs: file.blobs.clone(), digest: sealed.digest };
                self.files.entry((region.clone(), identity)).or_insert(known);
            }
            let name = &collection.sealed.name;
            if !self.last.contains_key(name) {
                let last = LastBackup {
                    backup_id: open.backup_id.clone(),
                    time: open.created,
                    regions: opened.regions(),
                    codecs: strings(&collection.sealed.extra, "codecs"),
                    stored_bytes: open.sizes.stored_bytes,
                };
                self.last.insert(name.clone(), last);
                self.regions.insert(name.clone(), region.clone());
                if let Some(code) = collection.sealed.extra.get("selectionReason").and_then(serde_json::Value::as_str) {
                    self.reasons.insert(name.clone(), code.to_owned());
                }
            }
        }
        Ok(())
    }

    /// The newest good backup of a collection.
    pub(crate) fn last_backup(&self, name: &CollectionName) -> Option<LastBackup> {
        self.last.get(name).cloned()
    }

    /// Reason code of the previous selection of a collection.
    pub(crate) fn reason_code(&self, name: &CollectionName) -> Option<String> {
        self.reasons.get(name).cloned()
    }

    /// Whether the region that held this collection last holds this file.
    pub(crate) fn holds(&self, name: &CollectionName, file: &PointFile) -> bool {
        self.regions.get(name).is_some_and(|region| self.find(region, file).is_some())
    }

    /// The file as a region's vault holds it, if an earlier backup stored the same one there.
    pub(crate) fn find(&self, region: &RegionId, file: &PointFile) -> Option<&KnownFile> {
        let identity = self.keyed(file.identity.as_ref()?)?;
        self.files.get(&(region.clone(), identity)).filter(|known| known.size_bytes == file.size_bytes)
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
