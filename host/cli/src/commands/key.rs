//! `longshore key`: works on the catalog directly, also while the host runs.

use std::path::Path;

use longshore_catalog::{ApiKeyRow, Catalog, SqliteCatalog};
use longshore_engine::{HostConfig, KeyRequest, SystemRandom, create_key, revoke_key};
use longshore_model::{Clock, ClusterId, KeyScope, ProjectId, SystemClock, Timestamp};
use serde_json::json;

use super::{host_catalog, recipient};
use crate::Exit;
use crate::args::{Expiry, Key};
use crate::output::{Output, table};

/// Milliseconds of a day.
const DAY_MS: i64 = 24 * 60 * 60 * 1_000;
/// Who makes and revokes keys here, as the audit log says.
const ACTOR: &str = "command line";

pub(crate) async fn run(arguments: Key, output: Output) -> anyhow::Result<Exit> {
    let now = SystemClock.now();
    match arguments {
        Key::Recipient(arguments) => return recipient::run(arguments, output).await,
        Key::Writer(arguments) => return recipient::writer(arguments, output).await,
        Key::Create { name, role, projects, clusters, expires, config } => {
            let (host, catalog) = host_catalog::open(&config)?;
            check_known(&host, &catalog, &projects, &clusters)?;
            let expires = expires.map(|expires| match expires {
                Expiry::Days(days) => now.plus_millis(i64::from(days) * DAY_MS),
                Expiry::At(time) => time,
            });
            let request = KeyRequest { name, role, scope: KeyScope::of(projects, clusters), expires };
            let (row, key) = create_key(&catalog, &request, &SystemRandom, now, ACTOR)?;
            let mut value = serde_json::to_value(&row)?;
            value["key"] = key.as_str().into();
            output.result(&value, || key.clone());
            output.hint(&format!(
                "Key {} for `{}` ({}, {}). It is shown this once and kept nowhere.",
                row.id, row.name, row.role, row.scope
            ));
        }
        Key::List { config } => list(&config, now, output)?,
        Key::Revoke { id, config } => {
            let row = revoke_key(&host_catalog::open(&config)?.1, &id, now, ACTOR)?;
            output.result(&json!({ "id": row.id, "revoked": row.revoked }), || format!("Key {} is revoked.", row.id));
        }
    }
    Ok(Exit::Done)
}

fn list(config: &Path, now: Timestamp, output: Output) -> anyhow::Result<()> {
    let rows = host_catalog::open(config)?.1.list_keys()?;
    let mut values = Vec::with_capacity(rows.len());
    for row in &rows {
        let mut value = serde_json::to_value(row)?;
        value["state"] = state(row, now).into();
        values.push(value);
    }
    output.result(&json!({ "keys": values }), || {
        let time = |time: Option<Timestamp>| time.map_or_else(|| "-".to_owned(), |time| time.to_string());
        let cells = rows.iter().map(|row| {
            let state = state(row, now).to_owned();
            vec![row.id.clone(), row.name.clone(), row.role.clone(), row.scope.to_string(), time(row.expires), state]
        });
        table(&["ID", "NAME", "ROLE", "FOR", "EXPIRES", "STATE"], &cells.collect::<Vec<_>>())
    });
    Ok(())
}

/// Whether it works now.
fn state(row: &ApiKeyRow, now: Timestamp) -> &'static str {
    match row {
        ApiKeyRow { revoked: Some(_), .. } => "revoked",
        ApiKeyRow { expires: Some(expires), .. } if *expires <= now => "expired",
        _ => "works",
    }
}

/// A key for something that a typing mistake made up would open nothing, and nobody would see why.
fn check_known(
    config: &HostConfig,
    catalog: &SqliteCatalog,
    projects: &[ProjectId],
    clusters: &[ClusterId],
) -> anyhow::Result<()> {
    for project in projects {
        if config.project.id != *project && catalog.get_project(project)?.is_none() {
            anyhow::bail!("no project `{project}`; the one of this host is `{}`", config.project.id);
        }
    }
    for cluster in clusters {
        if !config.clusters.iter().any(|one| one.id == *cluster) && catalog.get_cluster(cluster)?.is_none() {
            anyhow::bail!("no cluster `{cluster}` is configured here, nor was one restored under that id");
        }
    }
    Ok(())
}
