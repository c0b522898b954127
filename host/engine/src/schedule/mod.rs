//! Schedules (Zilliz Cloud: backup policies): when a cluster is backed up automatically and how long that stays.
//!
//! Contract: a schedule is a value; when it starts next is a pure function of it, the cluster and the time. Each cluster
//! has one at most, kept in the catalog with the time of the next run. Turning one on makes a first backup at once.
//! What was missed while no host ran, or while the backup before still ran, is made up for by one backup.
//!
//! Failure: text that is no schedule is refused with a sentence that says what to write.

mod desk;
mod times;

use std::fmt;
use std::str::FromStr;

use longshore_model::{RegionId, Timestamp};
use serde::{Deserialize, Serialize};

pub(crate) use desk::SCHEDULER;
pub use desk::{ScheduleView, get_schedule, list_schedules, set_schedule, start_due};

/// Days for which a backup is kept when nothing is said.
pub const DEFAULT_RETENTION_DAYS: u32 = 7;
/// Most days for which an automatic backup is kept.
pub const MAX_RETENTION_DAYS: u32 = 30;
/// Length of the window in which a backup starts, in minutes.
pub const WINDOW_MINUTES: u16 = 120;
/// Shortest time between two runs that a cron expression may ask for, in minutes.
pub const CRON_INTERVAL_MINUTES: i64 = 5;
/// Longest cron expression, in bytes.
const CRON_BYTES: usize = 200;
const DAY_MINUTES: u16 = 24 * 60;
const DAY_MS: i64 = 24 * 60 * 60 * 1_000;

/// When a cluster is backed up automatically, and how long that stays.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Schedule {
    /// When backups start.
    pub starts: Starts,
    /// Days of 24 hours for which each is kept, 1 to [`MAX_RETENTION_DAYS`].
    pub retention_days: u32,
    /// Further regions that get a copy.
    #[serde(default)]
    pub copies: Vec<ScheduledCopy>,
}

impl Schedule {
    /// When a backup made at `created` expires: with the last of its regions, because a copy says what it copies and so
    /// holds on to it.
    #[must_use]
    pub fn expires(&self, created: Timestamp) -> Timestamp {
        let longest = self.copies.iter().map(|copy| copy.retention_days).max().unwrap_or_default();
        after_days(created, longest.max(self.retention_days))
    }

    /// The copies of a backup made at `created` that go before it does, and when.
    #[must_use]
    pub fn expiring_copies(&self, created: Timestamp) -> Vec<(RegionId, Timestamp)> {
        let end = self.expires(created);
        let each = self.copies.iter().map(|copy| (copy.region_id.clone(), after_days(created, copy.retention_days)));
        each.filter(|(_, expires)| *expires < end).collect()
    }
}

fn after_days(time: Timestamp, days: u32) -> Timestamp {
    time.plus_millis(i64::from(days).saturating_mul(DAY_MS))
}

/// A copy into another region.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ScheduledCopy {
    /// Where.
    pub region_id: RegionId,
    /// Days of 24 hours for which it is kept, 1 to [`MAX_RETENTION_DAYS`].
    pub retention_days: u32,
}

/// When backups start.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Starts {
    /// On days of the week, somewhere within a window; where, depends on the cluster, so that many clusters do not start
    /// at once.
    Weekly {
        /// The days on which the window opens.
        days: Weekdays,
        /// The window.
        window: StartWindow,
    },
    /// By a cron expression, to the minute.
    Cron(Cron),
}

impl Default for Starts {
    /// Every day between 2 and 4.
    fn default() -> Self {
        Self::Weekly { days: Weekdays::default(), window: StartWindow::default() }
    }
}

/// Days of the week: `1` is Monday, `7` is Sunday; in text separated by commas.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Weekdays(u8);

impl Weekdays {
    /// Whether a day of 1 (Monday) to 7 (Sunday) is among them.
    #[must_use]
    pub const fn contains(self, day: u8) -> bool {
        day >= 1 && day <= 7 && self.0 & (1 << day) != 0
    }
}

impl Default for Weekdays {
    /// Every day.
    fn default() -> Self {
        Self(0b1111_1110)
    }
}

impl FromStr for Weekdays {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut days = 0;
        for part in text.split(',') {
            match part.trim().parse::<u8>() {
                Ok(day @ 1..=7) if part.trim().len() == 1 => days |= 1 << day,
                _ => {
                    return Err(
                        "days are numbers from 1 (Monday) to 7 (Sunday), separated by commas: `1,3,5`".to_owned()
                    );
                }
            }
        }
        Ok(Self(days))
    }
}

