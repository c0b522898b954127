//! The tools for authors of policies, as they type them: `longshore plugin new | build | check | test | bench | fuzz`.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::path::{Path, PathBuf};
use std::process::Command;

use longshore_tests::{Ran, longshore_in, not_run, plugin, root};

/// Runs `longshore plugin …` in a folder.
fn run(folder: &Path, arguments: &[&str]) -> Ran {
    longshore_in(folder, std::iter::once("plugin").chain(arguments.iter().copied()))
}

fn write(folder: &Path, name: &str, text: &str) {
    let path = folder.join(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, text).unwrap();
}

/// A copy of a committed plugin in a folder of its own, where it can have cases.
fn copied(folder: &Path, name: &str) -> String {
    let file = format!("{name}.wasm");
    std::fs::copy(plugin(name), folder.join(&file)).unwrap();
    file
}

const CASE: &str = r#"
[[collection]]
name = "orders"
[[collection]]
name = "scratch"

[[case]]
name = "everything is in"
[[case.expect]]
selected = true
reason_code = "selected-by-default"

[[case]]
name = "but what is excluded"
settings = { exclude_collections = ["scratch"] }
[[case.expect]]
collection = "scratch"
selected = false
[[case.expect]]
codec_not = "store"
"#;

#[test]
fn cases_run_in_the_sandbox_and_fuel_is_recorded_and_compared() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let file = copied(folder, "standard");
    let none = run(folder, &["test", &file]);
    none.refused(1, "no cases in");
    write(folder, "cases/standard.toml", CASE);
    let ran = run(folder, &["test", &file, "--json"]).ok().json();
    assert_eq!((&ran["passed"], &ran["failed"]), (&2.into(), &0.into()));
    let fuel = ran["cases"][0]["fuelUsed"].as_u64().unwrap();
    assert!(fuel > 1_000, "{fuel}");

    run(folder, &["test", &file, "--update-fuel"]).ok();
    let recorded = std::fs::read_to_string(folder.join("cases/fuel.toml")).unwrap();
    assert!(recorded.contains(&format!("\"standard/everything is in\" = {fuel}")), "{recorded}");
    let again = run(folder, &["test", &file]).ok();
    assert!(again.stdout.contains("fuel, as recorded") && again.stdout.contains("2 passed, 0 failed"), "{again:?}");

    let dearer = recorded.replace(&fuel.to_string(), &(fuel / 2).to_string());
    write(folder, "cases/fuel.toml", &dearer);
    run(folder, &["test", &file]).refused(1, "100 % more");
    run(folder, &["test", &file, "--fuel-tolerance", "200"]).ok();
    run(folder, &["test", &file, "--filter", "excluded"]).ok();

    write(folder, "cases/wrong.toml", "[[collection]]\nname = \"a\"\n\n[[expect]]\nregion = \"mars\"");
    let ran = run(folder, &["test", &file, "cases/wrong.toml"]);
    ran.refused(1, "placement of default.a, cases/wrong.toml:4");
    assert!(ran.stdout.contains("-   expected mars") && ran.stdout.contains("+   found    local"), "{ran:?}");
    write(folder, "cases/wrong.toml", "[[colection]]\nname = \"a\"");
    run(folder, &["test", &file]).refused(1, "wrong.toml:1: unknown field `colection`");
}

#[test]
fn budgets_of_a_case_are_real() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let file = copied(folder, "hostile");
    let case = |behaviour: &str, budget: &str, expect: &str| {
        format!(
            "settings = {{ behaviour = \"{behaviour}\" }}\nbudget = {{ {budget} }}\nkind = \"selection\"\n\
             [[collection]]\nname = \"a\"\n[[expect]]\n{expect}\n"
        )
    };
    write(folder, "cases/loops.toml", &case("loop", "fuel = 1_000_000", "error = \"out-of-fuel\""));
    write(folder, "cases/eats.toml", &case("eat-memory", "memory_bytes = 8_000_000", "error = \"out-of-memory\""));
    write(folder, "cases/panics.toml", &case("panic", "", "error = \"trapped\""));
    write(folder, "cases/refuses.toml", &case("refuse", "", "refused = \"hostile-refusal\""));
    write(folder, "cases/twice.toml", &case("answer-twice", "", "error = \"bad-answer\""));
    run(folder, &["test", &file]).ok();
    write(folder, "cases/loops.toml", &case("loop", "fuel = 1_000_000", "opinion = true"));
    run(folder, &["test", &file]).refused(1, "out-of-fuel");
}

