//! Looks for a way out of the sandbox, and says what it found.

use std::path::Path;
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

/// What is in a granted directory, in the order it is listed, and what comes of trying to change it and to leave it.
pub(crate) fn granted(directory: &Path) -> String {
    let mut found = Vec::new();
    list(directory, &mut found);
    let file = directory.join("a.toml");
    let times = std::fs::metadata(&file).and_then(|metadata| metadata.modified());
    let time = times.map_or("none".to_owned(), |time| {
        time.duration_since(UNIX_EPOCH).map_or("before 1970".to_owned(), |since| format!("{}s", since.as_secs()))
    });
    found.push(format!("modified={time}"));
    let new = directory.join("new");
    let tries = [
        ("write", std::fs::write(&file, "x")),
        ("create", std::fs::write(&new, "x")),
        ("append", std::fs::OpenOptions::new().append(true).open(&file).map(drop)),
        ("remove", std::fs::remove_file(&file)),
        ("rename", std::fs::rename(&file, &new)),
        ("link", std::fs::hard_link(&file, &new)),
        ("make", std::fs::create_dir(&new)),
        ("remove-all", std::fs::remove_dir_all(directory)),
        ("leave", std::fs::read(directory.join("../etc/passwd")).map(drop)),
        ("elsewhere", std::fs::read("/etc/passwd").map(drop)),
    ];
    found.extend(tries.map(|(what, tried)| match tried {
        Ok(()) => format!("{what}=done"),
        Err(error) => format!("{what}={:?}", error.kind()),
    }));
    say(found.join(" "))
}

/// Files with their contents, and directories before what is in them.
fn list(directory: &Path, found: &mut Vec<String>) {
    let entries = match std::fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) => return found.push(format!("{}={:?}", directory.display(), error.kind())),
    };
    for entry in entries.filter_map(Result::ok) {
        let path = entry.path();
        if path.is_dir() {
            found.push(format!("{}/", path.display()));
            list(&path, found);
        } else {
            let text = std::fs::read_to_string(&path).unwrap_or_else(|error| format!("{:?}", error.kind()));
            found.push(format!("{}={}", path.display(), text.trim()));
        }
    }
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
