//! One collection as the server describes it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use longshore_model::{CollectionName, Digest, IndexFacts, LoadState};
use prost::Message;

use super::client::MilvusClient;
use super::kept::{KeptField, KeptIndex, KeptPartition, KeptSchema};
use super::proto::common::KeyValuePair;
use super::proto::milvus::{
    DescribeCollectionRequest, DescribeCollectionResponse, DescribeIndexRequest, GetLoadStateRequest,
    ShowPartitionsRequest,
};
use super::proto::schema::{CollectionSchema, DataType, FieldSchema};
use super::proto::{common, milvus};
use super::rpc::Refusal;
use crate::SourceError;

/// See the module.
#[derive(Debug, Clone)]
pub(super) struct Described {
    pub(super) collection_id: i64,
    /// Its primary key, by number.
    pub(super) primary_key: i64,
    pub(super) schema: KeptSchema,
    pub(super) partitions: Vec<KeptPartition>,
    pub(super) aliases: Vec<String>,
    pub(super) load_state: LoadState,
    /// Milliseconds since 1970.
    pub(super) created_ms: i64,
}

impl Described {
    /// Changes with every data definition, also when the collection was dropped and made again.
    pub(super) fn fingerprint(&self) -> Digest {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&self.collection_id.to_le_bytes());
        let mut schema = self.schema.clone();
        // Told by the server in no order.
        schema.partitions.sort_unstable();
        for partition in &self.partitions {
            hasher.update(&partition.partition_id.to_le_bytes());
        }
        let text = serde_json::to_vec(&schema).unwrap_or_default();
        hasher.update(blake3::hash(&text).as_bytes());
        Digest::new(*hasher.finalize().as_bytes())
    }

    /// Indexes as policies see them.
    pub(super) fn index_facts(&self) -> Vec<IndexFacts> {
        let param = |index: &KeptIndex, key: &str| {
            index.params.iter().find(|(name, _)| name == key).map(|(_, value)| value.clone()).unwrap_or_default()
        };
        let facts = self.schema.indexes.iter().map(|index| IndexFacts {
            field_name: index.field_name.clone(),
            index_type: param(index, "index_type"),
            metric_type: param(index, "metric_type"),
        });
        facts.collect()
    }
}

/// Asks for everything that describes a collection. `None` when there is none of that name.
///
/// # Errors
/// What calls fail with; [`SourceError::Damaged`] for an answer that is no description.
pub(super) async fn describe(client: &MilvusClient, name: &CollectionName) -> Result<Option<Described>, SourceError> {
    let (db_name, collection_name) = (name.database.clone(), name.collection.clone());
    let request = DescribeCollectionRequest {
        db_name: db_name.clone(),
        collection_name: collection_name.clone(),
        ..DescribeCollectionRequest::default()
    };
    let Some(described) = found(client.call(request).await)? else { return Ok(None) };
    let shown = || format!("the description of collection {name} at {}", client.endpoint());
    let schema = CollectionSchema::decode(described.schema.as_slice())
        .map_err(|error| SourceError::Damaged { path: shown(), reason: format!("its schema is no schema: {error}") })?;
    let Some(primary_key) = schema.fields.iter().find(|field| field.is_primary_key).map(|field| field.field_id) else {
        return Err(SourceError::Damaged { path: shown(), reason: "it has no primary key".to_owned() });
    };
    let request = ShowPartitionsRequest {
        db_name: db_name.clone(),
        collection_name: collection_name.clone(),
        ..ShowPartitionsRequest::default()
    };
    let Some(partitions) = found(client.call(request).await)? else { return Ok(None) };
    let partitions: Vec<KeptPartition> = partitions
        .partition_names
        .into_iter()
        .zip(partitions.partition_i_ds)
        .map(|(name, partition_id)| KeptPartition { partition_id, name })
        .collect();
    let Some(indexes) = indexes(client, name).await? else { return Ok(None) };
    let request = GetLoadStateRequest { db_name, collection_name, partition_names: Vec::new() };
    let Some(loaded) = found(client.call(request).await)? else { return Ok(None) };
    let load_state = load_state(loaded.state());
    Ok(Some(Described {
        collection_id: described.collection_id,
        primary_key,
        aliases: described.aliases.clone(),
        load_state,
        created_ms: i64::try_from(described.created_utc_timestamp).unwrap_or(0),
        schema: kept(&described, &schema, &partitions, indexes),
        partitions,
    }))
}

fn kept(
    described: &DescribeCollectionResponse,
    schema: &CollectionSchema,
    partitions: &[KeptPartition],
    indexes: Vec<KeptIndex>,
) -> KeptSchema {
    let mut properties = pairs(&described.properties);
    properties.sort_unstable();
    KeptSchema {
        description: schema.description.clone(),
        fields: schema.fields.iter().map(field).collect(),
        message: STANDARD.encode(&described.schema),
        shards: described.shards_num,
        consistency_level: described.consistency_level,
        properties,
        partitions: partitions.iter().map(|partition| partition.name.clone()).collect(),
        indexes,
    }
}

fn field(field: &FieldSchema) -> KeptField {
    let data_type = DataType::try_from(field.data_type)
        .map_or_else(|_| field.data_type.to_string(), |known| known.as_str_name().to_owned());
    KeptField {
        name: field.name.clone(),
        field_id: field.field_id,
        data_type,
        type_params: pairs(&field.type_params),
        is_primary_key: field.is_primary_key,
        is_partition_key: field.is_partition_key,
    }
}

fn pairs(pairs: &[KeyValuePair]) -> Vec<(String, String)> {
    pairs.iter().map(|pair| (pair.key.clone(), pair.value.clone())).collect()
}

async fn indexes(client: &MilvusClient, name: &CollectionName) -> Result<Option<Vec<KeptIndex>>, SourceError> {
    let request = DescribeIndexRequest {
        db_name: name.database.clone(),
        collection_name: name.collection.clone(),
        ..DescribeIndexRequest::default()
    };
    let described = match client.call(request).await {
        Ok(described) => described.index_descriptions,
        // What "no index" looks like: an error.
        Err(SourceError::CallRefused { refusal: Refusal::IndexNotFound, .. }) => Vec::new(),
        Err(error) => return found(Err(error)),
    };
    let mut indexes: Vec<KeptIndex> = described
        .iter()
        .map(|index: &milvus::IndexDescription| KeptIndex {
            field_name: index.field_name.clone(),
            index_name: index.index_name.clone(),
            params: pairs(&index.params),
        })
        .collect();
    indexes
        .sort_unstable_by(|one, other| (&one.field_name, &one.index_name).cmp(&(&other.field_name, &other.index_name)));
    Ok(Some(indexes))
}

fn load_state(state: common::LoadState) -> LoadState {
    match state {
        // Whoever asked for it to be loaded wants it so.
        common::LoadState::Loaded | common::LoadState::Loading => LoadState::Loaded,
        common::LoadState::NotExist | common::LoadState::NotLoad => LoadState::NotLoaded,
    }
}

/// `None` for a collection that is not there.
pub(super) fn found<T>(answer: Result<T, SourceError>) -> Result<Option<T>, SourceError> {
    match answer {
        Ok(answer) => Ok(Some(answer)),
        Err(SourceError::CallRefused { refusal: Refusal::CollectionNotFound | Refusal::DatabaseNotFound, .. }) => {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}
