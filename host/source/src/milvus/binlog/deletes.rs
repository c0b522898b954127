//! Deletes: which keys were deleted, and when (`internal/storage/{delta_data,data_codec}.go`).
//!
//! Three forms are read: a JSON text `{"pk":…,"ts":…,"pkType":…}` for each delete (2.3 and 2.4), `key,timestamp` (2.1
//! and older), and a Parquet file with two columns `pk` and `ts` (2.5 and newer; written from its source, not run).

use arrow_array::Array;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::latest::Latest;
use super::values::{batches, each_value};
use super::{Binlog, LogFile, damaged};
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
    let binlog = Binlog::parse(&file.read(limits)?, shown)?;
    if !binlog.is_deletes {
        return Err(damaged(shown, "it holds rows where deletes are expected"));
    }
    let counts = |timestamp: u64| cut.is_none_or(|cut| timestamp <= cut);
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
                    let found = place.and_then(|place| columns.get(place)).filter(|column| column.null_count() == 0);
                    found.ok_or_else(|| damaged(shown, format!("it has no column `{wanted}` without gaps")))
                };
                let mut timestamps = Vec::new();
                each_value(column("ts")?, shown, &mut |value| {
                    let value = value.and_then(|value| value.try_into().ok()).map(u64::from_le_bytes);
                    timestamps.push(value.ok_or_else(|| damaged(shown, "its timestamps are no 64-bit numbers"))?);
                    Ok(())
                })?;
                let mut timestamps = timestamps.into_iter();
                each_value(column("pk")?, shown, &mut |key| {
                    let (Some(key), Some(timestamp)) = (key, timestamps.next()) else { return Ok(()) };
                    match (counts(timestamp), is_text, <[u8; 8]>::try_from(key)) {
                        (false, ..) => into.has_later = true,
                        (true, true, _) => into.note_text(key, timestamp),
                        (true, false, Ok(key)) => into.note_integer(i64::from_le_bytes(key), timestamp),
                        (true, false, Err(_)) => return Err(damaged(shown, "its keys are no 64-bit numbers")),
                    }
                    into.check(shown, limits)
                })
            }
        })?;
    }
    Ok(())
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
