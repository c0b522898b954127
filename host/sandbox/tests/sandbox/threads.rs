//! Calls block, and work on any thread: without a runtime, on its blocking threads, and even on its workers.

use super::fixtures::{behave, hostile, select};
use longshore_sandbox::Budget;

/// Everything that the usual implementation of WASI would do on a runtime.
const BEHAVIOURS: [&str; 5] = ["honest", "sleep", "network", "read-file", "flood-stdio"];

fn ask_everything() {
    for behaviour in BEHAVIOURS {
        assert_eq!(select(behaviour).unwrap().answer.len(), 2, "{behaviour}");
    }
}

#[test]
fn calls_work_without_a_runtime() {
    assert!(tokio::runtime::Handle::try_current().is_err());
    ask_everything();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn calls_work_on_a_thread_for_blocking_work() {
    tokio::task::spawn_blocking(ask_everything).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn calls_work_on_a_worker_thread() {
    tokio::spawn(async { ask_everything() }).await.unwrap();
}

#[tokio::test(flavor = "current_thread")]
async fn calls_work_on_the_only_thread_of_a_runtime() {
    ask_everything();
}

#[test]
fn one_plugin_can_be_called_from_many_threads_at_once() {
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4)
            .map(|number| {
                scope.spawn(move || {
                    for _ in 0..20 {
                        let behaviour = if number % 2 == 0 { "honest" } else { "panic" };
                        assert_eq!(select(behaviour).is_ok(), number % 2 == 0);
                    }
                })
            })
            .collect();
        for thread in threads {
            thread.join().unwrap();
        }
    });
}

#[test]
fn a_stop_by_the_clock_ends_only_the_call_that_took_too_long() {
    std::thread::scope(|scope| {
        let slow = scope.spawn(|| {
            let budget = Budget { fuel: Budget::CEILING.fuel, wall_time_ms: 50, ..Budget::default() };
            super::fixtures::select_with(hostile(), &behave("loop"), &budget)
        });
        for _ in 0..50 {
            select("honest").unwrap();
        }
        assert!(slow.join().unwrap().is_err());
    });
}
