//! Everything that can happen to what a host remembers about its policies. Pure: time and configuration come in.
//!
//! Failure: [`EngineError::Conflict`], [`EngineError::NotFound`]; the state is then as it was.

use longshore_model::{Digest, Timestamp};

use super::spec::{MemberSpec, Scope, Seat, SetSpec};
use super::state::{HEALTH_MEMBERS, Health, Installed, PolicyState, Promotion, Quarantined, Rollback, SetEntry};
use crate::EngineError;
use crate::config::PluginsConfig;

/// Milliseconds of a minute.
const MINUTE_MS: i64 = 60_000;

fn conflict<T>(what: impl Into<String>) -> Result<T, EngineError> {
    Err(EngineError::Conflict { what: what.into() })
}

/// Puts a plugin under a name; the one that had it before is the answer.
pub(crate) fn install(state: &mut PolicyState, name: &str, installed: Installed) -> Option<Installed> {
    state.changed("install", "installs");
    state.installed.insert(name.to_owned(), installed)
}

/// Takes a name away. A plugin that the set in force uses under that name stays.
pub(crate) fn remove(state: &mut PolicyState, name: &str) -> Result<Installed, EngineError> {
    let used = state.active_set().and_then(|set| {
        let named = |asked: &super::spec::CandidateSpec| asked.plugin == name;
        let mut members = set.spec.members();
        members.find(|(_, member)| named(&member.asked) || member.shadow.as_ref().is_some_and(named))
    });
    if let Some((scope, member)) = used {
        let seat = member.seat(scope);
        return conflict(format!(
            "plugin `{name}` is used by {seat}; take it out of the configuration and reload before it is removed"
        ));
    }
    let removed = state.installed.remove(name);
    let removed = removed.ok_or_else(|| EngineError::NotFound { what: "installed plugin", id: name.to_owned() })?;
    state.changed("remove", "removals");
    Ok(removed)
}

/// What a set is in force because of.
#[derive(Debug, Clone)]
pub(crate) struct Activation {
    /// What is in force.
    pub(crate) spec: SetSpec,
    /// Fingerprint of what the configuration alone says.
    pub(crate) configured: Digest,
    /// The set comes from a rollback.
    pub(crate) rolled_back: bool,
    /// What brought it.
    pub(crate) cause: String,
}

/// Notes which set is in force. `true` if it is another one than before.
pub(crate) fn activate(state: &mut PolicyState, activation: &Activation, kept_sets: usize, now: Timestamp) -> bool {
    if let Some(rollback) = &state.rollback {
        if activation.rolled_back {
            let changed = state.active != Some(rollback.set);
            state.active = Some(rollback.set);
            return changed;
        }
        // The configuration says something new, so what was rejected no longer stands in it.
        state.rollback = None;
        state.count("rollbacksEnded");
    }
    let fingerprint = activation.spec.fingerprint();
    if state.active_set().is_some_and(|set| set.spec.fingerprint() == fingerprint) {
        return false;
    }
    let number = state.sets.iter().map(|set| set.number).max().unwrap_or(0) + 1;
    state.sets.push(SetEntry {
        number,
        time: now,
        cause: activation.cause.clone(),
        spec: activation.spec.clone(),
        configured: activation.configured,
        promotions: state.promotions.clone(),
        good_runs: 0,
        failed_runs: 0,
        rejected: false,
    });
    state.active = Some(number);
    state.count("swaps");
    let surplus = state.sets.len().saturating_sub(kept_sets.max(2));
    state.sets.drain(..surplus);
    true
}

/// Puts an earlier set in force: the one with this number, or the newest earlier one that decided a run and that nobody
/// went back from; if none did, the newest earlier one.
pub(crate) fn roll_back(state: &mut PolicyState, to: Option<u64>, now: Timestamp) -> Result<(u64, u64), EngineError> {
    let Some(active) = state.active_set().cloned() else {
        return conflict("no set of policies was in force yet; start the host once");
    };
    let target = match to {
        Some(number) => state
            .set(number)
            .ok_or_else(|| EngineError::NotFound { what: "set of policies", id: number.to_string() })?,
        None => {
            let differs = |set: &&SetEntry| set.spec.fingerprint() != active.spec.fingerprint();
            let earlier = || {
                let earlier = state.sets.iter().rev().filter(|set| set.number < active.number && !set.rejected);
                earlier.filter(differs)
            };
            let Some(target) = earlier().find(|set| set.good_runs > 0).or_else(|| earlier().next()) else {
                return conflict("there is no earlier set of policies to go back to");
            };
            target
        }
    }
    .clone();
    if target.number == active.number {
        return conflict(format!("set {} is in force already", target.number));
    }
    // What the configuration says: as long as it is that, the target holds in its place.
    let said = state.rollback.as_ref().map_or(active.configured, |rollback| rollback.rejected);
    state.promotions.clone_from(&target.promotions);
    state.rollback = (target.configured != said).then_some(Rollback { set: target.number, rejected: said, time: now });
    for set in &mut state.sets {
        if set.number == active.number {
            set.rejected = true;
        } else if set.number == target.number {
            set.rejected = false;
        }
    }
    state.active = Some(target.number);
    state.changed("rollback", "rollbacks");
    Ok((active.number, target.number))
}

