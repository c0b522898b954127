//! Milvus Lite 3 data directories: read beside a running program, restored into new or existing ones.
//!
//! The format is Milvus Lite 3.2's own; every module names the file of that package it follows.

mod attempt;
mod check;
mod commit;
mod converting;
mod counting;
mod fingerprint;
mod index_file;
mod inventory;
mod key_columns;
mod layout;
mod looked;
mod manifest;
mod parquet_file;
mod plan;
mod point;
mod read_back;
mod rows;
mod schema;
mod shared;
mod source;
mod staging;
mod target;
mod wal;
mod wal_cut;

pub(crate) use check::check_files;
pub(crate) use layout::{
    MANIFEST, PARTITIONS, SCHEMA, check_component, is_collection_file, is_log_of_rows, partition_of,
};
pub(crate) use manifest::{DEFAULT_PARTITION, Manifest, PartitionFiles, new_manifest};
pub(crate) use parquet_file::{from_start, parquet_batches, parquet_keys};
pub(crate) use rows::{LiveKeys, log_keys};
pub(crate) use schema::TIME_TO_LIVE;
pub use source::MilvusLiteSource;
pub use target::MilvusLiteTarget;
pub(crate) use wal::Key;
