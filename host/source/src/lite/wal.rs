//! Reads the framing of a write-ahead log file: an Arrow IPC stream of uncompressed record batches
//! (<https://arrow.apache.org/docs/format/Columnar.html#ipc-streaming-format>), as Milvus Lite's `storage/wal.py`
//! writes it.
//!
//! A file is only ever appended to, so an incomplete batch at its end is one that is being written, or was when its
//! writer died: it does not count. Anything else that does not fit is [`SourceError::Damaged`]: Milvus Lite would stop
//! reading there and silently lose what follows.
//!
//! Every number in a file is checked before it is used; no length leads to an allocation that is larger than the file.

use arrow_ipc::{Endianness, Field, Message, MessageHeader, RecordBatch, Type, root_as_message};

use crate::disk::ReadAt;
use crate::{Limits, SourceError};

/// Starts every message of the stream.
const CONTINUATION: u32 = u32::MAX;
/// Bytes of the sequence column that are looked at in one go.
const CHUNK_BYTES: u64 = 64 * 1024;

/// A column that this crate reads, by its place in every batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Column {
    node: usize,
    buffer: usize,
    kind: ColumnKind,
}

/// How a column that this crate reads is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ColumnKind {
    /// 64-bit integers.
    Integer,
    /// Text with 32-bit offsets.
    Text,
}

/// One complete batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Batch {
    /// Where its message starts.
    pub(crate) offset: u64,
    /// One past its last byte.
    pub(crate) end: u64,
    /// Its rows; never 0 when `last_sequence` counts.
    pub(crate) rows: u64,
    /// Smallest `_seq`; 0 without rows.
    pub(crate) first_sequence: u64,
    /// Largest `_seq`; 0 without rows.
    pub(crate) last_sequence: u64,
}

/// All complete messages of a file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Scan {
    /// One past the schema, where the first batch starts; 0 when not even the schema is complete.
    pub(crate) schema_end: u64,
    /// The batches, in order of place.
    pub(crate) batches: Vec<Batch>,
    /// Where the columns are that this crate reads; `None` when not even the schema is complete.
    pub(crate) columns: Option<Columns>,
}

/// The columns that this crate reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Columns {
    sequence: Column,
    key: Column,
}

/// A file and what is needed to read and name it.
#[derive(Clone, Copy)]
pub(crate) struct Reader<'a, F: ReadAt + ?Sized> {
    pub(crate) file: &'a F,
    /// Its path, for messages.
    pub(crate) shown: &'a str,
    pub(crate) limits: &'a Limits,
}

/// One message: where its body lies, and its description.
struct Frame {
    body: u64,
    end: u64,
    metadata: Vec<u8>,
}

