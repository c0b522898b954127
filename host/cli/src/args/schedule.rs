//! `longshore schedule`.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use longshore_engine::{Cron, DEFAULT_RETENTION_DAYS, MAX_RETENTION_DAYS, ScheduledCopy, StartWindow, Weekdays};
use longshore_model::ClusterId;

/// `longshore schedule`.
#[derive(Debug, Subcommand)]
pub(crate) enum ScheduleCommand {
    /// Turn automatic backups of a cluster on, or change when they start and how long they stay. What is left out stays
    /// as it was. Turning them on makes a first backup at once.
    Set(ScheduleSet),
    /// Turn automatic backups of a cluster off; those that were made stay until they expire.
    Off {
        #[command(flatten)]
        cluster: ScheduleOf,
    },
    /// Show the schedule of a cluster.
    Show {
        #[command(flatten)]
        cluster: ScheduleOf,
    },
    /// List all schedules and when they start next.
    List {
        /// The configuration of the host.
        #[arg(long, default_value = "longshore.toml", env = "LONGSHORE_CONFIG")]
        config: PathBuf,
    },
}

/// Whose schedule.
#[derive(Debug, Args)]
pub(crate) struct ScheduleOf {
    /// The cluster.
    #[arg(value_name = "CLUSTER")]
    pub(crate) cluster: ClusterId,
    /// The configuration of the host.
    #[arg(long, default_value = "longshore.toml", env = "LONGSHORE_CONFIG")]
    pub(crate) config: PathBuf,
}

/// `longshore schedule set`.
#[derive(Debug, Args)]
pub(crate) struct ScheduleSet {
    #[command(flatten)]
    pub(crate) of: ScheduleOf,
    /// Days of the week, 1 (Monday) to 7 (Sunday), for example 1,3,5; every day when never set.
    #[arg(long, value_name = "DAYS")]
    pub(crate) days: Option<Weekdays>,
    /// Two hours in UTC in which backups start, for example 02:00-04:00, which is also the default. A cluster always
    /// starts at the same place in it.
    #[arg(long, value_name = "FROM-TO")]
    pub(crate) window: Option<StartWindow>,
    /// A cron expression in place of days and window, in UTC or with a time zone: "30 2 * * 1-5 Europe/Berlin".
    #[arg(long, value_name = "EXPRESSION", conflicts_with_all = ["days", "window"])]
    pub(crate) cron: Option<Cron>,
    /// Days for which each backup is kept, 1 to 30; 7 when never set.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=i64::from(MAX_RETENTION_DAYS)))]
    pub(crate) retention_days: Option<u32>,
    /// Another region that gets a copy, and the days for which it is kept; may be repeated, and replaces what was set.
    #[arg(long = "copy", value_name = "REGION[=DAYS]", value_parser = parse_copy)]
    pub(crate) copies: Vec<ScheduledCopy>,
    /// No copies in other regions from now on.
    #[arg(long, conflicts_with = "copies")]
    pub(crate) no_copies: bool,
}

fn parse_copy(text: &str) -> Result<ScheduledCopy, String> {
    let (region, days) = text.split_once('=').map_or((text, None), |(region, days)| (region, Some(days)));
    let retention_days = match days {
        None => DEFAULT_RETENTION_DAYS,
        Some(days) => {
            days.parse().map_err(|_| format!("`{days}` is no number of days; write for example eu-west=7"))?
        }
    };
    let region_id = region.parse().map_err(|error: longshore_model::ModelError| error.to_string())?;
    Ok(ScheduledCopy { region_id, retention_days })
}
