//! Scripts: what a test does, one step per line, as text that can be played again.
//!
//! ```text
//! change a 17            cluster a gets other files, drawn from seed 17
//! backup a               a backup of cluster a
//! again 2                the job of backup number 2 once more, under a higher token, as a host does after a crash
//! copy 2 us              backup number 2 into region us
//! restore 2              backup number 2 from wherever it is; `restore 2 us` from that vault alone
//! delete 2
//! prune                  all vaults of the project; `prune us` that vault alone
//! sweep 26               three prunes: at once, after so many hours, and past another fence
//! advance 25             hours
//! backup a @ put:roots/@0 delete 2   a backup that stands still before it writes a root while something else runs
//! backup a | put:packs/@1=crash      with a plan of faults
//! ```
//! Backups are numbered from 0 in the order in which they were asked for; a number goes round.

use std::fmt;
use std::str::FromStr;

use longshore_vault::testing::{Effect, Fault, FaultPlan, Operation, SeededRandom};

/// The regions there are; a cluster's home is the region with its number.
pub(crate) const REGIONS: [&str; 2] = ["eu", "us"];
/// Names of the clusters.
pub(crate) const CLUSTERS: [&str; 2] = ["a", "b"];

/// One thing to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    Change { cluster: usize, seed: u64 },
    BackUp { cluster: usize },
    Again { backup: usize },
    CopyTo { backup: usize, region: usize },
    Restore { backup: usize, region: Option<usize> },
    Delete { backup: usize },
    Prune { region: Option<usize> },
    Sweep { hours: u64 },
    Advance { hours: u64 },
}

/// One line of a script.
#[derive(Debug, Clone, Default)]
pub(crate) struct Step {
    pub(crate) action: Option<Action>,
    /// Runs to its end while the action stands still at an operation: the one that this fault would hit.
    pub(crate) meanwhile: Option<(Fault, Action)>,
    pub(crate) plan: FaultPlan,
}

/// What the user of a crashed step knows: nothing.
pub(crate) fn crashes(plan: &FaultPlan) -> bool {
    plan.0
        .iter()
        .any(|fault| matches!(fault.effect, Effect::Crash | Effect::SucceedThenCrash) || fault.times == u64::MAX)
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Change { cluster, seed } => write!(f, "change {} {seed}", CLUSTERS[*cluster]),
            Self::BackUp { cluster } => write!(f, "backup {}", CLUSTERS[*cluster]),
            Self::Again { backup } => write!(f, "again {backup}"),
            Self::CopyTo { backup, region } => write!(f, "copy {backup} {}", REGIONS[*region]),
            Self::Restore { backup, region: None } => write!(f, "restore {backup}"),
            Self::Restore { backup, region: Some(region) } => write!(f, "restore {backup} {}", REGIONS[*region]),
            Self::Delete { backup } => write!(f, "delete {backup}"),
            Self::Sweep { hours } => write!(f, "sweep {hours}"),
            Self::Prune { region: None } => f.write_str("prune"),
            Self::Prune { region: Some(region) } => write!(f, "prune {}", REGIONS[*region]),
            Self::Advance { hours } => write!(f, "advance {hours}"),
        }
    }
}

impl FromStr for Action {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let words: Vec<&str> = text.split_whitespace().collect();
        let wrong = || format!("`{text}` is no action");
        let number = |word: &str| word.parse::<u64>().map_err(|_| wrong());
        let place = |word: &str| number(word).and_then(|number| usize::try_from(number).map_err(|_| wrong()));
        let of = |names: &[&str], word: &str| names.iter().position(|name| *name == word).ok_or_else(wrong);
        Ok(match words[..] {
            ["change", cluster, seed] => Self::Change { cluster: of(&CLUSTERS, cluster)?, seed: number(seed)? },
            ["backup", cluster] => Self::BackUp { cluster: of(&CLUSTERS, cluster)? },
            ["again", backup] => Self::Again { backup: place(backup)? },
            ["copy", backup, region] => Self::CopyTo { backup: place(backup)?, region: of(&REGIONS, region)? },
            ["restore", backup] => Self::Restore { backup: place(backup)?, region: None },
            ["restore", backup, region] => {
                Self::Restore { backup: place(backup)?, region: Some(of(&REGIONS, region)?) }
            }
            ["delete", backup] => Self::Delete { backup: place(backup)? },
            ["sweep", hours] => Self::Sweep { hours: number(hours)? },
            ["prune"] => Self::Prune { region: None },
            ["prune", region] => Self::Prune { region: Some(of(&REGIONS, region)?) },
            ["advance", hours] => Self::Advance { hours: number(hours)? },
            _ => return Err(wrong()),
        })
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(action) = &self.action {
            write!(f, "{action}")?;
        }
        if let Some((at, action)) = &self.meanwhile {
            write!(f, " @ {} {action}", at.to_string().trim_end_matches("=error"))?;
        }
        if !self.plan.0.is_empty() {
            write!(f, " | {}", self.plan)?;
        }
        Ok(())
    }
}

