//! Verification: how far what a part promises is really there.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};

use crate::pack;
use crate::{BlobEntry, BlobId, PackId, Part, Reader, Vault, VaultError, layout};

/// How deep to look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum VerifyLevel {
    /// Every blob is in a pack that is there with its full length. Reads no pack.
    Exists,
    /// And the stored bytes of those packs hash to the packs' names. Needs no key.
    Stored,
    /// And every blob decodes to its id.
    Decoded,
}

/// An object that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectDamage {
    /// Its key.
    pub object: String,
    /// What should be there.
    pub expected: String,
    /// What is there.
    pub found: String,
}

/// A blob of a file that cannot be read back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlobDamage {
    /// Number of the file in its collection.
    pub file_number: u32,
    /// The blob.
    pub blob: BlobId,
    /// The pack it lies in; empty when it lies in none.
    pub object: String,
    /// What is wrong.
    pub found: String,
}

/// What was found about one collection.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CollectionReport {
    /// Number of the collection in the part.
    pub number: u32,
    /// Its files.
    pub files: u64,
    /// Blobs of these files, each counted for every file it is in.
    pub blobs: u64,
    /// Bytes of these files.
    pub plain_bytes: u64,
    /// Files that cannot be read back whole.
    pub damaged_files: u64,
    /// Blobs that cannot be read back: the first [`Limits::damages_listed`](crate::Limits::damages_listed) of them.
    pub damages: Vec<BlobDamage>,
}

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct VerifyReport {
    /// Collections, in order of number.
    pub collections: Vec<CollectionReport>,
    /// Packs and index objects that are missing or damaged, whether or not this part suffers from it.
    pub objects: Vec<ObjectDamage>,
    /// Bytes of packs that were read.
    pub read_bytes: u64,
}

impl VerifyReport {
    /// True when every file of the part can be read back, as far as the level tells.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.collections.iter().all(|collection| collection.damaged_files == 0)
    }
}

/// How a verification runs.
pub struct VerifyOptions<'a> {
    /// How deep to look.
    pub level: VerifyLevel,
    /// Packs read at the same time. Each is held in memory whole.
    pub packs_in_flight: usize,
    /// Told the bytes of packs read so far and in all.
    pub on_bytes: &'a (dyn Fn(u64, u64) + Send + Sync),
}

impl std::fmt::Debug for VerifyOptions<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("VerifyOptions").field("level", &self.level).finish_non_exhaustive()
    }
}

impl<'a> VerifyOptions<'a> {
    /// As many packs at the same time as the machine has processors, at most two, so that memory stays under the
    /// default budget.
    #[must_use]
    pub fn new(level: VerifyLevel, on_bytes: &'a (dyn Fn(u64, u64) + Send + Sync)) -> Self {
        let packs_in_flight = std::thread::available_parallelism().map_or(2, usize::from).min(2);
        Self { level, packs_in_flight, on_bytes }
    }
}

/// What reading one pack told about it.
struct PackFinding {
    damage: Option<ObjectDamage>,
    /// Blobs that cannot be read from it, and why.
    bad: Vec<(BlobId, String)>,
    read_bytes: u64,
}

impl Vault {
    /// Verifies a part. Damage is a finding, not an error: everything is looked at, and the report says what is hit.
    ///
    /// # Errors
    /// Failures of the store other than missing objects.
    pub async fn verify(&self, part: &Part, options: VerifyOptions<'_>) -> Result<VerifyReport, VaultError> {
        let reader = self.open_reader().await?;
        let mut report = VerifyReport { objects: reader.index_damages().to_vec(), ..VerifyReport::default() };
        let wanted: HashSet<BlobId> = all_blobs(part).copied().collect();
        let mut bad: HashMap<BlobId, (String, String)> = HashMap::new();
        for id in wanted.iter().filter(|id| reader.index().first(id).is_none()) {
            bad.insert(*id, (String::new(), "it is in no pack that is there".to_owned()));
        }
        if options.level > VerifyLevel::Exists {
            self.read_packs(&reader, &wanted, &options, &mut report, &mut bad).await?;
        }
        report.collections = part.open.collections.iter().map(|files| self.judge(files, &reader, &bad)).collect();
        report.objects.sort_by(|one, other| one.object.cmp(&other.object));
        report.objects.dedup();
        Ok(report)
    }

