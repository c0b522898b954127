//! Random scripts: single steps with faults and races around them, and sequences that single draws rarely come to.

use longshore_vault::testing::{Effect, Fault, FaultPlan, Operation, SeededRandom};

use crate::script::{Action, CLUSTERS, COLLECTIONS, REGIONS, Script, Step};

/// A random script.
pub(crate) fn draw(random: &mut SeededRandom, steps: usize) -> Script {
    let mut script = Script { encrypted: random.chance(35), steps: Vec::new() };
    while script.steps.len() < steps {
        match random.below(100) {
            0..25 => draw_race(random, &mut script.steps),
            25..35 => draw_health(random, &mut script.steps),
            35..39 => draw_late_erasure(random, &mut script.steps),
            39..42 => draw_two_erasures(random, &mut script.steps),
            _ => script.steps.push(draw_step(random)),
        }
    }
    script
}

/// What single draws rarely come to: bytes that are marked and due, and a backup that wants them again while a prune runs.
fn draw_race(random: &mut SeededRandom, script: &mut Vec<Step>) {
    let plain = |action| Step { action: Some(action), ..Step::default() };
    let cluster = index(random, CLUSTERS.len());
    let (before, prune) = (random.below(10_000), Action::Prune { region: None });
    script.push(plain(Action::Change { cluster, seed: before }));
    script.push(plain(Action::BackUp { cluster }));
    script.push(plain(Action::Change { cluster, seed: random.below(10_000) }));
    // More than one, so that bytes really become free.
    script.extend((0..1 + random.below(4)).map(|_| plain(Action::Delete { backup: index(random, 12) })));
    script.push(plain(Action::Advance { hours: 1 + random.below(3) }));
    script.push(if random.chance(70) { plain(prune) } else { draw_around(random, prune) });
    script.push(plain(Action::Advance { hours: 1 + random.below(30) }));
    script.push(plain(Action::Change { cluster, seed: before }));
    let other = if random.chance(50) { prune } else { Action::Sweep { hours: [2, 27][index(random, 2)] } };
    let (first, second) = (Action::BackUp { cluster }, other);
    let (first, second) = if random.chance(60) { (first, second) } else { (second, first) };
    let place = draw_place(random, first, Effect::Fail);
    script.push(Step { meanwhile: Some((place, second)), ..plain(first) });
}

/// A backup that is deleted and pruned, and of which bytes lie on beside those of the next one, before a collection of
/// both is erased.
fn draw_late_erasure(random: &mut SeededRandom, script: &mut Vec<Step>) {
    let plain = |action| Step { action: Some(action), ..Step::default() };
    let cluster = index(random, CLUSTERS.len());
    script.push(plain(Action::Change { cluster, seed: random.below(10_000) }));
    script.push(plain(Action::BackUp { cluster }));
    script.push(plain(Action::Change { cluster, seed: random.below(10_000) }));
    script.push(plain(Action::BackUp { cluster }));
    script.extend((0..1 + random.below(4)).map(|_| plain(Action::Delete { backup: index(random, 12) })));
    script.extend((0..2).map(|_| plain(Action::Sweep { hours: 2 })));
    let erase = Action::Erase { cluster, collection: index(random, COLLECTIONS.len()) };
    script.push(if random.chance(60) { plain(erase) } else { draw_around(random, erase) });
}

/// An erasure that may die half-way, and one of another collection in its place once its pin has lapsed; with copies that
/// both have to bring along.
fn draw_two_erasures(random: &mut SeededRandom, script: &mut Vec<Step>) {
    let plain = |action| Step { action: Some(action), ..Step::default() };
    let (cluster, collection) = (index(random, CLUSTERS.len()), index(random, COLLECTIONS.len()));
    let other = (collection + 1 + index(random, COLLECTIONS.len() - 1)) % COLLECTIONS.len();
    script.push(plain(Action::BackUp { cluster }));
    for _ in 0..2 {
        script.push(plain(Action::CopyTo { backup: index(random, 12), region: index(random, REGIONS.len()) }));
    }
    script.push(draw_around(random, Action::Erase { cluster, collection }));
    script.push(plain(Action::Advance { hours: 20 + random.below(10) }));
    if random.chance(40) {
        script.push(plain(Action::Sweep { hours: [2, 27][index(random, 2)] }));
    }
    script.push(draw_around(random, Action::Erase { cluster, collection: other }));
    if random.chance(50) {
        script.push(plain(Action::Advance { hours: 26 }));
    }
    script.push(draw_around(random, Action::Erase { cluster, collection }));
}

