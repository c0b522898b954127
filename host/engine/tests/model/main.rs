//! Random sequences of everything that can happen to backups, against a model of which must exist with which content.
//!
//! A sequence that fails is made as small as it goes and printed as a script; `LONGSHORE_SCRIPT=<file>` plays a script,
//! `LONGSHORE_SEED=<number>` one seed. The usual run takes fixed seeds, the long one (`LONGSHORE_LONG`) fresh ones too.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stderr)]

mod cluster;
mod known;
mod script;
mod world;

use longshore_vault::testing::{SeededRandom, long, seeds};

use crate::script::Step;
use crate::world::World;

/// Plays a script; answers at which step it failed, and why.
fn play(script: &[Step]) -> Result<(), (usize, String)> {
    // One thread, so that a script meets the same operations whenever it is played.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut world = World::new().await;
        for (place, step) in script.iter().enumerate() {
            world.step(step).await.map_err(|what| (place, what))?;
        }
        world.nothing_is_left().await.map_err(|what| (script.len(), what))
    })
}

/// Plays a script, and shows the smallest one that fails when it does.
fn must_hold(script: &[Step], from: &str) {
    let Err((place, what)) = play(script) else { return };
    // Shrinking takes a while; what was found is said before.
    eprintln!("{from}, step {place}: {what}");
    let small = script::shrink(script, place, &|script| play(script).is_err());
    let why = play(&small).err().map_or_else(|| "it does not fail again".to_owned(), |(_, why)| why);
    panic!("{from}, step {place}: {what}\nthe smallest script that fails ({why}):\n{}", script::to_text(&small));
}

#[test]
fn any_sequence_loses_nothing_that_was_reported_safe() {
    if let Ok(path) = std::env::var("LONGSHORE_SCRIPT") {
        let text = std::fs::read_to_string(&path).unwrap();
        must_hold(&script::from_text(&text).unwrap(), &path);
        return;
    }
    let steps = if long() { 120 } else { 60 };
    for seed in seeds(0..10, 60) {
        must_hold(&script::draw(&mut SeededRandom::new(seed), steps), &format!("seed {seed}"));
    }
}

/// Races that random scripts meet seldom. Each fails when what it is named after is taken out of the product.
#[test]
fn the_scripts_hold() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/model/scripts");
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(files.len() >= 4);
    for file in files {
        let script = script::from_text(&std::fs::read_to_string(&file).unwrap()).unwrap();
        must_hold(&script, &file.display().to_string());
    }
}