#[test]
fn a_planted_bug_is_found_shrunk_and_written_as_a_case_that_fails() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let file = copied(folder, "hostile");
    run(folder, &["fuzz", &file, "--seed", "1"]).refused(1, "cases/fuzz.toml");
    // It answers twice, but only about placement, and only on the second page: most inventories do not show it.
    let declared = "settings = [{ behaviour = \"answer-twice\", page_number = 1, kind = \"placement\" }]";
    write(folder, "cases/fuzz.toml", declared);
    let arguments = ["fuzz", &file, "--seed", "7", "--rounds", "200", "--json"];
    let dry = run(folder, &[&arguments[..], &["--dry-run"][..]].concat());
    dry.refused(1, "contract (bad-answer)");
    assert_eq!(std::fs::read_dir(folder.join("cases")).unwrap().count(), 1, "a dry run wrote something");
    let found = run(folder, &arguments).json();
    assert_eq!(found["counterexamples"][0]["case"], dry.json()["counterexamples"][0]["case"], "the seed decides");
    let one = &found["counterexamples"][0];
    assert_eq!(found["counterexamples"].as_array().unwrap().len(), 1, "{found}");
    assert_eq!((&one["kind"], &one["collections"]), (&"placement".into(), &1.into()));
    assert!(one["collectionsBefore"].as_u64().unwrap() > 1, "{one}");
    let written = folder.join(one["written"].as_str().unwrap());
    let text = std::fs::read_to_string(&written).unwrap();
    // Without the page number it is on the first page, which takes fewer collections.
    assert!(text.contains("settings = { \"behaviour\" = \"answer-twice\" }\n"), "{text}");
    assert!(text.contains("holds = \"contract\""), "{text}");
    run(folder, &["test", &file]).refused(1, "it answers twice about item 0");
    std::fs::write(&written, text.replace("answer-twice", "honest")).unwrap();
    run(folder, &["test", &file]).ok();
}

#[test]
fn shipped_plugins_hold_the_contract_on_generated_inventories() {
    for name in ["standard", "residency"] {
        let folder = tempfile::tempdir().unwrap();
        let file = copied(folder.path(), name);
        let ran = run(folder.path(), &["fuzz", &file, "--seed", "3", "--rounds", "200"]).ok();
        assert!(ran.stdout.contains("Nothing was found.") && ran.stdout.contains("seed 3"), "{ran:?}");
        run(folder.path(), &["check", &file, "--strict"]).ok();
    }
}

#[test]
fn measurements_name_every_kind_and_size() {
    let folder = tempfile::tempdir().unwrap();
    let arguments = ["bench", "standard", "--sizes", "1,2500", "--repeat-ms", "1"];
    let table = run(folder.path(), &arguments).ok().stdout;
    assert!(table.contains("TIME EACH") && table.contains("Fuel grows linearly"), "{table}");
    let json = run(folder.path(), &[&arguments[..], &["--json"][..]].concat()).ok().json();
    let rows = json["rows"].as_array().unwrap();
    assert_eq!(rows.len(), 8);
    assert_eq!((&rows[7]["collections"], &rows[7]["kind"]), (&2_500.into(), &serde_json::Value::Null));
    assert!(rows[7]["fuelPerCollection"].as_f64().unwrap() > 100.0);
    run(folder.path(), &["bench", "standard", "--settings", "{"]).refused(1, "not JSON");
    run(folder.path(), &["bench", "standard", "--settings", "{\"x\": 1}"]).refused(1, "settings of member");
}

/// The goal of the sandbox: what a policy costs grows with the collections and not faster, by fuel, which is the same on
/// every machine.
#[test]
fn the_fuel_of_shipped_plugins_grows_with_the_collections_and_no_faster() {
    let folder = tempfile::tempdir().unwrap();
    for (name, settings) in [("standard", "{}"), ("residency", "{}"), ("tiered", "{}"), ("cost-cap", "{}")] {
        let file = copied(folder.path(), name);
        let sizes = ["--sizes", "1000,20000", "--repeat-ms", "1", "--settings", settings];
        let ran = run(folder.path(), &[&["bench", &file, "--json"], &sizes[..]].concat()).ok().json();
        let rows = ran["rows"].as_array().unwrap();
        let each = |row: &serde_json::Value| row["fuelPerCollection"].as_f64().unwrap();
        let (few, many): (Vec<_>, Vec<_>) = rows.iter().partition(|row| row["collections"] == 1_000);
        assert!(!few.is_empty() && few.len() == many.len(), "{ran}");
        for (few, many) in few.into_iter().zip(many) {
            assert_eq!(few["kind"], many["kind"]);
            assert!(each(few) > 100.0 && each(many) < each(few) * 1.02, "{name}: {few} then {many}");
        }
    }
}

