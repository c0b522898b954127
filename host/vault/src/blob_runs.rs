//! Reading blobs that lie beside each other in one pack with one read.
//!
//! Contract: a run is no more than a way to read; each blob is checked as if it were read alone, and what cannot be read
//! that way is read alone, so that another pack may stand in for a damaged one.

use std::panic::{AssertUnwindSafe, catch_unwind};

use bytes::Bytes;

use crate::index::Location;
use crate::{BlobEntry, BlobId, PackId, Reader, VaultError, layout};

/// Bytes between two blobs that are read and thrown away: another read would cost more.
const GAP_BYTES: u64 = 32 * 1024;

/// What a task does that reads blobs for somebody.
const WORKING: &str = "works on blobs that were read";

/// Blobs that are read together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlobRun {
    /// Their pack; `None` for a blob that is in none.
    pack: Option<PackId>,
    /// Each with its place in the list that was asked for, in order of their offsets.
    blobs: Vec<(usize, BlobId, Option<BlobEntry>)>,
    /// First and last byte of it in its pack.
    start: u64,
    end: u64,
    /// Bytes of all of them when they are decoded.
    plain_bytes: u64,
}

impl BlobRun {
    /// Number of blobs in it; never 0.
    #[must_use]
    pub fn blobs(&self) -> usize {
        self.blobs.len()
    }

    /// A run that nothing is in yet, for blobs from a location on.
    fn at(location: Option<&Location>) -> Self {
        let start = location.map_or(0, |location| location.entry.offset);
        Self { pack: location.map(|location| location.pack), blobs: Vec::new(), start, end: start, plain_bytes: 0 }
    }

    fn add(&mut self, (place, blob, location): (usize, BlobId, Option<Location>)) {
        let entry = location.map(|location| location.entry);
        if let Some(entry) = &entry {
            self.end = self.end.max(entry.end());
            self.plain_bytes = self.plain_bytes.saturating_add(u64::from(entry.plain_bytes));
        }
        self.blobs.push((place, blob, entry));
    }

    /// Whether a blob at `location`, which is not before those in it, still belongs to it.
    fn takes(&self, location: Option<&Location>, most_bytes: u64) -> bool {
        let Some(location) = location else { return false };
        let entry = &location.entry;
        self.pack == Some(location.pack)
            && entry.offset <= self.end.saturating_add(GAP_BYTES)
            && entry.end().saturating_sub(self.start) <= most_bytes
            && self.plain_bytes.saturating_add(u64::from(entry.plain_bytes)) <= most_bytes
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
            let mut run = match runs.pop_if(|run| run.takes(one.2.as_ref(), most_bytes)) {
                Some(run) => run,
                None => BlobRun::at(one.2.as_ref()),
            };
            run.add(one);
            runs.push(run);
        }
        runs
    }

    /// Reads the blobs of a run; each comes with its place in the list that was asked for.
    ///
    /// # Errors
    /// As [`Reader::read_blob`].
    pub async fn read_run(&self, run: &BlobRun) -> Result<Vec<(usize, Bytes)>, VaultError> {
        self.read_run_for(run, |blobs| blobs).await
    }

    /// The same, and gives the blobs to `work`, which may wait for a disk: on the thread that decoded them, where they are
    /// in the processor's cache and need not be handed over.
    ///
    /// # Errors
    /// As [`Reader::read_blob`]; [`VaultError::TaskStopped`] when `work` panics.
    pub async fn read_run_for<T: Send + 'static>(
        &self,
        run: &BlobRun,
        work: impl FnOnce(Vec<(usize, Bytes)>) -> T + Send + 'static,
    ) -> Result<T, VaultError> {
        let (blobs, work) = match self.read_together(run, work).await? {
            Together::Worked(done) => return Ok(done),
            Together::Missing(blobs, work) => (blobs, work),
        };
        let mut together = blobs.into_iter();
        let mut read = Vec::with_capacity(run.blobs.len());
        for (place, blob, _) in &run.blobs {
            let plain = match together.next().flatten() {
                Some(plain) => plain,
                None => self.read_blob(blob).await?,
            };
            read.push((*place, plain));
        }
        tokio::task::spawn_blocking(move || work(read)).await.map_err(VaultError::stopped(WORKING))
    }

    /// Reads the blobs of a run with one read of their pack, as far as that gives them.
    async fn read_together<T, W>(&self, run: &BlobRun, work: W) -> Result<Together<T, W>, VaultError>
    where
        T: Send + 'static,
        W: FnOnce(Vec<(usize, Bytes)>) -> T + Send + 'static,
    {
        let nothing = |work| Ok(Together::Missing(Vec::new(), work));
        let Some(pack) = run.pack else { return nothing(work) };
        let (start, end) = (run.start, run.end);
        let Ok(opener) = self.opener(&pack).await else { return nothing(work) };
        let stored = self.vault().objects().get_range(&layout::pack_path(&pack), start..end).await;
        let Ok(Some(stored)) = stored else { return nothing(work) };
        let entries: Vec<(usize, Option<BlobEntry>)> =
            run.blobs.iter().map(|(place, _, entry)| (*place, *entry)).collect();
        let reader = self.clone();
        let decode = move || {
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
            // A decoder that panics over bytes of unknown origin has not read its blob, and no more.
            let decode = |entry| catch_unwind(AssertUnwindSafe(|| decode(entry))).unwrap_or_default();
            entries.into_iter().map(|(place, entry)| (place, decode(entry))).collect::<Vec<_>>()
        };
        let done = self.on_a_cpu_thread_and_then(decode, move |blobs| {
            if blobs.iter().any(|(_, plain)| plain.is_none()) {
                return Together::Missing(blobs.into_iter().map(|(_, plain)| plain).collect(), work);
            }
            Together::Worked(work(blobs.into_iter().filter_map(|(place, plain)| Some((place, plain?))).collect()))
        });
        done.await.map_err(VaultError::stopped(WORKING))
    }
}

/// What one read of a pack has led to.
enum Together<T, W> {
    /// All blobs were there.
    Worked(T),
    /// Some were not, or none.
    Missing(Vec<Option<Bytes>>, W),
}
