//! What goes in under the budget, page by page.
//!
//! A page knows its own collections and the sums of the cluster, so a budget that does not cover everything is shared
//! among pages by their new bytes; what a page leaves over is for the next ones. Otherwise names early in the alphabet
//! would use it up. What must stay in does so whatever its page's share.

use std::cmp::Reverse;

use longshore_plugin::cost::{format_bytes, format_micros, scaled};
use longshore_plugin::time::Date;
use longshore_plugin::{Answer, Collection, Reason, Refusal, Run, Selected, SelectionPolicy, log};
use serde::{Deserialize, Serialize};

use crate::estimate::{Estimate, added_bytes};
use crate::{CostCap, Settings};

/// What pages hand on. All sums are of the pages before.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
struct Carried {
    /// New bytes seen.
    seen_bytes: u64,
    /// Cost of what went in.
    taken_micros: u64,
    /// Cost of what had to stay in.
    kept_micros: u64,
    /// What was left out.
    left_out: u64,
    left_out_bytes: u64,
}

impl SelectionPolicy for CostCap {
    fn select(run: &Run, page: &[Collection]) -> Result<Answer<Selected>, Refusal> {
        let settings: Settings = run.settings()?;
        let estimate = match Estimate::of(run, &settings) {
            Ok(estimate) => estimate,
            Err(why) => {
                if run.page_number == 0 {
                    log::warn(why);
                }
                return Ok(Answer::new());
            }
        };
        let mut sums: Carried = run.carried()?;
        let cap = Cap { run, settings: &settings, estimate };
        let answer = cap.decide(page, &mut sums);
        if run.last_page {
            cap.report(&sums);
        }
        answer.carrying(&sums)
    }
}

/// A question about a page, and what is known of the month.
struct Cap<'a> {
    run: &'a Run,
    settings: &'a Settings,
    estimate: Estimate,
}

/// A collection that may be left out.
struct Candidate<'a> {
    collection: &'a Collection,
    bytes: u64,
    micros: u64,
}