    /// Reads every pack that holds a wanted blob, several at a time.
    async fn read_packs(
        &self,
        reader: &Reader,
        wanted: &HashSet<BlobId>,
        options: &VerifyOptions<'_>,
        report: &mut VerifyReport,
        bad: &mut HashMap<BlobId, (String, String)>,
    ) -> Result<(), VaultError> {
        let packs: BTreeMap<PackId, Vec<BlobEntry>> = reader.by_pack(wanted.iter()).into_iter().collect();
        let total: u64 = packs.keys().filter_map(|pack| reader.index().pack_bytes(pack)).sum();
        let done = AtomicU64::new(0);
        let done = &done;
        let findings: Vec<(PackId, PackFinding)> = stream::iter(packs)
            .map(|(pack, entries)| async move {
                let finding = self.read_pack(reader, pack, entries, options.level).await?;
                let bytes = reader.index().pack_bytes(&pack).unwrap_or_default();
                (options.on_bytes)(done.fetch_add(bytes, Ordering::Relaxed) + bytes, total);
                Ok::<_, VaultError>((pack, finding))
            })
            .buffer_unordered(options.packs_in_flight.max(1))
            .try_collect()
            .await?;
        for (pack, finding) in findings {
            report.read_bytes += finding.read_bytes;
            report.objects.extend(finding.damage);
            for (id, found) in finding.bad {
                // Another pack may hold the blob whole.
                if reader.index().all(&id).len() > 1 && reader.read_blob(&id).await.is_ok() {
                    continue;
                }
                bad.insert(id, (layout::pack_path(&pack).to_string(), found));
            }
        }
        Ok(())
    }

    async fn read_pack(
        &self,
        reader: &Reader,
        pack: PackId,
        entries: Vec<BlobEntry>,
        level: VerifyLevel,
    ) -> Result<PackFinding, VaultError> {
        let path = layout::pack_path(&pack);
        let Some(bytes) = self.objects().get(&path, self.limits().pack_bytes).await? else {
            let damage =
                ObjectDamage { object: path.to_string(), expected: "a pack".to_owned(), found: "nothing".to_owned() };
            let bad = entries.iter().map(|entry| (entry.id, "its pack is missing".to_owned())).collect();
            return Ok(PackFinding { damage: Some(damage), bad, read_bytes: 0 });
        };
        let reader = reader.clone();
        let limits = *self.limits();
        let thread = self.throttle().cpu().await;
        let task = tokio::task::spawn_blocking(move || {
            let _thread = thread;
            let found = PackId::new((*blake3::hash(&bytes).as_bytes()).into());
            let index = pack::read_index(&bytes, &limits);
            let damage = match (&index, found == pack) {
                (_, false) => Some((pack.to_string(), found.to_string())),
                (Err(reason), true) => Some(("a pack".to_owned(), reason.to_string())),
                (Ok(_), true) => None,
            };
            let whole = damage.is_none() && level == VerifyLevel::Stored;
            let bad = if whole { Vec::new() } else { bad_blobs(&reader, &bytes, &entries, level) };
            PackFinding {
                damage: damage.map(|(expected, found)| ObjectDamage { object: path.to_string(), expected, found }),
                bad,
                read_bytes: bytes.len() as u64,
            }
        });
        task.await.map_err(|error| VaultError::TaskStopped { task: "verifies a pack", reason: error.to_string() })
    }

    /// Puts together what is known about one collection.
    fn judge(
        &self,
        files: &crate::CollectionFiles,
        reader: &Reader,
        bad: &HashMap<BlobId, (String, String)>,
    ) -> CollectionReport {
        let mut report = CollectionReport { number: files.number, ..CollectionReport::default() };
        for file in &files.files {
            report.files += 1;
            report.blobs += file.blobs.len() as u64;
            report.plain_bytes = report.plain_bytes.saturating_add(file.size_bytes);
            let mut damages: Vec<BlobDamage> = Vec::new();
            for blob in &file.blobs {
                if let Some((object, found)) = bad.get(blob) {
                    let (object, found) = (object.clone(), found.clone());
                    damages.push(BlobDamage { file_number: file.number, blob: *blob, object, found });
                }
            }
            if damages.is_empty() && reader.file_pieces(file).is_err() {
                let found = "the lengths of its blobs do not add up".to_owned();
                let blob = file.blobs.first().copied().unwrap_or(BlobId::new(crate::digest_of(&[])));
                damages.push(BlobDamage { file_number: file.number, blob, object: String::new(), found });
            }
            report.damaged_files += u64::from(!damages.is_empty());
            let room = self.limits().damages_listed.saturating_sub(report.damages.len());
            report.damages.extend(damages.into_iter().take(room));
        }
        report
    }
}

/// Looks at each wanted blob of a pack: decodes it, or, where decoding was not asked for, compares its checksum.
fn bad_blobs(reader: &Reader, bytes: &Bytes, entries: &[BlobEntry], level: VerifyLevel) -> Vec<(BlobId, String)> {
    let look = |entry: &BlobEntry| {
        let range = usize::try_from(entry.offset).ok()?..usize::try_from(entry.end()).ok()?;
        let stored = (range.end <= bytes.len()).then(|| bytes.slice(range));
        let Some(stored) = stored else { return Some("its pack ends before it".to_owned()) };
        match level {
            VerifyLevel::Decoded => reader.decode(entry, &stored).err(),
            _ if crc32fast::hash(&stored) == entry.checksum => None,
            _ => Some("its stored bytes do not match their checksum".to_owned()),
        }
    };
    entries.iter().filter_map(|entry| look(entry).map(|found| (entry.id, found))).collect()
}

/// Every blob a part names, as often as it names it.
fn all_blobs(part: &Part) -> impl Iterator<Item = &BlobId> {
    part.open.collections.iter().flat_map(|collection| &collection.files).flat_map(|file| &file.blobs)
}