impl fmt::Display for Weekdays {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let days: Vec<String> = (1..=7).filter(|day| self.contains(*day)).map(|day| day.to_string()).collect();
        f.write_str(&days.join(","))
    }
}

/// A window of two hours in which a backup starts, UTC; in text `02:00-04:00`. It may go on after midnight.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct StartWindow {
    /// Minutes after midnight at which it opens.
    opens: u16,
}

impl Default for StartWindow {
    /// Two to four at night.
    fn default() -> Self {
        Self { opens: 2 * 60 }
    }
}

impl FromStr for StartWindow {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || "a start time is a window of two hours in UTC: `02:00-04:00`".to_owned();
        let (from, to) = text.trim().split_once('-').ok_or_else(wrong)?;
        let (opens, closes) = (minutes(from).ok_or_else(wrong)?, minutes(to).ok_or_else(wrong)?);
        if (opens + WINDOW_MINUTES) % DAY_MINUTES == closes % DAY_MINUTES { Ok(Self { opens }) } else { Err(wrong()) }
    }
}

/// Minutes after midnight of `HH:mm`; `24:00` is the midnight that ends a day.
fn minutes(text: &str) -> Option<u16> {
    let (hours, minutes) = text.trim().split_once(':')?;
    if hours.len() != 2 || minutes.len() != 2 || !(hours.bytes().chain(minutes.bytes())).all(|b| b.is_ascii_digit()) {
        return None;
    }
    let (hours, minutes): (u16, u16) = (hours.parse().ok()?, minutes.parse().ok()?);
    let total = hours * 60 + minutes;
    (minutes < 60 && total <= DAY_MINUTES).then_some(total)
}

impl fmt::Display for StartWindow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let closes = (self.opens + WINDOW_MINUTES) % DAY_MINUTES;
        let opens = self.opens % DAY_MINUTES;
        write!(f, "{:02}:{:02}-{:02}:{:02}", opens / 60, opens % 60, closes / 60, closes % 60)
    }
}

/// A cron expression of five fields (minute, hour, day of month, month, day of week), in UTC unless the name of a time
/// zone stands behind it: `30 2 * * 1-5 Europe/Berlin`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Cron {
    text: String,
    parsed: Box<cronexpr::Crontab>,
}

impl PartialEq for Cron {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for Cron {}

impl FromStr for Cron {
    type Err = String;

    /// Refuses what never starts a backup, and what starts one more often than every [`CRON_INTERVAL_MINUTES`].
    fn from_str(text: &str) -> Result<Self, String> {
        if text.len() > CRON_BYTES {
            return Err(format!("a cron expression has at most {CRON_BYTES} bytes"));
        }
        let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
        let mut options = cronexpr::ParseOptions::default();
        options.fallback_timezone_option = cronexpr::FallbackTimezoneOption::UTC;
        let parsed = cronexpr::parse_crontab_with(&text, options).map_err(|_| {
            "a cron expression has five fields and may name a time zone: `30 2 * * 1-5` or `30 2 * * 1-5 Europe/Berlin`"
                .to_owned()
        })?;
        let cron = Self { text, parsed: Box::new(parsed) };
        cron.check_interval()?;
        Ok(cron)
    }
}

impl fmt::Display for Cron {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Text that stands in JSON as itself.
macro_rules! as_text {
    ($($name:ty),*) => { $(
        impl TryFrom<String> for $name {
            type Error = String;

            fn try_from(text: String) -> Result<Self, String> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(value: $name) -> Self {
                value.to_string()
            }
        }
    )* };
}
as_text!(Weekdays, StartWindow, Cron);

/// What somebody wants a schedule to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SetSchedule {
    /// No automatic backups from now on; those that were made stay until they expire.
    Off,
    /// Automatic backups from now on. What is left out stays as it was, or is the default.
    On(ScheduleChange),
}

/// What is said about a schedule.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ScheduleChange {
    /// Days of the week.
    pub days: Option<Weekdays>,
    /// Window in which backups start.
    pub window: Option<StartWindow>,
    /// A cron expression in place of days and window.
    pub cron: Option<Cron>,
    /// Days for which backups are kept.
    pub retention_days: Option<u32>,
    /// Further regions; an empty list for none.
    pub copies: Option<Vec<ScheduledCopy>>,
}

#[cfg(test)]
mod tests;