impl Cap<'_> {
    fn decide(&self, page: &[Collection], sums: &mut Carried) -> Answer<Selected> {
        let mut answer = Answer::new();
        let mut candidates = Vec::new();
        let (mut page_bytes, mut kept_micros) = (0_u64, 0_u64);
        for collection in page {
            let bytes = added_bytes(self.settings, collection);
            let micros = self.estimate.month_micros(self.settings, bytes);
            page_bytes = page_bytes.saturating_add(bytes);
            match self.kept(collection, micros) {
                Some(reason) => {
                    kept_micros = kept_micros.saturating_add(micros);
                    answer.decisions.push((collection.id, self.included(reason)));
                }
                None => candidates.push(Candidate { collection, bytes, micros }),
            }
        }
        let allowance_micros = self.allowance_micros(page_bytes, sums);
        sums.seen_bytes = sums.seen_bytes.saturating_add(page_bytes);
        sums.kept_micros = sums.kept_micros.saturating_add(kept_micros);
        sums.taken_micros = sums.taken_micros.saturating_add(kept_micros);
        self.share(candidates, allowance_micros.saturating_sub(kept_micros), sums, &mut answer);
        answer
    }

    /// Why a collection goes in whatever the rest costs, if it does.
    fn kept(&self, collection: &Collection, micros: u64) -> Option<Reason> {
        if let Some(reason) = collection.kept_in(self.run) {
            return Some(reason);
        }
        if collection.flag(&self.settings.keep_property) == Some(true) {
            let message = format!("{} keeps it in, whatever it costs.", self.settings.keep_property);
            return Some(Reason::new("kept-by-property", message));
        }
        let named = |collection: &Collection| {
            self.settings.keep_collections.iter().find(|keep| keep.matches(&collection.database, &collection.name))
        };
        if let Some(pattern) = named(collection) {
            let message = format!("The pattern `{pattern}` of keep_collections keeps it in, whatever it costs.");
            return Some(Reason::new("kept-by-pattern", message));
        }
        if micros == 0 {
            return Some(Reason::new("nothing-new", "Earlier backups hold all of it, so it adds nothing to the bill."));
        }
        (self.estimate.everything_micros <= self.estimate.budget_micros).then(|| {
            let message = format!(
                "With everything the month is estimated at {}, and the budget is {}.",
                format_micros(self.estimate.everything_micros),
                format_micros(self.estimate.budget_micros)
            );
            Reason::new("everything-fits", message)
        })
    }

    /// The part of what is left of the budget that this page may use.
    fn allowance_micros(&self, page_bytes: u64, sums: &Carried) -> u64 {
        let left_micros = self.estimate.room_micros().saturating_sub(sums.taken_micros);
        let left_bytes = self.run.totals.new_bytes.saturating_sub(sums.seen_bytes);
        if self.run.last_page || page_bytes >= left_bytes {
            return left_micros;
        }
        // Rounded down, so that the shares never sum up to more than there is.
        scaled(left_micros, page_bytes, left_bytes).saturating_sub(1)
    }

    /// Takes what fits, the most urgent first. A collection that does not fit does not keep smaller ones out.
    fn share(
        &self,
        mut candidates: Vec<Candidate<'_>>,
        mut left_micros: u64,
        sums: &mut Carried,
        answer: &mut Answer<Selected>,
    ) {
        candidates.sort_by_key(|candidate| self.urgency(candidate));
        for Candidate { collection, bytes, micros } in candidates {
            let decision = if micros <= left_micros {
                left_micros -= micros;
                sums.taken_micros = sums.taken_micros.saturating_add(micros);
                self.included(self.fits(micros))
            } else {
                sums.left_out += 1;
                sums.left_out_bytes = sums.left_out_bytes.saturating_add(bytes);
                Selected::excluded(self.too_dear(collection, bytes, micros, left_micros))
            };
            answer.decisions.push((collection.id, decision));
        }
    }

    /// Smaller goes first. A last write that is not known counts as a recent one.
    fn urgency<'c>(&self, candidate: &Candidate<'c>) -> (bool, Reverse<u64>, u64, &'c str, &'c str) {
        let collection = candidate.collection;
        let at_risk = collection.last_backup.is_none() || collection.recovery_point_missed(self.run);
        let written = Reverse(collection.last_write_time_ms.unwrap_or(u64::MAX));
        (!at_risk, written, candidate.micros, &collection.database, &collection.name)
    }

    fn included(&self, reason: Reason) -> Selected {
        Selected { include_index_files: self.settings.include_index_files, ..Selected::included(reason) }
    }

    fn fits(&self, micros: u64) -> Reason {
        let budget = format_micros(self.estimate.budget_micros);
        Reason::new("fits", format!("It adds {} a month and fits the budget of {budget}.", format_micros(micros)))
    }

    fn too_dear(&self, collection: &Collection, bytes: u64, micros: u64, left_micros: u64) -> Reason {
        let backup = match &collection.last_backup {
            Some(backup) => format!("its last good backup is of {}", Date::of(backup.time_ms)),
            None => "it has no backup".to_owned(),
        };
        let message = format!(
            "Its {} of new data would add {} a month, and {} of the budget of {} is left for it after what is held, kept \
             and more urgent; {backup}.",
            format_bytes(bytes),
            format_micros(micros),
            format_micros(left_micros),
            format_micros(self.estimate.budget_micros),
        );
        Reason::new("over-budget", message)
    }

    /// Says at the end of a run what an operator must not miss.
    fn report(&self, sums: &Carried) {
        let Estimate { budget_micros, held_micros, everything_micros, .. } = self.estimate;
        let with_kept_micros = held_micros.saturating_add(sums.kept_micros);
        if with_kept_micros > budget_micros {
            log::warn(format!(
                "What is held and what must stay in is estimated at {} a month, more than the budget of {}.",
                format_micros(with_kept_micros),
                format_micros(budget_micros)
            ));
        }
        if sums.left_out > 0 {
            log::warn(format!(
                "{} collections with {} of new data are left out. A budget of {} would take everything in.",
                sums.left_out,
                format_bytes(sums.left_out_bytes),
                format_micros(everything_micros)
            ));
        }
    }
}
