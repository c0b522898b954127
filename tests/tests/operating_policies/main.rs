//! Policies as an operator works with them: plans, reasons, comparisons, signatures, candidates, rollbacks, quarantine.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod beside;
mod budgets;
mod candidates;
mod costs;
mod told;

use std::path::Path;

use longshore_catalog::{Catalog, Page, SqliteCatalog};
use longshore_tests::{Client, HostPlace, Ran, longshore_in, plugin, residency, sample_cluster};
use serde_json::Value;

const CLUSTER: &str = r#"{"backupType": "CLUSTER"}"#;
const CREATE: &str = "/v2/clusters/in01-test/backups/create";

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

async fn back_up(client: &Client) -> (String, Value) {
    let made = client.data("POST", CREATE, Some(CLUSTER)).await;
    let job = client.ended(made["jobId"].as_str().unwrap()).await;
    (made["backupId"].as_str().unwrap().to_owned(), job)
}

/// Who decided about selection in a backup, and how many collections are left out of it.
async fn deciders(client: &Client, backup: &str) -> (Vec<String>, usize) {
    let path = format!("/v2/clusters/in01-test/backups/{backup}/decisions");
    let decisions = client.data("GET", &path, None).await;
    let rows = decisions["decisions"]["rows"].as_array().unwrap().clone();
    let rows: Vec<Value> = rows.into_iter().filter(|row| row["kind"] == "selection").collect();
    let out = rows.iter().filter(|row| row["decision"] == "left out").count();
    let mut by: Vec<String> = rows.iter().map(|row| row["decidedBy"].as_str().unwrap().to_owned()).collect();
    by.dedup();
    (by, out)
}

fn hostile(behaviour: &str, more: &str) -> String {
    format!(
        "[[policy.selection]]\nplugin = '{}'\nname = \"tiered\"\nsettings = {{ behaviour = \"{behaviour}\" }}\n{more}\n\
         [[policy.selection]]\nplugin = \"standard\"\n",
        plugin("hostile").display()
    )
}

fn run(place: &HostPlace, arguments: &[&str]) -> Ran {
    let config = text(&place.config);
    longshore_in(place.path(), arguments.iter().chain(&["--config", config]))
}

/// Actions of the audit log, oldest first, with their outcomes.
fn audit(place: &HostPlace) -> Vec<(String, String, String)> {
    let catalog = SqliteCatalog::open(&place.path().join("data/catalog.sqlite")).unwrap();
    let mut rows = catalog.list_audit(&longshore_model::KeyScope::All, Page { size: 1_000, current: 1 }).unwrap().items;
    rows.reverse();
    rows.into_iter().map(|row| (row.entry.action, row.entry.subject, row.entry.outcome)).collect()
}

fn actions(place: &HostPlace, prefix: &str) -> Vec<String> {
    audit(place).into_iter().map(|(action, ..)| action).filter(|action| action.starts_with(prefix)).collect()
}

/// A plan without what depends on how much the host samples: chosen codecs, ratios and what follows from them.
fn whatever_the_sample(plan: &str) -> String {
    let line = |line: &str| {
        let mut cells: Vec<&str> = line.split("  ").map(str::trim).filter(|cell| !cell.is_empty()).collect();
        let estimated: &[usize] = match cells.as_slice() {
            ["compression", ..] => &[2, 4],
            [first, ..] if first.contains('.') && cells.len() == 10 => &[6, 7],
            [first, ..] if first.ends_with("(home)") => &[3, 4],
            _ => &[],
        };
        estimated.iter().for_each(|place| cells[*place] = "~");
        cells.join(" | ")
    };
    let lines: Vec<String> = plan.lines().map(line).collect();
    let text = lines.join("\n");
    let (before, after) = text.split_once(" about ").unwrap();
    format!("{before} about ~ {}", after.split_once(" a month").map(|(_, after)| format!("a month{after}")).unwrap())
}

#[test]
fn a_plan_of_a_directory_is_a_table_and_writes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let sample = sample_cluster();
    let ran = longshore_in(folder.path(), ["plan", text(&sample)]).ok();
    insta::assert_snapshot!(whatever_the_sample(&ran.stdout));
    let plan = longshore_in(folder.path(), ["plan", text(&sample), "--json"]).ok().json();
    let rows = plan["collections"].as_array().unwrap();
    assert!(rows.iter().all(|row| row["included"] == true && row["region"] == "local"), "{plan}");
    assert_eq!(plan["totals"]["included"], rows.len());
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "something was written");
    // What a vault has already is not new.
    longshore_in(folder.path(), ["backup", text(&sample), "--to", "vault"]).ok();
    let again = longshore_in(folder.path(), ["plan", text(&sample), "--to", "vault", "--json"]).ok().json();
    assert!(again["totals"]["newBytes"].as_u64() < plan["totals"]["newBytes"].as_u64(), "{again}");
    longshore_in(folder.path(), ["plan", "nowhere"]).refused(1, "nowhere");
    longshore_in(folder.path(), ["plan"]).refused(2, "");
}

