//! Looks at one pack without holding it: read in ranges that end between blobs, each hashed and decoded, then dropped.
//!
//! Memory is two ranges (one at work, one being read) and what decoding one of their blobs takes. Failure of the store
//! is an error; whatever the bytes are is a finding. A disk that cannot read a sector (`EIO`) is damage too: the pack
//! will not get better by asking again.

use std::collections::HashSet;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;

use super::{ObjectDamage, VerifyLevel, VerifyReport, header};
use crate::index;
use crate::layout;
use crate::reader::PackOpener;
use crate::{BlobEntry, BlobId, PackId, Reader, VaultError};

/// What looking at one pack told about it.
#[derive(Debug, Default)]
pub(super) struct PackFinding {
    /// What is wrong with the pack as an object.
    pub(super) damage: Option<ObjectDamage>,
    /// Blobs that cannot be read from it, and why.
    pub(super) bad: Vec<(BlobId, String)>,
    /// Bytes that were read.
    pub(super) read_bytes: u64,
}

impl PackFinding {
    /// Says in a report what became of the pack. Answers the blobs that cannot be read from it.
    pub(super) fn told_in(self, report: &mut VerifyReport, pack: PackId) -> Vec<(BlobId, String)> {
        report.packs_read += 1;
        report.read_bytes += self.read_bytes;
        match self.damage {
            Some(damage) => {
                report.objects.push(damage);
                report.damaged_packs.push(pack);
            }
            None if self.bad.is_empty() => report.good_packs.push(pack),
            None => {}
        }
        self.bad
    }
}

/// Blobs that lie in one range of a pack.
struct Span {
    range: Range<u64>,
    entries: Vec<BlobEntry>,
}

/// Looks at a pack of `size_bytes` bytes. `wanted` are the blobs that the index says can be read from it.
pub(super) async fn look_at(
    reader: &Reader,
    pack: PackId,
    size_bytes: u64,
    wanted: &[BlobEntry],
    level: VerifyLevel,
) -> Result<PackFinding, VaultError> {
    let objects = reader.vault().objects();
    let path = layout::pack_path(&pack);
    let unreadable = |found: String| PackFinding {
        bad: wanted.iter().map(|entry| (entry.id, found.clone())).collect(),
        damage: Some(ObjectDamage { object: path.to_string(), expected: format!("{size_bytes} bytes"), found }),
        read_bytes: 0,
    };
    // Where the pack's own index is damaged, the index object may still know what lies where.
    let (entries, mut damage) = match index::read_pack_end(objects, pack, &path, size_bytes).await? {
        Ok(found) => (found.entries, None),
        Err(damage) if damage.found == "nothing" => return Ok(unreadable(damage.found)),
        Err(damage) => (by_offset(wanted), Some(damage)),
    };
    let known: HashSet<(BlobId, u64, u32)> = entries.iter().map(place_of).collect();
    let mut finding = PackFinding::default();
    for entry in wanted.iter().filter(|entry| !known.contains(&place_of(entry))) {
        finding.bad.push((entry.id, "it does not lie where the index says".to_owned()));
    }
    let (opener, level) = match opener(reader, &pack, level).await? {
        Ok(opener) => (opener, level),
        // Nothing in it can be decrypted; its stored bytes are looked at all the same.
        Err(found) => {
            finding.bad.extend(wanted.iter().map(|entry| (entry.id, found.clone())));
            (Arc::new(PackOpener::none()), VerifyLevel::Stored)
        }
    };
    let spans = spans(entries, size_bytes, reader.vault().limits().verify_range_bytes);
    let read = match read_through(reader, &path, &opener, spans, level).await {
        Ok(read) => read,
        Err(error) if error.is_unreadable_medium() => return Ok(unreadable(error.to_string())),
        Err(error) => return Err(error),
    };
    finding.read_bytes = read.bytes;
    let whole = read.digest == *pack.as_bytes();
    if !whole {
        let explained = damage.is_some() || !read.bad.is_empty();
        let found = PackId::new(read.digest.into()).to_string();
        damage = Some(ObjectDamage { object: path.to_string(), expected: pack.to_string(), found });
        if level < VerifyLevel::Decoded {
            let hit: HashSet<BlobId> = read.bad.iter().chain(&finding.bad).map(|(id, _)| *id).collect();
            let sound: Vec<BlobEntry> = wanted.iter().filter(|entry| !hit.contains(&entry.id)).copied().collect();
            if let Some(doubt) = header::doubt(reader, pack, &sound, explained).await? {
                finding.bad.extend(sound.iter().map(|entry| (entry.id, doubt.clone())));
            }
        }
    }
    // Without decoding, the checksums tell which blobs of a pack are hit; of a whole pack none is.
    if level > VerifyLevel::Stored || !whole {
        finding.bad.extend(read.bad);
    }
    finding.damage = damage;
    Ok(finding)
}

