//! `longshore show`: one backup, and why it is as it is.

use serde_json::json;

use crate::Exit;
use crate::args::Show;
use crate::commands::which::open;
use crate::output::{Output, bytes};
use crate::tables;

pub(crate) async fn run(arguments: Show, output: Output) -> anyhow::Result<Exit> {
    let opened = open(&arguments.which).await?;
    let sealed = opened.sealed()?;
    let collections = opened.collection_views()?;
    let root = &opened.root.open;
    let mut decisions = opened.decisions()["decisions"].clone();
    let rows = decisions["rows"].clone();
    if !arguments.records
        && let Some(all) = decisions.as_object_mut()
    {
        all.remove("records");
        all.remove("grantedFiles");
    }
    let value = json!({
        "backupId": root.backup_id, "backupName": sealed.backup_name, "backupType": root.backup_type,
        "creationMethod": root.creation_method, "created": root.created, "clusterId": root.cluster_id,
        "clusterName": sealed.cluster_name, "homeRegion": root.home_region, "regions": opened.regions(),
        "sizes": root.sizes, "source": sealed.source_version, "collections": collections,
        "excluded": opened.excluded_views()?, "ddlChanges": sealed.ddl_changes, "policies": sealed.policies,
        "decisions": decisions,
    });
    output.result(&value, || {
        let mut text = format!(
            "Backup {} ({}, {}) of cluster {} ({})\nmade {} from {}; {} in files, {} in the vaults\n\n{}",
            root.backup_id,
            root.backup_type,
            root.creation_method,
            sealed.cluster_name,
            root.cluster_id,
            root.created,
            sealed.source_version,
            bytes(root.sizes.plain_bytes),
            bytes(root.sizes.stored_bytes),
            tables::collections(&collections),
        );
        for excluded in &sealed.excluded {
            text.push_str(&format!("left out: {}: {}\n", excluded.name, excluded.reason.message));
        }
        for change in &sealed.ddl_changes {
            text.push_str(&format!("changed during the backup: {} was {}\n", change.name, change.change));
        }
        text.push('\n');
        text.push_str(&tables::decisions(&rows));
        if arguments.records {
            text.push_str(&format!("\n{:#}", decisions["records"]));
        }
        text
    });
    Ok(Exit::Done)
}
