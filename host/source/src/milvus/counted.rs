//! The rows of a point that a client sees, and their digest, segment by segment: what a backup keeps beside the files, and a
//! restore compares.
//!
//! Contract: the rows of a segment follow from its files, from the deletes that hit whole partitions, from its partition's name,
//! from the schema, and from the cut. A digest of all these but the cut is kept with them. So a later point reads only
//! segments that it does not know by that digest, or knows only with something in them that was later than the cut.

use std::collections::{BTreeMap, HashMap};

use longshore_model::Digest;
use serde_json::Value;

use super::binlog::{Deletes, damaged};
use super::kept::{KeptPoint, KeptRows, KeptSchema};
use super::layout::LogPath;
use super::row_schema::RowSchema;
use super::rows::CollectionLogs;
use crate::blocking::blocking;
use crate::{CollectionPoint, CountedPoint, Limits, SourceError, StoredFile};

const SEGMENT: &[u8] = b"longshore segment 1";

/// What is to be counted.
struct Uncounted {
    /// Names the collection in errors.
    shown: String,
    schema: KeptSchema,
    point: KeptPoint,
    /// All files of the point, and the BLAKE3 of each.
    files: Vec<StoredFile>,
    digests: Vec<Digest>,
    /// An earlier point of the collection.
    earlier: Option<KeptPoint>,
}

impl Uncounted {
    /// Counts. Blocks.
    ///
    /// # Errors
    /// [`SourceError::Damaged`] for logs that do not parse, or hold another number of rows than the server told;
    /// [`SourceError::Unsupported`], [`SourceError::LimitExceeded`], failures of reading.
    fn count(mut self, limits: &Limits) -> Result<CountedPoint, SourceError> {
        if let Some(reason) = self.point.unreadable() {
            return Err(SourceError::Unsupported { path: self.shown, reason: reason.to_owned() });
        }
        let schema = RowSchema::of(&self.schema.decode(&self.shown)?, &self.shown)?;
        let logs = CollectionLogs::of(&self.files)?;
        let cut = self.point.cut();
        let contents = self.contents(&schema)?;
        let known = self.known();
        let mut level_zero: Option<BTreeMap<i64, Deletes>> = None;
        let mut live_rows = 0_u64;
        for segment in &mut self.point.segments {
            let place = (segment.partition_id, segment.segment_id);
            let Some(of) = contents.get(&place).copied() else { continue };
            let found = match known.get(&of) {
                Some(found) => *found,
                None => {
                    let Some(rows) = logs.segment(place.0, place.1) else { continue };
                    let partition = self.point.partitions.iter().find(|one| one.partition_id == place.0);
                    let nameless = || damaged(&self.shown, format!("its partition {} has no name", place.0));
                    let partition = &partition.ok_or_else(nameless)?.name;
                    let deletes = match &level_zero {
                        Some(read) => read,
                        None => &*level_zero.insert(logs.level_zero(&schema, cut, limits)?),
                    };
                    let rows = rows.count(partition, &schema, deletes, cut, limits, &mut |_| {})?;
                    if rows.counted.physical != segment.rows {
                        let (there, told) = (rows.counted.physical, segment.rows);
                        let what =
                            format!("the logs of segment {} have {there} rows, and the server told {told}", place.1);
                        return Err(damaged(&self.shown, what));
                    }
                    KeptRows { sum: rows.counted.live, of, is_whole: rows.is_whole }
                }
            };
            live_rows = live_rows.saturating_add(found.sum.rows);
            segment.live = Some(found);
        }
        let description = serde_json::to_value(self.point);
        let description = description.map_err(|error| damaged(&self.shown, error.to_string()))?;
        Ok(CountedPoint { live_rows, description })
    }

    /// What is known of segments by what they follow from. What had something later in it holds at that very point only.
    fn known(&self) -> HashMap<Digest, KeptRows> {
        let Some(earlier) = &self.earlier else { return HashMap::new() };
        let same_cut = earlier.cut() == self.point.cut();
        let is_later = earlier.cut() <= self.point.cut();
        let kept = earlier.segments.iter().filter_map(|segment| segment.live);
        kept.filter(|rows| same_cut || (rows.is_whole && is_later)).map(|rows| (rows.of, rows)).collect()
    }

