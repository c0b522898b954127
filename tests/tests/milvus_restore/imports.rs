//! What `Import` of Milvus 2.3.5 makes of calls that are not right: it says *Completed* to nearly all of them. This is why a
//! restore names no folder that is not there, ends paths with `/`, cuts in milliseconds, never repeats a call and believes
//! only rows that it counted. Should a server behave otherwise one day, it is seen here first.

use std::path::Path;

use longshore_source::milvus::proto::common::{ImportState, KeyValuePair};
use longshore_source::milvus::proto::milvus::{
    CreateCollectionRequest, CreateDatabaseRequest, GetImportStateRequest, ImportRequest,
};
use longshore_source::milvus::{KeptPoint, KeptSchema, MilvusClient};
use longshore_tests::milvus::milvus_judge;
use prost::Message as _;

use super::support::{Held, back_up, server};

const DATABASE: &str = "imports";

/// Makes the collection anew under a name.
async fn create(client: &MilvusClient, held: &Held, name: &str) {
    let kept = KeptSchema::read(&held.plan.collections[0].schema, "it").unwrap();
    let mut schema = kept.decode("it").unwrap();
    name.clone_into(&mut schema.name);
    let request = CreateCollectionRequest {
        db_name: DATABASE.to_owned(),
        collection_name: name.to_owned(),
        schema: schema.encode_to_vec(),
        shards_num: kept.shards,
        ..CreateCollectionRequest::default()
    };
    client.call(request).await.unwrap();
}

/// Makes one call and waits for its end: the rows that the server says it took, or why it failed.
async fn import(client: &MilvusClient, name: &str, files: [&str; 2], end_ts: Option<u64>) -> Result<i64, String> {
    let mut pairs = vec![KeyValuePair { key: "backup".to_owned(), value: "true".to_owned() }];
    pairs.extend(end_ts.map(|end_ts| KeyValuePair { key: "end_ts".to_owned(), value: end_ts.to_string() }));
    let request = ImportRequest {
        db_name: DATABASE.to_owned(),
        collection_name: name.to_owned(),
        partition_name: "_default".to_owned(),
        files: files.map(str::to_owned).to_vec(),
        options: pairs,
        ..ImportRequest::default()
    };
    let task = client.call(request).await.unwrap().tasks[0];
    loop {
        let state = client.call(GetImportStateRequest { task }).await.unwrap();
        match state.state() {
            ImportState::ImportCompleted => return Ok(state.row_count),
            ImportState::ImportFailed | ImportState::ImportFailedAndCleaned => {
                return Err(format!("{:?}", state.infos));
            }
            _ => tokio::time::sleep(std::time::Duration::from_millis(100)).await,
        }
    }
}

/// Lays the files out as a call takes them, below folders whose names end with `suffix`.
fn lay_out(held: &Held, root: &Path, suffix: &str) {
    for (file, bytes) in held.plan.collections[0].files.iter().zip(&held.bytes[0]) {
        let (kind, rest) = file.path.split_once('/').unwrap();
        let path = root.join(format!("{kind}{suffix}")).join(rest.split_once('/').unwrap().1);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn import_calls_nearly_everything_completed() {
    let Some((milvus, _turn)) = server() else { return };
    let held = back_up(milvus, &[("made_two.plain", "imports.plain")]).await;
    let point = KeptPoint::read(&held.plan.collections[0].description, "it").unwrap();
    let client = milvus.client().await;
    client.call(CreateDatabaseRequest { db_name: DATABASE.to_owned(), properties: Vec::new() }).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    lay_out(&held, folder.path(), "");
    // Beside them folders whose names begin as theirs do.
    lay_out(&held, folder.path(), "_more");
    let path = |inner: &str| format!("{}/{inner}", folder.path().display());
    let (rows, deletes) = (path("insert_log/"), path("delta_log/"));
    let end_ms = point.end_ms().unwrap();
    let cases: [(&str, [&str; 2], Option<u64>, i64); 8] = [
        ("right", [&rows, &deletes], None, 1170),
        ("right_in_milliseconds", [&rows, &deletes], Some(end_ms), 1170),
        ("in_seconds", [&rows, &deletes], Some(end_ms / 1000), 0),
        ("no_deletes", [&rows, ""], None, 1300),
        ("deletes_that_are_not_there", [&rows, &path("none/delta_log/")], None, 1300),
        ("rows_that_are_not_there", [&path("none/insert_log/"), ""], None, 0),
        ("relative_to_the_storage", ["insert_log/", ""], None, 0),
        ("without_a_slash", [&path("insert_log"), ""], None, 2600),
    ];
    for (name, files, end_ts, expected) in cases {
        create(&client, &held, name).await;
        assert_eq!(import(&client, name, files, end_ts).await, Ok(expected), "{name}");
    }
    // Twice the same call: nothing is seen twice.
    import(&client, "right", [&rows, &deletes], None).await.unwrap();
    let twice = milvus_judge(milvus, ["stored", "imports.right"]).ok().json();
    assert_eq!(twice["count"], 2 * 1170, "{twice}");
    milvus_judge(milvus, ["drop", DATABASE]).ok();
}
