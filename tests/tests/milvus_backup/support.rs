//! A server to back up, and rows made through the client of this repository.

use std::path::Path;
use std::sync::MutexGuard;

use longshore_engine::{ClusterTarget, RegionVaults, RunContext, RunPolicy};
use longshore_model::CollectionName;
use longshore_source::MilvusSource;
use longshore_source::milvus::MilvusClient;
use longshore_source::milvus::proto::common::KeyValuePair;
use longshore_source::milvus::proto::milvus::{
    CreateCollectionRequest, CreateDatabaseRequest, CreatePartitionRequest, DeleteRequest, InsertRequest,
    ListDatabasesRequest, MutationResult, UpsertRequest,
};
use longshore_source::milvus::proto::schema::{
    CollectionSchema, DataType, FieldData, FieldSchema, FloatArray, LongArray, ScalarField, VectorField, field_data,
    scalar_field, vector_field,
};
use longshore_tests::milvus::{Milvus, in_the_long_form};
use prost::Message;

/// Numbers in a vector.
const DIMENSION: usize = 16;

/// The server of these tests: nothing is compacted unless it is asked for, and what a compaction replaced goes at once.
pub(crate) fn server() -> Option<(&'static Milvus, MutexGuard<'static, ()>)> {
    if !in_the_long_form() {
        return None;
    }
    Milvus::alone(|| {
        Milvus::start(&[
            "dataCoord.compaction.enableAutoCompaction=false",
            "dataCoord.gc.interval=1",
            "dataCoord.gc.dropTolerance=1",
        ])
    })
}

pub(crate) fn as_source(milvus: &Milvus) -> MilvusSource {
    MilvusSource::new(milvus.server())
}

/// A configuration of one Milvus cluster, `more` in its table `milvus`.
pub(crate) fn configuration(folder: &Path, endpoint: &str, storage: &Path, more: &str) {
    let text = format!(
        "data_directory = \"data\"\n[project]\nid = \"proj-test\"\nname = \"Test\"\n[[region]]\nid = \"local-eu\"\n\
         vault = \"regional\"\n[[cluster]]\nid = \"in01-milvus\"\nname = \"Milvus\"\nregion = \"local-eu\"\n\
         [cluster.milvus]\nendpoint = \"http://{endpoint}\"\n{more}\n[cluster.milvus.storage]\nfolder = \"{}\"\n",
        storage.display()
    );
    std::fs::write(folder.join("longshore.toml"), text).unwrap();
}

/// A collection with a key, a number and a vector.
pub(crate) struct Rows {
    pub(crate) client: MilvusClient,
    pub(crate) name: CollectionName,
}

impl Rows {
    /// Makes the collection, in a database of its own.
    pub(crate) async fn create(milvus: &Milvus, name: &str) -> Self {
        Self::create_with(milvus, name, 1, &[]).await
    }

    /// The same with so many shards and these partitions.
    pub(crate) async fn create_with(milvus: &Milvus, name: &str, shards_num: i32, partitions: &[String]) -> Self {
        Self::create_by(milvus.client().await, name, shards_num, partitions).await
    }

    /// The same through this client.
    pub(crate) async fn create_by(client: MilvusClient, name: &str, shards_num: i32, partitions: &[String]) -> Self {
        let rows = Self { client, name: name.parse().unwrap() };
        let (db_name, collection_name) = (rows.name.database.clone(), rows.name.collection.clone());
        if !rows.client.call(ListDatabasesRequest {}).await.unwrap().db_names.contains(&db_name) {
            let request = CreateDatabaseRequest { db_name: db_name.clone(), properties: Vec::new() };
            rows.client.call(request).await.unwrap();
        }
        let dim = KeyValuePair { key: "dim".to_owned(), value: DIMENSION.to_string() };
        let field = |name: &str, kind: DataType| FieldSchema {
            name: name.to_owned(),
            data_type: kind.into(),
            is_primary_key: name == "id",
            ..FieldSchema::default()
        };
        let vector = FieldSchema { type_params: vec![dim], ..field("vec", DataType::FloatVector) };
        let schema = CollectionSchema {
            name: collection_name.clone(),
            fields: vec![field("id", DataType::Int64), field("n", DataType::Int64), vector],
            ..CollectionSchema::default()
        };
        let request = CreateCollectionRequest {
            db_name: db_name.clone(),
            collection_name: collection_name.clone(),
            schema: schema.encode_to_vec(),
            shards_num,
            ..CreateCollectionRequest::default()
        };
        rows.client.call(request).await.unwrap();
        for partition_name in partitions.iter().cloned() {
            let (db_name, collection_name) = (db_name.clone(), collection_name.clone());
            let request = CreatePartitionRequest { db_name, collection_name, partition_name };
            rows.client.call(request).await.unwrap();
        }
        rows
    }

