//! Writes rows that a server wrote, one field in each file, as files of storage version 2: several fields in each, with all that
//! Milvus 2.6 writes into them (milvus-storage `cpp/src/packed/writer.cpp`, `cpp/src/format/parquet/parquet_writer.cpp`).
#![allow(dead_code, clippy::unwrap_used)]

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use arrow_array::{Array, ArrayRef, RecordBatch};
use arrow_schema::{DataType, Field, Schema};
use longshore_source::milvus::{Binlog, LogPath};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::arrow::arrow_writer::{ArrowWriter, ArrowWriterOptions};
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::metadata::KeyValue;
use parquet::file::properties::WriterProperties;
use parquet::schema::types::ColumnPath;

/// How rows are laid out.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Layout {
    /// Which fields have a group of their own; the others are in the first one.
    pub(crate) is_alone: fn(i64) -> bool,
    /// Files of each group that rows are spread over.
    pub(crate) files: usize,
    /// Rows in a row group of the first group; of the others it is one more.
    pub(crate) row_group: usize,
    /// Changes the texts of the footer.
    pub(crate) change: fn(&mut Vec<KeyValue>),
}

impl Layout {
    pub(crate) const PLAIN: Self =
        Self { is_alone: |field| field == 101 || field > 103, files: 1, row_group: 1 << 20, change: |_| {} };
}

/// The same files, with rows in groups of fields.
pub(crate) fn pack(files: &BTreeMap<String, Vec<u8>>, layout: &Layout) -> BTreeMap<String, Vec<u8>> {
    let mut packed = BTreeMap::new();
    let mut segments: BTreeMap<(i64, i64), BTreeMap<i64, BTreeMap<i64, ArrayRef>>> = BTreeMap::new();
    for (path, bytes) in files {
        let log = LogPath::parse(path).unwrap();
        match log.field_id {
            None => {
                packed.insert(path.clone(), bytes.clone());
            }
            Some(field) => {
                let segment = segments.entry((log.partition_id, log.segment_id)).or_default();
                segment.entry(field).or_default().insert(log.log_id, values(bytes));
            }
        }
    }
    for ((partition, segment), fields) in segments {
        let mut groups: BTreeMap<i64, Vec<i64>> = BTreeMap::new();
        for field in fields.keys() {
            groups.entry(if (layout.is_alone)(*field) { *field } else { 0 }).or_default().push(*field);
        }
        for (group, members) in &groups {
            // One file after the other, each cut into as many as are wanted.
            for log in 0..fields[&0].len() {
                let columns: Vec<(i64, ArrayRef)> =
                    members.iter().map(|field| (*field, fields[field].values().nth(log).unwrap().clone())).collect();
                let rows = columns[0].1.len();
                for file in 0..layout.files {
                    let (from, to) = (rows * file / layout.files, rows * (file + 1) / layout.files);
                    let piece: Vec<(i64, ArrayRef)> =
                        columns.iter().map(|(field, column)| (*field, column.slice(from, to - from))).collect();
                    let path = format!("insert_log/{partition}/{segment}/{group}/{}", 1000 + 100 * log + 10 * file);
                    packed.insert(path, write(&piece, groups.values(), layout, *group));
                }
            }
        }
    }
    packed
}

fn values(bytes: &[u8]) -> ArrayRef {
    let binlog = Binlog::parse(&bytes.to_vec().into(), "log").unwrap();
    let [payload] = binlog.payloads.as_slice() else { panic!("{} payloads", binlog.payloads.len()) };
    let reader = ParquetRecordBatchReaderBuilder::try_new(payload.clone()).unwrap().with_batch_size(1 << 20);
    let batches: Vec<RecordBatch> = reader.build().unwrap().map(Result::unwrap).collect();
    let [batch] = batches.as_slice() else { panic!("{} batches", batches.len()) };
    batch.column(0).clone()
}

/// One file: columns by number of field, of these groups.
pub(crate) fn write<'a>(
    columns: &[(i64, ArrayRef)],
    groups: impl Iterator<Item = &'a Vec<i64>>,
    layout: &Layout,
    group: i64,
) -> Vec<u8> {
    let field = |(number, column): &(i64, ArrayRef)| {
        let id = HashMap::from([("PARQUET:field_id".to_owned(), number.to_string())]);
        Field::new(format!("name of {number}"), column.data_type().clone(), column.null_count() > 0).with_metadata(id)
    };
    let schema = Arc::new(Schema::new(columns.iter().map(field).collect::<Vec<_>>()));
    let rows = columns[0].1.len();
    let in_group = layout.row_group + usize::from(group > 0);
    let told: Vec<String> =
        (0..rows).step_by(in_group).map(|first| format!("99|{}|{first}", in_group.min(rows - first))).collect();
    let numbers = |group: &Vec<i64>| group.iter().map(i64::to_string).collect::<Vec<_>>().join(",");
    let groups: Vec<String> = groups.map(numbers).collect();
    let mut texts = vec![
        KeyValue::new("group_field_id_list".to_owned(), groups.join(";")),
        KeyValue::new("row_group_metadata".to_owned(), told.join(";")),
        KeyValue::new("storage_version".to_owned(), "1.0.0".to_owned()),
    ];
    (layout.change)(&mut texts);
    let mut properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(3).unwrap()))
        .set_max_row_group_row_count(Some(in_group))
        .set_key_value_metadata(Some(texts));
    for field in schema.fields().iter().filter(|field| matches!(field.data_type(), DataType::FixedSizeBinary(_))) {
        let column = ColumnPath::from(vec![field.name().clone()]);
        properties = properties.set_column_compression(column, Compression::UNCOMPRESSED);
    }
    let options = ArrowWriterOptions::new().with_properties(properties.build()).with_skip_arrow_metadata(true);
    let mut bytes = Vec::new();
    let mut writer = ArrowWriter::try_new_with_options(&mut bytes, Arc::clone(&schema), options).unwrap();
    writer
        .write(&RecordBatch::try_new(schema, columns.iter().map(|(_, column)| column.clone()).collect()).unwrap())
        .unwrap();
    writer.close().unwrap();
    bytes
}
