//! Scripts: what a test does, one step per line, as text that can be played again.
//!
//! ```text
//! change a 17            cluster a gets other files, drawn from seed 17
//! backup a               a backup of cluster a
//! again 2                the job of backup number 2 once more, under a higher token, as a host does after a crash
//! copy 2 us              backup number 2 into region us
//! restore 2              backup number 2 from wherever it is; `restore 2 us` from that vault alone
//! delete 2
//! advance 25             hours
//! backup a @ 17 delete 2   a backup that stands still at its operation 17 while something else runs to its end
//! backup a | any@9*=error  with a plan of faults; `*` is a crash: nothing answers until the step is over
//! ```
//! Backups are numbered from 0 in the order in which they were asked for; a number goes round.

use std::fmt;
use std::str::FromStr;

use longshore_vault::testing::{Effect, Fault, FaultPlan, SeededRandom};

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
    Advance { hours: u64 },
}

/// One line of a script.
#[derive(Debug, Clone, Default)]
pub(crate) struct Step {
    pub(crate) action: Option<Action>,
    /// Runs while the action stands still at this operation.
    pub(crate) meanwhile: Option<(u64, Action)>,
    pub(crate) plan: FaultPlan,
}

/// What the user of a crashed step knows: nothing.
pub(crate) fn crashes(plan: &FaultPlan) -> bool {
    plan.0.iter().any(|fault| fault.times == u64::MAX)
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
            write!(f, " @ {at} {action}")?;
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
                (action, Some((at.parse().map_err(|_| format!("`{line}` is no step"))?, other.parse()?)))
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
    (0..steps).map(|_| draw_step(random)).collect()
}

fn index(random: &mut SeededRandom, end: usize) -> usize {
    usize::try_from(random.below(end as u64)).unwrap_or(0)
}

fn draw_action(random: &mut SeededRandom) -> Action {
    let cluster = index(random, CLUSTERS.len());
    let region = index(random, REGIONS.len());
    let backup = index(random, 12);
    match random.below(100) {
        0..20 => Action::Change { cluster, seed: random.below(10_000) },
        20..45 => Action::BackUp { cluster },
        45..55 => Action::Again { backup },
        55..68 => Action::CopyTo { backup, region },
        68..78 => Action::Restore { backup, region: random.chance(50).then_some(region) },
        78..92 => Action::Delete { backup },
        _ => Action::Advance { hours: 1 + random.below(30) },
    }
}

fn draw_step(random: &mut SeededRandom) -> Step {
    let action = draw_action(random);
    let mut step = Step { action: Some(action), ..Step::default() };
    if matches!(action, Action::Change { .. } | Action::Advance { .. }) {
        return step;
    }
    match random.below(100) {
        0..20 => step.plan = draw_crash(random),
        20..35 => step.plan = FaultPlan::random(random, 60, 3),
        35..60 => step.meanwhile = Some((random.below(60), draw_action(random))),
        _ => {}
    }
    // A store that stays dead is a crash, which is drawn above; stale listings are for stores that this is not about.
    if !crashes(&step.plan) || random.chance(50) {
        step.plan.0.retain(|fault| !matches!(fault.effect, Effect::Stale(_) | Effect::Delay(_)));
    }
    step
}

/// A crash at an operation, which itself may be done or not.
fn draw_crash(random: &mut SeededRandom) -> FaultPlan {
    let at = random.below(70);
    let last = random.chance(50).then(|| Fault::at(at, Effect::SucceedThenFail));
    FaultPlan(last.into_iter().chain([Fault::dead_from(at)]).collect())
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
    let text = "change a 17\nbackup a\nagain 2\ncopy 2 us\nrestore 2\nrestore 2 eu\ndelete 1\nadvance 25\n\
                backup b @ 17 delete 2\nbackup a | any@9*=error, put@1=full\n";
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
