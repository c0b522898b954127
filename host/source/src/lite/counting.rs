//! Counts the live rows of a point: out of its files, or out of bytes that somebody reads anyway.
//!
//! Contract: every data and delta file counts exactly once, and the log as it was cut; the order does not matter
//! ([`LiveKeys`]). What nobody handed in is read at the end, so that a count is never of a part of the files. Failure:
//! [`SourceError`] of the file that cannot be read or decoded.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use super::attempt::{NamedFile, NamedKind, Opened};
use super::layout::WalKind;
use super::parquet_file::{parquet_keys, parquet_keys_in};
use super::rows::LiveKeys;
use super::wal::{Key, Reader};
use crate::{Limits, RowCounting, SourceError};

/// Counts by reading every file; `None` where that would take more than `memory_bytes`.
pub(crate) fn count_live(opened: &Opened, memory_bytes: u64, limits: &Limits) -> Result<Option<u64>, SourceError> {
    let mut keys = LiveKeys::new(memory_bytes);
    count_files(opened, opened.named.iter(), &mut keys, limits)?;
    count_log(opened, &mut keys, limits)?;
    Ok(keys.count())
}

fn count_files<'a>(
    opened: &Opened,
    files: impl Iterator<Item = &'a NamedFile>,
    keys: &mut LiveKeys,
    limits: &Limits,
) -> Result<(), SourceError> {
    for named in files {
        if keys.is_full() {
            break;
        }
        if let Some(mut visit) = visitor(named.kind, keys) {
            parquet_keys(&named.open(&opened.folder)?, &opened.schema.content.key, limits, &mut visit)?;
        }
    }
    Ok(())
}

/// What a row of a file of this kind means; `None` for files without rows.
fn visitor(
    kind: NamedKind,
    keys: &mut LiveKeys,
) -> Option<impl FnMut(Key<'_>, u64) -> Result<(), SourceError> + use<'_>> {
    let inserts = match kind {
        NamedKind::Data(_) => true,
        NamedKind::Delta => false,
        NamedKind::Index => return None,
    };
    Some(move |key: Key<'_>, sequence| {
        if inserts {
            keys.insert(key, sequence)
        } else {
            keys.delete(key, sequence)
        }
        Ok(())
    })
}

fn count_log(opened: &Opened, keys: &mut LiveKeys, limits: &Limits) -> Result<(), SourceError> {
    for cut in &opened.cut.files {
        if keys.is_full() {
            break;
        }
        let reader = Reader { file: &cut.file.file, shown: &cut.file.shown, limits };
        for batch in &cut.batches {
            reader.keys(batch, cut.columns, &mut |key, sequence| {
                match cut.kind {
                    WalKind::Data => keys.insert(key, sequence),
                    WalKind::Delta => keys.delete(key, sequence),
                }
                Ok(())
            })?;
        }
    }
    Ok(())
}

/// A count under way. See the module.
pub(crate) struct Counting {
    opened: Arc<Opened>,
    /// Of each file of the point the place in [`Opened::named`], if it stands there.
    places: Vec<Option<usize>>,
    limits: Limits,
    state: Mutex<State>,
}

struct State {
    keys: LiveKeys,
    /// By place in [`Opened::named`].
    counted: Vec<bool>,
}

impl Counting {
    pub(crate) fn new(opened: Arc<Opened>, places: Vec<Option<usize>>, memory_bytes: u64, limits: Limits) -> Self {
        let counted = opened.named.iter().map(|named| named.kind == NamedKind::Index).collect();
        Self { opened, places, limits, state: Mutex::new(State { keys: LiveKeys::new(memory_bytes), counted }) }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl RowCounting for Counting {
    fn add(&self, file: usize, bytes: &Bytes) -> Result<(), SourceError> {
        let Some(place) = self.places.get(file).copied().flatten() else { return Ok(()) };
        let Some(named) = self.opened.named.get(place) else { return Ok(()) };
        let shown = self.opened.folder.show(&named.path);
        if bytes.len() as u64 != named.stat.size_bytes {
            let reason = format!("{} bytes of it came, it has {}", bytes.len(), named.stat.size_bytes);
            return Err(SourceError::FileChanged { path: shown, reason });
        }
        let State { keys, counted } = &mut *self.lock();
        if let Some(mut visit) = visitor(named.kind, keys) {
            parquet_keys_in(bytes, &shown, &self.opened.schema.content.key, &self.limits, &mut visit)?;
        }
        // Only now: a file that failed half-way is read at the end, and says so again. A key that comes twice does no harm.
        if let Some(counted) = counted.get_mut(place) {
            *counted = true;
        }
        Ok(())
    }

    fn needs_no_reading(&self) -> bool {
        self.lock().counted.iter().all(|counted| *counted) && self.opened.cut.files.is_empty()
    }

    fn finish(&self) -> Result<Option<u64>, SourceError> {
        let State { keys, counted } = &mut *self.lock();
        let left = self.opened.named.iter().zip(counted.iter()).filter(|(_, counted)| !**counted);
        count_files(&self.opened, left.map(|(named, _)| named), keys, &self.limits)?;
        count_log(&self.opened, keys, &self.limits)?;
        Ok(keys.count())
    }
}
