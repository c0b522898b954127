//! What a case asks, and what its report says.

use std::sync::{Arc, Mutex};

use longshore_model::PolicyKind;
use longshore_policy_test::cases::CaseFile;
use longshore_policy_test::{Scenario, report};

use crate::support::{Fake, outcome, placed, plain, refused, run, selected, trapped, write, wrong};

#[test]
fn the_shortest_case_has_an_ordinary_collection() {
    let scenario = Scenario::from_toml("[[collection]]\nname = \"docs\"").unwrap();
    let facts = &scenario.collections[0];
    assert_eq!((facts.name.to_string().as_str(), facts.rows, facts.new_bytes), ("default.docs", 1_000, 4_000_000));
    assert_eq!(scenario.run.totals.size_bytes, 4_000_000);
    assert_eq!(scenario.streams.len(), 1);
    assert_eq!(scenario.streams[0].sampled_bytes, 1 << 20);
    assert_eq!(scenario.regions.iter().map(|region| region.id.as_str()).collect::<Vec<_>>(), ["local"]);
    assert!(run(&plain().subject(), "[[collection]]\nname = \"docs\"\n[[expect]]\nselected = true").passed);
}

#[test]
fn every_fact_that_is_written_is_told() {
    let scenario = Scenario::from_toml(
        r#"
        settings = { days = 3 }
        page_items = 7
        offers = { store = 1000, zstd-1 = 1500 }
        [run]
        kind = "collection"
        trigger = "automatic"
        time = 2026-06-01T00:00:00Z
        seed = 9
        next_run = "in 6 hours"
        month_budget_micros = 5
        totals.rows = 77
        extra = { tenant = "a", shards = 2, frozen = true }
        [[region]]
        id = "us-1"
        provider = "aws"
        [[region]]
        id = "eu-1"
        jurisdiction = "eu"
        home = true
        health = "degraded"
        used_bytes = "1 GiB"
        [[collection]]
        name = "sales.a{n}"
        count = 12
        properties = { "data.region" = "eu" }
        protected = true
        size_bytes = { segment = "3 GB", index = "1 GB" }
        new_bytes = "2 GB"
        last_write = "40 days ago"
        created = "2025-01-01T00:00:00Z"
        last_backup = "1 day ago"
        indexes = [{ field_name = "v", index_type = "HNSW", metric_type = "IP" }]
        "#,
    )
    .unwrap();
    let run = &scenario.run;
    assert_eq!(run.home_region.as_str(), "eu-1");
    assert_eq!(run.next_run.unwrap().to_string(), "2026-06-01T06:00:00Z");
    assert_eq!((run.totals.collections, run.totals.rows, run.totals.size_bytes), (12, 77, 48_000_000_000));
    assert_eq!(run.extra.len(), 3);
    let last = &scenario.collections[11];
    assert_eq!(last.name.to_string(), "sales.a12");
    assert_eq!(scenario.collections[0].name.to_string(), "sales.a01");
    assert_eq!(last.last_write.unwrap().to_string(), "2026-04-22T00:00:00Z");
    assert_eq!(last.last_backup.as_ref().unwrap().time.to_string(), "2026-05-31T00:00:00Z");
    let streams: Vec<_> = scenario.streams.iter().filter(|stream| stream.collection == last.name).collect();
    assert_eq!(streams.len(), 2);
    // As new as the collection: half of each.
    assert_eq!((streams[0].new_bytes, streams[1].new_bytes), (1_500_000_000, 500_000_000));
    assert_eq!(streams[0].offers[1].ratio_thousandths, 1_500);
    assert_eq!(scenario.regions[1].used_bytes, 1 << 30);
    assert!(!scenario.regions[0].home);
}

#[test]
fn pages_come_in_order_and_carry_goes_from_one_to_the_next() {
    let seen: Arc<Mutex<Vec<String>>> = Arc::default();
    let note = Arc::clone(&seen);
    let subject = Fake::new()
        .select_pages(move |call, page| {
            let names: Vec<String> = page.iter().map(|facts| facts.name.collection.clone()).collect();
            let line = format!("{} {:?} {} {}", call.page_number, call.carry, call.last_page, names.join(","));
            note.lock().unwrap().push(line);
            let answers = (0..u32::try_from(page.len()).unwrap()).map(|place| (place, selected(true, "all"))).collect();
            Ok(longshore_policy::Outcome {
                carry: vec![u8::try_from(call.page_number).unwrap() + 1],
                ..outcome(answers)
            })
        })
        .subject();
    let text = "page_items = 2\n[[collection]]\nname = \"c{n}\"\ncount = 5\n[[expect]]\nselected = true";
    let report = run(&subject, text);
    assert!(report.passed, "{report:?}");
    assert_eq!((report.calls, report.fuel_used), (3, Some(500)));
    assert_eq!(*seen.lock().unwrap(), ["0 [] false c1,c2", "1 [1] false c3,c4", "2 [2] true c5"]);
}