/// Two vaults with the same backup, something damaged and healed, and then whatever relies on what was healed.
fn draw_health(random: &mut SeededRandom, script: &mut Vec<Step>) {
    let plain = |action| Step { action: Some(action), ..Step::default() };
    let (backup, cluster) = (index(random, 12), index(random, CLUSTERS.len()));
    script.extend((0..REGIONS.len()).map(|region| plain(Action::CopyTo { backup, region })));
    if random.chance(30) {
        // Packs of the two vaults differ from here on.
        script.push(plain(Action::Sweep { hours: 2 }));
    }
    let heal = Action::Heal { region: index(random, REGIONS.len()), seed: random.below(10_000) };
    script.push(if random.chance(50) { plain(heal) } else { draw_around(random, heal) });
    let next = match random.below(4) {
        0 => Action::BackUp { cluster },
        1 => Action::Sweep { hours: 2 },
        2 => Action::Erase { cluster, collection: index(random, COLLECTIONS.len()) },
        _ => Action::Heal { region: index(random, REGIONS.len()), seed: random.below(10_000) },
    };
    script.push(draw_around(random, next));
}

/// Whether two actions may run beside each other. While an object is damaged and nobody knows, a writer may refer to it
/// and nobody can be blamed.
fn go_together(one: Action, other: Action) -> bool {
    let heals = |action| matches!(action, Action::Heal { .. });
    let harmless = |action| matches!(action, Action::Restore { .. } | Action::Prune { .. } | Action::Delete { .. });
    match (heals(one), heals(other)) {
        (false, false) => true,
        (true, false) => harmless(other),
        (false, true) => harmless(one),
        (true, true) => false,
    }
}

fn prunes(action: Action) -> bool {
    matches!(action, Action::Prune { .. } | Action::Sweep { .. })
}

/// Whether an action is promised to survive stale listings: they are no excuse for losing a backup. (A heal and an erasure
/// work on what they are shown, and a host that looks whether a job was done must be able to see it.)
fn survives_stale_listings(action: Action) -> bool {
    !matches!(action, Action::Heal { .. } | Action::Erase { .. } | Action::Again { .. })
}

/// Listings that lag by up to as much as happened since the clock was last moved: less than half a fence.
fn draw_stale(random: &mut SeededRandom) -> FaultPlan {
    let one = |random: &mut SeededRandom| {
        let folders = ["", "", "pins", "marks", "roots", "packs", "index", "us/pins", "us/"];
        let key_prefix = folders[index(random, folders.len())].to_owned();
        let times = if random.chance(50) { u64::MAX } else { 1 + random.below(4) };
        let effect = Effect::Stale([3, 12, 40, 1_000][index(random, 4)]);
        Fault { operation: Some(Operation::List), key_prefix, skip: random.below(3), times, effect }
    };
    FaultPlan((0..1 + random.below(3)).map(|_| one(random)).collect())
}

fn index(random: &mut SeededRandom, end: usize) -> usize {
    usize::try_from(random.below(end as u64)).unwrap_or(0)
}

fn draw_action(random: &mut SeededRandom) -> Action {
    let cluster = index(random, CLUSTERS.len());
    let region = index(random, REGIONS.len());
    let backup = index(random, 12);
    match random.below(100) {
        0..15 => Action::Change { cluster, seed: random.below(10_000) },
        15..33 => Action::BackUp { cluster },
        33..40 => Action::Again { backup },
        40..50 => Action::CopyTo { backup, region },
        50..57 => Action::Restore { backup, region: random.chance(50).then_some(region) },
        57..70 => Action::Delete { backup },
        70..77 => Action::Sweep { hours: [2, 2, 27][index(random, 3)] },
        77..80 => Action::Heal { region, seed: random.below(10_000) },
        80..84 => Action::Erase { cluster, collection: index(random, COLLECTIONS.len()) },
        84..92 => Action::Prune { region: random.chance(25).then_some(region) },
        _ => Action::Advance { hours: 1 + random.below(30) },
    }
}