    pub(crate) async fn insert(&self, keys: std::ops::Range<i64>) -> MutationResult {
        self.insert_into("", &keys.map(|key| (key, key * 7)).collect::<Vec<_>>()).await
    }

    /// Inserts rows of these keys and numbers.
    pub(crate) async fn insert_into(&self, partition: &str, rows: &[(i64, i64)]) -> MutationResult {
        let request = InsertRequest {
            db_name: self.name.database.clone(),
            collection_name: self.name.collection.clone(),
            partition_name: partition.to_owned(),
            num_rows: u32::try_from(rows.len()).unwrap(),
            fields_data: columns(rows),
            ..InsertRequest::default()
        };
        self.client.call(request).await.unwrap()
    }

    /// Upserts rows of these keys and numbers.
    pub(crate) async fn upsert_into(&self, partition: &str, rows: &[(i64, i64)]) -> MutationResult {
        let request = UpsertRequest {
            db_name: self.name.database.clone(),
            collection_name: self.name.collection.clone(),
            partition_name: partition.to_owned(),
            num_rows: u32::try_from(rows.len()).unwrap(),
            fields_data: columns(rows),
            ..UpsertRequest::default()
        };
        self.client.call(request).await.unwrap()
    }

    pub(crate) async fn delete(&self, keys: std::ops::Range<i64>) -> MutationResult {
        self.delete_from("", &keys.collect::<Vec<_>>()).await
    }

    pub(crate) async fn delete_from(&self, partition: &str, keys: &[i64]) -> MutationResult {
        let request = DeleteRequest {
            db_name: self.name.database.clone(),
            collection_name: self.name.collection.clone(),
            partition_name: partition.to_owned(),
            expr: format!("id in {keys:?}"),
        };
        self.client.call(request).await.unwrap()
    }
}

/// The vector of a key: numbers that do not compress, always the same.
pub(crate) fn vector(key: i64) -> impl Iterator<Item = f32> {
    (0..DIMENSION).map(move |place| {
        let mixed = (key as u64 * 31 + place as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        (mixed >> 40) as f32 / 16_777_216.0
    })
}

fn columns(rows: &[(i64, i64)]) -> Vec<FieldData> {
    let long = |name: &str, data: Vec<i64>| FieldData {
        r#type: DataType::Int64.into(),
        field_name: name.to_owned(),
        field: Some(field_data::Field::Scalars(ScalarField {
            data: Some(scalar_field::Data::LongData(LongArray { data })),
        })),
        ..FieldData::default()
    };
    let floats = rows.iter().flat_map(|(key, _)| vector(*key)).collect();
    let vectors = FieldData {
        r#type: DataType::FloatVector.into(),
        field_name: "vec".to_owned(),
        field: Some(field_data::Field::Vectors(VectorField {
            dim: DIMENSION as i64,
            data: Some(vector_field::Data::FloatVector(FloatArray { data: floats })),
        })),
        ..FieldData::default()
    };
    let (keys, numbers) = rows.iter().copied().unzip();
    vec![long("id", keys), long("n", numbers), vectors]
}

/// What a backup without a host needs.
pub(crate) struct Place {
    pub(crate) context: RunContext,
    pub(crate) vaults: RegionVaults,
    pub(crate) policy: RunPolicy,
    pub(crate) cluster: ClusterTarget,
    _folder: tempfile::TempDir,
}

impl Place {
    pub(crate) async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let context = RunContext::new(longshore_engine::Limits::default());
        let (project, keys) = ("proj-local".parse().unwrap(), longshore_vault::Keys::none());
        let vault =
            RegionVaults::open_or_make_one(&folder.path().join("vault"), &project, &keys, context.random.as_ref())
                .await
                .unwrap();
        let policy = RunPolicy::standard(&vault).unwrap();
        let cluster = ClusterTarget {
            id: "in01-milvus".parse().unwrap(),
            name: "Milvus".to_owned(),
            project_id: project,
            home_region: vault.region_id().clone(),
            labels: std::collections::BTreeMap::new(),
            recovery_point_objective_seconds: None,
        };
        Self { context, vaults: RegionVaults::of([vault]).unwrap(), policy, cluster, _folder: folder }
    }
}
