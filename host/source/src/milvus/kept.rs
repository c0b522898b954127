//! What a backup keeps of a Milvus collection besides its files: what [`CollectionPoint::schema`](crate::CollectionPoint)
//! and [`CollectionPoint::description`](crate::CollectionPoint) of kind `milvus` are, and what a restore reads out of them.
//!
//! Contract: a schema is kept as the bytes that the server sent, so that what a newer server says in it survives; the
//! rest is JSON that people can read. Fields that this version does not know are ignored, so that a later one can add some.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use longshore_model::Digest;
use prost::Message;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::features;
use super::proto::schema::CollectionSchema;
use crate::{RowSum, SourceError};

/// What data definition made of a collection: its schema in the sense of [`CollectionPoint::schema`](crate::CollectionPoint).
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct KeptSchema {
    /// What people wrote about the collection.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// The fields as people read them; nothing is restored from it.
    pub fields: Vec<KeptField>,
    /// A `schema.CollectionSchema` as the server sent it, in Base64.
    pub message: String,
    /// Number of shards.
    pub shards: i32,
    /// Number of Milvus' `ConsistencyLevel`.
    pub consistency_level: i32,
    /// Properties, in order of key.
    pub properties: Vec<(String, String)>,
    /// Names of the partitions, in order of creation; those of a partition key are `_default_0` and so on.
    pub partitions: Vec<String>,
    /// Indexes, in order of field and name.
    pub indexes: Vec<KeptIndex>,
}

/// A field as people read it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct KeptField {
    /// Its name.
    pub name: String,
    /// Its number, which names the folders of its files.
    pub field_id: i64,
    /// Its type, as Milvus calls it, for example `FloatVector`.
    pub data_type: String,
    /// Parameters of the type, for example `dim`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub type_params: Vec<(String, String)>,
    /// Whether it is the primary key.
    #[serde(skip_serializing_if = "is_false")]
    pub is_primary_key: bool,
    /// Whether rows are spread over partitions by it.
    #[serde(skip_serializing_if = "is_false")]
    pub is_partition_key: bool,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde wants it so")]
fn is_false(value: &bool) -> bool {
    !value
}

/// An index as it was declared.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct KeptIndex {
    /// Field it is on.
    pub field_name: String,
    /// Its name.
    pub index_name: String,
    /// What it was created with, in the server's order.
    pub params: Vec<(String, String)>,
}

/// The point that the files of a backup belong to.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct KeptPoint {
    /// What the server said its version is, for example `v2.3.5-lite`.
    pub server_version: String,
    /// The collection's number on that server.
    pub collection_id: i64,
    /// The flush that the point is: a hybrid timestamp (milliseconds since 1970, shifted left by 18).
    pub flush_timestamp: u64,
    /// Whether it was held in memory.
    pub loaded: bool,
    /// In how many replicas; 0 where the server did not tell.
    #[serde(skip_serializing_if = "is_none_at_all")]
    pub replicas: i32,
    /// Names of the partitions that were held in memory, where not all of them were.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub loaded_partitions: Vec<String>,
    /// The partitions by the numbers that stand in the paths of files.
    pub partitions: Vec<KeptPartition>,
    /// The segments that the files belong to.
    pub segments: Vec<KeptSegment>,
}

impl KeptPoint {
    /// Where a restore cuts, in milliseconds since 1970: `Import` knows no finer unit. A point begins a millisecond; one that
    /// does not, of a server that did not tell its time, has rows in its millisecond, and is cut at the next one. `None` for
    /// backups that do not tell, and have nothing later.
    #[must_use]
    pub fn end_ms(&self) -> Option<u64> {
        let begins_a_millisecond = self.flush_timestamp & ((1 << 18) - 1) == 0;
        let next = u64::from(!begins_a_millisecond);
        (self.flush_timestamp > 0).then(|| (self.flush_timestamp >> 18).saturating_add(next))
    }

    /// Why none of its rows can be read here, so that it can be kept and exported and not restored; `None` where they can.
    #[must_use]
    pub fn unreadable(&self) -> Option<&'static str> {
        let is_unreadable = |segment: &KeptSegment| !features::can_read(segment.storage_version);
        self.segments.iter().any(is_unreadable).then_some(features::UNREADABLE)
    }

    /// Whether several fields lie in one file, in some of its segments.
    #[must_use]
    pub fn is_packed(&self) -> bool {
        self.segments.iter().any(|segment| features::is_packed(segment.storage_version))
    }

    /// The same as a hybrid timestamp: what is later is not of the point.
    #[must_use]
    pub fn cut(&self) -> Option<u64> {
        self.end_ms().map(|end_ms| end_ms.saturating_mul(1 << 18))
    }

    /// The rows that a client sees by name of partition; `None` when they were not counted.
    #[must_use]
    pub fn live_by_partition(&self) -> Option<BTreeMap<String, RowSum>> {
        let mut sums: BTreeMap<String, RowSum> = BTreeMap::new();
        for segment in self.segments.iter().filter(|segment| !segment.is_level_zero && segment.rows > 0) {
            let partition = self.partitions.iter().find(|one| one.partition_id == segment.partition_id)?;
            let so_far = sums.entry(partition.name.clone()).or_default();
            *so_far = so_far.plus(segment.live?.sum);
        }
        Some(sums)
    }
}

