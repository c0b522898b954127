//! Reads two columns of a Parquet file: the primary key and the sequence number of every row.
//!
//! Below Arrow: of thousands of small files, describing all columns as Arrow has them costs more than reading these two.
//! Failure: a sentence part about what is wrong with the file, or the error of whoever takes the rows.

use std::sync::Arc;

use parquet::basic::{ConvertedType, LogicalType, Type};
use parquet::column::reader::{ColumnReader, ColumnReaderImpl, get_typed_column_reader};
use parquet::data_type::{ByteArrayType, DataType, Int64Type};
use parquet::errors::ParquetError;
use parquet::file::metadata::ParquetMetaData;
use parquet::file::metadata::page_index::RowGroupPageIndex;
use parquet::file::properties::ReaderProperties;
use parquet::file::reader::{ChunkReader, RowGroupReader};
use parquet::file::serialized_reader::SerializedRowGroupReader;
use parquet::schema::types::{ColumnDescriptor, SchemaDescriptor};

use super::wal::Key;
use crate::SourceError;

/// Rows that are read at once.
const PIECE_ROWS: usize = 8192;

/// Why rows could not be read.
pub(crate) enum Failure {
    /// What is wrong with the file.
    Damaged(String),
    /// What the one who takes the rows said.
    Visitor(SourceError),
}

impl From<ParquetError> for Failure {
    fn from(error: ParquetError) -> Self {
        Self::Damaged(error.to_string())
    }
}

/// Takes the key and the sequence number of a row.
pub(crate) type Visit<'a> = &'a mut dyn FnMut(Key<'_>, u64) -> Result<(), SourceError>;

/// Calls `visit` for every row of a file with this footer.
pub(crate) fn read(
    input: impl ChunkReader + 'static,
    footer: &ParquetMetaData,
    key: &str,
    visit: Visit<'_>,
) -> Result<(), Failure> {
    let schema = footer.file_metadata().schema_descr();
    let (Some(sequence), Some(key_place)) = (column(schema, "_seq"), column(schema, key)) else {
        return Err(Failure::Damaged(format!("it has no columns `_seq` and `{key}`")));
    };
    if !is_unsigned(&schema.column(sequence)) {
        return Err(Failure::Damaged("`_seq` does not hold unsigned 64-bit numbers".to_owned()));
    }
    let (input, properties) = (Arc::new(input), Arc::new(ReaderProperties::builder().build()));
    for (place, group) in footer.row_groups().iter().enumerate() {
        let index = RowGroupPageIndex::new(place, None);
        let group = SerializedRowGroupReader::new(Arc::clone(&input), group, index, Arc::clone(&properties))?;
        let sequences = Column::<Int64Type>::of(group.get_column_reader(sequence)?, "_seq");
        let keys = group.get_column_reader(key_place)?;
        let rows = usize::try_from(group.metadata().num_rows()).unwrap_or(usize::MAX);
        match key_type(&schema.column(key_place), key)? {
            KeyType::Integer => {
                let keys = Column::<Int64Type>::of(keys, key);
                group_rows(rows, sequences, keys, |key| Some(Key::Integer(*key)), visit)?;
            }
            KeyType::Text => {
                let keys = Column::<ByteArrayType>::of(keys, key);
                group_rows(rows, sequences, keys, |key| Some(Key::Text(key.as_utf8().ok()?.as_bytes())), visit)?;
            }
        }
    }
    Ok(())
}

/// The place of a column that is no part of another.
fn column(schema: &SchemaDescriptor, name: &str) -> Option<usize> {
    schema.columns().iter().position(|column| column.path().parts() == [name])
}

fn is_unsigned(column: &ColumnDescriptor) -> bool {
    let is_unsigned = match column.logical_type_ref() {
        Some(LogicalType::Integer(integer)) => integer.bit_width == 64 && !integer.is_signed,
        Some(_) => false,
        None => column.converted_type() == ConvertedType::UINT_64,
    };
    column.physical_type() == Type::INT64 && column.max_rep_level() == 0 && is_unsigned
}

enum KeyType {
    Integer,
    Text,
}

fn key_type(column: &ColumnDescriptor, name: &str) -> Result<KeyType, Failure> {
    let (logical, converted) = (column.logical_type_ref(), column.converted_type());
    let is_integer = match logical {
        Some(LogicalType::Integer(integer)) => integer.bit_width == 64 && integer.is_signed,
        Some(_) => false,
        None => matches!(converted, ConvertedType::NONE | ConvertedType::INT_64),
    };
    let is_text = match logical {
        Some(LogicalType::String) => true,
        Some(_) => false,
        None => converted == ConvertedType::UTF8,
    };
    match column.physical_type() {
        Type::INT64 if is_integer && column.max_rep_level() == 0 => Ok(KeyType::Integer),
        Type::BYTE_ARRAY if is_text && column.max_rep_level() == 0 => Ok(KeyType::Text),
        other => {
            let kind = logical.map_or_else(|| format!("{other} ({converted})"), |logical| format!("{logical:?}"));
            Err(Failure::Damaged(format!("`{name}` is of type {kind}, which is no primary key of Milvus")))
        }
    }
}

/// A column of which no value may be missing, some values at a time.
struct Column<'a, T: DataType> {
    reader: ColumnReaderImpl<T>,
    name: &'a str,
    values: Vec<T::T>,
    levels: Vec<i16>,
}