    /// Of each segment with rows, a digest of all that its rows follow from.
    fn contents(&self, schema: &RowSchema) -> Result<BTreeMap<(i64, i64), Digest>, SourceError> {
        if self.files.len() != self.digests.len() {
            return Err(damaged(&self.shown, "not each of its files has a digest"));
        }
        let mut own: BTreeMap<(i64, i64), Vec<(&str, &Digest)>> = BTreeMap::new();
        let mut with_rows = std::collections::BTreeSet::new();
        for (file, digest) in self.files.iter().zip(&self.digests) {
            let log = LogPath::parse(&file.path);
            let log = log.ok_or_else(|| damaged(&file.path, "it is no place of a log of Milvus"))?;
            let place = (log.partition_id, log.segment_id);
            own.entry(place).or_default().push((&file.path, digest));
            if log.field_id.is_some() {
                with_rows.insert(place);
            }
        }
        // Deletes of whole partitions hit every segment of them.
        let shared: Vec<(&str, &Digest)> =
            own.iter().filter(|(place, _)| !with_rows.contains(place)).flat_map(|(_, files)| files.clone()).collect();
        let schema = schema.fingerprint();
        let digests = own.iter().filter(|(place, _)| with_rows.contains(place)).map(|(place, files)| {
            let partition = self.point.partitions.iter().find(|one| one.partition_id == place.0);
            let mut hasher = blake3::Hasher::new();
            hasher.update(SEGMENT);
            let mut add = |bytes: &[u8]| {
                hasher.update(&(bytes.len() as u64).to_le_bytes()).update(bytes);
            };
            add(partition.map(|partition| partition.name.as_bytes()).unwrap_or_default());
            add(&schema);
            let mut files: Vec<_> = files.iter().chain(&shared).collect();
            files.sort_unstable();
            for (path, digest) in files {
                add(path.as_bytes());
                add(digest.as_bytes());
            }
            (*place, Digest::new(*hasher.finalize().as_bytes()))
        });
        Ok(digests.collect())
    }
}

/// Counts the rows of a point: `files` are its own, to be read, and `digests` the BLAKE3 of each. An `earlier` point that
/// cannot be read only makes it longer.
///
/// # Errors
/// As [`Uncounted::count`], but for what [`within_limits`] lets be.
pub(super) async fn count_point(
    point: &dyn CollectionPoint,
    files: Vec<StoredFile>,
    digests: &[Digest],
    earlier: Option<&Value>,
    limits: Limits,
) -> Result<Option<CountedPoint>, SourceError> {
    let shown = point.name().to_string();
    let uncounted = Uncounted {
        schema: KeptSchema::read(point.schema(), &shown)?,
        point: KeptPoint::read(point.description(), &shown)?,
        files,
        digests: digests.to_vec(),
        earlier: earlier.and_then(|earlier| KeptPoint::read(earlier, &shown).ok()),
        shown: shown.clone(),
    };
    within_limits(&shown, blocking(&shown, move || uncounted.count(&limits)).await)
}

/// What was counted; `None`, and a warning, where the limits or the files do not let it be: files are kept as they are, and what
/// cannot be counted at a backup, a restore counts. What vanished while it was counted is told as what it is.
pub(super) fn within_limits<T>(shown: &str, counted: Result<T, SourceError>) -> Result<Option<T>, SourceError> {
    match counted {
        Ok(counted) => Ok(Some(counted)),
        Err(error @ (SourceError::Unsupported { .. } | SourceError::LimitExceeded { .. })) => {
            tracing::warn!(collection = shown, %error, "its rows were not counted");
            Ok(None)
        }
        Err(SourceError::Io { path, error, .. }) if error.get_ref().is_some_and(|inner| inner.is::<SourceError>()) => {
            Err(SourceError::FileChanged { path, reason: error.to_string() })
        }
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::RowSum;
    use crate::milvus::kept::KeptSegment;

    fn point(flush_ms: u64, is_whole: bool) -> KeptPoint {
        let live = KeptRows { sum: RowSum::default(), of: Digest::new([3; 32]), is_whole };
        let segments = vec![KeptSegment { rows: 1, live: Some(live), ..KeptSegment::default() }];
        KeptPoint { flush_timestamp: flush_ms << 18, segments, ..KeptPoint::default() }
    }

    #[test]
    fn rows_are_known_at_the_same_point_and_at_later_ones_if_nothing_was_cut_off() {
        let is_known = |earlier: KeptPoint, now_ms: u64| {
            let uncounted = Uncounted {
                shown: "it".to_owned(),
                schema: KeptSchema::default(),
                point: point(now_ms, true),
                files: Vec::new(),
                digests: Vec::new(),
                earlier: Some(earlier),
            };
            !uncounted.known().is_empty()
        };
        assert!(is_known(point(5, true), 5) && is_known(point(5, true), 6), "nothing was cut off");
        assert!(is_known(point(5, false), 5), "the same point");
        assert!(!is_known(point(5, false), 6), "what was cut off then is of the point now");
        assert!(!is_known(point(6, true), 5), "what is there may be later than this point");
    }
}
