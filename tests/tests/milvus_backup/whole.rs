//! The whole way, with the binary: check, back up, back up again.

use longshore_tests::longshore_in;
use longshore_tests::milvus::milvus_judge;
use serde_json::Value;

use super::support::{Rows, configuration, server};

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
