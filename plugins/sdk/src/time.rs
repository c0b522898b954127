//! Time without a clock: ages and dates, counted from [`Run::time_ms`] in UTC.
//!
//! A time in the future, as a clock that was set wrong leaves behind, counts as now: ages never underflow.

use crate::facts::{Collection, Run, Stream};

/// Milliseconds in a second.
pub const SECOND_MS: u64 = 1_000;
/// Milliseconds in a minute.
pub const MINUTE_MS: u64 = 60 * SECOND_MS;
/// Milliseconds in an hour.
pub const HOUR_MS: u64 = 60 * MINUTE_MS;
/// Milliseconds in a day.
pub const DAY_MS: u64 = 24 * HOUR_MS;

/// A day of the calendar, in UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Date {
    /// The year, 1970 or later.
    pub year: u64,
    /// The month, 1 to 12.
    pub month: u32,
    /// The day of the month, 1 to 31.
    pub day: u32,
}

impl Date {
    /// The day of a time in milliseconds since 1970 UTC.
    ///
    /// ```
    /// # use longshore_plugin::Date;
    /// assert_eq!(Date::of(1_709_164_800_000).to_string(), "2024-02-29");
    /// ```
    #[must_use]
    pub fn of(time_ms: u64) -> Self {
        // Years that begin in March have their leap day at the end; 719,468 days lie between 0000-03-01 and 1970-01-01.
        let days = time_ms / DAY_MS + 719_468;
        let (era, day_of_era) = (days / 146_097, days % 146_097);
        let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let months_since_march = (5 * day_of_year + 2) / 153;
        let day = day_of_year - (153 * months_since_march + 2) / 5 + 1;
        let month = if months_since_march < 10 { months_since_march + 3 } else { months_since_march - 9 };
        let year = year_of_era + era * 400 + u64::from(month <= 2);
        Self { year, month: small(month), day: small(day) }
    }

    /// Days of its month, 28 to 31.
    #[must_use]
    pub fn days_in_month(&self) -> u32 {
        let leap = self.year.is_multiple_of(4) && (!self.year.is_multiple_of(100) || self.year.is_multiple_of(400));
        match self.month {
            4 | 6 | 9 | 11 => 30,
            2 if leap => 29,
            2 => 28,
            _ => 31,
        }
    }
}

fn small(number: u64) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

impl std::fmt::Display for Date {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{:04}-{:02}-{:02}", self.year, self.month, self.day)
    }
}

impl Run {
    /// Milliseconds between a time and the run; 0 for a time after the run.
    #[must_use]
    pub fn ms_since(&self, time_ms: u64) -> u64 {
        self.time_ms.saturating_sub(time_ms)
    }

    /// Milliseconds until the schedule runs next, if there is a schedule.
    #[must_use]
    pub fn ms_until_next_run(&self) -> Option<u64> {
        self.next_run_time_ms.map(|next| next.saturating_sub(self.time_ms))
    }

    /// The run's day.
    #[must_use]
    pub fn date(&self) -> Date {
        Date::of(self.time_ms)
    }
}

impl Collection {
    /// Milliseconds since it was created, if that is known.
    #[must_use]
    pub fn ms_since_creation(&self, run: &Run) -> Option<u64> {
        self.created_time_ms.map(|time| run.ms_since(time))
    }

    /// Milliseconds since it was last written to, if that is known.
    #[must_use]
    pub fn ms_since_write(&self, run: &Run) -> Option<u64> {
        self.last_write_time_ms.map(|time| run.ms_since(time))
    }

    /// Milliseconds since its last good backup was made, if it has one.
    #[must_use]
    pub fn ms_since_backup(&self, run: &Run) -> Option<u64> {
        self.last_backup.as_ref().map(|backup| run.ms_since(backup.time_ms))
    }

    /// Milliseconds since a restore of it was last proven, if one was.
    #[must_use]
    pub fn ms_since_proven_restore(&self, run: &Run) -> Option<u64> {
        self.last_proven_restore_time_ms.map(|time| run.ms_since(time))
    }

    /// Whether it may hold something that its last good backup does not. True wherever that cannot be ruled out.
    #[must_use]
    pub fn may_have_changed(&self) -> bool {
        match (&self.last_backup, self.last_write_time_ms) {
            (Some(backup), Some(written)) => self.new_bytes > 0 || written >= backup.time_ms,
            _ => true,
        }
    }