/// What the blobs of a pack are decrypted with, where they are to be decoded. That it cannot be had is a finding.
async fn opener(
    reader: &Reader,
    pack: &PackId,
    level: VerifyLevel,
) -> Result<Result<Arc<PackOpener>, String>, VaultError> {
    if level < VerifyLevel::Decoded {
        return Ok(Ok(Arc::new(PackOpener::none())));
    }
    match reader.opener(pack).await {
        Ok(opener) => Ok(Ok(opener)),
        Err(
            error @ (VaultError::Damaged { .. } | VaultError::SessionKey { .. } | VaultError::MissingObject { .. }),
        ) => Ok(Err(error.to_string())),
        Err(error) if error.is_unreadable_medium() => Ok(Err(error.to_string())),
        Err(error) => Err(error),
    }
}

fn place_of(entry: &BlobEntry) -> (BlobId, u64, u32) {
    (entry.id, entry.offset, entry.stored_bytes)
}

fn by_offset(wanted: &[BlobEntry]) -> Vec<BlobEntry> {
    let mut entries = wanted.to_vec();
    entries.sort_by_key(|entry| entry.offset);
    entries
}

/// Cuts a pack into ranges of about `range_bytes` that cover it wholly and end between blobs. Entries are in order of
/// offset and do not overlap, as reading any index proves.
fn spans(entries: Vec<BlobEntry>, size_bytes: u64, range_bytes: u64) -> Vec<Span> {
    let mut spans = Vec::new();
    let mut open = Span { range: 0..0, entries: Vec::new() };
    for entry in entries {
        if entry.end() - open.range.start > range_bytes && open.range.end > open.range.start {
            let start = open.range.end;
            spans.push(std::mem::replace(&mut open, Span { range: start..start, entries: Vec::new() }));
        }
        open.range.end = entry.end();
        open.entries.push(entry);
    }
    // What follows the last blob, or everything when the pack's index is lost.
    while open.range.end < size_bytes {
        if open.range.end > open.range.start && size_bytes - open.range.start > range_bytes {
            let start = open.range.end;
            spans.push(std::mem::replace(&mut open, Span { range: start..start, entries: Vec::new() }));
        }
        open.range.end = size_bytes.min(open.range.end + range_bytes);
    }
    spans.push(open);
    spans
}

/// What reading through a pack gave.
struct ReadThrough {
    digest: [u8; 32],
    bad: Vec<(BlobId, String)>,
    bytes: u64,
}

async fn read_through(
    reader: &Reader,
    path: &object_store::path::Path,
    opener: &Arc<PackOpener>,
    spans: Vec<Span>,
    level: VerifyLevel,
) -> Result<ReadThrough, VaultError> {
    let objects = reader.vault().objects();
    let read = |range: Range<u64>| objects.get_range(path, range);
    let mut hasher = blake3::Hasher::new();
    let mut result = ReadThrough { digest: [0; 32], bad: Vec::new(), bytes: 0 };
    let mut spans = spans.into_iter().peekable();
    let mut next = match spans.peek() {
        Some(span) => read(span.range.clone()).await?,
        None => None,
    };
    while let Some(span) = spans.next() {
        // A pack that vanished or shrank while it was read: the rest hashes to something else, its blobs are cut short.
        let bytes = next.take().unwrap_or_default();
        result.bytes += bytes.len() as u64;
        let ahead = async {
            match spans.peek() {
                Some(span) => read(span.range.clone()).await,
                None => Ok(None),
            }
        };
        let (found, ahead) = tokio::join!(work((reader, opener), hasher, bytes, span, level), ahead);
        let (moved, bad) = found?;
        hasher = moved;
        result.bad.extend(bad);
        next = ahead?;
    }
    result.digest = *hasher.finalize().as_bytes();
    Ok(result)
}

