//! Rules decide as they are written, and a file that cannot be followed refuses the run.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::path::Path;

use longshore_plugin::time::DAY_MS;
use longshore_plugin::{
    ClassBytes, CodecOffer, Collection, CompressionPolicy, LastBackup, Placed, PlacementPolicy, Plugin, Refusal,
    Region, RegionHealth, Run, RunTrigger, Selected, SelectionPolicy, Stream,
};
use longshore_rules::{Rules, RulesPolicy, Settings};

/// A directory with rule files.
fn directory(files: &[(&str, &str)]) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    for (name, text) in files {
        std::fs::write(directory.path().join(name), text).unwrap();
    }
    directory
}

fn run(directory: &Path) -> Run {
    let settings = serde_json::json!({ "directory": directory });
    Run { time_ms: 100 * DAY_MS, ..Run::default() }.with_settings(settings.to_string())
}

fn docs() -> Collection {
    Collection {
        last_write_time_ms: Some(60 * DAY_MS),
        size_bytes: ClassBytes { segment: 1_000, ..ClassBytes::default() },
        properties: vec![("owner".to_owned(), "search".to_owned())],
        criticality: Some("low".to_owned()),
        last_backup: Some(LastBackup { time_ms: 99 * DAY_MS, ..LastBackup::default() }),
        ..Collection::named(1, "default", "docs")
    }
}

fn select_with(rules: &str, change: impl Fn(&mut Run), collection: Collection) -> Option<Selected> {
    let directory = directory(&[("rules.toml", rules)]);
    let mut run = run(directory.path());
    change(&mut run);
    let answer = RulesPolicy::select(&run, &[collection]).unwrap();
    assert_eq!(answer.refused_by_host(&[1]), None);
    answer.get(1).cloned()
}

fn select(rules: &str, collection: Collection) -> Option<Selected> {
    select_with(rules, |_| {}, collection)
}

/// Whether a rule with this condition means a collection.
fn means(condition: &str, collection: Collection) -> bool {
    select(&format!("[[rule]]\nname = \"r\"\nwhen = {{ {condition} }}\nselect = {{ include = false }}"), collection)
        .is_some()
}

#[test]
fn the_first_rule_that_means_it_and_says_something_decides() {
    let rules = r#"
        [[rule]]
        name = "elsewhere"
        when = { collections = ["scratch.*"] }
        select = { include = false }
        [[rule]]
        name = "about-compression"
        compress = { codecs = ["lz4"] }
        [[rule]]
        name = "search-first"
        because = "The search team said so."
        when = { properties = { owner = "sea*" } }
        select = { include = true, index_files = true, priority = 7 }
        [[rule]]
        name = "nothing-else"
        select = { include = false }
    "#;
    let selected = select(rules, docs()).unwrap();
    assert!(selected.include_collection && selected.include_index_files);
    assert_eq!((selected.priority, selected.reason.code.as_str()), (7, "search-first"));
    assert_eq!(selected.reason.message, "Rule `search-first` takes it in: The search team said so.");
    let other = select(rules, Collection::named(1, "default", "other")).unwrap();
    assert_eq!((other.include_collection, other.reason.code.as_str()), (false, "nothing-else"));
    assert_eq!(other.reason.message, "Rule `nothing-else` leaves it out.");
}

#[test]
fn what_no_rule_means_is_left_to_the_next_policy_and_what_must_stay_in_does() {
    let rules = "[[rule]]\nname = \"tmp\"\nwhen = { collections = [\"tmp_*\"] }\nselect = { include = false }";
    assert_eq!(select(rules, docs()), None);
    let protected = Collection { protected: true, ..Collection::named(1, "default", "tmp_1") };
    let selected = select(rules, protected).unwrap();
    assert_eq!((selected.include_collection, selected.reason.code.as_str()), (true, "protected"));
}

#[test]
fn every_condition_holds_where_it_should_and_not_where_it_should_not() {
    for (holds, fails) in [
        ("collections = ['x', 'default.d?cs']", "collections = ['default.x', 'other.docs']"),
        ("properties = { owner = 'search' }", "properties = { owner = 'sear' }"),
        ("properties = { owner = '*' }", "properties = { team = '*' }"),
        ("criticality = ['high', 'low']", "criticality = ['high']"),
        ("protected = false", "protected = true"),
        ("trigger = 'manual'", "trigger = 'automatic'"),
        ("unchanged_for_days = 40", "unchanged_for_days = 41"),
        ("at_least_bytes = 1000", "at_least_bytes = 1001"),
        ("at_most_bytes = 1000", "at_most_bytes = 999"),
        ("no_backup_for_hours = 24", "no_backup_for_hours = 25"),
        ("", "classes = ['segment']"),
        ("trigger = 'manual', at_least_bytes = 1", "trigger = 'manual', at_least_bytes = 1001"),
    ] {
        assert!(means(holds, docs()), "{holds}");
        assert!(!means(fails, docs()), "{fails}");
    }
    let run_by_schedule = |run: &mut Run| run.trigger = RunTrigger::Automatic;
    let rule = "[[rule]]\nname = \"r\"\nwhen = { trigger = 'automatic' }\nselect = { include = false }";
    assert!(select_with(rule, run_by_schedule, docs()).is_some());
}

