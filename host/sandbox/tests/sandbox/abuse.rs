//! What no compiler would write, against each limit: `tests/HOSTILE.md` lists limit, guest and test.

use std::time::{Duration, Instant};

use longshore_sandbox::{Budget, Plugin, SandboxError};

use super::fixtures::{messages, sandbox, select_with};
use super::handmade::Handmade;

/// The error of asking a plugin under a budget.
fn fail(handmade: &Handmade, budget: &Budget) -> SandboxError {
    select_with(&handmade.load().unwrap(), "{}", budget).unwrap_err()
}

/// Memory for a plugin that needs some.
fn memory(pages: u32) -> String {
    format!("(memory (export \"memory\") {pages})")
}

#[track_caller]
fn out_of_fuel(error: &SandboxError) {
    assert!(matches!(error, SandboxError::OutOfFuel { .. }), "{error:?}");
}

#[track_caller]
fn bad_answer(error: &SandboxError) -> String {
    let SandboxError::BadAnswer { what, .. } = error else { panic!("{error:?}") };
    what.clone()
}

#[test]
fn a_loop_where_the_host_asks_for_room_or_gives_back_an_answer_runs_out_of_fuel() {
    let small = Budget { fuel: 10_000_000, ..Budget::default() };
    out_of_fuel(&fail(&Handmade { realloc: "(loop br 0) unreachable", ..Handmade::default() }, &small));
    let module = format!(
        "{} (func (export \"cabi_post_longshore:policy/selection@0.1.0#select\") (param i32) (loop br 0))",
        memory(2)
    );
    out_of_fuel(&fail(&Handmade { module, ..Handmade::default() }, &small));
}

#[test]
fn room_outside_of_memory_or_not_aligned_is_a_bad_answer() {
    for realloc in ["i32.const -8", "i32.const 131070", "i32.const 1025"] {
        bad_answer(&fail(&Handmade { realloc, ..Handmade::default() }, &Budget::default()));
    }
}

#[test]
fn calls_that_nest_for_ever_end_with_the_stack_also_at_the_start() {
    let endless = "(func $down (local i64 i64 i64 i64) (call $down) (local.set 0 (i64.const 1)))";
    let module = format!("{} {endless}", memory(2));
    let error =
        fail(&Handmade { module, select: "(call $down) i32.const 0", ..Handmade::default() }, &Budget::default());
    assert!(matches!(&error, SandboxError::Trapped { what, .. } if what == "its calls nest too deep"), "{error:?}");
    let module = format!("{} {endless} (start $down)", memory(2));
    let error = Handmade { module, ..Handmade::default() }.load().unwrap_err();
    assert!(matches!(&error, SandboxError::Trapped { what, .. } if what == "its calls nest too deep"), "{error:?}");
}

#[test]
fn tables_that_grow_and_tables_without_number_are_refused() {
    let module = format!("{} (table $t 1 funcref)", memory(2));
    let select = "(loop (drop (table.grow $t (ref.null func) (i32.const 1000)))
                    (br_if 0 (i32.ne (table.size $t) (i32.const 1000000))) br 0) unreachable";
    // A plugin that goes on after the refusal ends by its fuel; one that gives up is told why.
    let small = Budget { fuel: 10_000_000, ..Budget::default() };
    out_of_fuel(&fail(&Handmade { module: module.clone(), select, ..Handmade::default() }, &small));
    let select = "(if (i32.eq (table.grow $t (ref.null func) (i32.const 200000)) (i32.const -1)) (then unreachable))
                  i32.const 0";
    let error = fail(&Handmade { module, select, ..Handmade::default() }, &Budget::default());
    let SandboxError::OverBudget { field: "table_elements", wanted: 200_001, .. } = error else { panic!("{error:?}") };
    let module = format!("{} {}", memory(2), "(table 1 funcref)".repeat(70));
    let error = Handmade { module, ..Handmade::default() }.load().unwrap_err();
    assert!(matches!(error, SandboxError::OverBudget { field: "instances", limit: 64, .. }), "{error:?}");
}

#[test]
fn many_instances_and_their_memories_count_together() {
    let module = |text: &str| wat::parse_str(text).unwrap();
    let component = Handmade::default().component();
    let many = with_instances(&component, &module("(module)"), 100);
    let error = sandbox().load(&many, &Budget::default()).unwrap_err();
    assert!(matches!(error, SandboxError::OverBudget { field: "instances", limit: 64, .. }), "{error:?}");
    let large = with_instances(&component, &module("(module (memory 160))"), 10);
    let error = sandbox().load(&large, &Budget::default()).unwrap_err();
    assert!(matches!(error, SandboxError::OutOfMemory { limit_bytes: 67_108_864, .. }), "{error:?}");
    let few = with_instances(&component, &module("(module (memory 16))"), 10);
    sandbox().load(&few, &Budget::default()).unwrap();
}

