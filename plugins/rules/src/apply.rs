//! What rules say about items.

use longshore_plugin::{CodecChoice, Collection, Placed, Refusal, Region, RegionCopy, Run, Selected, Stream, region};

use crate::Rules;
use crate::rule::{Place, Rule};

impl Rules {
    /// Whether a collection goes in, if a rule says. What the host would put back stays in.
    pub(crate) fn select(&self, run: &Run, collection: &Collection) -> Option<Selected> {
        let (rule, select) =
            self.first(|rule| rule.when.means_collection(run, collection).then_some(rule.select.as_ref()?))?;
        if !select.include {
            let excluded = || Selected::excluded(rule.reason("leaves it out"));
            return Some(collection.kept_in(run).map_or_else(excluded, Selected::included));
        }
        Some(Selected {
            include_index_files: select.index_files,
            priority: select.priority,
            ..Selected::included(rule.reason("takes it in"))
        })
    }

    /// The codec of a stream, if a rule names one that is offered.
    pub(crate) fn choose(&self, run: &Run, stream: &Stream) -> Option<CodecChoice> {
        let (rule, offer) = self.first(|rule| {
            let codecs = &rule.compress.as_ref()?.codecs;
            let offered = codecs.iter().find_map(|codec| stream.offer(codec))?;
            rule.when.means_stream(run, stream).then_some(offered)
        })?;
        Some(CodecChoice { codec: offer.codec.clone(), reason: rule.reason(&format!("takes {}", offer.codec)) })
    }

    /// Where a collection goes, if a rule says. A rule about placement is followed or refuses the run: somewhere else is not
    /// what it says.
    pub(crate) fn place(
        &self,
        run: &Run,
        collection: &Collection,
        regions: &[Region],
    ) -> Result<Option<Placed>, Refusal> {
        let placing = |rule: &'_ Rule| rule.place.is_some() && rule.when.means_collection(run, collection);
        let Some((rule, place)) =
            self.0.iter().find(|rule| placing(rule)).and_then(|rule| Some((rule, rule.place.as_ref()?)))
        else {
            return Ok(None);
        };
        let Some(main) = main_region(place, regions) else {
            return Err(no_region(rule, place, collection, regions));
        };
        let mut copies: Vec<RegionCopy> = Vec::new();
        for copy in &place.copies {
            if region::find(regions, &copy.region).is_none() {
                return Err(no_copy_region(rule, &copy.region, collection));
            }
            if copy.region != main.id && copies.iter().all(|other| other.region != copy.region) {
                copies.push(copy.into());
            }
        }
        let reason = rule.reason(&format!("keeps it in {}", main.id));
        Ok(Some(Placed { copies, retention_days: place.retention_days, ..Placed::in_region(&main.id, reason) }))
    }

    /// The first rule that has something to say, with what it says.
    fn first<'a, T>(&'a self, says: impl Fn(&'a Rule) -> Option<T>) -> Option<(&'a Rule, T)> {
        self.0.iter().find_map(|rule| Some((rule, says(rule)?)))
    }
}

/// Of named regions the first healthy one, else the first usable one; of a jurisdiction the cheapest in that order.
fn main_region<'a>(place: &Place, regions: &'a [Region]) -> Option<&'a Region> {
    let Some(jurisdiction) = &place.jurisdiction else {
        let named = || place.regions.iter().filter_map(|id| region::find(regions, id));
        return named().find(|region| region.is_healthy()).or_else(|| named().find(|region| region.is_usable()));
    };
    let there = || regions.iter().filter(|region| region.is_in(jurisdiction));
    region::cheapest(there().filter(|region| region.is_healthy()))
        .or_else(|| region::cheapest(there().filter(|region| region.is_usable())))
}

fn no_region(rule: &Rule, place: &Place, collection: &Collection, regions: &[Region]) -> Refusal {
    let wanted = match &place.jurisdiction {
        Some(jurisdiction) => format!("a region of {jurisdiction}"),
        None => format!("one of {}", place.regions.join(", ")),
    };
    let mut offered: Vec<&str> = regions.iter().map(|region| region.id.as_str()).collect();
    offered.sort_unstable();
    let message = format!(
        "Rule `{}` keeps {} in {wanted}, and none of these can be used now. On offer: {}.",
        rule.name,
        collection.qualified_name(),
        offered.join(", ")
    );
    Refusal::new("no-region-of-rule", message).about([collection.id])
}

fn no_copy_region(rule: &Rule, region: &str, collection: &Collection) -> Refusal {
    let message = format!(
        "Rule `{}` asks for a copy of {} in {region}, which is not among the regions that this project may use.",
        rule.name,
        collection.qualified_name()
    );
    Refusal::new("no-copy-region-of-rule", message).about([collection.id])
}
