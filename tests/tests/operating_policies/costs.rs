//! What policies are told about costs, budgets and what is new, and what `cost-cap` makes of it.

use longshore_tests::{HostPlace, copy_tree, longshore_in, plugin, sample_cluster};
use serde_json::Value;

use crate::{CLUSTER, back_up, deciders, run, text};

/// A second cluster, and `cost-cap` in the chain of both.
fn capped(own: &str) -> String {
    format!(
        "[[cluster]]\nid = \"in01-second\"\nname = \"second\"\nregion = \"local-eu\"\nmilvus_lite = \"second.db\"\n{own}\n\
         [[policy.selection]]\nplugin = '{}'\n[[policy.selection]]\nplugin = \"standard\"\n",
        plugin("cost-cap").display()
    )
}

/// What the first cluster's backup has cost leaves less of the budget for the second one.
#[tokio::test]
async fn what_was_spent_this_month_decides_what_a_budget_lets_in() {
    // A thousandth of the currency unit a byte and month.
    const PRICE: u64 = 1_000_000_000_000;
    let place = HostPlace::new("");
    copy_tree(&sample_cluster(), &place.path().join("second.db"));
    let write = |budget: Option<u64>, own: &str| {
        place.write(&capped(own));
        let mut text = std::fs::read_to_string(&place.config).unwrap();
        text = text.replace(
            "jurisdiction = \"eu\"",
            &format!("jurisdiction = \"eu\", storage_price_micros_per_gb_month = {PRICE}"),
        );
        if let Some(budget) = budget {
            text = text.replace("name = \"Test\"", &format!("name = \"Test\", month_budget_micros = {budget}"));
        }
        std::fs::write(&place.config, text).unwrap();
    };
    let plan = |cluster: &str| run(&place, &["plan", "--cluster", cluster, "--json"]).ok().json();
    let codes = |plan: &Value| -> Vec<String> {
        let of = |row: &Value| row["reasons"][0]["code"].as_str().unwrap().to_owned();
        let mut codes: Vec<String> = plan["collections"].as_array().unwrap().iter().map(of).collect();
        codes.dedup();
        codes
    };
    write(None, "");
    let bytes = plan("in01-second")["totals"]["sizeBytes"].as_u64().unwrap();
    let budget = bytes * PRICE / 1_000_000_000 * 11 / 10;
    write(Some(budget), "");
    let before = plan("in01-second");
    assert_eq!(codes(&before), ["everything-fits"], "{before}");
    assert_eq!((&before["month"]["spendMicros"], &before["month"]["budgetMicros"]), (&0.into(), &budget.into()));

    let (server, client) = place.start();
    let (backup, job) = back_up(&client).await;
    assert_eq!(job["status"], "SUCCESSFUL", "{job}");
    assert_eq!(deciders(&client, &backup).await.1, 0, "the first cluster fits");
    let made = client.data("POST", "/v2/clusters/in01-second/backups/create", Some(CLUSTER)).await;
    let job = client.ended(made["jobId"].as_str().unwrap()).await;
    assert_eq!(job["status"], "SUCCESSFUL", "{job}");
    let path = format!("/v2/clusters/in01-second/backups/{}/decisions", made["backupId"].as_str().unwrap());
    let decisions = client.data("GET", &path, None).await["decisions"].clone();
    let facts = &decisions["records"][0]["run"];
    let (spent, estimate) = (facts["month_spend_micros"].as_u64().unwrap(), &facts["extra"][0]["value"]);
    assert!(spent > 0 && facts["month_budget_micros"] == budget, "{facts}");
    assert_eq!(facts["extra"][0]["name"], "month-estimate-micros", "{facts}");
    assert_eq!(facts["extra"][1]["value"], PRICE, "{facts}");
    // Everything was written today, so a month of it is so many times what it has cost.
    let days = estimate.as_u64().unwrap() as f64 / spent as f64;
    assert!((27.9..31.1).contains(&days), "{facts}");
    let rows = decisions["rows"].as_array().unwrap();
    let out: Vec<&Value> = rows.iter().filter(|row| row["decision"] == "left out").collect();
    assert!(!out.is_empty() && out.iter().all(|row| row["reasonCode"] == "over-budget"), "{rows:?}");
    server.stop();

    let why = run(&place, &["plan", "--cluster", "in01-second"]).ok().stdout;
    assert!(why.contains("is left for it after what is held, kept and more urgent; it has no backup."), "{why}");
    assert!(why.contains("All backups of this project cost ") && why.contains("; the budget is "), "{why}");
    // A budget of the cluster's own stands in place of the project's.
    write(Some(budget), &format!("month_budget_micros = {}", budget * 3));
    assert_eq!(plan("in01-second")["month"]["budgetMicros"], budget * 3);
    assert!(plan("in01-second")["totals"]["excluded"] == 0);
    assert_eq!(plan("in01-test")["month"]["budgetMicros"], budget);
    // What is no longer there was paid for all the same.
    std::fs::remove_dir_all(place.path().join("vault/packs")).unwrap();
    let gone = plan("in01-test")["month"].clone();
    assert_eq!(gone["estimateMicros"], 0, "{gone}");
    assert!(gone["spendMicros"].as_u64().unwrap() >= spent, "{gone} {spent}");
}

