//! Binlogs that a real Milvus 2.3.5 wrote (`tests/python/milvus_judge.py … corpus`), read here and counted; and what
//! happens to them when they are damaged.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod corpus;

use longshore_source::{Limits, SourceError, check_files};
use proptest::prelude::*;

use corpus::Corpus;

const ALL: [&str; 5] = ["docs", "tenants", "empty", "two.plain", "two.binv"];

#[test]
fn rows_and_their_digest_are_what_a_client_of_the_server_saw() {
    for name in ALL {
        let collection = Corpus::read(name);
        let counted = collection.count().unwrap();
        assert_eq!(counted.live.rows, collection.expected["rows"].as_u64().unwrap(), "{name}");
        if let Some(digest) = collection.expected["digest"].as_str() {
            assert_eq!(counted.live.digest().to_string(), digest, "{name}");
        }
        let promised: u64 = collection.point.segments.iter().map(|segment| segment.rows).sum();
        assert_eq!(counted.physical, promised, "{name}");
        let checked = check_files("milvus", &collection.stored(), true, &Limits::DEFAULT).unwrap();
        assert_eq!((checked.problems, checked.physical_rows), (vec![], Some(promised)), "{name}");
    }
}

#[test]
fn without_its_deletes_a_collection_has_more_rows() {
    let mut collection = Corpus::read("two.plain");
    collection.files.retain(|path, _| !path.starts_with("delta_log"));
    assert_eq!((collection.count().unwrap().live.rows, collection.expected["rows"].as_u64()), (30, Some(27)));
}

#[test]
fn a_cut_leaves_out_later_rows_and_undoes_later_deletes() {
    let collection = Corpus::read("two.plain");
    // Deletes are later than inserts; their time stands in the log of deletes as text.
    let deletes = collection.files.iter().find(|(path, _)| path.starts_with("delta_log")).unwrap().1;
    let text = String::from_utf8_lossy(deletes);
    let deleted: u64 = text.split("\"ts\":").nth(1).unwrap().split(',').next().unwrap().parse().unwrap();
    assert_eq!(collection.count_until(Some(deleted)).unwrap().live.rows, 27);
    assert_eq!(collection.count_until(Some(deleted - 1)).unwrap().live.rows, 30);
    assert_eq!(collection.count_until(Some(0)).unwrap().live.rows, 0);
}

/// Servers from 2.4 on keep deletes in segments of their own, `delta_log/<collection>/<partition or −1>/…`; the logs are the same.
#[test]
fn deletes_of_a_level_zero_segment_hit_the_rows_of_their_partition_and_of_all() {
    for name in ["two.plain", "docs"] {
        let whole = Corpus::read(name);
        let partitions: Vec<i64> = whole.point.partitions.iter().map(|one| one.partition_id).collect();
        let moved = |to: &dyn Fn(&str) -> String| {
            let mut collection = Corpus::read(name);
            let deletes = whole.files.iter().filter(|(path, _)| path.starts_with("delta_log"));
            collection.files.retain(|path, _| !path.starts_with("delta_log"));
            collection.files.extend(deletes.map(|(path, bytes)| (to(path), bytes.clone())));
            collection
        };
        let part = |path: &str, number: usize| path.split('/').nth(number).unwrap().to_owned();
        let expected = whole.count().unwrap();
        assert!(expected.live.rows < expected.physical, "{name} has deletes");
        let of_all = moved(&|path| format!("delta_log/-1/77/{}", part(path, 3)));
        assert_eq!(of_all.count().unwrap(), expected, "{name}");
        let of_its_partition = moved(&|path| format!("delta_log/{}/77/{}", part(path, 1), part(path, 3)));
        assert_eq!(of_its_partition.count().unwrap(), expected, "{name}");
        // Up to before the first of them they hit nothing, and those of a partition without rows never do.
        let elsewhere = partitions.iter().max().unwrap() + 1;
        let of_another = moved(&|path| format!("delta_log/{elsewhere}/77/{}", part(path, 3)));
        assert_eq!(of_another.count().unwrap().live.rows, expected.physical, "{name}");
    }
    let mut collection = Corpus::read("two.plain");
    let (path, log) = collection.files.iter().find(|(path, _)| path.starts_with("delta_log")).unwrap();
    let (path, log) = (path.clone(), log.clone());
    let deleted = u64::from_le_bytes(log[4 + 17 + 32..][..8].try_into().unwrap());
    collection.files.remove(&path);
    collection.files.insert("delta_log/-1/77/1".to_owned(), log);
    assert_eq!(collection.count_until(Some(deleted)).unwrap().live.rows, 27);
    assert_eq!(collection.count_until(Some(deleted - 1)).unwrap().live.rows, 30);
}

#[test]
fn a_missing_log_is_an_error_and_no_shorter_answer() {
    let whole = Corpus::read("docs");
    for field in [0, 1, 100, 105, 111] {
        let folder = format!("/{field}/");
        let Some(path) = whole.files.keys().find(|path| path.contains(&folder)).cloned() else {
            panic!("no logs of field {field}")
        };
        let mut collection = Corpus::read("docs");
        collection.files.remove(&path);
        // Numbers of rows (0) are the server's own and no part of a row.
        assert_eq!(collection.count().is_err(), field != 0, "without {path}");
    }
}

#[test]
fn files_in_the_place_of_others_are_found() {
    let collection = Corpus::read("two.plain");
    let first = collection.files.keys().find(|path| path.contains("/100/")).unwrap();
    let (first, second) = (first, collection.files.keys().find(|path| path.contains("/1/")).unwrap());
    let mut swapped = Corpus::read("two.plain");
    swapped.files.insert(first.clone(), collection.files[second].clone());
    let checked = check_files("milvus", &swapped.stored(), true, &Limits::DEFAULT).unwrap();
    assert_eq!(checked.problems.len(), 1, "{checked:?}");
    assert_eq!(checked.physical_rows, None);
    let (deletes, _) = collection.files.iter().find(|(path, _)| path.starts_with("delta_log")).unwrap();
    swapped.files = collection.files.clone();
    swapped.files.insert(deletes.clone(), collection.files[first].clone());
    assert!(matches!(swapped.count(), Err(SourceError::Damaged { .. })));
    swapped.files = collection.files.clone();
    swapped.files.insert(second.clone(), b"PAR1 of storage version 2".to_vec());
    assert!(matches!(swapped.count(), Err(SourceError::Unsupported { .. })));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever is in a file: an answer or an error, never a panic.
    #[test]
    fn damaged_files_end_in_errors(
        which in any::<prop::sample::Index>(),
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        cut in proptest::option::of(any::<prop::sample::Index>()),
        more in proptest::collection::vec(any::<u8>(), 0..20),
        name in prop::sample::select(vec!["docs", "two.plain"]),
    ) {
        let mut collection = Corpus::read(name);
        let path = collection.files.keys().nth(which.index(collection.files.len())).unwrap().clone();
        let bytes = collection.files.get_mut(&path).unwrap();
        for (place, byte) in changes {
            let place = place.index(bytes.len());
            bytes[place] = byte;
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        bytes.extend(more);
        let _ = collection.count();
        let checked = check_files("milvus", &collection.stored(), true, &Limits::DEFAULT).unwrap();
        prop_assert!(checked.problems.is_empty() || checked.physical_rows.is_none());
    }
}
