//! The fuzzer finds planted bugs, shrinks them, and what it writes fails for the same reason.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use longshore_model::{CodecChoice, Reason, Selected};
use longshore_policy_test::cases::CaseFile;
use longshore_policy_test::{Counterexample, FuzzOptions, FuzzReport, Scenario, Subject};

use crate::support::{Fake, outcome, placed, plain, refused, selected, trapped, write};

const OPTIONS: FuzzOptions = FuzzOptions { seed: 1, rounds: 300 };

/// Fuzzes with the text of a `fuzz.toml`.
fn fuzz(subject: &Subject, declared: &str) -> FuzzReport {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "fuzz.toml", declared);
    subject.fuzz(Some(folder.path()), OPTIONS).unwrap()
}

/// The one counterexample, after checking that its case fails on this plugin and passes on a good one.
fn found(subject: &Subject, declared: &str) -> (Counterexample, Scenario) {
    let report = fuzz(subject, declared);
    let [one] = report.counterexamples.as_slice() else { panic!("{:#?}", report.counterexamples) };
    let cases = CaseFile::parse("cases/found.toml", &one.case).unwrap_or_else(|error| panic!("{error}\n{}", one.case));
    let case = &cases.cases().unwrap()[0];
    let again = subject.run_case(case, None);
    assert!(!again.passed, "the case passes:\n{}", one.case);
    assert!(plain().subject().run_case(case, None).passed, "a good plugin fails:\n{}", one.case);
    (one.clone(), case.scenario.clone())
}

#[test]
fn a_good_plugin_is_left_in_peace_and_the_seed_decides_everything() {
    let report = fuzz(
        &plain().subject(),
        "may_refuse = false\n[[monotone]]\nwhen = \"rows\"\nthen = \"selected\"\nnever = \"changes\"",
    );
    assert!(report.counterexamples.is_empty(), "{:#?}", report.counterexamples);
    assert!(report.questions > 3_000 && report.refused == 0);
    let buggy = || Fake::new().select(|facts| (facts.rows < 9_000).then(|| selected(facts.rows != 7, "x"))).subject();
    let declared = "[[always]]\nkind = \"selection\"\nopinion = true";
    let (one, two) = (fuzz(&buggy(), declared), fuzz(&buggy(), declared));
    assert_eq!(one.counterexamples[0].case, two.counterexamples[0].case);
}

#[test]
fn a_crash_on_some_inventories_is_shrunk_to_the_facts_that_matter() {
    let subject = plain()
        .select_pages(|_, page| {
            let bad = page.iter().any(|facts| facts.consecutive_failures > 3 && facts.last_backup.is_some());
            if bad {
                return Err(trapped());
            }
            Ok(outcome((0..u32::try_from(page.len()).unwrap()).map(|place| (place, selected(true, "all"))).collect()))
        })
        .subject();
    let (one, scenario) = found(&subject, "");
    assert_eq!(one.property, "contract (trapped)");
    assert_eq!(scenario.collections.len(), 1);
    let facts = &scenario.collections[0];
    let mut plain = longshore_model::CollectionFacts::named("default.c1".parse().unwrap());
    (plain.rows, plain.size_bytes.segment, plain.new_bytes) = (1_000, 4_000_000, 4_000_000);
    (plain.consecutive_failures, plain.last_backup) = (facts.consecutive_failures, facts.last_backup.clone());
    assert_eq!(*facts, plain, "nothing is left but what matters");
    assert!((4..=7).contains(&facts.consecutive_failures) && facts.last_backup.is_some());
}

#[test]
fn answers_by_place_are_found_by_another_order() {
    let subject = plain()
        .select_pages(|_, page| {
            let each = (0_u32..).zip(page).map(|(place, _)| (place, selected(place != 1, "second")));
            Ok(outcome(each.collect()))
        })
        .subject();
    let (one, scenario) = found(&subject, "");
    assert_eq!((one.property.as_str(), scenario.collections.len()), ("order", 2));
    insta::assert_snapshot!(one.case);
    insta::assert_snapshot!(longshore_policy_test::report::fuzz(&fuzz(&subject, "")));
    let declared = fuzz(&subject, "order_matters = true");
    insta::assert_snapshot!(longshore_policy_test::report::fuzz(&declared));
}

#[test]
fn a_hidden_state_is_found_by_asking_twice() {
    let calls = AtomicU64::new(0);
    let subject = plain()
        .select(move |_| {
            Some(Selected {
                priority: i32::try_from(calls.fetch_add(1, Ordering::SeqCst) % 7).unwrap(),
                ..selected(true, "x")
            })
        })
        .subject();
    let report = fuzz(&subject, "order_matters = true");
    assert_eq!(report.counterexamples[0].property, "deterministic");
}

