//! Which facts are altered, and to what.
//!
//! The values come from the facts of the page itself: a property is altered to the values that other collections have for
//! it, a region to unreachable, sizes by factors. Nothing is invented that a policy could not meet.

use std::collections::BTreeSet;
use std::sync::Arc;

use longshore_model::{
    CollectionFacts, ExtraFact, LastBackup, LoadState, RegionHealth, RegionOffer, RunFacts, RunTrigger, StreamFacts,
};

use super::extras;
use crate::{DecisionRecord, Limits, Question};

/// Milliseconds of a day.
pub(super) const DAY_MS: i64 = 24 * 60 * 60 * 1_000;
/// Days after which nobody calls a collection recently written.
pub(super) const LONG_AGO_DAYS: i64 = 365;
/// An objective that a run a day does not meet.
const OBJECTIVE_SECONDS: u64 = 60 * 60;
/// How many times larger a size is tried.
pub(super) const TIMES: u64 = 100;

/// A change of one fact.
#[derive(Clone)]
enum Edit {
    Collection(Arc<dyn Fn(&mut CollectionFacts) + Send + Sync>),
    Stream(Arc<dyn Fn(&mut StreamFacts) + Send + Sync>),
    Region(usize, Arc<dyn Fn(&mut RegionOffer) + Send + Sync>),
    Run(Arc<dyn Fn(&mut RunFacts) + Send + Sync>),
}

/// One fact altered, and the question that follows.
#[derive(Clone)]
pub struct Alteration {
    /// Which fact.
    pub fact: String,
    /// What it is.
    pub from: String,
    /// What it would be.
    pub to: String,
    edit: Edit,
}

impl std::fmt::Debug for Alteration {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {} -> {}", self.fact, self.from, self.to)
    }
}

impl Alteration {
    /// The question and the run of a call about the item, with the fact altered.
    #[must_use]
    pub fn in_record(&self, record: &DecisionRecord, place: u32) -> (Question, RunFacts) {
        applied(&self.edit, record, place)
    }
}

fn applied(edit: &Edit, record: &DecisionRecord, place: u32) -> (Question, RunFacts) {
    let (mut question, mut run) = (record.question.clone(), record.run.clone());
    let at = usize::try_from(place).unwrap_or(usize::MAX);
    match (edit, &mut question) {
        (Edit::Run(edit), _) => edit(&mut run),
        (Edit::Collection(edit), Question::Selection { collections } | Question::Placement { collections, .. }) => {
            *collections = altered(collections, at, edit.as_ref())
        }
        (Edit::Stream(edit), Question::Compression { streams }) => *streams = altered(streams, at, edit.as_ref()),
        (Edit::Region(at, edit), Question::Placement { regions, .. }) => {
            *regions = altered(regions, *at, edit.as_ref());
        }
        _ => {}
    }
    (question, run)
}

fn altered<T: Clone>(items: &Arc<[T]>, at: usize, edit: &dyn Fn(&mut T)) -> Arc<[T]> {
    let mut items = items.to_vec();
    if let Some(item) = items.get_mut(at) {
        edit(item);
    }
    items.into()
}

/// Collects alterations of one record.
struct List<'a> {
    record: &'a DecisionRecord,
    place: u32,
    found: Vec<Alteration>,
}

impl List<'_> {
    fn push(&mut self, fact: impl Into<String>, from: impl ToString, to: impl ToString, edit: Edit) {
        let (from, to) = (from.to_string(), to.to_string());
        if from != to {
            self.found.push(Alteration { fact: fact.into(), from, to, edit });
        }
    }

    fn collection(
        &mut self,
        fact: impl Into<String>,
        from: impl ToString,
        to: impl ToString,
        edit: impl Fn(&mut CollectionFacts) + Send + Sync + 'static,
    ) {
        self.push(fact, from, to, Edit::Collection(Arc::new(edit)));
    }

    fn stream(
        &mut self,
        fact: impl Into<String>,
        from: impl ToString,
        to: impl ToString,
        edit: impl Fn(&mut StreamFacts) + Send + Sync + 'static,
    ) {
        self.push(fact, from, to, Edit::Stream(Arc::new(edit)));
    }
}