/// Hashes a range and looks at its blobs, each on a CPU thread of its own: a vault of one pack uses two processors too.
async fn work(
    (reader, opener): (&Reader, &Arc<PackOpener>),
    mut hasher: blake3::Hasher,
    bytes: Bytes,
    span: Span,
    level: VerifyLevel,
) -> Result<(blake3::Hasher, Vec<(BlobId, String)>), VaultError> {
    let stopped = VaultError::stopped("verifies a pack");
    let shared = Arc::new((bytes, span));
    let (reader, opener, for_blobs) = (reader.clone(), Arc::clone(opener), Arc::clone(&shared));
    let throttle = reader.vault().throttle().clone();
    let blobs = async {
        let thread = throttle.cpu().await;
        let look = move || {
            let _thread = thread;
            bad_blobs(&reader, &opener, &for_blobs.0, &for_blobs.1, level)
        };
        tokio::task::spawn_blocking(look).await
    };
    let hashed = async {
        let thread = throttle.cpu().await;
        let hash = move || {
            let _thread = thread;
            hasher.update(&shared.0);
            hasher
        };
        tokio::task::spawn_blocking(hash).await
    };
    let (hashed, blobs) = tokio::join!(hashed, blobs);
    Ok((hashed.map_err(stopped)?, blobs.map_err(stopped)?))
}

/// Looks at each blob of a range: decodes it, or, where decoding was not asked for, compares its checksum.
fn bad_blobs(
    reader: &Reader,
    opener: &PackOpener,
    bytes: &Bytes,
    span: &Span,
    level: VerifyLevel,
) -> Vec<(BlobId, String)> {
    let look = |entry: &BlobEntry| {
        let place = |at: u64| usize::try_from(at.checked_sub(span.range.start)?).ok();
        let range = place(entry.offset).zip(place(entry.end())).map(|(start, end)| start..end);
        let Some(range) = range.filter(|range| range.end <= bytes.len()) else {
            return Some("its pack ends before it".to_owned());
        };
        let stored = bytes.slice(range);
        match level {
            VerifyLevel::Decoded => reader.decode(opener, entry, &stored).err(),
            _ if crc32fast::hash(&stored) == entry.checksum => None,
            _ => Some("its stored bytes do not match their checksum".to_owned()),
        }
    };
    span.entries.iter().filter_map(|entry| look(entry).map(|found| (entry.id, found))).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::{BlobExtent, digest_of};
    use longshore_model::Codec;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn ranges_cover_a_pack_once_and_never_cut_a_blob(
            lengths in prop::collection::vec(0_u32..40, 0..30), gap in 0_u64..3, tail in 0_u64..100, range in 1_u64..60
        ) {
            let mut offset = 7;
            let entries: Vec<BlobEntry> = lengths.iter().map(|length| {
                offset += gap;
                let entry = BlobEntry {
                    id: BlobId::new(digest_of(&offset.to_le_bytes())),
                    offset, stored_bytes: *length, plain_bytes: *length, checksum: 0, codec: Codec::Store, nonce: 0,
                    extent: BlobExtent::WHOLE,
                };
                offset = entry.end();
                entry
            }).collect();
            let size = offset + tail;
            let longest = entries.iter().map(|entry| u64::from(entry.stored_bytes)).max().unwrap_or(0);
            let spans = spans(entries.clone(), size, range);
            let mut at = 0;
            let mut seen = Vec::new();
            for span in &spans {
                prop_assert_eq!(span.range.start, at);
                at = span.range.end;
                prop_assert!(span.range.end - span.range.start <= range.max(longest + gap + 7) + range);
                for entry in &span.entries {
                    prop_assert!(span.range.start <= entry.offset && entry.end() <= span.range.end);
                    seen.push(*entry);
                }
            }
            prop_assert_eq!(at, size);
            prop_assert_eq!(seen, entries);
        }
    }
}
