//! What a restore reads back of a collection: it is opened and counted out of the same bytes.
//!
//! Contract: what is kept was read from the staging folder after everything had been written, and nobody else writes there.
//! It is given on as what an inventory would have seen ([`Looked`]), under the conditions that hold for that: a file is
//! opened no more than once, and one that nobody has read back is looked for when the collection is opened, so that a file
//! which the manifest names and which is not there is an error, as ever. Files of which the bytes are not kept, because they
//! are large or many, are opened again when their rows are counted.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use longshore_model::{CollectionName, FileClass};

use super::layout;
use super::looked::{Document, Looked, LookedFile};
use super::manifest::Manifest;
use super::point::LitePoint;
use super::schema::Schema;
use super::shared::Shared;
use crate::disk::{OpenFile, Stat};
use crate::{CollectionPoint, RowCounting, SourceError, TargetFile};

/// See the module.
#[derive(Default)]
pub(crate) struct ReadBack {
    files: HashMap<String, Kept>,
    kept_bytes: u64,
}

struct Kept {
    stat: Stat,
    shown: String,
    bytes: Option<Bytes>,
    /// Of a file of rows.
    rows: u64,
}

impl ReadBack {
    /// Notes a file that was read back, with its bytes if somebody has all of them.
    pub(crate) fn add(
        &mut self,
        entry: &TargetFile,
        file: OpenFile,
        bytes: Option<Bytes>,
        shared: &Shared,
    ) -> Result<(), SourceError> {
        let rows = match (entry.class, &bytes) {
            (FileClass::Segment, Some(bytes)) => shared.footers.rows_in(bytes, &file.shown, &shared.limits)?,
            (FileClass::Segment, None) => shared.rows(&file)?,
            _ => 0,
        };
        let limit_bytes = shared.limits.read_back_bytes;
        let bytes = bytes.filter(|bytes| self.kept_bytes.saturating_add(bytes.len() as u64) <= limit_bytes);
        self.kept_bytes += bytes.as_ref().map_or(0, |bytes| bytes.len() as u64);
        let OpenFile { stat, shown, .. } = file;
        self.files.insert(entry.path.clone(), Kept { stat, shown, bytes, rows });
        Ok(())
    }

    /// Says that a file was written anew since.
    pub(crate) fn forget(&mut self, path: &str) {
        self.files.remove(path);
    }

    /// Has the collection opened by what was read back, unless one of the files that describe it was not.
    pub(crate) fn remember(&self, name: &CollectionName, shared: &Shared) -> Result<(), SourceError> {
        let folder = shared.collection(name)?.ok_or_else(|| shared.unknown(name))?.stat_self()?;
        let (Some(schema), Some(manifest)) =
            (self.document(layout::SCHEMA, Schema::parse)?, self.document(layout::MANIFEST, Manifest::parse)?)
        else {
            return Ok(());
        };
        let named = manifest.content.files().map(|(_, path, _)| {
            let Kept { stat, rows, .. } = self.files.get(&path)?;
            Some(LookedFile { stat: *stat, rows: *rows, is_stored: false, is_settled: true })
        });
        let Some(named) = named.collect() else { return Ok(()) };
        if let Some(looked) = Looked::of(shared, folder, &schema, Some(&manifest), named) {
            shared.memory.keep(name, looked, shared.limits.looked_bytes);
        }
        Ok(())
    }

    fn document<T>(
        &self,
        path: &str,
        parse: impl Fn(&[u8], &str) -> Result<T, SourceError>,
    ) -> Result<Option<Document<T>>, SourceError> {
        let Some(Kept { stat, shown, bytes: Some(bytes), .. }) = self.files.get(path) else { return Ok(None) };
        let content = Arc::new(parse(bytes, shown)?);
        Ok(Some(Document { stat: *stat, bytes: bytes.clone(), content, held: None }))
    }

    /// Counts the live rows of the collection: `None` where that would take more than `memory_bytes`.
    pub(crate) fn live_rows(&self, point: &LitePoint, memory_bytes: u64) -> Result<Option<u64>, SourceError> {
        let counting = point.counting_here(memory_bytes);
        for (place, file) in point.files().iter().enumerate() {
            if let Some(Kept { bytes: Some(bytes), .. }) = self.files.get(&file.path) {
                counting.add(place, bytes)?;
            }
        }
        counting.finish()
    }
}