/// The alterations that are tried for an item of a call, the likeliest to matter first.
#[must_use]
pub fn alterations(record: &DecisionRecord, place: u32, limits: &Limits) -> Vec<Alteration> {
    let mut list = List { record, place, found: Vec::new() };
    match &record.question {
        Question::Selection { collections } => collection(&mut list, collections, &[], limits),
        Question::Placement { collections, regions } => {
            collection(&mut list, collections, regions, limits);
            places(&mut list, regions);
        }
        Question::Compression { streams } => stream(&mut list, streams, limits),
    }
    run(&mut list, limits);
    list.found
}

fn collection(list: &mut List<'_>, page: &[CollectionFacts], regions: &[RegionOffer], limits: &Limits) {
    let Some(facts) = usize::try_from(list.place).ok().and_then(|place| page.get(place)) else { return };
    list.collection("protected", facts.protected, !facts.protected, |facts| facts.protected = !facts.protected);
    list.collection("requested", facts.requested, !facts.requested, |facts| facts.requested = !facts.requested);
    let properties = Pairs { what: "property", read: |facts| &facts.properties, change: |facts| &mut facts.properties };
    let labels = Pairs { what: "label", read: |facts| &facts.labels, change: |facts| &mut facts.labels };
    for kind in [properties, labels] {
        pairs(list, kind, page, facts, regions, limits);
    }
    let time = list.record.run.time;
    let written = facts.last_write.map_or_else(|| "unknown".to_owned(), |written| written.to_string());
    for (to, days) in [("just before the run", 0), ("a year before the run", LONG_AGO_DAYS)] {
        let moment = time.plus_millis(-days * DAY_MS);
        list.collection("last_write", &written, to, move |facts| facts.last_write = Some(moment));
    }
    match &facts.last_backup {
        Some(last) => {
            list.collection("last_backup", last.time, "never backed up", |facts| facts.last_backup = None);
            for (to, days) in [("just before the run", 0), ("a year before the run", LONG_AGO_DAYS)] {
                let moment = time.plus_millis(-days * DAY_MS);
                list.collection("last_backup", last.time, to, move |facts| {
                    if let Some(last) = &mut facts.last_backup {
                        last.time = moment;
                    }
                });
            }
        }
        None => {
            let last = LastBackup {
                // An id of the right form; that there is no such backup is not a fact a policy has.
                backup_id: longshore_model::BackupId::from_random([0; 10]),
                time: time.plus_millis(-DAY_MS),
                regions: vec![list.record.run.home_region.clone()],
                codecs: Vec::new(),
                stored_bytes: facts.size_bytes.total(),
            };
            list.collection("last_backup", "never backed up", "a day before the run", move |facts| {
                facts.last_backup = Some(last.clone());
            });
        }
    }
    objective(list, facts);
    let criticality = facts.criticality.clone().unwrap_or_else(|| "none".to_owned());
    for to in ["high", "low"] {
        list.collection("criticality", &criticality, to, move |facts| facts.criticality = Some(to.to_owned()));
    }
    list.collection("rows", facts.rows, 0, |facts| facts.rows = 0);
    list.collection("rows", facts.rows, facts.rows.saturating_mul(TIMES), |facts| {
        facts.rows = facts.rows.saturating_mul(TIMES);
    });
    let bytes = facts.size_bytes.total();
    list.collection("size_bytes", bytes, bytes.saturating_mul(TIMES), |facts| {
        let size = &mut facts.size_bytes;
        for class in [&mut size.segment, &mut size.index, &mut size.delta, &mut size.wal, &mut size.metadata] {
            *class = class.saturating_mul(TIMES);
        }
        facts.new_bytes = facts.new_bytes.saturating_mul(TIMES);
    });
    list.collection("new_bytes", facts.new_bytes, 0, |facts| facts.new_bytes = 0);
    let loaded = |state: LoadState| match state {
        LoadState::Unknown => "unknown",
        LoadState::NotLoaded => "not loaded",
        LoadState::Loaded => "loaded",
    };
    for to in [LoadState::Loaded, LoadState::NotLoaded] {
        list.collection("load_state", loaded(facts.load_state), loaded(to), move |facts| facts.load_state = to);
    }
    list.collection("consecutive_failures", facts.consecutive_failures, 3, |facts| facts.consecutive_failures = 3);
    let proven = facts.last_proven_restore.map_or_else(|| "never".to_owned(), |time| time.to_string());
    for (to, moment) in [("just before the run", Some(time)), ("never", None)] {
        list.collection("last_proven_restore", &proven, to, move |facts| facts.last_proven_restore = moment);
    }
    if let Some(code) = &facts.previous_reason_code {
        list.collection("previous_reason_code", code, "none", |facts| facts.previous_reason_code = None);
    }
    for edit in extra_edits(list, &facts.extra, page.iter().map(|other| other.extra.as_slice()), limits) {
        let (fact, from, to) = edit_words(&edit);
        list.collection(fact, from, to, move |facts| edit.apply(&mut facts.extra));
    }
}