#[test]
fn a_plan_of_a_host_has_its_regions_prices_guardrails_and_chains() {
    let more = format!(
        "{}\n[[policy.selection]]\nplugin = \"standard\"\nsettings = {{ exclude_collections = [\"medium_*\", \"python_*\"] }}\n\
         [guardrails]\nprotected = [\"default.medium_*\"]\n",
        residency("{ second_region = true }")
    );
    let place = HostPlace::new(&more);
    let config = std::fs::read_to_string(&place.config).unwrap();
    // As much as the table below was made with.
    let config = config.replace(
        "heartbeat_ms = 20",
        "heartbeat_ms = 20\nsample_bytes_per_stream = 262144\nsample_bytes_per_run = 67108864",
    );
    let priced = config.replace(
        "jurisdiction = \"us\"",
        "jurisdiction = \"us\", storage_price_micros_per_gb_month = 25000000, transfer_price_micros_per_gb = 1000000",
    );
    std::fs::write(&place.config, priced).unwrap();
    let ran = run(&place, &["plan"]).ok();
    insta::assert_snapshot!(ran.stdout);
    let plan = run(&place, &["plan", "--json"]).ok().json();
    let rows = plan["collections"].as_array().unwrap();
    let protected = rows.iter().find(|row| row["collection"]["collection"] == "medium_articles").unwrap();
    assert_eq!((&protected["included"], &protected["protected"]), (&true.into(), &true.into()), "{protected}");
    let us = rows.iter().find(|row| row["region"] == "local-us").unwrap();
    assert!(us["monthlyCostMicros"].as_u64().unwrap() > 0 && us["transferCostMicros"].as_u64().unwrap() > 0, "{us}");
    assert!(!place.path().join("vault").exists() && !place.path().join("data").exists(), "something was written");
    run(&place, &["plan", "--cluster", "in01-other"]).refused(1, "no cluster `in01-other`");
}

#[test]
fn why_gives_the_reason_the_guardrail_and_what_would_have_changed_it() {
    let folder = tempfile::tempdir().unwrap();
    let (sample, here) = (sample_cluster(), folder.path());
    std::fs::write(
        here.join("policy.toml"),
        "[[selection]]\nplugin = \"standard\"\nsettings = { exclude_collections = [\"medium_*\"] }\n",
    )
    .unwrap();
    longshore_in(here, ["backup", text(&sample), "--to", "vault", "--policy", "policy.toml"]).ok();
    let why = longshore_in(here, ["why", "medium_articles", "--vault", "vault", "--json"]).ok().json();
    assert_eq!((&why["included"], why["decisions"].as_array().unwrap().len()), (&false.into(), 1), "{why}");
    let decision = &why["decisions"][0];
    assert_eq!((&decision["reasonCode"], &decision["decision"]), (&"excluded-by-pattern".into(), &"left out".into()));
    let changes = decision["counterfactuals"]["changes"].as_array().unwrap();
    assert_eq!(changes.len(), 1, "{changes:?}");
    assert_eq!((&changes[0]["fact"], &changes[0]["ifItWere"]), (&"protected".into(), &"true".into()));
    assert_eq!(changes[0]["decision"], "in");
    let ran = longshore_in(here, ["why", "medium_articles", "--vault", "vault"]).ok();
    assert!(ran.stdout.contains("would be   in, if protected were true"), "{ran:?}");
    // Of one that is in, every kind of decision is told.
    let kept = std::fs::read_dir(sample.join("collections")).unwrap();
    let mut kept: Vec<String> = kept.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    kept.sort();
    let other = kept.iter().find(|name| !name.starts_with("medium_")).unwrap();
    let why = longshore_in(here, ["why", other, "--vault", "vault", "--json"]).ok().json();
    let kinds: Vec<&str> =
        why["decisions"].as_array().unwrap().iter().map(|one| one["kind"].as_str().unwrap()).collect();
    assert!(["selection", "compression", "placement"].iter().all(|kind| kinds.contains(kind)), "{why}");
    longshore_in(here, ["why", "no_such", "--vault", "vault"]).refused(1, "no_such");
}

