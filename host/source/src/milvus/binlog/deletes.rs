//! Deletes: which keys were deleted, and when (`internal/storage/{delta_data,data_codec}.go`).
//!
//! Four forms are read, and told apart by what they are (`features.rs` says which server writes which): a JSON text
//! `{"pk":…,"ts":…,"pkType":…}` for each delete, `key,timestamp`, a Parquet file with two columns `pk` and `ts`, and a file of
//! storage version 2 with the fields 0 and 1 (`NewDeltalogWriter` of Milvus `internal/storage/rw.go`; it is rare: beside rows of
//! storage version 2 servers write the first form, because their own imports read no other, milvus-backup
//! `core/l0compact/task.go`).

use arrow_array::{Array, ArrayRef};
use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::latest::Latest;
use super::values::{batches, each_value};
use super::write::delete_log;
use super::{Binlog, LogFile, PackedFile, damaged};
use crate::milvus::layout::{ROW_ID_FIELD, TIMESTAMP_FIELD};
use crate::{Limits, SourceError};

/// The last time each key was deleted.
#[derive(Debug, Default, Clone)]
pub(crate) struct Deletes {
    /// By 64-bit key, or by 16 bytes of the BLAKE3 of a text key: two of a billion are the same with a probability of
    /// 10^-21.
    integers: Latest<i64>,
    texts: Latest<[u8; 16]>,
    /// All that were read, repeated ones included.
    pub(crate) count: u64,
    /// Whether some did not count, because they are after the cut.
    pub(crate) has_later: bool,
}

#[derive(Deserialize)]
struct Delete<'a> {
    #[serde(borrow)]
    pk: &'a RawValue,
    ts: u64,
    #[serde(rename = "pkType", default)]
    key_type: i32,
}

/// Number of Milvus' `DataType` for 64-bit keys.
const INT64: i32 = 5;

impl Deletes {
    /// Whether a row with this key, written at `timestamp`, is deleted. A row of the very time of a delete stays: that is
    /// what an upsert writes (`isDeletedValue` of `internal/datanode/compactor.go`).
    ///
    /// `key` is in the form in which [`Values`](super::Values) gives it.
    pub(crate) fn hide(&self, key: &[u8], is_text: bool, timestamp: u64) -> bool {
        let deleted = if is_text {
            self.texts.get(&short(key))
        } else {
            <[u8; 8]>::try_from(key).ok().and_then(|key| self.integers.get(&i64::from_le_bytes(key)))
        };
        deleted.is_some_and(|deleted| timestamp < deleted)
    }

    /// True when nothing is deleted.
    pub(crate) fn is_empty(&self) -> bool {
        self.count == 0
    }

    fn note_integer(&mut self, key: i64, timestamp: u64) {
        self.integers.note(key, timestamp);
        self.count += 1;
    }

    fn note_text(&mut self, key: &[u8], timestamp: u64) {
        self.texts.note(short(key), timestamp);
        self.count += 1;
    }

    fn check(&mut self, shown: &str, limits: &Limits) -> Result<(), SourceError> {
        let limit = limits.count_memory_bytes;
        if self.integers.bytes() + self.texts.bytes() <= limit {
            return Ok(());
        }
        self.integers.settle();
        self.texts.settle();
        let used = self.integers.bytes() + self.texts.bytes();
        // With less room than that the next few deletes would have it sorted again, and again.
        if used > limit / 8 * 7 {
            let what = "the memory that its deletes take, in bytes";
            return Err(SourceError::LimitExceeded { path: shown.to_owned(), what, used, limit });
        }
        Ok(())
    }
}

fn short(key: &[u8]) -> [u8; 16] {
    let mut short = [0; 16];
    short.iter_mut().zip(blake3::hash(key).as_bytes()).for_each(|(to, from)| *to = *from);
    short
}

/// Reads the deletes of files; those after `cut` do not count. Blocks.
///
/// # Errors
/// [`SourceError::Damaged`], [`SourceError::LimitExceeded`], failures of reading.
pub(crate) fn read_deletes<'a>(
    files: impl IntoIterator<Item = &'a LogFile>,
    is_text: bool,
    cut: Option<u64>,
    limits: &Limits,
) -> Result<Deletes, SourceError> {
    let mut deletes = Deletes::default();
    for file in files {
        read_file(file, is_text, cut, limits, &mut deletes)?;
    }
    deletes.integers.settle();
    deletes.texts.settle();
    Ok(deletes)
}

