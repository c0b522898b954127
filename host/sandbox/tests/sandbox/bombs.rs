//! Files that are valid, or nearly, and made to be compiled for ever: each is refused, given up, or compiled in time, and
//! the sandbox loads what comes after.

use longshore_sandbox::{Budget, SandboxError};

use super::fixtures::{sandbox, wasm};
use super::handmade::Handmade;

/// A handmade plugin with this much more at the level of the module.
fn with(module: &str) -> Vec<u8> {
    Handmade { module: format!("(memory (export \"memory\") 2) {module}"), ..Handmade::default() }.bytes()
}

/// What is said about a file that is refused; then a good one is loaded.
#[track_caller]
fn refused(bytes: &[u8]) -> String {
    let error = sandbox().load(bytes, &Budget::default()).unwrap_err();
    let SandboxError::BadPlugin { what, .. } = error else { panic!("{error:?}") };
    after();
    what
}

/// It compiles in time: much of it is no crime.
#[track_caller]
fn compiled(bytes: &[u8]) {
    sandbox().load(bytes, &Budget::default()).unwrap();
    after();
}

#[track_caller]
fn after() {
    sandbox().load(&wasm("stranger/stranger"), &Budget::default()).unwrap_err();
    Handmade::default().load().unwrap();
}

#[test]
fn locals_that_meet_in_thousands_of_blocks_are_refused() {
    let locals = "i32 ".repeat(2_000);
    let sets: String = (0..2_000).map(|local| format!("(local.set {local} (i32.const 1))")).collect();
    let nested = format!("{}{sets}{}", "(loop (br_if 0 (i32.const 0)) ".repeat(1_500), ")".repeat(1_500));
    let what = refused(&with(&format!("(func (local {locals}) {nested})")));
    assert_eq!(what, "it has 3002000 joins of local variables in one function, and 2000000 are allowed");
}

#[test]
fn a_function_of_megabytes_is_refused_and_a_large_one_compiled() {
    let body = |times: usize| format!("(func {})", "(drop (i32.add (i32.const 1) (i32.const 2)))".repeat(times));
    let what = refused(&with(&body(400_000)));
    assert!(what.contains("bytes in one function, and 2097152 are allowed"), "{what}");
    compiled(&with(&body(10_000)));
}

#[test]
fn very_many_functions_are_refused_and_many_compiled() {
    let what = refused(&with(&"(func)".repeat(200_100)));
    assert!(what.contains("functions, and 200000 are allowed"), "{what}");
    compiled(&with(&"(func)".repeat(2_000)));
}

#[test]
fn functions_with_all_the_locals_there_can_be_are_compiled_or_given_up_in_time() {
    let locals = "i64 ".repeat(49_000);
    let bytes = with(&format!("(func (local {locals}))").repeat(20));
    compiled(&bytes);
    let too_many = "i64 ".repeat(50_001);
    let what = refused(&with(&format!("(func (local {too_many}))")));
    assert!(what.contains("locals exceed maximum"), "{what}");
}

#[test]
fn blocks_that_nest_for_ever_are_compiled_or_given_up_in_time() {
    let depth = 20_000;
    compiled(&with(&format!("(func {} {})", "block ".repeat(depth), "end ".repeat(depth))));
}

#[test]
fn components_that_double_with_every_level_are_refused() {
    // Each level instantiates the one below twice: 2 to the 20th at the top.
    let mut inner = "(component $c0)".to_owned();
    for level in 1..=20 {
        inner = format!(
            "(component $c{level} {inner} (instance (instantiate $c{0})) (instance (instantiate $c{0})))",
            level - 1
        );
    }
    let what = refused(&policy_with(&inner));
    assert!(what.contains("levels of components in components, and 4 are allowed"), "{what}");
    let flat = "(component $c) ".to_owned() + &"(instance (instantiate $c)) ".repeat(64);
    let what = refused(&policy_with(&flat));
    assert!(what.contains("65 instances of components, and 64 are allowed"), "{what}");
}

#[test]
fn types_that_nest_deep_or_grow_with_every_level_are_refused() {
    let chain = |levels: usize, next: fn(usize) -> String| {
        let mut types = "(type $t0 (list u8))".to_owned();
        for level in 1..=levels {
            types.push_str(&format!("(type $t{level} {})", next(level - 1)));
        }
        refused(&policy_with(&types))
    };
    let deep = chain(200, |below| format!("(list $t{below})"));
    assert!(deep.contains("type nesting is too deep"), "{deep}");
    let wide = chain(40, |below| format!("(tuple $t{below} $t{below})"));
    assert!(wide.contains("effective type size exceeds"), "{wide}");
}

/// A component that exports what a policy must, as far as names go, with this much in front.
fn policy_with(items: &str) -> Vec<u8> {
    let text = format!(
        "(component {items} (instance $e) (export \"longshore:policy/about@0.1.0\" (instance $e))
           (export \"longshore:policy/selection@0.1.0\" (instance $e)))"
    );
    wat::parse_str(&text).unwrap_or_else(|error| panic!("{error}"))
}

#[test]
fn features_that_are_switched_off_are_refused() {
    let said = |module: &str| {
        let bytes = wat::parse_str(format!(
            "(component (core module {module}) (instance $e) (export \"longshore:policy/about@0.1.0\" (instance $e))
               (export \"longshore:policy/selection@0.1.0\" (instance $e)))"
        ));
        refused(&bytes.unwrap())
    };
    for (module, feature) in [
        ("(memory i64 1)", "memory64"),
        ("(memory 1) (memory 1)", "multi-memory"),
        ("(memory 1 1 shared)", "threads"),
        ("(type (struct))", "gc"),
        ("(func (param v128) (drop (i8x16.relaxed_swizzle (local.get 0) (local.get 0))))", "relaxed SIMD"),
    ] {
        let what = said(module);
        let of_the_module =
            what.starts_with("it cannot be compiled: ") || what.starts_with("it is damaged or uses a feature");
        assert!(of_the_module, "{feature}: {what}");
    }
    // The same file with an ordinary module comes further: it is compiled, and fails by what it exports.
    let what = said("(memory 1)");
    assert!(what.starts_with("its imports or exports differ from the contract"), "{what}");
}
