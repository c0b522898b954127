//! Finding facts by name: properties, labels, and the `extra` facts that have no field of their own.

use crate::answer::Reason;
use crate::facts::{Collection, ExtraFacts, FactValue, Region, Run, RunKind, Stream};

/// Names of the extra facts by which a stream tells about its collection. Properties and labels come as one fact each,
/// the key behind the prefix.
pub mod stream_facts {
    /// When the collection was last written to, in milliseconds since 1970 UTC.
    pub const LAST_WRITE_TIME_MS: &str = "collection-last-write-time-ms";
    /// The operator's word for how much the collection matters.
    pub const CRITICALITY: &str = "collection-criticality";
    /// The operator protects the collection.
    pub const PROTECTED: &str = "collection-protected";
    /// A property of the collection.
    pub const PROPERTY_PREFIX: &str = "collection-property:";
    /// A label of the collection.
    pub const LABEL_PREFIX: &str = "collection-label:";
}

/// Names of the extra facts about a run.
pub mod run_facts {
    /// What keeping all that the project stores now costs in a whole month, in millionths of the currency unit.
    pub const MONTH_ESTIMATE_MICROS: &str = "month-estimate-micros";
    /// Price of keeping a gigabyte for a month in the home region, in the same unit.
    pub const HOME_STORAGE_PRICE: &str = "home-storage-price-micros-per-gb-month";
}

/// Words that switch a flag off, in a property or a label; the same ones as for the host's own protecting properties.
const OFF: [&str; 5] = ["", "false", "0", "no", "off"];

/// Whether a text switches something on: anything but `false`, `0`, `no`, `off` and nothing at all.
///
/// ```
/// # use longshore_plugin::is_on;
/// assert!(is_on("true") && is_on("yes") && !is_on(" OFF ") && !is_on(""));
/// ```
#[must_use]
pub fn is_on(text: &str) -> bool {
    !OFF.iter().any(|off| text.trim().eq_ignore_ascii_case(off))
}

impl FactValue {
    /// The flag, if it is one.
    #[must_use]
    pub fn as_flag(&self) -> Option<bool> {
        if let Self::Flag(flag) = self { Some(*flag) } else { None }
    }

    /// The whole number, if it is one.
    #[must_use]
    pub fn as_integer(&self) -> Option<i64> {
        if let Self::Integer(integer) = self { Some(*integer) } else { None }
    }

    /// The text, if it is one.
    #[must_use]
    pub fn as_text(&self) -> Option<&str> {
        if let Self::Text(text) = self { Some(text) } else { None }
    }
}

fn fact<'a>(facts: &'a ExtraFacts, name: &str) -> Option<&'a FactValue> {
    facts.iter().find(|(key, _)| key == name).map(|(_, value)| value)
}

fn value<'a>(pairs: &'a [(String, String)], key: &str) -> Option<&'a str> {
    pairs.iter().rev().find(|(name, _)| name == key).map(|(_, value)| value.as_str())
}

impl Run {
    /// A fact of [`Run::extra`].
    #[must_use]
    pub fn extra_fact(&self, name: &str) -> Option<&FactValue> {
        fact(&self.extra, name)
    }

    /// What keeping all that the project stores now costs in a whole month, in millionths of the currency unit, where the
    /// operator gave prices.
    #[must_use]
    pub fn month_estimate_micros(&self) -> Option<u64> {
        self.extra_fact(run_facts::MONTH_ESTIMATE_MICROS)?.as_integer()?.try_into().ok()
    }

    /// Price of keeping a gigabyte for a month in the home region, in the same unit, where the operator gave prices.
    #[must_use]
    pub fn home_storage_price_micros_per_gb_month(&self) -> Option<u64> {
        self.extra_fact(run_facts::HOME_STORAGE_PRICE)?.as_integer()?.try_into().ok()
    }
}

impl Region {
    /// A fact of [`Region::extra`].
    #[must_use]
    pub fn extra_fact(&self, name: &str) -> Option<&FactValue> {
        fact(&self.extra, name)
    }
}

impl Collection {
    /// A fact of [`Collection::extra`].
    #[must_use]
    pub fn extra_fact(&self, name: &str) -> Option<&FactValue> {
        fact(&self.extra, name)
    }

