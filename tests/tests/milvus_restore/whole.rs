//! Whole restores: under new names into the same server, under their own names into an empty one, by the binary.

use longshore_source::MilvusTargetOptions;
use longshore_source::{MilvusTarget, RestoreTarget};
use longshore_tests::longshore_in;
use longshore_tests::milvus::{Milvus, milvus_judge};

use super::support::{all_found, all_same, back_up, configuration, names, same, server, staged, target};

pub(crate) const ALL: [&str; 5] = ["made.docs", "made.tenants", "made.empty", "made_two.plain", "made_two.binv"];

/// Their names in another database.
pub(crate) fn renamed(database: &str) -> Vec<String> {
    ALL.iter().map(|name| name.replacen("made", database, 1)).collect()
}

/// Each with its new name.
pub(crate) fn named(to: &[String]) -> Vec<(&'static str, &str)> {
    ALL.into_iter().zip(to.iter().map(String::as_str)).collect()
}

pub(crate) fn without_the_empty<'a>(pairs: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    pairs.iter().copied().filter(|(from, _)| *from != "made.empty").collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn collections_come_back_under_new_names_with_every_row_and_no_deleted_one() {
    let Some((milvus, _turn)) = server() else { return };
    let to = renamed("again");
    let pairs = named(&to);
    let held = back_up(milvus, &pairs).await;
    let done = held.restore(&target(milvus)).await.unwrap();
    assert_eq!(done.notes, Vec::<String>::new());
    all_same(milvus, &pairs, None);
    assert!(staged(milvus).is_empty(), "staged files are gone: {:?}", staged(milvus));
    // No name of the making is left, and the alias stayed with the one that has it.
    assert_eq!(names(milvus, "again").await, ["docs", "empty", "tenants"]);
    assert_eq!(names(milvus, "again_two").await, ["binv", "plain"]);
    all_found(milvus, &without_the_empty(&pairs));
    milvus_judge(milvus, ["drop", "again", "again_two"]).ok();
}

/// As large as one goes on two cores: 50,000 rows of 384 numbers in several segments, and 2,000 deletes.
#[test]
fn fifty_thousand_rows_come_back_with_every_number_and_are_found_as_before() {
    let Some((milvus, _turn)) = server() else { return };
    milvus_judge(milvus, ["large", "large", "--rows", "50000"]).ok();
    let folder = tempfile::tempdir().unwrap();
    configuration(folder.path(), &[milvus]);
    let backup = ["backup", "--config", "longshore.toml", "--to", "vault", "--json"];
    let outcome = longshore_in(folder.path(), backup).ok().json();
    let large = outcome["collections"].as_array().unwrap().iter().find(|one| one["collection"] == "large").unwrap();
    assert_eq!((&large["physicalRows"], &large["liveRows"]), (&50_000.into(), &48_000.into()), "{large}");
    let restore =
        ["restore", "vault", "--config", "longshore.toml", "--collection", "large.large=large_again.large", "--json"];
    let restored = longshore_in(folder.path(), restore).ok().json();
    assert_eq!(restored["collections"][0]["liveRows"], 48_000, "{restored}");
    same(milvus, "large.large", "large_again.large", None);
    all_found(milvus, &[("large.large", "large_again.large")]);
    milvus_judge(milvus, ["drop", "large", "large_again"]).ok();
}

