//! Looks for a way out of the sandbox, and says what it found.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use longshore_plugin::log;

/// Clocks, randomness, environment and arguments. `hash` comes from a fresh `RandomState`, the random bytes of std.
pub(crate) fn clock_and_random(hash: u64) -> String {
    let wall_ns = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos());
    let monotonic = Instant::now();
    let elapsed_ns = monotonic.elapsed().as_nanos();
    let variables = std::env::vars_os().count();
    let arguments = std::env::args_os().count();
    say(format!(
        "wall_ns={wall_ns} monotonic={monotonic:?} elapsed_ns={elapsed_ns} random={hash:016x} \
         environment={variables} arguments={arguments}"
    ))
}

/// Directories and files that a guest has no business with.
pub(crate) fn files() -> String {
    let root = match std::fs::read_dir("/") {
        Ok(entries) => format!("{} entries", entries.count()),
        Err(error) => format!("error {:?}", error.kind()),
    };
    let passwords = match std::fs::read("/etc/passwd") {
        Ok(bytes) => format!("{} bytes", bytes.len()),
        Err(error) => format!("error {:?}", error.kind()),
    };
    let written = match std::fs::write("longshore-was-here", "x") {
        Ok(()) => "written".to_owned(),
        Err(error) => format!("error {:?}", error.kind()),
    };
    say(format!("root={root} passwd={passwords} write={written}"))
}

/// A connection to the machine itself.
#[cfg(not(longshore_without_sockets))]
pub(crate) fn network() -> String {
    let connection = match std::net::TcpStream::connect("127.0.0.1:1") {
        Ok(_) => "connected".to_owned(),
        Err(error) => format!("error {:?}", error.kind()),
    };
    say(format!("connection={connection}"))
}

/// Debian's C library for wasm has no sockets to try.
#[cfg(longshore_without_sockets)]
pub(crate) fn network() -> String {
    say("connection=error Unsupported".to_owned())
}

fn say(found: String) -> String {
    log::info(&found);
    found
}
