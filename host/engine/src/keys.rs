//! Key files: the keys that encrypted vaults are opened with, as they lie on a host.
//!
//! Contract: a key file that other users of the machine can read is refused, because its key must be taken for known.
//! Failure: [`EngineError::File`], [`EngineError::BadRequest`]; no message repeats any part of a key.

use std::path::{Path, PathBuf};
use std::str::FromStr;

use longshore_vault::{Keys, ReaderKey, VaultError, WriterKey};
use serde::Deserialize;
use zeroize::Zeroizing;

use crate::EngineError;

/// Longest key file: one line and what people write around it.
const KEY_FILE_BYTES: u64 = 16 * 1024;

/// Where the keys of encrypted vaults are. All vaults of a project have the same.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct KeyFiles {
    /// Holds `LONGSHORE-WRITER-KEY-1-…`: enough to back up, list, copy, verify stored bytes and prune.
    pub writer_key_file: Option<PathBuf>,
    /// Holds `AGE-SECRET-KEY-1…`: needed to restore, and to see names.
    pub reader_key_file: Option<PathBuf>,
}

impl KeyFiles {
    /// Reads the keys.
    ///
    /// # Errors
    /// [`EngineError::File`] for a file that cannot be read or that others can read, [`EngineError::BadRequest`] for one
    /// that holds no key of its kind.
    pub fn read(&self) -> Result<Keys, EngineError> {
        let mut keys = Keys::none();
        if let Some(path) = &self.writer_key_file {
            keys = keys.with_writer(read_key::<WriterKey>(path)?);
        }
        if let Some(path) = &self.reader_key_file {
            keys = keys.with_reader(read_key::<ReaderKey>(path)?);
        }
        Ok(keys)
    }
}

fn read_key<K: FromStr<Err = VaultError>>(path: &Path) -> Result<K, EngineError> {
    let text = read_private(path)?;
    text.parse().map_err(|error: VaultError| EngineError::BadRequest { what: format!("{}: {error}", path.display()) })
}

/// The text of a file that holds a private key.
///
/// # Errors
/// [`EngineError::File`] for a file that cannot be read or that others can read.
pub fn read_private(path: &Path) -> Result<Zeroizing<String>, EngineError> {
    use std::io::Read;
    let fail = |error: std::io::Error| EngineError::file(path, error);
    // The open file is what is checked and read, whatever its name points to by then.
    let mut file = std::fs::File::open(path).map_err(fail)?;
    let meta = file.metadata().map_err(fail)?;
    check_mode(path, &meta)?;
    if meta.len() > KEY_FILE_BYTES {
        return Err(EngineError::file(path, format!("is {} bytes long; a key file has one line", meta.len())));
    }
    let mut text = Zeroizing::new(String::new());
    file.read_to_string(&mut text).map_err(fail)?;
    Ok(text)
}

#[cfg(unix)]
fn check_mode(path: &Path, meta: &std::fs::Metadata) -> Result<(), EngineError> {
    use std::os::unix::fs::MetadataExt;
    let mode = meta.mode() & 0o777;
    if mode & 0o007 != 0 {
        let what = format!("every user of this machine can use this key (mode {mode:04o}); say `chmod 600` on it");
        return Err(EngineError::file(path, what));
    }
    if mode & 0o070 != 0 {
        let (path, mode) = (path.display(), format!("{mode:04o}"));
        tracing::warn!(%path, mode, "the group of this key file can use the key; `chmod 600` keeps it to its owner");
    }
    Ok(())
}

#[cfg(not(unix))]
fn check_mode(_: &Path, _: &std::fs::Metadata) -> Result<(), EngineError> {
    Ok(())
}

/// Writes a new key file that only its owner can read. An existing file is never overwritten: it may be the only copy of
/// another key.
///
/// # Errors
/// [`EngineError::File`].
pub fn write_key_file(path: &Path, comment: &str, key: &str) -> Result<(), EngineError> {
    use std::io::Write;
    let fail = |error: std::io::Error| EngineError::file(path, error);
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(path).map_err(fail)?;
    let text = Zeroizing::new(format!("# {comment}\n{key}\n"));
    file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(fail)
}

#[cfg(all(test, unix))]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use longshore_vault::IdKey;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_key_file_is_for_its_owner_and_is_not_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        let (path, key) = (folder.path().join("writer.key"), WriterKey::new(IdKey::new([0xb7; 32])));
        write_key_file(&path, "writer key", &key.to_text()).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let files = KeyFiles { writer_key_file: Some(path.clone()), reader_key_file: None };
        assert_eq!(files.read().unwrap().writer(), Some(&key));
        assert!(write_key_file(&path, "another", "x").is_err());
        for (mode, good) in [(0o640, true), (0o644, false), (0o602, false)] {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            assert_eq!(files.read().is_ok(), good, "{mode:o}");
        }
        let error = files.read().unwrap_err().to_string();
        assert!(error.contains("chmod 600") && !error.contains("B7B7"), "{error}");
    }

    #[test]
    fn a_key_of_the_other_kind_is_told_with_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        write_key_file(&path, "reader key", &ReaderKey::generate().to_text()).unwrap();
        let files = KeyFiles { writer_key_file: Some(path.clone()), reader_key_file: None };
        let error = files.read().unwrap_err().to_string();
        assert!(error.contains("it is a reader key") && error.contains("key:"), "{error}");
    }
}