/// A component with so many more instances of a core module in it.
fn with_instances(component: &[u8], module: &[u8], count: u8) -> Vec<u8> {
    let modules = wasmparser::Parser::new(0).parse_all(component);
    let own = modules.filter(|payload| matches!(payload, Ok(wasmparser::Payload::ModuleSection { .. }))).count();
    let mut bytes = component.to_vec();
    section(&mut bytes, 1, module);
    let one = [0x00, u8::try_from(own).unwrap(), 0x00];
    section(&mut bytes, 2, &[&[count][..], &one.repeat(usize::from(count))].concat());
    bytes
}

/// Adds a section with a length of three bytes.
fn section(bytes: &mut Vec<u8>, id: u8, content: &[u8]) {
    let len = u32::try_from(content.len()).unwrap();
    let seven = |shift: u32| u8::try_from(len >> shift & 0x7f).unwrap();
    bytes.extend([id, seven(0) | 0x80, seven(7) | 0x80, seven(14)]);
    bytes.extend(content);
}

#[test]
fn answers_whose_lengths_places_or_choices_cannot_be_are_bad_answers() {
    let answer = |stores: &'static str| {
        bad_answer(&fail(&Handmade { select: stores, ..Handmade::default() }, &Budget::default()))
    };
    // More decisions than there are numbers for their bytes.
    answer(
        "(i32.store offset=516 (i32.const 0) (i32.const 1024)) (i32.store offset=520 (i32.const 0) (i32.const -1)) i32.const 512",
    );
    // A list that is not aligned.
    answer(
        "(i32.store offset=516 (i32.const 0) (i32.const 1025)) (i32.store offset=520 (i32.const 0) (i32.const 1)) i32.const 512",
    );
    // An answer that is not aligned.
    answer("i32.const 513");
    // A carry outside of memory.
    answer(
        "(i32.store offset=524 (i32.const 0) (i32.const 131000)) (i32.store offset=528 (i32.const 0) (i32.const 900)) i32.const 512",
    );
}

#[test]
fn an_answer_that_names_the_same_bytes_many_times_is_over_its_budget() {
    // 100,000 decisions that all have the same 2,048 bytes as their message: 200 MB from 3 MB.
    let select = "(local $at i32)
        (local.set $at (i32.const 65536))
        (loop
          (i32.store offset=20 (local.get $at) (i32.const 3000000)) (i32.store offset=24 (local.get $at) (i32.const 2048))
          (local.set $at (i32.add (local.get $at) (i32.const 28)))
          (br_if 0 (i32.lt_u (local.get $at) (i32.const 2865536))))
        (i32.store offset=516 (i32.const 0) (i32.const 65536)) (i32.store offset=520 (i32.const 0) (i32.const 100000))
        i32.const 512";
    let error = fail(&Handmade { module: memory(64), select, ..Handmade::default() }, &Budget::default());
    assert!(matches!(error, SandboxError::OverBudget { field: "call_data_bytes", .. }), "{error:?}");
}

#[test]
fn a_description_that_is_no_text_or_a_schema_without_end_is_not_loaded() {
    let describe = "(i32.store8 (i32.const 600) (i32.const 255)) (i32.store (i32.const 16) (i32.const 600))
                    (i32.store (i32.const 20) (i32.const 1)) i32.const 16";
    bad_answer(&Handmade { describe, ..Handmade::default() }.load().unwrap_err());
    let schema = |schema: String| {
        let handmade = Handmade { module: memory(32), schema, ..Handmade::default() };
        bad_answer(&handmade.load().unwrap_err())
    };
    let deep = format!("{}1{}", "{\"a\":".repeat(5_000), "}".repeat(5_000));
    assert!(schema(deep).contains("schema"));
    assert!(schema(format!("{{\"a\": \"{}\"}}", "x".repeat(1_000_000))).contains("65536 are allowed"));
    assert!(schema("{\"$ref\": \"file:///etc/passwd\"}".to_owned()).contains("elsewhere"));
}

/// Logs a line with terminal escapes from memory, for ever.
pub(crate) fn flooding() -> Handmade {
    Handmade {
        imports: "(import \"longshore:policy/host@0.1.0\" \"log\" (func $log (param i32 i32 i32)))",
        module: format!(
            "{} (data (i32.const 2048) \"\\1b]0;owned\\07\\1b[2J\\1b[31m\\0a\\c2\\9b\\e2\\80\\ae\")",
            memory(2)
        ),
        select: "(loop (call $log (i32.const 3) (i32.const 2048) (i32.const 25)) br 0) unreachable",
        wit: ("import longshore:policy/host@0.1.0;", ""),
        ..Handmade::default()
    }
}