#[test]
fn a_fact_that_is_not_known_satisfies_no_condition_but_that_there_is_no_backup() {
    let unknown = Collection::named(1, "default", "docs");
    for condition in ["unchanged_for_days = 0", "criticality = ['']", "properties = { owner = '*' }"] {
        assert!(!means(condition, unknown.clone()), "{condition}");
    }
    assert!(means("no_backup_for_hours = 1000000", unknown));
}

#[test]
fn a_codec_is_the_first_of_the_rule_that_is_offered() {
    let rules = r#"
        [[rule]]
        name = "wal"
        when = { classes = ["wal"] }
        compress = { codecs = ["lz4"] }
        [[rule]]
        name = "dense"
        compress = { codecs = ["quantum", "zstd-9", "store"] }
    "#;
    let directory = directory(&[("rules.toml", rules)]);
    let offers = ["store", "zstd-9"].map(|codec| CodecOffer { codec: codec.into(), ..CodecOffer::default() }).to_vec();
    let stream =
        |id, class: &str| Stream { id, class: class.to_owned().into(), offers: offers.clone(), ..Stream::default() };
    let streams = [stream(1, "wal"), stream(2, "segment"), Stream { id: 3, ..Stream::default() }];
    let answer = RulesPolicy::choose(&run(directory.path()), &streams).unwrap();
    assert_eq!(answer.refused_by_host(&[1, 2, 3]), None);
    let choice = |id| answer.get(id).map(|choice| (&*choice.codec, choice.reason.code.as_str()));
    assert_eq!([choice(1), choice(2), choice(3)], [Some(("zstd-9", "dense")), Some(("zstd-9", "dense")), None]);
}

fn region(id: &str, jurisdiction: &str, price: u64, health: RegionHealth) -> Region {
    Region {
        id: id.to_owned(),
        jurisdiction: jurisdiction.to_owned(),
        storage_price_micros_per_gb_month: price,
        health,
        ..Region::default()
    }
}

fn place(place: &str, regions: &[Region]) -> Result<Option<Placed>, Refusal> {
    let directory = directory(&[("rules.toml", &format!("[[rule]]\nname = \"p\"\nplace = {{ {place} }}"))]);
    RulesPolicy::place(&run(directory.path()), &[docs()], regions).map(|answer| answer.get(1).cloned())
}

#[test]
fn a_place_is_a_list_in_order_of_preference_or_the_cheapest_of_a_jurisdiction() {
    use RegionHealth::{Degraded, Healthy, Unreachable};
    let regions = [
        region("a", "eu", 3, Degraded),
        region("b", "eu", 2, Healthy),
        region("c", "eu", 1, Unreachable),
        region("d", "us", 1, Healthy),
    ];
    let chosen = |text: &str| place(text, &regions).unwrap().unwrap().region;
    assert_eq!(chosen("regions = ['x', 'a', 'b']"), "b", "healthy before degraded");
    assert_eq!(chosen("regions = ['c', 'a']"), "a", "degraded before unreachable");
    assert_eq!(chosen("jurisdiction = 'EU'"), "b");
    let refusal = place("regions = ['c', 'x']", &regions).unwrap_err();
    assert_eq!((refusal.reason.code.as_str(), refusal.items.as_slice()), ("no-region-of-rule", &[1][..]));
    let expected =
        "Rule `p` keeps default.docs in one of c, x, and none of these can be used now. On offer: a, b, c, d.";
    assert_eq!(refusal.reason.message, expected);
    assert_eq!(place("jurisdiction = 'jp'", &regions).unwrap_err().reason.code, "no-region-of-rule");
}