fn read_file(
    file: &LogFile,
    is_text: bool,
    cut: Option<u64>,
    limits: &Limits,
    into: &mut Deletes,
) -> Result<(), SourceError> {
    let shown = &file.shown;
    let counts = |timestamp: u64| cut.is_none_or(|cut| timestamp <= cut);
    if file.is_packed()? {
        if PackedFile::open(file, limits)?.fields() != [ROW_ID_FIELD, TIMESTAMP_FIELD] {
            return Err(damaged(shown, "it has other columns than keys and timestamps"));
        }
        batches(&file.read(limits)?, shown, limits, &mut |columns, _| {
            let [keys, timestamps] = columns else { return Err(damaged(shown, "it has not two columns")) };
            note_columns(keys, timestamps, shown, is_text, &counts, limits, into)
        })?;
        return Ok(());
    }
    let binlog = Binlog::parse(&file.read(limits)?, shown)?;
    if !binlog.is_deletes {
        return Err(damaged(shown, "it holds rows where deletes are expected"));
    }
    for payload in &binlog.payloads {
        batches(payload, shown, limits, &mut |columns, names| match columns {
            [texts] => each_value(texts, shown, &mut |text| {
                let text = text.and_then(|text| std::str::from_utf8(text).ok());
                let text = text.ok_or_else(|| damaged(shown, "a delete of it is no text"))?;
                let wrong = || damaged(shown, "a delete of it cannot be read");
                note(text, is_text, &counts, into).ok_or_else(wrong)?;
                into.check(shown, limits)
            }),
            columns => {
                let column = |wanted: &str| {
                    let place = names.iter().position(|name| name == wanted);
                    let found = place.and_then(|place| columns.get(place));
                    found.ok_or_else(|| damaged(shown, format!("it has no column `{wanted}`")))
                };
                note_columns(column("pk")?, column("ts")?, shown, is_text, &counts, limits, into)
            }
        })?;
    }
    Ok(())
}

/// Adds the deletes of a column of keys and one of timestamps.
fn note_columns(
    keys: &ArrayRef,
    timestamps: &ArrayRef,
    shown: &str,
    is_text: bool,
    counts: &dyn Fn(u64) -> bool,
    limits: &Limits,
    into: &mut Deletes,
) -> Result<(), SourceError> {
    if keys.null_count() + timestamps.null_count() > 0 {
        return Err(damaged(shown, "keys or timestamps of it are missing"));
    }
    let mut times = Vec::new();
    each_value(timestamps, shown, &mut |value| {
        let value = value.and_then(|value| value.try_into().ok()).map(u64::from_le_bytes);
        times.push(value.ok_or_else(|| damaged(shown, "its timestamps are no 64-bit numbers"))?);
        Ok(())
    })?;
    let mut times = times.into_iter();
    each_value(keys, shown, &mut |key| {
        let (Some(key), Some(timestamp)) = (key, times.next()) else { return Ok(()) };
        match (counts(timestamp), is_text, <[u8; 8]>::try_from(key)) {
            (false, ..) => into.has_later = true,
            (true, true, _) => into.note_text(key, timestamp),
            (true, false, Ok(key)) => into.note_integer(i64::from_le_bytes(key), timestamp),
            (true, false, Err(_)) => return Err(damaged(shown, "its keys are no 64-bit numbers")),
        }
        into.check(shown, limits)
    })
}

/// A log of deletes without those after `cut`; `None` where none is left.
///
/// # Errors
/// As [`read_deletes`]; [`SourceError::Unsupported`] for a log with a column of timestamps.
pub(crate) fn without_later(
    bytes: &Bytes,
    shown: &str,
    cut: u64,
    limits: &Limits,
) -> Result<Option<Vec<u8>>, SourceError> {
    let binlog = Binlog::parse(bytes, shown)?;
    if !binlog.is_deletes {
        return Err(damaged(shown, "it holds rows where deletes are expected"));
    }
    let mut kept: Vec<(u64, String)> = Vec::new();
    for payload in &binlog.payloads {
        batches(payload, shown, limits, &mut |columns, _| {
            let [texts] = columns else {
                let reason = "deletes later than the point stand in it, and this version cannot leave them out of a \
                              Parquet file of keys and timestamps"
                    .to_owned();
                return Err(SourceError::Unsupported { path: shown.to_owned(), reason });
            };
            each_value(texts, shown, &mut |text| {
                let text = text.and_then(|text| std::str::from_utf8(text).ok());
                let timed = text.and_then(|text| Some((timestamp_of(text)?, text)));
                let (timestamp, text) = timed.ok_or_else(|| damaged(shown, "a delete of it cannot be read"))?;
                if timestamp <= cut {
                    kept.push((timestamp, text.to_owned()));
                }
                Ok(())
            })
        })?;
    }
    let times = kept.iter().map(|(timestamp, _)| *timestamp);
    let Some(span) = times.clone().min().zip(times.max()) else { return Ok(None) };
    let written = delete_log(&binlog.descriptor, span.into(), kept.iter().map(|(_, text)| text));
    match written {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) => Err(damaged(shown, format!("it cannot be written without its later deletes: {error:?}"))),
    }
}

