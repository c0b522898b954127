//! Where the fields of a segment lie: each in files of its own, or several in the files of a group (storage version 2, Milvus 2.6
//! and newer). Which it is, the files say.
//!
//! Contract: the fields of one segment have the same rows in the same order, each file after the other in order of its number. Of
//! groups this holds file by file: a server writes one file of each group at a time, with numbers that go up
//! (`PackedBinlogRecordWriter` of Milvus `internal/storage/binlog_record_writer.go`), and reads them side by side
//! (`NewBinlogRecordReader` of `internal/storage/rw.go`). So files of groups that end after other rows are not taken for one
//! segment, and a field that one file names and none has is missing.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::binlog::{FieldLog, LogFile, PackedFile, damaged};
use super::row_schema::RowSchema;
use super::rows::SegmentLogs;
use crate::{Limits, SourceError};

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Columns {
    logs: BTreeMap<i64, Vec<FieldLog>>,
}

impl Columns {
    /// Numbers of the fields that there are values of.
    pub(super) fn fields(&self) -> Vec<i64> {
        self.logs.keys().copied().collect()
    }

    /// Where those of one field are.
    pub(super) fn of(&self, field: i64) -> Option<&[FieldLog]> {
        self.logs.get(&field).map(Vec::as_slice)
    }
}

impl SegmentLogs {
    /// Looks where its fields lie; of files of several fields the footers are read. Blocks.
    ///
    /// # Errors
    /// [`SourceError::Damaged`] for groups that are not whole or not of the same rows; as [`PackedFile::open`].
    pub(super) fn columns(&self, schema: &RowSchema, limits: &Limits) -> Result<Columns, SourceError> {
        let first = self.files.values().flatten().next();
        if first.map(LogFile::is_packed).transpose()? == Some(true) {
            return self.packed_columns(schema, limits);
        }
        let own = |files: &Vec<_>| files.iter().cloned().map(FieldLog::Own).collect();
        Ok(Columns { logs: self.files.iter().map(|(field, files)| (*field, own(files))).collect() })
    }

    fn packed_columns(&self, schema: &RowSchema, limits: &Limits) -> Result<Columns, SourceError> {
        let mut columns = Columns::default();
        let mut named: BTreeSet<i64> = BTreeSet::new();
        let mut before: Option<(i64, Vec<u64>)> = None;
        for (group, files) in &self.files {
            let files = files.iter().map(|file| PackedFile::open(file, limits).map(Arc::new));
            let files: Vec<Arc<PackedFile>> = files.collect::<Result<_, _>>()?;
            let rows: Vec<u64> = files.iter().map(|file| file.rows()).collect();
            match &before {
                Some((other, cuts)) if *cuts != rows => return Err(self.other_rows(*other, cuts, *group, &rows)),
                _ => before = Some((*group, rows)),
            }
            named.extend(files.iter().flat_map(|file| file.of_all_groups()));
            let fields: BTreeSet<i64> = files.iter().flat_map(|file| file.fields()).copied().collect();
            for field in fields {
                let logs = files.iter().map(|file| match file.column(field) {
                    Some(column) => Ok(FieldLog::Packed { file: Arc::clone(file), column }),
                    None if schema.may_be_missing(field) => Ok(FieldLog::Missing { file: Arc::clone(file) }),
                    None => {
                        Err(damaged(file.shown(), format!("it lacks field {field}, which others of its group have")))
                    }
                });
                if columns.logs.insert(field, logs.collect::<Result<_, _>>()?).is_some() {
                    return Err(damaged(&self.shown(), format!("field {field} is in two of its groups")));
                }
            }
        }
        if let Some(field) = named.iter().find(|field| !columns.logs.contains_key(field)) {
            return Err(damaged(&self.shown(), format!("its files name field {field}, and none of them has it")));
        }
        Ok(columns)
    }

    fn other_rows(&self, one: i64, rows_of_one: &[u64], other: i64, rows_of_other: &[u64]) -> SourceError {
        let sum = |rows: &[u64]| rows.iter().copied().fold(0, u64::saturating_add);
        let (rows_of_one, rows_of_other) = (sum(rows_of_one), sum(rows_of_other));
        if rows_of_one != rows_of_other {
            let reason = format!("group {one} has {rows_of_one} rows in it, and group {other} has {rows_of_other}");
            return damaged(&self.shown(), reason);
        }
        let reason = format!(
            "its groups {one} and {other} are cut into files at different rows, which is not known of any server"
        );
        SourceError::Unsupported { path: self.shown(), reason }
    }
}