#[test]
fn copies_and_retention_are_those_of_the_rule() {
    let regions = [region("a", "", 1, RegionHealth::Healthy), region("b", "", 1, RegionHealth::Healthy)];
    let text = "regions = ['a'], retention_days = 9, copies = [{ region = 'b', retention_days = 90 }, { region = 'a' }, { region = 'b' }]";
    let placed = place(text, &regions).unwrap().unwrap();
    assert_eq!(placed.retention_days, Some(9));
    let copies: Vec<_> = placed.copies.iter().map(|copy| (copy.region.as_str(), copy.retention_days)).collect();
    assert_eq!(copies, [("b", Some(90))], "one copy a region, and none of the main one");
    let refusal = place("regions = ['a'], copies = [{ region = 'z' }]", &regions).unwrap_err();
    assert_eq!(refusal.reason.code, "no-copy-region-of-rule");
    assert_eq!(place("regions = ['a']", &regions).unwrap().unwrap().reason.message, "Rule `p` keeps it in a.");
}

#[test]
fn files_are_read_in_order_of_name_and_others_are_not_read() {
    // Enough of them that no file system lists them in this order by chance.
    let texts: Vec<(String, String)> = (10..60)
        .map(|n| {
            (format!("{n}.toml"), format!("[[rule]]\nname = \"r{n}\"\nselect = {{ include = true, priority = {n} }}"))
        })
        .collect();
    let mut files: Vec<(&str, &str)> = texts.iter().rev().map(|(name, text)| (name.as_str(), text.as_str())).collect();
    files.swap(0, 25);
    files.push(("notes.txt", "[[["));
    let directory = directory(&files);
    for number in 10..30 {
        let answer = RulesPolicy::select(&run(directory.path()), &[docs()]).unwrap();
        assert_eq!(answer.get(1).unwrap().reason.code, format!("r{number}"));
        std::fs::remove_file(directory.path().join(format!("{number}.toml"))).unwrap();
    }
}

#[test]
fn a_file_that_cannot_be_followed_refuses_the_run_and_says_where_and_why() {
    let rule = |rest: &str| format!("[[rule]]\nname = \"r\"\n{rest}");
    for (text, expected) in [
        ("[[rule", "bad.toml: line 1, column 7: "),
        ("[[rules]]\nname = \"r\"", "unknown field `rules`"),
        (&rule("then = 1"), "unknown field `then`"),
        (
            &rule("when = { colection = [] }\nselect = { include = true }"),
            "bad.toml: line 3, column 10: unknown field `colection`",
        ),
        (&rule(""), "in rule `r`, it says nothing"),
        ("[[rule]]\nname = \"Not so\"\nselect = { include = true }", "in rule `Not so`, its name is not"),
        (&rule("compress = { codecs = [] }"), "its compress.codecs is empty"),
        (&rule("place = {}"), "needs either regions or a jurisdiction"),
        (&rule("place = { regions = ['a'], jurisdiction = 'eu' }"), "needs either regions or a jurisdiction"),
        (&format!("{0}\n{0}", rule("select = { include = true }")), "there is another rule `r`"),
    ] {
        let directory = directory(&[("bad.toml", text)]);
        let refusal = RulesPolicy::select(&run(directory.path()), &[]).unwrap_err();
        assert_eq!(refusal.reason.code, "rules-not-readable");
        assert_eq!(refusal.reason.refused_by_host(), None);
        assert!(refusal.reason.message.contains(expected), "{expected} in {}", refusal.reason.message);
    }
    let many: String =
        (0..1_001).map(|n| format!("[[rule]]\nname = \"r{n}\"\nselect = {{ include = true }}\n")).collect();
    let directory = directory(&[("many.toml", &many)]);
    assert!(Rules::read(directory.path()).unwrap_err().reason.message.contains("more than 1000 rules"));
}

#[test]
fn a_directory_that_is_not_there_or_empty_refuses_the_run() {
    let empty = directory(&[("notes.txt", "")]);
    let refusal = Rules::read(empty.path()).unwrap_err();
    assert!(refusal.reason.message.contains("no file whose name ends in .toml"), "{}", refusal.reason.message);
    let refusal = Rules::read(&empty.path().join("missing")).unwrap_err();
    assert_eq!(refusal.reason.code, "rules-not-granted");
    assert!(refusal.reason.message.contains("Grant it"), "{}", refusal.reason.message);
}

#[test]
fn the_settings_and_their_schema_agree() {
    let schema: serde_json::Value = serde_json::from_str(RulesPolicy::about().settings_schema).unwrap();
    assert_eq!(schema["properties"]["directory"]["default"], "/rules");
    assert_eq!(serde_json::from_str::<Settings>("{}").unwrap(), Settings::default());
    assert_eq!(Settings::default().directory, Path::new("/rules"));
    assert!(serde_json::from_str::<Settings>(r#"{"surprise": 1}"#).is_err());
    assert_eq!(schema["additionalProperties"], serde_json::Value::Bool(false));
}