/// What the last backup holds is not new, whatever its index files are.
#[test]
fn what_an_earlier_backup_holds_is_known_before_a_selection_policy_is_asked() {
    let folder = tempfile::tempdir().unwrap();
    let (sample, here) = (sample_cluster(), folder.path());
    let text_of = format!(
        "[[selection]]\nplugin = '{}'\nsettings = {{ storage_price_micros_per_gb_month = 1000000, month_budget_micros = 1, \
         keep_collections = [\"*\"] }}\n[[selection]]\nplugin = \"standard\"\n",
        plugin("cost-cap").display()
    );
    std::fs::write(here.join("policy.toml"), &text_of).unwrap();
    let backup = ["backup", text(&sample), "--to", "vault", "--policy", "policy.toml"];
    longshore_in(here, backup).ok();
    longshore_in(here, backup).ok();
    let new_bytes = |backup: &str| -> Vec<u64> {
        let to = format!("records-{backup}");
        longshore_in(here, ["policy", "records", "--vault", "vault", "--backup", backup, "--to", &to]).ok();
        let mut files = std::fs::read_dir(here.join(&to)).unwrap().flat_map(|one| {
            std::fs::read_dir(one.unwrap().path()).unwrap().map(|file| file.unwrap().path()).collect::<Vec<_>>()
        });
        let file = files.find(|file| text(file).contains("-selection-cost-cap-")).unwrap();
        let record: Value = serde_json::from_str(&std::fs::read_to_string(file).unwrap()).unwrap();
        let collections = record["question"]["collections"].as_array().unwrap().clone();
        let total: u64 = collections.iter().map(|one| one["new_bytes"].as_u64().unwrap()).sum();
        assert_eq!(record["run"]["totals"]["new_bytes"], total);
        collections
            .iter()
            .map(|one| {
                let of = |class: &str| one["size_bytes"][class].as_u64().unwrap();
                // A log is rewritten in place, and a description counts as held with the data files it names.
                one["new_bytes"].as_u64().unwrap().saturating_sub(of("wal") + of("metadata"))
            })
            .collect()
    };
    let listed = longshore_in(here, ["list", "vault", "--json"]).ok().json();
    let ids: Vec<String> =
        listed["backups"].as_array().unwrap().iter().map(|one| one["backupId"].as_str().unwrap().to_owned()).collect();
    let (one, two) = (new_bytes(&ids[0]), new_bytes(&ids[1]));
    let (first, second) = if one.iter().sum::<u64>() > two.iter().sum::<u64>() { (one, two) } else { (two, one) };
    assert!(first.iter().filter(|bytes| **bytes > 0).count() >= 4, "{first:?}");
    assert!(second.iter().all(|bytes| *bytes == 0), "all data files were held: {second:?}");
}
