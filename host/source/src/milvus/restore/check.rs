//! Looks whether a server can be restored into as it is configured, and says what to change.
//!
//! Contract: a probe is written where restores put files, read back and removed again, also where something of that fails. The
//! server is asked who it is and is changed in nothing.

use std::io::ErrorKind;

use cap_std::fs::Dir;

use super::begin::open_base;
use super::{DEFAULT_STAGING, MilvusTarget, StagingPlace};
use crate::blocking::blocking;
use crate::disk::io_error;
use crate::staged::{available_bytes, write_error};
use crate::{SourceError, SourceFinding};

/// Less space than this is no room for a restore.
const LITTLE_BYTES: u64 = 1 << 30;
const PROBE: &[u8] = b"longshore looks whether it may write here";

impl MilvusTarget {
    /// See the module. Whether the server sees a staging folder under its own path is not told before a restore.
    pub async fn check(&self) -> Vec<SourceFinding> {
        let mut found = vec![match self.shared.client().await {
            Ok(client) => {
                SourceFinding::good("server", format!("Milvus {} at {}", client.version_text(), client.endpoint()))
            }
            Err(error) => SourceFinding::bad("server", error.to_string()),
        }];
        // Several checks may run at once.
        let name = format!("probe-{}-{}", std::process::id(), self.shared.clock.now().as_millis());
        match self.staging() {
            Ok(place) => found.push(folder(place, name.clone()).await),
            Err(error) => found.push(SourceFinding::bad("staging", error.to_string())),
        }
        match self.bucket() {
            Ok(None) => {}
            Ok(Some(bucket)) => found.push(match bucket.probe(DEFAULT_STAGING, &name).await {
                Ok(()) => SourceFinding::good(
                    "uploads",
                    format!("objects below {}/ can be written, read and removed", bucket.in_bucket(DEFAULT_STAGING)),
                ),
                Err(error) => SourceFinding::bad("uploads", error.to_string()),
            }),
            Err(error) => found.push(SourceFinding::bad("uploads", error.to_string())),
        }
        found
    }
}

async fn folder(place: StagingPlace, name: String) -> SourceFinding {
    let shown = place.folder.display().to_string();
    let seen = place
        .server_folder
        .as_ref()
        .map(|seen| format!("; whether the server sees it as {} is known at the first restore", seen.display()));
    let free = match blocking(&shown, move || probe(&place, &name)).await {
        Ok(free) => free,
        Err(error) => {
            return SourceFinding::bad("staging", format!("{error}; let this user write, read and remove there"));
        }
    };
    let text = format!(
        "{shown} can be written to; {} MiB are free, and a restore takes the size of its collections there{}",
        free >> 20,
        seen.unwrap_or_default()
    );
    if free < LITTLE_BYTES { SourceFinding::warning("staging", text) } else { SourceFinding::good("staging", text) }
}

/// Writes, reads and removes a file in a staging folder; returns the space that is free there. Blocks.
fn probe(place: &StagingPlace, name: &str) -> Result<u64, SourceError> {
    let was_there = place.folder.exists();
    let base = open_base(place)?;
    let free = available_bytes(&base);
    let probed = write_and_read(&base.dir, name);
    let removed = base.dir.remove_file(name);
    if !was_there {
        // Made for the probe; one that something is in by now stays.
        drop(std::fs::remove_dir(&place.folder));
    }
    probed.map_err(|error| write_error(&base, name, PROBE.len() as u64, error))?;
    removed.map_err(|error| io_error("remove", &base.show(name), error))?;
    free
}

fn write_and_read(dir: &Dir, name: &str) -> std::io::Result<()> {
    dir.write(name, PROBE)?;
    if dir.read(name)? == PROBE { Ok(()) } else { Err(ErrorKind::InvalidData.into()) }
}
