//! Progress of long work on standard error: bars, one per collection, on a terminal; or lines of JSON where asked for.

use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use longshore_engine::{ProgressBoard, RunContext};
use longshore_model::{CollectionName, Phase, Progress};

use crate::args::ShowProgress;
use crate::output::{Output, bytes};

/// Most bars at once; a job with more collections gets a single bar over all of them.
const BARS: usize = 24;

/// The bars of one job.
pub(crate) struct Bars {
    multi: MultiProgress,
    bars: BTreeMap<CollectionName, ProgressBar>,
    all: Option<ProgressBar>,
    waiting: Option<ProgressBar>,
    visible: bool,
}

impl Bars {
    /// Bars that are drawn when `wanted` and standard error is a terminal.
    pub(crate) fn new(wanted: bool) -> Self {
        let visible = wanted && std::io::stderr().is_terminal();
        Self { multi: MultiProgress::new(), bars: BTreeMap::new(), all: None, waiting: None, visible }
    }

    /// Whether anybody would see bars.
    fn can_be_seen(output: Output) -> bool {
        !output.json && !output.quiet && std::io::stderr().is_terminal()
    }

    /// Draws a state.
    pub(crate) fn draw(&mut self, progress: &Progress) {
        if !self.visible {
            return;
        }
        self.draw_waiting(progress);
        if progress.collections.is_empty() {
            return;
        }
        if progress.collections.len() != 1 {
            let (done, total) = progress.bytes();
            let multi = &self.multi;
            let bar =
                self.all.get_or_insert_with(|| new_bar(multi, &format!("{} collections", progress.collections.len())));
            bar.set_length(total);
            bar.set_position(if progress.phase == Phase::Done { total } else { done });
            bar.set_message(speed(progress));
            if progress.collections.len() > BARS {
                return;
            }
        }
        let alone = progress.collections.len() == 1;
        for collection in &progress.collections {
            let multi = &self.multi;
            let bar = self
                .bars
                .entry(collection.name.clone())
                .or_insert_with(|| new_bar(multi, &collection.name.to_string()));
            bar.set_length(collection.total_bytes);
            bar.set_position(if progress.phase == Phase::Done {
                collection.total_bytes
            } else {
                collection.done_bytes
            });
            if alone {
                bar.set_message(speed(progress));
            }
        }
    }

    /// A line of its own, only while something is waited for.
    fn draw_waiting(&mut self, progress: &Progress) {
        match &progress.waiting_for {
            Some(what) => {
                let multi = &self.multi;
                let line = self.waiting.get_or_insert_with(|| multi.add(ProgressBar::new_spinner()));
                line.set_message(format!("waiting for {what}"));
                line.tick();
            }
            None => {
                if let Some(line) = self.waiting.take() {
                    line.finish_and_clear();
                }
            }
        }
    }

    /// Leaves the last state on the screen.
    pub(crate) fn finish(self) {
        if let Some(line) = self.waiting {
            line.finish_and_clear();
        }
        for bar in self.bars.into_values().chain(self.all) {
            bar.abandon();
        }
    }
}

/// How fast it goes and how long it will take, for a person: `12.3 MB/s, 1 min 05 s left`.
fn speed(progress: &Progress) -> String {
    let Some(rate) = progress.bytes_per_second else { return String::new() };
    let rate = format!("{}/s", bytes(rate));
    match progress.remaining_seconds {
        None => rate,
        Some(seconds) if seconds < 60 => format!("{rate}, {seconds} s left"),
        Some(seconds) if seconds < 3_600 => format!("{rate}, {} min {:02} s left", seconds / 60, seconds % 60),
        Some(seconds) => format!("{rate}, {} h {:02} min left", seconds / 3_600, seconds % 3_600 / 60),
    }
}

