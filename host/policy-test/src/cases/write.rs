//! Writing a scenario as a case file, as short as it can be: what has its default is left out.

use std::fmt::Write as _;

use longshore_model::{
    CodecOffer, CollectionFacts, ExtraFact, FactValue, LoadState, PolicyKind, RegionHealth, RegionOffer, RunFacts,
    RunKind, RunTrigger, StreamFacts,
};
use longshore_sandbox::Budget;

use super::inventory::{
    DEFAULT_ROWS, DEFAULT_SIZE_BYTES, DEFAULT_STORAGE_PRICE, DEFAULT_TIME, DEFAULT_TRANSFER_PRICE, home_region,
};
use crate::Scenario;
use crate::scenario::totals;

/// A case to be written.
#[derive(Debug, Clone)]
pub(crate) struct Written<'a> {
    /// Lines of comment above it.
    pub(crate) comment: &'a str,
    /// What it shows.
    pub(crate) description: &'a str,
    /// The kind that is asked: what others would be told is left out.
    pub(crate) kind: PolicyKind,
    /// What is asked about.
    pub(crate) scenario: &'a Scenario,
    /// The keys of its one expectation.
    pub(crate) expect: &'a str,
}

/// The text of a case file.
pub(crate) fn write_case(case: &Written<'_>) -> String {
    let Written { comment, description, kind, scenario, expect } = case;
    let mut text = Text::default();
    for line in comment.lines() {
        text.line(format!("# {line}").trim_end());
    }
    text.key("description", quoted(description));
    if scenario.settings.as_object().is_some_and(|settings| !settings.is_empty()) {
        text.key("settings", json(&scenario.settings));
    }
    if let Some(budget) = scenario.budget.filter(|budget| *budget != Budget::default()) {
        text.key("budget", json(&serde_json::to_value(budget).unwrap_or_default()));
    }
    if !scenario.files.is_empty() {
        text.key("files", files(&scenario.files));
    }
    if scenario.page_items != longshore_model::Limits::DEFAULT.page_items {
        text.key("page_items", scenario.page_items);
    }
    run(&mut text, scenario);
    if home_region().map_or(true, |home| scenario.regions != [home]) {
        scenario
            .regions
            .iter()
            .enumerate()
            .for_each(|(place, region)| self::region(&mut text, region, place, scenario));
    }
    for facts in &scenario.collections {
        collection(&mut text, facts, scenario);
        if *kind == PolicyKind::Compression {
            let streams = scenario.streams.iter().filter(|stream| stream.collection == facts.name);
            streams.for_each(|facts| stream(&mut text, facts));
        }
    }
    text.line("\n[[expect]]");
    text.key("kind", quoted(kind.as_str()));
    text.line(expect.trim_end());
    text.0
}

/// Text of a file in the making.
#[derive(Default)]
struct Text(String);

impl Text {
    fn line(&mut self, line: &str) {
        self.0.push_str(line);
        self.0.push('\n');
    }

    fn key(&mut self, key: &str, value: impl std::fmt::Display) {
        // Writing into a String cannot fail.
        let _ = writeln!(self.0, "{key} = {value}");
    }

    fn key_unless<T: PartialEq + std::fmt::Display>(&mut self, key: &str, value: T, default: T) {
        if value != default {
            self.key(key, value);
        }
    }

    fn text_unless(&mut self, key: &str, value: &str, default: &str) {
        if value != default {
            self.key(key, quoted(value));
        }
    }

    fn optional<T: std::fmt::Display>(&mut self, key: &str, value: Option<T>) {
        if let Some(value) = value {
            self.key(key, value);
        }
    }

    fn pairs(&mut self, key: &str, pairs: &[(String, String)]) {
        if !pairs.is_empty() {
            let pairs: Vec<String> =
                pairs.iter().map(|(key, value)| format!("{} = {}", quoted(key), quoted(value))).collect();
            self.key(key, format!("{{ {} }}", pairs.join(", ")));
        }
    }

    fn extra(&mut self, facts: &[ExtraFact]) {
        if !facts.is_empty() {
            let value = |value: &FactValue| match value {
                FactValue::Flag(flag) => flag.to_string(),
                FactValue::Integer(number) => number.to_string(),
                FactValue::Text(text) => quoted(text),
            };
            let facts: Vec<String> =
                facts.iter().map(|fact| format!("{} = {}", quoted(&fact.name), value(&fact.value))).collect();
            self.key("extra", format!("{{ {} }}", facts.join(", ")));
        }
    }
}