/// Puts what the configuration says in force again.
pub(crate) fn follow(state: &mut PolicyState) -> Result<(), EngineError> {
    if state.rollback.take().is_none() {
        return conflict("the configuration is followed already: nothing was rolled back");
    }
    state.changed("follow", "rollbacksEnded");
    Ok(())
}

/// Puts a candidate in a member's place.
pub(crate) fn promote(state: &mut PolicyState, promotion: Promotion) -> Result<(), EngineError> {
    if state.rollback.is_some() {
        return conflict("an earlier set of policies is in force; say `longshore policy follow` before you promote");
    }
    state.promotions.retain(|other| other.seat != promotion.seat);
    state.promotions.push(promotion);
    state.changed("promote", "promotions");
    Ok(())
}

/// Ends promotions that no longer apply, because the configuration names another file in their place.
pub(crate) fn end_promotions(state: &mut PolicyState, over: &[Promotion]) {
    state.promotions.retain(|promotion| !over.contains(promotion));
    for _ in over {
        state.count("promotionsEnded");
    }
}

/// How a member of the set in force did in a run.
#[derive(Debug, Clone)]
pub(crate) struct Verdict {
    pub(crate) scope: Scope,
    pub(crate) member: MemberSpec,
    /// How it failed; `None` if it answered.
    pub(crate) failure: Option<String>,
}

/// Notes how the members of the set with this fingerprint did in a run; those that have to be quarantined now are the answer.
pub(crate) fn note_run(
    state: &mut PolicyState,
    set: &Digest,
    verdicts: &[Verdict],
    rules: &PluginsConfig,
    now: Timestamp,
) -> Vec<Quarantined> {
    let failed = verdicts.iter().any(|verdict| verdict.failure.is_some());
    if let Some(entry) = state.sets.iter_mut().rev().find(|entry| entry.spec.fingerprint() == *set) {
        // A run in which an earlier version stood in for a member says nothing good about the set.
        let own = |verdict: &Verdict| {
            let seat = verdict.member.seat(&verdict.scope);
            entry.spec.find(&seat).is_some_and(|member| member.asked == verdict.member.asked)
        };
        let complete = verdicts.iter().all(own);
        if failed {
            entry.failed_runs += 1;
        } else if complete {
            entry.good_runs += 1;
        }
    }
    let window_ms = i64::from(rules.quarantine_window_minutes).saturating_mul(MINUTE_MS);
    let mut quarantined = Vec::new();
    for verdict in verdicts {
        let fingerprint = verdict.member.fingerprint(&verdict.scope);
        let unknown = || Health { good_runs: 0, failed_runs: 0, last: now, failures: Vec::new() };
        let health = state.health.entry(fingerprint).or_insert_with(unknown);
        health.last = now;
        let Some(why) = &verdict.failure else {
            health.good_runs += 1;
            continue;
        };
        health.failed_runs += 1;
        health.failures.retain(|time| now.millis_since(*time) < window_ms);
        health.failures.push(now);
        let failures = u32::try_from(health.failures.len()).unwrap_or(u32::MAX);
        state.count("failures");
        let known = state.quarantine.iter().any(|one| one.fingerprint == fingerprint);
        if failures >= rules.quarantine_failures && !known {
            let seat = verdict.member.seat(&verdict.scope);
            let digest = verdict.member.asked.digest;
            let one = Quarantined { seat, fingerprint, digest, since: now, failures, why: why.clone() };
            state.quarantine.push(one.clone());
            state.changed("quarantine", "quarantines");
            quarantined.push(one);
        }
    }
    forget_old_health(state);
    quarantined
}

fn forget_old_health(state: &mut PolicyState) {
    while state.health.len() > HEALTH_MEMBERS {
        let oldest = state.health.iter().min_by_key(|(_, health): &(&Digest, &Health)| health.last);
        let Some(oldest) = oldest.map(|(fingerprint, _)| *fingerprint) else { return };
        state.health.remove(&oldest);
        state.quarantine.retain(|one| one.fingerprint != oldest);
    }
}

/// Lets members out of quarantine, with a clean record; those that were let out are the answer.
pub(crate) fn release(
    state: &mut PolicyState,
    matches: impl Fn(&Seat) -> bool,
    what: &str,
) -> Result<Vec<Quarantined>, EngineError> {
    let (out, stay): (Vec<_>, Vec<_>) = state.quarantine.drain(..).partition(|one| matches(&one.seat));
    state.quarantine = stay;
    if out.is_empty() {
        return Err(EngineError::NotFound { what: "member in quarantine", id: what.to_owned() });
    }
    for one in &out {
        if let Some(health) = state.health.get_mut(&one.fingerprint) {
            health.failures.clear();
        }
    }
    state.changed("release", "releases");
    Ok(out)
}