impl<F: ReadAt + ?Sized> Reader<'_, F> {
    /// Lists the complete batches of the first `size_bytes` bytes. `key` is the name of the primary key.
    pub(crate) fn scan(&self, size_bytes: u64, key: &str) -> Result<Scan, SourceError> {
        let mut scan = Scan::default();
        let mut offset = 0;
        while let Some(frame) = self.frame(offset, size_bytes)? {
            let message = self.message(&frame.metadata, offset)?;
            match (message.header_type(), scan.columns) {
                (MessageHeader::Schema, None) => {
                    scan.columns = Some(self.columns(&message, key)?);
                    scan.schema_end = frame.end;
                }
                (MessageHeader::RecordBatch, Some(columns)) => {
                    let batch = self.batch(&message, &frame, offset, columns.sequence)?;
                    scan.batches.push(batch);
                    self.limit("the number of its batches", scan.batches.len() as u64, self.limits.wal_batches)?;
                }
                (other, _) => return Err(self.damaged(offset, &format!("a message of kind {other:?} is out of place"))),
            }
            offset = frame.end;
        }
        Ok(scan)
    }

    /// Calls `visit` with the key and sequence number of every row of a batch. Text keys come as their bytes.
    pub(crate) fn keys(
        &self,
        batch: &Batch,
        columns: Columns,
        visit: &mut dyn FnMut(Key<'_>, u64) -> Result<(), SourceError>,
    ) -> Result<(), SourceError> {
        // Batches are small compared with the file: one insert request. The whole body is needed for text keys anyway.
        let frame = self.frame(batch.offset, batch.end)?.ok_or_else(|| self.damaged(batch.offset, "it shrank"))?;
        let message = self.message(&frame.metadata, batch.offset)?;
        let wrong = |what: &str| self.damaged(batch.offset, what);
        let header = message.header_as_record_batch().ok_or_else(|| wrong("a batch became something else"))?;
        let key = columns.key;
        let sequences = self.buffer(&header, &frame, batch.offset, columns.sequence, 1)?;
        let values = self.buffer(&header, &frame, batch.offset, key, 1)?;
        let text = match key.kind {
            ColumnKind::Text => self.buffer(&header, &frame, batch.offset, key, 2)?,
            ColumnKind::Integer => Vec::new(),
        };
        let rows = usize::try_from(batch.rows).unwrap_or(usize::MAX);
        for row in 0..rows {
            let sequence = u64_at(&sequences, row).ok_or_else(|| wrong("its sequence numbers are cut short"))?;
            match key.kind {
                ColumnKind::Integer => {
                    let value = u64_at(&values, row).ok_or_else(|| wrong("its keys are cut short"))?;
                    visit(Key::Integer(value.cast_signed()), sequence)?;
                }
                ColumnKind::Text => {
                    let (start, end) = (u32_at(&values, row), u32_at(&values, row + 1));
                    let range = start.zip(end).and_then(|(start, end)| text.get(start as usize..end as usize));
                    visit(Key::Text(range.ok_or_else(|| wrong("its keys are cut short"))?), sequence)?;
                }
            }
        }
        Ok(())
    }

    /// The message at `offset`, or `None` at the end of the complete ones.
    fn frame(&self, offset: u64, size_bytes: u64) -> Result<Option<Frame>, SourceError> {
        let left = size_bytes.saturating_sub(offset);
        if left < 8 {
            return Ok(None);
        }
        let head = self.read(offset, 8)?;
        let (first, length) = (u32_at(&head, 0).unwrap_or(0), u32_at(&head, 1).unwrap_or(0));
        // End of the stream: either form of it. A file that the system grew but never filled reads as the old form.
        if first == 0 || (first == CONTINUATION && length == 0) {
            return if self.nothing_but_zeros(offset + 8, size_bytes)? {
                Ok(None)
            } else {
                Err(self.damaged(offset, "something follows after the end of the stream"))
            };
        }
        if first != CONTINUATION {
            return Err(self.damaged(offset, "no message starts where one should"));
        }
        let length = u64::from(length);
        self.limit("the description of a batch in bytes", length, self.limits.wal_metadata_bytes)?;
        if length > left - 8 {
            return Ok(None);
        }
        let metadata = self.read(offset + 8, length)?;
        let body_bytes = u64::try_from(self.message(&metadata, offset)?.bodyLength())
            .map_err(|_| self.damaged(offset, "the length of a batch is negative"))?;
        let body = offset + 8 + length;
        Ok((body_bytes <= size_bytes - body).then_some(Frame { body, end: body.saturating_add(body_bytes), metadata }))
    }

    fn message<'b>(&self, metadata: &'b [u8], offset: u64) -> Result<Message<'b>, SourceError> {
        root_as_message(metadata).map_err(|error| self.damaged(offset, &format!("a message cannot be read ({error})")))
    }

    /// The columns of the sequence number and of the primary key.
    fn columns(&self, message: &Message<'_>, key: &str) -> Result<Columns, SourceError> {
        let schema = message.header_as_schema().ok_or_else(|| self.damaged(0, "its schema cannot be read"))?;
        let fields = schema.fields().ok_or_else(|| self.damaged(0, "its schema has no fields"))?;
        if schema.endianness() != Endianness::Little {
            return Err(self.damaged(0, "its numbers are big-endian, which Milvus Lite never writes"));
        }
        let (mut node, mut buffer, mut sequence, mut primary) = (0, 0, None, None);
        for field in fields {
            let kind = match field.type_type() {
                Type::Int => field.type_as_int().filter(|int| int.bitWidth() == 64).map(|_| ColumnKind::Integer),
                Type::Utf8 => Some(ColumnKind::Text),
                _ => None,
            };
            let column = kind.map(|kind| Column { node, buffer, kind });
            match field.name() {
                Some("_seq") => sequence = column.filter(|column| column.kind == ColumnKind::Integer),
                Some(name) if name == key => primary = column,
                _ => {}
            }
            let (nodes, buffers) =
                width(&field).ok_or_else(|| self.damaged(0, "its schema has a column of an unknown type"))?;
            (node, buffer) = (node + nodes, buffer + buffers);
        }
        let sequence = sequence.ok_or_else(|| self.damaged(0, "it has no column `_seq` of 64-bit numbers"))?;
        let primary = primary.ok_or_else(|| self.damaged(0, "it has no usable column for the primary key"))?;
        Ok(Columns { sequence, key: primary })
    }

    fn batch(&self, message: &Message<'_>, frame: &Frame, offset: u64, sequence: Column) -> Result<Batch, SourceError> {
        let header = message.header_as_record_batch().ok_or_else(|| self.damaged(offset, "a batch cannot be read"))?;
        let rows = u64::try_from(header.length()).map_err(|_| self.damaged(offset, "it has fewer than no rows"))?;
        let (mut first_sequence, mut last_sequence) = (u64::MAX, 0);
        let (start, bytes) = self.extent(&header, frame, offset, sequence, 1)?;
        if bytes / 8 < rows {
            return Err(self.damaged(offset, "its sequence numbers are cut short"));
        }
        let mut at = start;
        let end = start + rows * 8;
        while at < end {
            let chunk = self.read(at, (end - at).min(CHUNK_BYTES))?;
            for value in chunk.chunks_exact(8) {
                let value = u64_at(value, 0).unwrap_or(0);
                (first_sequence, last_sequence) = (first_sequence.min(value), last_sequence.max(value));
            }
            at += chunk.len() as u64;
        }
        if rows == 0 {
            first_sequence = 0;
        }
        Ok(Batch { offset, end: frame.end, rows, first_sequence, last_sequence })
    }

    /// Place and length of one buffer of a column: 0 tells which rows are there, 1 holds numbers or offsets, 2 text.
    fn extent(
        &self,
        header: &RecordBatch<'_>,
        frame: &Frame,
        offset: u64,
        column: Column,
        which: usize,
    ) -> Result<(u64, u64), SourceError> {
        let wrong = |what: &str| self.damaged(offset, what);
        if header.compression().is_some() {
            return Err(wrong("a batch is compressed, which Milvus Lite never does"));
        }
        let node = header.nodes().filter(|nodes| column.node < nodes.len()).map(|nodes| *nodes.get(column.node));
        let node = node.ok_or_else(|| wrong("a batch lacks a column"))?;
        if node.length() != header.length() || node.null_count() != 0 {
            return Err(wrong("a column that is always there has gaps"));
        }
        let index = column.buffer + which;
        let buffer = header.buffers().filter(|buffers| index < buffers.len()).map(|buffers| *buffers.get(index));
        let buffer = buffer.ok_or_else(|| wrong("a batch lacks a column"))?;
        let range = u64::try_from(buffer.offset()).ok().zip(u64::try_from(buffer.length()).ok());
        let (start, length) = range.ok_or_else(|| wrong("a column has a negative place"))?;
        let fits = start.checked_add(length).is_some_and(|end| end <= frame.end - frame.body);
        if fits { Ok((frame.body + start, length)) } else { Err(wrong("a column reaches beyond its batch")) }
    }

    fn buffer(
        &self,
        header: &RecordBatch<'_>,
        frame: &Frame,
        offset: u64,
        column: Column,
        which: usize,
    ) -> Result<Vec<u8>, SourceError> {
        let (start, length) = self.extent(header, frame, offset, column, which)?;
        self.read(start, length)
    }

    fn nothing_but_zeros(&self, mut from: u64, to: u64) -> Result<bool, SourceError> {
        while from < to {
            let chunk = self.read(from, (to - from).min(CHUNK_BYTES))?;
            if chunk.iter().any(|byte| *byte != 0) {
                return Ok(false);
            }
            from += chunk.len() as u64;
        }
        Ok(true)
    }

    /// Reads bytes that are known to be inside of the file.
    fn read(&self, offset: u64, length: u64) -> Result<Vec<u8>, SourceError> {
        let mut bytes = vec![0; usize::try_from(length).unwrap_or(usize::MAX)];
        self.file.fill(&mut bytes, offset).map_err(|error| crate::disk::io_error("read", self.shown, error))?;
        Ok(bytes)
    }

    fn limit(&self, what: &'static str, used: u64, limit: u64) -> Result<(), SourceError> {
        if used > limit {
            return Err(SourceError::LimitExceeded { path: self.shown.to_owned(), what, used, limit });
        }
        Ok(())
    }

    fn damaged(&self, offset: u64, what: &str) -> SourceError {
        SourceError::Damaged { path: self.shown.to_owned(), reason: format!("{what}, at byte {offset}") }
    }
}

