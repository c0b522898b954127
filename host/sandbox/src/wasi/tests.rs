//! The surroundings by themselves, without a plugin.

#![allow(clippy::unwrap_used)]

use wasmtime::component::{Resource, ResourceTable};
use wasmtime_wasi::p2::bindings::cli::{environment, stderr, stdin, terminal_stdout};
use wasmtime_wasi::p2::bindings::clocks::{monotonic_clock, wall_clock};
use wasmtime_wasi::p2::bindings::random::{insecure, insecure_seed, random};
use wasmtime_wasi::p2::bindings::sync::io::poll::{self, HostPollable};
use wasmtime_wasi::p2::bindings::sync::io::streams::{HostInputStream, HostOutputStream};
use wasmtime_wasi::p2::{DynPollable, StreamError};

use super::{WaitsForEver, Wasi, WasiView};
use crate::log::GuestLog;
use crate::{Budget, Limits};

/// Runs something in the surroundings of a run with this time and seed.
fn inside<T>(time_ms: u64, seed: u64, run: impl FnOnce(&mut WasiView<'_>) -> T) -> T {
    let log = GuestLog::new(&Budget::default(), &Limits::DEFAULT);
    let mut wasi = Wasi::new(time_ms, seed, log, &Limits::DEFAULT);
    let mut table = ResourceTable::new();
    run(&mut WasiView { wasi: &mut wasi, table: &mut table })
}

fn wait(view: &mut WasiView<'_>, ns: u64) -> Resource<DynPollable> {
    monotonic_clock::Host::subscribe_duration(view, ns).unwrap()
}

fn again(pollable: &Resource<DynPollable>) -> Resource<DynPollable> {
    Resource::new_borrow(pollable.rep())
}

#[test]
fn the_wall_clock_stands_and_the_monotonic_clock_moves_by_looking() {
    inside(1_722_358_190_123, 0, |view| {
        let now = wall_clock::Host::now(view).unwrap();
        assert_eq!((now.seconds, now.nanoseconds), (1_722_358_190, 123_000_000));
        let (first, second) = (monotonic_clock::Host::now(view).unwrap(), monotonic_clock::Host::now(view).unwrap());
        assert!(second > first);
        let now = wall_clock::Host::now(view).unwrap();
        assert_eq!((now.seconds, now.nanoseconds), (1_722_358_190, 123_000_000));
    });
}

#[test]
fn of_several_waits_the_earliest_ends_and_time_jumps_to_it() {
    inside(0, 0, |view| {
        let started = monotonic_clock::Host::now(view).unwrap();
        let (hour, minute) = (wait(view, 3_600_000_000_000), wait(view, 60_000_000_000));
        assert!(!view.ready(again(&hour)).unwrap() && !view.ready(again(&minute)).unwrap());
        assert_eq!(poll::Host::poll(view, vec![again(&hour), again(&minute)]).unwrap(), [1]);
        let after = monotonic_clock::Host::now(view).unwrap() - started;
        assert!((60_000_000_000..60_100_000_000).contains(&after), "{after}");
        view.block(again(&hour)).unwrap();
        assert_eq!(poll::Host::poll(view, vec![again(&hour), again(&minute)]).unwrap(), [0, 1]);
        assert!(monotonic_clock::Host::now(view).unwrap() - started >= 3_600_000_000_000);
    });
}

#[test]
fn a_wait_that_cannot_end_is_an_error_and_not_a_hang() {
    inside(0, 0, |view| {
        let never = wait(view, u64::MAX);
        let error = view.block(again(&never)).unwrap_err();
        assert!(error.downcast_ref::<WaitsForEver>().is_some(), "{error:?}");
        let soon = wait(view, 1);
        assert_eq!(poll::Host::poll(view, vec![never, soon]).unwrap(), [1]);
        assert!(poll::Host::poll(view, Vec::new()).is_err());
    });
}

#[test]
fn random_bytes_are_those_of_the_seed_for_ever() {
    let bytes = |seed| inside(0, seed, |view| random::Host::get_random_bytes(view, 8).unwrap());
    assert_eq!(bytes(42), bytes(42));
    assert_ne!(bytes(42), bytes(43));
    // Frozen: recorded decisions are asked again years later and must come out alike.
    let frozen = inside(0, 42, |view| {
        (
            random::Host::get_random_u64(view).unwrap(),
            insecure::Host::get_insecure_random_u64(view).unwrap(),
            insecure_seed::Host::insecure_seed(view).unwrap(),
        )
    });
    assert_eq!(
        frozen,
        (5_178_825_549_958_570_897, 11_997_698_175_712_118_233, (1_817_113_830_114_074_545, 3_322_083_314_092_175_290))
    );
}

#[test]
fn one_request_for_random_bytes_is_bounded() {
    inside(0, 0, |view| {
        let most = Limits::DEFAULT.random_bytes;
        assert_eq!(random::Host::get_random_bytes(view, most).unwrap().len() as u64, most);
        assert!(random::Host::get_random_bytes(view, most + 1).is_err());
        assert!(insecure::Host::get_insecure_random_bytes(view, u64::MAX).is_err());
    });
}

#[test]
fn there_is_no_environment_no_input_and_no_terminal() {
    inside(0, 0, |view| {
        assert!(environment::Host::get_environment(view).unwrap().is_empty());
        assert!(environment::Host::get_arguments(view).unwrap().is_empty());
        assert!(terminal_stdout::Host::get_terminal_stdout(view).unwrap().is_none());
        let input = stdin::Host::get_stdin(view).unwrap();
        assert!(matches!(HostInputStream::blocking_read(view, input, 10), Err(StreamError::Closed)));
    });
}

#[test]
fn what_is_written_to_stderr_is_in_the_log() {
    inside(0, 0, |view| {
        let output = stderr::Host::get_stderr(view).unwrap();
        HostOutputStream::blocking_write_and_flush(view, output, b"one\ntwo".to_vec()).unwrap();
        let lines: Vec<String> = view.wasi.log.finish().into_iter().map(|line| line.message).collect();
        assert_eq!(lines, ["one", "two"]);
    });
}
