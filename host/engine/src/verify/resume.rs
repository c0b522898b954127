//! The file that lets a stopped verification go on, and lets samples rotate.
//!
//! Only packs that were found good are remembered: damaged ones are looked at again, so nothing that was found is ever
//! forgotten. The file is replaced whole, by a rename; one that was torn by a power cut cannot exist.

use std::collections::{BTreeMap, HashSet};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use longshore_model::{BackupId, Timestamp, VaultId};
use longshore_vault::PackId;
use serde::{Deserialize, Serialize};

use super::VerifyLevel;
use crate::EngineError;

const FORMAT: u32 = 1;
const KIND: &str = "longshore-verify";
/// The file is written at most this often, in milliseconds.
const SAVE_EVERY_MS: i64 = 2_000;
/// Longest file that is read, in bytes: a million packs.
const FILE_BYTES: u64 = 128 << 20;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct State {
    format: u32,
    kind: String,
    /// The backup, or `all`.
    scope: String,
    level: VerifyLevel,
    /// Percent, when only a sample is read.
    sample: Option<u8>,
    seed: u64,
    /// The run came to its end; the next one begins anew, with the next seed.
    finished: bool,
    /// Packs found good, by vault.
    good: BTreeMap<VaultId, Vec<PackId>>,
}

/// Progress of one verification, kept in a file.
#[derive(Debug)]
pub(crate) struct Resume {
    /// `None`: nothing is kept beyond this run.
    path: Option<PathBuf>,
    state: Mutex<(State, Option<Timestamp>)>,
}

/// What is verified how; a file of another verification is not gone on with.
pub(crate) struct Wanted<'a> {
    pub(crate) backup: Option<&'a BackupId>,
    pub(crate) level: VerifyLevel,
    pub(crate) sample: Option<u8>,
    pub(crate) seed: Option<u64>,
    /// Used when neither the caller nor the file says one.
    pub(crate) first_seed: u64,
}

impl Resume {
    /// Reads the file, or begins anew where there is none or the run in it was finished. Answers the seed too.
    pub(crate) fn open(path: Option<&Path>, wanted: &Wanted<'_>) -> Result<(Self, u64), EngineError> {
        let scope = wanted.backup.map_or_else(|| "all".to_owned(), ToString::to_string);
        let found = path.map(|path| read(path).map(|state| (path, state))).transpose()?;
        let (seed, good) = match found.and_then(|(path, state)| Some((path, state?))) {
            Some((path, state)) if !state.finished => {
                check_same(path, &state, wanted, &scope)?;
                (state.seed, state.good)
            }
            Some((_, state)) => (wanted.seed.unwrap_or(state.seed.wrapping_add(1)), BTreeMap::new()),
            None => (wanted.seed.unwrap_or(wanted.first_seed), BTreeMap::new()),
        };
        let (level, sample) = (wanted.level, wanted.sample);
        let state = State { format: FORMAT, kind: KIND.to_owned(), scope, level, sample, seed, finished: false, good };
        let resume = Self { path: path.map(Path::to_owned), state: Mutex::new((state, None)) };
        // At once, so that a folder that cannot be written to is known now and not after hours.
        resume.save()?;
        Ok((resume, seed))
    }

    /// Packs of a vault that were found good.
    pub(crate) fn good(&self, vault: &VaultId) -> HashSet<PackId> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.0.good.get(vault).into_iter().flatten().copied().collect()
    }

    /// Remembers a good pack. A file that cannot be written is only worth a warning: the work itself goes on.
    pub(crate) fn add(&self, vault: &VaultId, pack: PackId, now: Timestamp) {
        let due = {
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            state.0.good.entry(vault.clone()).or_default().push(pack);
            let due = state.1.is_none_or(|last| now.millis_since(last) >= SAVE_EVERY_MS);
            if due {
                state.1 = Some(now);
            }
            due
        };
        if due && let Err(error) = self.save() {
            tracing::warn!(%error, "the progress of the verification could not be kept");
        }
    }

    /// Keeps everything so far, for a run that was stopped.
    pub(crate) fn keep(&self) {
        if let Err(error) = self.save() {
            tracing::warn!(%error, "the progress of the verification could not be kept");
        }
    }

    /// Marks the run as finished.
    pub(crate) fn finish(&self) -> Result<(), EngineError> {
        {
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            state.0.finished = true;
            state.0.good.clear();
        }
        self.save()
    }

    fn save(&self) -> Result<(), EngineError> {
        let Some(path) = &self.path else { return Ok(()) };
        let bytes = {
            let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            serde_json::to_vec(&state.0)
        };
        let bytes = bytes.map_err(|error| EngineError::file(path, error))?;
        let mut name = path.file_name().unwrap_or_default().to_owned();
        name.push(".tmp");
        let temporary = path.with_file_name(name);
        // The bytes before the name: the other way round a power cut can leave the name with nothing in it.
        let written = std::fs::File::create(&temporary)
            .and_then(|mut file| file.write_all(&bytes).and_then(|()| file.sync_all()))
            .and_then(|()| std::fs::rename(&temporary, path));
        written.map_err(|error| EngineError::file(path, error))
    }
}

/// Whether a file can be gone on with, or is not there.
pub(crate) fn check(path: &Path) -> Result<(), EngineError> {
    read(path).map(drop)
}

fn read(path: &Path) -> Result<Option<State>, EngineError> {
    let not_ours =
        |why: &str| Err(EngineError::file(path, format!("{why}; name another file, or remove this one to begin anew")));
    match std::fs::metadata(path) {
        Ok(metadata) if metadata.len() > FILE_BYTES => return not_ours("it is too long for a file of a verification"),
        Ok(_) => {}
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(EngineError::file(path, error)),
    }
    let bytes = std::fs::read(path).map_err(|error| EngineError::file(path, error))?;
    match serde_json::from_slice::<State>(&bytes) {
        Ok(state) if state.kind == KIND && state.format == FORMAT => Ok(Some(state)),
        _ => not_ours("it is not a file of a verification"),
    }
}

fn check_same(path: &Path, state: &State, wanted: &Wanted<'_>, scope: &str) -> Result<(), EngineError> {
    let percent = |sample: Option<u8>| sample.map_or_else(|| "everything".to_owned(), |share| format!("{share} %"));
    let same_seed = wanted.seed.is_none_or(|seed| seed == state.seed);
    if state.scope == scope && state.level == wanted.level && state.sample == wanted.sample && same_seed {
        return Ok(());
    }
    let (level, sample) = (state.level.as_str(), percent(state.sample));
    Err(EngineError::file(
        path,
        format!(
            "it belongs to a verification of {} that was stopped (level {level}, {sample}, seed {}); finish that one, \
             name another file, or remove this one",
            state.scope, state.seed
        ),
    ))
}
