//! The calls of a restore, as the rest of it wants them.

use std::time::Duration;

use longshore_model::CollectionName;
use prost::Message;
use tokio::time::Instant;

use crate::milvus::MilvusClient;
use crate::milvus::kept::KeptIndex;
use crate::milvus::proto::common::{IndexState, KeyValuePair, LoadState};
use crate::milvus::proto::milvus::{
    CreateAliasRequest, CreateDatabaseRequest, CreateIndexRequest, DescribeCollectionRequest, DescribeIndexRequest,
    DropCollectionRequest, DropDatabaseRequest, GetLoadStateRequest, GetVersionRequest, ListDatabasesRequest,
    LoadCollectionRequest, LoadPartitionsRequest, RenameCollectionRequest, ShowCollectionsRequest,
};
use crate::milvus::proto::schema::CollectionSchema;
use crate::milvus::rpc::Refusal;
use crate::{Limits, SourceError};

/// What has a name in a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Named {
    pub(super) collection_id: i64,
    /// The collection's own name, which is another one when the name is an alias.
    pub(super) name: String,
}

/// What stands under a name; `None` when nothing does, or its database is not there.
pub(super) async fn find(client: &MilvusClient, database: &str, name: &str) -> Result<Option<Named>, SourceError> {
    let request = DescribeCollectionRequest {
        db_name: database.to_owned(),
        collection_name: name.to_owned(),
        ..DescribeCollectionRequest::default()
    };
    match client.call(request).await {
        Ok(found) => {
            // Asked by an alias, the answer names the alias, and the schema in it the collection.
            let own = CollectionSchema::decode(found.schema.as_slice()).map(|schema| schema.name).unwrap_or_default();
            let own = if own.is_empty() { name.to_owned() } else { own };
            Ok(Some(Named { collection_id: found.collection_id, name: own }))
        }
        Err(SourceError::CallRefused { refusal: Refusal::CollectionNotFound | Refusal::DatabaseNotFound, .. }) => {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

pub(super) async fn databases(client: &MilvusClient) -> Result<Vec<String>, SourceError> {
    Ok(client.call(ListDatabasesRequest {}).await?.db_names)
}

pub(super) async fn create_database(
    client: &MilvusClient,
    database: &str,
    properties: Vec<KeyValuePair>,
) -> Result<(), SourceError> {
    client.call(CreateDatabaseRequest { db_name: database.to_owned(), properties }).await.map(drop)
}

/// Drops a database when nothing is in it.
pub(super) async fn drop_empty_database(client: &MilvusClient, database: &str) -> Result<(), SourceError> {
    if !databases(client).await?.iter().any(|one| one == database) {
        return Ok(());
    }
    let inside = client.call(ShowCollectionsRequest { db_name: database.to_owned() }).await?.collection_names;
    if inside.is_empty() {
        client.call(DropDatabaseRequest { db_name: database.to_owned() }).await?;
    }
    Ok(())
}

/// Drops what stands under a name, if it is the collection of this number; of any number with 0.
pub(super) async fn drop_collection(
    client: &MilvusClient,
    database: &str,
    name: &str,
    collection_id: i64,
) -> Result<(), SourceError> {
    match find(client, database, name).await? {
        Some(found) if found.name == name && (collection_id == 0 || found.collection_id == collection_id) => {
            let request = DropCollectionRequest { db_name: database.to_owned(), collection_name: name.to_owned() };
            client.call(request).await.map(drop)
        }
        _ => Ok(()),
    }
}

pub(super) async fn rename(client: &MilvusClient, database: &str, from: &str, to: &str) -> Result<(), SourceError> {
    let request = RenameCollectionRequest {
        db_name: database.to_owned(),
        old_name: from.to_owned(),
        new_name: to.to_owned(),
        ..RenameCollectionRequest::default()
    };
    client.call(request).await.map(drop)
}

pub(super) async fn create_alias(client: &MilvusClient, of: &CollectionName, alias: &str) -> Result<(), SourceError> {
    let request = CreateAliasRequest {
        db_name: of.database.clone(),
        collection_name: of.collection.clone(),
        alias: alias.to_owned(),
    };
    client.call(request).await.map(drop)
}

/// Makes an index and waits until all rows are in it. One at a time: a second one that is sent while the first is being
/// made can be left until a tick of a minute (2.3.5).
pub(super) async fn index(
    client: &MilvusClient,
    collection: &CollectionName,
    index: &KeptIndex,
    limits: &Limits,
) -> Result<(), SourceError> {
    let (db_name, collection_name) = (collection.database.clone(), collection.collection.clone());
    let extra_params = pairs(&index.params);
    client
        .call(CreateIndexRequest {
            db_name: db_name.clone(),
            collection_name: collection_name.clone(),
            field_name: index.field_name.clone(),
            extra_params,
            index_name: index.index_name.clone(),
        })
        .await?;
    let failed = |reason: String| SourceError::IndexFailed {
        collection: collection.clone(),
        index: index.index_name.clone(),
        reason,
    };
    let request = DescribeIndexRequest {
        db_name,
        collection_name,
        field_name: index.field_name.clone(),
        index_name: index.index_name.clone(),
    };
    let mut wait = Wait::new(limits, limits.index_patience_ms);
    loop {
        let described = client.call(request.clone()).await?.index_descriptions;
        let made = described.into_iter().find(|one| one.index_name == index.index_name);
        let made = made.ok_or_else(|| failed("the server does not list it after making it".to_owned()))?;
        match made.state() {
            IndexState::Failed => return Err(failed(made.index_state_fail_reason)),
            // Right after it was made it is called finished, with none of the rows in it.
            IndexState::Finished if made.indexed_rows >= made.total_rows => return Ok(()),
            _ => {}
        }
        if !wait.more().await {
            let (done, all) = (made.indexed_rows, made.total_rows);
            return Err(failed(format!("{done} of {all} rows were in it after {} ms", limits.index_patience_ms)));
        }
    }
}

/// How a collection is to be held in memory.
#[derive(Debug, Clone, Copy)]
pub(super) struct Holding<'a> {
    /// At least one.
    pub(super) replicas: i32,
    /// Names of the partitions to load; all of them where it names none.
    pub(super) partitions: &'a [String],
}

/// Loads a collection and waits until it is; what is wrong is a sentence. A server that has too few nodes for the replicas
/// loads it once, and that is the sentence that comes back.
pub(super) async fn load(
    client: &MilvusClient,
    collection: &CollectionName,
    holding: Holding<'_>,
    limits: &Limits,
) -> Result<Option<String>, String> {
    let mut note = None;
    if let Err(error) = ask_to_load(client, collection, holding).await {
        if holding.replicas <= 1 {
            return Err(error.to_string());
        }
        ask_to_load(client, collection, Holding { replicas: 1, ..holding }).await.map_err(|error| error.to_string())?;
        note = Some(format!("it is loaded once and not in {} replicas as it was: {error}", holding.replicas));
    }
    let request = GetLoadStateRequest {
        db_name: collection.database.clone(),
        collection_name: collection.collection.clone(),
        partition_names: holding.partitions.to_vec(),
    };
    let mut wait = Wait::new(limits, limits.load_patience_ms);
    loop {
        let state = client.call(request.clone()).await.map_err(|error| error.to_string())?.state();
        if state == LoadState::Loaded {
            return Ok(note);
        }
        if !wait.more().await {
            return Err(format!("it was not loaded after {} ms", limits.load_patience_ms));
        }
    }
}

async fn ask_to_load(
    client: &MilvusClient,
    collection: &CollectionName,
    holding: Holding<'_>,
) -> Result<(), SourceError> {
    let (db_name, collection_name) = (collection.database.clone(), collection.collection.clone());
    let replica_number = holding.replicas;
    if holding.partitions.is_empty() {
        return client.call(LoadCollectionRequest { db_name, collection_name, replica_number }).await.map(drop);
    }
    let partition_names = holding.partitions.to_vec();
    client.call(LoadPartitionsRequest { db_name, collection_name, partition_names, replica_number }).await.map(drop)
}

/// Waits until the server answers again.
pub(super) async fn answers(client: &MilvusClient, limits: &Limits) -> Result<(), SourceError> {
    let mut wait = Wait::new(limits, limits.return_patience_ms);
    loop {
        // It answers a little before it can do anything; listing databases needs its coordinator.
        let asked = match client.call(GetVersionRequest {}).await {
            Ok(_) => databases(client).await.map(drop),
            Err(error) => Err(error),
        };
        match asked {
            Ok(()) => return Ok(()),
            Err(error) if !wait.more().await => return Err(error),
            Err(_) => {}
        }
    }
}

pub(super) fn pairs(list: &[(String, String)]) -> Vec<KeyValuePair> {
    list.iter().map(|(key, value)| KeyValuePair { key: key.clone(), value: value.clone() }).collect()
}

/// Asking again and again, less and less often, up to a limit.
pub(super) struct Wait {
    pause: Duration,
    longest: Duration,
    until: Instant,
}

impl Wait {
    pub(super) fn new(limits: &Limits, patience_ms: u64) -> Self {
        Self {
            pause: Duration::from_millis(limits.flush_pause_ms),
            longest: Duration::from_millis(limits.flush_longest_pause_ms),
            until: Instant::now() + Duration::from_millis(patience_ms),
        }
    }

    /// Whether it was long enough.
    pub(super) fn is_over(&self) -> bool {
        Instant::now() >= self.until
    }

    /// Waits a little; false when it was long enough.
    pub(super) async fn more(&mut self) -> bool {
        if self.is_over() {
            return false;
        }
        tokio::time::sleep(self.pause).await;
        self.pause = (self.pause * 2).min(self.longest);
        true
    }
}