/// Nobody needs Longshore to go on with its backups: an export has the layout of another tool, which is read here too.
#[test]
fn an_export_in_the_layout_of_milvus_backup_holds_every_row() {
    let Some((milvus, _turn)) = server() else { return };
    let folder = tempfile::tempdir().unwrap();
    configuration(folder.path(), &[milvus]);
    longshore_in(folder.path(), ["backup", "--config", "longshore.toml", "--to", "vault"]).ok();
    let export = ["export", "latest", "--vault", "vault", "--to", "plain", "--json"];
    let exported = longshore_in(folder.path(), export).ok().json();
    assert_eq!(exported["data"], "milvus_backup");
    let data = folder.path().join("plain/milvus_backup");
    for level in ["full", "backup", "collection", "partition", "segment"] {
        let text = std::fs::read_to_string(data.join(format!("meta/{level}_meta.json"))).unwrap();
        assert!(serde_json::from_str::<serde_json::Value>(&text).unwrap().is_object(), "{level}");
    }
    // Files are those that the server wrote.
    let note = std::fs::read_to_string(folder.path().join("plain/longshore-export.json")).unwrap();
    let note: serde_json::Value = serde_json::from_str(&note).unwrap();
    let logs = note["files"].as_array().unwrap().iter().filter_map(|file| file["path"].as_str());
    let logs: Vec<&str> = logs.filter_map(|path| path.strip_prefix("milvus_backup/binlogs/")).collect();
    assert!(logs.len() > 50, "{}", logs.len());
    for log in logs {
        let (here, there) = (data.join("binlogs").join(log), milvus.storage.join(log));
        assert_eq!(std::fs::read(here).unwrap(), std::fs::read(there).unwrap(), "{log}");
    }
    // With the calls that milvus-backup makes, from the metadata and the folders alone, every row is there.
    milvus_judge(milvus, ["take", "made", "taken", "--from", data.to_str().unwrap()]).ok();
    // Comparing gives a collection without an index one, so the empty one can be compared once only: below.
    let taken = renamed("taken");
    all_same(milvus, &without_the_empty(&named(&taken)), None);
    milvus_judge(milvus, ["drop", "taken", "taken_two"]).ok();
    // Both forms of the metadata say the same.
    longshore_in(folder.path(), ["backup", "plain/milvus_backup", "--to", "taken-back"]).ok();
    std::fs::remove_file(data.join("meta/full_meta.json")).unwrap();
    let again =
        longshore_in(folder.path(), ["backup", "plain/milvus_backup", "--to", "taken-back", "--json"]).ok().json();
    assert_eq!(again["reusedBytes"], again["sizeBytes"], "{again}");
    let exported = renamed("exported");
    let pairs: Vec<String> = named(&exported).iter().map(|(from, to)| format!("{from}={to}")).collect();
    let mut restore = vec!["restore", "taken-back", "--config", "longshore.toml"];
    restore.extend(pairs.iter().flat_map(|pair| ["--collection", pair.as_str()]));
    longshore_in(folder.path(), &restore).ok();
    all_same(milvus, &named(&exported), None);
    milvus_judge(milvus, ["drop", "exported", "exported_two"]).ok();
}

#[test]
fn a_whole_cluster_comes_back_in_an_empty_server_by_the_binary() {
    let Some((milvus, _turn)) = server() else { return };
    let Some(second) = Milvus::start(&[]) else { return };
    let folder = tempfile::tempdir().unwrap();
    configuration(folder.path(), &[milvus, &second]);
    let backup = ["backup", "--config", "longshore.toml", "--cluster", "in01-milvus0", "--to", "vault"];
    longshore_in(folder.path(), backup).ok();
    let restore = ["restore", "vault", "--config", "longshore.toml", "--cluster", "in01-milvus1", "--json"];
    let restored = longshore_in(folder.path(), restore).ok().json();
    assert_eq!(restored["notes"], serde_json::Value::Null, "{restored}");
    all_same(milvus, &ALL.map(|name| (name, name)), Some(&second));
    let aliases = milvus_judge(&second, ["rows", "made_two.plain"]).ok().json();
    assert_eq!(aliases["aliases"], serde_json::json!(["plain_alias"]));
    longshore_in(folder.path(), restore).refused(1, "already has a collection");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_earlier_millisecond_brings_deleted_rows_back_on_request() {
    let Some((milvus, _turn)) = server() else { return };
    let held = back_up(milvus, &[("made_two.plain", "earlier.plain")]).await;
    // The first delete's time stands in the logs of deletes.
    let deletes = held.plan.collections[0].files.iter().position(|file| file.path.starts_with("delta_log")).unwrap();
    let text = String::from_utf8_lossy(&held.bytes[0][deletes]).into_owned();
    let deleted: u64 = text.split("\"ts\":").nth(1).unwrap().split(',').next().unwrap().parse().unwrap();
    let options = MilvusTargetOptions { until_ms: Some((deleted >> 18) - 1), ..MilvusTargetOptions::default() };
    held.restore(&MilvusTarget::new(milvus.server(), options)).await.unwrap();
    let rows = |name: &str| milvus_judge(milvus, ["rows", name]).ok().json()["count"].as_u64().unwrap();
    assert_eq!((rows("made_two.plain"), rows("earlier.plain")), (1170, 1300));
    milvus_judge(milvus, ["drop", "earlier"]).ok();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_of_a_newer_server_is_refused_in_words() {
    let Some((milvus, _turn)) = server() else { return };
    let mut held = back_up(milvus, &[("made_two.plain", "refused.plain")]).await;
    let newer = held.plan.collections[0].description.as_object_mut().unwrap();
    newer.insert("serverVersion".to_owned(), "v2.4.1".into());
    let error = target(milvus).begin(&held.plan, &()).await.err().unwrap().to_string();
    assert!(error.contains("2.4.1") && error.contains("any version"), "{error}");
    assert!(staged(milvus).is_empty());
}
