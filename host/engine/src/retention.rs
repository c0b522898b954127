//! Which backups rules let go, and why: a pure function of backups, rules and the time.
//!
//! Contract: every rule says what *stays* (the last N, one for each of the last N days, ISO weeks, months, years, all
//! that are younger than N days); a backup goes only when no rule keeps it. So more rules, and larger numbers, never
//! delete more. Days, weeks, months and years are those of the calendar in UTC, and the newest whole backup of each is
//! the one that stays. Days, weeks, … without a backup do not count: four weekly backups stay four even when no backup
//! was made for a month.
//!
//! What no rule ever deletes: backups made by hand; backups of chosen collections; backups whose own `expires` lies ahead; backups that are not whole
//! (somebody should look at them; they also take the place of no good one); the newest whole backup of a cluster, so
//! that a cluster whose backups stopped working is not left without any.
//!
//! Failure: none; [`plan_retention`] and [`apply_retention`], which read and delete, fail with
//! [`EngineError`](crate::EngineError).

mod run;

use std::collections::BTreeMap;
use std::fmt;

use longshore_model::{BackupId, BackupType, ClusterId, CreationMethod, RegionId, Timestamp};
use serde::{Deserialize, Serialize};

pub use run::{RetentionOutcome, RetentionPlan, apply_retention, plan_retention};

/// How many backups of a cluster stay. Zero means that there is no such rule; rules that are all zero delete nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RetentionRules {
    /// All that are younger than this many days of 24 hours.
    pub days: u32,
    /// The newest ones.
    pub keep_last: u32,
    /// The newest of each day that has one.
    pub keep_daily: u32,
    /// The newest of each ISO week (Monday to Sunday) that has one.
    pub keep_weekly: u32,
    /// The newest of each month that has one.
    pub keep_monthly: u32,
    /// The newest of each year that has one.
    pub keep_yearly: u32,
}

impl RetentionRules {
    /// True when there is no rule.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// What the rules look at of a backup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RetainedBackup {
    /// Its id.
    pub backup_id: BackupId,
    /// Its cluster: each cluster's backups are judged on their own.
    pub cluster_id: ClusterId,
    /// Its home region.
    pub home_region: RegionId,
    /// When it was made.
    pub created: Timestamp,
    /// By hand or by schedule.
    pub creation_method: CreationMethod,
    /// Whole cluster or chosen collections.
    pub backup_type: BackupType,
    /// Its own expiry.
    pub expires: Option<Timestamp>,
    /// Why it is not whole; `None` for a good one.
    pub damage: Option<String>,
}

/// What becomes of a backup, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RetentionDecision {
    /// Which.
    pub backup_id: BackupId,
    /// Of which cluster.
    pub cluster_id: ClusterId,
    /// Its home region.
    pub home_region: RegionId,
    /// When it was made.
    pub created: Timestamp,
    /// True when it is to be deleted.
    pub goes: bool,
    /// Why, for a person: `kept: weekly 2 of 4, monthly 1 of 6`.
    pub reason: String,
}

/// A calendar rule that a backup satisfies: the `place`th of `wanted`.
#[derive(Debug, Clone, Copy)]
struct Kept {
    rule: &'static str,
    place: u32,
    wanted: u32,
}

impl fmt::Display for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} of {}", self.rule, self.place, self.wanted)
    }
}

const DAY_MS: i64 = 24 * 60 * 60 * 1_000;

/// Decides about backups of any number of clusters. Newest first within a cluster; clusters in order of id. The order of
/// `backups` does not matter.
#[must_use]
pub fn decide_retention(
    backups: &[RetainedBackup],
    rules: &dyn Fn(&ClusterId) -> RetentionRules,
    now: Timestamp,
) -> Vec<RetentionDecision> {
    let mut clusters: BTreeMap<&ClusterId, Vec<&RetainedBackup>> = BTreeMap::new();
    for backup in backups {
        clusters.entry(&backup.cluster_id).or_default().push(backup);
    }
    let mut decisions = Vec::with_capacity(backups.len());
    for (cluster, mut backups) in clusters {
        // Newest first; the id settles ties, so that every host decides alike.
        backups.sort_by(|one, other| (other.created, &other.backup_id).cmp(&(one.created, &one.backup_id)));
        let rules = rules(cluster);
        let kept = kept_by_rules(&backups, &rules, now);
        let is_whole = |backup: &&&RetainedBackup| backup.damage.is_none() && backup.backup_type == BackupType::Cluster;
        let newest_whole = backups.iter().find(is_whole).map(|backup| &backup.backup_id);
        for backup in backups {
            let by_rules = kept.get(&backup.backup_id).map(Vec::as_slice).unwrap_or_default();
            let newest = newest_whole == Some(&backup.backup_id);
            decisions.push(decide(backup, by_rules, newest, &rules, now));
        }
    }
    decisions
}

