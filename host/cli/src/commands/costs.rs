//! `longshore costs`: from the catalog and the vaults of a host, also while it runs.

use longshore_engine::{CostLine, CostQuery, CostReport, RegionVaults, cost_report};
use longshore_model::{Clock, KeyScope, SystemClock};

use super::host_catalog;
use crate::Exit;
use crate::args::Costs;
use crate::output::{Output, bytes, money, table};

pub(crate) async fn run(arguments: Costs, output: Output) -> anyhow::Result<Exit> {
    let (config, catalog) = host_catalog::open(&arguments.config)?;
    let (vaults, _) = RegionVaults::open_existing(&config.project.id, &config.regions, &config.keys.read()?).await?;
    if let Some(region) = arguments.region.as_ref().filter(|region| config.region(region).is_none()) {
        anyhow::bail!("no region `{region}` is configured in {}", arguments.config.display());
    }
    let query = CostQuery {
        project_id: None,
        cluster_id: arguments.cluster,
        region_id: arguments.region,
        start: arguments.start,
        end: arguments.end,
        group_by: arguments.by,
    };
    let report = cost_report(&config, &vaults, &catalog, (&query, &KeyScope::All), SystemClock.now()).await?;
    output.result(&serde_json::to_value(&report)?, || shown(&query, &report));
    Ok(Exit::Done)
}

/// Whether a column is shown, its name, and what stands in it.
type Column = (bool, &'static str, fn(&CostLine) -> String);

fn shown(query: &CostQuery, report: &CostReport) -> String {
    let group = query.group_by;
    let columns: [Column; 9] = [
        (group.day, "DAY", |line| text(line.day.as_ref())),
        (group.month, "MONTH", |line| text(line.month.as_ref())),
        (group.region, "REGION", |line| text(line.region_id.as_ref())),
        (group.cluster, "CLUSTER", |line| text(line.cluster_name.as_ref())),
        (group.cluster, "CLUSTER ID", |line| text(line.cluster_id.as_ref())),
        (group.backup, "BACKUP", |line| text(line.backup_id.as_ref())),
        (true, "KEPT", |line| format!("{} days", bytes(line.stored_byte_days))),
        (true, "STORAGE", |line| money(line.storage_cost_micros)),
        (true, "TRANSFER", |line| money(line.transfer_cost_micros)),
    ];
    let columns: Vec<_> = columns.into_iter().filter(|(wanted, ..)| *wanted).collect();
    let header: Vec<&str> = columns.iter().map(|(_, name, _)| *name).collect();
    let cells: Vec<Vec<String>> =
        report.costs.iter().map(|line| columns.iter().map(|(.., cell)| cell(line)).collect()).collect();
    let day = |time: longshore_model::Timestamp| time.to_string().chars().take(10).collect::<String>();
    let mut shown = table(&header, &cells);
    shown.push_str(&format!(
        "\n{} to {}: {} for storage and {} for transfer.",
        day(report.start),
        day(report.end),
        money(report.storage_cost_micros),
        money(report.transfer_cost_micros),
    ));
    for region in &report.unknown_regions {
        shown.push_str(&format!("\nThe vault of {region} does not answer: its costs are told too low."));
    }
    shown
}

fn text(value: Option<&impl ToString>) -> String {
    value.map_or_else(|| "-".to_owned(), ToString::to_string)
}
