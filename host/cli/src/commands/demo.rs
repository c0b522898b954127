//! `longshore demo`: everything at work on the sample cluster, over the REST API, as a user would do it.
//!
//! A host of its own is started as a separate process, with a catalog, two regions and their vaults in one folder. Each
//! request is shown as the `curl` line that does the same, and is sent with exactly that body.

mod client;
mod host;

use std::path::Path;
use std::time::Instant;

use anyhow::Context;
use longshore_model::Progress;
use serde_json::Value;

use self::client::Client;
use self::host::DemoHost;
use crate::Exit;
use crate::args::Demo;
use crate::bars::Bars;
use crate::output::{Output, bytes, duration, number, say, table};
use crate::tables;

/// The cluster of the demo.
const CLUSTER: &str = "in01-dedicated01";
/// The body of the guide's first request.
const CLUSTER_BACKUP: &str = r#"{
"backupType": "CLUSTER"
}"#;
/// The body of the guide's second request.
const COLLECTION_BACKUP: &str = r#"{
"backupType": "COLLECTION",
"dbCollections": [
{
"collectionNames": [
"medium_articles"
]
}
]
}"#;

pub(crate) async fn run(arguments: Demo, _: Output) -> anyhow::Result<Exit> {
    let started = Instant::now();
    host::prepare(&arguments)?;
    say!("1. A host with an embedded catalog and two regions, local-eu (home) and local-us, each with a vault.");
    let host = DemoHost::start(&arguments.directory).await?;
    say!("   It runs the standard policy and listens on {}.\n", host.url);
    let client = Client::new(&host.url, &host.key);

    say!("2. Back up the whole cluster.");
    let cluster_backup = backup(&client, CLUSTER_BACKUP).await?;
    say!("   What the policies decided, and why:");
    show_decisions(&client, &cluster_backup.id).await?;

    say!("3. Swap the policy: put `residency` in front of `standard` for placement. The engine stays the same.");
    host.use_residency(&arguments)?;
    let report = client.post("/v2/reload", "{}").await?;
    for line in report["policies"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        say!("   {line}");
    }
    say!("\n4. Back up one collection, under the new policy.");
    let collection_backup = backup(&client, COLLECTION_BACKUP).await?;
    say!("   Placement follows the collection's property data.region now:");
    show_decisions(&client, &collection_backup.id).await?;
    say!("5. Back up the cluster again: its collections go to the regions they belong to; what is known is not read.");
    let second = backup(&client, CLUSTER_BACKUP).await?;
    show_places(&client, &second.id).await?;

    say!("6. Restore the whole cluster into a new one, and prove it.");
    let restored = restore(&client, &second.id).await?;
    host.stop().await?;
    summary(&arguments.directory, &[cluster_backup, collection_backup, second], &restored, started);
    Ok(Exit::Done)
}

/// A backup that the demo made.
struct Made {
    id: String,
    result: Value,
}

async fn backup(client: &Client, body: &str) -> anyhow::Result<Made> {
    let path = format!("/v2/clusters/{CLUSTER}/backups/create");
    client.show("POST", &path, Some(body));
    let answer = client.post(&path, body).await?;
    say!("   {answer}");
    let job = text(&answer, "jobId");
    let job = wait(client, &job).await?;
    let result = job["result"].clone();
    say!(
        "   {} in {} files, {} added to the vaults, {}.\n",
        bytes(count(&result, "sizeBytes")),
        number(count(&result, "files")),
        bytes(count(&result, "storedBytes")),
        duration(i64::try_from(count(&result, "durationMs")).unwrap_or(0)),
    );
    Ok(Made { id: text(&answer, "backupId"), result })
}

/// Follows a job to its end with a bar per collection.
async fn wait(client: &Client, job: &str) -> anyhow::Result<Value> {
    let mut bars = Bars::new(true);
    loop {
        let answer = client.get(&format!("/v2/jobs/{job}")).await?;
        bars.draw(&progress_of(&answer));
        match answer["status"].as_str().unwrap_or_default() {
            "SUCCESSFUL" => {
                bars.finish();
                return Ok(answer);
            }
            "FAILED" | "CANCELED" => {
                bars.finish();
                anyhow::bail!("job {job} failed: {}", text(&answer, "reason"));
            }
            _ => tokio::time::sleep(std::time::Duration::from_millis(100)).await,
        }
    }
}

/// The progress of a job as the API shows it.
fn progress_of(job: &Value) -> Progress {
    let collections = job["collections"].as_array().into_iter().flatten().filter_map(|one| {
        let name =
            longshore_model::CollectionName::new(one["dbName"].as_str()?, one["collectionName"].as_str()?).ok()?;
        let (total_bytes, done_bytes) = (count(one, "totalBytes"), count(one, "doneBytes"));
        Some(longshore_model::CollectionProgress { name, total_bytes, done_bytes })
    });
    let phase = serde_json::from_value(job["phase"].clone()).unwrap_or_default();
    Progress {
        phase,
        collections: collections.collect(),
        bytes_per_second: job["bytesPerSecond"].as_u64(),
        remaining_seconds: job["remainingSeconds"].as_u64(),
        waiting_for: job["waitingFor"].as_str().map(str::to_owned),
    }
}

