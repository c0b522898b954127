//! When a schedule starts a backup next: pure functions of a schedule, a cluster and a time.

use longshore_model::{ClusterId, Timestamp};

use super::{CRON_INTERVAL_MINUTES, Cron, DAY_MS, StartWindow, Starts, WINDOW_MINUTES, Weekdays};

const MINUTE_MS: i64 = 60_000;
/// Runs of a cron expression that are looked at for how close they are: more than a day of five-minute steps, so that
/// whatever repeats daily is seen.
const CRON_RUNS: usize = 300;

impl Starts {
    /// The first start after `after`. `None` for a cron expression without another start within four years.
    #[must_use]
    pub fn next_after(&self, cluster: &ClusterId, after: Timestamp) -> Option<Timestamp> {
        match self {
            Self::Weekly { days, window } => weekly(*days, *window, cluster, after),
            Self::Cron(cron) => cron.next_after(after),
        }
    }
}

fn weekly(days: Weekdays, window: StartWindow, cluster: &ClusterId, after: Timestamp) -> Option<Timestamp> {
    let today = after.as_millis().div_euclid(DAY_MS);
    let start = i64::from(window.opens) * MINUTE_MS + offset_ms(cluster);
    // From yesterday: its window may go on after midnight. A week later the same day comes again.
    (today - 1..=today + 8).filter(|day| days.contains(weekday(*day))).find_map(|day| {
        let start = Timestamp::from_millis(day * DAY_MS + start);
        (start > after).then_some(start)
    })
}

/// The day of the week, 1 (Monday) to 7 (Sunday), of a day since 1970, which began on a Thursday.
fn weekday(day: i64) -> u8 {
    let weekday = (day + 3).rem_euclid(7) + 1;
    u8::try_from(weekday).unwrap_or_default()
}

/// Where in its window a cluster starts: always the same place, spread evenly over clusters, in whole seconds.
fn offset_ms(cluster: &ClusterId) -> i64 {
    let hash = blake3::derive_key("longshore 2026 start of scheduled backups", cluster.as_str().as_bytes());
    let number = hash.first_chunk::<8>().map_or(0, |bytes| u64::from_le_bytes(*bytes));
    let seconds = number % (u64::from(WINDOW_MINUTES) * 60);
    i64::try_from(seconds).unwrap_or_default() * 1_000
}

impl Cron {
    fn next_after(&self, after: Timestamp) -> Option<Timestamp> {
        let after = cronexpr::MakeTimestamp::from_millisecond(after.as_millis()).ok()?;
        let next = self.parsed.find_next(after).ok()?;
        Some(Timestamp::from_millis(next.timestamp().as_millisecond()))
    }

    /// Refuses what never starts, or too often.
    pub(super) fn check_interval(&self) -> Result<(), String> {
        // Any fixed time will do; this Sunday lies before a leap day and before changes to summer time.
        let mut last = Timestamp::from_millis(1_704_585_600_000);
        for run in 0..CRON_RUNS {
            let next = match self.next_after(last) {
                Some(next) => next,
                None if run == 0 => return Err(format!("the cron expression `{self}` never starts a backup")),
                // The 29 February before 2100: centuries ahead.
                None => return Ok(()),
            };
            if run > 0 && next.millis_since(last) < CRON_INTERVAL_MINUTES * MINUTE_MS {
                return Err(format!(
                    "the cron expression `{self}` starts backups less than {CRON_INTERVAL_MINUTES} minutes apart"
                ));
            }
            last = next;
        }
        Ok(())
    }
}
