//! `longshore verify`: is a backup whole?

use longshore_engine::{RunContext, StopSignal, verify_backup};
use longshore_vault::VerifyLevel;

use crate::Exit;
use crate::args::{Level, Verify};
use crate::bars::with_bars;
use crate::commands::which::open;
use crate::output::Output;
use crate::tables;

pub(crate) async fn run(arguments: Verify, output: Output, stop: &StopSignal) -> anyhow::Result<Exit> {
    let opened = open(&arguments.which).await?;
    let mut context = RunContext::new(arguments.throttle.limits());
    context.stop = stop.clone();
    let level = match arguments.level {
        Level::Exists => VerifyLevel::Exists,
        Level::Stored => VerifyLevel::Stored,
        Level::Decoded => VerifyLevel::Decoded,
    };
    let outcome = with_bars(&context, output, verify_backup(&opened, level, &context)).await?;
    output.result(&serde_json::to_value(&outcome)?, || tables::verify(&outcome));
    Ok(if outcome.whole { Exit::Done } else { Exit::Damaged })
}
