//! The home region, or while it is down a region of the same jurisdiction.

use longshore_plugin::{
    Answer, Collection, Placed, PlacementPolicy, Reason, Refusal, Region, RegionCopy, RegionHealth, Run, region,
};

use crate::{Settings, Standard};

impl PlacementPolicy for Standard {
    fn place(run: &Run, collections: &[Collection], regions: &[Region]) -> Result<Answer<Placed>, Refusal> {
        let settings: Settings = run.settings()?;
        if collections.is_empty() {
            return Ok(Answer::new());
        }
        let (region, reason) = main_region(run, regions)?;
        let placed = Placed {
            region: region.id.clone(),
            copies: copies(&settings, region, regions)?,
            retention_days: settings.retention_days,
            reason,
        };
        Ok(collections.iter().map(|collection| (collection.id, placed.clone())).collect())
    }
}

/// The home region while it works; otherwise a healthy region of its jurisdiction, the cheapest one, the id deciding
/// between equals. A home region in trouble is better than none: a backup that runs slowly beats a backup that does not
/// run. Where the operator gave no jurisdiction nothing is known to be allowed but the home region.
fn main_region<'a>(run: &Run, regions: &'a [Region]) -> Result<(&'a Region, Reason), Refusal> {
    let home = run.home(regions).ok_or_else(|| no_home(run))?;
    if home.is_healthy() {
        let message = format!("{} is the home region of the cluster and healthy.", home.id);
        return Ok((home, Reason::new("home-region", message)));
    }
    let in_its_place = |region: &&Region| region.is_healthy() && region.is_in(&home.jurisdiction);
    if let Some(region) = region::cheapest(regions.iter().filter(in_its_place)) {
        let message = format!(
            "The home region {} is {}; {} is healthy and also in {}.",
            home.id,
            health_word(home),
            region.id,
            region.jurisdiction
        );
        return Ok((region, Reason::new("home-region-not-healthy", message)));
    }
    if home.health == RegionHealth::Degraded {
        let message = format!("The home region {} is degraded, but no healthy region may stand in for it.", home.id);
        return Ok((home, Reason::new("home-region-degraded", message)));
    }
    Err(unreachable(home))
}

fn health_word(region: &Region) -> &'static str {
    match region.health {
        RegionHealth::Healthy => "healthy",
        RegionHealth::Degraded => "degraded",
        RegionHealth::Unreachable => "unreachable",
    }
}

fn no_home(run: &Run) -> Refusal {
    let message = format!(
        "The home region {} of the cluster is not among the regions of the project. Add it to the project's regions.",
        run.home_region
    );
    Refusal::new("home-region-not-offered", message)
}

fn unreachable(home: &Region) -> Refusal {
    let message = if home.jurisdiction.is_empty() {
        format!(
            "The home region {} is unreachable and has no jurisdiction in the host's configuration, so no other region \
             is known to be allowed in its place. Wait until it is back, or give the regions their jurisdictions.",
            home.id
        )
    } else {
        format!(
            "The home region {} is unreachable and no healthy region of the project is in {}. \
             Wait until it is back, or add a region there.",
            home.id, home.jurisdiction
        )
    };
    Refusal::new("no-region-available", message)
}

/// The copies of the settings. The main region needs no copy of itself. A region that is down now is asked for all the
/// same, because copies are made later and tried again; one that the project does not have is refused, because a copy
/// that silently never comes is worse than a job that fails.
fn copies(settings: &Settings, main: &Region, regions: &[Region]) -> Result<Vec<RegionCopy>, Refusal> {
    let mut copies: Vec<RegionCopy> = Vec::new();
    for wanted in &settings.copies {
        if !regions.iter().any(|region| region.id == wanted.region) {
            let message = format!(
                "The settings ask for a copy in {}, which is not among the regions of the project. \
                 Correct `copies`, or add the region to the project.",
                wanted.region
            );
            return Err(Refusal::new("copy-region-not-offered", message));
        }
        if wanted.region != main.id && !copies.iter().any(|copy| copy.region == wanted.region) {
            copies.push(RegionCopy { region: wanted.region.clone(), retention_days: wanted.retention_days });
        }
    }
    Ok(copies)
}