async fn show_decisions(client: &Client, backup: &str) -> anyhow::Result<()> {
    let answer = client.get(&format!("/v2/clusters/{CLUSTER}/backups/{backup}/decisions")).await?;
    let rows = &answer["decisions"]["rows"];
    let all = rows.as_array().map_or(0, Vec::len);
    // Compression of small metadata files says little; the rest of the table is what a person wants to see.
    let shown: Vec<Value> = rows
        .as_array()
        .into_iter()
        .flatten()
        .filter(|row| !row["item"].as_str().unwrap_or_default().ends_with("/metadata"))
        .cloned()
        .collect();
    say!("{}", indent(&tables::decisions(&Value::Array(shown.clone()))));
    if shown.len() < all {
        say!("   (and {} more about small metadata files)", all - shown.len());
    }
    say!("");
    Ok(())
}

async fn show_places(client: &Client, backup: &str) -> anyhow::Result<()> {
    let answer = client.get(&format!("/v2/clusters/{CLUSTER}/backups/{backup}/decisions")).await?;
    let rows = answer["decisions"]["rows"].as_array().cloned().unwrap_or_default();
    let places: Vec<Vec<String>> = rows
        .iter()
        .filter(|row| row["kind"] == "placement")
        .map(|row| vec![text(row, "item"), text(row, "decision"), text(row, "decidedBy"), text(row, "message")])
        .collect();
    say!("{}\n", indent(&table(&["COLLECTION", "REGION", "BY", "WHY"], &places)));
    Ok(())
}

async fn restore(client: &Client, backup: &str) -> anyhow::Result<Value> {
    let path = format!("/v2/clusters/{CLUSTER}/backups/{backup}/restoreCluster");
    let body = r#"{"projectId": "proj-demo", "clusterName": "Restored-01", "cuSize": 1, "collectionStatus": "KEEP"}"#;
    client.show("POST", &path, Some(body));
    let answer = client.post(&path, body).await?;
    say!("   {answer}");
    let job = wait(client, &text(&answer, "jobId")).await?;
    let result = job["result"].clone();
    let rows: Vec<Vec<String>> = result["restore"]["collections"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|one| {
            let name = format!("{}.{}", text(&one["to"], "database"), text(&one["to"], "collection"));
            let cells = ["liveRows", "physicalRows", "files"].map(|key| number(count(one, key)));
            let [live, physical, files] = cells;
            vec![name, live, physical, files, "equal".to_owned()]
        })
        .collect();
    say!("{}", indent(&table(&["COLLECTION", "ROWS", "PHYSICAL ROWS", "FILES", "CONTENT"], &rows)));
    say!("   Every file was read back from the restored directory and has the digest it had in the backup.\n");
    Ok(result)
}

fn summary(directory: &Path, backups: &[Made], restored: &Value, started: Instant) {
    let rate = |size: u64, milliseconds: u64| {
        size.saturating_mul(1_000)
            .checked_div(milliseconds)
            .map_or_else(String::new, |rate| format!(" ({}/s)", bytes(rate)))
    };
    say!("Done in {}:", duration(i64::try_from(started.elapsed().as_millis()).unwrap_or(0)));
    for (made, what) in backups.iter().zip(["whole cluster", "one collection", "whole cluster again"]) {
        let (size, time) = (count(&made.result, "sizeBytes"), count(&made.result, "durationMs"));
        say!(
            "  backup of the {what}: {} in {}{}, {} new in the vaults",
            bytes(size),
            duration(i64::try_from(time).unwrap_or(0)),
            rate(size - count(&made.result, "reusedBytes").min(size), time),
            bytes(count(&made.result, "storedBytes")),
        );
    }
    let (size, time) = (count(&restored["restore"], "sizeBytes"), count(&restored["restore"], "durationMs"));
    say!("  restore and proof: {} in {}{}", bytes(size), duration(i64::try_from(time).unwrap_or(0)), rate(size, time));
    let directory = directory.display();
    let last = backups.last().map_or("latest", |made| made.id.as_str());
    say!(
        "\nThe restored cluster is {}.\n\nTry next:
  longshore show {directory}/vault-eu {last} --vault {directory}/vault-us
  longshore verify {directory}/vault-eu {last} --vault {directory}/vault-us
  longshore serve --config {directory}/longshore.toml
Your own data, without a server (any Milvus Lite 3 directory, also while a program writes to it):
  longshore backup my-database.db --to my-vault
  longshore restore my-vault --to restored.db",
        text(restored, "connectAddress"),
    );
}

fn indent(text: &str) -> String {
    text.trim_end().lines().map(|line| format!("   {line}")).collect::<Vec<_>>().join("\n")
}

fn text(value: &Value, key: &str) -> String {
    value[key].as_str().unwrap_or_default().to_owned()
}

fn count(value: &Value, key: &str) -> u64 {
    value[key].as_u64().unwrap_or(0)
}

/// Says which file is missing, and that the demo wants to be run from the repository.
fn require(path: &Path, what: &str) -> anyhow::Result<std::path::PathBuf> {
    path.canonicalize().with_context(|| {
        format!("{what} {} is not there; run the demo in the repository, or name it with an option", path.display())
    })
}
