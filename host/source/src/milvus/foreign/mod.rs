//! Backups that the tool milvus-backup made, read as a source: what is in one can be backed up as if its server had been,
//! and be restored like everything else.
//!
//! The layout and the metadata are those of zilliztech/milvus-backup (`internal/storage/mpath/path.go`,
//! `core/proto/backup.proto`), format "binlog"; the format "snapshot" of Milvus 3 is refused.

mod meta;
mod source;

pub use source::MilvusBackupSource;
