//! Every budget ends a plugin that goes over it, and says which one.

use longshore_sandbox::{Budget, Sandbox, SandboxConfig, SandboxError};

use super::fixtures::{behave, hostile, messages, page, run, sandbox, select, select_with, wasm};

#[test]
fn a_plugin_that_loops_runs_out_of_fuel() {
    let budget = Budget { fuel: 50_000_000, ..Budget::default() };
    let error = select_with(hostile(), &behave("loop"), &budget).unwrap_err();
    let SandboxError::OutOfFuel { plugin, limit, used, .. } = &error else { panic!("{error:?}") };
    assert_eq!((plugin.as_str(), *limit), ("hostile 0.1.0", 50_000_000));
    assert!(*used >= *limit, "{error}");
    assert!(error.to_string().contains("raise `fuel`"), "{error}");
}

#[test]
fn a_plugin_that_loops_with_fuel_for_ages_is_stopped_by_the_clock() {
    let budget = Budget { fuel: Budget::CEILING.fuel, wall_time_ms: 100, ..Budget::default() };
    let error = select_with(hostile(), &behave("loop"), &budget).unwrap_err();
    let SandboxError::TimedOut { limit_ms: 100, used_ms, .. } = &error else { panic!("{error:?}") };
    assert!(*used_ms >= 90, "{error}");
    assert!(error.to_string().contains("wall_time_ms"), "{error}");
}

#[test]
fn a_plugin_that_eats_memory_is_told_from_one_that_crashes() {
    let error = select("eat-memory").unwrap_err();
    let SandboxError::OutOfMemory { limit_bytes, wanted_bytes, .. } = &error else { panic!("{error:?}") };
    assert_eq!(*limit_bytes, 64 << 20);
    assert!(*wanted_bytes > *limit_bytes && *wanted_bytes < *limit_bytes * 3, "{error}");
    assert!(error.to_string().contains("memory_bytes"), "{error}");
}

#[test]
fn less_memory_means_an_earlier_end() {
    let budget = Budget { memory_bytes: 4 << 20, ..Budget::default() };
    let error = select_with(hostile(), &behave("eat-memory"), &budget).unwrap_err();
    assert!(matches!(error, SandboxError::OutOfMemory { limit_bytes: 4_194_304, .. }), "{error:?}");
}

#[test]
fn the_peak_of_memory_is_what_the_plugin_held() {
    let small = select("honest").unwrap().peak_memory_bytes;
    let settings = "{\"behaviour\": \"huge-carry\", \"size_bytes\": 65536}";
    assert!(small < 4 << 20, "{small}");
    let large = select_with(
        hostile(),
        "{\"behaviour\": \"flood-log\", \"count\": 1, \"size_bytes\": 8000000}",
        &Budget::default(),
    );
    assert!(large.unwrap().peak_memory_bytes >= small + 8_000_000 - 65_536);
    assert!(select_with(hostile(), settings, &Budget::default()).unwrap().peak_memory_bytes >= small);
}

#[test]
fn a_panic_is_a_crash_with_the_message_as_last_words_and_in_the_log() {
    let error = select("panic").unwrap_err();
    let SandboxError::Trapped { what, log, .. } = &error else { panic!("{error:?}") };
    assert!(what.starts_with("it panicked or aborted; its last words: "), "{what}");
    assert!(what.contains("panicked at") && !what.contains("RUST_BACKTRACE"), "{what}");
    assert!(what.contains("this policy panics, as it was told to"), "{what}");
    assert!(messages(log).join("\n").contains("this policy panics, as it was told to"), "{log:?}");
    assert_eq!(error.log(), &log[..]);
}

#[test]
fn a_plugin_works_again_after_each_way_to_fail() {
    for behaviour in ["panic", "loop", "eat-memory", "deep-recursion", "answer-twice"] {
        let budget = Budget { fuel: 50_000_000, ..Budget::default() };
        select_with(hostile(), &behave(behaviour), &budget).unwrap_err();
        assert_eq!(select("honest").unwrap().answer.len(), 2, "after {behaviour}");
    }
}

#[test]
fn calls_that_nest_for_ever_are_a_crash() {
    let error = select("deep-recursion").unwrap_err();
    assert!(matches!(&error, SandboxError::Trapped { .. }), "{error:?}");
}