/// A primary key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Key<'a> {
    /// An int64 key.
    Integer(i64),
    /// The bytes of a varchar key.
    Text(&'a [u8]),
}

/// Number of nodes and buffers that a column takes in every batch; `None` for types Milvus Lite does not use.
fn width(field: &Field<'_>) -> Option<(usize, usize)> {
    if field.dictionary().is_some() {
        return None;
    }
    let own = match field.type_type() {
        Type::Null => 0,
        Type::FixedSizeList | Type::Struct_ => 1,
        Type::Int
        | Type::FloatingPoint
        | Type::Bool
        | Type::Timestamp
        | Type::Date
        | Type::Time
        | Type::Decimal
        | Type::FixedSizeBinary
        | Type::List
        | Type::LargeList
        | Type::Map => 2,
        Type::Utf8 | Type::Binary | Type::LargeUtf8 | Type::LargeBinary => 3,
        _ => return None,
    };
    let mut sum = (1, own);
    for child in field.children().into_iter().flatten() {
        let (nodes, buffers) = width(&child)?;
        sum = (sum.0 + nodes, sum.1 + buffers);
    }
    Some(sum)
}

fn u64_at(bytes: &[u8], index: usize) -> Option<u64> {
    let start = index.checked_mul(8)?;
    Some(u64::from_le_bytes(bytes.get(start..start + 8)?.try_into().ok()?))
}