#[test]
fn declared_properties_are_checked() {
    let dropping = plain().select(|facts| Some(selected(facts.rows < 100_000 || !facts.protected, "large"))).subject();
    let (one, scenario) = found(&dropping, "[[always]]\nwhere = { protected = true }\nselected = true");
    assert_eq!((one.property.as_str(), scenario.collections.len()), ("always 1", 1));
    assert!(scenario.collections[0].protected && scenario.collections[0].rows >= 100_000);
    assert!(scenario.collections[0].rows < 200_000, "halved until it could not be: {}", scenario.collections[0].rows);

    let odd = plain().select(|facts| Some(selected(facts.rows % 2 == 0, "odd"))).subject();
    let (one, _) = found(&odd, "[[monotone]]\nwhen = \"rows\"\nthen = \"selected\"\nnever = \"falls\"");
    assert_eq!(one.property, "monotone 1");
    assert!(
        one.case.contains("monotone = { when = \"rows\", goes = \"up\", then = \"selected\", never = \"falls\", by = "),
        "{}",
        one.case
    );

    let refusing = plain()
        .place(|facts, regions| (facts.criticality.is_none()).then(|| placed(regions[0].id.as_str(), &[], None)))
        .subject();
    let (one, _) = found(&refusing, "[[always]]\nkind = \"placement\"\nopinion = true");
    assert_eq!((one.property.as_str(), one.kind), ("always 1", longshore_model::PolicyKind::Placement));
}

#[test]
fn a_refusal_is_a_finding_only_where_it_is_declared_not_to_happen() {
    let refusing = || {
        plain().select_pages(|call, page| {
            if call.run.month_budget_micros.is_some_and(|budget| budget < call.run.month_spend_micros) {
                return Err(refused("too-dear", "It costs too much.", &[]));
            }
            Ok(outcome((0..u32::try_from(page.len()).unwrap()).map(|place| (place, selected(true, "all"))).collect()))
        })
    };
    let report = fuzz(&refusing().subject(), "");
    assert!(report.counterexamples.is_empty() && report.refused > 10, "{report:?}");
    let (one, scenario) = found(&refusing().subject(), "may_refuse = false");
    assert_eq!(one.property, "never refuses");
    assert_eq!(scenario.run.month_budget_micros, Some(0));
    assert!(scenario.run.month_spend_micros > 0);
}

#[test]
fn streams_are_shrunk_too() {
    let subject = plain()
        .choose(|stream| {
            let slow = stream.offers.iter().position(|offer| offer.codec.to_string() == "zstd-3");
            let codec = stream.offers[slow.unwrap_or(0)].codec;
            Some(CodecChoice { codec, reason: Reason::new("x", "X.") })
        })
        .subject();
    let report = fuzz(&subject, "[[always]]\ncodec_not = \"zstd-3\"");
    let case = &CaseFile::parse("found.toml", &report.counterexamples[0].case).unwrap().cases().unwrap()[0];
    assert!(!subject.run_case(case, None).passed);
    let scenario = &case.scenario;
    assert_eq!(scenario.streams.len(), 1);
    let codecs: Vec<String> = scenario.streams[0].offers.iter().map(|offer| offer.codec.to_string()).collect();
    assert_eq!(codecs, ["zstd-3"]);
}

#[test]
fn words_and_settings_come_from_the_cases_beside() {
    let folder = tempfile::tempdir().unwrap();
    let case = r#"
        settings = { days = 9 }
        [[collection]]
        name = "docs"
        properties = { "data.region" = "mars" }
        [[expect]]
        selected = true
    "#;
    write(folder.path(), "one.toml", case);
    let subject = plain()
        .select_pages(|call, page| {
            let mars =
                |facts: &longshore_model::CollectionFacts| facts.properties.iter().any(|(_, value)| value == "mars");
            if call.settings == "{\"days\":9}" && page.iter().any(mars) {
                return Err(trapped());
            }
            Ok(outcome(Vec::new()))
        })
        .subject();
    let mut report = subject.fuzz(Some(folder.path()), OPTIONS).unwrap();
    let written = folder.path().join("found");
    report.write(&written).unwrap();
    let path = report.counterexamples[0].written.clone().unwrap();
    assert_eq!(path, written.join("fuzz-selection-contract-trapped-1.toml"));
    let text = std::fs::read_to_string(&path).unwrap();
    assert!(text.contains("\"data.region\" = \"mars\"") && text.contains("\"days\" = 9"), "{text}");
    assert_eq!(subject.test(Path::new(&written)).unwrap().failed, 1);
}

#[test]
fn a_plugin_that_needs_settings_says_where_to_put_them() {
    let schema = r#"{"type": "object", "required": ["days"], "properties": {"days": {"type": "integer"}}}"#;
    let error = plain().schema(schema).subject().fuzz(None, OPTIONS).unwrap_err().to_string();
    assert!(error.contains("cases/fuzz.toml"), "{error}");
    assert!(fuzz(&plain().schema(schema).subject(), "settings = [{ days = 3 }]").counterexamples.is_empty());
}
