//! What every restore does before it changes its target: files are written into a folder of its own, beside nobody's
//! data, and read back.
//!
//! Contract: a staging folder is named by its plan and locked while its run lives. One that is not locked was left by a run
//! that was suspended or killed: a run of the same plan goes on with it, a run of another plan removes it.

pub(crate) mod aside;
mod files;
mod folder;
mod force;
mod stored;
mod whole;
mod write_back;

pub(crate) use files::{PlaceOf, StagedFiles, digest, write_error};
pub(crate) use folder::{LeftFolder, StagingFolder};
pub(crate) use force::{Written, force, force_folders};
pub(crate) use stored::{stored_back, stored_file};
pub(crate) use whole::WholeFileSystem;
pub(crate) use write_back::WriteBack;

use crate::disk::{Folder, io_error};
use crate::{SourceError, TargetPlan};

/// Bytes that this user may still write on the file system of a folder.
pub(crate) fn available_bytes(folder: &Folder) -> Result<u64, SourceError> {
    let system = rustix::fs::fstatvfs(&folder.dir);
    let system = system.map_err(|error| io_error("look at the free space of", &folder.shown, error.into()))?;
    Ok(system.f_bavail.saturating_mul(system.f_frsize))
}

/// Bytes on disk of the files of a plan that an earlier run left.
pub(crate) fn left_bytes(root: &Folder, plan: &TargetPlan, place_of: &PlaceOf) -> Result<u64, SourceError> {
    let mut sum = 0_u64;
    for (number, collection) in plan.collections.iter().enumerate() {
        for (place, file) in collection.files.iter().enumerate() {
            if let Some(path) = place_of(number, place) {
                let stat = root.stat(&path)?;
                sum = sum.saturating_add(stat.map_or(0, |stat| stat.size_bytes.min(file.size_bytes)));
            }
        }
    }
    Ok(sum)
}
