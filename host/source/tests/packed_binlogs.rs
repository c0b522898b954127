//! Rows that a real Milvus 2.3.5 wrote, laid out as Milvus 2.6 does: they are the same rows, and what is damaged, missing or not
//! understood is said. No file of a server 2.6 was at hand; one of milvus-storage's own tests was read, and is not kept here.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod corpus;
#[path = "fake/packed.rs"]
mod packed;

use std::io;
use std::sync::Arc;

use arrow_array::{ArrayRef, BinaryArray, Int64Array, StringArray};
use bytes::Bytes;
use corpus::{Corpus, Files, count_files, stored};
use longshore_model::FileClass;
use longshore_source::milvus::proto::schema::{CollectionSchema, DataType, FieldSchema};
use longshore_source::milvus::{CountedRows, KeptPoint, RowSchema};
use longshore_source::{CheckedFiles, Limits, SourceError, StoredBytes, StoredFile, check_files};
use packed::{Layout, pack, write};
use proptest::prelude::*;

/// A file of which nothing but its ends can be read.
struct Failing(Vec<u8>);

impl StoredBytes for Failing {
    fn fill(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let end = self.0.len() - 8;
        let footer = u32::from_le_bytes(self.0[end..][..4].try_into().unwrap());
        let is_column = (4..end as u64 - u64::from(footer)).contains(&offset);
        if is_column {
            Err(io::Error::other("the cable is out"))
        } else {
            Bytes::from(self.0.clone()).fill(buffer, offset)
        }
    }
}

/// What happens to a file.
type Damage = dyn Fn(&mut Vec<u8>);

/// A collection as a server wrote it, or one that is made up.
struct Collection {
    schema: RowSchema,
    point: KeptPoint,
    files: Files,
}

fn corpus(name: &str) -> Collection {
    let read = Corpus::read(name);
    Collection { schema: read.rows(), point: read.point, files: read.files }
}

fn check(files: &Files) -> CheckedFiles {
    check_files("milvus", &stored(files), true, &Limits::DEFAULT).unwrap()
}

impl Collection {
    fn count_within(&self, files: &[StoredFile], limits: &Limits) -> Result<CountedRows, SourceError> {
        count_files(&self.point, files, &self.schema, None, limits)
    }

    fn count(&self, files: &Files) -> Result<CountedRows, SourceError> {
        self.count_within(&stored(files), &Limits::DEFAULT)
    }

    fn refused(&self, files: &Files) -> String {
        self.count(files).unwrap_err().to_string()
    }
}

const LAYOUTS: [Layout; 4] = [
    Layout::PLAIN,
    Layout { row_group: 3, ..Layout::PLAIN },
    Layout { files: 3, row_group: 2, ..Layout::PLAIN },
    Layout { is_alone: |field| field > 1, ..Layout::PLAIN },
];

#[test]
fn the_same_rows_have_the_same_digest_however_fields_files_and_row_groups_are_cut() {
    for name in ["docs", "tenants", "empty", "two.plain", "two.binv"] {
        let corpus = corpus(name);
        let expected = corpus.count(&corpus.files).unwrap();
        for layout in LAYOUTS {
            let files = pack(&corpus.files, &layout);
            assert!(files.keys().all(|path| !path.contains("/1/")), "timestamps lie in the first group");
            assert_eq!(corpus.count(&files).unwrap(), expected, "{name} {layout:?}");
            let checked = check(&files);
            let whole = (files.len() as u64, vec![], Some(expected.physical));
            assert_eq!((checked.parsed, checked.problems, checked.physical_rows), whole, "{name} {layout:?}");
        }
    }
}

/// Changes one file of a packed collection: the first of a group.
fn changed(corpus: &Collection, layout: &Layout, group: &str, change: impl Fn(&mut Files, &str)) -> Files {
    let mut files = pack(&corpus.files, layout);
    let path = files.keys().find(|path| path.split('/').nth(3) == Some(group)).expect("the group").clone();
    change(&mut files, &path);
    files
}