/// A partition by number and name.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct KeptPartition {
    /// Number in the paths of files.
    pub partition_id: i64,
    /// Its name.
    pub name: String,
}

/// A segment of the point.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct KeptSegment {
    /// Number of its partition; −1 for deletes of all partitions (level zero, 2.4 and newer).
    pub partition_id: i64,
    /// Its number.
    pub segment_id: i64,
    /// Rows in it, deleted ones included.
    pub rows: u64,
    /// True when it holds deletes and no rows (level zero, 2.4 and newer).
    #[serde(skip_serializing_if = "is_false")]
    pub is_level_zero: bool,
    /// How its files are laid out: one field in each (0, and 1 in some metadata of milvus-backup), several from Milvus 2.6 on (2).
    #[serde(skip_serializing_if = "is_zero")]
    pub storage_version: i64,
    /// The rows in it that a client sees at the point, where they were counted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub live: Option<KeptRows>,
}

/// The rows of a segment that a client sees at a point.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct KeptRows {
    /// How many, and their digest (`src/rows.rs`).
    #[serde(flatten)]
    pub sum: RowSum,
    /// Digest of all that they follow from but the point's timestamp (`src/milvus/counted.rs`).
    pub of: Digest,
    /// True when nothing that they follow from is later than the point: then they are the same at every later one.
    pub is_whole: bool,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde wants it so")]
fn is_zero(value: &i64) -> bool {
    *value == 0
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde wants it so")]
fn is_none_at_all(value: &i32) -> bool {
    *value == 0
}

/// Users, roles and what they may do, as far as a server tells; passwords are never told.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct KeptAccess {
    /// Users, `root` left out.
    pub users: Vec<KeptUser>,
    /// Names of roles, the built-in ones left out.
    pub roles: Vec<String>,
    /// What roles may do.
    pub grants: Vec<KeptGrant>,
}

/// A user and the roles it has.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct KeptUser {
    /// Its name.
    pub name: String,
    /// Its roles.
    pub roles: Vec<String>,
}

/// One privilege of a role.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct KeptGrant {
    /// The role.
    pub role: String,
    /// Kind of object, for example `Collection` or `Global`.
    pub object: String,
    /// Which object; `*` for all.
    pub object_name: String,
    /// The privilege, for example `Insert`.
    pub privilege: String,
    /// The database it holds in.
    pub db_name: String,
}

impl KeptSchema {
    /// Reads what [`CollectionPoint::schema`](crate::CollectionPoint) gave. `shown` names the collection in messages.
    ///
    /// # Errors
    /// [`SourceError::Damaged`].
    pub fn read(value: &Value, shown: &str) -> Result<Self, SourceError> {
        Self::deserialize(value).map_err(|error| damaged(shown, format!("what is kept of its schema: {error}")))
    }

    /// The bytes of the schema.
    ///
    /// # Errors
    /// [`SourceError::Damaged`].
    pub fn message_bytes(&self, shown: &str) -> Result<Vec<u8>, SourceError> {
        let bytes = STANDARD.decode(&self.message);
        bytes.map_err(|error| damaged(shown, format!("the kept bytes of its schema are no Base64: {error}")))
    }

    /// The schema, to look into.
    ///
    /// # Errors
    /// [`SourceError::Damaged`].
    pub fn decode(&self, shown: &str) -> Result<CollectionSchema, SourceError> {
        let bytes = self.message_bytes(shown)?;
        let schema = CollectionSchema::decode(bytes.as_slice());
        schema.map_err(|error| damaged(shown, format!("the kept bytes of its schema are no schema: {error}")))
    }
}

impl KeptPoint {
    /// Reads what [`CollectionPoint::description`](crate::CollectionPoint) gave.
    ///
    /// # Errors
    /// [`SourceError::Damaged`].
    pub fn read(value: &Value, shown: &str) -> Result<Self, SourceError> {
        Self::deserialize(value).map_err(|error| damaged(shown, format!("what is kept of its point: {error}")))
    }
}

fn damaged(shown: &str, reason: String) -> SourceError {
    SourceError::Damaged { path: shown.to_owned(), reason }
}
