//! The committed policies decide as their sandboxed cases say, under the host's budgets, and take no more fuel than recorded.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::path::{Path, PathBuf};

use longshore_policy_test::cases::{FUEL_FILE, FuelBaseline};
use longshore_policy_test::{FuzzOptions, Subject, report};
use longshore_tests::{longshore_in, plugin, root, sample_cluster};

/// Every plugin with cases, and its committed file.
fn plugins_with_cases() -> Vec<(PathBuf, PathBuf)> {
    let mut found: Vec<(PathBuf, PathBuf)> = std::fs::read_dir(root().join("plugins"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|folder| folder.join("cases").is_dir())
        .map(|folder| {
            let name = folder.file_name().unwrap().to_str().unwrap();
            (folder.join(format!("{name}.wasm")), folder.join("cases"))
        })
        .collect();
    found.sort();
    found
}

/// Runs cases, records their fuel anew if `LONGSHORE_UPDATE_FUEL` is set, and else holds every case that can be compared to
/// its recorded fuel.
fn run(subject: &Subject, cases: &Path) {
    let report = subject.test(cases).unwrap();
    let recorded = FuelBaseline::read(cases).unwrap();
    if std::env::var_os("LONGSHORE_UPDATE_FUEL").is_some() {
        report.baseline(&recorded).write(cases).unwrap();
        return;
    }
    let report = report.expect_pass();
    let missing: Vec<&str> = report
        .cases
        .iter()
        .filter(|case| case.fuel_used.is_some() && case.fuel_recorded.is_none())
        .map(|case| case.id.as_str())
        .collect();
    assert!(missing.is_empty(), "{}: no fuel is recorded for {missing:?}", cases.join(FUEL_FILE).display());
}

#[test]
fn committed_policies_decide_as_their_cases_say() {
    let plugins = plugins_with_cases();
    let names: Vec<&str> = plugins.iter().map(|(wasm, _)| wasm.file_stem().unwrap().to_str().unwrap()).collect();
    assert_eq!(names, ["cost-cap", "residency", "rules", "standard", "tiered"]);
    for (wasm, cases) in plugins {
        run(&Subject::load(&wasm).unwrap(), &cases);
    }
}

/// One fixed seed; in the long form ten times as many inventories from a fresh one, which a failure prints.
#[test]
fn committed_policies_keep_the_contract_on_any_inventory() {
    let given = std::env::var("LONGSHORE_SEED").ok().map(|seed| seed.parse().unwrap());
    let options = match (given, std::env::var_os("LONGSHORE_LONG")) {
        (Some(seed), _) => FuzzOptions { seed, rounds: 1_000 },
        (None, None) => FuzzOptions { seed: 4, rounds: 100 },
        (None, Some(_)) => FuzzOptions { seed: u64::from(std::process::id()), rounds: 1_000 },
    };
    for (wasm, cases) in plugins_with_cases() {
        let fuzzed = Subject::load(&wasm).unwrap().fuzz(Some(&cases), options).unwrap();
        assert!(fuzzed.counterexamples.is_empty(), "LONGSHORE_SEED={}: {}", options.seed, report::fuzz(&fuzzed));
    }
}

/// What a compression policy sees of the collection of a stream comes from the engine: without it `tiered` would never
/// choose by tier.
#[test]
fn streams_tell_about_their_collection_where_a_policy_looks_at_it() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    let sample = sample_cluster();
    let told = |vault: &str, more: &[&str]| {
        let backup = ["backup", sample.to_str().unwrap(), "--to", vault];
        longshore_in(here, backup.iter().chain(more)).ok();
        let records = format!("{vault}-records");
        longshore_in(here, ["policy", "records", "--vault", vault, "--to", &records]).ok();
        // One folder a backup, one file a call.
        let files = std::fs::read_dir(here.join(records)).unwrap().flat_map(|backup| {
            std::fs::read_dir(backup.unwrap().path()).unwrap().map(|file| file.unwrap().path()).collect::<Vec<_>>()
        });
        let texts: Vec<String> = files.map(|file| std::fs::read_to_string(file).unwrap()).collect();
        assert!(!texts.is_empty());
        texts.iter().any(|text| text.contains("collection-protected"))
    };
    let tiered = plugin("tiered").display().to_string();
    std::fs::write(
        here.join("tiered.toml"),
        format!("[[compression]]\nplugin = '{tiered}'\n[[compression]]\nplugin = \"standard\"\n"),
    )
    .unwrap();
    assert!(told("tiered", &["--policy", "tiered.toml"]));
    assert!(!told("standard", &[]), "the default policy is told for nothing");
}
