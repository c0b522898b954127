//! The wasmtime engine, set up once so that a plugin's answer depends on nothing but the question, and its clock.

use std::thread::JoinHandle;
use std::time::Duration;

use wasmtime::{Config, Engine};

use crate::{Limits, SandboxError};

/// An engine for policy plugins, and a thread that moves its epoch for as long as the engine lives.
///
/// # Errors
/// [`SandboxError::Host`] if this machine cannot run compiled WebAssembly or start a thread.
pub(crate) fn engine(limits: &Limits) -> Result<Engine, SandboxError> {
    let engine = Engine::new(&config(limits)).map_err(|error| {
        SandboxError::host(format!("WebAssembly cannot be run on this machine ({error:#}); use another machine"))
    })?;
    // Not joined: it ends by itself once the engine is gone.
    start_ticker(&engine, Duration::from_millis(limits.tick_ms.max(1)))?;
    Ok(engine)
}

fn config(limits: &Limits) -> Config {
    let mut config = Config::new();
    // Both budgets always on: fuel is the same on every machine, the epoch stops what fuel does not see.
    config.consume_fuel(true);
    config.epoch_interruption(true);
    config.max_wasm_stack(limits.wasm_stack_bytes);
    // The same bits on every machine: NaN has one form, and vector instructions that may differ are off.
    config.cranelift_nan_canonicalization(true);
    config.relaxed_simd_deterministic(true);
    config.wasm_relaxed_simd(false);
    // A policy needs none of these; what is off cannot be attacked. Threads and garbage collection are not even compiled in.
    config.wasm_memory64(false);
    config.wasm_multi_memory(false);
    config.wasm_custom_page_sizes(false);
    // Only for async guests, and it makes every call slower.
    config.concurrency_support(false);
    // Frames of release builds without names help nobody; the plugin's last words come from its log.
    config.wasm_backtrace_max_frames(None);
    // Both serve backtraces and debuggers only, and make the machine code that is kept larger and slower to load.
    config.generate_address_map(false);
    config.native_unwind_info(false);
    config
}

/// Moves the epoch once a tick. The thread holds the engine weakly and ends within a tick of it.
fn start_ticker(engine: &Engine, tick: Duration) -> Result<JoinHandle<()>, SandboxError> {
    let weak = engine.weak();
    let run = move || {
        loop {
            std::thread::sleep(tick);
            match weak.upgrade() {
                Some(engine) => engine.increment_epoch(),
                None => return,
            }
        }
    };
    std::thread::Builder::new()
        .name("longshore-epoch".to_owned())
        .stack_size(64 * 1024)
        .spawn(run)
        .map_err(|error| SandboxError::host(format!("no thread could be started for the plugins' clock: {error}")))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::time::Duration;

    use super::{config, start_ticker};
    use crate::Limits;

    #[test]
    fn the_clock_ends_with_its_engine() {
        let engine = wasmtime::Engine::new(&config(&Limits::DEFAULT)).unwrap();
        let ticker = start_ticker(&engine, Duration::from_millis(1)).unwrap();
        drop(engine);
        ticker.join().unwrap();
    }
}
