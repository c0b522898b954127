//! What a point holds, whatever is compacted meanwhile.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use longshore_engine::{BackupRequest, plan_backup, run_backup};
use longshore_source::milvus::proto::milvus::{GetCompactionStateRequest, ManualCompactionRequest};
use longshore_source::milvus::{CollectionLogs, KeptPoint, KeptSchema, RowSchema};
use longshore_source::{CollectionPoint, Limits, PointOptions, RowSum, Source, StoredBytes, StoredFile};

use super::support::{Place, Rows, as_source, server};

struct Held(bytes::Bytes);

impl StoredBytes for Held {
    fn fill(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let start = offset as usize;
        let piece = self.0.get(start..start + buffer.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
        buffer.copy_from_slice(piece);
        Ok(())
    }
}

/// Live rows of a point by name of partition, counted from its files.
pub(crate) async fn live(point: &dyn CollectionPoint) -> BTreeMap<String, RowSum> {
    let mut files = Vec::new();
    for (place, file) in point.files().iter().enumerate() {
        let bytes = point.read(place, 0, usize::try_from(file.size_bytes).unwrap()).await.unwrap();
        let (path, class, size_bytes) = (file.path.clone(), file.class, file.size_bytes);
        files.push(StoredFile { path, class, size_bytes, bytes: Arc::new(Held(bytes)) });
    }
    let kept = KeptPoint::read(point.description(), "the point").unwrap();
    let schema = KeptSchema::read(point.schema(), "the schema").unwrap().decode("the schema").unwrap();
    let schema = RowSchema::of(&schema, "the schema").unwrap();
    let name_of = |id| kept.partitions.iter().find(|one| one.partition_id == id).map(|one| one.name.clone());
    let logs = CollectionLogs::of(&files).unwrap();
    let counted = logs.count(&schema, &name_of, Some(kept.flush_timestamp), &Limits::DEFAULT).unwrap();
    counted.into_iter().map(|(id, rows)| (name_of(id).unwrap(), rows.live)).collect()
}

async fn live_rows(point: &dyn CollectionPoint) -> u64 {
    live(point).await.values().map(|rows| rows.rows).sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn files_that_a_compaction_takes_away_are_not_left_out() {
    let Some((milvus, _turn)) = server() else { return };
    let rows = Rows::create(milvus, "compacted.rows").await;
    let source = as_source(milvus);
    let place = Place::new().await;
    for part in 0..4 {
        rows.insert(part * 500..part * 500 + 500).await;
        // A point flushes: four small segments.
        source.open_point(&rows.name, PointOptions::default()).await.unwrap();
    }
    rows.delete(0..100).await;
    let request = BackupRequest::manual(place.cluster.clone(), vec![rows.name.clone()], &place.context).unwrap();
    let plan = plan_backup(request, &source, &place.policy, &place.vaults, &place.context).await.unwrap();
    let before = source.open_point(&rows.name, PointOptions::default()).await.unwrap();
    compact(milvus, &rows).await;
    // The server removes what it replaced, and the plan knows only that.
    let gone = before.files().iter().position(|file| file.path.starts_with("insert_log")).unwrap();
    let mut left = 300;
    while before.read(gone, 0, 1).await.is_ok() {
        left -= 1;
        assert!(left > 0, "the files of the replaced segments stay");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let outcome = run_backup(plan, &source, &place.vaults, &place.context).await.unwrap();
    assert_eq!(outcome.collections.len(), 1);
    let physical = outcome.collections[0].physical_rows;
    assert!(physical == 1900 || physical == 2000, "{physical} rows");
    let after = source.open_point(&rows.name, PointOptions::default()).await.unwrap();
    assert_eq!(live_rows(after.as_ref()).await, 1900);
}

async fn compact(milvus: &longshore_tests::milvus::Milvus, rows: &Rows) {
    use longshore_source::milvus::proto::milvus::{
        CreateIndexRequest, DescribeCollectionRequest, DescribeIndexRequest,
    };
    let _ = milvus;
    let (db_name, collection_name) = (rows.name.database.clone(), rows.name.collection.clone());
    let pair = |key: &str, value: &str| longshore_source::milvus::proto::common::KeyValuePair {
        key: key.to_owned(),
        value: value.to_owned(),
    };
    // Without an index nothing is compacted.
    let request = CreateIndexRequest {
        db_name: db_name.clone(),
        collection_name: collection_name.clone(),
        field_name: "vec".to_owned(),
        index_name: "vec".to_owned(),
        extra_params: vec![pair("index_type", "FLAT"), pair("metric_type", "L2"), pair("params", "{}")],
    };
    rows.client.call(request).await.unwrap();
    let request = DescribeIndexRequest {
        db_name: db_name.clone(),
        collection_name: collection_name.clone(),
        ..DescribeIndexRequest::default()
    };
    loop {
        let described = rows.client.call(request.clone()).await.unwrap().index_descriptions;
        if described.iter().all(|index| index.indexed_rows == index.total_rows) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let request = DescribeCollectionRequest {
        db_name: db_name.clone(),
        collection_name: collection_name.clone(),
        ..DescribeCollectionRequest::default()
    };
    let collection_id = rows.client.call(request).await.unwrap().collection_id;
    let request = ManualCompactionRequest { collection_id, collection_name, db_name };
    let compaction = rows.client.call(request).await.unwrap().compaction_id;
    loop {
        let state = rows.client.call(GetCompactionStateRequest { compaction_id: compaction }).await.unwrap();
        if state.state() == longshore_source::milvus::proto::common::CompactionState::Completed {
            assert_eq!(state.failed_plan_no, 0);
            return;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}
