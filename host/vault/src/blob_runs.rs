//! Reading blobs that lie beside each other in one pack with one read.
//!
//! Contract: a run is no more than a way to read; each blob is checked as if it were read alone, and what cannot be read
//! that way is read alone, so that another pack may stand in for a damaged one.

use bytes::Bytes;

use crate::index::Location;
use crate::{BlobEntry, BlobId, PackId, Reader, VaultError, layout};

/// Bytes between two blobs that are read and thrown away: another read would cost more.
const GAP_BYTES: u64 = 32 * 1024;

/// Blobs that are read together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlobRun {
    /// Their pack; `None` for a blob that is in none.
    pack: Option<PackId>,
    /// Each with its place in the list that was asked for, in order of their offsets.
    blobs: Vec<(usize, BlobId, Option<BlobEntry>)>,
}

impl BlobRun {
    /// Number of blobs in it; never 0.
    #[must_use]
    pub fn blobs(&self) -> usize {
        self.blobs.len()
    }

    fn of((place, blob, location): (usize, BlobId, Option<Location>)) -> Self {
        let (pack, entry) = (location.map(|location| location.pack), location.map(|location| location.entry));
        Self { pack, blobs: vec![(place, blob, entry)] }
    }

    /// First and last byte of it in its pack; `None` where nothing is known.
    fn range(&self) -> Option<(u64, u64)> {
        let entries = || self.blobs.iter().filter_map(|(_, _, entry)| entry.as_ref());
        Some((entries().map(|entry| entry.offset).min()?, entries().map(BlobEntry::end).max()?))
    }

    /// Whether a blob at `location` still belongs to it.
    fn takes(&self, location: Option<Location>, most_bytes: u64) -> bool {
        let (Some(location), Some((start, end))) = (location, self.range()) else { return false };
        let entry = &location.entry;
        let plain: u64 =
            self.blobs.iter().filter_map(|(_, _, entry)| Some(u64::from(entry.as_ref()?.plain_bytes))).sum();
        self.pack == Some(location.pack)
            && entry.offset <= end.saturating_add(GAP_BYTES)
            && entry.end().saturating_sub(start) <= most_bytes
            && plain.saturating_add(u64::from(entry.plain_bytes)) <= most_bytes
    }
}

impl Reader {
    /// Sorts blobs into runs of at most `most_bytes` each, as they lie in packs and as they are when decoded. Every blob is
    /// in one of them.
    #[must_use]
    pub fn runs(&self, blobs: &[BlobId], most_bytes: u64) -> Vec<BlobRun> {
        let find = |(place, blob): (usize, &BlobId)| (place, *blob, self.index().first(blob));
        let mut found: Vec<_> = blobs.iter().enumerate().map(find).collect();
        found.sort_by_key(|(place, _, location)| {
            (location.as_ref().map(|location| (location.pack, location.entry.offset)), *place)
        });
        let mut runs: Vec<BlobRun> = Vec::new();
        for one in found {
            match runs.last_mut() {
                Some(run) if run.takes(one.2, most_bytes) => {
                    run.blobs.push((one.0, one.1, one.2.map(|location| location.entry)));
                }
                _ => runs.push(BlobRun::of(one)),
            }
        }
        runs
    }

    /// Reads the blobs of a run; each comes with its place in the list that was asked for.
    ///
    /// # Errors
    /// As [`Reader::read_blob`].
    pub async fn read_run(&self, run: &BlobRun) -> Result<Vec<(usize, Bytes)>, VaultError> {
        let together = if run.blobs.len() > 1 { self.read_together(run).await } else { Vec::new() };
        let mut together = together.into_iter();
        let mut read = Vec::with_capacity(run.blobs.len());
        for (place, blob, _) in &run.blobs {
            let plain = match together.next().flatten() {
                Some(plain) => plain,
                None => self.read_blob(blob).await?,
            };
            read.push((*place, plain));
        }
        Ok(read)
    }

    /// The blobs of a run in its order, as far as one read of their pack gives them.
    async fn read_together(&self, run: &BlobRun) -> Vec<Option<Bytes>> {
        let (Some(pack), Some((start, end))) = (run.pack, run.range()) else { return Vec::new() };
        let Ok(opener) = self.opener(&pack).await else { return Vec::new() };
        let stored = self.vault().objects().get_range(&layout::pack_path(&pack), start..end).await;
        let Ok(Some(stored)) = stored else { return Vec::new() };
        let entries: Vec<Option<BlobEntry>> = run.blobs.iter().map(|(_, _, entry)| *entry).collect();
        let reader = self.clone();
        self.on_a_cpu_thread(move || {
            let decode = |entry: Option<BlobEntry>| {
                let entry = entry?;
                let from = usize::try_from(entry.offset - start).ok()?;
                let to = usize::try_from(entry.end() - start).ok()?;
                if to > stored.len() {
                    return None;
                }
                let plain = reader.decode(&opener, &entry, &stored.slice(from..to));
                plain.inspect_err(|found| tracing::warn!(blob = %entry.id, pack = %pack, found, "is read alone")).ok()
            };
            entries.into_iter().map(decode).collect()
        })
        .await
        .unwrap_or_default()
    }
}
