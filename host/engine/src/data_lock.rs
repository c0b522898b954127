//! One host per data directory.
//!
//! The lock belongs to the open file, so the operating system lets go of it when the process ends, however it ends:
//! there is nothing stale to clean up.

use std::fs::File;
use std::path::Path;

use rustix::fs::{FlockOperation, flock};

use crate::EngineError;

/// Held as long as a host runs.
#[derive(Debug)]
pub(crate) struct DataLock {
    _file: File,
}

impl DataLock {
    /// Makes the data directory if need be and takes its lock.
    pub(crate) fn take(folder: &Path) -> Result<Self, EngineError> {
        std::fs::create_dir_all(folder).map_err(|error| EngineError::file(folder, error))?;
        let path = folder.join("lock");
        let file = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
            .map_err(|error| EngineError::file(&path, error))?;
        flock(&file, FlockOperation::NonBlockingLockExclusive).map_err(|_| EngineError::Conflict {
            what: format!(
                "{} is used by another longshore that is running; stop it, or give this one a data_directory of its own",
                folder.display()
            ),
        })?;
        Ok(Self { _file: file })
    }
}
