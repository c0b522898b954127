//! The fingerprint of a collection: what tells whether it was altered, or dropped and created again.

use longshore_model::Digest;

use super::looked::Document;
use super::manifest::Manifest;
use super::schema::Schema;
use crate::disk::Stat;

/// Hashes what only DDL changes. Two collections that were created one after the other have different fingerprints even
/// if every byte is the same: their folder or the time of their schema.json differs.
pub(crate) fn of(folder: &Stat, schema: &Document<Schema>, manifest: &Manifest) -> Digest {
    let mut hasher = blake3::Hasher::new();
    for number in [folder.device, folder.inode, schema.stat.inode, schema.stat.changed_ns.cast_unsigned()] {
        hasher.update(&number.to_le_bytes());
    }
    hasher.update(blake3::hash(&schema.bytes).as_bytes());
    hasher.update(blake3::hash(manifest.index_specs.to_string().as_bytes()).as_bytes());
    // The buckets of a partition key appear in the manifest with the first flush, which is no DDL.
    if !schema.content.has_partition_key {
        for partition in manifest.partitions.keys() {
            hasher.update(blake3::hash(partition.as_bytes()).as_bytes());
        }
    }
    Digest::new(*hasher.finalize().as_bytes())
}
