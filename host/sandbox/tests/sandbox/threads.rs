//! Calls block, and work on any thread: without a runtime, on its blocking threads, and even on its workers.

use super::fixtures::{behave, call, hostile, page, run, sandbox, select, select_with, wasm};
use longshore_sandbox::{Budget, Outcome};

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
            select_with(hostile(), &behave("loop"), &budget)
        });
        for _ in 0..50 {
            select("honest").unwrap();
        }
        assert!(slow.join().unwrap().is_err());
    });
}

#[test]
fn good_calls_answer_the_same_with_the_same_fuel_beside_hostile_ones() {
    const HOSTILE: [&str; 10] = [
        "loop",
        "eat-memory",
        "deep-recursion",
        "panic",
        "flood-log",
        "flood-stdio",
        "huge-answer",
        "huge-carry",
        "control-characters",
        "answer-twice",
    ];
    let standard = sandbox().load(&wasm("standard/standard"), &Budget::default()).unwrap();
    let (run, budget, page) = (run(), Budget::default(), page(200));
    let ask = || {
        let outcome = standard.select(&call(&run, "{}", &budget), &page).unwrap();
        Outcome { elapsed_us: 0, ..outcome }
    };
    let expected = ask();
    std::thread::scope(|scope| {
        let hostile: Vec<_> = HOSTILE
            .iter()
            .map(|behaviour| {
                scope.spawn(move || {
                    let budget = Budget { fuel: 50_000_000, ..Budget::default() };
                    for _ in 0..3 {
                        // Whether it fails is for other tests to say; here it only has to be there.
                        let _ = select_with(hostile(), &behave(behaviour), &budget);
                    }
                })
            })
            .collect();
        let mut asked = 0;
        while asked < 50 || hostile.iter().any(|thread| !thread.is_finished()) {
            assert_eq!(ask(), expected);
            asked += 1;
        }
        for thread in hostile {
            thread.join().unwrap();
        }
    });
    assert_eq!(ask(), expected);
}
