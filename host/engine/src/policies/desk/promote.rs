//! Putting a candidate in the place of the member it was asked beside.

use longshore_model::PolicyKind;
use longshore_sandbox::Sandbox;

use super::{PolicyDesk, PromoteReport, PromoteRules, change_state, read_state};
use crate::EngineError;
use crate::policies::shadows::ShadowRecord;
use crate::policies::spec::{Scope, Seat};
use crate::policies::state::Promotion;
use crate::policies::transitions;

/// Milliseconds of a day.
const DAY_MS: i64 = 24 * 60 * 60 * 1_000;

impl PolicyDesk {
    /// Puts the candidate of a member in its place, from the next run on, if its record is clean. The configuration stays
    /// as it is: what was promoted holds as long as it names the same file in that place.
    ///
    /// # Errors
    /// [`EngineError::BadRequest`] when it is not clear which candidate is meant, [`EngineError::Conflict`] when its record
    /// does not speak for it or the configuration pins the member.
    pub fn promote(
        &self,
        member: Option<&str>,
        kind: Option<PolicyKind>,
        scope: Option<&Scope>,
        rules: &PromoteRules,
        sandbox: &Sandbox,
    ) -> Result<PromoteReport, EngineError> {
        let outcome = self.promote_now(member, kind, scope, rules, sandbox);
        let subject = outcome.as_ref().map_or_else(
            |_| member.unwrap_or("the only candidate").to_owned(),
            |report| {
                let (seat, record) = (&report.seat, &report.record);
                format!(
                    "{seat}: {} in place of {}, after {} decisions in {} runs, {} changed, {} of protected collections",
                    report.digest,
                    report.in_place_of,
                    record.decisions,
                    record.runs,
                    record.changed,
                    record.protected_changes
                )
            },
        );
        self.audit("policy.promote", &subject, &outcome)?;
        outcome
    }

    fn promote_now(
        &self,
        member: Option<&str>,
        kind: Option<PolicyKind>,
        scope: Option<&Scope>,
        rules: &PromoteRules,
        sandbox: &Sandbox,
    ) -> Result<PromoteReport, EngineError> {
        let state = read_state(self.catalog.as_ref())?;
        let configured = self.configured(sandbox)?.spec(&state)?;
        let now = crate::policies::effective(&configured, &state);
        let wanted = now.spec.members().filter(|(of, one)| {
            one.shadow.is_some()
                && member.is_none_or(|member| one.name == member)
                && kind.is_none_or(|kind| one.kind == kind)
                && scope.is_none_or(|scope| *scope == **of)
        });
        let wanted: Vec<_> = wanted.collect();
        let (scope, member) = match wanted.as_slice() {
            [(scope, member)] => (*scope, *member),
            [] => {
                let what = "no such member has a candidate; give it one with `shadow = \"candidate.wasm\"` first";
                return Err(EngineError::BadRequest { what: what.to_owned() });
            }
            several => {
                let seats: Vec<String> = several.iter().map(|(scope, one)| one.seat(scope).to_string()).collect();
                let what = format!(
                    "there are several candidates: {}; say which with member, --kind and --cluster",
                    seats.join(", ")
                );
                return Err(EngineError::BadRequest { what });
            }
        };
        let seat = member.seat(scope);
        let (Some(candidate), Some(said)) = (member.shadow.clone(), configured.find(&seat)) else {
            return Err(EngineError::NotFound { what: "candidate", id: seat.to_string() });
        };
        if member.pinned {
            let what = format!("the configuration pins {seat} by `digest`; change the pin there in place of promoting");
            return Err(EngineError::Conflict { what });
        }
        let record = self.shadows()?.of(scope, member).cloned();
        let record = clean(&seat, record, rules)?;
        self.store.keep(&candidate.digest)?;
        let own_settings = candidate.settings != member.asked.settings;
        let own_budget = candidate.budget != member.asked.budget;
        let promotion = Promotion {
            seat: seat.clone(),
            in_place_of: said.asked.digest,
            plugin: candidate.plugin.clone(),
            digest: candidate.digest,
            version: candidate.version.clone(),
            settings: own_settings.then_some(candidate.settings),
            budget: own_budget.then_some(candidate.budget),
            time: self.clock.now(),
        };
        change_state(self.catalog.as_ref(), |state| transitions::promote(state, promotion.clone()))?;
        self.store.keep(&candidate.digest)?;
        let (digest, version) = (promotion.digest, promotion.version);
        Ok(PromoteReport { seat, digest, version, in_place_of: promotion.in_place_of, record })
    }
}

