//! The framing of a binlog (`internal/storage/{binlog_writer,event_header,event_data}.go`): a magic number, one descriptor
//! event, then events whose payload is a Parquet file each. All numbers are little-endian.

use bytes::Bytes;

use super::{damaged, packed};
use crate::SourceError;

pub(super) const MAGIC: u32 = 0x00ff_fabc;
/// Timestamp, type, length of the event, place of the next one.
pub(super) const HEADER_BYTES: usize = 17;
/// Four numbers, two timestamps, the type of the payload.
pub(super) const FIXED_BYTES: usize = 52;
/// First and last timestamp of an event with a payload.
pub(super) const SPAN_BYTES: usize = 16;
/// Lengths of the fixed part of each of eight types of events.
pub(super) const POST_HEADER_BYTES: usize = 8;

pub(super) const DESCRIPTOR: u8 = 0;
pub(super) const INSERT: u8 = 1;
pub(super) const DELETE: u8 = 2;

/// What a binlog says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Descriptor {
    /// The collection it was written for.
    pub collection_id: i64,
    /// The partition.
    pub partition_id: i64,
    /// The segment.
    pub segment_id: i64,
    /// The field.
    pub field_id: i64,
    /// Number of Milvus' `DataType` of its values.
    pub data_type: i32,
}

/// A parsed binlog: every event stands where the one before says, and the last one ends with the file.
#[derive(Debug, Clone)]
pub struct Binlog {
    /// What it says of itself.
    pub descriptor: Descriptor,
    /// Payloads of its events, in order: a Parquet file each.
    pub payloads: Vec<Bytes>,
    /// Whether the events are deletes.
    pub is_deletes: bool,
    /// When it was written, by the clock of whoever did: milliseconds since 1970, 0 where it does not tell.
    pub written_ms: u64,
}

impl Binlog {
    /// Parses the framing; payloads are not looked into. `shown` is the file's path, for messages.
    ///
    /// # Errors
    /// [`SourceError::Damaged`], [`SourceError::Unsupported`].
    pub fn parse(bytes: &Bytes, shown: &str) -> Result<Self, SourceError> {
        if bytes.starts_with(packed::MAGIC) || bytes.starts_with(packed::ENCRYPTED_MAGIC) {
            let reason =
                "it is a file of several fields (storage version 2) where one of a single field is expected".to_owned();
            return Err(SourceError::Unsupported { path: shown.to_owned(), reason });
        }
        let mut cursor = Cursor { bytes, at: 0, shown };
        if cursor.u32()? != MAGIC {
            return Err(damaged(shown, "it does not begin like a binlog of Milvus"));
        }
        let header = cursor.header()?;
        if header.kind != DESCRIPTOR {
            return Err(damaged(shown, format!("its first event is of type {} and no descriptor", header.kind)));
        }
        let (descriptor, written_ms) = (cursor.descriptor(&header)?, header.timestamp >> 18);
        let (mut payloads, mut is_deletes) = (Vec::new(), false);
        while cursor.at < bytes.len() {
            let header = cursor.header()?;
            match header.kind {
                INSERT | DELETE => {}
                kind => return Err(damaged(shown, format!("an event of it is of type {kind}, which has no rows"))),
            }
            if !payloads.is_empty() && is_deletes != (header.kind == DELETE) {
                return Err(damaged(shown, "it holds inserts and deletes"));
            }
            is_deletes = header.kind == DELETE;
            let start = header.body.checked_add(SPAN_BYTES).filter(|start| *start <= header.end);
            let start = start.ok_or_else(|| damaged(shown, "an event of it is too short"))?;
            payloads.push(bytes.slice(start..header.end));
            cursor.at = header.end;
        }
        if payloads.is_empty() {
            return Err(damaged(shown, "it holds no event with rows"));
        }
        Ok(Self { descriptor, payloads, is_deletes, written_ms })
    }
}

/// A checked header: the event lies within the file.
struct Header {
    /// Hybrid; when the event was written.
    timestamp: u64,
    kind: u8,
    /// First byte after the header.
    body: usize,
    /// One past the last byte of the event.
    end: usize,
}

struct Cursor<'a> {
    bytes: &'a Bytes,
    at: usize,
    shown: &'a str,
}

impl Cursor<'_> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], SourceError> {
        let end = self.at.saturating_add(N);
        let piece = self.bytes.get(self.at..end).and_then(|piece| piece.try_into().ok());
        let piece = piece.ok_or_else(|| damaged(self.shown, "it ends in the middle of an event"))?;
        self.at = end;
        Ok(piece)
    }

    fn u32(&mut self) -> Result<u32, SourceError> {
        self.take().map(u32::from_le_bytes)
    }

    fn i64(&mut self) -> Result<i64, SourceError> {
        self.take().map(i64::from_le_bytes)
    }

    fn header(&mut self) -> Result<Header, SourceError> {
        let start = self.at;
        let timestamp = self.take().map(u64::from_le_bytes)?;
        let [kind] = self.take()?;
        let length = usize::try_from(self.u32()?).unwrap_or(usize::MAX);
        let next = usize::try_from(self.u32()?).unwrap_or(usize::MAX);
        let end = start.saturating_add(length);
        if length < HEADER_BYTES || end > self.bytes.len() {
            return Err(damaged(self.shown, format!("an event at byte {start} would be {length} bytes long")));
        }
        if next != end {
            return Err(damaged(
                self.shown,
                format!("an event that ends at byte {end} names {next} as the next one's place"),
            ));
        }
        Ok(Header { timestamp, kind, body: self.at, end })
    }

    fn descriptor(&mut self, header: &Header) -> Result<Descriptor, SourceError> {
        let (collection_id, partition_id) = (self.i64()?, self.i64()?);
        let (segment_id, field_id) = (self.i64()?, self.i64()?);
        let _span: [u8; SPAN_BYTES] = self.take()?;
        let data_type = self.take().map(i32::from_le_bytes)?;
        let _lengths: [u8; POST_HEADER_BYTES] = self.take()?;
        // Then a length and as many bytes of JSON, of which nothing is needed here.
        let extra = usize::try_from(self.u32()?).unwrap_or(usize::MAX);
        let expected = FIXED_BYTES + POST_HEADER_BYTES + 4;
        debug_assert_eq!(self.at, header.body + expected);
        if self.at.saturating_add(extra) != header.end {
            return Err(damaged(self.shown, "its descriptor is longer or shorter than it says"));
        }
        self.at = header.end;
        Ok(Descriptor { collection_id, partition_id, segment_id, field_id, data_type })
    }
}
