//! What the real Milvus Lite says about restored databases.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use longshore_tests::{copy_tree, judge, longshore_in, python, sample_cluster};

#[test]
fn a_restored_cluster_answers_every_query_as_the_original_does() {
    let Some(python) = python() else { return };
    let folder = tempfile::tempdir().unwrap();
    let sample = sample_cluster();
    longshore_in(folder.path(), ["backup", sample.to_str().unwrap(), "--to", "vault"]).ok();
    longshore_in(folder.path(), ["restore", "vault", "--to", "restored.db"]).ok();
    // Opening writes: the judge gets a copy of the original.
    copy_tree(&sample, &folder.path().join("original.db"));
    let (original, restored) = (folder.path().join("original.db"), folder.path().join("restored.db"));
    let ran = judge(&python, ["compare".as_ref(), original.as_os_str(), restored.as_os_str()]);
    assert_eq!(ran.code, 0, "{ran:?}");
}

#[test]
fn a_collection_restored_under_a_new_name_has_the_same_rows() {
    let Some(python) = python() else { return };
    let folder = tempfile::tempdir().unwrap();
    let sample = sample_cluster();
    longshore_in(folder.path(), ["backup", sample.to_str().unwrap(), "--to", "vault"]).ok();
    let arguments = ["restore", "vault", "--to", "part.db", "--collection", "medium_articles=articles_copy"];
    longshore_in(folder.path(), arguments).ok();
    copy_tree(&sample, &folder.path().join("original.db"));
    let (original, part) = (folder.path().join("original.db"), folder.path().join("part.db"));
    // An alias stays with the collection that keeps its name; the renamed copy has none.
    let ran = judge(
        &python,
        [
            "compare".as_ref(),
            original.as_os_str(),
            part.as_os_str(),
            "--rename".as_ref(),
            "default.medium_articles=default.articles_copy".as_ref(),
            "--only".as_ref(),
            "default.medium_articles".as_ref(),
            "--ignore-aliases".as_ref(),
        ],
    );
    assert_eq!(ran.code, 0, "{ran:?}");
}