#[test]
fn a_log_without_end_and_full_of_escapes_ends_by_fuel_or_time_and_is_kept_short_and_clean() {
    let by_fuel = fail(&flooding(), &Budget { fuel: 5_000_000, ..Budget::default() });
    out_of_fuel(&by_fuel);
    let slow = Budget { fuel: Budget::CEILING.fuel, wall_time_ms: 100, ..Budget::default() };
    let by_time = fail(&flooding(), &slow);
    assert!(matches!(by_time, SandboxError::TimedOut { .. }), "{by_time:?}");
    for error in [by_fuel, by_time] {
        let lines = messages(error.log());
        assert!(lines.len() <= 257 && lines.last().unwrap().contains("the log is cut here"), "{}", lines.len());
        assert_eq!(lines[0], "\\u{1b}]0;owned\\u{7}\\u{1b}[2J\\u{1b}[31m\\n\\u{9b}\\u{202e}");
        assert!(!error.to_string().chars().any(char::is_control));
    }
}

#[test]
fn one_line_of_the_log_larger_than_what_a_call_may_bring_is_over_its_budget() {
    let select = "(call $log (i32.const 0) (i32.const 0) (i32.const 16777216)) unreachable";
    let error = fail(&Handmade { select, module: memory(257), ..flooding() }, &Budget::default());
    assert!(matches!(error, SandboxError::OverBudget { field: "call_data_bytes", .. }), "{error:?}");
}

/// Asks for a mebibyte of random bytes, for ever: little fuel, much work of the host.
fn drawing() -> Handmade {
    Handmade {
        imports: "(import \"wasi:random/random@0.2.0\" \"get-random-bytes\" (func $random (param i64 i32)))",
        module: memory(32),
        realloc: "i32.const 65536",
        select: "(loop (call $random (i64.const 1048576) (i32.const 512)) br 0) unreachable",
        wit: (
            "import wasi:random/random@0.2.0;",
            "package wasi:random@0.2.0 { interface random { get-random-bytes: func(len: u64) -> list<u8>; } }",
        ),
        ..Handmade::default()
    }
}

#[test]
fn calls_of_the_host_without_end_are_stopped_by_the_clock() {
    // Its room lies where the question is, which it never looks at.
    let error = fail(&drawing(), &Budget { wall_time_ms: 200, ..Budget::default() });
    assert!(matches!(error, SandboxError::TimedOut { limit_ms: 200, .. }), "{error:?}");
}

#[test]
fn waiting_for_very_many_things_at_a_time_is_bounded() {
    let polling = Handmade {
        imports:
            "(import \"wasi:clocks/monotonic-clock@0.2.0\" \"subscribe-duration\" (func $wait (param i64) (result i32)))
                  (import \"wasi:io/poll@0.2.0\" \"poll\" (func $poll (param i32 i32 i32)))",
        module: memory(400),
        select: "(local $at i32) (local $handle i32)
            (local.set $handle (call $wait (i64.const 1000)))
            (local.set $at (i32.const 65536))
            (loop (i32.store (local.get $at) (local.get $handle))
              (local.set $at (i32.add (local.get $at) (i32.const 4)))
              (br_if 0 (i32.lt_u (local.get $at) (i32.const 20000000))))
            (call $poll (i32.const 65536) (i32.const 4000000) (i32.const 512)) unreachable",
        wit: (
            "import wasi:clocks/monotonic-clock@0.2.0; import wasi:io/poll@0.2.0;",
            "package wasi:io@0.2.0 { interface poll { resource pollable { }
               poll: func(in: list<borrow<pollable>>) -> list<u32>; } }
             package wasi:clocks@0.2.0 { interface monotonic-clock {
               use wasi:io/poll@0.2.0.{pollable};
               subscribe-duration: func(when: u64) -> pollable;
             } }",
        ),
        ..Handmade::default()
    };
    let error = fail(&polling, &Budget::default());
    assert!(matches!(error, SandboxError::OverBudget { field: "call_data_bytes", .. }), "{error:?}");
}

