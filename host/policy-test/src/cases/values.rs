//! Values that may be written in more than one way: bytes, times, lists of one.

use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;

use longshore_model::Timestamp;
use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{Error, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

/// A number of bytes: `4_000`, `"4 GB"`, `"64 MiB"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Bytes(pub(crate) u64);

impl Bytes {
    fn parse(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is no number of bytes; write for example 4_000, \"4 GB\" or \"64 MiB\"");
        let text = text.trim();
        let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        let (digits, unit) = text.split_at(end);
        let count: u64 = digits.parse().map_err(|_| wrong())?;
        let factor: u64 = match unit.trim() {
            "" | "B" => 1,
            "kB" => 1_000,
            "MB" => 1_000_000,
            "GB" => 1_000_000_000,
            "TB" => 1_000_000_000_000,
            "KiB" => 1 << 10,
            "MiB" => 1 << 20,
            "GiB" => 1 << 30,
            "TiB" => 1 << 40,
            _ => return Err(wrong()),
        };
        count.checked_mul(factor).map(Self).ok_or_else(wrong)
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visit;
        impl Visitor<'_> for Visit {
            type Value = Bytes;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number of bytes, or text like \"4 GB\"")
            }
            fn visit_u64<E: Error>(self, value: u64) -> Result<Bytes, E> {
                Ok(Bytes(value))
            }
            fn visit_i64<E: Error>(self, value: i64) -> Result<Bytes, E> {
                u64::try_from(value).map(Bytes).map_err(|_| E::custom("a number of bytes is not negative"))
            }
            fn visit_str<E: Error>(self, text: &str) -> Result<Bytes, E> {
                Bytes::parse(text).map_err(E::custom)
            }
        }
        deserializer.deserialize_any(Visit)
    }
}

/// A point in time, fixed or relative to the run's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum When {
    At(Timestamp),
    /// Milliseconds after the run's time; negative before it.
    After(i64),
}

impl When {
    pub(crate) fn at(self, run: Timestamp) -> Timestamp {
        match self {
            Self::At(time) => time,
            Self::After(millis) => run.plus_millis(millis),
        }
    }

    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        if let Ok(time) = text.parse() {
            return Ok(Self::At(time));
        }
        let wrong = || {
            format!(
                "`{text}` is no time; write for example \"2026-01-01T00:00:00Z\", \"40 days ago\" or \"in 6 hours\""
            )
        };
        let words: Vec<&str> = text.split_whitespace().collect();
        let (count, unit, sign) = match words.as_slice() {
            [count, unit, "ago"] => (*count, *unit, -1),
            ["in", count, unit] => (*count, *unit, 1),
            _ => return Err(wrong()),
        };
        let millis: i64 = match unit.trim_end_matches('s') {
            "second" => 1_000,
            "minute" => 60_000,
            "hour" => 3_600_000,
            "day" => 86_400_000,
            _ => return Err(wrong()),
        };
        let count: u32 = count.parse().map_err(|_| wrong())?;
        Ok(Self::After(sign * millis * i64::from(count)))
    }
}

impl<'de> Deserialize<'de> for When {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visit;
        impl<'de> Visitor<'de> for Visit {
            type Value = When;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a time like \"2026-01-01T00:00:00Z\" or \"40 days ago\"")
            }
            fn visit_str<E: Error>(self, text: &str) -> Result<When, E> {
                When::parse(text).map_err(E::custom)
            }
            // A bare TOML time comes as a table with one text in it.
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<When, A::Error> {
                match map.next_entry::<String, String>()? {
                    Some((_, text)) => When::parse(&text).map_err(A::Error::custom),
                    None => Err(A::Error::custom("an empty table is no time")),
                }
            }
        }
        deserializer.deserialize_any(Visit)
    }
}

/// A table that may also be written as one word or number.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Short<T>(pub(crate) T);

/// What a word or number stands for.
pub(crate) trait FromShort: Sized {
    /// What is expected, for messages.
    const EXPECTED: &'static str;
    /// Reads it.
    fn from_short(text: &str) -> Result<Self, String>;
}

impl<'de, T: FromShort + Deserialize<'de>> Deserialize<'de> for Short<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visit<T>(PhantomData<T>);
        impl<'de, T: FromShort + Deserialize<'de>> Visitor<'de> for Visit<T> {
            type Value = Short<T>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(T::EXPECTED)
            }
            fn visit_str<E: Error>(self, text: &str) -> Result<Short<T>, E> {
                T::from_short(text).map(Short).map_err(E::custom)
            }
            fn visit_i64<E: Error>(self, value: i64) -> Result<Short<T>, E> {
                self.visit_str(&value.to_string())
            }
            fn visit_u64<E: Error>(self, value: u64) -> Result<Short<T>, E> {
                self.visit_str(&value.to_string())
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Short<T>, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map)).map(Short)
            }
        }
        deserializer.deserialize_any(Visit(PhantomData))
    }
}

