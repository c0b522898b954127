//! Files of a local vault that were never finished: a process was killed while it wrote them.

use std::path::{Path as FilePath, PathBuf};
use std::time::{Duration, SystemTime};

use crate::{Vault, VaultError};

/// Unfinished files older than the limit. A vault that is not in a local folder has none.
pub(super) async fn find(vault: &Vault, now: SystemTime) -> Result<Vec<(PathBuf, u64)>, VaultError> {
    let Some(folder) = vault.folder().map(FilePath::to_owned) else { return Ok(Vec::new()) };
    let kept = Duration::from_millis(u64::try_from(vault.limits().unfinished_kept_ms).unwrap_or(u64::MAX));
    let walk = tokio::task::spawn_blocking(move || {
        let mut found = Vec::new();
        walk(&folder, &mut |path, metadata| {
            let old = metadata.modified().ok().and_then(|time| now.duration_since(time).ok());
            if is_unfinished(path) && old.is_some_and(|age| age >= kept) {
                found.push((path.to_owned(), metadata.len()));
            }
        });
        found.sort();
        found
    });
    walk.await.map_err(VaultError::stopped("walks a folder"))
}

/// Names that the local store gives to files it has not finished: `<name>#<digits>`.
fn is_unfinished(path: &FilePath) -> bool {
    let name = path.file_name().and_then(|name| name.to_str());
    let digits = name.and_then(|name| name.rsplit_once('#')).map(|(_, digits)| digits);
    digits.is_some_and(|digits| !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()))
}

/// Goes through a folder; links are not followed, and what cannot be read is left out.
fn walk(folder: &FilePath, each: &mut impl FnMut(&FilePath, &std::fs::Metadata)) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        match entry.metadata() {
            Ok(metadata) if metadata.is_dir() => walk(&entry.path(), each),
            Ok(metadata) if metadata.is_file() => each(&entry.path(), &metadata),
            _ => {}
        }
    }
}
