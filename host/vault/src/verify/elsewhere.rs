//! Blobs that cannot be read from one of their packs, and may lie whole in another one.
//!
//! Whoever can decrypt reads the blob. Who cannot looks at the other pack as deep as was asked for: that its stored bytes are
//! what its name says is all that can be told of any blob without a key, and a key must be left for it. Failure of the store
//! is an error.

use std::collections::{BTreeMap, HashSet};

use super::{Unread, VerifyLevel, VerifyOptions, VerifyReport, look_at_all};
use crate::{BlobEntry, BlobId, PackId, Reader, Vault, VaultError, layout};

impl Vault {
    /// Of `unread` those that cannot be had from another pack either. `locked` are packs that nobody can decrypt.
    pub(super) async fn nowhere_else(
        &self,
        reader: &Reader,
        mut unread: Unread,
        locked: &HashSet<PackId>,
        options: &VerifyOptions<'_>,
        report: &mut VerifyReport,
    ) -> Result<Unread, VaultError> {
        if unread.is_empty() {
            return Ok(unread);
        }
        let mut found: HashSet<BlobId> = HashSet::new();
        if options.level == VerifyLevel::Exists {
            let is_elsewhere = |id: &&BlobId| reader.index().all(id).iter().any(|place| !locked.contains(&place.pack));
            found.extend(unread.keys().filter(is_elsewhere));
        } else if self.is_readable() {
            for id in unread.keys().filter(|id| reader.index().all(id).len() > 1) {
                found.extend(reader.read_blob(id).await.is_ok().then_some(*id));
            }
        } else {
            let good: HashSet<PackId> = options.good.iter().chain(&report.good_packs).copied().collect();
            let mut others: BTreeMap<PackId, Vec<BlobEntry>> = BTreeMap::new();
            for (id, (object, _)) in &unread {
                for place in reader.index().all(id).into_iter().filter(|place| !locked.contains(&place.pack)) {
                    if good.contains(&place.pack) {
                        found.insert(*id);
                    } else if layout::pack_path(&place.pack).as_ref() != object {
                        others.entry(place.pack).or_default().push(place.entry);
                    }
                }
            }
            found.extend(look_for(reader, others, options, report).await?);
        }
        unread.retain(|id, _| !found.contains(id));
        Ok(unread)
    }
}

/// Reads packs and answers the blobs that lie whole in them. Packs that were read before are read again, because what was
/// asked of them then were other blobs; they are not told of twice.
async fn look_for(
    reader: &Reader,
    packs: BTreeMap<PackId, Vec<BlobEntry>>,
    options: &VerifyOptions<'_>,
    report: &mut VerifyReport,
) -> Result<HashSet<BlobId>, VaultError> {
    // The bytes of these packs were not expected when it began.
    let quietly = VerifyOptions {
        sample: None,
        good: HashSet::new(),
        on_bytes: &|_, _| {},
        on_pack: options.on_pack,
        ..*options
    };
    let mut whole: HashSet<BlobId> = HashSet::new();
    for (pack, finding) in look_at_all(reader, packs.clone(), &quietly).await? {
        let bad: HashSet<BlobId> = if report.damaged_packs.contains(&pack) {
            finding.bad.into_iter().map(|(id, _)| id).collect()
        } else {
            finding.told_in(report, pack).into_iter().map(|(id, _)| id).collect()
        };
        let there = packs.get(&pack).into_iter().flatten().map(|entry| entry.id);
        whole.extend(there.filter(|id| !bad.contains(id)));
    }
    Ok(whole)
}