#[test]
fn a_group_or_a_file_of_one_that_is_missing_is_an_error_and_no_shorter_answer() {
    let corpus = corpus("docs");
    let without = |layout: &Layout, group: &str| {
        let files = changed(&corpus, layout, group, |files, path| {
            files.remove(path);
        });
        corpus.refused(&files)
    };
    let error = without(&Layout::PLAIN, "105");
    assert!(error.contains("its files name field 105, and none of them has it"), "{error}");
    let error = without(&Layout::PLAIN, "0");
    assert!(error.contains("none of them has it"), "{error}");
    // A file of another group in its place.
    let files = changed(&corpus, &Layout::PLAIN, "105", |files, path| {
        let other = files.keys().find(|path| path.contains("/104/")).unwrap();
        let bytes = files[other].clone();
        files.insert(path.to_owned(), bytes);
    });
    assert!(corpus.refused(&files).contains("field 104 is in two of its groups"));
}

#[test]
fn files_of_groups_that_end_after_other_rows_are_not_taken_for_one_segment() {
    let corpus = corpus("two.plain");
    let split = Layout { files: 4, ..Layout::PLAIN };
    let files = changed(&corpus, &split, "101", |files, path| {
        files.remove(path);
    });
    let error = corpus.count(&files).unwrap_err();
    assert!(matches!(error, SourceError::Damaged { .. }), "{error}");
    assert!(error.to_string().contains("group 0 has 30 rows in it, and group 101 has 23"), "{error}");
    assert_eq!(check(&files).problems.len(), 1);
    // As many rows, of 7, 8, 7 and 8, with the first two of one group in the other order.
    let files = changed(&corpus, &split, "101", |files, first| {
        let second = format!("{}/1010", first.rsplit_once('/').unwrap().0);
        let (one, two) = (files[first].clone(), files[&second].clone());
        files.insert(first.to_owned(), two);
        files.insert(second, one);
    });
    let error = corpus.count(&files).unwrap_err();
    assert!(matches!(error, SourceError::Unsupported { .. }), "{error}");
    assert!(error.to_string().contains("cut into files at different rows"), "{error}");
}

#[test]
fn what_the_footer_says_is_checked() {
    let corpus = corpus("two.plain");
    let table: [(Layout, bool, &str); 7] = [
        (
            Layout { change: |texts| texts[1].value = Some("99|31|0".to_owned()), ..Layout::PLAIN },
            true,
            "row groups are not",
        ),
        (
            Layout { change: |texts| texts[1].value = Some("99|30|0;9|1|30".to_owned()), ..Layout::PLAIN },
            true,
            "fewer row groups",
        ),
        (
            Layout { change: |texts| texts[1].value = Some("99|30".to_owned()), ..Layout::PLAIN },
            true,
            "row groups are not",
        ),
        (
            Layout { change: |texts| texts[0].value = Some("0,1;99".to_owned()), ..Layout::PLAIN },
            true,
            "none of the groups",
        ),
        (Layout { change: |texts| texts[0].value = Some("0,x".to_owned()), ..Layout::PLAIN }, true, "cannot be read"),
        (
            Layout { change: |texts| texts[2].value = Some("2.0.0".to_owned()), ..Layout::PLAIN },
            false,
            "only 1.0.0 is known",
        ),
        (Layout { change: |texts| drop(texts.remove(0)), ..Layout::PLAIN }, false, "has no `group_field_id_list`"),
    ];
    for (layout, is_damaged, said) in table {
        let files = pack(&corpus.files, &layout);
        let error = corpus.count(&files).unwrap_err();
        assert_eq!(matches!(error, SourceError::Damaged { .. }), is_damaged, "{error}");
        assert!(is_damaged || matches!(error, SourceError::Unsupported { .. }), "{error}");
        assert!(error.to_string().contains(said), "{error}");
        // What is not understood is no fault of the file; it is not counted, either.
        let checked = check(&files);
        assert_eq!((checked.problems.is_empty(), checked.physical_rows), (!is_damaged, None), "{said}");
    }
}

