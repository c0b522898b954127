//! The cheapest region that a collection may be kept in, if moving there pays.
//!
//! Nothing is said where the home region is not healthy: standing in for it is the affair of the next policy.

use longshore_plugin::{Answer, Collection, Placed, PlacementPolicy, Reason, Refusal, Region, Run, region};

use crate::{CostCap, Settings};

impl PlacementPolicy for CostCap {
    fn place(run: &Run, collections: &[Collection], regions: &[Region]) -> Result<Answer<Placed>, Refusal> {
        let settings: Settings = run.settings()?;
        let Some(home) = run.home(regions).filter(|home| home.is_healthy()) else {
            return Ok(Answer::new());
        };
        let allowed = region::alternatives(home, regions, &settings.regions).map_err(|id| not_offered(&id))?;
        Ok(collections.iter().map(|collection| (collection.id, place(&settings, collection, home, &allowed))).collect())
    }
}

/// From where its last backup is, or else from home, a collection moves only if that pays: what an earlier backup holds in
/// one region is stored anew in another.
fn place(settings: &Settings, collection: &Collection, home: &Region, allowed: &[&Region]) -> Placed {
    let now = collection.held_in(allowed).unwrap_or(home);
    let best = region::worth_moving(now, allowed.iter().copied(), settings.payback_months);
    let (months, now, best) = (settings.payback_months, &now.id, &best.id);
    let reason = if best == now {
        let message = format!(
            "No region that it may go to is so much cheaper than {now} that moving pays within {months} months."
        );
        Reason::new("stays", message)
    } else {
        let message =
            format!("Storage in {best} is so much cheaper than in {now} that moving pays within {months} months.");
        Reason::new("cheaper-region", message)
    };
    Placed::in_region(best, reason)
}

fn not_offered(id: &str) -> Refusal {
    let message = format!(
        "regions names {id}, which is not among the regions that this project may use. Correct the setting, or add the \
         region to the project."
    );
    Refusal::new("region-not-offered", message)
}
