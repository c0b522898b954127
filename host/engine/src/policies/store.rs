//! The plugin files of a host, kept by digest: `plugins/<digest>.wasm`, and `<digest>.wasm.sig` where there is a signature.
//!
//! Contract: a file that is there is whole (written beside, synced, renamed), and is what its name says: the digest is
//! checked at each read. Whatever was ever in a set of policies that is kept can be loaded from here, whatever became of
//! the file it came from. Failure: [`EngineError::File`].

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use longshore_model::Digest;

use super::signature::{digest_of, read_signature, signature_path};
use crate::config::{STANDARD_PLUGIN, read_plugin};
use crate::policies::STANDARD_PLUGIN_BYTES;
use crate::{EngineError, Limits};

/// A plugin file and the signature that lay beside it.
#[derive(Debug, Clone)]
pub(crate) struct PluginFile {
    pub(crate) bytes: Arc<[u8]>,
    pub(crate) signature: Option<String>,
}

impl PluginFile {
    /// Reads a file and what lies beside it.
    pub(crate) fn read(path: &Path, limits: &Limits) -> Result<Self, EngineError> {
        let bytes = read_plugin(path, limits)?.into();
        Ok(Self { bytes, signature: read_signature(path)? })
    }

    pub(crate) fn digest(&self) -> Digest {
        digest_of(&self.bytes)
    }
}

/// Plugin files by digest: what was read in this process, and the folder of a host, if there is one.
#[derive(Debug, Default)]
pub(crate) struct PluginStore {
    folder: Option<PathBuf>,
    read: Mutex<BTreeMap<Digest, PluginFile>>,
}

impl PluginStore {
    /// Files in memory only.
    #[must_use]
    pub(crate) fn in_memory() -> Self {
        Self::default()
    }

    /// Files in a folder, which is made when the first one is put.
    #[must_use]
    pub(crate) fn in_folder(folder: PathBuf) -> Self {
        Self { folder: Some(folder), read: Mutex::default() }
    }

    fn memory(&self) -> std::sync::MutexGuard<'_, BTreeMap<Digest, PluginFile>> {
        self.read.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn path(&self, digest: &Digest) -> Option<PathBuf> {
        Some(self.folder.as_ref()?.join(format!("{digest}.wasm")))
    }

    /// Remembers a file for this process, without writing it.
    pub(crate) fn remember(&self, file: PluginFile) -> Digest {
        let digest = file.digest();
        self.memory().insert(digest, file);
        digest
    }

    /// The file with this digest.
    ///
    /// # Errors
    /// [`EngineError::File`] if it cannot be read, or is not what its name says.
    pub(crate) fn get(&self, digest: &Digest, limits: &Limits) -> Result<Option<PluginFile>, EngineError> {
        if let Some(file) = self.memory().get(digest) {
            return Ok(Some(file.clone()));
        }
        if *digest == digest_of(STANDARD_PLUGIN_BYTES) {
            return Ok(Some(PluginFile { bytes: STANDARD_PLUGIN_BYTES.into(), signature: None }));
        }
        let Some(path) = self.path(digest).filter(|path| path.exists()) else { return Ok(None) };
        let file = PluginFile::read(&path, limits)?;
        if file.digest() != *digest {
            let why = format!("is damaged: its digest is {}; install the plugin again", file.digest());
            return Err(EngineError::file(&path, why));
        }
        Ok(Some(file))
    }

    /// Keeps a file that was remembered, so that later processes find it. Without a folder it stays in memory.
    ///
    /// # Errors
    /// [`EngineError::File`].
    pub(crate) fn keep(&self, digest: &Digest) -> Result<(), EngineError> {
        let Some(path) = self.path(digest) else { return Ok(()) };
        let Some(file) = self.memory().get(digest).cloned() else { return Ok(()) };
        let folder = path.parent().unwrap_or(Path::new("."));
        std::fs::create_dir_all(folder).map_err(|error| EngineError::file(folder, error))?;
        // The signature first: a plugin that needs one is never seen without it.
        if let Some(signature) = &file.signature {
            write_whole(&signature_path(&path), signature.as_bytes())?;
        }
        if !path.exists() {
            write_whole(&path, &file.bytes)?;
        }
        Ok(())
    }