fn draw_step(random: &mut SeededRandom) -> Step {
    let action = draw_action(random);
    draw_around(random, action)
}

/// An action with what may happen to it: nothing, a crash, errors, or something else meanwhile.
fn draw_around(random: &mut SeededRandom, action: Action) -> Step {
    let mut step = Step { action: Some(action), ..Step::default() };
    if matches!(action, Action::Change { .. } | Action::Advance { .. }) {
        return step;
    }
    match random.below(100) {
        0..22 => {
            let effect = if random.chance(50) { Effect::Crash } else { Effect::SucceedThenCrash };
            step.plan = FaultPlan(vec![draw_place(random, action, effect)]);
        }
        22..38 => step.plan = draw_errors(random, action),
        38..52 if survives_stale_listings(action) => step.plan = draw_stale(random),
        52..77 => {
            let other = draw_action(random);
            if go_together(action, other) {
                step.meanwhile = Some((draw_place(random, action, Effect::Fail), other));
            }
            // On a store whose listings lag one prune runs at a time.
            let all_survive = survives_stale_listings(action) && survives_stale_listings(other);
            if random.chance(30) && all_survive && !(prunes(action) && prunes(other)) {
                step.plan = draw_stale(random);
            }
        }
        _ => {}
    }
    step
}

/// What an action writes, in which region: where it matters when something happens.
fn written(random: &mut SeededRandom, action: Action) -> (usize, &'static [&'static str]) {
    let any = index(random, REGIONS.len());
    match action {
        Action::BackUp { cluster } => {
            (cluster, &["packs/", "packs/", "index/", "parts/", "parts/", "roots/", "roots/", "pins/"])
        }
        Action::CopyTo { region, .. } => {
            (region, &["packs/", "packs/", "index/", "parts/", "receipts/", "receipts/", "pins/"])
        }
        Action::Delete { .. } => (any, &["withdrawn/"]),
        Action::Erase { .. } => (any, &["erasures/", "parts/", "roots/", "receipts/", "withdrawn/", "pins/"]),
        Action::Heal { region, .. } => (region, &["packs/", "index/", "parts/", "receipts/", "damaged/", "pins/"]),
        Action::Sweep { .. } => (any, &["marks/", "marks/", "packs/", "index/", "withdrawn/"]),
        Action::Prune { region } => (region.unwrap_or(any), &["marks/", "marks/", "packs/", "index/", "withdrawn/"]),
        _ => (any, &["packs/", "index/", "parts/", "roots/", "pins/"]),
    }
}

/// A place in the work of an action: one of its writes or deletions, or any of its operations.
fn draw_place(random: &mut SeededRandom, action: Action, effect: Effect) -> Fault {
    let (region, folders) = written(random, action);
    let (operation, key_prefix, among) = match random.below(10) {
        0..5 => {
            let label = if region == 0 { "" } else { "us/" };
            (Some(Operation::Put), format!("{label}{}", folders[index(random, folders.len())]), 2)
        }
        5 => (Some(Operation::Put), String::new(), 16),
        6 => (Some(Operation::Delete), String::new(), 8),
        _ => (None, String::new(), 150),
    };
    let skip = if random.chance(40) && operation.is_some() { 0 } else { random.below(among) };
    Fault { operation, key_prefix, skip, times: 1, effect }
}

/// One to three errors, each once or a few times.
fn draw_errors(random: &mut SeededRandom, action: Action) -> FaultPlan {
    let effects = [Effect::Fail, Effect::SucceedThenFail, Effect::StorageFull];
    let one = |random: &mut SeededRandom| {
        let effect = effects[index(random, effects.len())].clone();
        draw_place(random, action, effect).times(1 + random.below(3))
    };
    FaultPlan((0..1 + random.below(3)).map(|_| one(random)).collect())
}