/// When the delete was that a text is.
fn timestamp_of(text: &str) -> Option<u64> {
    if text.starts_with('{') {
        return serde_json::from_str::<Delete<'_>>(text).ok().map(|delete| delete.ts);
    }
    text.rsplit_once(',')?.1.parse().ok()
}

/// Adds one delete; `None` when it cannot be read.
fn note(text: &str, is_text: bool, counts: &dyn Fn(u64) -> bool, into: &mut Deletes) -> Option<()> {
    if !text.starts_with('{') {
        let (key, timestamp) = text.rsplit_once(',')?;
        let (key, timestamp) = (key.parse().ok()?, timestamp.parse().ok()?);
        if counts(timestamp) {
            into.note_integer(key, timestamp);
        } else {
            into.has_later = true;
        }
        return (!is_text).then_some(());
    }
    let delete: Delete<'_> = serde_json::from_str(text).ok()?;
    if (delete.key_type != INT64) != is_text && delete.key_type != 0 {
        return None;
    }
    if is_text {
        let key: String = serde_json::from_str(delete.pk.get()).ok()?;
        if counts(delete.ts) {
            into.note_text(key.as_bytes(), delete.ts);
        } else {
            into.has_later = true;
        }
    } else {
        let key: i64 = delete.pk.get().parse().ok()?;
        if counts(delete.ts) {
            into.note_integer(key, delete.ts);
        } else {
            into.has_later = true;
        }
    }
    Some(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn file(bytes: Vec<u8>) -> LogFile {
        let size_bytes = bytes.len() as u64;
        LogFile { shown: "log".to_owned(), size_bytes, bytes: std::sync::Arc::new(Bytes::from(bytes)) }
    }

    #[test]
    fn a_log_is_written_again_without_its_later_deletes() {
        let (collection_id, partition_id, segment_id, field_id) = (1, -1, 3, 0);
        let descriptor = super::super::Descriptor { collection_id, partition_id, segment_id, field_id, data_type: 21 };
        let texts = [r#"{"pk":7,"ts":100,"pkType":5}"#, r#"{"pk":8,"ts":90,"pkType":5}"#, "9,110"];
        let bytes = delete_log(&descriptor, [90, 110], texts.iter()).unwrap();
        let cut_at = |cut| without_later(&bytes.clone().into(), "log", cut, &Limits::DEFAULT).unwrap();
        let whole = file(bytes.clone());
        let read = |log: &LogFile, cut| {
            let deletes = read_deletes([log], false, cut, &Limits::DEFAULT).unwrap();
            (deletes.count, deletes.has_later)
        };
        assert_eq!((read(&whole, None), read(&whole, Some(100))), ((3, false), (2, true)));
        let cut = cut_at(100).unwrap();
        let span = [&90_u64.to_le_bytes(), &100_u64.to_le_bytes()].map(|time| time.to_vec()).concat();
        assert_eq!(cut[4 + 17 + 32..][..16], span, "servers and backups look for times there");
        let parsed = Binlog::parse(&cut.clone().into(), "log").unwrap();
        assert_eq!((parsed.descriptor, parsed.is_deletes), (descriptor, true));
        assert_eq!((read(&file(cut.clone()), None), read(&file(cut), Some(100))), ((2, false), (2, false)));
        assert_eq!(cut_at(89), None);
    }

    #[test]
    fn deletes_hide_what_is_older_and_an_upsert_stays() {
        let mut deletes = Deletes::default();
        let all = |_: u64| true;
        for text in [r#"{"pk":7,"ts":100,"pkType":5}"#, r#"{"pk":7,"ts":90,"pkType":5}"#, "-9223372036854775808,5"] {
            note(text, false, &all, &mut deletes).unwrap();
        }
        deletes.integers.settle();
        let hidden = |key: i64, timestamp| deletes.hide(&key.to_le_bytes(), false, timestamp);
        assert!(hidden(7, 99) && !hidden(7, 100) && !hidden(7, 101) && !hidden(8, 1) && hidden(i64::MIN, 4));
        let mut deletes = Deletes::default();
        note(r#"{"pk":"a\"b","ts":18446744073709551615,"pkType":21}"#, true, &all, &mut deletes).unwrap();
        deletes.texts.settle();
        assert!(deletes.hide(b"a\"b", true, u64::MAX - 1) && !deletes.hide(b"a", true, 0));
        note(r#"{"pk":"late","ts":50,"pkType":21}"#, true, &|timestamp| timestamp < 50, &mut deletes).unwrap();
        assert!(!deletes.hide(b"late", true, 1) && deletes.has_later, "after the cut");
        for text in ["", "{}", r#"{"pk":"x","ts":1,"pkType":21}"#, r#"{"pk":1.5,"ts":1,"pkType":5}"#, "x,1", "1,-1"] {
            assert_eq!(note(text, false, &all, &mut deletes), None, "{text}");
        }
    }
}
