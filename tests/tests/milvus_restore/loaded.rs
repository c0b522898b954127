//! What is held in memory after a restore that keeps it as it was.

use longshore_model::RestoredLoadState;
use longshore_source::milvus::KeptPoint;
use longshore_source::milvus::proto::common::LoadState;
use longshore_source::milvus::proto::milvus::{GetLoadStateRequest, LoadPartitionsRequest};
use longshore_tests::milvus::{Milvus, milvus_judge};

use super::support::{back_up, load_state, release, server, target};

async fn load_state_of(milvus: &Milvus, [database, collection, partition]: [&str; 3]) -> LoadState {
    let request = GetLoadStateRequest {
        db_name: database.to_owned(),
        collection_name: collection.to_owned(),
        partition_names: vec![partition.to_owned()],
    };
    milvus.client().await.call(request).await.unwrap().state()
}

/// Loads one partition of `made.docs` alone and waits for it.
async fn load_one_partition(milvus: &Milvus) {
    release(milvus, "made.docs").await;
    let request = LoadPartitionsRequest {
        db_name: "made".to_owned(),
        collection_name: "docs".to_owned(),
        partition_names: vec!["p1".to_owned()],
        replica_number: 1,
    };
    milvus.client().await.call(request).await.unwrap();
    while load_state_of(milvus, ["made", "docs", "p1"]).await != LoadState::Loaded {
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_held_in_memory_is_held_again_and_nothing_else() {
    let Some((milvus, _turn)) = server() else { return };
    load_one_partition(milvus).await;
    release(milvus, "made.tenants").await;
    // Loads it, unless it is.
    milvus_judge(milvus, ["filter", "made_two.plain", "id >= 0"]).ok();
    let pairs = [("made.docs", "held.docs"), ("made.tenants", "held.tenants"), ("made_two.plain", "held.plain")];
    let mut held = back_up(milvus, &pairs).await;
    let points: Vec<KeptPoint> =
        held.plan.collections.iter().map(|one| KeptPoint::read(&one.description, "it").unwrap()).collect();
    let kept = |point: &KeptPoint| (point.loaded, point.replicas, point.loaded_partitions.clone());
    assert_eq!(kept(&points[0]), (true, 1, vec!["p1".to_owned()]));
    assert_eq!(kept(&points[1]), (false, 0, Vec::new()));
    assert_eq!(kept(&points[2]), (true, 1, Vec::new()));
    for collection in &mut held.plan.collections {
        collection.mapping.load_state = RestoredLoadState::Keep;
    }
    // As of a server with a node more than this one has.
    held.plan.collections[2].description["replicas"] = 2.into();
    let done = held.restore(&target(milvus)).await.unwrap();
    assert!(done.notes.len() == 1 && done.notes[0].contains("held.plain: it is loaded once and not in 2"), "{done:?}");
    for (name, expected) in [("p1", LoadState::Loaded), ("p2", LoadState::NotLoad), ("_default", LoadState::NotLoad)] {
        assert_eq!(load_state_of(milvus, ["held", "docs", name]).await, expected, "{name}");
    }
    assert_eq!(load_state(milvus, "held.tenants").await, LoadState::NotLoad);
    assert_eq!(load_state(milvus, "held.plain").await, LoadState::Loaded);
    // Whoever asks for it gets all of it, or nothing.
    let wanted = [RestoredLoadState::Loaded, RestoredLoadState::Loaded, RestoredLoadState::NotLoaded];
    for (collection, wanted) in held.plan.collections.iter_mut().zip(wanted) {
        collection.mapping.load_state = wanted;
        collection.mapping.to.database = "held_all".to_owned();
    }
    held.restore(&target(milvus)).await.unwrap();
    assert_eq!(load_state_of(milvus, ["held_all", "docs", "p2"]).await, LoadState::Loaded);
    assert_eq!(load_state(milvus, "held_all.tenants").await, LoadState::Loaded);
    assert_eq!(load_state(milvus, "held_all.plain").await, LoadState::NotLoad);
    milvus_judge(milvus, ["filter", "made.docs", "n >= 0"]).ok();
    milvus_judge(milvus, ["drop", "held", "held_all"]).ok();
}