/// `rules` decides nothing without a directory of rules, and one of its cases shows that: the others grant one.
#[test]
fn what_the_cases_grant_is_there_when_a_plugin_is_checked_and_measured() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let file = copied(folder, "rules");
    let bench = ["bench", &file, "--sizes", "2", "--repeat-ms", "1"];
    run(folder, &bench).refused(1, "rules-not-granted");
    let checked = run(folder, &["check", &file]).ok().stdout;
    assert!(checked.contains("refused with rules-not-granted"), "{checked}");

    let cases = root().join("plugins/rules/cases");
    for name in ["refused.toml", "rules.toml"] {
        write(folder, &format!("cases/{name}"), &std::fs::read_to_string(cases.join(name)).unwrap());
    }
    let measured = run(folder, &[&bench[..], &["--json"][..]].concat()).ok().json();
    let rows = measured["rows"].as_array().unwrap();
    assert!(rows.len() == 4 && rows.iter().all(|row| row["failed"].is_null() && row["fuelUsed"] != 0), "{measured}");
    let checked = run(folder, &["check", &file]).ok().stdout;
    assert!(checked.contains("as case rules/") && !checked.contains("refused"), "{checked}");
    // Settings that are given go with the files of the cases.
    run(folder, &[&bench[..], &["--settings", "{}"][..]].concat()).ok();
    run(folder, &[&bench[..], &["--settings", "{\"no\": 1}"][..]].concat()).refused(1, "settings of member");
}

#[test]
fn files_that_are_no_plugins_are_explained() {
    let folder = tempfile::tempdir().unwrap();
    let file = copied(folder.path(), "stranger");
    let ran = run(folder.path(), &["check", &file]);
    ran.refused(1, "none of its exports is a kind of policy");
    assert!(ran.stdout.contains("component (wasm32-wasip2)") && ran.stdout.contains("= help: "), "{ran:?}");
    write(folder.path(), "notes.txt", "not wasm");
    run(folder.path(), &["check", "notes.txt", "--json"]).refused(1, "is text that begins with");
    run(folder.path(), &["check", "gone.wasm"]).refused(1, "gone.wasm");
    let inspected = run(folder.path(), &["inspect", "standard"]).ok().stdout;
    assert!(inspected.contains("(world full-policy)") && inspected.contains("wasi:io/streams@0.2"), "{inspected}");
}

/// True if a plugin can be compiled here. On the way of Debian the first build of a folder compiles the standard library for
/// minutes, which only the long form of the tests waits for.
fn can_compile() -> bool {
    let status = Command::new("bash").arg(root().join("plugins/toolchain.sh")).arg("status").output().unwrap();
    let said = String::from_utf8_lossy(&status.stdout).into_owned();
    if !status.status.success() {
        not_run("plugin new and build: no wasm toolchain is at hand, so no new plugin was compiled");
        return false;
    }
    if said.starts_with("debian") && std::env::var_os("LONGSHORE_LONG").is_none() {
        not_run("plugin new and build: with Debian's compiler they take minutes; make test-full runs them");
        return false;
    }
    true
}

/// Runs a program in a folder; gives its output if it ended well.
fn tool(folder: &Path, program: &str, arguments: &[&str]) -> String {
    let ran = Command::new(program).args(arguments).current_dir(folder).output().unwrap();
    let said = format!("{}{}", String::from_utf8_lossy(&ran.stdout), String::from_utf8_lossy(&ran.stderr));
    assert!(ran.status.success(), "{program} {arguments:?}: {said}");
    said
}