fn u32_at(bytes: &[u8], index: usize) -> Option<u32> {
    let start = index.checked_mul(4)?;
    Some(u32::from_le_bytes(bytes.get(start..start + 4)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    fn sample(path: &str) -> Vec<u8> {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/sample-cluster/");
        std::fs::read(format!("{folder}{path}")).unwrap()
    }

    const LOGS: [(&str, &str); 4] = [
        ("collections/medium_articles/wal/wal_data_000006.arrow", "id"),
        ("collections/medium_articles/wal/wal_delta_000006.arrow", "id"),
        ("collections/python_manual/wal/wal_delta_000003.arrow", "section"),
        ("collections/recent_searches/wal/wal_data_000001.arrow", "id"),
    ];

    fn scan(bytes: &[u8], key: &str) -> Result<Scan, SourceError> {
        Reader { file: bytes, shown: "log", limits: &Limits::DEFAULT }.scan(bytes.len() as u64, key)
    }

    fn keys(bytes: &[u8], scan: &Scan) -> Result<Vec<(String, u64)>, SourceError> {
        let mut found = Vec::new();
        let reader = Reader { file: bytes, shown: "log", limits: &Limits::DEFAULT };
        for batch in &scan.batches {
            reader.keys(batch, scan.columns.unwrap(), &mut |key, sequence| {
                let key = match key {
                    Key::Integer(key) => key.to_string(),
                    Key::Text(key) => String::from_utf8_lossy(key).into_owned(),
                };
                found.push((key, sequence));
                Ok(())
            })?;
        }
        Ok(found)
    }

    #[test]
    fn real_logs_read_as_pyarrow_reads_them() {
        let read = |number: usize| {
            let (path, key) = LOGS[number];
            let bytes = sample(path);
            let scan = scan(&bytes, key).unwrap();
            assert_eq!(scan.batches.last().unwrap().end, bytes.len() as u64, "no end of stream: the writer was killed");
            keys(&bytes, &scan).unwrap()
        };
        assert_eq!(read(0).len(), 376);
        assert_eq!(read(1), [("1501".to_owned(), 1_522), ("1000".to_owned(), 1_522)]);
        assert_eq!(read(2), [("profile#11".to_owned(), 802)]);
        assert_eq!(read(3).first().zip(read(3).last()), Some((&("0".to_owned(), 1), &("99".to_owned(), 100))));
    }

    proptest! {
        #[test]
        fn a_cut_log_gives_the_complete_batches_before_the_cut(log in 0..LOGS.len(), cut: prop::sample::Index) {
            let bytes = sample(LOGS[log].0);
            let whole = scan(&bytes, LOGS[log].1).unwrap();
            let cut = cut.index(bytes.len() + 1);
            let part = scan(&bytes[..cut], LOGS[log].1).unwrap();
            let complete: Vec<_> = whole.batches.iter().filter(|batch| batch.end <= cut as u64).copied().collect();
            prop_assert_eq!(part.batches, complete);
        }

        #[test]
        fn changed_bytes_give_batches_or_an_error_and_never_a_panic(
            log in 0..LOGS.len(),
            changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
            in_the_schema: bool,
        ) {
            let mut bytes = sample(LOGS[log].0);
            let key = LOGS[log].1;
            let whole = scan(&bytes, key).unwrap();
            let end = if in_the_schema { usize::try_from(whole.schema_end).unwrap() + 600 } else { bytes.len() };
            for (place, value) in changes {
                let place = place.index(end.min(bytes.len()));
                bytes[place] = value;
            }
            if let Ok(scan) = scan(&bytes, key) {
                prop_assert!(scan.batches.iter().all(|batch| batch.end <= bytes.len() as u64));
                let _ = keys(&bytes, &scan);
            }
        }

        #[test]
        fn any_bytes_at_all_are_read_without_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = scan(&bytes, "id");
            let _ = scan(&[&[0xff; 4], bytes.as_slice()].concat(), "id");
        }
    }
}
