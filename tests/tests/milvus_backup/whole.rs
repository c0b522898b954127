//! The whole way, with the binary: check, back up, back up again.

use longshore_engine::{BackupRequest, RestoreScope, all_under_their_own_names, plan_backup, plan_restore, run_backup};
use longshore_model::{CollectionName, RestoredLoadState};
use longshore_source::RowSum;
use longshore_source::milvus::KeptPoint;
use longshore_tests::longshore_in;
use longshore_tests::milvus::milvus_judge;
use serde_json::Value;

use super::support::{Place, Rows, as_source, configuration, server};

fn number(value: &Value, key: &str) -> u64 {
    value[key].as_u64().unwrap_or_else(|| panic!("no {key} in {value}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_backup_reads_only_what_is_new() {
    let Some((milvus, _turn)) = server() else { return };
    let folder = tempfile::tempdir().unwrap();
    configuration(folder.path(), &milvus.address(), &milvus.storage, "");
    milvus_judge(milvus, ["fill", "whole", "--rows", "1500"]).ok();
    let rows = Rows::create(milvus, "whole_more.rows").await;
    rows.insert(0..2000).await;

    let checked = longshore_in(folder.path(), ["source", "check", "--config", "longshore.toml", "--json"]).ok().json();
    assert_eq!(checked["works"], true, "{checked}");
    let backup = ["backup", "--config", "longshore.toml", "--to", "vault", "--json"];
    let first = longshore_in(folder.path(), backup).ok().json();
    let names: Vec<String> = first["collections"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| format!("{}.{}", one["database"].as_str().unwrap(), one["collection"].as_str().unwrap()))
        .collect();
    for name in ["whole.docs", "whole.tenants", "whole.empty", "whole_two.plain", "whole_two.binv", "whole_more.rows"] {
        assert!(names.iter().any(|there| there == name), "{name} is not in {names:?}");
    }
    assert_eq!(first["reusedBytes"], 0);
    assert_eq!(first["ddlChanges"], serde_json::json!([]));
    // Other tests have collections of the same names in databases of their own.
    let rows_of = |outcome: &Value, database: &str, name: &str| {
        let all = outcome["collections"].as_array().unwrap().clone();
        let one = all.into_iter().find(|one| one["database"] == database && one["collection"] == name).unwrap();
        number(&one, "physicalRows")
    };
    assert_eq!(rows_of(&first, "whole_more", "rows"), 2000, "rows that nobody flushed are in it");
    assert_eq!(rows_of(&first, "whole", "empty"), 0);

    // Nothing happened: nothing is read.
    let second = longshore_in(folder.path(), backup).ok().json();
    assert_eq!(number(&second, "reusedBytes"), number(&second, "sizeBytes"), "{second}");
    assert_eq!(number(&second, "sizeBytes"), number(&first, "sizeBytes"));

    // 300 rows and 50 deletes more: only the files that hold them are read.
    rows.insert(2000..2300).await;
    rows.delete(0..50).await;
    let third = longshore_in(folder.path(), backup).ok().json();
    assert_eq!(number(&third, "reusedBytes"), number(&second, "sizeBytes"), "{third}");
    let new = number(&third, "sizeBytes") - number(&third, "reusedBytes");
    assert!(new > 300 * 16 * 4 / 2 && new < 300 * 16 * 4 * 3, "{new} bytes are new");
    assert_eq!(rows_of(&third, "whole_more", "rows"), 2300);
    let verified = longshore_in(folder.path(), ["verify", "vault", "--json"]);
    assert_eq!(verified.code, 0, "{verified:?}");
}

/// Backs collections up and gives what the manifest keeps of their points.
async fn points(place: &Place, source: &longshore_source::MilvusSource, names: &[CollectionName]) -> Vec<KeptPoint> {
    let request = BackupRequest::manual(place.cluster.clone(), names.to_vec(), &place.context).unwrap();
    let plan = plan_backup(request, source, &place.policy, &place.vaults, &place.context).await.unwrap();
    let outcome = run_backup(plan, source, &place.vaults, &place.context).await.unwrap();
    let scope = RestoreScope::Collections(all_under_their_own_names(names, RestoredLoadState::Keep));
    let plan = plan_restore(&place.vaults, None, &outcome.backup_id, scope).await.unwrap();
    let point = |name: &CollectionName| {
        let one = plan.target.collections.iter().find(|one| one.mapping.from == *name).unwrap();
        KeptPoint::read(&one.description, "it").unwrap()
    };
    names.iter().map(point).collect()
}

fn sum(point: &KeptPoint) -> RowSum {
    point.live_by_partition().expect("its rows were counted").into_values().fold(RowSum::default(), RowSum::plus)
}

/// The digest in a manifest is that of the rows that a client sees, as the judge computes it from what Query answers.
#[tokio::test(flavor = "multi_thread")]
async fn a_manifest_holds_the_digest_of_the_rows_that_a_client_sees() {
    let Some((milvus, _turn)) = server() else { return };
    milvus_judge(milvus, ["fill", "digested", "--rows", "1500"]).ok();
    let names = ["digested.docs", "digested.tenants", "digested_two.plain", "digested_two.binv", "digested.empty"];
    let parsed: Vec<CollectionName> = names.iter().map(|name| name.parse().unwrap()).collect();
    let (place, source) = (Place::new().await, as_source(milvus));
    let first = points(&place, &source, &parsed).await;
    // A server lets nobody ask for one partition where a key spreads rows over them.
    for (name, point) in names.iter().zip(&first).filter(|(name, _)| **name != "digested.tenants").take(3) {
        let judged = milvus_judge(milvus, ["digest", name]).ok().json();
        assert_eq!(judged["digest"], sum(point).digest().to_string(), "{name}: {judged}");
        assert_eq!(judged["rows"], sum(point).rows, "{name}");
        assert!(sum(point).rows > 500, "{name}");
    }
    assert_eq!((sum(&first[1]).rows, sum(&first[4])), (750, RowSum::default()));
    // What did not change is known, and its segments are kept as they were counted.
    let second = points(&place, &source, &parsed).await;
    for (one, other) in first.iter().zip(&second) {
        let live = |point: &KeptPoint| point.segments.iter().map(|one| (one.segment_id, one.live)).collect::<Vec<_>>();
        assert_eq!(live(one), live(other));
    }
    milvus_judge(milvus, ["drop", "digested", "digested_two"]).ok();
}

/// Rows and deletes that a later backup finds in old segments change its digest; rows after the point do not.
#[tokio::test(flavor = "multi_thread")]
async fn a_digest_is_of_its_point_and_follows_deletes() {
    let Some((milvus, _turn)) = server() else { return };
    let rows = Rows::create(milvus, "followed.rows").await;
    let (place, source) = (Place::new().await, as_source(milvus));
    let names = [rows.name.clone()];
    rows.insert(0..1000).await;
    let before = sum(&points(&place, &source, &names).await[0]);
    rows.delete(0..10).await;
    let deleted = sum(&points(&place, &source, &names).await[0]);
    assert_eq!((before.rows, deleted.rows), (1000, 990));
    rows.insert(0..10).await;
    // The same rows are there again, in other segments: the digest says so.
    assert_eq!(sum(&points(&place, &source, &names).await[0]), before);
    rows.upsert_into("", &[(5, -1)]).await;
    let changed = sum(&points(&place, &source, &names).await[0]);
    assert_eq!(changed.rows, 1000);
    assert_ne!(changed.digest(), before.digest());
}
