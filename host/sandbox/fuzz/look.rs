//! What must hold for any bytes that are given to the loader. Part of the fuzz target and of the ordinary test.

use std::sync::OnceLock;

use longshore_model::{CollectionFacts, CollectionName, PolicyKind, RunFacts, RunKind, RunTrigger, Timestamp, Totals};
use longshore_sandbox::{Budget, Call, GrantedFiles, Plugin, Sandbox, SandboxConfig, SandboxError};

/// How far the bytes came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Came {
    /// The file was refused, with a sentence.
    Refused,
    /// It was run and stopped, or described itself wrongly.
    Stopped,
    /// It was loaded and answered, or failed to.
    Loaded,
}

/// Little of everything, so that a case takes no time.
fn budget() -> Budget {
    Budget {
        fuel: 5_000_000,
        wall_time_ms: 2_000,
        memory_bytes: 16 << 20,
        compile_time_ms: 20_000,
        ..Budget::default()
    }
}

fn sandbox() -> Result<&'static Sandbox, String> {
    static SANDBOX: OnceLock<Result<Sandbox, String>> = OnceLock::new();
    let new = || Sandbox::new(SandboxConfig::default()).map_err(|error| error.to_string());
    SANDBOX.get_or_init(new).as_ref().map_err(Clone::clone)
}

/// Loads the bytes and asks what comes of them.
///
/// # Errors
/// What must not happen: a failure of the host, a panic of a parser or of the compiler, an error that would disturb a
/// terminal, or two different answers to one question.
pub fn look(bytes: &[u8]) -> Result<Came, String> {
    let budget = budget();
    match sandbox()?.load(bytes, &budget) {
        Ok(plugin) => ask(&plugin, &budget).map(|()| Came::Loaded),
        Err(error) => {
            shown(&error)?;
            match error {
                SandboxError::BadPlugin { .. } => Ok(Came::Refused),
                _ => Ok(Came::Stopped),
            }
        }
    }
}

/// An error must be about the plugin, and safe to show.
fn shown(error: &SandboxError) -> Result<(), String> {
    let text = error.to_string();
    if text.chars().any(char::is_control) {
        return Err(format!("an error holds control characters: {text:?}"));
    }
    let host =
        matches!(error, SandboxError::Host { .. } | SandboxError::BadBudget { .. } | SandboxError::BadCall { .. });
    if host || text.contains("stumbled") {
        return Err(format!("a plugin is not to blame for this, or must not be able to do it: {text}"));
    }
    Ok(())
}

fn ask(plugin: &Plugin, budget: &Budget) -> Result<(), String> {
    let text = |error: longshore_model::ModelError| error.to_string();
    let page = [CollectionFacts::named(CollectionName::new("default", "docs").map_err(text)?)];
    let run = RunFacts {
        kind: RunKind::Cluster,
        trigger: RunTrigger::Manual,
        cluster_id: "in01-aa".parse().map_err(text)?,
        cluster_name: "a".to_owned(),
        project_id: "proj-aa".parse().map_err(text)?,
        home_region: "local".parse().map_err(text)?,
        time: Timestamp::from_millis(1_700_000_000_000),
        seed: 7,
        next_run: None,
        month_spend_micros: 0,
        month_budget_micros: None,
        totals: Totals::default(),
        extra: Vec::new(),
    };
    let files = GrantedFiles::none();
    let call = Call { run: &run, settings: "{}", carry: &[], page_number: 0, last_page: true, budget, files };
    if !plugin.serves(PolicyKind::Selection) {
        return Ok(());
    }
    let [once, again] = [(); 2].map(|()| plugin.select(&call, &page));
    match (once, again) {
        (Ok(once), Ok(again)) if (&once.answer, once.fuel_used) == (&again.answer, again.fuel_used) => Ok(()),
        (Err(once), Err(again)) => shown(&once).and_then(|()| shown(&again)),
        (once, again) => Err(format!("one question has two answers: {once:?} and {again:?}")),
    }
}
