//! Verification: how far what a part promises is really there.
//!
//! Contract: damage is a finding, never an error, and everything that was asked for is looked at. A collection is called
//! damaged only when a blob of it can be read from no pack at all. A verification that was stopped goes on with the
//! packs that were not found good yet ([`VerifyOptions::good`]); damaged ones are looked at again, so no finding is
//! lost. Memory is bounded whatever the packs' sizes are ([`pack`]).

mod elsewhere;
mod header;
pub(crate) mod keys;
mod pack;
mod sample;
mod unneeded;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};

use futures::{StreamExt, TryStreamExt, stream};

pub use self::sample::Sample;
pub use self::unneeded::UnneededPacks;
use crate::index::NOTHING;
use crate::{BlobEntry, BlobId, PackId, Part, Reader, Sealed, Vault, VaultError, layout};

/// What stands for index objects of which nobody knows the names.
pub const LOST_INDEX: &str = layout::INDEX;

/// What stands for a list of recipients of which nobody knows the name.
pub const LOST_LIST: &str = layout::RECIPIENTS;

/// Blobs that could not be read: by blob the object it lies in and what is wrong.
type Unread = HashMap<BlobId, (String, String)>;

/// What nobody can decrypt any more.
#[derive(Default)]
struct LostKeys {
    packs: HashSet<PackId>,
    /// The key of the part itself, and what is wrong with it.
    of_part: Option<(String, String)>,
}

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

impl ObjectDamage {
    /// True for a snapshot of a catalog.
    #[must_use]
    pub fn is_catalog(&self) -> bool {
        layout::CatalogKey::parse(&self.object).is_some()
    }
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
    /// Blobs of these files whose packs were looked at in this run, or were found good in an earlier one
    /// ([`VerifyOptions::good`]). Equal to `blobs` unless only a sample was read.
    pub checked_blobs: u64,
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
    /// Packs that hold the part's blobs.
    pub packs: u64,
    /// Packs that were read in this run.
    pub packs_read: u64,
    /// Packs that were read, are as long as they should be, and are not what their names say, or that nobody can decrypt:
    /// the next backup must not rely on them ([`Vault::note_damage`]).
    pub damaged_packs: Vec<PackId>,
    /// Packs that were read and are good.
    pub good_packs: Vec<PackId>,
    /// Blobs of the part that can be read from no pack: all of them, once each.
    pub bad_blobs: Vec<BlobId>,
    /// Blobs of the part that lie in the packs of the sample; empty when everything was read.
    pub sampled_blobs: HashSet<BlobId>,
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
    /// Packs read at the same time. Each takes about two ranges of
    /// [`Limits::verify_range_bytes`](crate::Limits::verify_range_bytes).
    pub packs_in_flight: usize,
    /// Only these packs are read; all others are only looked for. `None` reads all.
    pub sample: Option<Sample>,
    /// Packs that an earlier run found good at this level or a deeper one: they are not read again.
    pub good: HashSet<PackId>,
    /// Told the bytes of packs read so far and in all.
    pub on_bytes: &'a (dyn Fn(u64, u64) + Send + Sync),
    /// Told each pack that was read, and whether it is good.
    pub on_pack: &'a (dyn Fn(PackId, bool) + Send + Sync),
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
        Self { level, packs_in_flight, sample: None, good: HashSet::new(), on_bytes, on_pack: &|_, _| {} }
    }
}

