//! The same question has the same answer, with the same fuel and the same log.

use longshore_model::Timestamp;
use longshore_sandbox::{Budget, Outcome, Sandbox, SandboxConfig};

use super::fixtures::{behave, call, hostile, page, run, select, wasm};

/// What must repeat; the time it took is the machine's.
fn repeatable<T: Clone>(outcome: &Outcome<T>) -> Outcome<T> {
    Outcome { elapsed_us: 0, ..outcome.clone() }
}

#[test]
fn the_same_question_twice_gives_the_same_answer_fuel_memory_and_log() {
    for behaviour in ["honest", "read-clock-and-random", "sleep", "read-file", "network", "flood-stdio"] {
        let (first, second) = (select(behaviour).unwrap(), select(behaviour).unwrap());
        assert_eq!(repeatable(&first), repeatable(&second), "{behaviour}");
    }
}

#[test]
fn another_engine_gives_the_same_outcome() {
    let sandbox = Sandbox::new(SandboxConfig::default()).unwrap();
    let other = sandbox.load(&wasm("hostile/hostile"), &Budget::default()).unwrap();
    let (run, budget, settings) = (run(), Budget::default(), behave("read-clock-and-random"));
    let ask = call(&run, &settings, &budget);
    let (here, there) = (hostile().select(&ask, &page(5)).unwrap(), other.select(&ask, &page(5)).unwrap());
    assert_eq!(repeatable(&here), repeatable(&there));
}

#[test]
fn a_large_budget_changes_nothing_but_the_budget() {
    let (run, settings) = (run(), behave("read-clock-and-random"));
    let more = Budget { fuel: 7_000_000_000, wall_time_ms: 60_000, memory_bytes: 256 << 20, ..Budget::default() };
    let small = hostile().select(&call(&run, &settings, &Budget::default()), &page(5)).unwrap();
    let large = hostile().select(&call(&run, &settings, &more), &page(5)).unwrap();
    assert_eq!(repeatable(&small), repeatable(&large));
}

#[test]
fn the_clock_is_the_runs_and_the_randomness_is_its_seeds() {
    let (budget, settings) = (Budget::default(), behave("read-clock-and-random"));
    let say = |run: &longshore_model::RunFacts| {
        let outcome = hostile().select(&call(run, &settings, &budget), &page(1)).unwrap();
        outcome.log.first().map(|line| line.message.clone()).unwrap()
    };
    let random = |said: &str| said.split("random=").nth(1).unwrap().split(' ').next().unwrap().to_owned();
    let first = say(&run());
    assert!(first.contains("wall_ns=1722358190123000000"), "{first}");
    assert!(first.ends_with("environment=0 arguments=0"), "{first}");

    let mut later = run();
    later.time = Timestamp::from_millis(1_800_000_000_000);
    assert!(say(&later).contains("wall_ns=1800000000000000000"));
    assert_eq!(random(&say(&later)), random(&first));

    let mut seeded = run();
    seeded.seed = 43;
    assert_ne!(random(&say(&seeded)), random(&first));
}
