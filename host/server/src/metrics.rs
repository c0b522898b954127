//! Numbers in the text format of Prometheus.
//!
//! Names and units follow its conventions: counters end in `_total`, times are seconds, sizes bytes. What is summed over
//! jobs and backups is read from the catalog; it only falls when a catalog is rebuilt.

use std::fmt::{Display, Write as _};

use longshore_engine::{JOB_DURATION_BOUNDS_MS, Metrics};
use longshore_model::Timestamp;

/// The content type of the format.
pub(crate) const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Writes numbers out.
pub(crate) fn text(metrics: &Metrics) -> String {
    let mut text = Text(String::new());
    jobs(&mut text, metrics);
    backups_and_vaults(&mut text, metrics);
    clusters(&mut text, metrics);
    policies(&mut text, metrics);
    text.family(
        "longshore_webhook_deliveries",
        "gauge",
        "Messages to the webhook by state; those that ended, of the last days.",
    );
    let counts = metrics.deliveries;
    for (state, count) in
        [("waiting", counts.waiting), ("delivered", counts.delivered), ("abandoned", counts.abandoned)]
    {
        text.sample("longshore_webhook_deliveries", &[("state", &state)], count);
    }
    let name = "longshore_catalog_snapshot_timestamp_seconds";
    text.family(name, "gauge", "When this host last wrote a snapshot of its catalog into the vault of a region.");
    for (region, time) in &metrics.catalog_snapshots {
        text.sample(name, &[("region", region)], seconds(*time));
    }
    text.0
}

fn jobs(text: &mut Text, metrics: &Metrics) {
    text.family("longshore_jobs", "gauge", "Jobs in the catalog by type and state.");
    for jobs in &metrics.jobs {
        text.sample("longshore_jobs", &[("type", &jobs.job_type), ("status", &jobs.status)], jobs.count);
    }
    let ended = || metrics.jobs.iter().filter(|jobs| jobs.status.is_terminal());
    text.family("longshore_job_moved_bytes_total", "counter", "Bytes of files that ended jobs had moved.");
    for jobs in ended() {
        let labels: [(&str, &dyn Display); 2] = [("type", &jobs.job_type), ("status", &jobs.status)];
        text.sample("longshore_job_moved_bytes_total", &labels, jobs.moved_bytes);
    }
    let name = "longshore_job_duration_seconds";
    text.family(name, "histogram", "How long ended jobs took, from their first start to their end.");
    for jobs in ended() {
        let (kind, status): (&dyn Display, &dyn Display) = (&jobs.job_type, &jobs.status);
        for (bound_ms, within) in JOB_DURATION_BOUNDS_MS.iter().zip(&jobs.within) {
            let bound = decimal(u64::try_from(*bound_ms).unwrap_or_default(), 3);
            text.sample(&format!("{name}_bucket"), &[("type", kind), ("status", status), ("le", &bound)], within);
        }
        text.sample(&format!("{name}_bucket"), &[("type", kind), ("status", status), ("le", &"+Inf")], jobs.count);
        text.sample(&format!("{name}_sum"), &[("type", kind), ("status", status)], decimal(jobs.duration_ms, 3));
        text.sample(&format!("{name}_count"), &[("type", kind), ("status", status)], jobs.count);
    }
}

fn backups_and_vaults(text: &mut Text, metrics: &Metrics) {
    text.family("longshore_backups", "gauge", "Backups in the catalog by state.");
    for (status, count) in &metrics.backups {
        text.sample("longshore_backups", &[("status", status)], count);
    }
    text.family("longshore_vault_used_bytes", "gauge", "Bytes of packs in the vault of a region.");
    for (region, bytes) in metrics.vaults.iter().filter_map(|(region, bytes)| Some((region, (*bytes)?))) {
        text.sample("longshore_vault_used_bytes", &[("region", region)], bytes);
    }
    text.family("longshore_vault_up", "gauge", "1 when the vault of a region answers.");
    for (region, bytes) in &metrics.vaults {
        text.sample("longshore_vault_up", &[("region", region)], u8::from(bytes.is_some()));
    }
}

