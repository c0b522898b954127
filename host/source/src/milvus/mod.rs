//! Clusters of kind `milvus`: a Milvus server, 2.3 and newer.
//!
//! Metadata and flushes go over gRPC ([`MilvusClient`]), files are read where the server keeps them.

mod address;
mod client;
#[doc(hidden)]
pub mod proto;
mod rpc;
mod version;

pub use address::{Credentials, Secret, ServerAddress, Tls};
pub use client::MilvusClient;
pub use rpc::{Refusal, Rpc};
pub use version::ServerVersion;
