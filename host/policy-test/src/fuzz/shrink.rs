//! Makes a scenario on which a property is broken as small as it gets.
//!
//! Greedy: fewer collections, streams, regions and settings first, then one fact after the other back to its default or
//! half-way there, over and over until nothing more can go. The property is asked after each step, so what is left is broken too.

use longshore_model::{
    ClassBytes, CollectionFacts, CollectionName, LoadState, PolicyKind, RegionHealth, RunKind, RunTrigger, StreamFacts,
};

use super::{Fuzz, Property};
use crate::cases::{DEFAULT_ROWS, DEFAULT_SIZE_BYTES};
use crate::{Limits, Scenario};

/// A change that makes a scenario simpler.
type Edit = Box<dyn Fn(&mut Scenario)>;

/// The smallest scenario found on which the property is still broken, and the property, itself simplified.
pub(crate) fn shrink(
    fuzz: &Fuzz<'_>,
    kind: PolicyKind,
    property: Property,
    scenario: Scenario,
) -> (Scenario, Property) {
    let mut shrinking = Shrinking { fuzz, kind, property, best: scenario, questions: 0 };
    loop {
        let before = (shrinking.best.clone(), shrinking.property.clone());
        shrinking.fewer_collections();
        for edits in [whole_edits, run_edits, fact_edits, stream_edits] {
            for edit in edits(&shrinking.best, kind) {
                shrinking.attempt(&edit);
            }
        }
        shrinking.settings();
        shrinking.rule();
        let same = (&before.0, &before.1) == (&shrinking.best, &shrinking.property);
        if same || shrinking.questions >= shrinking.allowed() {
            return (shrinking.best, shrinking.property);
        }
    }
}

struct Shrinking<'a> {
    fuzz: &'a Fuzz<'a>,
    kind: PolicyKind,
    property: Property,
    best: Scenario,
    questions: usize,
}

impl Shrinking<'_> {
    /// Keeps a change if the property is still broken.
    fn attempt(&mut self, edit: &Edit) -> bool {
        let mut changed = self.best.clone();
        edit(&mut changed);
        changed.settle();
        self.keep_if_broken(changed, self.property.clone())
    }

    fn keep_if_broken(&mut self, changed: Scenario, property: Property) -> bool {
        if (changed == self.best && property == self.property) || self.questions >= self.allowed() {
            return false;
        }
        self.questions += 1;
        let broken = property.broken(self.fuzz, self.kind, &changed).is_some();
        if broken {
            (self.best, self.property) = (changed, property);
        }
        broken
    }

    /// Questions that may be asked: few where each takes as long as a budget lasts.
    fn allowed(&self) -> usize {
        let slow = ["out-of-fuel", "out-of-memory", "timed-out"];
        match &self.property {
            Property::Contract { code } if slow.contains(&code.as_str()) => Limits::DEFAULT.slow_shrink_questions,
            _ => Limits::DEFAULT.shrink_questions,
        }
    }

    /// Takes out ever smaller runs of collections.
    fn fewer_collections(&mut self) {
        let mut length = self.best.collections.len();
        while length > 0 {
            let mut from = 0;
            while from < self.best.collections.len() {
                let until = from.saturating_add(length);
                let cut: Edit = Box::new(move |scenario| {
                    let gone: Vec<CollectionName> = scenario
                        .collections
                        .drain(from..until.min(scenario.collections.len()))
                        .map(|facts| facts.name)
                        .collect();
                    scenario.streams.retain(|stream| !gone.contains(&stream.collection));
                });
                if !self.attempt(&cut) {
                    from = until;
                }
            }
            length /= 2;
        }
    }

    /// Takes out settings that are not needed, and those that the schema asks for stay.
    fn settings(&mut self) {
        let keys: Vec<String> =
            self.best.settings.as_object().into_iter().flatten().map(|(key, _)| key.clone()).collect();
        for key in keys {
            let mut changed = self.best.clone();
            if let Some(settings) = changed.settings.as_object_mut() {
                settings.remove(&key);
            }
            if self.fuzz.subject.settings(&changed.settings).is_ok() {
                let property = self.property.clone();
                self.keep_if_broken(changed, property);
            }
        }
    }

    /// Makes the step of a monotone rule shorter, and its collection a plainer one.
    fn rule(&mut self) {
        for divisor in [u64::MAX, 1_000_000, 1_000, 10, 2] {
            let mut property = self.property.clone();
            if let Property::Monotone { rule, .. } = &mut property {
                rule.by = rule.by.map(|by| (by / divisor).max(1));
            }
            self.keep_if_broken(self.best.clone(), property);
        }
        self.rename();
    }

    /// Plain names, in order, where no condition hangs on the name.
    fn rename(&mut self) {
        for number in 0..self.best.collections.len() {
            let Some(old) = self.best.collections.get(number).map(|facts| facts.name.clone()) else { return };
            let new = CollectionName { database: "default".to_owned(), collection: format!("c{}", number + 1) };
            if old == new || self.best.collections.iter().any(|facts| facts.name == new) {
                continue;
            }
            let mut changed = self.best.clone();
            let renamed = |name: &mut CollectionName| {
                if *name == old {
                    *name = new.clone();
                }
            };
            changed.collections.iter_mut().for_each(|facts| renamed(&mut facts.name));
            changed.streams.iter_mut().for_each(|facts| renamed(&mut facts.collection));
            changed.settle();
            let mut property = self.property.clone();
            if let Property::Monotone { collection, .. } = &mut property {
                renamed(collection);
            }
            self.keep_if_broken(changed, property);
        }
    }
}