fn clusters(text: &mut Text, metrics: &Metrics) {
    let name = "longshore_newest_backup_timestamp_seconds";
    text.family(name, "gauge", "When the newest AVAILABLE backup of a whole cluster was made.");
    for cluster in &metrics.clusters {
        if let Some(newest) = cluster.newest_backup {
            text.sample(name, &[("cluster", &cluster.cluster_id)], seconds(newest));
        }
    }
    let name = "longshore_newest_backup_age_seconds";
    text.family(name, "gauge", "How old that backup is; there is none for a cluster without one.");
    for cluster in &metrics.clusters {
        if let Some(newest) = cluster.newest_backup {
            let age = metrics.now.millis_since(newest).max(0) / 1_000;
            text.sample(name, &[("cluster", &cluster.cluster_id)], age);
        }
    }
    let name = "longshore_next_backup_timestamp_seconds";
    text.family(name, "gauge", "When the next automatic backup of a cluster starts.");
    for cluster in &metrics.clusters {
        if let Some(next) = cluster.next_run {
            text.sample(name, &[("cluster", &cluster.cluster_id)], seconds(next));
        }
    }
    let name = "longshore_backup_overdue";
    let help = "1 when a cluster has had no good backup for longer than its policy or recovery point objective allows.";
    text.family(name, "gauge", help);
    for cluster in &metrics.clusters {
        text.sample(name, &[("cluster", &cluster.cluster_id)], u8::from(cluster.overdue.is_some()));
    }
}

fn policies(text: &mut Text, metrics: &Metrics) {
    let calls = || metrics.policy_calls.iter().map(|((kind, member), calls)| (kind.as_str(), member, calls));
    text.family("longshore_policy_calls_total", "counter", "Calls of policies since the host started.");
    for (kind, member, calls) in calls() {
        text.sample("longshore_policy_calls_total", &[("kind", &kind), ("member", member)], calls.calls);
    }
    text.family("longshore_policy_fuel_total", "counter", "Fuel of the calls of policies that were answered.");
    for (kind, member, calls) in calls() {
        text.sample("longshore_policy_fuel_total", &[("kind", &kind), ("member", member)], calls.fuel);
    }
    text.family("longshore_policy_refusals_total", "counter", "Calls of policies that refused the run.");
    for (kind, member, calls) in calls() {
        text.sample("longshore_policy_refusals_total", &[("kind", &kind), ("member", member)], calls.refusals);
    }
    text.family("longshore_policy_failures_total", "counter", "Calls of policies that failed, by how they did.");
    for (kind, member, calls) in calls() {
        for (code, count) in &calls.failures {
            let labels: [(&str, &dyn Display); 3] = [("kind", &kind), ("member", member), ("code", code)];
            text.sample("longshore_policy_failures_total", &labels, count);
        }
    }
    text.family("longshore_policy_time_seconds_total", "counter", "Time of the calls of a policy that were answered.");
    for (member, time_us) in &metrics.policy_time_us {
        text.sample("longshore_policy_time_seconds_total", &[("member", member)], decimal(*time_us, 6));
    }
    let name = "longshore_policy_events_total";
    text.family(name, "counter", "What happened to policies since the catalog was made.");
    for (event, count) in &metrics.policy_events {
        text.sample(name, &[("event", event)], count);
    }
    let name = "longshore_policy_quarantined_members";
    text.family(name, "gauge", "Members of chains that are not asked because they failed too often.");
    text.sample(name, &[], metrics.quarantined_members);
    let name = "longshore_policy_set";
    text.family(name, "gauge", "Number of the set of policies in force.");
    if let Some(set) = metrics.policy_set {
        text.sample(name, &[], set);
    }
}

fn seconds(time: Timestamp) -> i64 {
    time.as_millis() / 1_000
}

/// A number of parts of ten to the `places`, as a decimal without zeros at its end.
fn decimal(parts: u64, places: u32) -> String {
    let unit = 10_u64.pow(places);
    let (whole, rest) = (parts / unit, parts % unit);
    if rest == 0 {
        return whole.to_string();
    }
    let rest = format!("{rest:0width$}", width = usize::try_from(places).unwrap_or_default());
    format!("{whole}.{}", rest.trim_end_matches('0'))
}

/// The text that is being written.
struct Text(String);

impl Text {
    fn family(&mut self, name: &str, kind: &str, help: &str) {
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    fn sample(&mut self, name: &str, labels: &[(&str, &dyn Display)], value: impl Display) {
        self.0.push_str(name);
        for (place, (label, text)) in labels.iter().enumerate() {
            let _ = write!(self.0, "{}{label}=\"{}\"", if place == 0 { "{" } else { "," }, escaped(&text.to_string()));
        }
        let _ = writeln!(self.0, "{} {value}", if labels.is_empty() { "" } else { "}" });
    }
}

/// Members of chains are named by people.
fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_labels_are_written_as_the_format_asks() {
        assert_eq!(
            [decimal(0, 3), decimal(1_500, 3), decimal(60_000, 3), decimal(7, 6)],
            ["0", "1.5", "60", "0.000007"]
        );
        let mut text = Text(String::new());
        text.sample("a", &[], 1);
        text.sample("b", &[("c", &"x\"y\\z\n"), ("d", &2)], 3);
        assert_eq!(text.0, "a 1\nb{c=\"x\\\"y\\\\z\\n\",d=\"2\"} 3\n");
    }
}
