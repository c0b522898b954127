//! One call of a plugin from a fresh store to its end, and what its end means.
//!
//! Contract: every call gets a store of its own with full budgets, and nothing of it is used again. The end of a call is
//! told apart by what stopped it: fuel, the clock, a refused growth, a crash, an answer that cannot be read.

use std::time::Instant;

use longshore_model::GuestLogLine;
use wasmtime::component::ResourceTable;
use wasmtime::{Engine, Store, Trap};

use crate::limiter::{Limiter, MachineOutOfMemory, RefusedGrowth};
use crate::log::GuestLog;
use crate::text::escaped;
use crate::wasi::{Exited, HasWasi, Misused, TooManyBytes, WaitsForEver, Wasi, WasiView};
use crate::{Budget, GrantedFiles, Limits, SandboxError};

/// What a store holds beside the plugin.
pub(crate) struct Guest {
    limiter: Limiter,
    table: ResourceTable,
    wasi: Wasi,
    /// The log of the call.
    pub(crate) log: GuestLog,
}

impl HasWasi for Guest {
    fn wasi(&mut self) -> WasiView<'_> {
        WasiView { wasi: &mut self.wasi, table: &mut self.table }
    }
}

/// What a call is made with: how it may end depends on nothing else.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Terms<'a> {
    /// Name of the plugin, for errors.
    pub(crate) plugin: &'a str,
    /// The run's time in milliseconds since 1970.
    pub(crate) time_ms: u64,
    /// The run's seed.
    pub(crate) seed: u64,
    /// What the plugin may use.
    pub(crate) budget: &'a Budget,
    /// What is the same for all plugins.
    pub(crate) limits: &'a Limits,
    /// The files the plugin may read.
    pub(crate) files: &'a GrantedFiles,
}

/// What a call used.
#[derive(Debug)]
pub(crate) struct Used {
    /// Units of fuel.
    pub(crate) fuel: u64,
    /// Most memory held at a time, in bytes.
    pub(crate) peak_memory_bytes: u64,
    /// Time it took, in microseconds.
    pub(crate) elapsed_us: u64,
    /// What the plugin logged.
    pub(crate) log: Vec<GuestLogLine>,
}

/// Runs `ask` in a fresh store under these terms.
///
/// # Errors
/// The error that says what stopped the call.
pub(crate) fn in_fresh_store<T>(
    engine: &Engine,
    terms: Terms<'_>,
    ask: impl FnOnce(&mut Store<Guest>) -> wasmtime::Result<T>,
) -> Result<(T, Used), SandboxError> {
    let started = Instant::now();
    let mut store = store(engine, terms).map_err(|error| SandboxError::host(format!("{error:#}")))?;
    let answer = ask(&mut store);
    let fuel_left = store.get_fuel().unwrap_or(0);
    let guest = store.data();
    let used = Used {
        fuel: terms.budget.fuel.saturating_sub(fuel_left),
        peak_memory_bytes: guest.limiter.peak_memory_bytes(),
        elapsed_us: u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX),
        log: guest.log.finish(),
    };
    match answer {
        Ok(answer) => Ok((answer, used)),
        Err(error) => Err(explain(&error, terms, guest.limiter.refused(), used)),
    }
}

fn store(engine: &Engine, terms: Terms<'_>) -> wasmtime::Result<Store<Guest>> {
    let Terms { budget, limits, .. } = terms;
    let log = GuestLog::new(budget, limits);
    let mut table = ResourceTable::new();
    table.set_max_capacity(limits.handles);
    let wasi = Wasi::new(terms.time_ms, terms.seed, terms.files.clone(), log.clone(), limits);
    let mut store = Store::new(engine, Guest { limiter: Limiter::new(budget), table, wasi, log });
    store.limiter(|guest| &mut guest.limiter);
    store.set_fuel(budget.fuel)?;
    // One tick more than the time, because the first may come at once.
    store.set_epoch_deadline(budget.wall_time_ms.div_ceil(limits.tick_ms.max(1)).saturating_add(1));
    store.epoch_deadline_trap();
    store.set_hostcall_fuel(usize::try_from(budget.call_data_bytes).unwrap_or(usize::MAX));
    Ok(store)
}

