//! The `longshore` binary: the only place that prints.
//!
//! Results go to standard output, everything else to standard error. The exit code says how it ended ([`Exit`]). Ctrl-C
//! asks the running work to stop at its next stopping point, so that nothing is left broken; a second one ends at once.
#![allow(clippy::print_stdout, clippy::print_stderr)]

mod args;
mod bars;
mod commands;
mod descriptors;
mod output;
mod tables;
mod throttle;

use std::process::ExitCode;

use clap::{CommandFactory, Parser};
use longshore_engine::{EngineError, HostConfig, LogFormat, StopSignal};

use crate::args::{Arguments, Command};
use crate::output::{Output, say};

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Exit {
    Done = 0,
    Failed = 1,
    Damaged = 3,
    Refused = 4,
    WouldLose = 5,
    Interrupted = 130,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let output = Output { json: arguments.json, quiet: arguments.quiet, progress: arguments.progress };
    start_log(&arguments);
    // A cluster of thousands of collections has more files than the usual soft limit allows, and the hard one is what an
    // administrator means. A refused raise shows itself when files run out.
    let _ = longshore_source::raise_descriptor_limit();
    descriptors::make_room();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("error: the runtime could not be started: {error}");
            return Exit::Failed.into();
        }
    };
    let stop = StopSignal::default();
    let result = runtime.block_on(async {
        tokio::spawn(watch_for_interrupt(stop.clone()));
        run(arguments, output, &stop).await
    });
    // Blocking threads may still wait in a system call after an interrupt; what they do no longer matters.
    runtime.shutdown_timeout(std::time::Duration::from_secs(5));
    match result {
        Ok(exit) => exit.into(),
        Err(error) => report(&error, output, &stop).into(),
    }
}

async fn run(arguments: Arguments, output: Output, stop: &StopSignal) -> anyhow::Result<Exit> {
    let cache = arguments.plugin_cache();
    longshore_source::milvus::choose_tls();
    match arguments.command {
        Command::Source(command) => commands::source::run(command, output).await,
        Command::Backup(arguments) => commands::backup::run(arguments, cache, output, stop).await,
        Command::Plan(arguments) => commands::plan::run(arguments, cache, output, stop).await,
        Command::Why(arguments) => commands::why::run(arguments, cache, output).await,
        Command::Policy(command) => commands::policy::run(command, cache, output).await,
        Command::Init(arguments) => commands::init::run(arguments, output).await,
        Command::List(arguments) => commands::list::run(arguments, output).await,
        Command::Show(arguments) => commands::show::run(arguments, output).await,
        Command::Restore(arguments) => commands::restore::run(arguments, output, stop).await,
        Command::Verify(arguments) => commands::verify::run(arguments, output, stop).await,
        Command::Export(arguments) => commands::export::run(arguments, output, stop).await,
        Command::Catalog(arguments) => commands::catalog::run(arguments, output, stop).await,
        Command::Delete(arguments) => commands::prune::delete(arguments, output, stop).await,
        Command::Prune(arguments) => commands::prune::run(arguments, output, stop).await,
        Command::Space(arguments) => commands::prune::space(arguments, output, stop).await,
        Command::Erase(arguments) => commands::erase::run(arguments, output, stop).await,
        Command::Retention(arguments) => commands::retention::run(arguments, output, stop).await,
        Command::Heal(arguments) => commands::heal::run(arguments, output, stop).await,
        Command::Vault(command) => commands::vault::run(command, output, stop).await,
        Command::Serve(arguments) => commands::serve::run(arguments, output).await,
        Command::Key(arguments) => commands::key::run(arguments, output).await,
        Command::Costs(arguments) => commands::costs::run(arguments, output).await,
        Command::Schedule(command) => commands::schedule::run(command, output),
        Command::Plugin(arguments) => commands::plugin::run(arguments, cache, output).await,
        Command::Demo(arguments) => commands::demo::run(arguments, output).await,
        Command::Completions { shell } => {
            clap_complete::generate(shell, &mut Arguments::command(), "longshore", &mut std::io::stdout());
            Ok(Exit::Done)
        }
    }
}

async fn watch_for_interrupt(stop: StopSignal) {
    if tokio::signal::ctrl_c().await.is_ok() {
        stop.stop("interrupted");
    }
    if tokio::signal::ctrl_c().await.is_ok() {
        std::process::exit(Exit::Interrupted as i32);
    }
}

/// Prints an error as a sentence with its causes and finds the exit code for it.
fn report(error: &anyhow::Error, output: Output, stop: &StopSignal) -> Exit {
    let mut text = error.to_string();
    for cause in error.chain().skip(1) {
        let part = cause.to_string();
        if !text.contains(&part) {
            text.push_str(": ");
            text.push_str(&part);
        }
    }
    if output.json {
        say!("{:#}", serde_json::json!({ "error": text }));
    } else {
        eprintln!("error: {text}");
    }
    if stop.check().is_err() {
        return Exit::Interrupted;
    }
    match error.downcast_ref::<EngineError>() {
        Some(EngineError::ProofFailed { .. } | EngineError::DamagedBackup { .. }) => Exit::Damaged,
        Some(error) if error.refusal().is_some() => Exit::Refused,
        _ => Exit::Failed,
    }
}

/// Logs go to standard error. The server says what it does; commands only warn.
fn start_log(arguments: &Arguments) {
    let default = if matches!(arguments.command, Command::Serve(_)) { "info" } else { "warn" };
    let filter = tracing_subscriber::EnvFilter::try_from_env("LONGSHORE_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new(default));
    let colour = std::io::IsTerminal::is_terminal(&std::io::stderr())
        && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match log_format(arguments) {
        LogFormat::Json => log.json().flatten_event(true).with_current_span(false).with_span_list(false).init(),
        LogFormat::Text => log.with_ansi(colour).init(),
    }
}

/// The server's log is as its configuration says. What is wrong with that is said when it is read again to serve.
fn log_format(arguments: &Arguments) -> LogFormat {
    match &arguments.command {
        Command::Serve(serve) => HostConfig::read(&serve.config).map(|config| config.log.format).unwrap_or_default(),
        _ => LogFormat::Text,
    }
}
