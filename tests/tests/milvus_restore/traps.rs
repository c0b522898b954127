//! What Milvus 2.3.5 does with files that are not right, and that a restore never lets it.

use bytes::Bytes;
use longshore_source::milvus::KeptSchema;
use longshore_source::{MilvusTarget, MilvusTargetOptions, SourceError, StagingPlace};
use longshore_tests::milvus::milvus_judge;

use super::support::{back_up, names, server, server_in_both_forms, staged, target};

/// One wrong byte in a file given to `Import` ends the whole server. Files are compared before it hears of them.
#[tokio::test(flavor = "multi_thread")]
async fn a_flipped_byte_never_reaches_the_server() {
    let Some((milvus, _turn)) = server_in_both_forms() else { return };
    let whole = back_up(milvus, &[("made_two.plain", "flipped.plain")]).await;
    for field in ["/101/", "/100/", "/1/", "delta_log/"] {
        let mut held = whole.clone();
        let place = held.plan.collections[0].files.iter().position(|file| file.path.contains(field)).unwrap();
        let mut bytes = held.bytes[0][place].to_vec();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 0x10;
        held.bytes[0][place] = Bytes::from(bytes);
        let result = held.restore(&target(milvus)).await;
        assert!(matches!(result, Err(SourceError::Damaged { .. })), "{field}: {result:?}");
        assert!(milvus.is_alive(), "{field}");
    }
    assert!(names(milvus, "flipped").await.is_empty());
    assert!(staged(milvus).is_empty());
}

/// A path that the server does not see is `ImportCompleted` with no rows to it.
#[tokio::test(flavor = "multi_thread")]
async fn a_staging_folder_that_the_server_does_not_see_is_found_out_and_taken_back() {
    let Some((milvus, _turn)) = server() else { return };
    let held = back_up(milvus, &[("made_two.plain", "unseen.plain")]).await;
    let folder = tempfile::tempdir().unwrap();
    let seen = |server_folder: &str| {
        let staging = StagingPlace { folder: folder.path().to_owned(), server_folder: Some(server_folder.into()) };
        let options = MilvusTargetOptions { staging: Some(staging), ..MilvusTargetOptions::default() };
        MilvusTarget::new(milvus.server(), options)
    };
    let error = held.restore(&seen("/nowhere/that/exists")).await.unwrap_err();
    let said = error.to_string();
    assert!(matches!(error, SourceError::RowsDiffer { .. }), "{said}");
    assert!(said.contains("unseen.plain") && said.contains("took 0 rows") && said.contains("1170"), "{said}");
    // Nothing is left: no database, no collection, no staged file.
    let inventory = longshore_source::MilvusSource::new(milvus.server());
    let databases = longshore_source::Source::inventory(&inventory).await.unwrap().databases;
    assert!(databases.iter().all(|database| database.name != "unseen"), "{databases:?}");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    // A relative one would be the same, so it is refused.
    let staging = StagingPlace { folder: "staging".into(), server_folder: None };
    let options = MilvusTargetOptions { staging: Some(staging), ..MilvusTargetOptions::default() };
    let error = held.restore(&MilvusTarget::new(milvus.server(), options)).await.unwrap_err().to_string();
    assert!(error.contains("not absolute"), "{error}");
    // And the same folder under its right name works, outside of the server's storage.
    held.restore(&seen(folder.path().to_str().unwrap())).await.unwrap();
    milvus_judge(milvus, ["drop", "unseen"]).ok();
}

/// An index that was just made is called finished with none of its rows in it; and rows would vanish by a time to live.
#[tokio::test(flavor = "multi_thread")]
async fn the_time_to_live_is_left_out_and_indexes_are_whole_when_a_restore_ends() {
    let Some((milvus, _turn)) = server() else { return };
    let held = back_up(milvus, &[("made.docs", "whole_index.docs")]).await;
    let kept = KeptSchema::read(&held.plan.collections[0].schema, "docs").unwrap();
    assert!(kept.properties.iter().any(|(key, _)| key == "collection.ttl.seconds"), "{:?}", kept.properties);
    held.restore(&target(milvus)).await.unwrap();
    let client = milvus.client().await;
    let (db_name, collection_name) = ("whole_index".to_owned(), "docs".to_owned());
    let request = longshore_source::milvus::proto::milvus::DescribeCollectionRequest {
        db_name: db_name.clone(),
        collection_name: collection_name.clone(),
        ..Default::default()
    };
    let described = client.call(request).await.unwrap();
    assert!(described.properties.is_empty(), "{:?}", described.properties);
    let request = longshore_source::milvus::proto::milvus::DescribeIndexRequest {
        db_name,
        collection_name,
        ..Default::default()
    };
    let indexes = client.call(request).await.unwrap().index_descriptions;
    assert_eq!(indexes.len(), 2);
    for index in indexes {
        assert_eq!(index.indexed_rows, index.total_rows, "{}", index.index_name);
        assert!(index.total_rows > 2000, "{}", index.total_rows);
    }
    milvus_judge(milvus, ["drop", "whole_index"]).ok();
}

/// Most calls heed the database in the call's metadata; this one heeds the request alone, so both are always sent.
#[test]
fn aliases_are_listed_by_the_database_in_the_request_alone() {
    let Some((milvus, _turn)) = server() else { return };
    let answered = milvus_judge(milvus, ["aliases", "made_two.plain"]).ok().json();
    let expected = serde_json::json!({"field": ["plain_alias"], "header": null, "both": ["plain_alias"]});
    assert_eq!(answered, expected);
}

/// Acts once, as soon as something was moved into the collection that is being made.
struct Interfere<'a>(std::sync::atomic::AtomicBool, &'a (dyn Fn() + Send + Sync));

impl longshore_source::RestoreWatch for Interfere<'_> {
    fn moved(&self, _collection: usize, bytes: u64) {
        if bytes > 0 && !self.0.swap(true, std::sync::atomic::Ordering::SeqCst) {
            (self.1)();
        }
    }
}

/// What the server has in the end is compared with the backup row by row, and the error says by how much it differs.
#[tokio::test(flavor = "multi_thread")]
async fn a_row_too_few_or_another_one_is_found_and_told() {
    let Some((milvus, _turn)) = server() else { return };
    let held = back_up(milvus, &[("made_two.plain", "differs.plain")]).await;
    for (action, said) in
        [("lose", "2 rows are missing and 0 are too many"), ("change", "2 rows are missing and 2 are too many")]
    {
        // The one collection of that database is the one that is being made.
        let interfere = || drop(milvus_judge(milvus, [action, "differs"]).ok());
        let watch = Interfere(std::sync::atomic::AtomicBool::default(), &interfere);
        let error = held.restore_watched(&target(milvus), &watch).await.unwrap_err();
        let text = error.to_string();
        assert!(matches!(error, SourceError::RowsDiffer { .. }), "{text}");
        assert!(text.contains("differs.plain") && text.contains(said), "{text}");
        assert!(names(milvus, "differs").await.is_empty());
    }
}