    /// Value of a property of the collection. If a property is listed twice the last one counts, as it does in Milvus.
    #[must_use]
    pub fn property(&self, key: &str) -> Option<&str> {
        value(&self.properties, key)
    }

    /// Value of a label that the operator gave in the host's configuration.
    #[must_use]
    pub fn label(&self, key: &str) -> Option<&str> {
        value(&self.labels, key)
    }

    /// The property of that name, or else the label of that name.
    ///
    /// ```
    /// # use longshore_plugin::Collection;
    /// let mut docs = Collection::named(0, "default", "docs");
    /// docs.labels.push(("data.region".into(), "us".into()));
    /// assert_eq!(docs.property_or_label("data.region"), Some("us"));
    /// docs.properties.push(("data.region".into(), "eu".into()));
    /// assert_eq!(docs.property_or_label("data.region"), Some("eu"));
    /// ```
    #[must_use]
    pub fn property_or_label(&self, key: &str) -> Option<&str> {
        self.property(key).or_else(|| self.label(key))
    }

    /// Why the host would put it back if a selection policy left it out: the operator protects it, or the request of this
    /// run names it. `None`: it may be left out. Policies say yes with this reason instead of being overridden.
    ///
    /// ```
    /// # use longshore_plugin::{Collection, Run};
    /// let docs = Collection { protected: true, ..Collection::named(0, "default", "docs") };
    /// assert_eq!(docs.kept_in(&Run::default()).unwrap().code, "protected");
    /// ```
    #[must_use]
    pub fn kept_in(&self, run: &Run) -> Option<Reason> {
        if run.kind == RunKind::Collection && self.requested {
            return Some(Reason::new("requested-by-name", "The request names it."));
        }
        self.protected.then(|| Reason::new("protected", "The operator protects it."))
    }

    /// Whether a property, or else a label, of that name switches something on, in the sense of [`is_on`]; `None` where
    /// there is neither.
    #[must_use]
    pub fn flag(&self, key: &str) -> Option<bool> {
        self.property_or_label(key).map(is_on)
    }
}

impl Stream {
    /// A fact of [`Stream::extra`], or else of [`Stream::collection_extra`].
    #[must_use]
    pub fn extra_fact(&self, name: &str) -> Option<&FactValue> {
        fact(&self.extra, name).or_else(|| fact(&self.collection_extra, name))
    }

    /// When its collection was last written to, in milliseconds since 1970 UTC, if the host says.
    #[must_use]
    pub fn last_write_time_ms(&self) -> Option<u64> {
        self.extra_fact(stream_facts::LAST_WRITE_TIME_MS)?.as_integer()?.try_into().ok()
    }

    /// The operator's word for how much its collection matters, if the host says.
    #[must_use]
    pub fn criticality(&self) -> Option<&str> {
        self.extra_fact(stream_facts::CRITICALITY)?.as_text()
    }

    /// Whether the operator protects its collection; `false` also where the host does not say.
    #[must_use]
    pub fn protected(&self) -> bool {
        self.extra_fact(stream_facts::PROTECTED).and_then(FactValue::as_flag).unwrap_or(false)
    }

    /// Value of a property of its collection, if the host says.
    #[must_use]
    pub fn property(&self, key: &str) -> Option<&str> {
        self.prefixed(stream_facts::PROPERTY_PREFIX, key)
    }

    /// Value of a label of its collection, if the host says.
    #[must_use]
    pub fn label(&self, key: &str) -> Option<&str> {
        self.prefixed(stream_facts::LABEL_PREFIX, key)
    }

    /// The property of that name, or else the label of that name.
    #[must_use]
    pub fn property_or_label(&self, key: &str) -> Option<&str> {
        self.property(key).or_else(|| self.label(key))
    }

    /// Without making a new string for every look-up: policies look up each stream of a page.
    fn prefixed(&self, prefix: &str, key: &str) -> Option<&str> {
        let named = |name: &str| name.strip_prefix(prefix).is_some_and(|rest| rest == key);
        let facts = self.collection_extra.iter().rev().chain(self.extra.iter().rev());
        facts.into_iter().find(|(name, _)| named(name)).and_then(|(_, value)| value.as_text())
    }
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use super::*;