#[test]
fn a_file_that_is_cut_off_encrypted_or_too_large_is_refused() {
    let corpus = corpus("two.plain");
    let with =
        |change: &Damage| changed(&corpus, &Layout::PLAIN, "0", |files, path| change(files.get_mut(path).unwrap()));
    let table: [(&Damage, &str); 5] = [
        (&|bytes: &mut Vec<u8>| bytes.truncate(bytes.len() - 1), "does not end as one"),
        (&|bytes: &mut Vec<u8>| bytes.truncate(5), "too short"),
        (
            &|bytes: &mut Vec<u8>| {
                let at = bytes.len() - 6;
                bytes[at] = 0xff;
            },
            "beyond the limits",
        ),
        (
            &|bytes: &mut Vec<u8>| {
                let at = bytes.len() - 12;
                bytes[at - 40..at].fill(0xff);
            },
            "its footer",
        ),
        (
            &|bytes: &mut Vec<u8>| {
                bytes.drain(4..12);
            },
            "",
        ),
    ];
    for (change, said) in table {
        let files = with(change);
        let error = corpus.count(&files).unwrap_err();
        assert!(matches!(error, SourceError::Damaged { .. }) && error.to_string().contains(said), "{error}");
        assert_eq!(check(&files).problems.len(), 1, "{said}");
    }
    let encrypted = with(&|bytes| {
        let end = bytes.len() - 4;
        bytes[..4].copy_from_slice(b"PARE");
        bytes[end..].copy_from_slice(b"PARE");
    });
    let error = corpus.count(&encrypted).unwrap_err();
    assert!(matches!(error, SourceError::Unsupported { .. }) && error.to_string().contains("encrypted"), "{error}");
    assert_eq!((check(&encrypted).problems, check(&encrypted).physical_rows), (vec![], None));
    let mut whole = stored(&pack(&corpus.files, &Layout::PLAIN));
    whole.retain(|file| file.class == FileClass::Segment);
    for limits in [
        Limits { parquet_footer_bytes: 10, ..Limits::DEFAULT },
        Limits { segment_rows: 29, ..Limits::DEFAULT },
        Limits { binlog_bytes: 60, ..Limits::DEFAULT },
        Limits { binlog_plain_bytes: 60, ..Limits::DEFAULT },
    ] {
        let error = corpus.count_within(&whole, &limits).unwrap_err();
        let is_footer = error.to_string().contains("footer");
        assert!(is_footer || matches!(error, SourceError::LimitExceeded { .. }), "{error}");
    }
}

#[test]
fn bytes_that_cannot_be_read_are_no_damage() {
    let corpus = corpus("two.plain");
    let mut files = stored(&pack(&corpus.files, &Layout::PLAIN));
    for file in files.iter_mut().filter(|file| file.class == FileClass::Segment) {
        let mut bytes = vec![0; usize::try_from(file.size_bytes).unwrap()];
        file.bytes.fill(&mut bytes, 0).unwrap();
        file.bytes = Arc::new(Failing(bytes));
    }
    let error = corpus.count_within(&files, &Limits::DEFAULT).unwrap_err();
    assert!(matches!(error, SourceError::Io { .. }), "{error}");
}