impl<'a, T: DataType> Column<'a, T> {
    /// `reader` is of this type: the caller has looked.
    fn of(reader: ColumnReader, name: &'a str) -> Self {
        Self { reader: get_typed_column_reader(reader), name, values: Vec::new(), levels: Vec::new() }
    }

    /// Reads up to so many rows; fewer at the end of the group alone.
    fn fill(&mut self, rows: usize) -> Result<(), Failure> {
        self.values.clear();
        while self.values.len() < rows {
            self.levels.clear();
            let wanted = rows - self.values.len();
            let (records, values, _) =
                self.reader.read_records(wanted, Some(&mut self.levels), None, &mut self.values)?;
            if values != records {
                return Err(Failure::Damaged(format!("`{}` has gaps", self.name)));
            }
            if records == 0 {
                break;
            }
        }
        Ok(())
    }
}

/// Calls `visit` for each of the `rows` rows of a group. `as_key` has none for text that is no UTF-8.
fn group_rows<T: DataType>(
    rows: usize,
    mut sequences: Column<'_, Int64Type>,
    mut keys: Column<'_, T>,
    as_key: fn(&T::T) -> Option<Key<'_>>,
    visit: Visit<'_>,
) -> Result<(), Failure> {
    let mut left = rows;
    while left > 0 {
        let wanted = left.min(PIECE_ROWS);
        sequences.fill(wanted)?;
        keys.fill(wanted)?;
        if sequences.values.len() != wanted || keys.values.len() != wanted {
            return Err(Failure::Damaged(format!("it has fewer rows than the {rows} that its footer promises")));
        }
        for (key, sequence) in keys.values.iter().zip(&sequences.values) {
            let not_text = || Failure::Damaged(format!("`{}` holds text that is not UTF-8", keys.name));
            visit(as_key(key).ok_or_else(not_text)?, sequence.cast_unsigned()).map_err(Failure::Visitor)?;
        }
        left -= wanted;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use bytes::Bytes;
    use parquet::data_type::ByteArray;
    use parquet::file::reader::{FileReader, SerializedFileReader};
    use parquet::file::writer::SerializedFileWriter;
    use parquet::schema::parser::parse_message_type;

    use super::*;

    /// The rows that are read of a file with these sequence numbers and keys, or what is wrong with it. A key that is `None`
    /// is missing.
    fn rows(keys: &[Option<&[u8]>]) -> Result<Vec<(Vec<u8>, u64)>, String> {
        let message = "message m { optional int64 _seq (INTEGER(64,false)); optional binary id (STRING); }";
        let schema = Arc::new(parse_message_type(message).unwrap());
        let mut writer = SerializedFileWriter::new(Vec::new(), schema, Arc::default()).unwrap();
        let mut group = writer.next_row_group().unwrap();
        let mut column = group.next_column().unwrap().unwrap();
        let sequences: Vec<i64> = (1..).take(keys.len()).collect();
        column.typed::<Int64Type>().write_batch(&sequences, Some(&vec![1; keys.len()]), None).unwrap();
        column.close().unwrap();
        let mut column = group.next_column().unwrap().unwrap();
        let values: Vec<ByteArray> = keys.iter().flatten().map(|key| key.to_vec().into()).collect();
        let levels: Vec<i16> = keys.iter().map(|key| i16::from(key.is_some())).collect();
        column.typed::<ByteArrayType>().write_batch(&values, Some(&levels), None).unwrap();
        column.close().unwrap();
        group.close().unwrap();
        let bytes = Bytes::from(writer.into_inner().unwrap());
        let footer = SerializedFileReader::new(bytes.clone()).unwrap().metadata().clone();
        let mut found = Vec::new();
        let read = read(bytes, &footer, "id", &mut |key, sequence| {
            let Key::Text(key) = key else { return Ok(()) };
            found.push((key.to_vec(), sequence));
            Ok(())
        });
        match read {
            Ok(()) => Ok(found),
            Err(Failure::Damaged(reason)) => Err(reason),
            Err(Failure::Visitor(error)) => Err(error.to_string()),
        }
    }

    #[test]
    fn every_row_is_read_and_a_key_that_is_missing_or_no_text_is_damage() {
        let many: Vec<String> = (0..20_000).map(|number| format!("key {number}")).collect();
        let found = rows(&many.iter().map(|key| Some(key.as_bytes())).collect::<Vec<_>>()).unwrap();
        let expected: Vec<(Vec<u8>, u64)> = many.into_iter().map(String::into_bytes).zip(1..).collect();
        assert!(found == expected, "{} rows", found.len());
        assert_eq!(rows(&[Some(b"a"), None, Some(b"b")]).unwrap_err(), "`id` has gaps");
        assert_eq!(rows(&[Some(b"a"), Some(b"\xff")]).unwrap_err(), "`id` holds text that is not UTF-8");
    }
}
