//! What the next run is decided by: the configuration, as far as nothing remembered stands against it.
//!
//! In this order: promotions take the places they were given, as long as the configuration names the file they were put in
//! place of; a rollback holds as long as the configuration says what was rejected; members in quarantine give way to
//! their last good version. A member without one is left out only where it could be skipped anyway (`on_failure = "skip"`,
//! not required, not placement, not alone in its chain); otherwise its chain is blocked, and jobs fail and say why.
//! Pure.

use longshore_model::{Digest, PolicyKind};
use longshore_policy::OnFailure;

use super::spec::{MemberSpec, Scope, Seat, SetSpec};
use super::state::{PolicyState, Promotion, Quarantined};

/// What the next run is decided by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Effective {
    /// The set, before quarantine.
    pub(crate) spec: SetSpec,
    /// The set as it is asked.
    pub(crate) asked: SetSpec,
    /// Fingerprint of what the configuration alone says.
    pub(crate) configured: Digest,
    /// An earlier set is in force.
    pub(crate) rolled_back: bool,
    /// Promotions that no longer apply.
    pub(crate) over: Vec<Promotion>,
    /// What is not as configured, seat by seat.
    pub(crate) notes: Vec<Note>,
    /// Chains that cannot be asked.
    pub(crate) blocked: Vec<Quarantined>,
}

/// Something that is not as configured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Note {
    pub(crate) seat: Seat,
    /// In a few words, for a line about the member.
    pub(crate) what: String,
    /// An earlier version answers for a member in quarantine, or nobody does.
    pub(crate) fallback: bool,
}

pub(crate) fn effective(configured: &SetSpec, state: &PolicyState) -> Effective {
    let mut spec = configured.clone();
    let mut notes = Vec::new();
    let over = promote(&mut spec, state, &mut notes);
    let fingerprint = configured.fingerprint();
    let earlier = state.rollback.as_ref().filter(|rollback| rollback.rejected == fingerprint);
    let earlier = earlier.and_then(|rollback| state.set(rollback.set));
    let rolled_back = earlier.is_some();
    if let Some(set) = earlier {
        // Candidates are configuration, not decisions: those that are configured now go on.
        let mut back = set.spec.clone();
        for (scope, members) in &mut back.scopes {
            for member in members {
                member.shadow = spec.find(&member.seat(scope)).and_then(|now| now.shadow.clone());
            }
        }
        spec = back;
        notes.clear();
    }
    let (asked, blocked) = without_quarantined(&spec, state, &mut notes);
    Effective { spec, asked, configured: fingerprint, rolled_back, over, notes, blocked }
}

/// Puts promoted candidates in their places; those whose place is no longer what it was are the answer.
fn promote(spec: &mut SetSpec, state: &PolicyState, notes: &mut Vec<Note>) -> Vec<Promotion> {
    let mut over = Vec::new();
    for promotion in &state.promotions {
        let seat = &promotion.seat;
        let members = spec.scopes.get_mut(&seat.scope);
        let member =
            members.and_then(|all| all.iter_mut().find(|one| one.kind == seat.kind && one.name == seat.member));
        match member {
            Some(member) if member.asked.digest == promotion.in_place_of && !member.pinned => {
                let what = format!("promoted in place of {}", short(&promotion.in_place_of));
                notes.push(Note { seat: seat.clone(), what, fallback: false });
                member.asked.plugin.clone_from(&promotion.plugin);
                member.asked.digest = promotion.digest;
                member.asked.version.clone_from(&promotion.version);
                if let Some(settings) = &promotion.settings {
                    member.asked.settings.clone_from(settings);
                }
                if let Some(budget) = promotion.budget {
                    member.asked.budget = budget;
                }
                // It is no candidate any more.
                member.shadow = member.shadow.take().filter(|shadow| shadow.digest != promotion.digest);
            }
            _ => over.push(promotion.clone()),
        }
    }
    over
}

fn without_quarantined(spec: &SetSpec, state: &PolicyState, notes: &mut Vec<Note>) -> (SetSpec, Vec<Quarantined>) {
    let mut asked = SetSpec::default();
    let mut blocked = Vec::new();
    for (scope, members) in &spec.scopes {
        let mut kept: Vec<MemberSpec> = Vec::with_capacity(members.len());
        for member in members {
            let fingerprint = member.fingerprint(scope);
            let Some(quarantined) = state.quarantine.iter().find(|one| one.fingerprint == fingerprint) else {
                kept.push(member.clone());
                continue;
            };
            let seat = member.seat(scope);
            if let Some(good) = last_good(scope, member, state) {
                let what = format!("in quarantine; its last good version {} answers", short(&good.asked.digest));
                notes.push(Note { seat, what, fallback: true });
                kept.push(good);
            } else if may_be_left_out(scope, member, members, state) {
                let what = "in quarantine; left out".to_owned();
                notes.push(Note { seat, what, fallback: true });
            } else {
                notes.push(Note { seat, what: "in quarantine; jobs fail".to_owned(), fallback: true });
                blocked.push(quarantined.clone());
                // It stays, so that the set can be built and shown; nobody is asked.
                kept.push(member.clone());
            }
        }
        asked.scopes.insert(scope.clone(), kept);
    }
    (asked, blocked)
}

/// The newest version of a member that answered in a run and is not in quarantine itself.
fn last_good(scope: &Scope, member: &MemberSpec, state: &PolicyState) -> Option<MemberSpec> {
    let seat = member.seat(scope);
    let own = member.fingerprint(scope);
    let good = |candidate: &&MemberSpec| {
        let fingerprint = candidate.fingerprint(scope);
        fingerprint != own
            && state.health.get(&fingerprint).is_some_and(|health| health.good_runs > 0)
            && !state.quarantine.iter().any(|one| one.fingerprint == fingerprint)
    };
    // Not what somebody went back from.
    let sets = state.sets.iter().rev().filter(|set| !set.rejected);
    let versions = sets.filter_map(|set| set.spec.find(&seat));
    let found = versions.filter(|version| !member.pinned || version.asked.digest == member.asked.digest).find(good)?;
    // What happens if it fails is still the configuration's to say.
    let (on_failure, required) = (member.on_failure, member.required);
    Some(MemberSpec { on_failure, required, shadow: member.shadow.clone(), ..found.clone() })
}

fn may_be_left_out(scope: &Scope, member: &MemberSpec, members: &[MemberSpec], state: &PolicyState) -> bool {
    let asked = |other: &MemberSpec| {
        let fingerprint = other.fingerprint(scope);
        other.kind == member.kind && !state.quarantine.iter().any(|one| one.fingerprint == fingerprint)
    };
    let skippable = member.on_failure == OnFailure::Skip && !member.required && member.kind != PolicyKind::Placement;
    skippable && members.iter().any(asked)
}

/// The start of a digest, as tables show it.
pub(crate) fn short(digest: &Digest) -> String {
    digest.to_string().chars().take(12).collect()
}