    /// Digests of the files in the folder.
    ///
    /// # Errors
    /// [`EngineError::File`].
    pub(crate) fn kept(&self) -> Result<Vec<Digest>, EngineError> {
        let Some(folder) = self.folder.as_ref().filter(|folder| folder.exists()) else { return Ok(Vec::new()) };
        let fail = |error: std::io::Error| EngineError::file(folder, error);
        let mut digests = Vec::new();
        for entry in std::fs::read_dir(folder).map_err(fail)? {
            let name = entry.map_err(fail)?.file_name();
            let name = name.to_str().and_then(|name| name.strip_suffix(".wasm"));
            digests.extend(name.and_then(|name| name.parse::<Digest>().ok()));
        }
        digests.sort();
        Ok(digests)
    }

    /// Removes a file and its signature.
    ///
    /// # Errors
    /// [`EngineError::File`].
    pub(crate) fn forget(&self, digest: &Digest) -> Result<(), EngineError> {
        self.memory().remove(digest);
        let Some(path) = self.path(digest) else { return Ok(()) };
        for path in [path.clone(), signature_path(&path)] {
            match std::fs::remove_file(&path) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(EngineError::file(&path, error));
                }
                _ => {}
            }
        }
        Ok(())
    }
}

/// Writes a file so that it is there whole or not at all, also after a power cut.
fn write_whole(path: &Path, bytes: &[u8]) -> Result<(), EngineError> {
    let fail = |error: std::io::Error| EngineError::file(path, error);
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(format!(".{}.new", std::process::id()));
    let temporary = PathBuf::from(temporary);
    let written = std::fs::File::create(&temporary)
        .and_then(|mut file| file.write_all(bytes).and_then(|()| file.sync_all()))
        .and_then(|()| std::fs::rename(&temporary, path));
    if let Err(error) = written {
        let _ = std::fs::remove_file(&temporary);
        return Err(fail(error));
    }
    let folder = path.parent().unwrap_or(Path::new("."));
    std::fs::File::open(folder).and_then(|folder| folder.sync_all()).map_err(fail)
}

/// What a file is called in messages: its path, or `standard`.
pub(crate) fn standard_file() -> (&'static str, PluginFile) {
    (STANDARD_PLUGIN, PluginFile { bytes: STANDARD_PLUGIN_BYTES.into(), signature: None })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn what_is_kept_is_found_by_a_later_process_with_its_signature_and_only_if_it_is_whole() {
        let folder = tempfile::tempdir().unwrap();
        let (path, limits) = (folder.path().join("plugins"), Limits::default());
        let store = PluginStore::in_folder(path.clone());
        let digest = store.remember(PluginFile { bytes: b"plugin"[..].into(), signature: Some("signed".to_owned()) });
        assert!(store.kept().unwrap().is_empty(), "remembering writes nothing");
        store.keep(&digest).unwrap();
        let later = PluginStore::in_folder(path.clone());
        let file = later.get(&digest, &limits).unwrap().unwrap();
        assert_eq!((&file.bytes[..], file.signature.as_deref()), (&b"plugin"[..], Some("signed")));
        assert_eq!(later.kept().unwrap(), [digest]);
        std::fs::write(path.join(format!("{digest}.wasm")), "other").unwrap();
        assert!(later.get(&digest, &limits).unwrap_err().to_string().contains("is damaged"));
        later.forget(&digest).unwrap();
        assert!(later.get(&digest, &limits).unwrap().is_none());
        assert_eq!(std::fs::read_dir(&path).unwrap().count(), 0, "the signature goes too");
    }
}
