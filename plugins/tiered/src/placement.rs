//! Cold collections go where storage is cheap, and what is not backed up in every run is kept long enough.
//!
//! Nothing is said where the home region is not healthy: standing in for it is the affair of the next policy.

use longshore_plugin::time::DAY_MS;
use longshore_plugin::{Answer, Collection, Placed, PlacementPolicy, Reason, Refusal, Region, Run, RunTrigger, region};

use crate::tier::Rating;
use crate::{Settings, Tier, Tiered};

impl PlacementPolicy for Tiered {
    fn place(run: &Run, collections: &[Collection], regions: &[Region]) -> Result<Answer<Placed>, Refusal> {
        let settings = Settings::of(run)?;
        let Some(home) = run.home(regions).filter(|home| home.is_healthy()) else {
            return Ok(Answer::new());
        };
        let cold = region::alternatives(home, regions, &settings.cold_regions).map_err(|id| not_offered(&id))?;
        let place = |collection: &Collection| Some((collection.id, place(run, &settings, collection, home, &cold)?));
        Ok(collections.iter().filter_map(place).collect())
    }
}

fn place(run: &Run, settings: &Settings, collection: &Collection, home: &Region, cold: &[&Region]) -> Option<Placed> {
    let named = collection.property_or_label(&settings.tier_property);
    let rating = Rating::of(settings, named, collection.ms_since_write(run));
    let every_ms = settings.every_ms(rating.tier)?;
    let (region, reason) = match rating.tier {
        Tier::Cold => cold_region(settings, collection, rating, home, cold),
        _ => (
            home,
            Reason::new(rating.tier.as_str(), format!("It is kept in the home region; {}.", rating.explain(settings))),
        ),
    };
    let mut placed = Placed::in_region(&region.id, reason);
    // Twice the pace: the backup before the last one is still there while the next one is made. Manual ones never expire.
    placed.retention_days = (run.trigger == RunTrigger::Automatic).then(|| days(every_ms.saturating_mul(2)));
    Some(placed)
}

/// From where its last backup is, or else from home, a cold collection moves only if that pays: what an earlier backup
/// holds in one region is stored anew in another.
fn cold_region<'a>(
    settings: &Settings,
    collection: &Collection,
    rating: Rating,
    home: &'a Region,
    cold: &[&'a Region],
) -> (&'a Region, Reason) {
    let now = collection.held_in(cold).unwrap_or(home);
    let best = region::worth_moving(now, cold.iter().copied(), settings.payback_months);
    let explained = rating.explain(settings);
    let message = if best.id == now.id {
        format!(
            "No region that it may go to is so much cheaper than {} that it pays within {} months; {explained}.",
            now.id, settings.payback_months
        )
    } else {
        format!(
            "Storage in {} is so much cheaper than in {} that it pays within {} months; {explained}.",
            best.id, now.id, settings.payback_months
        )
    };
    (best, Reason::new(if best.id == now.id { "cold-stays" } else { "cold-cheaper-region" }, message))
}

fn days(ms: u64) -> u32 {
    u32::try_from(ms.div_ceil(DAY_MS)).unwrap_or(u32::MAX)
}

fn not_offered(id: &str) -> Refusal {
    let message = format!(
        "cold_regions names {id}, which is not among the regions that this project may use. Correct the setting, or add \
         the region to the project."
    );
    Refusal::new("cold-region-not-offered", message)
}
