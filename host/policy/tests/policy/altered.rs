//! What would have changed a decision.

use std::sync::Arc;

use longshore_model::{ExtraFact, FactValue, FileClass, LastBackup, RegionHealth};
use longshore_policy::{Counterfactuals, DecisionRecord, Limits, Oracle, Voice, alterations, what_would_change};

use crate::support::*;

fn voices<'a>(records: &'a [DecisionRecord], item: &str, plugins: &'a [Arc<Fake>]) -> Vec<Voice<'a>> {
    let collection = item.split('/').next().unwrap().parse().unwrap();
    let mut voices = Vec::new();
    for record in records {
        for place in record.question.places_of(&collection) {
            if record.question.item_name(place).as_deref() == Some(item) {
                let plugin = plugins.iter().find(|plugin| plugin.digest == record.asked.digest);
                voices.push(Voice { record, place, plugin: plugin.map(|plugin| plugin.as_ref() as &dyn Oracle) });
            }
        }
    }
    voices
}

fn facts_that_matter(found: &Counterfactuals) -> Vec<String> {
    found.changes.iter().map(|one| format!("{} {} -> {}", one.fact, one.if_it_were, one.decision)).collect()
}

#[test]
fn one_fact_at_a_time_is_altered_and_those_that_matter_are_named_with_the_new_reason() {
    let small = Arc::new(Fake::new("small").select_each(|one| {
        let out = one.rows < 100 && one.labels.is_empty();
        Some(selected(!out, if out { "too-small" } else { "large-enough" }))
    }));
    let mut facts = collections(&["a", "b"]);
    facts[0].rows = 7;
    facts[1].labels = vec![("tier".to_owned(), "gold".to_owned())];
    let records =
        set(&[&small, &Arc::new(Fake::standard())]).select(&manual(), &facts, &no_guardrails()).unwrap().records;
    let plugins = [Arc::clone(&small), Arc::new(Fake::standard())];
    let found = what_would_change(&voices(&records, "default.a", &plugins), &Limits::DEFAULT).unwrap();
    assert_eq!(
        facts_that_matter(&found),
        ["protected true -> in", "label tier gold -> in", "rows 700 -> in"],
        "the guardrail of the protected fact counts, too: {found:?}"
    );
    assert_eq!(found.changes[0].reason.as_ref().unwrap().code, "protected");
    assert_eq!(found.changes[2].reason.as_ref().unwrap().code, "large-enough");
    assert!(found.without_effect.iter().any(|fact| fact.starts_with("rows 0")));
    assert_eq!(found.not_tried, 0);
}

#[test]
fn a_decision_about_a_region_names_the_health_the_price_and_the_property_that_decide() {
    let cheap = Arc::new(Fake::new("cheap").place_each(|one, regions| {
        let wanted = one.properties.iter().find(|(key, _)| key == "data.region").map(|(_, value)| value.clone());
        let healthy = regions.iter().filter(|region| region.health == RegionHealth::Healthy);
        let inside = healthy.filter(|region| wanted.as_ref().is_none_or(|wanted| *wanted == region.jurisdiction));
        inside
            .min_by_key(|region| region.storage_price_micros_per_gb_month)
            .map(|region| placed(region.id.as_str(), &[], None))
    }));
    let mut facts = collections(&["a", "b"]);
    facts[0].properties = vec![("data.region".to_owned(), "eu".to_owned())];
    let offers = regions(&["eu-1", "us-1"]);
    let chain = set(&[&cheap, &Arc::new(Fake::standard())]);
    let records = chain.place(&manual(), &facts, &offers, &no_guardrails()).unwrap().records;
    let found = what_would_change(&voices(&records, "default.a", &[cheap]), &Limits::DEFAULT).unwrap();
    let matter = facts_that_matter(&found);
    assert_eq!(
        matter,
        ["property data.region us -> us-1", "region eu-1 health unreachable -> left to the next policy of the chain"],
        "{found:?}"
    );
}

#[test]
fn a_stream_is_altered_by_its_offers() {
    let saving = Arc::new(Fake::new("saving").choose_each(|stream| {
        let best = stream.offers.iter().max_by_key(|offer| offer.ratio_thousandths).unwrap();
        Some(codec(&best.codec.to_string(), "best-ratio"))
    }));
    let mut one = stream("a", FileClass::Wal, &["zstd-1", "lz4"]);
    one.offers[0].ratio_thousandths = 1_500;
    let records = set(&[&saving]).choose(&manual(), &[one]).unwrap().records;
    let found = what_would_change(&voices(&records, "default.a/wal", &[saving]), &Limits::DEFAULT).unwrap();
    assert_eq!(facts_that_matter(&found), ["ratio of zstd-1 1.00 -> lz4", "ratio of lz4 2.00 -> lz4"]);
}

#[test]
fn a_member_that_is_not_at_hand_keeps_what_it_said() {
    let no = Arc::new(Fake::new("no").select_each(|_| Some(selected(false, "no"))));
    let rows = Arc::new(Fake::new("rows").select_each(|one| Some(selected(one.rows > 5, "rows"))));
    let records = set(&[&no, &rows]).select(&manual(), &collections(&["a"]), &no_guardrails()).unwrap().records;
    let found = what_would_change(&voices(&records, "default.a", &[Arc::clone(&rows)]), &Limits::DEFAULT).unwrap();
    let matter = facts_that_matter(&found);
    assert_eq!(matter, ["protected true -> in"], "whatever `rows` says, `no` still says no");
    assert_eq!(no.seen.lock().unwrap().len(), 1);
}