#[test]
fn records_go_into_a_folder_come_out_the_same_when_asked_again_and_tell_a_changed_plugin() {
    let folder = tempfile::tempdir().unwrap();
    let (sample, here) = (sample_cluster(), folder.path());
    longshore_in(here, ["backup", text(&sample), "--to", "vault"]).ok();
    let exported =
        longshore_in(here, ["policy", "records", "--vault", "vault", "--to", "records", "--json"]).ok().json();
    assert!(exported["records"].as_u64().unwrap() >= 3, "{exported}");
    for from in [["--records", "records"], ["--vault", "vault"]] {
        let replayed = longshore_in(here, ["policy", "replay", "--json"].iter().chain(&from)).ok().json();
        assert_eq!(replayed["same"], exported["records"], "{replayed}");
        assert!(replayed["fuelUsed"].as_u64().unwrap() > 0);
    }
    // One digit of fuel in one record, and it is told.
    let mut file = None;
    for backup in std::fs::read_dir(here.join("records")).unwrap() {
        for entry in std::fs::read_dir(backup.unwrap().path()).unwrap() {
            file = Some(entry.unwrap().path());
        }
    }
    let file = file.unwrap();
    let record = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, record.replacen("\"fuel_used\":", "\"fuel_used\":1", 1)).unwrap();
    let ran = longshore_in(here, ["policy", "replay", "--records", "records"]);
    assert!(ran.code == 1 && ran.stdout.contains("DIFFERS") && ran.stdout.contains("fuel:"), "{ran:?}");
    std::fs::write(&file, "{}").unwrap();
    longshore_in(here, ["policy", "replay", "--records", "records"]).refused(1, "not a decision record");
    longshore_in(here, ["policy", "replay", "--records", "vault/packs"]).refused(1, "holds no records");
    // A plugin that is not at hand was not shown to be the same.
    let residency = plugin("residency");
    std::fs::write(
        here.join("policy.toml"),
        format!("[[placement]]\nplugin = '{}'\n[[placement]]\nplugin = \"standard\"\n", residency.display()),
    )
    .unwrap();
    longshore_in(here, ["backup", text(&sample), "--to", "vault", "--policy", "policy.toml"]);
    let arguments = ["policy", "replay", "--vault", "vault", "--backup", "latest"];
    let ran = longshore_in(here, arguments);
    if ran.code != 0 {
        assert!(ran.stdout.contains("give its file with --plugin"), "{ran:?}");
        longshore_in(here, arguments.iter().chain(&["--plugin", text(&residency)])).ok();
    }
}