/// Which rules keep which backups. Only whole automatic ones count: what rules may not delete anyway takes no place.
fn kept_by_rules<'a>(
    newest_first: &[&'a RetainedBackup],
    rules: &RetentionRules,
    now: Timestamp,
) -> BTreeMap<&'a BackupId, Vec<String>> {
    let mut kept: BTreeMap<&BackupId, Vec<String>> = BTreeMap::new();
    let countable: Vec<&RetainedBackup> = newest_first.iter().copied().filter(|backup| counts(backup)).collect();
    for backup in &countable {
        if rules.days > 0 && now.millis_since(backup.created) < i64::from(rules.days) * DAY_MS {
            kept.entry(&backup.backup_id).or_default().push(format!("younger than {}", days(rules.days)));
        }
    }
    for (backup, place) in countable.iter().zip(1..=rules.keep_last) {
        let satisfied = Kept { rule: "last", place, wanted: rules.keep_last };
        kept.entry(&backup.backup_id).or_default().push(satisfied.to_string());
    }
    let calendar = [
        ("daily", rules.keep_daily, Date::day as Period),
        ("weekly", rules.keep_weekly, Date::week),
        ("monthly", rules.keep_monthly, Date::month),
        ("yearly", rules.keep_yearly, Date::year),
    ];
    for (rule, wanted, period) in calendar {
        let (mut place, mut last) = (0, None);
        for backup in &countable {
            let this = period(&Date::of(backup.created));
            if place == wanted {
                break;
            }
            if last != Some(this) {
                (place, last) = (place + 1, Some(this));
                kept.entry(&backup.backup_id).or_default().push(Kept { rule, place, wanted }.to_string());
            }
        }
    }
    kept
}

fn counts(backup: &RetainedBackup) -> bool {
    is_judged(backup) && backup.damage.is_none()
}

/// A backup of chosen collections is no substitute for one of the whole cluster, nor the other way round.
fn is_judged(backup: &RetainedBackup) -> bool {
    backup.creation_method == CreationMethod::Auto && backup.backup_type == BackupType::Cluster
}

fn decide(
    backup: &RetainedBackup,
    by_rules: &[String],
    newest_whole: bool,
    rules: &RetentionRules,
    now: Timestamp,
) -> RetentionDecision {
    let expired = backup.expires.filter(|expires| *expires <= now);
    let kept = if backup.creation_method == CreationMethod::Manual {
        Some("made by hand, which no rule deletes".to_owned())
    } else if backup.backup_type == BackupType::Collection {
        Some("of chosen collections; rules are for backups of a whole cluster".to_owned())
    } else if let Some(damage) = &backup.damage {
        Some(format!("not whole, so it counts for no rule and no rule deletes it ({damage})"))
    } else if !by_rules.is_empty() {
        Some(by_rules.join(", "))
    } else if let Some(expires) = backup.expires.filter(|expires| *expires > now) {
        Some(format!("it expires by itself at {expires}"))
    } else if newest_whole {
        Some("the newest whole backup of its cluster".to_owned())
    } else if rules.is_empty() && expired.is_none() {
        Some("there are no rules".to_owned())
    } else {
        None
    };
    let reason = match (&kept, expired) {
        (Some(kept), _) => format!("kept: {kept}"),
        (None, Some(expires)) => format!("goes: it expired at {expires} and no rule keeps it"),
        (None, None) if rules.days > 0 && (RetentionRules { days: 0, ..*rules }).is_empty() => {
            format!("goes: older than {}", days(rules.days))
        }
        (None, None) if rules.days > 0 => format!("goes: older than {} and no rule keeps it", days(rules.days)),
        (None, None) => "goes: no rule keeps it".to_owned(),
    };
    RetentionDecision {
        backup_id: backup.backup_id.clone(),
        cluster_id: backup.cluster_id.clone(),
        home_region: backup.home_region.clone(),
        created: backup.created,
        goes: kept.is_none(),
        reason,
    }
}

fn days(count: u32) -> String {
    if count == 1 { "1 day".to_owned() } else { format!("{count} days") }
}

/// Tells days, weeks, months or years apart.
type Period = fn(&Date) -> (i16, i16);

/// A day of the UTC calendar.
struct Date(jiff::civil::Date);

impl Date {
    fn of(time: Timestamp) -> Self {
        // A [`Timestamp`] is clamped to what the calendar can say.
        let time = jiff::Timestamp::from_millisecond(time.as_millis()).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
        Self(time.to_zoned(jiff::tz::TimeZone::UTC).date())
    }

    fn day(&self) -> (i16, i16) {
        (self.0.year(), self.0.day_of_year())
    }

    /// The first days of January may belong to the last ISO week of the year before, and the last ones of December to
    /// the first week of the next, so a week has a year of its own.
    fn week(&self) -> (i16, i16) {
        let week = self.0.iso_week_date();
        (week.year(), i16::from(week.week()))
    }

    fn month(&self) -> (i16, i16) {
        (self.0.year(), i16::from(self.0.month()))
    }

    fn year(&self) -> (i16, i16) {
        (self.0.year(), 0)
    }
}

#[cfg(test)]
mod tests;
