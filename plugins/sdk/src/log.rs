//! Lines into the plugin's log. The host cuts the log at the plugin's budget and escapes control characters. In a
//! native build, that is in tests, the lines go to standard error.

/// How much a line of the log matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// For the author of the policy.
    Debug,
    /// Ordinary.
    Info,
    /// Somebody should look at it.
    Warn,
    /// Something is wrong.
    Error,
}

/// For the author of the policy.
pub fn debug(message: impl AsRef<str>) {
    write(Level::Debug, message.as_ref());
}

/// Ordinary.
pub fn info(message: impl AsRef<str>) {
    write(Level::Info, message.as_ref());
}

/// Somebody should look at it.
pub fn warn(message: impl AsRef<str>) {
    write(Level::Warn, message.as_ref());
}

/// Something is wrong.
pub fn error(message: impl AsRef<str>) {
    write(Level::Error, message.as_ref());
}

/// Writes one line at the given level.
#[cfg(target_family = "wasm")]
pub fn write(level: Level, message: &str) {
    use crate::bindings::base::longshore::policy::host;
    let level = match level {
        Level::Debug => host::Level::Debug,
        Level::Info => host::Level::Info,
        Level::Warn => host::Level::Warn,
        Level::Error => host::Level::Error,
    };
    host::log(level, message);
}

/// Writes one line at the given level.
#[cfg(not(target_family = "wasm"))]
#[expect(clippy::print_stderr, reason = "the log of a native test is what the test prints")]
pub fn write(level: Level, message: &str) {
    eprintln!("{level:?}: {message}");
}
