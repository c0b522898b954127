//! Which collections are due.

use longshore_plugin::time::{Date, SECOND_MS, format_duration};
use longshore_plugin::{Answer, Collection, Reason, Refusal, Run, RunTrigger, Selected, SelectionPolicy};

use crate::tier::Rating;
use crate::{Settings, Tier, Tiered};

impl SelectionPolicy for Tiered {
    fn select(run: &Run, page: &[Collection]) -> Result<Answer<Selected>, Refusal> {
        let settings = Settings::of(run)?;
        Ok(page.iter().map(|collection| (collection.id, select(run, &settings, collection))).collect())
    }
}

fn select(run: &Run, settings: &Settings, collection: &Collection) -> Selected {
    let named = collection.property_or_label(&settings.tier_property);
    let rating = Rating::of(settings, named, collection.ms_since_write(run));
    match due(run, settings, collection, rating) {
        Ok(reason) => Selected {
            include_index_files: settings.hot_index_files && rating.tier == Tier::Hot,
            priority: rating.tier.priority(),
            ..Selected::included(reason)
        },
        Err(reason) => Selected::excluded(reason),
    }
}

/// Why it goes in, or why it is left out.
fn due(run: &Run, settings: &Settings, collection: &Collection, rating: Rating) -> Result<Reason, Reason> {
    if let Some(reason) = collection.kept_in(run) {
        return Ok(reason);
    }
    if run.trigger == RunTrigger::Manual {
        return Ok(Reason::new("manual-run", "Somebody asked for this backup, so collections of every tier go in."));
    }
    let Some(backup) = &collection.last_backup else {
        return Ok(Reason::new("first-backup", "It has no good backup yet."));
    };
    let (tier, explained) = (rating.tier.as_str(), rating.explain(settings));
    let Some(every_ms) = every_ms(settings, collection, rating.tier) else {
        return Ok(Reason::new("hot", format!("It goes into every backup; {explained}.")));
    };
    let age_ms = run.ms_since(backup.time_ms);
    let (age, every) = (format_duration(age_ms), format_duration(every_ms));
    if is_due(run, age_ms, every_ms) {
        let message = format!("Its last good backup is {age} old, and one is made every {every}; {explained}.");
        return Ok(Reason::new(format!("{tier}-due"), message));
    }
    let message = format!(
        "Its good backup of {} is {age} old, and the next one is made after {every}; {explained}.",
        Date::of(backup.time_ms)
    );
    Err(Reason::new(format!("{tier}-not-due"), message))
}

/// The pace of a tier, or the operator's recovery point objective where that is stricter and there is something to lose.
fn every_ms(settings: &Settings, collection: &Collection, tier: Tier) -> Option<u64> {
    let pace_ms = settings.every_ms(tier)?;
    let objective_ms = collection.recovery_point_objective_seconds.map(|seconds| seconds.saturating_mul(SECOND_MS));
    Some(
        objective_ms
            .filter(|_| collection.may_have_changed())
            .map_or(pace_ms, |objective_ms| objective_ms.min(pace_ms)),
    )
}

/// Due when waiting for the next run would make the backup older than its pace. Nine tenths of the pace are enough in any
/// case: runs start a little late or early, and a daily backup must not become one every other day.
fn is_due(run: &Run, age_ms: u64, every_ms: u64) -> bool {
    let wait_ms = run.ms_until_next_run().unwrap_or(0);
    age_ms >= every_ms - every_ms / 10 || age_ms.saturating_add(wait_ms) > every_ms
}