/// Three rows and then two, the latter with a field that was added meanwhile.
fn grown(is_nullable: bool, of_the_first: Option<ArrayRef>) -> (Collection, Files) {
    let field = |field_id: i64, name: &str, data_type: DataType| FieldSchema {
        field_id,
        name: name.to_owned(),
        data_type: data_type.into(),
        ..FieldSchema::default()
    };
    let mut fields = vec![field(100, "id", DataType::Int64), field(101, "text", DataType::VarChar)];
    (fields[0].is_primary_key, fields[1].nullable) = (true, is_nullable);
    fields.push(FieldSchema { nullable: true, ..field(102, "vector", DataType::FloatVector) });
    let schema = CollectionSchema { fields, ..CollectionSchema::default() };
    let numbers = |from: i64, rows: i64| -> ArrayRef { Arc::new(Int64Array::from_iter_values(from..from + rows)) };
    let vectors = |rows: usize| -> ArrayRef {
        Arc::new(BinaryArray::from_iter((0..rows).map(|row| (row != 1).then_some([7_u8; 8]))))
    };
    let texts: ArrayRef = Arc::new(StringArray::from(vec![Some("new"), None]));
    let own = |from: i64, rows: i64| vec![(0, numbers(from, rows)), (1, numbers(5, rows)), (100, numbers(from, rows))];
    let mut files = Files::new();
    for (log, mut columns, text, rows) in [(1, own(0, 3), of_the_first, 3), (2, own(3, 2), Some(texts), 2)] {
        columns.extend(text.map(|text| (101, text)));
        let groups = [columns.iter().map(|(field, _)| *field).collect(), vec![102]];
        let write = |columns: &[(i64, ArrayRef)], group| write(columns, groups.iter(), &Layout::PLAIN, group);
        files.insert(format!("insert_log/8/9/0/{log}"), write(&columns, 0));
        files.insert(format!("insert_log/8/9/102/{log}"), write(&[(102, vectors(rows))], 102));
    }
    let point = serde_json::json!({"partitions": [{"partitionId": 8, "name": "p"}]});
    let (schema, point) = (RowSchema::of(&schema, "it").unwrap(), KeptPoint::read(&point, "it").unwrap());
    (Collection { schema, point, files: files.clone() }, files)
}

#[test]
fn rows_from_before_a_field_was_added_have_no_value_of_it() {
    let (corpus, files) = grown(true, None);
    let found = corpus.count(&files).unwrap();
    assert_eq!((found.physical, found.live.rows), (5, 5));
    let none: ArrayRef = Arc::new(StringArray::from(vec![None::<&str>; 3]));
    let (corpus, written) = grown(true, Some(none));
    assert_eq!(corpus.count(&written).unwrap(), found, "as if it had been written");
    let some: ArrayRef = Arc::new(StringArray::from(vec![None, Some(""), None]));
    assert_ne!(corpus.count(&grown(true, Some(some)).1).unwrap(), found);
    let (corpus, files) = grown(false, None);
    assert!(corpus.refused(&files).contains("it lacks field 101"));
}

#[test]
fn deletes_in_such_a_file_hit_rows_like_those_in_older_ones() {
    let (corpus, mut files) = grown(true, None);
    let write_deletes = |keys: Vec<i64>, times: Vec<i64>| {
        let columns: [(i64, ArrayRef); 2] =
            [(0, Arc::new(Int64Array::from(keys))), (1, Arc::new(Int64Array::from(times)))];
        write(&columns, [vec![0, 1]].iter(), &Layout::PLAIN, 0)
    };
    // A row was written at 5 to 9.
    files.insert("delta_log/8/9/3".to_owned(), write_deletes(vec![0, 1, 99], vec![6, 6, 100]));
    let found = corpus.count(&files).unwrap();
    assert_eq!((found.physical, found.live.rows), (5, 4), "the row of key 1 is of the very time of its delete");
    assert_eq!(check(&files).problems, vec![]);
    let columns: [(i64, ArrayRef); 1] = [(0, Arc::new(Int64Array::from(vec![1])))];
    files.insert("delta_log/8/9/3".to_owned(), write(&columns, [vec![0]].iter(), &Layout::PLAIN, 0));
    assert!(corpus.refused(&files).contains("other columns than keys and timestamps"));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever is in a file: an answer or an error, never a panic.
    #[test]
    fn damaged_files_end_in_errors(
        which in any::<prop::sample::Index>(),
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        is_footer in any::<bool>(),
        cut in proptest::option::of(any::<prop::sample::Index>()),
    ) {
        let corpus = corpus("two.plain");
        let mut files = pack(&corpus.files, &Layout { files: 2, row_group: 4, ..Layout::PLAIN });
        let path = files.keys().nth(which.index(files.len())).unwrap().clone();
        let bytes = files.get_mut(&path).unwrap();
        let from = if is_footer { bytes.len() / 2 } else { 0 };
        for (place, byte) in changes {
            let place = from + place.index(bytes.len() - from);
            bytes[place] = byte;
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        let _ = corpus.count(&files);
        let checked = check(&files);
        prop_assert!(checked.problems.is_empty() || checked.physical_rows.is_none());
    }
}