impl Vault {
    /// Verifies a part. Damage is a finding, not an error: everything is looked at, and the report says what is hit.
    ///
    /// # Errors
    /// [`VaultError::Locked`] when blobs of an encrypted vault are to be decoded without a reader key; failures of the
    /// store other than missing objects.
    pub async fn verify(&self, part: &Part, options: VerifyOptions<'_>) -> Result<VerifyReport, VaultError> {
        if options.level >= VerifyLevel::Decoded && !self.is_readable() {
            return Err(VaultError::Locked);
        }
        let reader = self.open_reader().await?;
        let mut report = VerifyReport { objects: reader.index_damages().to_vec(), ..VerifyReport::default() };
        let wanted: HashSet<BlobId> = all_blobs(part).copied().collect();
        let mut bad = Unread::new();
        for id in wanted.iter().filter(|id| reader.index().first(id).is_none()) {
            bad.insert(*id, (String::new(), "it is in no pack that is there".to_owned()));
        }
        report.objects.extend(lost_index(&reader, part));
        report.objects.extend(self.lost_list(part).await?);
        let mut unread = Unread::new();
        let lost = self.look_for_keys(part, &reader, &wanted, &mut report, &mut unread).await?;
        let checked = self.read_packs(&reader, &wanted, &options, &mut report, &mut unread).await?;
        bad.extend(self.nowhere_else(&reader, unread, &lost.packs, &options, &mut report).await?);
        if let Some(found) = lost.of_part {
            // It is sealed whose bytes these are: that they can be read is of no use to anybody.
            for id in &wanted {
                bad.entry(*id).or_insert_with(|| found.clone());
            }
        }
        // Their bytes are as they were, and no backup must rely on them.
        report.good_packs.retain(|pack| !lost.packs.contains(pack));
        let told: HashSet<PackId> = report.damaged_packs.iter().copied().collect();
        report.damaged_packs.extend(lost.packs.into_iter().filter(|pack| !told.contains(pack)));
        if options.sample.is_some() {
            let in_sample = |id: &BlobId| reader.index().first(id).is_some_and(|place| checked.contains(&place.pack));
            report.sampled_blobs = wanted.iter().filter(|id| in_sample(id)).copied().collect();
        }
        let judge = |files| self.judge(files, &reader, &bad, &checked);
        report.collections = part.open.collections.iter().map(judge).collect();
        report.bad_blobs = bad.into_keys().collect();
        report.bad_blobs.sort_unstable();
        report.objects.sort_by(|one, other| one.object.cmp(&other.object));
        report.objects.dedup();
        Ok(report)
    }

    /// Names the keys that are lost of what this part is encrypted with. Blobs that are read first from a pack that nobody can
    /// decrypt any more are added to `unread`.
    async fn look_for_keys(
        &self,
        part: &Part,
        reader: &Reader,
        wanted: &HashSet<BlobId>,
        report: &mut VerifyReport,
        unread: &mut Unread,
    ) -> Result<LostKeys, VaultError> {
        if !self.is_encrypted() {
            return Ok(LostKeys::default());
        }
        // Of all packs that could stand in for another one, too.
        let sessions = keys::sessions_of(self, reader.packs_of(wanted).into_iter()).await?;
        let mut lost = self.sessions_without_key(sessions).await?;
        if let Sealed::Locked(locked) = &part.sealed {
            for session in self.without_key(std::iter::once(locked.session)).await? {
                lost.entry(session).or_default();
            }
        }
        report.objects.extend(lost.keys().map(keys::lost_key));
        for place in wanted.iter().filter_map(|id| reader.index().first(id)) {
            if let Some((session, _)) = lost.iter().find(|(_, packs)| packs.contains(&place.pack)) {
                let found = format!("the key of its session {session} is gone");
                unread.insert(place.entry.id, (layout::pack_path(&place.pack).to_string(), found));
            }
        }
        let of_part = match &part.sealed {
            Sealed::Locked(locked) if lost.contains_key(&locked.session) => {
                let found = format!("the key of its part, {}, is gone", locked.session);
                Some((keys::lost_key(&locked.session).object, found))
            }
            _ => None,
        };
        Ok(LostKeys { packs: lost.into_values().flatten().collect(), of_part })
    }

    /// A list of recipients that counted when the part was written, where neither it nor a newer one is here. Told by names:
    /// one that is damaged is found by [`Vault::record_damages`].
    async fn lost_list(&self, part: &Part) -> Result<Option<ObjectDamage>, VaultError> {
        let Some(wanted) = part.open.recipients else { return Ok(None) };
        let listed = self.objects().list(Some(layout::RECIPIENTS)).await?;
        let there = listed.iter().filter_map(|meta| layout::parse_recipients_path(meta.location.as_ref()));
        if there.map(|(generation, _)| generation).max() >= Some(wanted) {
            return Ok(None);
        }
        let expected = format!("the list of recipients of generation {wanted}, or a newer one");
        Ok(Some(ObjectDamage { object: LOST_LIST.to_owned(), expected, found: NOTHING.to_owned() }))
    }

