//! What a Milvus server holds, without reading a row.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::{StreamExt, TryStreamExt, stream};
use longshore_model::{ClassBytes, CollectionName, DEFAULT_DATABASE, FileClass, Timestamp};
use serde_json::{Map, Value};

use super::access::access;
use super::client::MilvusClient;
use super::describe::{Described, describe, found};
use super::proto::milvus::{DescribeDatabaseRequest, ListDatabasesRequest, ShowCollectionsRequest};
use super::segments::{SegmentFiles, flushed_segments, kept, list_files};
use super::shared::{Shared, identity};
use crate::{CollectionEntry, DatabaseEntry, Inventory, KnownFiles, SourceError};

/// Names of the databases, in order.
///
/// # Errors
/// What calls fail with.
pub(super) async fn databases(client: &MilvusClient) -> Result<Vec<String>, SourceError> {
    let mut names = client.call(ListDatabasesRequest {}).await?.db_names;
    if !names.iter().any(|name| name == DEFAULT_DATABASE) {
        names.push(DEFAULT_DATABASE.to_owned());
    }
    names.sort_unstable();
    names.dedup();
    Ok(names)
}

/// Names of all collections, in order.
///
/// # Errors
/// What calls fail with.
pub(super) async fn names(client: &MilvusClient, databases: &[String]) -> Result<Vec<CollectionName>, SourceError> {
    let mut names = Vec::new();
    for database in databases {
        // Dropped a moment ago: it holds nothing, then.
        let request = ShowCollectionsRequest { db_name: database.clone() };
        let Some(shown) = found(client.call(request).await)? else { continue };
        for collection in shown.collection_names {
            names.push(CollectionName::new(database, &collection)?);
        }
    }
    names.sort_unstable();
    Ok(names)
}

/// See the module.
///
/// # Errors
/// What calls and listings fail with.
pub(super) async fn list(shared: &Shared, known: Arc<dyn KnownFiles>) -> Result<Inventory, SourceError> {
    let client = shared.client().await?;
    let database_names = databases(client).await?;
    let names = names(client, &database_names).await?;
    let looked: Vec<Option<Looked>> = stream::iter(names)
        .map(|name| look(shared, name))
        .buffered(shared.limits.list_calls.max(1))
        .try_collect()
        .await?;
    // A collection that was dropped since it was listed is not there.
    let looked: Vec<Looked> = looked.into_iter().flatten().collect();
    let mut warnings = Vec::new();
    let databases = describe_databases(client, &database_names, &looked, &mut warnings).await?;
    let access = match access(client, &database_names).await {
        Ok(access) => Some(serde_json::to_value(access).unwrap_or_default()),
        Err(error @ (SourceError::NotPermitted { .. } | SourceError::CallRefused { .. })) => {
            warnings.push(format!("users, roles and grants are not in the backup: {error}"));
            None
        }
        Err(error) => return Err(error),
    };
    let storage = Arc::clone(shared.storage().await?);
    let count = move || {
        let entries = looked.into_iter().map(|looked| entry(looked, storage.as_ref(), known.as_ref()));
        Ok(entries.collect())
    };
    // What is known may still be read: this waits for it.
    let collections = crate::blocking::blocking("the inventory", count).await?;
    let source_version = format!("milvus {}", client.version_text());
    Ok(Inventory { source_version, databases, collections, access, warnings })
}

/// One collection, looked at.
struct Looked {
    name: CollectionName,
    described: Described,
    files: SegmentFiles,
}

async fn look(shared: &Shared, name: CollectionName) -> Result<Option<Looked>, SourceError> {
    let client = shared.client().await?;
    let Some(described) = describe(client, &name).await? else { return Ok(None) };
    let Some(segments) = flushed_segments(client, &name, described.collection_id).await? else { return Ok(None) };
    let storage = shared.storage().await?;
    let files = list_files(storage.as_ref(), described.collection_id, kept(&segments)).await?;
    Ok(Some(Looked { name, described, files }))
}

fn entry(looked: Looked, storage: &dyn super::storage::LogStorage, known: &dyn KnownFiles) -> CollectionEntry {
    let Looked { name, described, files } = looked;
    let (rows_bytes, delta_bytes) = files.bytes();
    let mut size_bytes = ClassBytes::default();
    size_bytes.add(FileClass::Segment, rows_bytes);
    size_bytes.add(FileClass::Delta, delta_bytes);
    let mut stored_bytes = ClassBytes::default();
    for file in &files.files {
        if known.look_up(&name, &identity(storage, file)).is_stored {
            stored_bytes.add(file.log.class(), file.listed.size_bytes);
        }
    }
    let last_write = files.files.iter().map(|file| file.listed.modified_ms).max();
    let mut partitions = described.schema.partitions.clone();
    partitions.sort_unstable();
    CollectionEntry {
        schema: Arc::new(serde_json::to_value(&described.schema).unwrap_or_default()),
        properties: described.schema.properties.clone(),
        indexes: described.index_facts(),
        partitions,
        size_bytes,
        stored_bytes,
        rows: files.rows(),
        last_write: last_write.map(Timestamp::from_millis),
        created: Some(Timestamp::from_millis(described.created_ms)),
        load_state: described.load_state,
        fingerprint: described.fingerprint(),
        name,
    }
}

async fn describe_databases(
    client: &MilvusClient,
    names: &[String],
    looked: &[Looked],
    warnings: &mut Vec<String>,
) -> Result<Vec<DatabaseEntry>, SourceError> {
    let mut untold: Vec<&str> = Vec::new();
    let mut why = None;
    let mut entries = Vec::with_capacity(names.len());
    for name in names {
        let of_this = looked.iter().filter(|looked| looked.name.database == *name);
        let aliases: BTreeMap<String, String> = of_this
            .flat_map(|looked| looked.described.aliases.iter().map(|alias| (alias, &looked.name.collection)))
            .map(|(alias, collection)| (alias.clone(), collection.clone()))
            .collect();
        let properties = match properties(client, name).await {
            // Rows matter more than what a database says of itself.
            Err(error @ SourceError::NotPermitted { .. }) => {
                untold.push(name);
                why = Some(error);
                Value::Object(Map::new())
            }
            told => told?,
        };
        entries.push(DatabaseEntry { name: name.clone(), properties, aliases });
    }
    if let Some(why) = why {
        warnings.push(format!("properties of these databases are not in the backup: {}: {why}", untold.join(", ")));
    }
    Ok(entries)
}

async fn properties(client: &MilvusClient, name: &str) -> Result<Value, SourceError> {
    let mut properties = Map::new();
    if client.describes_databases() {
        match found(client.call(DescribeDatabaseRequest { db_name: name.to_owned() }).await) {
            Ok(described) => {
                let pairs = described.into_iter().flat_map(|described| described.properties);
                properties.extend(pairs.map(|pair| (pair.key, Value::String(pair.value))));
            }
            Err(SourceError::CallNotOffered { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(Value::Object(properties))
}