#[tokio::test]
async fn a_comparison_says_with_its_exit_code_whether_a_protected_collection_would_be_lost() {
    let place = HostPlace::new("[guardrails]\nprotected = [\"default.medium_*\"]");
    let (server, client) = place.start();
    let (_, job) = back_up(&client).await;
    assert_eq!(job["status"], "SUCCESSFUL", "{job}");
    server.stop();
    let hostile = plugin("hostile");
    let with = |settings: &str| {
        let arguments = ["policy", "diff", "standard", text(&hostile), "--new-settings", settings];
        run(&place, &arguments)
    };
    let honest = with(r#"{"behaviour":"honest"}"#).ok();
    assert!(honest.stdout.contains("No protected collection would lose its backup"), "{honest:?}");
    let lossy = with(r#"{"behaviour":"exclude-all","kind":"selection"}"#);
    assert_eq!(lossy.code, 5, "{lossy:?}");
    assert!(lossy.stdout.contains("LOST: protected collection default.medium_articles"), "{lossy:?}");
    let failing = with(r#"{"behaviour":"panic","kind":"placement"}"#);
    assert!(failing.code == 5 && failing.stdout.contains("so the job fails"), "{failing:?}");
    let same = run(&place, &["policy", "diff", "standard", "standard"]).ok();
    insta::assert_snapshot!(same.stdout.lines().skip(2).collect::<Vec<_>>().join("\n"));
    let strange = run(&place, &["policy", "diff", text(&hostile), "standard"]);
    strange.refused(1, "no record was made by this file");
    with(r#"{"behaviour":"no-such"}"#).refused(1, "settings");
}

#[test]
fn a_plugin_is_installed_only_with_a_signature_that_counts_and_is_the_one_that_is_pinned() {
    let place = HostPlace::new("");
    let here = place.path();
    let file = here.join("residency.wasm");
    std::fs::copy(plugin("residency"), &file).unwrap();
    let public = longshore_in(here, ["plugin", "keygen", "--to", "ops.key", "--quiet"]).ok().stdout.trim().to_owned();
    longshore_in(here, ["plugin", "keygen", "--to", "ops.key"]).refused(1, "ops.key");
    let trusting = format!("[plugins]\ntrusted_keys = [\"ops={public}\"]\nrequire_signature = true\n");
    place.write(&trusting);
    run(&place, &["plugin", "install", "residency.wasm"]).refused(1, "has no signature");
    longshore_in(here, ["plugin", "keygen", "--to", "stranger.key"]).ok();
    longshore_in(here, ["plugin", "sign", "residency.wasm", "--key", "stranger.key"]).ok();
    run(&place, &["plugin", "install", "residency.wasm"]).refused(1, "not among the `trusted_keys`");
    longshore_in(here, ["plugin", "sign", "residency.wasm", "--key", "ops.key"]).ok();
    let installed = run(&place, &["plugin", "install", "residency.wasm", "--json"]).ok().json();
    assert_eq!((&installed["name"], &installed["signer"]), (&"residency".into(), &"ops".into()));
    let digest = installed["digest"].as_str().unwrap().to_owned();
    // The signature is of these bytes and no others.
    let mut bytes = std::fs::read(&file).unwrap();
    bytes.extend_from_slice(b"\0\x02\x01x");
    std::fs::write(&file, bytes).unwrap();
    run(&place, &["plugin", "install", "residency.wasm"]).refused(1, "of another file");
    run(&place, &["plugin", "install", "nowhere.wasm"]).refused(1, "nowhere.wasm");
    run(&place, &["plugin", "install", "residency.wasm", "--name", "standard"]).refused(1, "");
    std::fs::write(here.join("text.wasm"), "no wasm").unwrap();
    longshore_in(here, ["plugin", "sign", "text.wasm", "--key", "ops.key"]).refused(1, "is not signed");

    let listed = run(&place, &["plugin", "list"]).ok();
    assert!(
        listed.stdout.contains("residency") && listed.stdout.contains(&digest[..12]) && listed.stdout.contains("ops"),
        "{listed:?}"
    );
    // By name in a chain; what is in the store is signed, so it may decide.
    let chain = |pin: &str| {
        format!(
            "{trusting}\n[[policy.placement]]\nplugin = \"residency\"\ndigest = \"{pin}\"\n[[policy.placement]]\nplugin = \"standard\"\n"
        )
    };
    place.write(&chain(&digest));
    let checked = run(&place, &["serve", "--check"]).ok();
    assert!(checked.stdout.contains("placement: residency") && checked.stdout.contains("signed by ops"), "{checked:?}");
    place.write(&chain(&"0".repeat(64)));
    run(&place, &["serve", "--check"]).refused(1, "is pinned to digest 0000");
    place.write(&chain(&digest).replace("plugin = \"residency\"", "plugin = \"residency2\""));
    run(&place, &["serve", "--check"]).refused(1, "no plugin `residency2` is installed (installed: residency)");
    // A file that nobody signed, named by its path, may not.
    place.write(&format!("{trusting}{}", hostile("honest", "")));
    run(&place, &["serve", "--check"]).refused(1, "has no signature");

    place.write(&chain(&digest));
    let (server, _) = place.start();
    run(&place, &["plugin", "remove", "residency"]).refused(1, "is used by placement/residency of project");
    server.stop();
    place.write(&trusting);
    let (server, _) = place.start();
    run(&place, &["plugin", "remove", "residency"]).ok();
    run(&place, &["plugin", "remove", "residency"]).refused(1, "residency");
    server.stop();
    let outcomes: Vec<bool> = audit(&place)
        .into_iter()
        .filter(|(action, ..)| action == "plugin.install")
        .map(|(.., outcome)| outcome == "ok")
        .collect();
    assert_eq!(outcomes, [false, false, true, false, false, false], "{:?}", audit(&place));
    assert!(audit(&place).iter().all(|(.., outcome)| !outcome.contains("LONGSHORE-PLUGIN-KEY")));
}

#[tokio::test]
async fn a_clusters_chain_stands_in_place_of_the_projects() {
    let place = HostPlace::new(&residency("{}"));
    let (server, client) = place.start();
    let regions = |job: &Value| -> Vec<String> {
        job["result"]["regions"].as_array().unwrap().iter().map(|one| one.as_str().unwrap().to_owned()).collect()
    };
    let (_, job) = back_up(&client).await;
    assert!(regions(&job).contains(&"local-us".to_owned()), "{job}");
    place.write(&format!("[[cluster.policy.placement]]\nplugin = \"standard\"\n{}", residency("{}")));
    let report = client.data("POST", "/v2/reload", Some("{}")).await;
    let lines = report["policies"].to_string();
    assert!(lines.contains("of in01-test") && lines.contains("placement: residency"), "{lines}");
    let (_, job) = back_up(&client).await;
    assert_eq!(regions(&job), ["local-eu"], "{job}");
    server.stop();
}

#[tokio::test]
async fn a_rollback_goes_back_to_the_set_before_and_a_new_configuration_ends_it() {
    let place = HostPlace::new(&hostile("honest", ""));
    let (server, client) = place.start();
    back_up(&client).await;
    let exclude = format!("{}\n[guardrails]\nprotected = [\"default.medium_*\"]\n", hostile("exclude-all", ""));
    place.write(&exclude);
    client.data("POST", "/v2/reload", Some("{}")).await;
    let (backup, _) = back_up(&client).await;
    assert!(deciders(&client, &backup).await.1 > 0);
    run(&place, &["policy", "rollback"]).ok();
    let (backup, _) = back_up(&client).await;
    assert_eq!(deciders(&client, &backup).await.1, 0, "the settings of the set before hold");
    // The same configuration again: somebody went back from it.
    client.data("POST", "/v2/reload", Some("{}")).await;
    let (backup, _) = back_up(&client).await;
    assert_eq!(deciders(&client, &backup).await.1, 0);
    let status = run(&place, &["policy", "status"]).ok();
    assert!(status.stdout.contains("in place of what the configuration says"), "{status:?}");
    run(&place, &["policy", "follow"]).ok();
    let (backup, _) = back_up(&client).await;
    assert!(deciders(&client, &backup).await.1 > 0);
    server.stop();
}

#[tokio::test]
async fn a_plugin_that_keeps_failing_gives_way_to_its_last_good_version_until_it_is_released() {
    let rules = "[plugins]\nquarantine_failures = 2\n";
    let place = HostPlace::new(&format!("{}{rules}", hostile("honest", "")));
    let (server, client) = place.start();
    back_up(&client).await;
    place.write(&format!("{}{rules}", hostile("panic", "")));
    client.data("POST", "/v2/reload", Some("{}")).await;
    for _ in 0..2 {
        let (_, job) = back_up(&client).await;
        assert_eq!(job["status"], "FAILED", "{job}");
    }
    let (backup, job) = back_up(&client).await;
    assert_eq!(job["status"], "SUCCESSFUL", "the version before answers: {job} {}", server.log());
    assert!(deciders(&client, &backup).await.0[0].starts_with("hostile"));
    let status = run(&place, &["policy", "status"]).ok();
    assert!(status.stdout.contains("its last good version") && status.stdout.contains("2 failures"), "{status:?}");
    assert!(server.log().contains("a policy is in quarantine"), "{}", server.log());
    run(&place, &["policy", "release", "nobody"]).refused(1, "nobody");
    run(&place, &["policy", "release", "tiered"]).ok();
    let (_, job) = back_up(&client).await;
    assert_eq!(job["status"], "FAILED", "it is asked again: {job}");
    let counters = run(&place, &["policy", "status", "--json"]).ok().json()["counters"].clone();
    let expected = [("quarantines", 1), ("releases", 1), ("failures", 3), ("fallbackRuns", 1)];
    for (counter, count) in expected {
        assert_eq!(counters[counter], count, "{counter} in {counters}");
    }
    assert_eq!(
        actions(&place, "policy.").iter().filter(|action| *action != "policy.swap").collect::<Vec<_>>(),
        ["policy.quarantine", "policy.release", "policy.release"]
    );
    server.stop();
}

#[tokio::test]
async fn placement_without_a_good_version_fails_the_job_and_says_so() {
    let place = HostPlace::new(&format!(
        "[plugins]\nquarantine_failures = 1\n[[policy.placement]]\nplugin = '{}'\nname = \"where\"\nsettings = {{ behaviour = \"unknown-region\" }}\n\
         [[policy.placement]]\nplugin = \"standard\"\n",
        plugin("hostile").display()
    ));
    let (server, client) = place.start();
    let (_, job) = back_up(&client).await;
    assert!(job["reason"].as_str().unwrap().contains("moon-north-1"), "{job}");
    let (_, job) = back_up(&client).await;
    assert_eq!(job["status"], "FAILED", "{job}");
    let reason = job["reason"].as_str().unwrap();
    assert!(
        reason.contains("`where`") && reason.contains("is in quarantine") && reason.contains("policy release where"),
        "{reason}"
    );
    let listed = client.data("GET", "/v2/backups", None).await;
    assert_eq!(listed["count"], 0, "{listed}");
    server.stop();
    // The command line plans with the same policies, and says the same.
    run(&place, &["plan"]).refused(1, "is in quarantine");
}
