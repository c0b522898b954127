//! Is there room for a backup, or for a copy of one? Looked at before the first byte is written.
//!
//! What a backup adds is estimated: the bytes that no earlier backup holds, at the ratio the sample showed, and something
//! to spare. Bytes that the vault has under another name are found only while they are read, so an estimate may be too
//! high; whoever knows better can leave the check out ([`Limits::check_free_space`](crate::Limits)). Stores that are no
//! folder have no end.

use std::collections::BTreeMap;
use std::path::Path;

use longshore_model::{RegionId, StreamFacts};
use longshore_policy::Decision;
use longshore_vault::Vault;

use crate::plan::BackupPlan;
use crate::vaults::RegionVaults;
use crate::{EngineError, RunContext};

/// One part of this many on top of what is estimated.
const SPARE_PART: u64 = 50;
/// What a file takes in manifests.
const FILE_BYTES: u64 = 512;

/// Free space of a file system, and what tells it from others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Free {
    file_system: u64,
    available_bytes: u64,
}

fn free(folder: &Path) -> std::io::Result<Free> {
    let system = rustix::fs::statvfs(folder)?;
    Ok(Free { file_system: system.f_fsid, available_bytes: system.f_bavail.saturating_mul(system.f_frsize) })
}

/// Room in a folder.
///
/// # Errors
/// When it cannot be looked at.
pub(crate) fn available_bytes(folder: &Path) -> std::io::Result<u64> {
    Ok(free(folder)?.available_bytes)
}

/// Refuses a plan whose vaults have no room for it.
///
/// # Errors
/// [`EngineError::NoSpace`]. A folder that cannot be looked at is no reason to refuse.
pub(crate) fn check(plan: &BackupPlan, vaults: &RegionVaults, context: &RunContext) -> Result<(), EngineError> {
    if !context.limits.check_free_space {
        return Ok(());
    }
    let mut places = Vec::new();
    for (region, needed_bytes) in needed(plan, context.limits.spare_bytes) {
        let vault = vaults.get(&region)?;
        let Some(folder) = vault.folder() else { continue };
        match free(folder) {
            Ok(free) => places.push((region, vault.place(), needed_bytes, free)),
            Err(error) => tracing::warn!(%region, %error, "the free space of the vault is not known"),
        }
    }
    refuse_without_room(&places)
}

/// Refuses a copy whose vault has no room for the bytes of packs that it will write.
///
/// # Errors
/// [`EngineError::NoSpace`]. A folder that cannot be looked at is no reason to refuse.
pub(crate) fn check_copy(vault: &Vault, pack_bytes: u64, context: &RunContext) -> Result<(), EngineError> {
    let Some(folder) = vault.folder().filter(|_| context.limits.check_free_space && pack_bytes > 0) else {
        return Ok(());
    };
    let region = vault.region_id().clone();
    match free(folder) {
        Ok(free) => {
            let needed_bytes =
                pack_bytes.saturating_add(pack_bytes / SPARE_PART).saturating_add(context.limits.spare_bytes);
            refuse_without_room(&[(region, vault.place(), needed_bytes, free)])
        }
        Err(error) => {
            tracing::warn!(%region, %error, "the free space of the vault is not known");
            Ok(())
        }
    }
}

/// Vaults on one file system share its space.
fn refuse_without_room(places: &[(RegionId, String, u64, Free)]) -> Result<(), EngineError> {
    let mut sums: BTreeMap<u64, u64> = BTreeMap::new();
    for (_, _, needed_bytes, free) in places {
        let sum = sums.entry(free.file_system).or_default();
        *sum = sum.saturating_add(*needed_bytes);
    }
    for (region, place, _, free) in places {
        let needed_bytes = sums.get(&free.file_system).copied().unwrap_or(0);
        if needed_bytes > free.available_bytes {
            let (region, place, available_bytes) = (region.clone(), place.clone(), free.available_bytes);
            return Err(EngineError::NoSpace { region, place, needed_bytes, available_bytes });
        }
    }
    Ok(())
}

/// Bytes that each region's vault will take, estimated.
fn needed(plan: &BackupPlan, spare_bytes: u64) -> BTreeMap<RegionId, u64> {
    let mut needed: BTreeMap<RegionId, u64> = BTreeMap::new();
    for planned in &plan.collections {
        let sum = needed.entry(planned.placed.value.region.clone()).or_insert(spare_bytes);
        for stream in &planned.streams {
            *sum = sum.saturating_add(stream_bytes(&stream.facts, &stream.choice));
        }
    }
    needed
}

fn stream_bytes(facts: &StreamFacts, choice: &Decision<longshore_model::CodecChoice>) -> u64 {
    let offer = facts.offers.iter().find(|offer| offer.codec == choice.value.codec);
    // Nothing is stored longer than it is: what does not shrink is stored as it is.
    let ratio = u64::from(offer.map_or(1_000, |offer| offer.ratio_thousandths.max(1_000)));
    let stored = u128::from(facts.new_bytes) * 1_000 / u128::from(ratio);
    let stored = u64::try_from(stored).unwrap_or(u64::MAX);
    stored.saturating_add(stored / SPARE_PART).saturating_add(facts.files.saturating_mul(FILE_BYTES))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn place(region: &str, needed_bytes: u64, file_system: u64, available_bytes: u64) -> (RegionId, String, u64, Free) {
        (region.parse().unwrap(), format!("/{region}"), needed_bytes, Free { file_system, available_bytes })
    }

    #[test]
    fn vaults_on_one_disk_share_its_space() {
        refuse_without_room(&[place("a", 60, 1, 100), place("b", 60, 2, 100)]).unwrap();
        refuse_without_room(&[place("a", 50, 1, 100), place("b", 50, 1, 100)]).unwrap();
        let error = refuse_without_room(&[place("a", 60, 1, 100), place("b", 60, 1, 100)]).unwrap_err().to_string();
        assert_eq!(
            error,
            "the vault of region a needs about 120 bytes for this backup, but /a has 100 free; free some space, use \
             another place, or leave the check out if most of it is there already"
        );
        refuse_without_room(&[]).unwrap();
    }

    #[test]
    fn the_folder_of_a_test_has_some_space() {
        let folder = tempfile::tempdir().unwrap();
        assert!(free(folder.path()).unwrap().available_bytes > 0);
        assert!(free(&folder.path().join("nowhere")).is_err());
    }
}
