//! Random sequences of everything that can happen to backups, against a model of which must exist with which content.
//!
//! A sequence that fails is made as small as it goes and printed as a script; `LONGSHORE_SCRIPT=<file>` plays a script,
//! `LONGSHORE_SEED=<number>` one seed. The usual run takes fixed seeds, the long one (`LONGSHORE_LONG`) fresh ones too.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stderr)]

mod acts;
mod check;
mod cluster;
mod draw;
mod hurt;
mod known;
mod script;
mod world;

use std::time::Instant;

use longshore_vault::testing::{SeededRandom, long, seeds};

use crate::script::Script;
use crate::world::{ERASED_AFTER_DELETION, Tally, World};

/// Plays a script; answers what was met, or at which step it failed, and why.
fn play(script: &Script) -> Result<Tally, (usize, String)> {
    // One thread, so that a script meets the same operations whenever it is played.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut world = World::new(script.encrypted).await;
        for (place, step) in script.steps.iter().enumerate() {
            world.step(step).await.map_err(|what| (place, what))?;
        }
        world.nothing_is_left().await.map_err(|what| (script.steps.len(), what))?;
        Ok(world.tally)
    })
}

/// Plays a script, and shows the smallest one that fails when it does.
fn must_hold(script: &Script, from: &str) -> Tally {
    let (place, what) = match play(script) {
        Ok(tally) => return tally,
        Err(failed) => failed,
    };
    // Shrinking takes a while; what was found is said before.
    let until: String =
        script.steps.iter().take(place + 1).skip(place.saturating_sub(3)).map(|step| format!("\n{step}")).collect();
    eprintln!("{from}, step {place}: {what}\nthe last steps:{until}");
    // What encryption draws is not drawn from the seed, so that one play may miss what another finds.
    let tries = if script.encrypted { 3 } else { 1 };
    let fault_of = |script: &Script| (0..tries).find_map(|_| play(script).err());
    let small = script::shrink(script, place, &|script| fault_of(script).is_some());
    let why = fault_of(&small).map_or_else(|| "it does not fail again".to_owned(), |(_, why)| why);
    panic!("{from}, step {place}: {what}\nthe smallest script that fails ({why}):\n{small}");
}

#[test]
fn any_sequence_loses_nothing_that_was_reported_safe() {
    if let Ok(path) = std::env::var("LONGSHORE_SCRIPT") {
        let text = std::fs::read_to_string(&path).unwrap();
        must_hold(&text.parse().unwrap(), &path);
        return;
    }
    let mut tally = Tally::new();
    let (steps, began) = (if long() { 120 } else { 60 }, Instant::now());
    for (number, seed) in seeds(0..80, 120).into_iter().enumerate() {
        let script = script_of(seed, steps);
        for (what, count) in must_hold(&script, &format!("seed {seed}")) {
            *tally.entry(what).or_default() += count;
        }
        if long() {
            let (kind, seconds) = (if script.encrypted { "encrypted" } else { "plain" }, began.elapsed().as_secs());
            eprintln!("seed {seed} ({kind}) holds; {} steps in {seconds} s", (number + 1) * steps);
        }
    }
    eprintln!("{tally:?}");
    if std::env::var_os("LONGSHORE_SEED").is_none() {
        must_be_met(&tally);
    }
}

/// A kind of step that is never met proves nothing.
fn must_be_met(tally: &Tally) {
    let wanted = [
        "encrypted steps",
        "plain steps",
        "steps with listings that lagged",
        "collections erased from a backup",
        ERASED_AFTER_DELETION,
    ];
    let heals = ["packs", "packs from a damaged vault", "index", "roots", "receipts", "keys"];
    for what in wanted.into_iter().map(str::to_owned).chain(heals.map(|kind| format!("heals of {kind}"))) {
        assert!(tally.contains_key(&what), "{what} were never met: {tally:?}");
    }
}

fn script_of(seed: u64, steps: usize) -> Script {
    draw::draw(&mut SeededRandom::new(seed), steps)
}

/// What random scripts meet seldom. Each fails when what it is named after is taken out of the product.
#[test]
fn the_scripts_hold() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/model/scripts");
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(files.len() >= 4);
    for file in files {
        let script = std::fs::read_to_string(&file).unwrap().parse().unwrap();
        must_hold(&script, &file.display().to_string());
    }
}
