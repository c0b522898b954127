//! The catalog backs itself up: now and again a snapshot of it goes into vaults, where `longshore catalog rebuild` finds it.
//!
//! Contract: a snapshot holds everything of one moment (schedules, keys as their hashes, the audit log, which job made what).
//! It is written only when something has changed since the last one, or that one is gone, and encrypted where the vault is. A
//! prune removes old ones. Backups do not depend on it: what is newer than the newest snapshot is found by the manifests.
//!
//! Failure: a region whose vault does not answer is said in the log and tried again the next time; the others get theirs.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use longshore_model::{Digest, RegionId, Timestamp};
use longshore_vault::{CatalogSnapshot, digest_of};

use crate::EngineError;
use crate::blocking::blocking;
use crate::host::{Host, Inner};
use crate::worker::sentence;

/// Name of the file a snapshot is first written to, in the data directory.
const FILE: &str = "catalog-snapshot.tmp";

/// What this process has written: which content, and when.
#[derive(Debug, Default)]
pub(crate) struct SnapshotLog {
    last: Mutex<BTreeMap<RegionId, (Digest, CatalogSnapshot)>>,
    /// One snapshot at a time: they share a file.
    writing: tokio::sync::Mutex<()>,
}

impl SnapshotLog {
    /// When the newest snapshot of each region was written.
    pub(crate) fn written(&self) -> BTreeMap<RegionId, Timestamp> {
        self.lock().iter().map(|(region, (_, last))| (region.clone(), last.created)).collect()
    }

    /// The newest snapshot of a region, if it is of this content.
    fn of(&self, region: &RegionId, digest: &Digest) -> Option<CatalogSnapshot> {
        self.lock().get(region).filter(|(last, _)| last == digest).map(|(_, snapshot)| snapshot.clone())
    }

    fn note(&self, region: RegionId, digest: Digest, snapshot: CatalogSnapshot) {
        self.lock().insert(region, (digest, snapshot));
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<RegionId, (Digest, CatalogSnapshot)>> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Writes snapshots, again and again, until the host stops.
pub(crate) async fn run(inner: Arc<Inner>) {
    let host = Host { inner: Arc::clone(&inner) };
    while inner.stop.check().is_ok() {
        match host.snapshot_catalog().await {
            Ok(regions) if regions.is_empty() => {}
            Ok(regions) => tracing::debug!(?regions, "snapshot of the catalog written"),
            Err(error) => tracing::warn!(%error, "no snapshot of the catalog was written; the next look tries again"),
        }
        let minutes = inner.config().catalog_snapshots.every_minutes;
        tokio::select! {
            () = inner.stop.stopped() => {}
            () = tokio::time::sleep(Duration::from_secs(u64::from(minutes.max(1)) * 60)) => {}
        }
    }
}

impl Host {
    /// Writes a snapshot of the catalog into the vaults of the configured regions, but for those that still hold one of the
    /// same content from this process. Answers which regions got one. The host does so by itself.
    ///
    /// # Errors
    /// [`EngineError::Catalog`], [`EngineError::File`]; [`EngineError::Vault`] when a vault did not take it, after the
    /// others were written to.
    pub async fn snapshot_catalog(&self) -> Result<Vec<RegionId>, EngineError> {
        let config = self.inner.config();
        let regions = config.snapshot_regions();
        if regions.is_empty() {
            return Ok(Vec::new());
        }
        let _one = self.inner.snapshots.writing.lock().await;
        let (inner, folder) = (Arc::clone(&self.inner), config.data_directory.clone());
        let created = inner.clock.now();
        let bytes = blocking("taking a snapshot of the catalog", move || take(&inner, &folder)).await?;
        let digest = digest_of(&bytes);
        let (mut written, mut failed) = (Vec::new(), None);
        for region in regions {
            let put = async {
                let vault = self.inner.vaults.get(&region)?.with_throttle(self.inner.context.throttle.clone());
                if let Some(last) = self.inner.snapshots.of(&region, &digest)
                    && vault.list_catalogs().await.map_err(EngineError::vault(&region))?.contains(&last)
                {
                    return Ok(None);
                }
                vault.put_catalog(bytes.clone(), created).await.map(Some).map_err(EngineError::vault(&region))
            };
            match put.await {
                Ok(None) => {}
                Ok(Some(snapshot)) => {
                    self.inner.snapshots.note(region.clone(), digest, snapshot);
                    written.push(region);
                }
                Err(error) => {
                    let why = sentence(&error);
                    tracing::warn!(%region, why, "a vault did not take a snapshot of the catalog");
                    failed = Some(error);
                }
            }
        }
        failed.map_or(Ok(written), Err)
    }
}

/// The catalog as bytes. The file is private and removed at once: it holds the hashes of keys.
fn take(inner: &Inner, folder: &Path) -> Result<Bytes, EngineError> {
    let file = folder.join(FILE);
    remove(&file)?;
    let taken = inner.catalog.snapshot(&file).map_err(EngineError::from);
    let read = taken.and_then(|()| std::fs::read(&file).map_err(|error| EngineError::file(&file, error)));
    remove(&file)?;
    read.map(Bytes::from)
}

fn remove(file: &Path) -> Result<(), EngineError> {
    match std::fs::remove_file(file) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(EngineError::file(file, error)),
        _ => Ok(()),
    }
}