    #[test]
    fn of_two_properties_of_one_name_the_last_counts() {
        let properties = vec![("a".to_owned(), "1".to_owned()), ("a".to_owned(), "2".to_owned())];
        let collection = Collection { properties, ..Collection::default() };
        assert_eq!((collection.property("a"), collection.property("b")), (Some("2"), None));
    }

    #[test]
    fn a_flag_is_on_unless_it_is_switched_off_and_unknown_where_nothing_is_said() {
        let says = |text: &str| {
            Collection { labels: vec![("keep".into(), text.into())], ..Collection::default() }.flag("keep")
        };
        assert_eq!(
            ["true", "1", "anything", "false", "No", " off "].map(says),
            [true, true, true, false, false, false].map(Some)
        );
        assert_eq!(Collection::default().flag("keep"), None);
    }

    #[test]
    fn a_collection_is_kept_in_by_its_protection_and_by_a_request_that_names_it() {
        let code = |kind, requested, protected| {
            let collection = Collection { requested, protected, ..Collection::default() };
            collection.kept_in(&Run { kind, ..Run::default() }).map(|reason| reason.code)
        };
        assert_eq!(code(RunKind::Collection, true, true).as_deref(), Some("requested-by-name"));
        assert_eq!(code(RunKind::Cluster, true, true).as_deref(), Some("protected"));
        // In a run over the whole cluster nothing is named, so the mark means nothing there.
        assert_eq!(code(RunKind::Cluster, true, false), None);
        assert_eq!(code(RunKind::Collection, false, false), None);
    }

    #[test]
    fn a_stream_tells_about_its_collection_by_extra_facts() {
        let text = |text: &str| FactValue::Text(text.to_owned());
        let stream = Stream {
            collection_extra: Rc::new(vec![
                ("collection-last-write-time-ms".to_owned(), FactValue::Integer(7)),
                ("collection-criticality".to_owned(), text("high")),
                ("collection-protected".to_owned(), FactValue::Flag(true)),
                ("collection-property:tier".to_owned(), text("hot")),
                ("collection-label:tier".to_owned(), text("cold")),
                ("collection-label:owner".to_owned(), text("search")),
            ]),
            ..Stream::default()
        };
        let run = Run { time_ms: 10, ..Run::default() };
        assert_eq!((stream.last_write_time_ms(), stream.ms_since_write(&run)), (Some(7), Some(3)));
        assert_eq!((stream.criticality(), stream.protected()), (Some("high"), true));
        assert_eq!((stream.property("tier"), stream.label("tier")), (Some("hot"), Some("cold")));
        assert_eq!(
            ["tier", "owner", "tie", "tiers"].map(|key| stream.property_or_label(key)),
            [Some("hot"), Some("search"), None, None]
        );
        let silent = Stream::default();
        assert_eq!((silent.last_write_time_ms(), silent.criticality(), silent.protected()), (None, None, false));
    }

    #[test]
    fn a_run_tells_prices_and_estimates_where_the_operator_gave_them() {
        let fact = |name: &str, value| (name.to_owned(), FactValue::Integer(value));
        let of = |extra| {
            let run = Run { extra, ..Run::default() };
            (run.month_estimate_micros(), run.home_storage_price_micros_per_gb_month())
        };
        let (estimate, price) = (run_facts::MONTH_ESTIMATE_MICROS, run_facts::HOME_STORAGE_PRICE);
        assert_eq!(of(vec![fact(estimate, 7), fact(price, 8)]), (Some(7), Some(8)));
        assert_eq!(of(vec![fact(estimate, -7), fact(price, 0)]), (None, Some(0)));
        assert_eq!(of(Vec::new()), (None, None));
    }

    #[test]
    fn a_fact_of_another_type_is_not_there() {
        let negative = Stream {
            extra: vec![(stream_facts::LAST_WRITE_TIME_MS.into(), FactValue::Integer(-1))],
            ..Stream::default()
        };
        assert_eq!(negative.last_write_time_ms(), None);
        assert_eq!(
            (
                FactValue::Flag(true).as_integer(),
                FactValue::Integer(1).as_text(),
                FactValue::Text(String::new()).as_flag()
            ),
            (None, None, None)
        );
    }
}
