//! `longshore catalog`: rebuild it from the vaults.

use longshore_engine::{HostConfig, Limits, RebuildOptions, RebuildReport, RunContext, StopSignal, rebuild_catalog};
use serde_json::json;

use crate::Exit;
use crate::args::Catalog;
use crate::bars::with_bars;
use crate::output::{Output, table};

pub(crate) async fn run(arguments: Catalog, output: Output, stop: &StopSignal) -> anyhow::Result<Exit> {
    let Catalog::Rebuild { config, dry_run, without_snapshot } = arguments;
    let config = HostConfig::read(&config)?;
    let options = RebuildOptions { dry_run, without_snapshot };
    let mut context = RunContext::new(Limits::default());
    context.stop = stop.clone();
    let report = with_bars(&context, output, rebuild_catalog(&config, options, &context)).await?;
    let mut value = serde_json::to_value(&report)?;
    if let Some(value) = value.as_object_mut() {
        value.insert("dryRun".to_owned(), json!(dry_run));
    }
    output.result(&value, || text(&report, dry_run));
    match &report.snapshot {
        Some(_) => output.hint(
            "\nLook through longshore key list: keys that were revoked after the snapshot work again, and those made after \
             it do not.",
        ),
        None if !report.clusters.is_empty() || !report.backups.is_empty() => output
            .hint("\nJobs, API keys and the audit log were in the catalog only; make keys with longshore key create."),
        None => {}
    }
    Ok(if report.is_complete() { Exit::Done } else { Exit::Damaged })
}

fn text(report: &RebuildReport, dry_run: bool) -> String {
    let clusters = report.clusters.iter().map(|one| {
        let location = one.location.clone().unwrap_or_else(|| "unknown; add it to the configuration".to_owned());
        vec![one.cluster_id.to_string(), one.cluster_name.clone(), location]
    });
    let backups = report.backups.iter().map(|one| {
        vec![one.backup_id.to_string(), one.backup_name.clone(), one.cluster_id.to_string(), one.created.to_string()]
    });
    let mut text = String::new();
    if !report.clusters.is_empty() {
        text.push_str(&table(&["CLUSTER", "NAME", "LOCATION"], &clusters.collect::<Vec<_>>()));
        text.push('\n');
    }
    if !report.backups.is_empty() {
        text.push_str(&table(&["BACKUP", "NAME", "CLUSTER", "CREATED"], &backups.collect::<Vec<_>>()));
        text.push('\n');
    }
    if let Some(snapshot) = &report.snapshot {
        text.push_str(&format!(
            "begun with the snapshot of {} in the vault of region {}: {} jobs ended, {} backups deleted since, keys {}\n",
            snapshot.created,
            snapshot.region,
            snapshot.ended_jobs.len(),
            snapshot.deleted_backups.len(),
            if snapshot.working_keys.is_empty() { "none".to_owned() } else { snapshot.working_keys.join(", ") },
        ));
    }
    for (snapshot, why) in &report.unreadable_snapshots {
        text.push_str(&format!("not used: the snapshot of {snapshot}: {why}\n"));
    }
    for region in &report.missing_vaults {
        text.push_str(&format!("missing: the vault of region {region} is not there; backups in it were not found\n"));
    }
    for (backup, why) in &report.unreadable {
        text.push_str(&format!("not added: {backup}: {why}\n"));
    }
    for backup in &report.missing_in_vaults {
        text.push_str(&format!("lost: {backup} is in the catalog and in no vault that is there\n"));
    }
    for backup in &report.half_deleted {
        text.push_str(&format!("half deleted: {backup} is still in a vault; delete it again\n"));
    }
    let verb = if dry_run { "would be added" } else { "added" };
    text.push_str(&format!(
        "{} clusters and {} backups {verb}; {} backups were known.",
        report.clusters.len(),
        report.backups.len(),
        report.known_backups
    ));
    if dry_run {
        text.push_str(" Nothing was written.");
    }
    text
}
