//! What `build.rs` makes of `proto/`: Milvus' messages and, for each call, an implementation of [`super::Rpc`].

#![allow(missing_docs, clippy::all, clippy::pedantic, unreachable_pub)]

/// `milvus.proto.common`.
pub mod common {
    include!(concat!(env!("OUT_DIR"), "/milvus.proto.common.rs"));
}
/// `milvus.proto.schema`.
pub mod schema {
    include!(concat!(env!("OUT_DIR"), "/milvus.proto.schema.rs"));
}
/// `milvus.proto.milvus`.
#[allow(clippy::module_inception)]
pub mod milvus {
    include!(concat!(env!("OUT_DIR"), "/milvus.proto.milvus.rs"));
}