fn objective(list: &mut List<'_>, facts: &CollectionFacts) {
    let words = |seconds: Option<u64>| seconds.map_or_else(|| "none".to_owned(), |seconds| format!("{seconds} s"));
    let was = words(facts.recovery_point_objective_seconds);
    for to in [Some(OBJECTIVE_SECONDS), None] {
        list.collection("recovery_point_objective", &was, words(to), move |facts| {
            facts.recovery_point_objective_seconds = to;
        });
    }
}

fn extra_edits<'a>(
    list: &List<'_>,
    own: &'a [ExtraFact],
    page: impl Iterator<Item = &'a [ExtraFact]>,
    limits: &Limits,
) -> Vec<extras::ExtraEdit> {
    extras::edits(own, page, list.record.run.time, limits.counterfactual_values)
}

fn edit_words(edit: &extras::ExtraEdit) -> (String, String, String) {
    (format!("extra {}", edit.name), edit.from.clone(), edit.to.clone())
}

/// Properties, or labels.
#[derive(Clone, Copy)]
struct Pairs {
    what: &'static str,
    read: fn(&CollectionFacts) -> &Vec<(String, String)>,
    change: fn(&mut CollectionFacts) -> &mut Vec<(String, String)>,
}

/// Each one gone, or with the values that others have for it; and those that only others have.
fn pairs(
    list: &mut List<'_>,
    Pairs { what, read, change }: Pairs,
    page: &[CollectionFacts],
    facts: &CollectionFacts,
    regions: &[RegionOffer],
    limits: &Limits,
) {
    let mut keys: Vec<&str> = read(facts).iter().map(|(key, _)| key.as_str()).collect();
    for other in page {
        for (key, _) in read(other) {
            if !keys.contains(&key.as_str()) && keys.len() < read(facts).len() + limits.counterfactual_values {
                keys.push(key);
            }
        }
    }
    for key in keys {
        let own = read(facts).iter().find(|(name, _)| name == key).map(|(_, value)| value.clone());
        let was = own.clone().unwrap_or_else(|| "absent".to_owned());
        let mut values: BTreeSet<&str> = page
            .iter()
            .flat_map(|other| read(other).iter())
            .filter(|(name, _)| name == key)
            .map(|(_, v)| v.as_str())
            .collect();
        // A value that is a legal area or a region stands for all of them.
        let areas = || regions.iter().flat_map(|region| [region.jurisdiction.as_str(), region.id.as_str()]);
        if own.as_deref().is_some_and(|own| areas().any(|area| area == own)) {
            values.extend(regions.iter().map(|region| region.jurisdiction.as_str()).filter(|area| !area.is_empty()));
        }
        values.remove(was.as_str());
        for value in values.into_iter().take(limits.counterfactual_values) {
            let (name, to) = (key.to_owned(), value.to_owned());
            list.collection(format!("{what} {key}"), &was, value, move |facts| {
                let pairs = change(facts);
                pairs.retain(|(key, _)| *key != name);
                pairs.push((name.clone(), to.clone()));
                // In order of key, as the contract has them.
                pairs.sort();
            });
        }
        if own.is_some() {
            let name = key.to_owned();
            list.collection(format!("{what} {key}"), &was, "absent", move |facts| {
                change(facts).retain(|(key, _)| *key != name);
            });
        }
    }
}

