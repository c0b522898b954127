//! What backups cost, over the API.

use longshore_engine::Role;
use longshore_model::{Clock as _, KeyScope, SystemClock};
use serde_json::Value;

use crate::place::{CLUSTER, ManualClock, Place};

const DAY_MS: i64 = 24 * 60 * 60 * 1_000;

fn sum(lines: &Value, name: &str) -> u64 {
    lines.as_array().unwrap().iter().map(|line| line[name].as_u64().unwrap()).sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn costs_are_told_by_day_region_cluster_and_backup_with_pages() {
    // The store's clock is the machine's, so that this one goes with it.
    let clock = ManualClock::at(&SystemClock.now().to_string());
    let place = Place::start_at(clock.clone()).await;
    let body = r#"{"backupType":"CLUSTER","crossRegionCopies":[{"regionId":"local-us"}]}"#;
    let backup = place.backup(body).await;
    let jobs = place.send("GET", "/v2/jobs?type=COPY", "").await;
    place.ended(jobs.data()["jobs"][0]["jobId"].as_str().unwrap()).await;

    let day = place.send("GET", "/v2/costs", "").await;
    let line = &day.data()["costs"][0];
    assert_eq!(line["regionId"], "local-eu", "{day:?}");
    let bytes = line["storedByteDays"].as_u64().unwrap();
    let used = place.send("GET", "/v2/regions", "").await.data()[0]["usedBytes"].as_u64().unwrap();
    assert_eq!(bytes, used, "the day that began counts whole");
    let days_in_month = days_in_month(line["day"].as_str().unwrap());
    let expected = u128::from(bytes) * 25_000 / 1_000_000_000 / u128::from(days_in_month);
    assert_eq!(u128::from(line["storageCostMicros"].as_u64().unwrap()), expected, "{line}");
    assert_eq!(day.data()["storageCostMicros"], line["storageCostMicros"], "the other region has no price");

    // Ten days later, though nobody made anything.
    clock.forward(10 * DAY_MS);
    let query = format!("start={}", day.data()["end"].as_str().unwrap());
    let by_day = place.send("GET", &format!("/v2/costs?groupBy=day&{query}&pageSize=100"), "").await;
    let lines = &by_day.data()["costs"];
    assert_eq!(lines.as_array().unwrap().len(), 11, "{by_day:?}");
    let by_backup = place.send("GET", &format!("/v2/costs?groupBy=region,cluster,backup&{query}"), "").await;
    let line = &by_backup.data()["costs"][0];
    assert_eq!((&line["backupId"], &line["clusterId"]), (&backup.as_str().into(), &CLUSTER.into()), "{by_backup:?}");
    assert_eq!((&line["backupName"], &line["clusterName"]), (&"Dedicated-01_backup1".into(), &"Dedicated-01".into()));
    assert_eq!(line["storedByteDays"].as_u64().unwrap(), 11 * bytes, "all of the region's bytes are this backup's");
    assert_eq!(sum(&by_backup.data()["costs"], "storedByteDays"), sum(lines, "storedByteDays"));
    let copy = &by_backup.data()["costs"][1];
    assert_eq!(copy["regionId"], "local-us");
    assert!(copy["transferredBytes"].as_u64().unwrap() > 1_000_000, "{copy}");

    // Pages cover the lines; sums are over all of them.
    let mut days = Vec::new();
    for page in 1..=4 {
        let path = format!("/v2/costs?groupBy=day&{query}&pageSize=3&currentPage={page}");
        let part = place.send("GET", &path, "").await;
        assert_eq!(part.data()["count"], 11);
        assert_eq!(part.data()["costMicros"], by_day.data()["costMicros"]);
        days.extend(part.data()["costs"].as_array().unwrap().iter().map(|line| line["day"].clone()));
    }
    assert_eq!(days, lines.as_array().unwrap().iter().map(|line| line["day"].clone()).collect::<Vec<_>>());

    // Filters and scopes.
    let nobody = place.send("GET", &format!("/v2/costs?clusterId=in01-nobody&{query}"), "").await;
    assert_eq!((&nobody.data()["count"], &nobody.data()["costMicros"]), (&0.into(), &0.into()));
    let region = place.send("GET", &format!("/v2/costs?regionId=local-us&groupBy=region&{query}"), "").await;
    assert_eq!(region.data()["costs"].as_array().unwrap().len(), 1);
    assert_eq!(place.send("GET", "/v2/costs?regionId=mars", "").await.refusal(), (400, 96001));
    let other = KeyScope::of([], ["in01-second".parse().unwrap()]);
    let (_, key) = place.key_for("narrow", Role::BackupView, other, None);
    assert_eq!(place.send_as(&key, "GET", &format!("/v2/costs?{query}"), "").await.data()["count"], 0);
    let long = place.send("GET", "/v2/costs?start=2001-01-01T00:00:00Z", "").await;
    assert_eq!(long.refusal(), (400, 97002));
    let future = place.send("GET", "/v2/costs?start=2999-01-01T00:00:00Z", "").await;
    assert_eq!(future.data()["count"], 0, "{future:?}");

    // What was deleted costs until the day of its deletion.
    place.send("DELETE", &format!("/v2/clusters/{CLUSTER}/backups/{backup}"), "").await.data();
    clock.forward(DAY_MS);
    let after =
        place.send("GET", &format!("/v2/costs?groupBy=day,backup&regionId=local-eu&{query}&pageSize=100"), "").await;
    let of_backup = after.data()["costs"].as_array().unwrap().iter().filter(|line| line["backupId"] == backup.as_str());
    assert_eq!(of_backup.count(), 11, "its last day counts whole, the next one does not: {after:?}");
    let last = after.data()["costs"].as_array().unwrap().last().unwrap();
    assert_eq!(last["backupId"], Value::Null, "bytes that wait for a prune are nobody's: {last}");
    place.host.shutdown().await;
}

fn days_in_month(day: &str) -> u32 {
    let (year, month): (u32, u32) = (day[..4].parse().unwrap(), day[5..7].parse().unwrap());
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}
