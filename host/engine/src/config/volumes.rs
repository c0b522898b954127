//! `[[volume]]`: folders in which databases of elsewhere are put to be taken in.
//!
//! Contract: what a caller names is a path below a volume, and stays below it wherever links lead. Nothing of a path that
//! leads elsewhere is read or made.

use std::path::{Component, Path, PathBuf};

use cap_std::ambient_authority;
use cap_std::fs::Dir;
use serde::Deserialize;

use crate::EngineError;

/// A folder that migrations read from.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VolumeConfig {
    /// What callers call it.
    pub name: String,
    /// Where it is.
    pub folder: PathBuf,
}

impl VolumeConfig {
    /// A folder below this one, as a caller names it; one `/` at its end is no part of it. It need not be there.
    ///
    /// # Errors
    /// [`EngineError::BadRequest`] for what does not stay below.
    pub(crate) fn below(&self, path: &str) -> Result<PathBuf, EngineError> {
        let inside = Path::new(path.strip_suffix('/').unwrap_or(path));
        let stays = inside.components().all(|part| matches!(part, Component::Normal(_)));
        if inside.as_os_str().is_empty() || !stays || path.contains('\0') {
            let what = "a path in a volume names a folder below it, without `..` and without a slash in front";
            return Err(EngineError::BadRequest { what: what.to_owned() });
        }
        Ok(self.folder.join(inside))
    }

    /// Makes a folder below this one and those it lies in.
    ///
    /// # Errors
    /// [`EngineError::BadRequest`] as above, [`EngineError::File`] when it cannot be made, or a link leads out of the volume.
    pub(crate) fn make(&self, path: &str) -> Result<(), EngineError> {
        let wanted = self.below(path)?;
        let inside = wanted.strip_prefix(&self.folder).unwrap_or(&wanted);
        // cap-std, because a link among the folders that are there may not lead to folders made elsewhere.
        let made = Dir::open_ambient_dir(&self.folder, ambient_authority()).and_then(|dir| dir.create_dir_all(inside));
        made.map_err(|error| EngineError::file(&wanted, error))
    }

    /// The same for a folder that is there, with its links followed.
    ///
    /// # Errors
    /// [`EngineError::BadRequest`] also when there is no such folder, or a link leads out of the volume.
    pub(crate) fn existing(&self, path: &str) -> Result<PathBuf, EngineError> {
        let bad = |what: String| EngineError::BadRequest { what };
        let (volume, shown) = (&self.name, path.escape_debug());
        let resolved = self.below(path)?.canonicalize().ok().filter(|path| path.is_dir());
        let resolved = resolved.ok_or_else(|| {
            bad(format!(
                "volume `{volume}` has no folder `{shown}`; put there what milvus-backup wrote, or a Milvus Lite directory"
            ))
        })?;
        let root = self.folder.canonicalize().map_err(|error| EngineError::file(&self.folder, error))?;
        if !resolved.starts_with(root) {
            return Err(bad(format!("`{shown}` in volume `{volume}` is a link that leads out of it")));
        }
        Ok(resolved)
    }
}

/// Refuses names that are empty or stand there twice.
pub(super) fn check(volumes: &[VolumeConfig]) -> Result<(), String> {
    for (place, volume) in volumes.iter().enumerate() {
        if volume.name.is_empty() || volumes.iter().take(place).any(|other| other.name == volume.name) {
            return Err(format!("name `{}` is empty or stands there twice", volume.name));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_path_stays_below_its_volume() {
        let folder = tempfile::tempdir().unwrap();
        let volume = VolumeConfig { name: "incoming".to_owned(), folder: folder.path().join("volume") };
        std::fs::create_dir_all(folder.path().join("volume/a/b")).unwrap();
        std::fs::create_dir_all(folder.path().join("elsewhere")).unwrap();
        std::fs::write(folder.path().join("volume/file"), "").unwrap();
        std::os::unix::fs::symlink("../elsewhere", folder.path().join("volume/out")).unwrap();
        std::os::unix::fs::symlink("a", folder.path().join("volume/in")).unwrap();
        for path in ["a", "a/b", "a/b/", "in", "in/b"] {
            let found = volume.existing(path).unwrap();
            assert!(found.starts_with(volume.folder.canonicalize().unwrap().join("a")), "{path}: {found:?}");
        }
        for path in ["", "/", "//", "..", "../volume/a", "a/../a", "/a", "./a", "a\0", "file", "nothing", "out"] {
            let error = volume.existing(path).unwrap_err();
            assert!(matches!(error, EngineError::BadRequest { .. }), "{path}: {error}");
        }
        volume.make("new/one/").unwrap();
        volume.make("new/one").unwrap();
        assert!(volume.existing("new/one").unwrap().is_dir());
        for path in ["out/new", "file/new", "../new", "/new"] {
            volume.make(path).unwrap_err();
        }
        assert_eq!(std::fs::read_dir(folder.path().join("elsewhere")).unwrap().count(), 0);
    }
}
