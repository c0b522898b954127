//! Backups in the layout of the tool milvus-backup: read as a source, so that what is in one can be backed up as if its server
//! had been, and be restored like everything else; and written as a target, so that a backup can be taken away from here.
//!
//! The layout and the metadata are those of zilliztech/milvus-backup (`internal/storage/mpath/path.go`,
//! `core/proto/backup.proto`), format "binlog"; the format "snapshot" of Milvus 3 is refused.

mod meta;
mod source;
mod target;
mod write;

pub use source::MilvusBackupSource;
pub use target::MilvusBackupTarget;
