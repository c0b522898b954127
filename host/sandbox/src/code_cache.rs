//! Compiled plugins, kept between runs of the host so that a command does not compile what the last one compiled.
//!
//! Contract: an entry is machine code that this host made itself from a file with this digest, for an engine with these
//! settings, after all checks of a load. It is believed only if all of that is shown: the folder and the file belong to
//! this user and to nobody else, and a MAC over the entry's name and all of its bytes is right under a random key that
//! lies in the same folder and never leaves it. Whoever can read that key could as well change the host's program.
//!
//! Failure: there is none to speak of. Whatever is wrong (owner, mode, MAC, length, version, a full disk) means that the
//! plugin is compiled as if there were no cache, and that the entry is replaced. Files are replaced by renames, so
//! processes that share a folder see whole entries only; a torn one after a power loss has a wrong MAC.

mod entry;
mod folder;
#[cfg(test)]
mod tests;

use std::hash::{Hash, Hasher};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use longshore_model::{Digest, PolicyKind};
use wasmtime::Engine;

use self::entry::Key;
use self::folder::Folder;
use crate::Limits;

/// Grows when what an entry holds, or what a load checks before it writes one, has changed.
const VERSION: u32 = 1;

/// Name of the file with the key.
const KEY_FILE: &str = "key";

/// A folder of compiled plugins.
pub(crate) struct CodeCache {
    path: PathBuf,
    /// What the engine's machine code depends on, and the version of the entries: part of every name.
    engine: String,
    limits: Limits,
    /// Why the cache could not be used the last time, if it could not.
    trouble: Mutex<Option<String>>,
}

/// What an entry says.
pub(crate) struct Cached {
    /// What the plugin serves.
    pub(crate) kinds: Vec<PolicyKind>,
    /// Its machine code, believed.
    pub(crate) code: TrustedCode,
}

/// Machine code that an engine of this host made: its MAC was right. Made in this module only.
pub(crate) struct TrustedCode {
    file: Vec<u8>,
    start: usize,
}

impl TrustedCode {
    /// The code.
    pub(crate) fn bytes(&self) -> &[u8] {
        self.file.get(self.start..).unwrap_or_default()
    }
}

/// Tells the hash that wasmtime gives of its settings to BLAKE3: the standard hasher may change between compilers.
#[derive(Default)]
struct EngineHasher(blake3::Hasher);

impl Hasher for EngineHasher {
    fn write(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    fn finish(&self) -> u64 {
        let mut first = [0; 8];
        self.0.finalize_xof().fill(&mut first);
        u64::from_le_bytes(first)
    }
}

impl CodeCache {
    /// A cache in a folder, which is made when it is first needed.
    pub(crate) fn new(path: &Path, engine: &Engine, limits: &Limits) -> Self {
        let mut hasher = EngineHasher::default();
        engine.precompile_compatibility_hash().hash(&mut hasher);
        hasher.0.update(&VERSION.to_le_bytes());
        // Another build of the host may check a file differently before it compiles it.
        hasher.0.update(env!("CARGO_PKG_VERSION").as_bytes());
        let engine = hasher.0.finalize().to_hex().chars().take(16).collect();
        Self { path: path.to_owned(), engine, limits: *limits, trouble: Mutex::new(None) }
    }

    /// The plugin with this digest, if it is there and believed.
    pub(crate) fn get(&self, digest: Digest) -> Option<Cached> {
        let found = self.open(false).and_then(|opened| {
            let Some((folder, key)) = opened else { return Ok(None) };
            let name = self.name(digest);
            let Some(file) = folder.read(&name, self.limits.code_cache_entry_bytes)? else { return Ok(None) };
            Ok(entry::decode(&key, &name, file))
        });
        self.noted(found).flatten()
    }

    /// Keeps a compiled plugin. A failure costs the next load its time, nothing else.
    pub(crate) fn put(&self, digest: Digest, kinds: &[PolicyKind], code: &[u8]) {
        if u64::try_from(code.len()).map_or(true, |bytes| bytes > self.limits.code_cache_entry_bytes) {
            return;
        }
        let kept = self.open(true).and_then(|opened| {
            let Some((folder, key)) = opened else { return Ok(()) };
            let name = self.name(digest);
            folder.replace(&name, &entry::encode(&key, &name, kinds, code))?;
            folder.bound(self.limits.code_cache_entries, self.limits.code_cache_bytes)
        });
        self.noted(kept);
    }

    /// Why the cache could not be used the last time.
    pub(crate) fn trouble(&self) -> Option<String> {
        self.trouble.lock().map_or(None, |trouble| trouble.clone())
    }

    fn name(&self, digest: Digest) -> String {
        format!("{digest}-{}", self.engine)
    }

    /// The folder and its key; both are made if `make`.
    fn open(&self, make: bool) -> std::io::Result<Option<(Folder, Key)>> {
        let Some(folder) = Folder::open(&self.path, make)? else { return Ok(None) };
        let stored = folder.read(KEY_FILE, Key::BYTES as u64)?;
        if let Some(key) = stored.and_then(|bytes| Key::from_bytes(&bytes)) {
            return Ok(Some((folder, key)));
        }
        if !make {
            return Ok(None);
        }
        // No key, or one that is not private: entries under it are worth nothing, so a new one takes its place.
        let fresh = Key::random()?;
        folder.replace(KEY_FILE, fresh.bytes())?;
        // Another process may have done the same just now: what lies there counts, for both.
        let stored = folder.read(KEY_FILE, Key::BYTES as u64)?;
        Ok(stored.and_then(|bytes| Key::from_bytes(&bytes)).map(|key| (folder, key)))
    }

    fn noted<T>(&self, result: std::io::Result<T>) -> Option<T> {
        let (value, trouble) = match result {
            Ok(value) => (Some(value), None),
            Err(error) => (None, Some(format!("compiled plugins are not kept in {}: {error}", self.path.display()))),
        };
        if let Ok(mut noted) = self.trouble.lock() {
            *noted = trouble;
        }
        value
    }
}
