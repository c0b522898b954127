//! Every condition, once where it holds and once where it does not.

use longshore_model::{CodecChoice, Reason, Selected};

use crate::support::{Fake, placed, plain, run, selected, wrong};

const ONE: &str = "[[collection]]\nname = \"docs\"\nprotected = true\nproperties = { tier = \"hot\" }\n[[expect]]\n";

/// Runs each expectation about one collection; gives those that do not do what they should.
fn check(subject: &longshore_policy_test::Subject, hold: &[&str], fail: &[&str]) {
    for expect in hold {
        let report = run(subject, &format!("{ONE}{expect}"));
        assert!(report.passed, "`{expect}` should hold: {:?}", report.mismatches);
    }
    for expect in fail {
        let fields = wrong(subject, &format!("{ONE}{expect}"));
        let key = expect.split(" = ").next().unwrap().split('\n').next_back().unwrap();
        assert_eq!(fields, [key], "`{expect}` should not hold");
    }
}

#[test]
fn selection() {
    let answer = Selected { include_index_files: true, priority: 3, ..selected(true, "hot") };
    let subject = Fake::new().select(move |_| Some(answer.clone())).subject();
    check(
        &subject,
        &[
            "selected = true",
            "index_files = true",
            "priority = 3",
            "priority_min = 3",
            "priority_max = 3",
            "reason_code = \"hot\"",
            "reason_code = [\"cold\", \"hot\"]",
            "reason = \"Because of hot.\"",
            "reason_contains = \"of hot\"",
            "decision = \"in, with index files, priority 3\"",
            "opinion = true",
            "collection = \"default.d*\"\nselected = true",
            "where = { protected = true, properties = { tier = \"hot\" } }\nselected = true",
        ],
        &[
            "selected = false",
            "index_files = false",
            "priority = 4",
            "priority_min = 4",
            "priority_max = 2",
            "reason_code = \"cold\"",
            "reason_code = [\"cold\", \"warm\"]",
            "reason = \"Because\"",
            "reason_contains = \"of cold\"",
            "decision = \"in\"",
            "opinion = false",
        ],
    );
    for about_nothing in
        ["collection = \"dogs\"", "where = { protected = false }", "where = { labels = { tier = \"hot\" } }"]
    {
        assert_eq!(
            wrong(&subject, &format!("{ONE}{about_nothing}\nselected = true")),
            ["collection"],
            "{about_nothing}"
        );
    }
}

#[test]
fn compression() {
    let reason = Reason::new("best", "Best.");
    let subject = Fake::new()
        .choose(move |_| Some(CodecChoice { codec: "zstd-1".parse().unwrap(), reason: reason.clone() }))
        .subject();
    check(
        &subject,
        &[
            "codec = \"zstd-1\"",
            "codec_in = [\"lz4\", \"zstd-1\"]",
            "codec_not = \"store\"",
            "class = \"segment\"\ncodec = \"zstd-1\"",
        ],
        &["codec = \"lz4\"", "codec_in = \"lz4\"", "codec_not = [\"store\", \"zstd-1\"]"],
    );
    assert_eq!(wrong(&subject, &format!("{ONE}class = \"wal\"\ncodec = \"zstd-1\"")), ["collection"]);
}

#[test]
fn placement() {
    let subject = Fake::new().place(|_, _| Some(placed("eu-1", &["eu-2", "us-1"], Some(30)))).subject();
    check(
        &subject,
        &[
            "region = \"eu-1\"",
            "region_in = [\"eu-1\", \"eu-2\"]",
            "region_not = \"eu-2\"",
            "only_in = [\"eu-1\", \"eu-2\", \"us-1\"]",
            "never_in = \"us-2\"",
            "copies = [\"us-1\", \"eu-2\"]",
            "copies_min = 2",
            "copies_max = 2",
            "retention_days = 30",
            "retention_days_min = 30",
            "decision = \"eu-1 (30 days), copy in eu-2 and us-1\"",
        ],
        &[
            "region = \"eu-2\"",
            "region_in = \"eu-2\"",
            "region_not = \"eu-1\"",
            "only_in = [\"eu-1\", \"eu-2\"]",
            "never_in = \"us-1\"",
            "copies = \"eu-2\"",
            "copies = []",
            "copies_min = 3",
            "copies_max = 1",
            "retention_days = 31",
            "retention_days = \"schedule\"",
            "retention_days_min = 31",
        ],
    );
    let fields = wrong(&subject, &format!("{ONE}copy_retention_days = 7"));
    assert_eq!(fields, ["copy_retention_days", "copy_retention_days"], "each copy");
    check(&subject, &["copy_retention_days = \"schedule\""], &[]);
}

#[test]
fn an_item_without_an_answer_fails_every_condition_but_that_one() {
    let subject = Fake::new().select(|_| None).subject();
    assert!(run(&subject, &format!("{ONE}opinion = false")).passed);
    for expect in ["selected = true", "reason_code = \"x\"", "opinion = true", "decision = \"in\""] {
        assert_eq!(wrong(&subject, &format!("{ONE}{expect}")), ["opinion"], "{expect}");
    }
}

#[test]
fn the_kind_comes_from_the_keys_the_expectation_the_file_or_the_plugin() {
    let all = plain().subject();
    assert_eq!(wrong(&all, &format!("{ONE}reason_code = \"all\"")), ["kind"]);
    assert!(run(&all, &format!("{ONE}kind = \"selection\"\nreason_code = \"all\"")).passed);
    assert!(run(&all, &format!("kind = \"selection\"\n{ONE}reason_code = \"all\"")).passed);
    let one = Fake::new().select(|_| Some(selected(true, "all"))).subject();
    assert!(run(&one, &format!("{ONE}reason_code = \"all\"")).passed);
    assert_eq!(wrong(&one, &format!("{ONE}region = \"local\"")), ["kind"]);
}
