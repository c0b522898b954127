//! Where each collection goes, or why the run is refused.

use std::collections::BTreeMap;

use longshore_plugin::{Answer, Collection, ItemId, Placed, PlacementPolicy, Reason, Refusal, Region, RegionCopy, Run};

use crate::regions::{normalized, of_jurisdiction, on_offer};
use crate::{DATA_REGION, Residency, Settings};

/// Longest name of a jurisdiction or collection that a message repeats, in characters: a property can hold anything.
const SHOWN_MAX_CHARACTERS: usize = 64;

impl PlacementPolicy for Residency {
    fn place(run: &Run, collections: &[Collection], regions: &[Region]) -> Result<Answer<Placed>, Refusal> {
        let settings: Settings = run.settings()?;
        let mut named: BTreeMap<String, Vec<&Collection>> = BTreeMap::new();
        for collection in collections {
            if let Some(jurisdiction) = jurisdiction(&settings, collection) {
                named.entry(jurisdiction).or_default().push(collection);
            }
        }
        let mut answer = Answer::new();
        for (jurisdiction, members) in &named {
            let placed = place(&settings, jurisdiction, members, regions)?;
            answer.decisions.extend(members.iter().map(|member| (member.id, placed.clone())));
        }
        Ok(answer)
    }
}

/// The jurisdiction a collection has to stay in. A property that is there but empty is not "none": somebody meant to
/// say something, and guessing could put data where it must not be.
fn jurisdiction(settings: &Settings, collection: &Collection) -> Option<String> {
    collection.property_or_label(DATA_REGION).or(settings.default_jurisdiction.as_deref()).map(normalized)
}

/// The placement that all collections of a jurisdiction share.
fn place(
    settings: &Settings,
    jurisdiction: &str,
    members: &[&Collection],
    regions: &[Region],
) -> Result<Placed, Refusal> {
    if jurisdiction.is_empty() {
        return Err(empty(members));
    }
    let allowed = of_jurisdiction(regions, jurisdiction);
    if allowed.is_empty() {
        return Err(none_allowed(jurisdiction, members, regions));
    }
    let mut reachable = allowed.iter().copied().filter(|region| region.is_usable());
    let main = reachable.next().ok_or_else(|| none_reachable(jurisdiction, members, &allowed))?;
    let second = reachable.find(|region| region.id != main.id);
    let mut placed = Placed::in_region(&main.id, main_reason(jurisdiction, main));
    placed.retention_days = settings.retention_days;
    if settings.second_region {
        match second {
            Some(region) => placed
                .copies
                .push(RegionCopy { region: region.id.clone(), retention_days: settings.second_region_retention_days }),
            None if settings.second_region_required => return Err(no_second(jurisdiction, members, main, regions)),
            None => placed.reason = without_second(jurisdiction, main),
        }
    }
    Ok(placed)
}

fn main_reason(jurisdiction: &str, main: &Region) -> Reason {
    let which = if main.home { "the home region" } else { "the best region there" };
    let message = format!("The collection must stay in {}; {} is {which}.", shown(jurisdiction), main.id);
    Reason::new("jurisdiction", message)
}

fn without_second(jurisdiction: &str, main: &Region) -> Reason {
    let message = format!(
        "The collection must stay in {}, where {} is the only region that can be used now, so it gets no second copy.",
        shown(jurisdiction),
        main.id
    );
    Reason::new("no-second-region", message)
}

fn none_allowed(jurisdiction: &str, members: &[&Collection], regions: &[Region]) -> Refusal {
    let message = format!(
        "{} must stay in {}, but no region on offer is there. On offer: {}. Add a region of that jurisdiction to the \
         project, or correct {DATA_REGION}.",
        names(members),
        shown(jurisdiction),
        on_offer(regions),
    );
    Refusal::new("no-region-allowed", message).about(ids(members))
}

fn none_reachable(jurisdiction: &str, members: &[&Collection], allowed: &[&Region]) -> Refusal {
    let allowed: Vec<&str> = allowed.iter().map(|region| region.id.as_str()).collect();
    let message = format!(
        "{} must stay in {}, and no region there can be reached now: {}. Run again when one is back.",
        names(members),
        shown(jurisdiction),
        allowed.join(", ")
    );
    Refusal::new("no-region-reachable", message).about(ids(members))
}

fn no_second(jurisdiction: &str, members: &[&Collection], main: &Region, regions: &[Region]) -> Refusal {
    let message = format!(
        "{} must have a copy in a second region of {}, but {} is the only one that can be used now. On offer: {}. Add \
         a second region, or set second_region_required to false.",
        names(members),
        shown(jurisdiction),
        main.id,
        on_offer(regions),
    );
    Refusal::new("no-second-region", message).about(ids(members))
}

fn empty(members: &[&Collection]) -> Refusal {
    let message = format!(
        "{}: {DATA_REGION} is there but empty, so it is not known where the data may be. Give it a value such as `eu`, \
         or remove it.",
        names(members)
    );
    Refusal::new("empty-data-region", message).about(ids(members))
}

/// The first collection by name, and how many more.
fn names(members: &[&Collection]) -> String {
    let first = members.iter().map(|member| (&member.database, &member.name)).min();
    let first = first.map(|(database, name)| format!("{}.{}", shown(database), shown(name))).unwrap_or_default();
    match members.len() {
        0 | 1 => first,
        many => format!("{first} (and {} more)", many - 1),
    }
}

fn ids(members: &[&Collection]) -> Vec<ItemId> {
    let mut ids: Vec<ItemId> = members.iter().map(|member| member.id).collect();
    ids.sort_unstable();
    ids
}

fn shown(text: &str) -> String {
    match text.char_indices().nth(SHOWN_MAX_CHARACTERS) {
        None => text.to_owned(),
        Some((end, _)) => text.get(..end).unwrap_or_default().to_owned() + "…",
    }
}
