//! From a Milvus server to Milvus Lite and back: a developer takes production data home, and brings it back.

use std::path::Path;

use longshore_tests::milvus::{Milvus, milvus_judge};
use longshore_tests::{copy_tree, judge, longshore_in, python, sample_cluster};
use serde_json::Value;

use super::support::{all_found, configuration, names, server, staged};

/// What a client of Milvus Lite is answered.
fn lite(python: &Path, directory: &Path, command: &str, more: &[&str]) -> Value {
    let arguments = [&[command, directory.to_str().unwrap()][..], more].concat();
    judge(python, arguments).ok().json()
}

/// What a client of the server is answered.
fn of_server(milvus: &Milvus, command: &str, more: &[&str]) -> Value {
    milvus_judge(milvus, [&[command][..], more].concat()).ok().json()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_developer_takes_production_data_home_and_brings_it_back() {
    let Some((milvus, _turn)) = server() else { return };
    let Some(python) = python() else { return };
    let folder = tempfile::tempdir().unwrap();
    configuration(folder.path(), &[milvus]);
    longshore_in(folder.path(), ["backup", "--config", "longshore.toml", "--to", "vault"]).ok();
    // One of the collections does not fit: it is named with its field, and nothing is written.
    let refused = longshore_in(folder.path(), ["restore", "vault", "--to", "home.db"]);
    refused.refused(
        1,
        "collection made_two.binv cannot be restored into Milvus Lite: field `vec` is of type BinaryVector",
    );
    assert!(!folder.path().join("home.db").exists());
    let wanted = ["made.docs", "made.tenants", "made.empty", "made_two.plain"];
    let mut restore = vec!["restore", "vault", "--to", "home.db", "--json"];
    restore.extend(wanted.iter().flat_map(|name| ["--collection", name]));
    let restored = longshore_in(folder.path(), &restore).ok().json();
    let home = folder.path().join("home.db");
    for name in wanted {
        // The partitions of a partition key are others there.
        let flags: &[&str] = if name == "made.tenants" { &["--no-partitions"] } else { &[] };
        let there = of_server(milvus, "digest", &[&[name][..], flags].concat());
        let is_it =
            |one: &&Value| format!("{}.{}", text(&one["from"]["database"]), text(&one["from"]["collection"])) == name;
        let proven = restored["collections"].as_array().unwrap().iter().find(is_it).unwrap();
        assert_eq!(proven["liveRows"], there["rows"], "{proven}");
        if name == "made.empty" {
            assert_eq!(there, lite(&python, &home, "digest", &[name]));
            continue;
        }
        let here = lite(&python, &home, "use", &[&[name, "vec"][..], flags].concat());
        assert_eq!((&there["rows"], &there["digest"]), (&here["rows"], &here["digest"]), "{name}");
        assert_eq!(here["found"], here["searches"], "{name}: {here}");
        assert_eq!(here["after"].as_u64(), there["rows"].as_u64().map(|rows| rows + 1), "{name}: {here}");
    }
    let described = lite(&python, &home, "dump", &[]);
    assert_eq!(described["made_two.plain"]["aliases"], serde_json::json!(["plain_alias"]));

    // And back, under other names, into the same server.
    longshore_in(folder.path(), ["backup", "home.db", "--to", "home-vault"]).ok();
    let pairs: Vec<String> = wanted.iter().map(|name| format!("{name}={}", name.replacen("made", "back", 1))).collect();
    let mut restore = vec!["restore", "home-vault", "--config", "longshore.toml"];
    restore.extend(pairs.iter().flat_map(|pair| ["--collection", pair.as_str()]));
    longshore_in(folder.path(), &restore).ok();
    for name in wanted {
        // Automatic keys are those that they were.
        let flags: &[&str] = if name == "made.tenants" { &["--no-partitions"] } else { &[] };
        let digest = |name: &str| of_server(milvus, "digest", &[&[name][..], flags].concat());
        assert_eq!(digest(name), digest(&name.replacen("made", "back", 1)), "{name}");
    }
    // Rows are where the server looks for them.
    for tenant in 0..7 {
        let filter = format!("tenant == \"tenant{tenant}\"");
        let count = |name: &str| of_server(milvus, "filter", &[name, &filter])["count"].as_u64().unwrap();
        assert!(count("made.tenants") > 0);
        assert_eq!(count("made.tenants"), count("back.tenants"), "{filter}");
    }
    all_found(
        milvus,
        &[("made.docs", "back.docs"), ("made.tenants", "back.tenants"), ("made_two.plain", "back_two.plain")],
    );
    assert!(staged(milvus).is_empty());
    assert_eq!(names(milvus, "back").await, ["docs", "empty", "tenants"]);
    milvus_judge(milvus, ["drop", "back", "back_two"]).ok();
}

/// What Milvus Lite itself wrote, with rows that are only in its log, partition keys and dynamic fields.
#[tokio::test(flavor = "multi_thread")]
async fn a_directory_of_milvus_lite_is_restored_into_a_server() {
    let Some((milvus, _turn)) = server() else { return };
    let Some(python) = python() else { return };
    let folder = tempfile::tempdir().unwrap();
    configuration(folder.path(), &[milvus]);
    let sample = folder.path().join("sample.db");
    copy_tree(&sample_cluster(), &sample);
    longshore_in(folder.path(), ["backup", "sample.db", "--to", "vault"]).ok();
    let all = [
        "handbook.postgres_commands",
        "handbook.postgres_manual",
        "default.medium_articles",
        "default.python_manual",
        "default.recent_searches",
    ];
    let moved: Vec<String> = all.iter().map(|name| format!("from_lite.{}", name.split_once('.').unwrap().1)).collect();
    let pairs: Vec<String> = all.iter().zip(&moved).map(|(from, to)| format!("{from}={to}")).collect();
    let mut restore = vec!["restore", "vault", "--config", "longshore.toml", "--json"];
    restore.extend(pairs.iter().flat_map(|pair| ["--collection", pair.as_str()]));
    let restored = longshore_in(folder.path(), &restore).ok().json();
    assert_eq!(restored["notes"], Value::Null, "{restored}");
    for (from, to) in all.iter().zip(&moved) {
        let has_partition_key = from.contains("postgres") || from.contains("manual");
        let flags: &[&str] = if has_partition_key { &["--no-partitions"] } else { &[] };
        let here = lite(&python, &sample, "digest", &[&[*from][..], flags].concat());
        let there = of_server(milvus, "digest", &[&[to.as_str(), "--parsed-json"][..], flags].concat());
        assert_eq!(here, there, "{from}");
        assert!(here["rows"].as_u64().unwrap() > 0, "{from}");
    }
    assert!(staged(milvus).is_empty());
    // A second one finds the names taken, and leaves what is there.
    longshore_in(folder.path(), &restore).refused(1, "already has a collection");
    milvus_judge(milvus, ["drop", "from_lite"]).ok();
}
