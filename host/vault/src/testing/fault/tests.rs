#![allow(clippy::unwrap_used, clippy::expect_used)]
use futures::TryStreamExt;
use object_store::memory::InMemory;

use super::*;

#[test]
fn a_plan_is_read_as_it_was_written() {
    let text = "put:roots/@0=crash, put@2=done-then-crash, any@7=error, put:away/roots/@0*=done-then-error, list@2*3=stale(5), put@1=torn(10), get@0=delay(3), \
                delete@0=full, get:keys/@0*=unreadable, copy@0=error";
    assert_eq!(text.parse::<FaultPlan>().unwrap().to_string(), text);
    for seed in 0..200 {
        let plan = FaultPlan::random(&mut SeededRandom::new(seed), 50, 4).to_string();
        assert_eq!(plan.parse::<FaultPlan>().unwrap().to_string(), plan);
    }
    for wrong in ["any=error", "any@x=error", "every@1=error", "any@1=explode", "any@1=torn(x)"] {
        assert!(wrong.parse::<FaultPlan>().is_err(), "{wrong}");
    }
}

async fn listed(store: &Arc<dyn ObjectStore>, prefix: &str) -> Vec<String> {
    let listed: Vec<_> = store.list(Some(&Path::from(prefix))).try_collect().await.unwrap();
    let mut keys: Vec<String> = listed.into_iter().map(|meta: ObjectMeta| meta.location.to_string()).collect();
    keys.sort();
    keys
}

#[tokio::test]
async fn a_stale_listing_is_the_listing_of_a_while_ago() {
    let faults = FaultStore::new(Arc::new(InMemory::new()));
    let (store, other) = (faults.store(), faults.beside(Arc::new(InMemory::new()), "other/").store());
    let put = async |store: &Arc<dyn ObjectStore>, key: &str| {
        store.put(&Path::from(key), "x".into()).await.unwrap();
    };
    put(&store, "a/old").await;
    put(&store, "a/gone").await;
    put(&store, "a/new").await; // 3 operations before the listing
    store.delete(&Path::from("a/gone")).await.unwrap(); // 2
    put(&store, "a/old").await; // replaced: listed all the time
    put(&other, "a/new").await;
    assert_eq!(listed(&store, "a").await, ["a/new", "a/old"]);
    faults.plan(vec![Fault::on(Operation::List, "", Effect::Stale(5))]);
    assert_eq!(listed(&store, "a").await, ["a/gone", "a/old"]);
    assert_eq!(listed(&store, "b").await, [""; 0]);
    assert_eq!(listed(&other, "a").await, ["a/new"; 0], "each store has a past of its own");
    faults.settle();
    assert_eq!(listed(&store, "a").await, ["a/new", "a/old"], "what has settled is never hidden");
    faults.plan(Vec::new());
    assert_eq!(listed(&store, "a").await, ["a/new", "a/old"]);
}

#[tokio::test]
async fn a_store_that_is_dead_stays_dead() {
    let faults = FaultStore::new(Arc::new(InMemory::new()));
    let store = faults.store();
    faults.plan("any@1*=error".parse::<FaultPlan>().unwrap().0);
    store.put(&Path::from("a"), "x".into()).await.unwrap();
    for _ in 0..3 {
        assert!(store.get(&Path::from("a")).await.is_err());
    }
    assert_eq!((faults.operations(), faults.fired()), (4, 3));
}
