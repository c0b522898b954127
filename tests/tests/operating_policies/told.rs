//! What policies are told that only a host knows: its schedule, its failed backups, its proven restores, objectives, and
//! what each kind of policy said the last time.

use longshore_tests::{HostPlace, plugin};
use serde_json::Value;

use crate::{back_up, hostile, run, text};

/// The question that a kind of policy was asked first in a backup.
fn question(place: &HostPlace, backup: &str, kind: &str) -> Value {
    let folder = place.path().join(format!("records-{backup}"));
    run(place, &["policy", "records", "--backup", backup, "--to", text(&folder)]).ok();
    let mut files: Vec<_> = Vec::new();
    for entry in std::fs::read_dir(folder.join(backup)).unwrap() {
        files.push(entry.unwrap().path());
    }
    files.sort();
    let named = |path: &&std::path::PathBuf| path.to_str().unwrap().contains(&format!("-{kind}-"));
    let record = std::fs::read_to_string(files.iter().find(named).unwrap()).unwrap();
    serde_json::from_str(&record).unwrap()
}

fn facts(record: &Value, name: &str) -> Value {
    let found: Vec<Value> = collections(record).into_iter().filter(|one| one["name"]["collection"] == name).collect();
    found[0].clone()
}

fn collections(record: &Value) -> Vec<Value> {
    let question = record["question"].as_object().unwrap();
    let of = question.get("collections").or_else(|| question.values().find_map(|one| one.get("collections")));
    of.unwrap().as_array().unwrap().clone()
}

#[tokio::test]
async fn a_policy_is_told_the_schedule_the_failures_the_proofs_the_objective_and_its_own_last_reason() {
    let more = format!(
        "recovery_point_objective_seconds = 7200\n[cluster.labels]\n\
         \"default.medium_articles\" = {{ recovery_point_objective_seconds = \"60\" }}\n\
         [[policy.placement]]\nplugin = '{}'\n\
         [[policy.placement]]\nplugin = \"standard\"\n",
        plugin("residency").display()
    );
    let place = HostPlace::new(&more);
    let (server, client) = place.start();
    let (first, job) = back_up(&client).await;
    assert_eq!(job["status"], "SUCCESSFUL", "{job}");
    let record = question(&place, &first, "selection");
    assert_eq!(record["run"]["next_run"], Value::Null);
    let medium = facts(&record, "medium_articles");
    assert_eq!((&medium["recovery_point_objective_seconds"], &medium["consecutive_failures"]), (&60.into(), &0.into()));
    assert_eq!(medium["last_proven_restore"], Value::Null);

    // A backup that fails, and one collection alone that fails with it.
    place.write(&hostile("loop", "budget = { fuel = 20000000 }"));
    client.data("POST", "/v2/reload", Some("{}")).await;
    let (_, job) = back_up(&client).await;
    assert_eq!(job["status"], "FAILED", "{job}");
    let alone = r#"{"backupType": "COLLECTION", "dbCollections": [{"dbName": "default", "collectionNames": ["medium_articles"]}]}"#;
    let made = client.data("POST", crate::CREATE, Some(alone)).await;
    let job = client.ended(made["jobId"].as_str().unwrap()).await;
    assert_eq!(job["status"], "FAILED", "{job}");
    place.write(&more);
    client.data("POST", "/v2/reload", Some("{}")).await;
    let body = r#"{"projectId":"proj-test","clusterName":"Restored","cuSize":1,"collectionStatus":"KEEP"}"#;
    let path = format!("/v2/clusters/in01-test/backups/{first}/restoreCluster");
    let restoring = client.data("POST", &path, Some(body)).await;
    let restore = client.ended(restoring["jobId"].as_str().unwrap()).await;
    assert_eq!(restore["status"], "SUCCESSFUL", "{restore}");
    let set = ["schedule", "set", "in01-test", "--cron", "0 3 1 1 *"];
    run(&place, &set).ok();

    let (second, job) = back_up(&client).await;
    assert_eq!(job["status"], "SUCCESSFUL", "{job}");
    let record = question(&place, &second, "selection");
    // The first backup of a schedule is due at once.
    assert!(record["run"]["next_run"].is_string(), "{}", record["run"]);
    let all = collections(&record);
    assert!(all.len() > 1);
    for one in &all {
        let medium = one["name"]["collection"] == "medium_articles";
        let expected: (Value, Value) = if medium { (2.into(), 60.into()) } else { (1.into(), 7200.into()) };
        assert_eq!(
            (&one["consecutive_failures"], &one["recovery_point_objective_seconds"]),
            (&expected.0, &expected.1)
        );
        assert!(one["last_proven_restore"].is_string(), "{one}");
        assert_eq!(one["previous_reason_code"], "selected-by-default", "{one}");
    }
    // Another kind of policy is told its own.
    let placement = question(&place, &second, "placement");
    for one in collections(&placement) {
        let code = one["previous_reason_code"].as_str().unwrap_or_default();
        assert!(!code.is_empty() && code != "selected-by-default", "{one}");
    }

    // A good backup ends the row of failures, and a plan without the host is told the same.
    let (third, _) = back_up(&client).await;
    assert!(collections(&question(&place, &third, "selection")).iter().all(|one| one["consecutive_failures"] == 0));
    server.stop();
}