/// Text as TOML writes it, also good as a key.
pub(crate) fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for character in text.chars() {
        match character {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            control if control.is_control() => {
                let _ = write!(quoted, "\\u{:04X}", u32::from(control));
            }
            plain => quoted.push(plain),
        }
    }
    quoted.push('"');
    quoted
}

fn list(items: impl IntoIterator<Item = String>) -> String {
    format!("[{}]", items.into_iter().collect::<Vec<_>>().join(", "))
}

/// JSON as inline TOML. `null` has no TOML; no settings can hold it that came from TOML.
pub(crate) fn json(value: &serde_json::Value) -> String {
    match value {
        serde_json::Value::String(text) => quoted(text),
        serde_json::Value::Array(values) => list(values.iter().map(json)),
        serde_json::Value::Object(fields) if fields.is_empty() => "{}".to_owned(),
        serde_json::Value::Object(fields) => {
            let fields: Vec<String> =
                fields.iter().map(|(key, value)| format!("{} = {}", quoted(key), json(value))).collect();
            format!("{{ {} }}", fields.join(", "))
        }
        scalar => scalar.to_string(),
    }
}

/// Granted files as an inline table. What is not text is written as near to it as text comes.
fn files(granted: &longshore_policy::GrantedFiles) -> String {
    let directories: Vec<String> = granted
        .directories()
        .map(|guest| {
            let own = granted.files().filter(|(directory, ..)| *directory == guest);
            let own: Vec<String> = own
                .map(|(_, path, bytes)| format!("{} = {}", quoted(path), quoted(&String::from_utf8_lossy(bytes))))
                .collect();
            format!("{} = {{ {} }}", quoted(guest), own.join(", "))
        })
        .collect();
    format!("{{ {} }}", directories.join(", "))
}

fn run(text: &mut Text, scenario: &Scenario) {
    let RunFacts { kind, trigger, cluster_id, cluster_name, project_id, home_region, time, seed, .. } = &scenario.run;
    let mut table = Text::default();
    if *kind == RunKind::Collection {
        table.key("kind", quoted("collection"));
    }
    if *trigger == RunTrigger::Automatic {
        table.key("trigger", quoted("automatic"));
    }
    table.text_unless("time", &time.to_string(), DEFAULT_TIME);
    table.key_unless("seed", *seed, 1);
    table.text_unless("cluster_id", cluster_id.as_str(), "in01-test");
    table.text_unless("cluster_name", cluster_name, "test");
    table.text_unless("project_id", project_id.as_str(), "proj-test");
    let home = scenario.regions.iter().find(|region| region.home).or(scenario.regions.first());
    table.text_unless("home_region", home_region.as_str(), home.map_or("", |region| region.id.as_str()));
    table.optional("next_run", scenario.run.next_run.map(|time| quoted(&time.to_string())));
    table.key_unless("month_spend_micros", scenario.run.month_spend_micros, 0);
    table.optional("month_budget_micros", scenario.run.month_budget_micros);
    table.extra(&scenario.run.extra);
    let (given, counted) = (scenario.run.totals, totals(&scenario.collections));
    if given != counted {
        table.key("totals.collections", given.collections);
        table.key("totals.rows", given.rows);
        table.key("totals.size_bytes", given.size_bytes);
        table.key("totals.new_bytes", given.new_bytes);
    }
    if !table.0.is_empty() {
        text.line("\n[run]");
        text.0.push_str(&table.0);
    }
}

fn region(text: &mut Text, region: &RegionOffer, place: usize, scenario: &Scenario) {
    text.line("\n[[region]]");
    text.key("id", quoted(region.id.as_str()));
    text.text_unless("provider", &region.provider, "local");
    text.text_unless("jurisdiction", &region.jurisdiction, "");
    let marked = scenario.regions.iter().any(|region| region.home);
    // One mark makes the reader leave all others unmarked; without any the first would be home.
    if region.home || (!marked && place == 0) {
        text.key("home", region.home);
    }
    text.key_unless(
        "storage_price_micros_per_gb_month",
        region.storage_price_micros_per_gb_month,
        DEFAULT_STORAGE_PRICE,
    );
    text.key_unless("transfer_price_micros_per_gb", region.transfer_price_micros_per_gb, DEFAULT_TRANSFER_PRICE);
    match region.health {
        RegionHealth::Healthy => {}
        RegionHealth::Degraded => text.key("health", quoted("degraded")),
        RegionHealth::Unreachable => text.key("health", quoted("unreachable")),
    }
    text.key_unless("used_bytes", region.used_bytes, 0);
    text.extra(&region.extra);
}

