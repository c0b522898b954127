//! Candidates beside the policy that decides: watched, promoted, taken back.

use longshore_tests::{Client, HostPlace, Server, longshore_in, plugin};

use crate::{actions, back_up, deciders, run};

fn shadowed(behaviour: &str) -> String {
    format!(
        "[[policy.selection]]\nplugin = \"standard\"\nname = \"tiered\"\nshadow = {{ plugin = '{}', settings = {{ behaviour = \"{behaviour}\" }} }}\n\
         [guardrails]\nprotected = [\"default.medium_*\"]\n",
        plugin("hostile").display()
    )
}

#[tokio::test]
async fn a_candidate_is_watched_then_promoted_and_can_be_taken_back() {
    let place = HostPlace::new(&shadowed("exclude-all"));
    let (server, client) = place.start();
    run(&place, &["policy", "promote"]).refused(1, "was not asked yet");
    let (backup, job) = back_up(&client).await;
    assert_eq!(job["status"], "SUCCESSFUL", "{job}");
    let (by, out) = deciders(&client, &backup).await;
    assert!(by.len() == 1 && by[0].starts_with("standard") && out == 0, "a candidate acted: {by:?} {out}");
    // Its differences lie with the backup and in the standing record.
    let path = format!("/v2/clusters/in01-test/backups/{backup}/decisions");
    let shadows = client.data("GET", &path, None).await["decisions"]["shadows"].clone();
    assert!(
        shadows[0]["changed"].as_u64().unwrap() >= 1 && shadows[0]["protectedChanges"].as_u64().unwrap() >= 1,
        "{shadows}"
    );
    let shown = run(&place, &["policy", "status"]).ok().stdout;
    let name = plugin("hostile").display().to_string();
    assert!(shown.contains(&format!("Candidate for selection/tiered of project: {name} ")), "{shown}");
    let status = run(&place, &["policy", "status", "--json"]).ok().json();
    let record = &status["members"][0]["shadow"]["record"];
    assert_eq!((&record["runs"], &record["decisions"]), (&1.into(), &shadows[0]["decisions"]), "{status}");
    let rules = ["policy", "promote", "tiered", "--min-decisions", "1", "--min-days", "0"];
    run(&place, &rules).refused(1, "protected collections would have lost their backup");

    // One that decides alike, but for its reason.
    place.write(&shadowed("honest"));
    client.data("POST", "/v2/reload", Some("{}")).await;
    back_up(&client).await;
    run(&place, &["policy", "promote", "tiered"]).refused(1, "of 100 decisions");
    let before = std::fs::read_to_string(&place.config).unwrap();
    let promoted = run(&place, &rules).ok();
    assert!(promoted.stdout.contains("takes the place of"), "{promoted:?}");
    assert_eq!(std::fs::read_to_string(&place.config).unwrap(), before, "the operator's file was changed");
    // From the next run on, without a reload.
    let (backup, _) = back_up(&client).await;
    assert!(deciders(&client, &backup).await.0[0].starts_with("hostile"));
    let status = run(&place, &["policy", "status"]).ok();
    assert!(status.stdout.contains("promoted in place of"), "{status:?}");
    server.stop();
    // A restart and a reload leave it so.
    let (server, client) = place.start();
    let report = client.data("POST", "/v2/reload", Some("{}")).await;
    assert!(report["policies"].to_string().contains("promoted in place of"), "{report}");
    let (backup, _) = back_up(&client).await;
    assert!(deciders(&client, &backup).await.0[0].starts_with("hostile"));

    let back = run(&place, &["policy", "rollback"]).ok();
    assert!(back.stdout.contains("takes the place of set"), "{back:?}");
    // Its record was clean, and people went back all the same: it has to earn the next promotion again.
    run(&place, &rules).refused(1, "was not asked yet");
    let (backup, _) = back_up(&client).await;
    assert!(deciders(&client, &backup).await.0[0].starts_with("standard"));
    let history = run(&place, &["policy", "history"]).ok();
    assert!(history.stdout.contains("in force") && history.stdout.contains("rolled back"), "{history:?}");
    let actions = actions(&place, "policy.");
    assert_eq!(
        actions.iter().filter(|action| *action != "policy.swap").collect::<Vec<_>>(),
        ["policy.promote", "policy.promote", "policy.promote", "policy.promote", "policy.rollback", "policy.promote"]
    );
    server.stop();
}

/// A candidate reads what its member was granted, and nothing else tells what it would have decided.
#[tokio::test]
async fn a_candidate_decides_by_the_files_that_its_member_was_granted() {
    let chain = |grants: &str| {
        format!(
            "[[policy.selection]]\nplugin = \"standard\"\nname = \"tiered\"\n{grants}\nshadow = '{}'\n",
            plugin("rules").display()
        )
    };
    let place = HostPlace::new(&chain("grants = { read = [{ guest = \"/rules\", host = \"rules\" }] }"));
    std::fs::create_dir(place.path().join("rules")).unwrap();
    let rule = "[[rule]]\nname = \"scratch\"\nwhen = { collections = [\"medium_*\"] }\nselect = { include = false }\n";
    std::fs::write(place.path().join("rules/rules.toml"), rule).unwrap();
    let (server, client) = place.start();
    let (_, job) = back_up(&client).await;
    assert_eq!(job["status"], "SUCCESSFUL", "{job}");
    let record = || {
        let status = run(&place, &["policy", "status", "--json"]).ok().json();
        status["members"][0]["shadow"]["record"].clone()
    };
    let seen = record();
    assert_eq!(seen["failures"], 0, "{seen}");
    let example = &seen["examples"][0];
    assert_eq!(
        (&example["item"], &example["after"]),
        (&"default.medium_articles".into(), &"left out".into()),
        "{seen}"
    );
    assert_eq!(example["reasonAfter"]["code"], "scratch", "{seen}");
    // Without the grant it has nothing to go by.
    place.write(&chain(""));
    client.data("POST", "/v2/reload", Some("{}")).await;
    back_up(&client).await;
    let seen = record();
    assert!(seen["lastFailure"].as_str().unwrap_or_default().contains("rules-not-granted"), "{seen}");
    server.stop();
}

#[tokio::test]
async fn a_candidate_that_misbehaves_hurts_no_backup() {
    for behaviour in ["panic", "loop", "huge-answer", "unknown-codec"] {
        let place = HostPlace::new(&shadowed(behaviour));
        let (server, client): (Server, Client) = place.start();
        let (_, job) = back_up(&client).await;
        assert_eq!(job["status"], "SUCCESSFUL", "{behaviour}: {job}");
        let status = run(&place, &["policy", "status", "--json"]).ok().json();
        let failures = status["members"][0]["shadow"]["record"]["failures"].as_u64().unwrap();
        assert_eq!(failures, u64::from(behaviour != "unknown-codec"), "{behaviour}: {status}");
        server.stop();
    }
}

#[test]
fn a_member_that_is_pinned_is_not_replaced() {
    let place = HostPlace::new("");
    let inspected = longshore_in(place.path(), ["plugin", "inspect", "standard", "--json"]).ok().json();
    let pin = format!("name = \"tiered\"\ndigest = \"{}\"\n", inspected["digest"].as_str().unwrap());
    place.write(&shadowed("honest").replace("name = \"tiered\"\n", &pin));
    run(&place, &["policy", "promote", "tiered"]).refused(1, "pins selection/tiered of project by `digest`");
}
