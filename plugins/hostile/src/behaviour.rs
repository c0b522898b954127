//! What it can be told to do. Everything here is deliberate.

use std::hint::black_box;
use std::time::Duration;

use longshore_plugin::{Refusal, Run, log};
use serde::Deserialize;

/// How to misbehave.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Behaviour {
    Honest,
    Refuse,
    Carry,
    ExcludeAll,
    Loop,
    Panic,
    Sleep,
    DeepRecursion,
    EatMemory,
    FloodLog,
    FloodStdio,
    ControlCharacters,
    AnswerTwice,
    AnswerUnknown,
    AnswerNothing,
    UnknownCodec,
    UnknownRegion,
    HugeAnswer,
    HugeCarry,
    HugeReason,
    ReadClockAndRandom,
    ReadFile,
    ReadGranted,
    Network,
}

/// Kinds of policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Kind {
    Selection,
    Compression,
    Placement,
}

/// The settings, as in `settings.schema.json`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Settings {
    pub(crate) behaviour: Behaviour,
    kind: Option<Kind>,
    page_number: Option<u32>,
    count: Option<usize>,
    size_bytes: Option<usize>,
}

impl Settings {
    /// The settings for one call: honest, if they are about another kind or another page.
    pub(crate) fn of(run: &Run, kind: Kind) -> Result<Self, Refusal> {
        let mut settings: Self = run.settings()?;
        let elsewhere = settings.kind.is_some_and(|only| only != kind)
            || settings.page_number.is_some_and(|only| only != run.page_number);
        if elsewhere {
            settings.behaviour = Behaviour::Honest;
        }
        Ok(settings)
    }

    pub(crate) fn count_or(&self, default: usize) -> usize {
        self.count.unwrap_or(default)
    }

    pub(crate) fn size_or(&self, default: usize) -> usize {
        self.size_bytes.unwrap_or(default)
    }
}

pub(crate) fn panic_now() -> String {
    panic!("this policy panics, as it was told to")
}

pub(crate) fn loop_for_ever(mut state: u64) -> String {
    loop {
        state = black_box(state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1));
    }
}

pub(crate) fn sleep_for_an_hour() -> String {
    std::thread::sleep(Duration::from_secs(3600));
    "It slept.".to_owned()
}

#[allow(unconditional_recursion, reason = "that is what it is for")]
pub(crate) fn recurse(depth: u64) -> u64 {
    let frame = black_box([depth; 16]);
    let deeper = recurse(depth.wrapping_add(1));
    deeper.wrapping_add(frame.iter().fold(0, |sum, value| sum ^ value))
}

pub(crate) fn eat_memory() -> String {
    let mut eaten: Vec<Vec<u8>> = Vec::new();
    loop {
        eaten.push(black_box(vec![1; 1 << 20]));
    }
}

pub(crate) fn flood_log(lines: usize, line_bytes: usize) -> String {
    let line = "x".repeat(line_bytes);
    for _ in 0..lines {
        log::info(&line);
    }
    format!("It logged {lines} lines.")
}

#[expect(clippy::print_stdout, clippy::print_stderr, reason = "that is what it is for")]
pub(crate) fn flood_stdio(lines: usize, line_bytes: usize) -> String {
    let line = "x".repeat(line_bytes);
    for _ in 0..lines {
        println!("{line}");
        eprintln!("{line}");
    }
    format!("It printed {lines} lines twice.")
}

pub(crate) fn control_characters() -> String {
    let message = "red: \u{1b}[31m, bell: \u{7}, zero: \u{0}, new line:\r\nbackwards: \u{202e}.";
    log::warn(message);
    message.to_owned()
}