fn collection(text: &mut Text, facts: &CollectionFacts, scenario: &Scenario) {
    text.line("\n[[collection]]");
    text.key("name", quoted(&facts.name.to_string()));
    text.pairs("properties", &facts.properties);
    text.pairs("labels", &facts.labels);
    text.optional("criticality", facts.criticality.as_deref().map(quoted));
    text.optional("recovery_point_objective_seconds", facts.recovery_point_objective_seconds);
    text.key_unless("protected", facts.protected, false);
    text.key_unless("requested", facts.requested, false);
    text.key_unless("rows", facts.rows, DEFAULT_ROWS);
    let sizes = &facts.size_bytes;
    if sizes.total() != sizes.segment {
        let classes = longshore_model::FileClass::ALL.into_iter().filter(|class| sizes.of(*class) > 0);
        let classes: Vec<String> = classes.map(|class| format!("{class} = {}", sizes.of(class))).collect();
        text.key("size_bytes", format!("{{ {} }}", classes.join(", ")));
    } else {
        text.key_unless("size_bytes", sizes.segment, DEFAULT_SIZE_BYTES);
    }
    text.key_unless("new_bytes", facts.new_bytes, sizes.total());
    let time = |time: Option<longshore_model::Timestamp>| time.map(|time| quoted(&time.to_string()));
    text.optional("created", time(facts.created));
    text.optional("last_write", time(facts.last_write));
    match facts.load_state {
        LoadState::Unknown => {}
        LoadState::NotLoaded => text.key("load_state", quoted("not-loaded")),
        LoadState::Loaded => text.key("load_state", quoted("loaded")),
    }
    if !facts.indexes.is_empty() {
        let index = |index: &longshore_model::IndexFacts| {
            let (field, kind) = (quoted(&index.field_name), quoted(&index.index_type));
            format!("{{ field_name = {field}, index_type = {kind}, metric_type = {} }}", quoted(&index.metric_type))
        };
        text.key("indexes", list(facts.indexes.iter().map(index)));
    }
    if let Some(last) = &facts.last_backup {
        text.key("last_backup", last_backup(last, facts, scenario));
    }
    text.key_unless("consecutive_failures", facts.consecutive_failures, 0);
    text.optional("last_proven_restore", time(facts.last_proven_restore));
    text.optional("previous_reason_code", facts.previous_reason_code.as_deref().map(quoted));
    text.extra(&facts.extra);
}

fn last_backup(last: &longshore_model::LastBackup, facts: &CollectionFacts, scenario: &Scenario) -> String {
    let time = quoted(&last.time.to_string());
    let home = scenario.regions.iter().find(|region| region.home).or(scenario.regions.first());
    let ordinary = last.backup_id.as_str() == "backup0_1"
        && home.is_some_and(|home| last.regions == [home.id.clone()])
        && last.codecs == ["zstd-1"]
        && last.stored_bytes == facts.size_bytes.total();
    if ordinary {
        return time;
    }
    let regions = list(last.regions.iter().map(|region| quoted(region.as_str())));
    let codecs = list(last.codecs.iter().map(|codec| quoted(codec)));
    let id = quoted(last.backup_id.as_str());
    let stored = last.stored_bytes;
    format!("{{ time = {time}, regions = {regions}, codecs = {codecs}, stored_bytes = {stored}, backup_id = {id} }}")
}

fn stream(text: &mut Text, facts: &StreamFacts) {
    text.line("\n[[collection.stream]]");
    text.key("class", quoted(facts.class.as_str()));
    text.key_unless("files", facts.files, 1);
    text.key("size_bytes", facts.size_bytes);
    text.key("new_bytes", facts.new_bytes);
    text.key("sampled_bytes", facts.sampled_bytes);
    text.key("offers", offers(&facts.offers));
    // What it tells about its collection is added again when the case is read.
    let own = facts.extra.iter().filter(|fact| !StreamFacts::tells_about_collection(&fact.name));
    text.extra(&own.cloned().collect::<Vec<_>>());
}

fn offers(offers: &[CodecOffer]) -> String {
    let in_order = offers.windows(2).all(|pair| matches!(pair, [one, two] if one.codec < two.codec));
    if in_order && offers.iter().all(|one| *one == CodecOffer::calibrated(one.codec, one.ratio_thousandths)) {
        let ratios = offers.iter().map(|offer| format!("{} = {}", offer.codec, offer.ratio_thousandths));
        return format!("{{ {} }}", ratios.collect::<Vec<_>>().join(", "));
    }
    list(offers.iter().map(|offer| {
        format!(
            "{{ codec = \"{}\", ratio_thousandths = {}, compress_mb_per_second = {}, decompress_mb_per_second = {} }}",
            offer.codec, offer.ratio_thousandths, offer.compress_mb_per_second, offer.decompress_mb_per_second
        )
    }))
}
