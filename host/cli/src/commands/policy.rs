//! `longshore policy`: what decides now, what decided, and what another policy would change.

mod diff;
mod host;
pub(crate) mod records;

use std::path::PathBuf;

use crate::Exit;
use crate::args::PolicyCommand;
use crate::output::Output;

pub(crate) async fn run(command: PolicyCommand, cache: Option<PathBuf>, output: Output) -> anyhow::Result<Exit> {
    match command {
        PolicyCommand::Records { to, from } => records::export(&to, &from, output).await,
        PolicyCommand::Replay { from, plugins } => records::replay_all(&from, &plugins, cache, output).await,
        PolicyCommand::Diff(arguments) => diff::run(arguments, cache, output).await,
        command => tokio::task::spawn_blocking(move || host::run(command, cache, output)).await?,
    }
}