/// The record, if it speaks for the candidate.
fn clean(seat: &Seat, record: Option<ShadowRecord>, rules: &PromoteRules) -> Result<ShadowRecord, EngineError> {
    let refuse =
        |what: String| Err(EngineError::Conflict { what: format!("the candidate for {seat} is not promoted: {what}") });
    let Some(record) = record else {
        return refuse("it was not asked yet beside the member as it is now".to_owned());
    };
    let days = record.last.millis_since(record.first) / DAY_MS;
    let mut missing = Vec::new();
    if record.decisions < rules.min_decisions {
        missing.push(format!("it made {} of {} decisions", record.decisions, rules.min_decisions));
    }
    if days < i64::from(rules.min_days) {
        missing.push(format!("it was asked over {days} of {} days", rules.min_days));
    }
    if record.protected_changes > rules.max_protected_changes {
        let (found, most) = (record.protected_changes, rules.max_protected_changes);
        missing.push(format!("{found} protected collections would have lost their backup, {most} may"));
    }
    if record.failures > rules.max_failures {
        let why = record.last_failure.clone().unwrap_or_default();
        missing.push(format!("it failed in {} runs, {} may ({why})", record.failures, rules.max_failures));
    }
    if record.not_asked > rules.max_not_asked {
        let (found, most) = (record.not_asked, rules.max_not_asked);
        missing.push(format!("its time was up before it was asked about {found} items, {most} may be left out"));
    }
    if missing.is_empty() { Ok(record) } else { refuse(missing.join("; ")) }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use longshore_model::{Digest, Timestamp};

    use super::*;

    fn seat() -> Seat {
        Seat { scope: Scope::Project, kind: PolicyKind::Selection, member: "tiered".to_owned() }
    }

    /// Just enough for the default rules.
    fn record() -> ShadowRecord {
        let digest = Digest::new([1; 32]);
        ShadowRecord {
            seat: seat(),
            candidate: digest,
            version: "1.0.0".to_owned(),
            active: digest,
            key: digest,
            first: Timestamp::from_millis(0),
            last: Timestamp::from_millis(7 * DAY_MS),
            runs: 7,
            decisions: 100,
            changed: 3,
            protected_changes: 0,
            failures: 0,
            not_asked: 0,
            last_failure: None,
            examples: Vec::new(),
        }
    }

    #[test]
    fn a_record_is_clean_when_it_breaks_no_rule() {
        let rules = PromoteRules::default();
        assert_eq!(clean(&seat(), Some(record()), &rules).unwrap(), record());
        let last_failure = Some("trapped: it crashed".to_owned());
        let last = Timestamp::from_millis(7 * DAY_MS - 1);
        for (broken, why) in [
            (None, "was not asked yet"),
            (Some(ShadowRecord { decisions: 99, ..record() }), "99 of 100 decisions"),
            (Some(ShadowRecord { last, ..record() }), "over 6 of 7 days"),
            (Some(ShadowRecord { protected_changes: 1, ..record() }), "1 protected collections would have lost"),
            (
                Some(ShadowRecord { failures: 1, last_failure, ..record() }),
                "failed in 1 runs, 0 may (trapped: it crashed)",
            ),
            (Some(ShadowRecord { not_asked: 3, ..record() }), "before it was asked about 3 items, 0 may"),
        ] {
            let refused = clean(&seat(), broken, &rules).unwrap_err().to_string();
            assert!(refused.contains(why), "{why}: {refused}");
        }
        let lax =
            PromoteRules { max_protected_changes: 1, max_failures: 1, max_not_asked: 3, min_days: 0, min_decisions: 1 };
        let lacking = ShadowRecord { protected_changes: 1, failures: 1, not_asked: 3, ..record() };
        assert!(clean(&seat(), Some(lacking), &lax).is_ok());
    }
}
