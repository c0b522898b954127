//! Clusters of kind `milvus`: a Milvus server, 2.3 and newer.
//!
//! Metadata and flushes go over gRPC ([`MilvusClient`]), files are read where the server keeps them.

mod access;
mod address;
mod binlog;
mod bucket_location;
mod bucket_storage;
mod check;
mod check_logs;
mod client;
mod columns;
mod counted;
mod cut;
mod describe;
mod features;
mod flush;
mod folder_storage;
mod foreign;
mod held;
mod inventory;
mod kept;
mod layout;
mod live;
mod pieces;
mod point;
#[doc(hidden)]
pub mod proto;
mod rest;
mod rest_import;
mod restore;
mod row_schema;
mod rows;
mod rpc;
mod segments;
mod shared;
mod source;
mod staged_rows;
mod storage;
mod version;

pub use address::{Credentials, Secret, ServerAddress, Tls};
pub use binlog::{Binlog, Descriptor, LogFile};
pub(crate) use binlog::{WriteError, insert_log};
pub use bucket_location::{BucketLocation, BucketProvider, choose_tls};
pub(crate) use check_logs::check_files;
pub use client::MilvusClient;
pub use features::cannot_be_restored;
pub use foreign::{MilvusBackupSource, MilvusBackupTarget};
pub use kept::{
    KeptAccess, KeptField, KeptGrant, KeptIndex, KeptPartition, KeptPoint, KeptRows, KeptSchema, KeptSegment, KeptUser,
};
pub use layout::LogPath;
pub(crate) use pieces::SegmentPieces;
pub use restore::{MilvusTarget, MilvusTargetOptions, StagingPlace, check_until, check_until_ms};
pub use row_schema::RowSchema;
pub use rows::{CollectionLogs, CountedRows, SegmentLogs};
pub use rpc::{Refusal, Rpc};
pub use shared::MilvusServer;
pub use source::MilvusSource;
pub use storage::StorageLocation;
pub use version::ServerVersion;
