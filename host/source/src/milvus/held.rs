//! How a collection is held in memory: in how many replicas, and which of its partitions where not all are.
//!
//! Contract: what a server does not tell, or whoever asks may not know, is taken for "once, and whole": how a collection was
//! held is no reason to fail a backup of its rows.

use longshore_model::{CollectionName, LoadState};

use super::client::MilvusClient;
use super::describe::{Described, found};
use super::proto::milvus::{GetReplicasRequest, ShowPartitionsRequest, ShowType};
use crate::SourceError;

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct HeldInMemory {
    /// 0 where that is not known.
    pub(super) replicas: i32,
    /// Names; empty where all of them are held, or none.
    pub(super) partitions: Vec<String>,
}

/// Asks for it.
///
/// # Errors
/// [`SourceError::ServerUnreachable`] and what else is no answer.
pub(super) async fn held_in_memory(
    client: &MilvusClient,
    name: &CollectionName,
    described: &Described,
) -> Result<HeldInMemory, SourceError> {
    if described.load_state != LoadState::Loaded {
        return Ok(HeldInMemory::default());
    }
    let (db_name, collection_name) = (name.database.clone(), name.collection.clone());
    let request = GetReplicasRequest {
        collection_id: described.collection_id,
        collection_name: collection_name.clone(),
        db_name: db_name.clone(),
    };
    let replicas = told(client.call(request).await)?.map_or(0, |answer| answer.replicas.len());
    let request = ShowPartitionsRequest { db_name, collection_name, r#type: ShowType::InMemory.into() };
    let mut partitions = told(client.call(request).await)?.map(|shown| shown.partition_names).unwrap_or_default();
    partitions.sort_unstable();
    if described.partitions.iter().all(|one| partitions.contains(&one.name)) {
        partitions.clear();
    }
    Ok(HeldInMemory { replicas: i32::try_from(replicas).unwrap_or(0), partitions })
}

fn told<T>(answer: Result<T, SourceError>) -> Result<Option<T>, SourceError> {
    match found(answer) {
        Err(
            SourceError::NotPermitted { .. } | SourceError::CallNotOffered { .. } | SourceError::CallRefused { .. },
        ) => Ok(None),
        other => other,
    }
}