#[test]
fn calls_are_bounded_and_what_was_not_tried_is_counted() {
    let fake = Arc::new(Fake::standard());
    let records = set(&[&fake]).select(&manual(), &collections(&["a"]), &no_guardrails()).unwrap().records;
    let all = alterations(&records[0], 0, &Limits::DEFAULT).len();
    let limits = Limits { counterfactual_calls: 3, ..Limits::DEFAULT };
    fake.seen.lock().unwrap().clear();
    let found = what_would_change(&voices(&records, "default.a", &[Arc::clone(&fake)]), &limits).unwrap();
    assert_eq!((found.calls, found.not_tried, fake.seen.lock().unwrap().len()), (3, all - 3, 3));
}

#[test]
fn a_plugin_that_fails_on_an_altered_fact_is_told_as_what_would_have_happened() {
    let touchy = Arc::new(Fake::new("touchy").select_pages(|_, page| {
        if page[0].rows > 100 { Err(trapped()) } else { Ok(outcome(vec![(0, selected(true, "in"))])) }
    }));
    let mut facts = collections(&["a"]);
    facts[0].rows = 3;
    let records = set(&[&touchy]).select(&manual(), &facts, &no_guardrails()).unwrap().records;
    let found = what_would_change(&voices(&records, "default.a", &[touchy]), &Limits::DEFAULT).unwrap();
    assert_eq!(found.changes.len(), 1, "{found:?}");
    assert_eq!((found.changes[0].fact.as_str(), found.changes[0].if_it_were.as_str()), ("rows", "300"));
    assert!(found.changes[0].decision.starts_with("the job fails: touchy failed (trapped)"), "{found:?}");
}

#[test]
fn what_a_stream_tells_about_its_collection_is_altered() {
    let text = |stream: &longshore_model::StreamFacts, name: &str| {
        let fact = stream.extra.iter().find(|fact| fact.name == name);
        fact.map(|fact| fact.value.clone())
    };
    let now = manual().time;
    let picky = Arc::new(Fake::new("picky").choose_each(move |stream| {
        let hot = text(stream, "collection-last-write-time-ms") == Some(FactValue::Integer(now.as_millis()));
        let gold = text(stream, "collection-property:tier") == Some(FactValue::Text("gold".to_owned()));
        let protected = text(stream, "collection-protected") == Some(FactValue::Flag(true));
        Some(codec(if hot || gold || protected { "lz4" } else { "zstd-1" }, "picky"))
    }));
    let mut facts = collections(&["a", "b"]);
    facts[0].last_write = Some(now.plus_millis(-1_000));
    facts[1].properties = vec![("tier".to_owned(), "gold".to_owned())];
    let streams = facts
        .iter()
        .map(|facts| stream(&facts.name.collection, FileClass::Segment, &["zstd-1", "lz4"]).telling_about(facts));
    let records = set(&[&picky]).choose(&manual(), &streams.collect::<Vec<_>>()).unwrap().records;
    let plugins = [picky];
    let found = what_would_change(&voices(&records, "default.a/segment", &plugins), &Limits::DEFAULT).unwrap();
    assert_eq!(
        facts_that_matter(&found),
        [
            "extra collection-last-write-time-ms just before the run -> lz4",
            "extra collection-protected true -> lz4",
            "extra collection-property:tier gold -> lz4",
        ],
        "{found:?}"
    );
    let found = what_would_change(&voices(&records, "default.b/segment", &plugins), &Limits::DEFAULT).unwrap();
    assert_eq!(facts_that_matter(&found), ["extra collection-property:tier absent -> zstd-1"], "{found:?}");
}

#[test]
fn the_age_of_the_last_backup_the_objective_the_proof_and_extra_facts_are_altered() {
    let now = manual().time;
    let due = Arc::new(Fake::new("due").select_each(move |one| {
        let age_ms = one.last_backup.as_ref().map_or(i64::MAX, |last| now.millis_since(last.time));
        let objective_ms = one.recovery_point_objective_seconds.map_or(i64::MAX, |seconds| seconds as i64 * 1_000);
        let unproven = one.last_proven_restore.is_none();
        let extra = one.extra.iter().any(|fact| fact.value == FactValue::Integer(500));
        Some(selected(age_ms >= objective_ms || age_ms > 40 * 86_400_000 || unproven || extra, "due"))
    }));
    let mut facts = collections(&["a"]);
    let last = LastBackup {
        backup_id: longshore_model::BackupId::from_random([1; 10]),
        time: now.plus_millis(-7_200_000),
        regions: Vec::new(),
        codecs: Vec::new(),
        stored_bytes: 0,
    };
    facts[0].last_backup = Some(last);
    facts[0].recovery_point_objective_seconds = Some(86_400);
    facts[0].last_proven_restore = Some(now.plus_millis(-9));
    facts[0].extra = vec![ExtraFact { name: "shards".to_owned(), value: FactValue::Integer(5) }];
    let records =
        set(&[&due, &Arc::new(Fake::standard())]).select(&manual(), &facts, &no_guardrails()).unwrap().records;
    let found = what_would_change(&voices(&records, "default.a", &[due]), &Limits::DEFAULT).unwrap();
    assert_eq!(
        facts_that_matter(&found),
        [
            "protected true -> in",
            "last_backup never backed up -> in",
            "last_backup a year before the run -> in",
            "recovery_point_objective 3600 s -> in",
            "last_proven_restore never -> in",
            "extra shards 500 -> in",
        ],
        "{found:?}"
    );
}