    /// Whether more recent work would be lost now than the operator said may be lost at most. False where the operator
    /// said nothing, or nothing was written since the last good backup.
    #[must_use]
    pub fn recovery_point_missed(&self, run: &Run) -> bool {
        let Some(objective_ms) = self.recovery_point_objective_seconds.map(|seconds| seconds.saturating_mul(SECOND_MS))
        else {
            return false;
        };
        self.may_have_changed() && self.ms_since_backup(run).is_none_or(|age_ms| age_ms > objective_ms)
    }
}

impl Stream {
    /// Milliseconds since its collection was last written to, if the host says.
    #[must_use]
    pub fn ms_since_write(&self, run: &Run) -> Option<u64> {
        self.last_write_time_ms().map(|time| run.ms_since(time))
    }
}

/// A span of time as a person says it, rounded down: `3 days`, `1 hour`, `0 seconds`.
#[must_use]
pub fn format_duration(span_ms: u64) -> String {
    let units = [(DAY_MS, "day"), (HOUR_MS, "hour"), (MINUTE_MS, "minute"), (SECOND_MS, "second")];
    let (unit_ms, name) = units.into_iter().find(|(unit_ms, _)| span_ms >= *unit_ms).unwrap_or((SECOND_MS, "second"));
    let count = span_ms / unit_ms;
    format!("{count} {name}{}", if count == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::LastBackup;

    #[test]
    fn days_follow_the_calendar_for_four_centuries() {
        let (mut date, mut month_days) = (Date { year: 1970, month: 1, day: 1 }, 31);
        for day in 0..146_097 {
            assert_eq!(Date::of(day * DAY_MS + DAY_MS - 1), date, "day {day}");
            assert_eq!(date.days_in_month(), month_days, "{date}");
            date.day += 1;
            if date.day > month_days {
                date = match date.month {
                    12 => Date { year: date.year + 1, month: 1, day: 1 },
                    month => Date { month: month + 1, day: 1, ..date },
                };
                let leap = date.year % 4 == 0 && ![2100, 2200, 2300].contains(&date.year);
                let february = if leap { 29 } else { 28 };
                let lengths = [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
                month_days = lengths[date.month as usize - 1];
            }
        }
        assert_eq!(date, Date { year: 2370, month: 1, day: 1 });
    }

    #[test]
    fn a_time_after_the_run_is_now() {
        let run = Run { time_ms: 5, next_run_time_ms: Some(3), ..Run::default() };
        assert_eq!((run.ms_since(2), run.ms_since(9), run.ms_until_next_run()), (3, 0, Some(0)));
    }

    #[test]
    fn a_collection_has_changed_unless_everything_says_that_it_has_not() {
        let backup = Some(LastBackup { time_ms: 10, ..LastBackup::default() });
        let still = Collection { last_backup: backup, last_write_time_ms: Some(9), ..Collection::default() };
        assert!(!still.may_have_changed());
        assert!(Collection { last_backup: None, ..still.clone() }.may_have_changed());
        assert!(Collection { last_write_time_ms: None, ..still.clone() }.may_have_changed());
        assert!(Collection { last_write_time_ms: Some(10), ..still.clone() }.may_have_changed());
        assert!(Collection { new_bytes: 1, ..still }.may_have_changed());
    }

    #[test]
    fn a_recovery_point_is_missed_when_changes_are_older_than_the_objective() {
        let run = Run { time_ms: 100 * SECOND_MS, ..Run::default() };
        let backup = |time_ms| Some(LastBackup { time_ms, ..LastBackup::default() });
        let written = Collection {
            recovery_point_objective_seconds: Some(60),
            last_write_time_ms: Some(99 * SECOND_MS),
            last_backup: backup(40 * SECOND_MS),
            ..Collection::default()
        };
        assert!(!written.recovery_point_missed(&run));
        let late = Collection { last_backup: backup(40 * SECOND_MS - 1), ..written.clone() };
        assert!(late.recovery_point_missed(&run));
        assert!(!Collection { last_write_time_ms: Some(1), ..late.clone() }.recovery_point_missed(&run));
        assert!(!Collection { recovery_point_objective_seconds: None, ..late }.recovery_point_missed(&run));
        assert!(Collection { last_backup: None, ..written }.recovery_point_missed(&run));
    }

    #[test]
    fn spans_are_said_in_their_largest_unit() {
        for (span_ms, expected) in [
            (0, "0 seconds"),
            (999, "0 seconds"),
            (SECOND_MS, "1 second"),
            (2 * MINUTE_MS - 1, "1 minute"),
            (47 * HOUR_MS, "1 day"),
            (48 * HOUR_MS, "2 days"),
        ] {
            assert_eq!(format_duration(span_ms), expected);
        }
    }
}
