//! `longshore verify`: are backups whole?

use std::path::{Path, PathBuf};
use std::sync::Arc;

use longshore_engine::{OpenWith, RunContext, StopSignal, VerifyRequest, verify_all, verify_backup};

use crate::Exit;
use crate::args::Verify;
use crate::bars::with_bars;
use crate::commands::which::{find, open_all};
use crate::output::Output;
use crate::tables;

pub(crate) async fn run(arguments: Verify, output: Output, stop: &StopSignal) -> anyhow::Result<Exit> {
    let mut context = RunContext::new(arguments.throttle.limits());
    context.stop = stop.clone();
    let request = VerifyRequest {
        level: arguments.level.into(),
        sample_percent: arguments.sample,
        seed: arguments.seed,
        resume_file: arguments.resume_file,
        note_damage: !arguments.no_notes,
        scratch: arguments.scratch,
        open_with: arguments.open_with.map(open_with),
    };
    let outcomes = if arguments.all {
        let folders: Vec<PathBuf> = std::iter::once(arguments.which.vault).chain(arguments.which.more_vaults).collect();
        let vaults = open_all(&folders, &arguments.which.keys.read()?).await?;
        with_bars(&context, output, verify_all(&vaults, &request, &context)).await?
    } else {
        let (vaults, id) = find(&arguments.which).await?;
        vec![with_bars(&context, output, verify_backup(&vaults, &id, &request, &context)).await?]
    };
    let whole = outcomes.iter().all(|outcome| outcome.whole);
    let value = match outcomes.as_slice() {
        [one] if !arguments.all => serde_json::to_value(one)?,
        all => serde_json::json!({ "whole": whole, "backups": all }),
    };
    output.result(&value, || outcomes.iter().map(tables::verify).collect::<Vec<_>>().join("\n\n"));
    let sound = outcomes.iter().all(longshore_engine::VerifyOutcome::is_sound);
    Ok(if sound { Exit::Done } else { Exit::Damaged })
}

/// A program that gets the path of the restored database and says by its exit code whether it could be opened.
fn open_with(program: PathBuf) -> OpenWith {
    Arc::new(move |database: &Path| {
        let ran = std::process::Command::new(&program).arg(database).output();
        let ran = ran.map_err(|error| format!("{} could not be started: {error}", program.display()))?;
        if ran.status.success() {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&ran.stderr);
        let last = said.trim().lines().last().unwrap_or("nothing").to_owned();
        Err(format!("{} ended with {}: {last}", program.display(), ran.status))
    })
}
