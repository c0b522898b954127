//! The log of one call: what the plugin says by `host.log`, and what it writes to stdout and stderr.
//!
//! Contract: at most the budget's lines and bytes are kept, and a last line says so when more came. Every line is
//! escaped, so that it can be shown anywhere. Nothing here fails: what does not fit is dropped, because a plugin must not
//! be able to stop by its log what it could not stop otherwise.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use longshore_model::{GuestLogLine, LogLevel};

use crate::text::escaped;
use crate::{Budget, Limits};

/// Where a line comes from, if not from `host.log`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stream {
    /// Standard output: lines of level `info`.
    Stdout,
    /// Standard error: lines of level `error`; a Rust plugin's panic message arrives here.
    Stderr,
}

/// The log of one call, shared by everything that the plugin can write to.
#[derive(Debug, Clone)]
pub(crate) struct GuestLog(Arc<Mutex<Inner>>);

#[derive(Debug)]
struct Inner {
    lines: Vec<GuestLogLine>,
    lines_left: u32,
    bytes_left: u64,
    line_bytes: usize,
    cut: bool,
    stdout: Vec<u8>,
    stderr: Vec<u8>,
}

impl GuestLog {
    /// An empty log under this budget.
    pub(crate) fn new(budget: &Budget, limits: &Limits) -> Self {
        Self(Arc::new(Mutex::new(Inner {
            lines: Vec::new(),
            lines_left: budget.log_lines,
            bytes_left: budget.log_bytes,
            line_bytes: limits.log_line_bytes,
            cut: false,
            stdout: Vec::new(),
            stderr: Vec::new(),
        })))
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        // One thread at a time runs a call; a poisoned lock could only come from a panic that ended it.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One line from `host.log`.
    pub(crate) fn line(&self, level: LogLevel, message: &str) {
        self.inner().push(level, message);
    }

    /// Bytes from stdout or stderr; complete lines are logged.
    pub(crate) fn write(&self, stream: Stream, bytes: &[u8]) {
        self.inner().write(stream, bytes);
    }

    /// Ends the log: half lines are logged as they are. Gives what is kept.
    pub(crate) fn finish(&self) -> Vec<GuestLogLine> {
        let mut inner = self.inner();
        inner.flush(Stream::Stdout);
        inner.flush(Stream::Stderr);
        std::mem::take(&mut inner.lines)
    }
}

impl Inner {
    fn push(&mut self, level: LogLevel, message: &str) {
        if self.cut {
            return;
        }
        let message = escaped(message, self.line_bytes);
        let bytes = u64::try_from(message.len()).unwrap_or(u64::MAX);
        if self.lines_left == 0 || bytes > self.bytes_left {
            self.cut = true;
            let message = "the log is cut here: the plugin's budget for it (`log_lines`, `log_bytes`) is used up";
            self.lines.push(GuestLogLine { level: LogLevel::Warn, message: message.to_owned() });
            return;
        }
        self.lines_left -= 1;
        self.bytes_left -= bytes;
        self.lines.push(GuestLogLine { level, message });
    }

    fn write(&mut self, stream: Stream, bytes: &[u8]) {
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            let (text, ends) = match piece.strip_suffix(b"\n") {
                Some(text) => (text, true),
                None => (piece, false),
            };
            // Kept only up to the longest line: a plugin that never ends its line must not fill the host's memory.
            let buffer = self.buffer(stream);
            let room = self.line_bytes.saturating_add(1).saturating_sub(buffer.len());
            let kept = text.get(..text.len().min(room)).unwrap_or_default();
            self.buffer_mut(stream).extend_from_slice(kept);
            if ends {
                self.flush_line(stream);
            }
        }
    }

    fn buffer(&self, stream: Stream) -> &Vec<u8> {
        match stream {
            Stream::Stdout => &self.stdout,
            Stream::Stderr => &self.stderr,
        }
    }

    fn buffer_mut(&mut self, stream: Stream) -> &mut Vec<u8> {
        match stream {
            Stream::Stdout => &mut self.stdout,
            Stream::Stderr => &mut self.stderr,
        }
    }

    /// Logs what stands in the buffer as one line.
    fn flush_line(&mut self, stream: Stream) {
        let bytes = std::mem::take(self.buffer_mut(stream));
        let text = String::from_utf8_lossy(&bytes);
        let level = match stream {
            Stream::Stdout => LogLevel::Info,
            Stream::Stderr => LogLevel::Error,
        };
        self.push(level, text.strip_suffix('\r').unwrap_or(&text));
    }

    fn flush(&mut self, stream: Stream) {
        if !self.buffer(stream).is_empty() {
            self.flush_line(stream);
        }
    }
}

#[cfg(test)]
mod tests {
    use longshore_model::LogLevel;

    use super::{GuestLog, Stream};
    use crate::{Budget, Limits};

    fn log(lines: u32, bytes: u64) -> GuestLog {
        GuestLog::new(&Budget { log_lines: lines, log_bytes: bytes, ..Budget::default() }, &Limits::DEFAULT)
    }

    fn texts(log: &GuestLog) -> Vec<String> {
        log.finish().into_iter().map(|line| line.message).collect()
    }

    #[test]
    fn lines_written_in_pieces_are_put_together() {
        let log = log(10, 100);
        log.write(Stream::Stderr, b"panicked ");
        log.write(Stream::Stdout, b"x\r\n\ny");
        log.write(Stream::Stderr, b"at\nhere");
        assert_eq!(texts(&log), ["x", "", "panicked at", "y", "here"]);
    }

    #[test]
    fn the_budget_of_lines_holds_and_the_cut_is_said_once() {
        let log = log(2, 1_000);
        for number in 0..5 {
            log.line(LogLevel::Info, &format!("line {number}"));
        }
        let texts = texts(&log);
        assert_eq!(texts.len(), 3);
        assert!(texts.last().is_some_and(|last| last.contains("log_lines")), "{texts:?}");
    }

    #[test]
    fn the_budget_of_bytes_holds_after_escaping() {
        let log = log(100, 20);
        log.line(LogLevel::Info, "0123456789");
        log.line(LogLevel::Info, "\u{1b}\u{1b}\u{1b}");
        assert_eq!(texts(&log).len(), 2);
    }

    #[test]
    fn a_line_that_never_ends_is_cut_and_takes_no_more_memory() {
        let log = log(10, 1_000_000);
        for _ in 0..1_000 {
            log.write(Stream::Stdout, &[b'x'; 1_000]);
        }
        assert!(log.inner().stdout.len() <= Limits::DEFAULT.log_line_bytes + 1);
        let texts = texts(&log);
        assert_eq!(texts.len(), 1);
        assert!(texts.iter().all(|line| line.len() <= Limits::DEFAULT.log_line_bytes && line.ends_with('…')));
    }
}