#[test]
fn why_says_which_guardrail_changed_a_decision() {
    let folder = tempfile::tempdir().unwrap();
    let (sample, here) = (longshore_tests::sample_cluster(), folder.path());
    let out = format!(
        "[[selection]]
plugin = '{}'
settings = {{ behaviour = \"exclude-all\" }}
",
        plugin("hostile").display()
    );
    std::fs::write(here.join("policy.toml"), out).unwrap();
    let arguments = ["backup", text(&sample), "--to", "vault", "--policy", "policy.toml"];
    longshore_tests::longshore_in(here, arguments.iter().chain(&["--collection", "medium_articles"])).ok();
    let ran = longshore_tests::longshore_in(here, ["why", "medium_articles", "--vault", "vault"]).ok();
    assert!(
        ran.stdout.lines().any(|line| line.trim_start().starts_with("guardrail") && line.contains("requested")),
        "{ran:?}"
    );
}

/// What is granted to one cluster's policy and is not there stops the runs of this cluster, and no other.
#[tokio::test]
async fn a_folder_that_one_cluster_lacks_keeps_no_other_from_its_backups_or_a_new_policy() {
    let second = |exclude: &str| {
        format!(
            "[[policy.selection]]\nplugin = \"standard\"\nsettings = {{ exclude_collections = [{exclude}] }}\n\
             [[cluster]]\nid = \"in01-second\"\nname = \"Second\"\nregion = \"local-eu\"\nmilvus_lite = \"sample.db\"\n\
             [[cluster.policy.selection]]\nplugin = '{}'\ngrants = {{ read = [{{ guest = \"/rules\", host = \"rules\" }}] }}\n\
             [[cluster.policy.selection]]\nplugin = \"standard\"\n",
            plugin("rules").display()
        )
    };
    let place = HostPlace::new(&second(""));
    run(&place, &["serve", "--check"]).refused(1, "the policies of in01-second");
    let (server, client) = place.start();
    assert!(back_up(&client).await.1["status"] == "SUCCESSFUL");
    let made = client.data("POST", "/v2/clusters/in01-second/backups/create", Some(crate::CLUSTER)).await;
    let job = client.ended(made["jobId"].as_str().unwrap()).await;
    assert!(job["status"] == "FAILED" && job["reason"].as_str().unwrap().contains("rules"), "{job}");
    // Another policy of the project is taken up all the same, and what is wrong is told.
    place.write(&second("\"medium_*\""));
    let report = client.data("POST", "/v2/reload", Some("{}")).await;
    assert!(report["policies"].to_string().contains("in01-second: runs fail"), "{report}");
    let (backup, _) = back_up(&client).await;
    assert_eq!(crate::deciders(&client, &backup).await.1, 1);
    // Once the folder is there, nothing need be reloaded.
    std::fs::create_dir(place.path().join("rules")).unwrap();
    std::fs::write(place.path().join("rules/rules.toml"), "[[rule]]\nname = \"all\"\nselect = { include = true }\n")
        .unwrap();
    let made = client.data("POST", "/v2/clusters/in01-second/backups/create", Some(crate::CLUSTER)).await;
    let job = client.ended(made["jobId"].as_str().unwrap()).await;
    assert_eq!(job["status"], "SUCCESSFUL", "{job}");
    server.stop();
}
