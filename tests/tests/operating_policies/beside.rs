//! A policy that does harm, and the jobs beside it.

use longshore_tests::{HostPlace, plugin};

use crate::{CLUSTER, back_up, run};

/// One cluster's policy loops for as long as its budget lasts; backups of another cluster, asked for after it, are made in
/// the meantime, several of them, and the host answers.
#[tokio::test]
async fn a_policy_that_loops_holds_up_no_job_but_its_own() {
    let place = HostPlace::new(&format!(
        "[[cluster]]\nid = \"in01-hostile\"\nname = \"Hostile\"\nregion = \"local-eu\"\nmilvus_lite = \"sample.db\"\n\
         [[cluster.policy.selection]]\nplugin = '{}'\nsettings = {{ behaviour = \"loop\" }}\n\
         budget = {{ fuel = 100000000000, wall_time_ms = 60000 }}\n",
        plugin("hostile").display()
    ));
    let (server, client) = place.start();
    let looping = client.data("POST", "/v2/clusters/in01-hostile/backups/create", Some(CLUSTER)).await;
    let looping = format!("/v2/jobs/{}", looping["jobId"].as_str().unwrap());
    // Until it has been called: only then is there something to be beside of.
    let mut looks = 0;
    while client.data("GET", &looping, None).await["phase"] != "policy" {
        looks += 1;
        assert!(looks < 10_000, "it is never asked: {}", server.log());
    }
    for _ in 0..3 {
        let (_, job) = back_up(&client).await;
        assert_eq!(job["status"], "SUCCESSFUL", "{job}");
    }
    let job = client.data("GET", &looping, None).await;
    assert_eq!((&job["status"], &job["phase"]), (&"IN_PROGRESS".into(), &"policy".into()), "{job}");
    server.kill();
}

#[tokio::test]
async fn who_failed_in_a_run_that_somebody_else_ended_is_noted_too() {
    let member = |kind: &str, name: &str, behaviour: &str, more: &str| {
        let file = plugin("hostile").display().to_string();
        format!(
            "[[policy.{kind}]]\nplugin = '{file}'\nname = \"{name}\"\nsettings = {{ behaviour = \"{behaviour}\" }}\n{more}\n"
        )
    };
    let place = HostPlace::new(&format!(
        "[plugins]\nquarantine_failures = 1\n{}[[policy.selection]]\nplugin = \"standard\"\n{}",
        member("selection", "skipped", "panic", "on_failure = \"skip\""),
        member("placement", "where", "unknown-region", ""),
    ));
    let (server, client) = place.start();
    let (_, job) = back_up(&client).await;
    assert!(job["reason"].as_str().unwrap().contains("moon-north-1"), "{job}");
    let status = run(&place, &["policy", "status", "--json"]).ok().json();
    let mut members: Vec<&str> =
        status["quarantine"].as_array().unwrap().iter().map(|one| one["seat"]["member"].as_str().unwrap()).collect();
    members.sort_unstable();
    assert_eq!(members, ["skipped", "where"], "{status}");
    server.stop();
}
