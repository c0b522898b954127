//! Whether the logs of a backup parse, each by itself, and whether the fields of a segment have as many rows.
//!
//! What is wrong is a finding; nothing here fails.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use longshore_model::FileClass;

use super::binlog::{FieldLog, LogFile, PackedFile, Values, damaged, read_deletes};
use super::layout::LogPath;
use crate::{Limits, SourceError, StoredFile};

/// Checks that logs parse, each by itself; see [`crate::check_files`].
pub(crate) fn check_files(files: &[StoredFile], complete: bool, limits: &Limits) -> crate::CheckedFiles {
    let mut found = crate::CheckedFiles::default();
    let mut rows: BTreeMap<(i64, i64), BTreeMap<i64, u64>> = BTreeMap::new();
    let mut is_counted = true;
    for file in files {
        match check_file(file, limits) {
            Ok((_, None)) => {
                found.parsed += 1;
                is_counted = false;
            }
            Ok((path, Some(count))) => {
                found.parsed += 1;
                if let Some(field) = path.field_id {
                    *rows.entry((path.partition_id, path.segment_id)).or_default().entry(field).or_default() += count;
                }
            }
            Err(error) => found.problems.push((file.path.clone(), reason(error))),
        }
    }
    if !complete {
        return found;
    }
    for ((partition, segment), fields) in &rows {
        let counts: BTreeSet<u64> = fields.values().copied().collect();
        if counts.len() > 1 {
            let what =
                format!("the fields of segment {segment} of partition {partition} have different numbers of rows");
            found.problems.push((String::new(), what));
        }
    }
    if found.problems.is_empty() && is_counted {
        found.physical_rows = Some(rows.values().filter_map(|fields| fields.values().next()).sum());
    }
    found
}

/// Its place, and how many values or deletes it has; `None` for a file that is whole and cannot be read.
fn check_file(file: &StoredFile, limits: &Limits) -> Result<(LogPath, Option<u64>), SourceError> {
    let path = LogPath::parse(&file.path).filter(|path| path.class() == file.class);
    let path = path.ok_or_else(|| damaged(&file.path, "it is no place of a log of Milvus"))?;
    let log = LogFile { shown: file.path.clone(), size_bytes: file.size_bytes, bytes: Arc::clone(&file.bytes) };
    if file.class == FileClass::Delta {
        // Keys of either kind are told apart by what they are.
        let read = |is_text| read_deletes([&log], is_text, None, limits).map(|deletes| deletes.count);
        return Ok((path, Some(read(false).or_else(|_| read(true))?)));
    }
    if log.is_packed()? {
        return match check_packed(log, limits) {
            Ok(rows) => Ok((path, Some(rows))),
            // No fault of the file, and no reason to call a backup damaged.
            Err(SourceError::Unsupported { .. }) => Ok((path, None)),
            Err(error) => Err(error),
        };
    }
    let values = Values::open(&log, limits)?;
    let descriptor = values.binlog().descriptor;
    if Some(descriptor.field_id) != path.field_id || descriptor.segment_id != path.segment_id {
        let reason =
            format!("it says that it is of field {} of segment {}", descriptor.field_id, descriptor.segment_id);
        return Err(damaged(&file.path, reason));
    }
    Ok((path, Some(values.each(&mut |_| Ok(()))?)))
}

/// How many rows a file of several fields has, each field.
fn check_packed(log: LogFile, limits: &Limits) -> Result<u64, SourceError> {
    let file = Arc::new(PackedFile::open(&log, limits)?);
    for column in 0..file.fields().len() {
        FieldLog::Packed { file: Arc::clone(&file), column }.each(limits, &mut |_| Ok(()))?;
    }
    Ok(file.rows())
}

/// What is wrong, without the path, which stands beside it.
fn reason(error: SourceError) -> String {
    match error {
        SourceError::Damaged { reason, .. } | SourceError::Unsupported { reason, .. } => reason,
        error => error.to_string(),
    }
}