impl FromStr for Step {
    type Err = String;

    fn from_str(line: &str) -> Result<Self, String> {
        let (line, plan) = line.split_once('|').unwrap_or((line, ""));
        let (action, meanwhile) = match line.split_once(" @ ") {
            None => (line, None),
            Some((action, rest)) => {
                let (at, other) = rest.trim().split_once(' ').ok_or_else(|| format!("`{line}` is no step"))?;
                (action, Some((format!("{at}=error").parse()?, other.parse()?)))
            }
        };
        Ok(Self { action: Some(action.parse()?), meanwhile, plan: plan.parse()? })
    }
}

/// A script as text.
pub(crate) fn to_text(script: &[Step]) -> String {
    script.iter().map(|step| format!("{step}\n")).collect()
}

/// A script from text; empty lines and those that begin with `#` are left out.
pub(crate) fn from_text(text: &str) -> Result<Vec<Step>, String> {
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.map(str::parse).collect()
}

/// A random script.
pub(crate) fn draw(random: &mut SeededRandom, steps: usize) -> Vec<Step> {
    let mut script = Vec::new();
    while script.len() < steps {
        if random.chance(25) { draw_race(random, &mut script) } else { script.push(draw_step(random)) }
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
        70..78 => Action::Sweep { hours: [2, 2, 27][index(random, 3)] },
        78..90 => Action::Prune { region: random.chance(25).then_some(region) },
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
        0..25 => {
            let effect = if random.chance(50) { Effect::Crash } else { Effect::SucceedThenCrash };
            step.plan = FaultPlan(vec![draw_place(random, action, effect)]);
        }
        25..45 => step.plan = draw_errors(random, action),
        45..70 => step.meanwhile = Some((draw_place(random, action, Effect::Fail), draw_action(random))),
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

/// The smallest part of a failing script that still fails: first the shortest beginning, then without each step and each
/// plan that is not needed.
pub(crate) fn shrink(script: &[Step], failed_at: usize, fails: &dyn Fn(&[Step]) -> bool) -> Vec<Step> {
    let mut small: Vec<Step> = script[..=failed_at.min(script.len() - 1)].to_vec();
    let mut size = small.len() / 2;
    while size > 0 {
        let mut start = 0;
        while start < small.len() {
            let mut without = small.clone();
            without.drain(start..(start + size).min(small.len()));
            if !without.is_empty() && fails(&without) { small = without } else { start += size }
        }
        size /= 2;
    }
    for place in 0..small.len() {
        let simplify: [fn(&mut Step); 2] = [|step| step.plan = FaultPlan::default(), |step| step.meanwhile = None];
        for simplify in simplify {
            let mut simpler = small.clone();
            simplify(&mut simpler[place]);
            if fails(&simpler) {
                small = simpler;
            }
        }
    }
    small
}

#[test]
fn a_script_is_read_as_it_was_written() {
    let text = "change a 17\nbackup a\nagain 2\ncopy 2 us\nrestore 2\nrestore 2 eu\ndelete 1\nadvance 25\nsweep 2\nprune\nprune us\n\
                backup b @ put:roots/@0 delete 2\nbackup a | any@9=crash, put@1=full\n";
    assert_eq!(to_text(&from_text(text).unwrap()), text);
    let drawn = to_text(&draw(&mut SeededRandom::new(1), 500));
    assert_eq!(to_text(&from_text(&drawn).unwrap()), drawn);
}

#[test]
fn a_failing_script_shrinks_to_what_is_needed() {
    let script = draw(&mut SeededRandom::new(2), 100);
    let needs = |script: &[Step]| {
        let deletes = script.iter().filter(|step| matches!(step.action, Some(Action::Delete { .. })));
        deletes.count() >= 2
    };
    let small = shrink(&script, 99, &needs);
    assert_eq!(small.len(), 2, "{}", to_text(&small));
    assert!(small.iter().all(|step| step.plan.0.is_empty() && step.meanwhile.is_none()));
}
