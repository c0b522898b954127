//! The short form, which `make test` runs too, with the trap of `traps.rs` that costs least: one server, one filling, and
//! the whole way through the binary.

use longshore_source::milvus::proto::common::LoadState;
use longshore_tests::longshore_in;
use longshore_tests::milvus::milvus_judge;
use serde_json::Value;

use super::support::{
    all_found, all_same, configuration, load_state, names, release, same, server_in_both_forms, staged,
};
use super::whole::{ALL, named, renamed, without_the_empty};

#[tokio::test(flavor = "multi_thread")]
async fn rows_come_back_under_new_names_and_a_second_backup_reads_only_what_is_new() {
    let Some((milvus, _turn)) = server_in_both_forms() else { return };
    let folder = tempfile::tempdir().unwrap();
    configuration(folder.path(), &[milvus]);
    milvus_judge(milvus, ["grow", "grown", "--rows", "1000"]).ok();
    release(milvus, "made.tenants").await;
    assert_eq!(load_state(milvus, "made.docs").await, LoadState::Loaded);
    let mut backup = vec!["backup", "--config", "longshore.toml", "--to", "vault", "--json"];
    backup.extend(ALL.iter().chain(&["grown.plain"]).flat_map(|name| ["--collection", name]));
    let first = longshore_in(folder.path(), &backup).ok().json();
    assert_eq!(first["reusedBytes"], 0, "{first}");
    let restore = |pairs: &[(&str, &str)]| {
        let pairs: Vec<String> = pairs.iter().map(|(from, to)| format!("{from}={to}")).collect();
        let mut arguments = vec!["restore", "vault", "--config", "longshore.toml", "--json"];
        arguments.extend(pairs.iter().flat_map(|pair| ["--collection", pair.as_str()]));
        longshore_in(folder.path(), &arguments).ok().json()
    };
    let to = renamed("way");
    let pairs = named(&to);
    let restored = restore(&pairs);
    assert_eq!(restored["notes"], Value::Null, "{restored}");
    // Before the judge loads what it reads.
    assert_eq!(load_state(milvus, "way.docs").await, LoadState::Loaded);
    assert_eq!(load_state(milvus, "way.tenants").await, LoadState::NotLoad);
    // To compare the one without rows, an index would have to be made on it first.
    assert_eq!(milvus_judge(milvus, ["stored", "way.empty"]).ok().json()["count"], 0);
    all_same(milvus, &without_the_empty(&pairs), None);
    all_found(milvus, &without_the_empty(&pairs));
    assert_eq!(names(milvus, "way").await, ["docs", "empty", "tenants"]);
    assert!(staged(milvus).is_empty());

    // Rows that nobody flushed, and deletes of old ones: nothing else is read.
    milvus_judge(milvus, ["grow", "grown", "--rows", "300"]).ok();
    let second = longshore_in(folder.path(), &backup).ok().json();
    let size = |outcome: &Value, key: &str| outcome[key].as_u64().unwrap();
    assert_eq!(size(&second, "reusedBytes"), size(&first, "sizeBytes"), "{second}");
    let new = size(&second, "sizeBytes") - size(&second, "reusedBytes");
    assert!(new > 300 * 32 * 4 / 2 && new < 300 * 32 * 4 * 3, "{new} bytes are new");
    restore(&[("grown.plain", "grown_again.plain")]);
    same(milvus, "grown.plain", "grown_again.plain", None);
    let counted = milvus_judge(milvus, ["rows", "grown_again.plain"]).ok().json();
    assert_eq!(counted["count"], 1300 - 30, "deleted rows stay deleted");
    longshore_in(folder.path(), ["verify", "vault"]).ok();
    milvus_judge(milvus, ["drop", "way", "way_two", "grown", "grown_again"]).ok();
}
