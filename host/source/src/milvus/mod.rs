//! Clusters of kind `milvus`: a Milvus server, 2.3 and newer.
//!
//! Metadata and flushes go over gRPC ([`MilvusClient`]), files are read where the server keeps them.

mod address;
mod client;
mod kept;
mod layout;
#[doc(hidden)]
pub mod proto;
mod rpc;
mod version;

pub use address::{Credentials, Secret, ServerAddress, Tls};
pub use client::MilvusClient;
pub use kept::{
    KeptAccess, KeptField, KeptGrant, KeptIndex, KeptPartition, KeptPoint, KeptSchema, KeptSegment, KeptUser,
};
pub use layout::LogPath;
pub use rpc::{Refusal, Rpc};
pub use version::ServerVersion;
