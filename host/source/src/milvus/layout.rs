//! Paths of a Milvus collection's files, in a backup and in a server's storage.
//!
//! In a backup, relative to the collection (the names are those of Milvus' own storage, without the collection's number,
//! which is different after each restore):
//!
//! ```text
//! insert_log/<partition>/<segment>/<field>/<log>    class segment
//! delta_log/<partition>/<segment>/<log>             class delta
//! ```
//!
//! Where several fields lie in one file (storage version 2, Milvus 2.6), the number of their group stands in the place of the field's.
//!
//! In a server's storage the same stands below `<root>/insert_log/<collection>` and `<root>/delta_log/<collection>`.

use longshore_model::FileClass;

/// Folder of inserted rows.
pub(crate) const INSERT_LOG: &str = "insert_log";
/// Folder of deletes.
pub(crate) const DELTA_LOG: &str = "delta_log";
/// The number of the field that holds numbers of rows.
pub(crate) const ROW_ID_FIELD: i64 = 0;
/// The number of the field that holds the hybrid timestamp of each row.
pub(crate) const TIMESTAMP_FIELD: i64 = 1;
/// The group of fields that holds both (`DefaultShortColumnGroupID` of Milvus `internal/storagecommon/column_group_splitter.go`).
pub(crate) const FIRST_GROUP: i64 = 0;
/// The partition that level-zero segments of all partitions are in.
pub(crate) const ALL_PARTITIONS: i64 = -1;

/// Where a file of a collection belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LogPath {
    /// The partition's number; −1 for all.
    pub partition_id: i64,
    /// The segment's number.
    pub segment_id: i64,
    /// The field's number, or that of a group of fields; `None` for deletes.
    pub field_id: Option<i64>,
    /// The log's number; logs of one field are in order of it.
    pub log_id: i64,
}

impl LogPath {
    /// Reads a path relative to the collection. `None` for anything that is not exactly as it is written here.
    #[must_use]
    pub fn parse(path: &str) -> Option<Self> {
        let mut parts = path.split('/');
        let folder = parts.next()?;
        let (partition_id, segment_id) = (number(parts.next()?)?, number(parts.next()?)?);
        let field_id = match folder {
            INSERT_LOG => Some(number(parts.next()?)?),
            DELTA_LOG => None,
            _ => return None,
        };
        let log_id = number(parts.next()?)?;
        let positive = segment_id >= 0 && log_id >= 0 && field_id.is_none_or(|field| field >= 0);
        let found = Self { partition_id, segment_id, field_id, log_id };
        (parts.next().is_none() && positive && partition_id >= ALL_PARTITIONS).then_some(found)
    }

    /// The class of the file.
    #[must_use]
    pub const fn class(&self) -> FileClass {
        if self.field_id.is_some() { FileClass::Segment } else { FileClass::Delta }
    }
}

impl std::fmt::Display for LogPath {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { partition_id, segment_id, field_id, log_id } = self;
        match field_id {
            Some(field_id) => write!(f, "{INSERT_LOG}/{partition_id}/{segment_id}/{field_id}/{log_id}"),
            None => write!(f, "{DELTA_LOG}/{partition_id}/{segment_id}/{log_id}"),
        }
    }
}

/// A number in the one spelling that Milvus writes, so that no two paths mean the same file.
fn number(text: &str) -> Option<i64> {
    text.parse::<i64>().ok().filter(|number| number.to_string() == text)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn only_paths_of_logs_are_read_and_come_back_as_they_were() {
        for path in ["insert_log/44/45/100/7", "insert_log/0/0/0/0", "delta_log/44/45/7", "delta_log/-1/45/7"] {
            assert_eq!(LogPath::parse(path).unwrap().to_string(), path);
        }
        for path in [
            "",
            "insert_log",
            "insert_log/44/45/100",
            "insert_log/44/45/100/7/8",
            "delta_log/44/45/100/7",
            "/delta_log/1/2/3",
            "insert_log/../45/100/7",
            "insert_log/44//100/7",
            "insert_log/044/45/100/7",
            "insert_log/+4/45/100/7",
            "insert_log/44/45/-1/7",
            "delta_log/-2/45/7",
            "delta_log/44/45/7/",
            "index_files/1/2/3",
            "insert_log/44/45/100/x",
        ] {
            assert_eq!(LogPath::parse(path), None, "{path}");
        }
    }
}