/// What stopped a call.
fn explain(error: &wasmtime::Error, terms: Terms<'_>, refused: Option<RefusedGrowth>, used: Used) -> SandboxError {
    let Terms { budget, .. } = terms;
    let plugin = terms.plugin.to_owned();
    let log = used.log.into_boxed_slice();
    if let Some(machine) = error.downcast_ref::<MachineOutOfMemory>() {
        return SandboxError::host(machine);
    }
    match error.downcast_ref::<Trap>() {
        Some(Trap::OutOfFuel) => return SandboxError::OutOfFuel { plugin, limit: budget.fuel, used: used.fuel, log },
        Some(Trap::Interrupt) => {
            let used_ms = used.elapsed_us / 1_000;
            return SandboxError::TimedOut { plugin, limit_ms: budget.wall_time_ms, used_ms, log };
        }
        _ => {}
    }
    // What a plugin does after a refused growth is its own affair; that it could not go on is because of the growth.
    match refused {
        Some(RefusedGrowth::Memory { wanted_bytes }) => {
            return SandboxError::OutOfMemory { plugin, limit_bytes: budget.memory_bytes, wanted_bytes, log };
        }
        Some(RefusedGrowth::Table { wanted_elements }) => {
            let (field, limit) = ("table_elements", u64::from(budget.table_elements));
            return SandboxError::OverBudget {
                plugin,
                what: "table elements",
                field,
                limit,
                wanted: wanted_elements,
                log,
            };
        }
        None => {}
    }
    if let Some(what) = crash(error) {
        return SandboxError::Trapped { plugin, what: with_last_words(what, &log), log };
    }
    untyped(error, plugin, budget, log)
}

/// Ends that wasmtime tells by their text only. The engine's version is pinned, and a test stands for each.
fn untyped(error: &wasmtime::Error, plugin: String, budget: &Budget, log: Box<[GuestLogLine]>) -> SandboxError {
    let text = format!("{error:#}");
    if text.contains("resource limit exceeded") {
        let limit = u64::from(budget.instances);
        let (what, field, wanted) = ("instances, memories or tables", "instances", limit.saturating_add(1));
        return SandboxError::OverBudget { plugin, what, field, limit, wanted, log };
    }
    if text.contains("fuel allocated for hostcalls has been exhausted") {
        let limit = budget.call_data_bytes;
        let (what, field, wanted) = ("bytes for one answer or one call of the host", "call_data_bytes", limit + 1);
        return SandboxError::OverBudget { plugin, what, field, limit, wanted, log };
    }
    SandboxError::BadAnswer { plugin, what: escaped(&text, 512), log }
}

/// How a plugin crashed, if that is what happened.
fn crash(error: &wasmtime::Error) -> Option<String> {
    if let Some(exited) = error.downcast_ref::<Exited>() {
        return Some(exited.to_string());
    }
    if let Some(waits) = error.downcast_ref::<WaitsForEver>() {
        return Some(waits.to_string());
    }
    if let Some(misused) = error.downcast_ref::<Misused>() {
        return Some(misused.to_string());
    }
    if let Some(too_many) = error.downcast_ref::<TooManyBytes>() {
        return Some(too_many.to_string());
    }
    if error.downcast_ref::<wasmtime::component::ResourceTableError>().is_some() {
        return Some("it holds too many handles of streams or waits, or used one that it does not hold".to_owned());
    }
    Some(match error.downcast_ref::<Trap>()? {
        Trap::UnreachableCodeReached => "it panicked or aborted".to_owned(),
        Trap::StackOverflow => "its calls nest too deep".to_owned(),
        Trap::MemoryOutOfBounds => {
            "it reached outside its memory, as after a stack overflow or a wild pointer".to_owned()
        }
        Trap::IntegerDivisionByZero => "it divided by zero".to_owned(),
        trap => trap.to_string(),
    })
}

/// Adds the last line the plugin wrote to stderr: for a panic that is its message.
fn with_last_words(what: String, log: &[GuestLogLine]) -> String {
    // A panic message of Rust is followed by a note about backtraces, which says nothing about the cause.
    let words = log.iter().filter(|line| line.level == longshore_model::LogLevel::Error);
    let words: Vec<&str> = words.map(|line| line.message.as_str()).filter(|line| !line.starts_with("note: ")).collect();
    let start = words.iter().rposition(|line| line.contains("panicked at")).unwrap_or(words.len().saturating_sub(1));
    match words.get(start..) {
        Some(words) if !words.is_empty() => format!("{what}; its last words: {}", escaped(words.join(" ").trim(), 512)),
        _ => what,
    }
}
