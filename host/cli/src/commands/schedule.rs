//! `longshore schedule`: works on the catalog directly, also while the host runs, which looks for changes by itself.

use longshore_catalog::{AuditEntry, Catalog as _};
use longshore_engine::{ScheduleChange, ScheduleView, SetSchedule, Starts, get_schedule, list_schedules, set_schedule};
use longshore_model::{Clock, SystemClock};
use serde_json::json;

use super::host_catalog;
use crate::Exit;
use crate::args::{ScheduleCommand, ScheduleOf};
use crate::output::{Output, table};

pub(crate) fn run(command: ScheduleCommand, output: Output) -> anyhow::Result<Exit> {
    match command {
        ScheduleCommand::Set(set) => {
            let copies =
                if set.no_copies { Some(Vec::new()) } else { Some(set.copies).filter(|list| !list.is_empty()) };
            let change = ScheduleChange {
                days: set.days,
                window: set.window,
                cron: set.cron,
                retention_days: set.retention_days,
                copies,
            };
            change_schedule(&set.of, &SetSchedule::On(change), output)
        }
        ScheduleCommand::Off { cluster } => change_schedule(&cluster, &SetSchedule::Off, output),
        ScheduleCommand::Show { cluster } => {
            let (_, catalog) = host_catalog::open(&cluster.config)?;
            show(&[get_schedule(&catalog, &cluster.cluster)?], output, false)
        }
        ScheduleCommand::List { config } => {
            let (_, catalog) = host_catalog::open(&config)?;
            show(&list_schedules(&catalog)?, output, true)
        }
    }
}

fn change_schedule(of: &ScheduleOf, set: &SetSchedule, output: Output) -> anyhow::Result<Exit> {
    let (config, catalog) = host_catalog::open(&of.config)?;
    let now = SystemClock.now();
    let outcome = set_schedule(&catalog, &config, &of.cluster, set, now);
    catalog.append_audit(&AuditEntry {
        time: now,
        actor: "command line".to_owned(),
        action: "schedule.set".to_owned(),
        subject: of.cluster.to_string(),
        outcome: outcome.as_ref().err().map_or_else(|| "ok".to_owned(), ToString::to_string),
    })?;
    let view = outcome?;
    let due = view.next_run.is_some_and(|next| next <= now);
    show(&[view], output, false)?;
    if due {
        output.hint("The first backup starts as soon as the host looks, within seconds while it runs.");
    }
    Ok(Exit::Done)
}

fn show(views: &[ScheduleView], output: Output, list: bool) -> anyhow::Result<Exit> {
    let value = match views {
        [one] if !list => serde_json::to_value(one)?,
        all => json!({ "schedules": all }),
    };
    output.result(&value, || {
        table(&["CLUSTER", "STARTS", "KEPT", "COPIES", "NEXT RUN"], &views.iter().map(cells).collect::<Vec<_>>())
    });
    Ok(Exit::Done)
}

fn cells(view: &ScheduleView) -> Vec<String> {
    let next = view.next_run.map_or_else(|| "off".to_owned(), |next| next.to_string());
    let Some(schedule) = &view.schedule else {
        return vec![view.cluster_id.to_string(), "-".to_owned(), "-".to_owned(), "-".to_owned(), next];
    };
    let starts = match &schedule.starts {
        Starts::Weekly { days, window } => format!("days {days}, {window} UTC"),
        Starts::Cron(cron) => format!("cron {cron}"),
    };
    let days = |count: u32| if count == 1 { "1 day".to_owned() } else { format!("{count} days") };
    let copies: Vec<String> =
        schedule.copies.iter().map(|copy| format!("{} ({})", copy.region_id, days(copy.retention_days))).collect();
    let copies = if copies.is_empty() { "-".to_owned() } else { copies.join(", ") };
    vec![view.cluster_id.to_string(), starts, days(schedule.retention_days), copies, next]
}