#[test]
fn only_kinds_that_are_expected_are_asked() {
    let subject = plain().select_pages(|_, _| panic!("nobody asked about selection")).subject();
    assert!(run(&subject, "[[collection]]\nname = \"a\"\n[[expect]]\nregion = \"local\"").passed);
}

#[test]
fn cases_of_a_file_share_what_they_do_not_replace() {
    let text = r#"
        settings = { days = 1 }
        [run]
        seed = 5
        trigger = "automatic"
        [[collection]]
        name = "a"
        rows = 1
        [[expect]]
        selected = true
        [[case]]
        name = "as it is"
        [[case]]
        name = "changed"
        settings = { days = 2 }
        [case.run]
        seed = 6
        [[case.collection]]
        name = "a"
        rows = 2
        [[case.collection]]
        name = "b"
        [[case.expect]]
        reason_code = "all"
        kind = "selection"
    "#;
    let cases = CaseFile::parse("x/tiers.toml", text).unwrap().cases().unwrap();
    let ids: Vec<&str> = cases.iter().map(|case| case.id.as_str()).collect();
    assert_eq!(ids, ["tiers/as it is", "tiers/changed"]);
    let (first, second) = (&cases[0].scenario, &cases[1].scenario);
    assert_eq!((first.run.seed, second.run.seed), (5, 6));
    assert_eq!(second.run.trigger, longshore_model::RunTrigger::Automatic);
    assert_eq!((first.collections.len(), second.collections.len(), second.collections[0].rows), (1, 2, 2));
    assert_eq!((&first.settings["days"], &second.settings["days"]), (&1.into(), &2.into()));
    assert!(cases.iter().all(|case| plain().subject().run_case(case, None).passed));
}

#[test]
fn granted_files_are_told_as_they_are_written_or_lie_beside() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "rules/a.toml", "one");
    write(folder.path(), "rules/below/b.toml", "two");
    let subject = || {
        Fake::new()
            .select_pages(|call, _| {
                let files: Vec<String> = call
                    .files
                    .files()
                    .map(|(guest, path, bytes)| format!("{guest}/{path}={}", String::from_utf8_lossy(bytes)))
                    .collect();
                Ok(outcome(vec![(
                    0,
                    longshore_model::Selected {
                        reason: longshore_model::Reason::new("files", files.join(" ")),
                        ..selected(true, "x")
                    },
                )]))
            })
            .subject()
    };
    let expect =
        |reason: &str| format!("[[collection]]\nname = \"a\"\n[[expect]]\nselected = true\nreason = \"{reason}\"\n");
    let written = "files = { \"/rules\" = { \"a.toml\" = \"one\" } }\n";
    let beside = "grants = { read = [{ guest = \"/rules\", host = \"rules\" }] }\n";
    write(folder.path(), "written.toml", &format!("{written}{}", expect("/rules/a.toml=one")));
    write(folder.path(), "beside.toml", &format!("{beside}{}", expect("/rules/a.toml=one /rules/below/b.toml=two")));
    write(folder.path(), "none.toml", &expect(""));
    subject().test(folder.path()).unwrap().expect_pass();
    let gone = format!("{}{}", beside.replace("host = \"rules\"", "host = \"gone\""), expect(""));
    write(folder.path(), "none.toml", &gone);
    assert!(subject().test(folder.path()).unwrap_err().to_string().contains("gone"));
    assert!(Scenario::from_toml(beside).unwrap_err().to_string().contains("in no file"));
    assert!(Scenario::from_toml(&written.replace("/rules", "rules")).is_err(), "a path that is not absolute");
}