fn edit(edit: impl Fn(&mut Scenario) + 'static) -> Edit {
    Box::new(edit)
}

/// Regions, streams and pages.
fn whole_edits(scenario: &Scenario, kind: PolicyKind) -> Vec<Edit> {
    // A thousand comes last: it stays if it shows the same.
    let mut edits = vec![edit(|scenario| scenario.page_items = 1), edit(|scenario| scenario.page_items = 1_000)];
    if kind != PolicyKind::Compression {
        edits.push(edit(|scenario| scenario.streams.clear()));
    }
    edits.push(edit(|scenario| {
        if !scenario.regions.iter().any(|region| region.home)
            && let Some(first) = scenario.regions.first_mut()
        {
            first.home = true;
        }
        home(scenario);
    }));
    edits.push(edit(plain_last_backups));
    for region in &scenario.regions {
        let id = region.id.clone();
        edits.push(edit(move |scenario| {
            if scenario.regions.len() > 1 {
                scenario.regions.retain(|region| region.id != id);
            }
            home(scenario);
        }));
    }
    for place in 0..scenario.regions.len() {
        let of = move |change: fn(&mut longshore_model::RegionOffer)| {
            edit(move |scenario| scenario.regions.get_mut(place).into_iter().for_each(change))
        };
        edits.push(of(|region| region.health = RegionHealth::Healthy));
        edits.push(of(|region| region.provider = "local".to_owned()));
        edits.push(of(|region| region.jurisdiction.clear()));
        edits.push(of(|region| region.used_bytes = 0));
        edits.push(of(|region| region.storage_price_micros_per_gb_month = 20_000));
        edits.push(of(|region| region.transfer_price_micros_per_gb = 10_000));
        edits.push(of(|region| region.extra.clear()));
    }
    edits
}

/// A run's home region is the one that is marked, if one is.
fn home(scenario: &mut Scenario) {
    if let Some(home) = scenario.regions.iter().find(|region| region.home).or(scenario.regions.first()) {
        scenario.run.home_region = home.id.clone();
    }
}

/// Earlier backups as a case file has them where it says nothing but the time.
fn plain_last_backups(scenario: &mut Scenario) {
    let home = scenario.run.home_region.clone();
    for facts in &mut scenario.collections {
        if let Some(last) = &mut facts.last_backup {
            last.regions = vec![home.clone()];
            last.stored_bytes = facts.size_bytes.total();
        }
    }
}

fn run_edits(_: &Scenario, _: PolicyKind) -> Vec<Edit> {
    vec![
        edit(|scenario| scenario.run.kind = RunKind::Cluster),
        edit(|scenario| scenario.run.trigger = RunTrigger::Manual),
        edit(|scenario| scenario.run.cluster_name = "test".to_owned()),
        edit(|scenario| scenario.run.seed = 1),
        edit(|scenario| scenario.run.next_run = None),
        edit(|scenario| scenario.run.month_budget_micros = None),
        edit(|scenario| scenario.run.month_spend_micros = 0),
        edit(|scenario| scenario.run.month_spend_micros /= 2),
        edit(|scenario| scenario.run.month_budget_micros.iter_mut().for_each(|budget| *budget /= 2)),
        edit(|scenario| scenario.run.extra.clear()),
        edit(to_default_time),
    ]
}

/// Moves the run to the default time, and every other time with it.
fn to_default_time(scenario: &mut Scenario) {
    let Ok(time) = crate::cases::DEFAULT_TIME.parse::<longshore_model::Timestamp>() else { return };
    let by = time.millis_since(scenario.run.time);
    let moved = |time: &mut longshore_model::Timestamp| *time = time.plus_millis(by);
    moved(&mut scenario.run.time);
    scenario.run.next_run.iter_mut().for_each(moved);
    for facts in &mut scenario.collections {
        let times = [&mut facts.created, &mut facts.last_write, &mut facts.last_proven_restore];
        times.into_iter().flatten().for_each(moved);
        facts.last_backup.iter_mut().for_each(|last| moved(&mut last.time));
    }
}

