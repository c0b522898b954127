//! What the host insists on, whatever a policy says.

use longshore_model::{
    CollectionFacts, Copy, Placed, Reason, RegionId, RegionOffer, RunFacts, RunKind, RunTrigger, Selected,
};
use serde::{Deserialize, Serialize};

use crate::{CollectionPattern, Override, PolicyError};

/// Values of a protecting property or label that mean "not protected". Any other value protects.
const NOT_PROTECTED: [&str; 5] = ["", "false", "0", "no", "off"];

/// The host's rules. They are applied after each policy, can only make a backup safer, and say what they changed.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Guardrails {
    /// Collections that stay in.
    pub protected: Vec<CollectionPattern>,
    /// Keys of properties and labels that keep a collection in; values `false`, `0`, `no`, `off` and the empty one do not.
    pub protected_properties: Vec<String>,
    /// Regions the project may use. `None`: every region that the run offers. Others are not even offered.
    pub allowed_regions: Option<Vec<RegionId>>,
    /// Providers the project may use. `None`: any. Regions of others are not even offered.
    pub allowed_providers: Option<Vec<String>>,
    /// What the schedule promises, in days. A policy can keep an automatic backup longer, never shorter. Manual backups
    /// never expire.
    pub minimum_retention_days: Option<u32>,
}

impl Guardrails {
    /// Whether the operator protects a collection: by its fact, by a pattern, by a property or by a label.
    #[must_use]
    pub fn protects(&self, collection: &CollectionFacts) -> bool {
        let by_key = |(key, value): &(String, String)| {
            let off = NOT_PROTECTED.iter().any(|off| value.trim().eq_ignore_ascii_case(off));
            !off && self.protected_properties.contains(key)
        };
        collection.protected
            || collection.properties.iter().chain(&collection.labels).any(by_key)
            || self.protected.iter().any(|pattern| pattern.matches(&collection.name))
    }

    /// The regions that a policy is offered.
    ///
    /// # Errors
    /// [`PolicyError::NoAllowedRegion`] if none is left.
    pub fn offer(&self, regions: &[RegionOffer]) -> Result<Vec<RegionOffer>, PolicyError> {
        let allowed = |offer: &&RegionOffer| {
            self.allowed_regions.as_ref().is_none_or(|regions| regions.contains(&offer.id))
                && self.allowed_providers.as_ref().is_none_or(|providers| providers.contains(&offer.provider))
        };
        let offered: Vec<RegionOffer> = regions.iter().filter(allowed).cloned().collect();
        if offered.is_empty() {
            let offered = regions.iter().map(|offer| offer.id.clone()).collect();
            return Err(PolicyError::NoAllowedRegion { offered });
        }
        Ok(offered)
    }

    /// Why a collection that a policy left out stays in, if it does.
    pub(crate) fn keep_in(&self, run: &RunFacts, collection: &CollectionFacts) -> Option<Reason> {
        if self.protects(collection) {
            let message = "The operator protects this collection; a policy cannot leave it out.";
            return Some(Reason::new("protected", message));
        }
        if run.kind == RunKind::Collection && collection.requested {
            let message = "The request names this collection; a policy cannot leave it out, only refuse the run.";
            return Some(Reason::new("requested", message));
        }
        None
    }

    /// Puts a collection back in; `flags` gives index files and priority.
    pub(crate) fn put_back(rule: Reason, said_no: Selected, flags: &Selected) -> (Selected, Override<Selected>) {
        let value = Selected {
            include_collection: true,
            include_index_files: flags.include_index_files,
            priority: flags.priority,
            reason: rule.clone(),
        };
        (value, Override { rule: rule.code, message: rule.message, original: said_no })
    }

    /// Lengthens or drops the retention of an answer. Its reason stays: the place is still the policy's.
    pub(crate) fn retain(&self, run: &RunFacts, answer: Placed) -> (Placed, Option<Override<Placed>>) {
        let (rule, message, least) = match (run.trigger, self.minimum_retention_days) {
            (RunTrigger::Automatic, None) => return (answer, None),
            (RunTrigger::Automatic, Some(minimum)) => {
                let message = format!("The schedule keeps backups {minimum} days; a policy can only lengthen that.");
                ("retention-only-lengthened", message, Some(minimum))
            }
            (RunTrigger::Manual, _) => {
                let message = "Manual backups never expire; the retention that the policy gave is dropped.".to_owned();
                ("manual-never-expires", message, None)
            }
        };
        // Without a least retention there is none at all: `None` is "for ever" here.
        let change = |days: Option<u32>| days.zip(least).map(|(days, least)| days.max(least));
        let copies = answer.copies.iter();
        let copies =
            copies.map(|copy| Copy { region: copy.region.clone(), retention_days: change(copy.retention_days) });
        let value = Placed {
            region: answer.region.clone(),
            copies: copies.collect(),
            retention_days: change(answer.retention_days),
            reason: answer.reason.clone(),
        };
        if value == answer {
            return (answer, None);
        }
        (value, Some(Override { rule: rule.to_owned(), message, original: answer }))
    }
}