#[test]
fn a_new_plugin_builds_and_passes_at_once_and_a_bug_in_it_is_found() {
    if !can_compile() {
        return;
    }
    // Always the same folder, so that a second run compiles next to nothing.
    let place = root().join("target/plugin-tools");
    std::fs::create_dir_all(&place).unwrap();
    let folder = place.join("cost-cap");
    let _ = std::fs::remove_dir_all(&folder);
    let made =
        run(&place, &["new", "cost-cap", "--kind", "selection,compression,placement", "--author", "Tests", "--json"]);
    let made = made.ok().json();
    run(&place, &["new", "cost-cap"]).refused(1, "it is there already");
    // The built crates of earlier runs.
    let target = place.join("target");
    std::os::unix::fs::symlink(&target, folder.join("target")).unwrap();
    std::fs::create_dir_all(&target).unwrap();

    let native = tool(&folder, "cargo", &["test", "--quiet"]);
    assert!(native.contains("3 passed"), "{native}");
    // Formatted as an author's cargo does it, not as this repository does.
    std::fs::write(folder.join("rustfmt.toml"), "").unwrap();
    tool(&folder, "cargo", &["fmt", "--check", "--package", "cost-cap"]);
    let built = run(&folder, &["build", "--json"]).ok().json();
    let file = built["file"].as_str().unwrap().to_owned();
    assert_eq!(PathBuf::from(&file).file_name(), PathBuf::from(made["component"].as_str().unwrap()).file_name());
    assert_eq!(built["kinds"].as_array().unwrap().len(), 3);
    assert!(built["sizeBytes"].as_u64().unwrap() < 400_000, "{built}");
    assert_eq!(built["digest"].as_str().unwrap().len(), 64);
    run(&folder, &["check", &file, "--strict"]).ok();
    let tested = run(&folder, &["test", &file, "--update-fuel", "--json"]).ok().json();
    assert_eq!(tested["passed"], 3);
    run(&folder, &["test", &file]).ok();
    run(&folder, &["bench", &file, "--sizes", "1,1000", "--repeat-ms", "1"]).ok();
    run(&folder, &["fuzz", &file, "--seed", "1", "--rounds", "300"]).ok();

    // A bug that an author could make: the wrong way round.
    let source = folder.join("src/selection.rs");
    let good = std::fs::read_to_string(&source).unwrap();
    let bad = good.replace("> limit_ms)", "< limit_ms)");
    assert_ne!(good, bad);
    std::fs::write(&source, bad).unwrap();
    run(&folder, &["build"]).ok();
    run(&folder, &["fuzz", &file, "--seed", "1", "--rounds", "300"]).refused(1, "monotone 1");
    run(&folder, &["test", &file, "--filter", "fuzz-"]).refused(1, "1 failed");
    std::fs::write(&source, good).unwrap();
    run(&folder, &["build"]).ok();
    run(&folder, &["test", &file]).ok();
}

#[test]
fn a_build_that_cannot_work_says_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    run(folder, &["build"]).refused(1, "longshore plugin new");
    write(folder, "Cargo.toml", "[package]\nname = \"a\"\nversion = \"0.1.0\"\nedition = \"2024\"\n[workspace]\n");
    run(folder, &["build"]).refused(1, "crate-type = [\"cdylib\", \"rlib\"]");
    run(folder, &["new", "Cost_Cap"]).refused(1, "is no name for a policy");
    run(folder, &["new", "cost", "--sdk", "."]).refused(1, "plugins/sdk");
    assert!(!folder.join("cost").exists());
}

#[test]
fn help_has_examples() {
    for command in ["new", "build", "check", "test", "bench", "fuzz", "inspect"] {
        let help = run(Path::new("."), &[command, "--help"]).ok().stdout;
        assert!(help.contains("Example") && help.contains(&format!("longshore plugin {command}")), "{help}");
    }
}

/// A large guest needs more than a plugin gets that nobody gave more, and its author can say so to every tool.
#[test]
fn tools_work_under_the_budget_that_they_are_given() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let file = copied(folder, "standard");
    write(folder, "cases/standard.toml", CASE);
    write(
        folder,
        "cases/own.toml",
        "budget = { fuel = 50_000_000 }\n[[collection]]\nname = \"a\"\n[[expect]]\nselected = true",
    );
    for command in ["inspect", "check", "test", "bench", "fuzz"] {
        run(folder, &[command, &file, "--budget", "file_size_bytes=1000"]).refused(1, "1000 are allowed");
        run(folder, &[command, &file, "--budget", "size=1000"]).refused(2, "unknown field `size`");
        run(folder, &[command, &file, "--budget", "fuel=many"]).refused(2, "`many` is not a whole number");
        run(folder, &[command, &file, "--budget", "memory_bytes=9000000000000"]).refused(2, "memory_bytes");
    }
    // A case that says nothing of a budget is asked under this one, another under its own.
    let ran = run(folder, &["test", &file, "--budget", "fuel=5_000", "--json"]);
    let report = ran.json();
    assert_eq!((ran.code, &report["passed"], &report["failed"]), (1, &1.into(), &2.into()), "{ran:?}");
    run(folder, &["test", &file, "--budget", "fuel=100_000_000"]).ok();
    run(folder, &["inspect", &file, "--budget", "fuel=2000000000,memory_bytes=536870912"]).ok();
}