/// Facts of collections, one by one.
fn fact_edits(scenario: &Scenario, _: PolicyKind) -> Vec<Edit> {
    let mut edits = Vec::new();
    // A thousand collections that are all needed are not made plain one by one.
    for facts in scenario.collections.iter().take(16) {
        let name = facts.name.clone();
        let of = |change: FactChange| {
            let name = name.clone();
            edit(move |scenario| {
                scenario.collections.iter_mut().filter(|facts| facts.name == name).for_each(&change);
            })
        };
        edits.extend(plain_facts().into_iter().map(&of));
        for place in (0..facts.properties.len()).rev() {
            edits.push(of(Box::new(move |facts| remove(&mut facts.properties, place))));
        }
        for place in (0..facts.labels.len()).rev() {
            edits.push(of(Box::new(move |facts| remove(&mut facts.labels, place))));
        }
        for place in (0..facts.extra.len()).rev() {
            edits.push(of(Box::new(move |facts| remove(&mut facts.extra, place))));
        }
    }
    edits
}

fn remove<T>(list: &mut Vec<T>, place: usize) {
    if place < list.len() {
        list.remove(place);
    }
}

/// A change of the facts about one collection.
type FactChange = Box<dyn Fn(&mut CollectionFacts)>;

/// Each fact at its default, or half of what it is.
fn plain_facts() -> Vec<FactChange> {
    let all_new = |facts: &mut CollectionFacts| facts.new_bytes = facts.size_bytes.total();
    vec![
        Box::new(|facts| facts.criticality = None),
        Box::new(|facts| facts.recovery_point_objective_seconds = None),
        Box::new(|facts| facts.protected = false),
        Box::new(|facts| facts.requested = false),
        Box::new(|facts| facts.created = None),
        Box::new(|facts| facts.last_write = None),
        Box::new(|facts| facts.load_state = LoadState::Unknown),
        Box::new(|facts| facts.indexes.clear()),
        Box::new(|facts| facts.last_backup = None),
        Box::new(|facts| facts.consecutive_failures = 0),
        Box::new(|facts| facts.consecutive_failures /= 2),
        Box::new(|facts| facts.last_proven_restore = None),
        Box::new(|facts| facts.previous_reason_code = None),
        Box::new(|facts| facts.rows = DEFAULT_ROWS),
        Box::new(|facts| {
            if facts.rows > DEFAULT_ROWS {
                facts.rows /= 2;
            }
        }),
        Box::new(move |facts| {
            facts.size_bytes = ClassBytes { segment: DEFAULT_SIZE_BYTES, ..ClassBytes::default() };
            all_new(facts);
        }),
        Box::new(move |facts| {
            if facts.size_bytes.segment > DEFAULT_SIZE_BYTES {
                let segment = facts.size_bytes.segment / 2;
                facts.size_bytes = ClassBytes { segment, ..ClassBytes::default() };
                all_new(facts);
            }
        }),
        Box::new(all_new),
        Box::new(|facts| {
            if facts.new_bytes < facts.size_bytes.total() {
                facts.new_bytes /= 2;
            }
        }),
    ]
}

/// Streams, one by one.
fn stream_edits(scenario: &Scenario, kind: PolicyKind) -> Vec<Edit> {
    let mut edits = Vec::new();
    if kind != PolicyKind::Compression {
        return edits;
    }
    for facts in scenario.streams.iter().take(16) {
        let key = (facts.collection.clone(), facts.class);
        let (gone, plain) = (key.clone(), key);
        edits.push(edit(move |scenario| {
            scenario.streams.retain(|stream| (&stream.collection, stream.class) != (&gone.0, gone.1));
        }));
        let of = |change: Box<dyn Fn(&mut StreamFacts)>| {
            let key = plain.clone();
            edit(move |scenario| {
                let same = |stream: &&mut StreamFacts| (&stream.collection, stream.class) == (&key.0, key.1);
                scenario.streams.iter_mut().filter(same).for_each(&change);
            })
        };
        edits.push(of(Box::new(|stream| stream.files = 1)));
        edits.push(of(Box::new(|stream| stream.extra.clear())));
        edits.push(of(Box::new(|stream| stream.new_bytes = stream.size_bytes)));
        edits.push(of(Box::new(|stream| stream.sampled_bytes = stream.new_bytes.min(1 << 20))));
        edits.push(of(Box::new(|stream| {
            if stream.size_bytes > DEFAULT_SIZE_BYTES {
                stream.size_bytes /= 2;
            }
            stream.new_bytes = stream.new_bytes.min(stream.size_bytes);
            stream.sampled_bytes = stream.sampled_bytes.min(stream.new_bytes);
        })));
        for place in (0..facts.offers.len()).rev() {
            edits.push(of(Box::new(move |stream| {
                if stream.offers.len() > 1 {
                    remove(&mut stream.offers, place);
                }
            })));
        }
    }
    edits
}