#[test]
fn refusals_and_failures_are_expected_by_code_and_nothing_else_is() {
    let refusing =
        Fake::new().select_pages(|_, _| Err(refused("too-dear", "It costs 7 more than it may.", &[1]))).subject();
    let with = |expect: &str| format!("[[collection]]\nname = \"c{{n}}\"\ncount = 2\n[[expect]]\n{expect}");
    for expect in
        ["refused = \"too-dear\"", "refused = \"too-dear\"\ncollection = \"c2\"\nreason_contains = \"7 more\""]
    {
        assert!(run(&refusing, &with(expect)).passed, "{expect}");
    }
    for expect in [
        "refused = \"other\"",
        "refused = \"too-dear\"\ncollection = \"c1\"",
        "refused = \"too-dear\"\nreason_contains = \"8 more\"",
        "error = \"trapped\"",
        "selected = true",
        "holds = \"answers\"",
    ] {
        assert_eq!(wrong(&refusing, &with(expect)), ["answer"], "{expect}");
    }
    assert!(run(&refusing, &with("holds = \"contract\"")).passed);
    let trapping = Fake::new().select_pages(|_, _| Err(trapped())).subject();
    assert!(run(&trapping, &with("error = \"trapped\"")).passed);
    for expect in ["error = \"out-of-fuel\"", "holds = \"contract\"", "refused = \"too-dear\"", "selected = true"] {
        assert_eq!(wrong(&trapping, &with(expect)), ["answer"], "{expect}");
    }
}

#[test]
fn settings_are_checked_as_the_host_does() {
    let subject = plain().subject();
    let with = |settings: &str, expect: &str| {
        format!("settings = {settings}\n[[collection]]\nname = \"a\"\n[[expect]]\n{expect}")
    };
    assert!(run(&subject, &with("{ days = 0 }", "error = \"bad-settings\"")).passed);
    assert_eq!(wrong(&subject, &with("{ days = 1 }", "error = \"bad-settings\"")), ["error"]);
    let report = run(&subject, &with("{ day = 1 }", "selected = true"));
    assert_eq!(report.mismatches[0].field, "settings");
    assert!(report.mismatches[0].found.contains("'day' was unexpected"), "{report:?}");
}

#[test]
fn a_failure_reads_as_a_difference() {
    let folder = tempfile::tempdir().unwrap();
    write(
        folder.path(),
        "tiers.toml",
        r#"description = "Cold collections go to the cheap region."

[[region]]
id = "eu-1"
[[region]]
id = "eu-2"

[[collection]]
name = "archive"
[[collection]]
name = "orders"

[[expect]]
collection = "archive"
region = "eu-2"
copies_min = 1

[[expect]]
collection = "orders"
selected = true
reason_code = ["busy", "new"]

[[expect]]
collection = "order"
selected = true
"#,
    );
    write(folder.path(), "fine.toml", "[[collection]]\nname = \"a\"\n[[expect]]\nselected = true");
    let subject = plain().subject();
    let tested = subject.test(folder.path()).unwrap();
    let text = report::test(&tested).replace(&format!("{}/", folder.path().display()), "");
    insta::assert_snapshot!(text);
    let json = serde_json::to_value(&tested).unwrap();
    assert_eq!((&json["passed"], &json["failed"]), (&1.into(), &1.into()));
    assert_eq!(json["cases"][1]["mismatches"][0]["field"], "region");
    assert_eq!(json["cases"][1]["mismatches"][0]["kind"], "placement");
}

#[test]
#[should_panic(expected = "1 passed, 1 failed")]
fn a_host_side_test_fails_with_the_report() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "good.toml", "[[collection]]\nname = \"a\"\n[[expect]]\nselected = true");
    write(folder.path(), "wrong.toml", "[[collection]]\nname = \"a\"\n[[expect]]\nselected = false");
    plain().subject().test(folder.path()).unwrap().expect_pass();
}

#[test]
fn a_host_side_test_asserts_on_decisions() {
    let subject = plain().place(|_, _| Some(placed("eu-1", &["eu-2"], Some(30)))).subject();
    let scenario = Scenario::from_toml("[[collection]]\nname = \"sales.docs\"").unwrap();
    assert!(subject.ask(PolicyKind::Selection, &scenario).selected("sales.docs").unwrap().include_collection);
    assert_eq!(
        subject.ask(PolicyKind::Compression, &scenario).codec("sales.docs/segment").unwrap().codec.to_string(),
        "store"
    );
    let asked = subject.ask(PolicyKind::Placement, &scenario);
    assert_eq!(asked.placed("sales.docs").unwrap().retention_days, Some(30));
    assert!(asked.placed("other").is_none() && asked.selected("sales.docs").is_none());
}