fn places(list: &mut List<'_>, regions: &[RegionOffer]) {
    let word = |health: RegionHealth| match health {
        RegionHealth::Healthy => "healthy",
        RegionHealth::Degraded => "degraded",
        RegionHealth::Unreachable => "unreachable",
    };
    for (at, region) in regions.iter().enumerate() {
        for to in [RegionHealth::Healthy, RegionHealth::Unreachable] {
            let edit = Edit::Region(at, Arc::new(move |region: &mut RegionOffer| region.health = to));
            list.push(format!("region {} health", region.id), word(region.health), word(to), edit);
        }
    }
    for (at, region) in regions.iter().enumerate() {
        let price = region.storage_price_micros_per_gb_month;
        for to in [0, price.saturating_mul(TIMES)] {
            let edit = Edit::Region(
                at,
                Arc::new(move |region: &mut RegionOffer| region.storage_price_micros_per_gb_month = to),
            );
            list.push(format!("region {} storage price", region.id), price, to, edit);
        }
    }
}

fn stream(list: &mut List<'_>, streams: &[StreamFacts], limits: &Limits) {
    let Some(facts) = usize::try_from(list.place).ok().and_then(|place| streams.get(place)) else { return };
    for offer in &facts.offers {
        let codec = offer.codec;
        // A codec that saves nothing, and one that saves half.
        for (to, ratio) in [("1.00", 1_000), ("2.00", 2_000)] {
            let was = format!("{:.2}", f64::from(offer.ratio_thousandths) / 1_000.0);
            list.stream(format!("ratio of {codec}"), was, to, move |facts| {
                for offer in facts.offers.iter_mut().filter(|offer| offer.codec == codec) {
                    offer.ratio_thousandths = ratio;
                }
            });
        }
        list.stream(format!("speed of {codec}, MB/s"), offer.compress_mb_per_second, 1, move |facts| {
            for offer in facts.offers.iter_mut().filter(|offer| offer.codec == codec) {
                offer.compress_mb_per_second = 1;
            }
        });
    }
    list.stream("new_bytes", facts.new_bytes, 0, |facts| facts.new_bytes = 0);
    list.stream("new_bytes", facts.new_bytes, facts.size_bytes, |facts| facts.new_bytes = facts.size_bytes);
    list.stream("sampled_bytes", facts.sampled_bytes, 0, |facts| facts.sampled_bytes = 0);
    list.stream("size_bytes", facts.size_bytes, facts.size_bytes.saturating_mul(TIMES), |facts| {
        facts.size_bytes = facts.size_bytes.saturating_mul(TIMES);
        facts.new_bytes = facts.new_bytes.saturating_mul(TIMES);
    });
    // What a stream tells about its collection, too.
    for edit in extra_edits(list, &facts.extra, streams.iter().map(|other| other.extra.as_slice()), limits) {
        let (fact, from, to) = edit_words(&edit);
        list.stream(fact, from, to, move |facts| edit.apply(&mut facts.extra));
    }
}

fn run(list: &mut List<'_>, limits: &Limits) {
    let run = &list.record.run;
    let (was, to, trigger) = match run.trigger {
        RunTrigger::Manual => ("manual", "automatic", RunTrigger::Automatic),
        RunTrigger::Automatic => ("automatic", "manual", RunTrigger::Manual),
    };
    let (spend, budget) = (run.month_spend_micros, run.month_budget_micros);
    list.push("run trigger", was, to, Edit::Run(Arc::new(move |run| run.trigger = trigger)));
    let shown = budget.map_or_else(|| "no budget".to_owned(), |budget| format!("{spend} of {budget} spent"));
    let edit = Edit::Run(Arc::new(|run: &mut RunFacts| run.month_budget_micros = Some(run.month_spend_micros)));
    list.push("month budget", &shown, "used up", edit);
    if let Some(budget) = budget {
        let doubled = budget.saturating_mul(2);
        let more = Edit::Run(Arc::new(move |run: &mut RunFacts| run.month_budget_micros = Some(doubled)));
        list.push("month budget", &shown, "twice as much", more);
        let none = Edit::Run(Arc::new(|run: &mut RunFacts| run.month_budget_micros = None));
        list.push("month budget", &shown, "no budget", none);
        let unspent = Edit::Run(Arc::new(|run: &mut RunFacts| run.month_spend_micros = 0));
        list.push("month spend", spend, 0, unspent);
    }
    for edit in extra_edits(list, &run.extra, std::iter::empty(), limits) {
        let (fact, from, to) = edit_words(&edit);
        list.push(
            format!("run {fact}"),
            from,
            to,
            Edit::Run(Arc::new(move |run: &mut RunFacts| edit.apply(&mut run.extra))),
        );
    }
}