#[test]
fn sockets_and_names_are_refused_with_the_error_of_wasi() {
    let tcp = Handmade {
        imports: "(import \"wasi:sockets/tcp-create-socket@0.2.0\" \"create-tcp-socket\" (func $make (param i32 i32)))",
        // 1: an error; 1: access-denied. Anything else traps.
        select: "(call $make (i32.const 0) (i32.const 600))
                 (if (i32.ne (i32.load8_u (i32.const 600)) (i32.const 1)) (then unreachable))
                 (if (i32.ne (i32.load8_u (i32.const 604)) (i32.const 1)) (then unreachable)) i32.const 0",
        wit: (
            "import wasi:sockets/tcp-create-socket@0.2.0;",
            "package wasi:sockets@0.2.0 {
               interface network { resource network; enum ip-address-family { ipv4, ipv6 }
                 enum error-code { unknown, access-denied, not-supported, invalid-argument, out-of-memory, timeout,
                   concurrency-conflict, not-in-progress, would-block, invalid-state, new-socket-limit,
                   address-not-bindable, address-in-use, remote-unreachable, connection-refused, connection-reset,
                   connection-aborted, datagram-too-large, name-unresolvable, temporary-resolver-failure,
                   permanent-resolver-failure } }
               interface tcp { resource tcp-socket; }
               interface tcp-create-socket {
                 use network.{error-code, ip-address-family}; use tcp.{tcp-socket};
                 create-tcp-socket: func(family: ip-address-family) -> result<tcp-socket, error-code>; } }",
        ),
        ..Handmade::default()
    };
    select_with(&tcp.load().unwrap(), "{}", &Budget::default()).unwrap();
}

#[test]
fn misuse_of_what_wasi_offers_is_a_crash() {
    let handmade = Handmade {
        imports: "(import \"wasi:cli/stdout@0.2.0\" \"get-stdout\" (func $get (result i32)))
                  (import \"wasi:io/streams@0.2.0\" \"[method]output-stream.write-zeroes\"
                    (func $zeroes (param i32 i64 i32)))",
        select: "(call $zeroes (call $get) (i64.const 1099511627776) (i32.const 600)) unreachable",
        wit: (
            "import wasi:cli/stdout@0.2.0; import wasi:io/streams@0.2.0;",
            "package wasi:io@0.2.0 {
               interface error { resource error; }
               interface streams { use error.{error};
                 variant stream-error { last-operation-failed(error), closed }
                 resource output-stream { write-zeroes: func(len: u64) -> result<_, stream-error>; } } }
             package wasi:cli@0.2.0 { interface stdout {
               use wasi:io/streams@0.2.0.{output-stream};
               get-stdout: func() -> output-stream;
             } }",
        ),
        ..Handmade::default()
    };
    let error = fail(&handmade, &Budget::default());
    assert!(matches!(&error, SandboxError::Trapped { what, .. } if what.contains("cannot write more")), "{error:?}");
}

#[test]
fn nothing_is_remembered_from_one_call_to_the_next() {
    // A plugin that would answer differently every time, if its memory lived on: it traps at the second call.
    let select = "(i32.store (i32.const 2048) (i32.add (i32.load (i32.const 2048)) (i32.const 1)))
                  (global.set $count (i32.add (global.get $count) (i32.const 1)))
                  (if (i32.or (i32.ne (i32.load (i32.const 2048)) (i32.const 1))
                              (i32.ne (global.get $count) (i32.const 1))) (then unreachable)) i32.const 0";
    let module = format!("{} (global $count (mut i32) (i32.const 0))", memory(2));
    let plugin: Plugin = Handmade { module, select, ..Handmade::default() }.load().unwrap();
    let outcomes: Vec<_> = (0..3).map(|_| select_with(&plugin, "{}", &Budget::default()).unwrap().fuel_used).collect();
    assert!(outcomes.windows(2).all(|pair| pair[0] == pair[1]), "{outcomes:?}");
}

#[test]
fn a_file_of_100_megabytes_is_refused_by_its_size_or_loaded_within_its_budgets() {
    let mut large = Handmade::default().bytes();
    // A custom section of 100 MB: valid, and of no use.
    let len = 100_000_000_u32;
    large.push(0);
    large.extend(
        (0..5).map(|place| u8::try_from((len >> (7 * place)) & 0x7f).unwrap() | if place < 4 { 0x80 } else { 0 }),
    );
    large.push(1);
    large.resize(large.len() + len as usize - 1, b'x');
    let error = sandbox().load(&large, &Budget::default()).unwrap_err();
    assert!(error.to_string().contains("and 33554432 are allowed"), "{error}");
    let ample = Budget { file_size_bytes: Budget::CEILING.file_size_bytes, ..Budget::default() };
    let started = Instant::now();
    assert_eq!(sandbox().load(&large, &ample).unwrap().about().name, "handmade");
    assert!(started.elapsed() < Duration::from_millis(ample.compile_time_ms), "or it would have been given up");
}