    /// Reads the packs that hold wanted blobs, several at a time, and answers which packs are known by now. Wanted
    /// blobs that cannot be read from one of them are added to `unread`.
    async fn read_packs(
        &self,
        reader: &Reader,
        wanted: &HashSet<BlobId>,
        options: &VerifyOptions<'_>,
        report: &mut VerifyReport,
        unread: &mut Unread,
    ) -> Result<HashSet<PackId>, VaultError> {
        let mut packs: BTreeMap<PackId, Vec<BlobEntry>> = reader.by_pack(wanted.iter()).into_iter().collect();
        report.packs = packs.len() as u64;
        if options.level == VerifyLevel::Exists {
            return Ok(packs.into_keys().collect());
        }
        if let Some(sample) = &options.sample {
            let chosen: HashSet<PackId> = sample.choose(packs.keys().copied().collect()).into_iter().collect();
            packs.retain(|pack, _| chosen.contains(pack));
        }
        let checked: HashSet<PackId> = packs.keys().copied().collect();
        packs.retain(|pack, _| !options.good.contains(pack));
        for (pack, finding) in look_at_all(reader, packs, options).await? {
            let bad = finding.told_in(report, pack).into_iter().filter(|(id, _)| wanted.contains(id));
            unread.extend(bad.map(|(id, found)| (id, (layout::pack_path(&pack).to_string(), found))));
        }
        Ok(checked)
    }

    /// Puts together what is known about one collection.
    fn judge(
        &self,
        files: &crate::CollectionFiles,
        reader: &Reader,
        bad: &Unread,
        checked: &HashSet<PackId>,
    ) -> CollectionReport {
        let mut report = CollectionReport { number: files.number, ..CollectionReport::default() };
        for file in &files.files {
            report.files += 1;
            report.blobs += file.blobs.len() as u64;
            report.plain_bytes = report.plain_bytes.saturating_add(file.size_bytes);
            let mut damages: Vec<BlobDamage> = Vec::new();
            for blob in &file.blobs {
                let place = reader.index().first(blob);
                report.checked_blobs += u64::from(place.is_none_or(|place| checked.contains(&place.pack)));
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

/// Reads packs, several at a time.
async fn look_at_all(
    reader: &Reader,
    packs: BTreeMap<PackId, Vec<BlobEntry>>,
    options: &VerifyOptions<'_>,
) -> Result<Vec<(PackId, pack::PackFinding)>, VaultError> {
    let bytes_of = |pack: &PackId| reader.index().pack_bytes(pack).unwrap_or_default();
    let total: u64 = packs.keys().map(bytes_of).sum();
    let done = AtomicU64::new(0);
    let done = &done;
    stream::iter(packs)
        .map(|(pack, entries)| async move {
            let bytes = bytes_of(&pack);
            let finding = pack::look_at(reader, pack, bytes, &entries, options.level).await?;
            (options.on_pack)(pack, finding.damage.is_none() && finding.bad.is_empty());
            (options.on_bytes)(done.fetch_add(bytes, Ordering::Relaxed) + bytes, total);
            Ok::<_, VaultError>((pack, finding))
        })
        .buffer_unordered(options.packs_in_flight.max(1))
        .try_collect()
        .await
}

/// Every blob a part names, as often as it names it.
fn all_blobs(part: &Part) -> impl Iterator<Item = &BlobId> {
    part.open.collections.iter().flat_map(|collection| &collection.files).flat_map(|file| &file.blobs)
}

/// Packs that the part names stood in index objects before the part was written. Those that do not have lost theirs, whose
/// name nobody knows. While one is damaged it is that which names them, as far as anybody can tell.
fn lost_index(reader: &Reader, part: &Part) -> Option<ObjectDamage> {
    let is_index = |damage: &ObjectDamage| layout::parse_index_path(&damage.object).is_some();
    if reader.index_damages().iter().any(is_index) {
        return None;
    }
    let mut packs = part.open.packs.iter().filter(|pack| reader.is_unindexed(&pack.id));
    let (first, more) = (packs.next()?, packs.count());
    let expected = format!(
        "an index object that names the pack {}{}",
        first.id,
        match more {
            0 => String::new(),
            more => format!(" and {more} more"),
        }
    );
    Some(ObjectDamage { object: LOST_INDEX.to_owned(), expected, found: NOTHING.to_owned() })
}