/// One name, or a list of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Names(pub(crate) Vec<String>);

impl Names {
    /// Whether a name is in the list.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.0.iter().any(|one| one == name)
    }

    /// `a`, or `one of a, b`.
    pub(crate) fn any(&self) -> String {
        match self.0.as_slice() {
            [one] => one.clone(),
            many => format!("one of {}", many.join(", ")),
        }
    }
}

impl<'de> Deserialize<'de> for Names {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visit;
        impl<'de> Visitor<'de> for Visit {
            type Value = Names;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a name or a list of names")
            }
            fn visit_str<E: Error>(self, text: &str) -> Result<Names, E> {
                Ok(Names(vec![text.to_owned()]))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<Names, A::Error> {
                Vec::deserialize(SeqAccessDeserializer::new(list)).map(Names)
            }
        }
        deserializer.deserialize_any(Visit)
    }
}

/// Days of retention, or the schedule's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Days(pub(crate) Option<u32>);

impl fmt::Display for Days {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(days) => days.fmt(f),
            None => f.write_str("schedule"),
        }
    }
}

impl<'de> Deserialize<'de> for Days {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visit;
        impl Visitor<'_> for Visit {
            type Value = Days;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number of days, or \"schedule\"")
            }
            fn visit_i64<E: Error>(self, value: i64) -> Result<Days, E> {
                u32::try_from(value).map(|days| Days(Some(days))).map_err(|_| E::custom("no number of days"))
            }
            fn visit_u64<E: Error>(self, value: u64) -> Result<Days, E> {
                u32::try_from(value).map(|days| Days(Some(days))).map_err(|_| E::custom("no number of days"))
            }
            fn visit_str<E: Error>(self, text: &str) -> Result<Days, E> {
                match text {
                    "schedule" => Ok(Days(None)),
                    _ => Err(E::custom(format!("`{text}` is neither a number of days nor \"schedule\""))),
                }
            }
        }
        deserializer.deserialize_any(Visit)
    }
}

/// Codecs on offer: ratios by codec, or a list with speeds.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Offers {
    Ratios(BTreeMap<longshore_model::Codec, u32>),
    List(Vec<OfferTable>),
}

/// One codec on offer.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct OfferTable {
    pub(crate) codec: longshore_model::Codec,
    pub(crate) ratio_thousandths: u32,
    pub(crate) compress_mb_per_second: Option<u32>,
    pub(crate) decompress_mb_per_second: Option<u32>,
}

impl<'de> Deserialize<'de> for Offers {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visit;
        impl<'de> Visitor<'de> for Visit {
            type Value = Offers;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a table of ratios like { zstd-1 = 1090 }, or a list of offers")
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Offers, A::Error> {
                BTreeMap::deserialize(MapAccessDeserializer::new(map)).map(Offers::Ratios)
            }
            fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<Offers, A::Error> {
                Vec::deserialize(SeqAccessDeserializer::new(list)).map(Offers::List)
            }
        }
        deserializer.deserialize_any(Visit)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn bytes_are_numbers_or_text_with_a_unit() {
        for (text, bytes) in [("0", 0), ("4 GB", 4_000_000_000), ("64MiB", 64 << 20), (" 7 B ", 7)] {
            assert_eq!(Bytes::parse(text).unwrap(), Bytes(bytes), "{text}");
        }
        for text in ["", "GB", "4 gb", "-1", "4.5 GB", "99999999999 TB"] {
            assert!(Bytes::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn times_are_fixed_or_relative_to_the_run() {
        let run: Timestamp = "2026-01-10T00:00:00Z".parse().unwrap();
        let at = |text: &str| When::parse(text).unwrap().at(run).to_string();
        assert_eq!(at("3 days ago"), "2026-01-07T00:00:00Z");
        assert_eq!(at("in 1 hour"), "2026-01-10T01:00:00Z");
        assert_eq!(at("2025-01-01T00:00:00Z"), "2025-01-01T00:00:00Z");
        for text in ["", "yesterday", "3 days", "in 3 weeks", "-3 days ago", "3 days ago or so"] {
            assert!(When::parse(text).is_err(), "{text}");
        }
    }
}
