//! Automatic backups of a real host: `longshore schedule`, and hosts that are killed.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::time::Duration;

use longshore_tests::{Client, HostPlace, Ran, longshore_in};
use serde_json::Value;

fn place() -> HostPlace {
    let host = HostPlace::new("");
    let text = std::fs::read_to_string(&host.config).unwrap();
    std::fs::write(&host.config, text.replace("heartbeat_ms = 20", "heartbeat_ms = 20\nschedule_look_ms = 20"))
        .unwrap();
    host
}

fn schedule(host: &HostPlace, arguments: &[&str]) -> Ran {
    let all = [&["schedule"], arguments].concat();
    longshore_in(host.path(), all)
}

/// Waits until so many automatic backups are AVAILABLE; bounded, so that a host that makes none fails the test.
async fn automatic(client: &Client, count: usize) -> Vec<Value> {
    for _ in 0..3_000 {
        let listed = client.data("GET", "/v2/backups?creationMethod=AUTO&pageSize=100", None).await;
        let backups = listed["backups"].as_array().unwrap().clone();
        if backups.len() == count && backups.iter().all(|backup| backup["status"] == "AVAILABLE") {
            return backups;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("{count} automatic backups were not made within a minute");
}

#[tokio::test]
async fn a_schedule_that_the_command_line_sets_is_followed_by_the_host_also_after_it_was_killed() {
    let host = place();
    // The cluster is registered by the first start.
    schedule(&host, &["set", "in01-test"]).refused(1, "no cluster `in01-test`");
    let (server, _) = host.start();
    server.stop();

    let set = ["set", "in01-test", "--days", "1,3,5", "--window", "22:30-00:30", "--retention-days", "3", "--json"];
    let view = schedule(&host, &set).ok().json();
    let expected = serde_json::json!({
        "clusterId": "in01-test",
        "nextRun": view["nextRun"],
        "schedule": {
            "copies": [], "retentionDays": 3, "starts": { "weekly": { "days": "1,3,5", "window": "22:30-00:30" } },
        },
    });
    assert_eq!(view, expected);

    // A host that starts later makes the first backup; a host that is killed and starts again makes no second one.
    let (server, client) = host.start();
    let first = automatic(&client, 1).await;
    server.kill();
    let (server, client) = host.start();
    let manual =
        client.data("POST", "/v2/clusters/in01-test/backups/create", Some(r#"{"backupType":"CLUSTER"}"#)).await;
    client.ended(manual["jobId"].as_str().unwrap()).await;
    assert_eq!(automatic(&client, 1).await, first);

    // Set beside a running host: turned off, and on again with a cron expression, which makes a first backup.
    schedule(&host, &["off", "in01-test"]).ok();
    let off = client.data("GET", "/v2/clusters/in01-test/backups/policy", None).await;
    assert_eq!(off["status"], "DISABLED");
    schedule(&host, &["set", "in01-test", "--cron", "0 3 1 1 * Europe/Berlin"]).ok();
    let second = automatic(&client, 2).await;
    assert_eq!(second[1], first[0]);
    let shown = schedule(&host, &["list"]).ok().stdout;
    assert!(shown.contains("cron 0 3 1 1 * Europe/Berlin  3 days  -"), "{shown}");
    server.stop();
}

#[test]
fn a_schedule_that_makes_no_sense_is_refused_in_words() {
    let host = place();
    for (arguments, expected) in [
        (&["set", "in01-test", "--days", "0"][..], "1 (Monday) to 7 (Sunday)"),
        (&["set", "in01-test", "--window", "02:00-03:00"], "window of two hours"),
        (&["set", "in01-test", "--cron", "* * * * *"], "minutes apart"),
        (&["set", "in01-test", "--cron", "0 3 * * *", "--days", "1"], "cannot be used with"),
        (&["set", "in01-test", "--retention-days", "31"], "31 is not in 1..=30"),
        (&["set", "in01-test", "--copy", "local-us=x"], "no number of days"),
    ] {
        schedule(&host, arguments).refused(2, expected);
    }
}