#[test]
fn an_answer_with_too_much_data_is_not_taken_in() {
    let budget = Budget { call_data_bytes: 1 << 20, ..Budget::default() };
    let error = select_with(hostile(), &behave("huge-answer"), &budget).unwrap_err();
    let SandboxError::OverBudget { field: "call_data_bytes", limit: 1_048_576, .. } = &error else {
        panic!("{error:?}")
    };
    assert!(error.to_string().contains("raise `call_data_bytes`"), "{error}");
}

#[test]
fn a_flood_of_the_log_is_cut_and_does_not_end_the_call() {
    for behaviour in ["flood-log", "flood-stdio"] {
        let budget = Budget { log_lines: 20, log_bytes: 10_000, ..Budget::default() };
        let outcome = select_with(hostile(), &behave(behaviour), &budget).unwrap();
        let bytes: usize = outcome.log.iter().rev().skip(1).map(|line| line.message.len()).sum();
        assert!(outcome.log.len() <= 21 && bytes <= 10_000, "{behaviour}: {} lines", outcome.log.len());
        assert!(messages(&outcome.log).last().unwrap().contains("the log is cut here"), "{behaviour}");
        assert_eq!(outcome.answer.len(), 2);
    }
}

#[test]
fn control_characters_in_the_log_are_spelled_out() {
    let error = select("control-characters").unwrap_err();
    let text = messages(error.log()).join("");
    assert!(text.contains("red: \\u{1b}[31m"), "{text}");
    assert!(!text.chars().any(|c| c.is_control() || c == '\u{202e}'), "{text:?}");
}

#[test]
fn too_many_instances_are_refused() {
    let budget = Budget { instances: 2, ..Budget::default() };
    let error = sandbox().load(&wasm("hostile/hostile"), &budget).unwrap_err();
    assert!(matches!(error, SandboxError::OverBudget { field: "instances", limit: 2, wanted: 3, .. }), "{error:?}");
}

#[test]
fn a_file_that_is_too_large_is_refused_before_it_is_read() {
    let budget = Budget { file_size_bytes: 1_000, ..Budget::default() };
    let error = sandbox().load(&[0xff; 1_001], &budget).unwrap_err();
    assert!(error.to_string().contains("it has 1001 bytes, and 1000 are allowed"), "{error}");
}

#[test]
fn a_compilation_that_takes_too_long_is_given_up() {
    let budget = Budget { compile_time_ms: 1, ..Budget::default() };
    let sandbox = Sandbox::new(SandboxConfig::default()).unwrap();
    let error = sandbox.load(&wasm("hostile/hostile"), &budget).unwrap_err();
    assert!(error.to_string().contains("took longer than 1 ms"), "{error}");
}

#[test]
fn a_budget_above_the_ceiling_is_refused_for_loading_and_for_calls() {
    let ceiling = Budget { memory_bytes: 64 << 20, ..Budget::CEILING };
    let sandbox = Sandbox::new(SandboxConfig { ceiling, ..SandboxConfig::default() }).unwrap();
    let above = Budget { memory_bytes: (64 << 20) + 1, ..Budget::default() };
    assert!(matches!(sandbox.load(&[], &above), Err(SandboxError::BadBudget { field: "memory_bytes", .. })));
    let plugin = sandbox.load(&wasm("standard/standard"), &Budget::default()).unwrap();
    let error = select_with(&plugin, "{}", &above).unwrap_err();
    assert!(matches!(error, SandboxError::BadBudget { field: "memory_bytes", .. }), "{error:?}");
    let none = Budget { fuel: 0, ..Budget::default() };
    assert!(matches!(select_with(&plugin, "{}", &none), Err(SandboxError::BadBudget { field: "fuel", .. })));
    assert!(Sandbox::new(SandboxConfig { ceiling: none, ..SandboxConfig::default() }).is_err());
}

#[test]
fn fuel_that_is_not_enough_to_start_is_an_end_like_any_other() {
    let budget = Budget { fuel: 1, ..Budget::default() };
    let error = hostile().select(&super::fixtures::call(&run(), "{}", &budget), &page(1)).unwrap_err();
    assert!(matches!(error, SandboxError::OutOfFuel { limit: 1, .. }), "{error:?}");
}