fn new_bar(multi: &MultiProgress, name: &str) -> ProgressBar {
    let colour = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let bar = if colour { "{bar:24.cyan/blue}" } else { "{bar:24}" };
    let template = format!("  {{prefix:32!}} {bar} {{decimal_bytes:>9}} of {{decimal_total_bytes}}  {{msg}}");
    let style = ProgressStyle::with_template(&template).unwrap_or_else(|_| ProgressStyle::default_bar());
    let new = multi.add(ProgressBar::new(0).with_style(style.progress_chars("━╸─")));
    new.set_prefix(name.to_owned());
    new
}

/// Runs `work` with its progress shown beside it. Bars of work that fails are left where they are.
///
/// # Errors
/// What `work` fails with.
pub(crate) async fn with_bars<T, E>(
    context: &RunContext,
    output: Output,
    work: impl Future<Output = Result<T, E>>,
) -> Result<T, E> {
    let board = context.progress.clone();
    let bars = match output.progress {
        ShowProgress::Json => tokio::spawn(follow_in_lines(board)),
        ShowProgress::Auto if Bars::can_be_seen(output) => tokio::spawn(follow(board)),
        ShowProgress::Auto | ShowProgress::None => return work.await,
    };
    let result = work.await;
    if result.is_err() {
        bars.abort();
    }
    // The bars end with the work or were just told to; how they ended says nothing about it.
    let _ = bars.await;
    result
}

/// Draws the progress of a job in this process until `done` says so.
async fn follow(board: ProgressBoard) {
    let mut receiver = board.subscribe();
    let mut bars = Bars::new(true);
    loop {
        let mut progress = receiver.borrow_and_update().clone();
        board.estimate(&mut progress);
        bars.draw(&progress);
        if progress.phase == Phase::Done {
            break;
        }
        // The second picture is for a job that stands still: its rate falls.
        tokio::select! {
            changed = receiver.changed() => if changed.is_err() { break },
            () = tokio::time::sleep(Duration::from_secs(1)) => {}
        }
        // Ten pictures a second are enough for an eye; a job that is done does not wait for the next one.
        let done = receiver.wait_for(|next| next.phase == Phase::Done);
        let _ = tokio::time::timeout(Duration::from_millis(100), done).await;
    }
    bars.finish();
}

/// Writes the progress of a job as lines of JSON until `done` says so.
async fn follow_in_lines(board: ProgressBoard) {
    let mut receiver = board.subscribe();
    let mut phase = None;
    loop {
        let mut progress = receiver.borrow_and_update().clone();
        board.estimate(&mut progress);
        eprintln!("{}", line_of(&progress));
        phase.replace(progress.phase);
        if progress.phase == Phase::Done {
            break;
        }
        // A new phase at once, else one line a second: also for a job that stands still.
        let next = receiver.wait_for(|next| Some(next.phase) != phase);
        if let Ok(Err(_)) = tokio::time::timeout(Duration::from_secs(1), next).await {
            break;
        }
    }
}

/// One line of JSON about a state.
fn line_of(progress: &Progress) -> serde_json::Value {
    let (done_bytes, total_bytes) = progress.bytes();
    serde_json::json!({
        "phase": progress.phase,
        "percent": progress.percent(),
        "doneBytes": if progress.phase == Phase::Done { total_bytes } else { done_bytes },
        "totalBytes": total_bytes,
        "collections": progress.collections.len(),
        "bytesPerSecond": progress.bytes_per_second,
        "remainingSeconds": progress.remaining_seconds,
        "waitingFor": progress.waiting_for,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn speed_reads_well_and_says_nothing_it_does_not_know() {
        let say = |bytes_per_second, remaining_seconds| {
            speed(&Progress { bytes_per_second, remaining_seconds, ..Progress::default() })
        };
        assert_eq!(say(None, Some(3)), "");
        assert_eq!(say(Some(1_500_000), None), "1.5 MB/s");
        assert_eq!(say(Some(1_500_000), Some(0)), "1.5 MB/s, 0 s left");
        assert_eq!(say(Some(1_500_000), Some(65)), "1.5 MB/s, 1 min 05 s left");
        assert_eq!(say(Some(2_000), Some(7_260)), "2.0 kB/s, 2 h 01 min left");
    }
}
