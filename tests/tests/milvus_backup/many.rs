//! Several hundred collections: each is flushed, all are in the backup, and it is shown how far it is.

use std::collections::BTreeSet;

use longshore_engine::{BackupRequest, plan_backup, run_backup};

use super::support::{Place, Rows, as_source, server};

const COLLECTIONS: usize = 300;

#[tokio::test(flavor = "multi_thread")]
async fn three_hundred_collections_are_backed_up_and_known_again() {
    let Some((milvus, _turn)) = server() else { return };
    let names: Vec<String> = (0..COLLECTIONS).map(|number| format!("many.c{number:03}")).collect();
    for (number, name) in names.iter().enumerate() {
        let rows = Rows::create(milvus, name).await;
        if number % 7 > 0 {
            rows.insert(0..i64::try_from(number % 7).unwrap()).await;
        }
    }
    let (place, source) = (Place::new().await, as_source(milvus));
    let parsed: Vec<longshore_model::CollectionName> = names.iter().map(|name| name.parse().unwrap()).collect();
    let request = || BackupRequest::manual(place.cluster.clone(), parsed.clone(), &place.context).unwrap();
    let mut shown = place.context.progress.subscribe();
    let watch = tokio::spawn(async move {
        let mut seen = BTreeSet::new();
        while shown.changed().await.is_ok() {
            seen.extend(shown.borrow_and_update().waiting_for.clone());
            if seen.iter().filter(|text| text.contains("of 300 collections have one")).count() > 20 {
                return true;
            }
        }
        false
    });
    let plan = plan_backup(request(), &source, &place.policy, &place.vaults, &place.context).await.unwrap();
    let outcome = run_backup(plan, &source, &place.vaults, &place.context).await.unwrap();
    assert!(watch.await.unwrap(), "it was shown how many collections have a point");
    assert_eq!(outcome.collections.len(), COLLECTIONS);
    for (number, one) in outcome.collections.iter().enumerate() {
        assert_eq!(one.name.to_string(), names[number]);
        assert_eq!((one.physical_rows, one.live_rows), ((number % 7) as u64, Some((number % 7) as u64)), "{number}");
    }
    let plan = plan_backup(request(), &source, &place.policy, &place.vaults, &place.context).await.unwrap();
    let again = run_backup(plan, &source, &place.vaults, &place.context).await.unwrap();
    assert_eq!((again.reused_bytes, again.size_bytes), (outcome.size_bytes, outcome.size_bytes));
    longshore_tests::milvus::milvus_judge(milvus, ["drop", "many"]).ok();
}
