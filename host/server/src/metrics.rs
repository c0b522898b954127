//! Numbers in the text format of Prometheus.

use std::fmt::Write as _;

use longshore_engine::Metrics;
use longshore_model::Timestamp;

/// The content type of the format.
pub(crate) const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Writes numbers out. Label values are identifiers and enumerations, none of which has a quote or a backslash in it.
pub(crate) fn text(metrics: &Metrics) -> String {
    let mut text = String::new();
    family(&mut text, "longshore_jobs", "Jobs in the catalog by type and state.");
    for (job_type, status, count) in &metrics.jobs {
        let _ = writeln!(text, "longshore_jobs{{type=\"{job_type}\",status=\"{status}\"}} {count}");
    }
    family(&mut text, "longshore_backups", "Backups in the catalog by state.");
    for (status, count) in &metrics.backups {
        let _ = writeln!(text, "longshore_backups{{status=\"{status}\"}} {count}");
    }
    family(&mut text, "longshore_vault_used_bytes", "Bytes of packs in the vault of a region.");
    for (region, bytes) in metrics.vaults.iter().filter_map(|(region, bytes)| Some((region, (*bytes)?))) {
        let _ = writeln!(text, "longshore_vault_used_bytes{{region=\"{region}\"}} {bytes}");
    }
    family(&mut text, "longshore_vault_up", "1 when the vault of a region answers.");
    for (region, bytes) in &metrics.vaults {
        let _ = writeln!(text, "longshore_vault_up{{region=\"{region}\"}} {}", u8::from(bytes.is_some()));
    }
    let seconds = |time: Timestamp| time.as_millis() / 1_000;
    let name = "longshore_newest_backup_timestamp_seconds";
    family(&mut text, name, "When the newest AVAILABLE backup of a whole cluster was made.");
    for cluster in &metrics.clusters {
        if let Some(newest) = cluster.newest_backup {
            let _ = writeln!(text, "{name}{{cluster=\"{}\"}} {}", cluster.cluster_id, seconds(newest));
        }
    }
    let name = "longshore_next_backup_timestamp_seconds";
    family(&mut text, name, "When the next automatic backup of a cluster starts.");
    for cluster in &metrics.clusters {
        if let Some(next) = cluster.next_run {
            let _ = writeln!(text, "{name}{{cluster=\"{}\"}} {}", cluster.cluster_id, seconds(next));
        }
    }
    let name = "longshore_backup_overdue";
    family(&mut text, name, "1 when the backup that a cluster's policy should have made by now is not there.");
    for cluster in &metrics.clusters {
        let _ = writeln!(text, "{name}{{cluster=\"{}\"}} {}", cluster.cluster_id, u8::from(cluster.overdue));
    }
    text
}

fn family(text: &mut String, name: &str, help: &str) {
    let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} gauge");
}
