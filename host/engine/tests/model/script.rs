//! Scripts: what a test does, one step per line, as text that can be played again.
//!
//! ```text
//! change a 17            cluster a gets other files, drawn from seed 17
//! backup a               a backup of cluster a
//! again 2                the job of backup number 2 once more, under a higher token, as a host does after a crash
//! copy 2 us              backup number 2 into region us
//! restore 2              backup number 2 from wherever it is; `restore 2 us` from that vault alone
//! delete 2
//! erase a articles       a collection from all backups of cluster a
//! heal us 17             objects of the vault in us are damaged, drawn from seed 17, and healed from the other vault
//! prune                  all vaults of the project; `prune us` that vault alone
//! sweep 26               three prunes: at once, after so many hours, and past another fence
//! advance 25             hours
//! backup a @ put:roots/@0 delete 2   a backup that stands still before it writes a root while something else runs
//! backup a | put:packs/@1=crash      with a plan of faults
//! prune | list:pins@0*=stale(20)     listings lack what was changed by the last 20 operations, at most since the clock was last moved
//! ```
//! A script whose first line is `encrypted` is about encrypted vaults: the host that backs up, prunes and deletes has the
//! writer key alone; restores and erasures have the reader key; copies and heals have either.
//! Backups are numbered from 0 in the order in which they were asked for; a number goes round.

use std::cell::Cell;
use std::fmt;
use std::str::FromStr;

use longshore_vault::testing::{Effect, Fault, FaultPlan, SeededRandom};

use crate::draw::draw;

/// The regions there are; a cluster's home is the region with its number.
pub(crate) const REGIONS: [&str; 2] = ["eu", "us"];
/// Names of the clusters.
pub(crate) const CLUSTERS: [&str; 2] = ["a", "b"];

/// Names of the collections that clusters have now and then.
pub(crate) const COLLECTIONS: [&str; 3] = ["articles", "images", "users"];

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
    Erase { cluster: usize, collection: usize },
    Heal { region: usize, seed: u64 },
}

/// What happens, and in what kind of vaults.
#[derive(Debug, Clone, Default)]
pub(crate) struct Script {
    pub(crate) encrypted: bool,
    pub(crate) steps: Vec<Step>,
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
        .filter(|fault| !is_stale(fault))
        .any(|fault| matches!(fault.effect, Effect::Crash | Effect::SucceedThenCrash) || fault.times == u64::MAX)
}

/// Whether a fault makes a listing lag.
pub(crate) fn is_stale(fault: &Fault) -> bool {
    matches!(fault.effect, Effect::Stale(_))
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
            Self::Erase { cluster, collection } => {
                write!(f, "erase {} {}", CLUSTERS[*cluster], COLLECTIONS[*collection])
            }
            Self::Heal { region, seed } => write!(f, "heal {} {seed}", REGIONS[*region]),
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
            ["erase", cluster, collection] => {
                Self::Erase { cluster: of(&CLUSTERS, cluster)?, collection: of(&COLLECTIONS, collection)? }
            }
            ["heal", region, seed] => Self::Heal { region: of(&REGIONS, region)?, seed: number(seed)? },
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

impl fmt::Display for Script {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.encrypted {
            writeln!(f, "encrypted")?;
        }
        self.steps.iter().try_for_each(|step| writeln!(f, "{step}"))
    }
}

impl FromStr for Script {
    type Err = String;

    /// Empty lines and those that begin with `#` are left out.
    fn from_str(text: &str) -> Result<Self, String> {
        let mut lines: Vec<&str> =
            text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')).collect();
        let encrypted = lines.first() == Some(&"encrypted");
        if encrypted {
            lines.remove(0);
        }
        Ok(Self { encrypted, steps: lines.into_iter().map(str::parse).collect::<Result<_, _>>()? })
    }
}

/// Times that a script is played while it is made smaller; what is left then is small enough to read.
const PLAYS_TO_SHRINK: usize = 400;

/// The smallest part of a failing script that still fails: first the shortest beginning, then without each step and each
/// plan that is not needed.
pub(crate) fn shrink(script: &Script, failed_at: usize, fails: &dyn Fn(&Script) -> bool) -> Script {
    let plays = Cell::new(0);
    let fails = |steps: &[Step]| {
        plays.set(plays.get() + 1);
        plays.get() <= PLAYS_TO_SHRINK && fails(&Script { encrypted: script.encrypted, steps: steps.to_vec() })
    };
    let mut small: Vec<Step> = script.steps[..=failed_at.min(script.steps.len() - 1)].to_vec();
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
    Script { encrypted: script.encrypted, steps: small }
}

#[test]
fn a_script_is_read_as_it_was_written() {
    let text = "encrypted\nchange a 17\nbackup a\nagain 2\ncopy 2 us\nrestore 2\nrestore 2 eu\ndelete 1\nadvance 25\nsweep 2\n\
                prune\nprune us\nerase b users\nheal us 9\nbackup b @ put:roots/@0 delete 2\n\
                backup a | any@9=crash, put@1=full\nbackup a @ put:parts/@0 prune | list:pins@0*=stale(20)\n";
    assert_eq!(text.parse::<Script>().unwrap().to_string(), text);
    let drawn = draw(&mut SeededRandom::new(1), 500).to_string();
    assert_eq!(drawn.parse::<Script>().unwrap().to_string(), drawn);
}

#[test]
fn a_failing_script_shrinks_to_what_is_needed() {
    let script = draw(&mut SeededRandom::new(2), 100);
    let needs = |script: &Script| {
        let deletes = script.steps.iter().filter(|step| matches!(step.action, Some(Action::Delete { .. })));
        deletes.count() >= 2
    };
    let small = shrink(&script, 99, &needs);
    assert_eq!(small.steps.len(), 2, "{small}");
    assert!(small.steps.iter().all(|step| step.plan.0.is_empty() && step.meanwhile.is_none()));
}
