//! Plugins written by hand in WebAssembly text, for what no compiler would write. They are plain core modules with
//! bindings inside, the third form of file that is accepted.

use std::path::PathBuf;

use longshore_model::PolicyKind;
use longshore_sandbox::{Budget, Plugin, SandboxError};
use wit_component::StringEncoding;
use wit_parser::Resolve;

use super::fixtures::{sandbox, select_with};

/// A selection policy made by hand; every field is WebAssembly text but the last three.
pub(crate) struct Handmade {
    /// Imports of the core module.
    pub(crate) imports: &'static str,
    /// Memory, tables, start function: whatever stands at the level of the module.
    pub(crate) module: String,
    /// Body of `cabi_realloc`, with which the host asks for room for its arguments.
    pub(crate) realloc: &'static str,
    /// Body of `describe`, which gives a pointer to five strings; `16` points to a good description.
    pub(crate) describe: &'static str,
    /// Body of `select`, which gives a pointer to a result; `0` points to an empty answer.
    pub(crate) select: &'static str,
    /// Name it gives itself.
    pub(crate) name: &'static str,
    /// Its settings schema; with memory for it.
    pub(crate) schema: String,
    /// Imports of its world, and the packages they come from, as WIT.
    pub(crate) wit: (&'static str, &'static str),
}

impl Default for Handmade {
    fn default() -> Self {
        Self {
            imports: "",
            module: "(memory (export \"memory\") 2)".to_owned(),
            realloc: "(global.set $next (i32.and (i32.add (global.get $next) (i32.const 15)) (i32.const -16)))
                 (global.get $next)
                 (global.set $next (i32.add (global.get $next) (local.get 3)))",
            describe: "i32.const 16",
            select: "i32.const 0",
            name: "handmade",
            schema: "{}".to_owned(),
            wit: ("", ""),
        }
    }
}

impl Handmade {
    /// The core module with its bindings.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let Self { imports, module, realloc, describe, select, name, schema, .. } = self;
        let texts = [name, "0.0.1", "", "Made by hand.", schema.as_str()];
        let (mut data, mut record) = (String::new(), String::new());
        for text in texts {
            let at = 256 + data.len();
            data.push_str(text);
            for number in [at, text.len()] {
                record.extend(u32::try_from(number).unwrap().to_le_bytes().map(|byte| format!("\\{byte:02x}")));
            }
        }
        let data: String = data.bytes().map(|byte| format!("\\{byte:02x}")).collect();
        let text = format!(
            "(module {imports} {module}
               (global $next (mut i32) (i32.const {}))
               (func (export \"cabi_realloc\") (param i32 i32 i32 i32) (result i32) {realloc})
               (func (export \"longshore:policy/about@0.1.0#describe\") (result i32) {describe})
               (func (export \"longshore:policy/selection@0.1.0#select\") (param i32) (result i32) {select})
               (data (i32.const 16) \"{record}\") (data (i32.const 256) \"{data}\"))",
            // Behind the answers that are made by hand at 512, and behind a long schema.
            1024 + schema.len()
        );
        let mut module = wat::parse_str(&text).unwrap_or_else(|error| panic!("{error}\n{text}"));
        self.embed(&mut module);
        module
    }

    /// The component that is made of it.
    pub(crate) fn component(&self) -> Vec<u8> {
        wit_component::ComponentEncoder::default().module(&self.bytes()).unwrap().encode().unwrap()
    }

    fn embed(&self, module: &mut Vec<u8>) {
        let mut resolve = Resolve::default();
        resolve.push_path(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../wit/v0.1.0")).unwrap();
        let (imports, packages) = self.wit;
        let text = format!(
            "package longshore:fixture;
             world fixture {{
               {imports}
               export longshore:policy/about@0.1.0;
               export longshore:policy/selection@0.1.0;
             }}
             {packages}"
        );
        let package = resolve.push_str("fixture.wit", &text).unwrap();
        let world = resolve.select_world(&[package], Some("fixture")).unwrap();
        wit_component::embed_component_metadata(module, &resolve, world, StringEncoding::UTF8).unwrap();
    }

    pub(crate) fn load(&self) -> Result<Plugin, SandboxError> {
        sandbox().load(&self.bytes(), &Budget::default())
    }

    /// The error of asking it.
    pub(crate) fn fail(&self) -> SandboxError {
        select_with(&self.load().unwrap(), "{}", &Budget::default()).unwrap_err()
    }
}

#[test]
fn a_plain_core_module_with_bindings_is_accepted() {
    let plugin = Handmade::default().load().unwrap();
    assert_eq!(plugin.kinds(), [PolicyKind::Selection]);
    assert_eq!((plugin.about().name.as_str(), plugin.about().version.as_str()), ("handmade", "0.0.1"));
    let outcome = select_with(&plugin, "{}", &Budget::default()).unwrap();
    assert!(outcome.answer.is_empty());
    assert_eq!(outcome.peak_memory_bytes, 131_072);
}

#[test]
fn a_plugin_that_starts_with_too_much_memory_is_not_loaded() {
    let module = "(memory (export \"memory\") 2000)".to_owned();
    let error = Handmade { module, ..Handmade::default() }.load().unwrap_err();
    let SandboxError::OutOfMemory { wanted_bytes: 131_072_000, .. } = error else { panic!("{error:?}") };
}

#[test]
fn growing_beyond_what_any_memory_can_have_is_a_matter_of_memory_too() {
    let select = "(drop (i32.eq (memory.grow (i32.const 65536)) (i32.const -1))) unreachable";
    let error = Handmade { select, ..Handmade::default() }.fail();
    assert!(matches!(error, SandboxError::OutOfMemory { .. }), "{error:?}");
}

#[test]
fn a_refused_growth_that_the_plugin_copes_with_is_no_error() {
    let select = "(if (i32.ne (memory.grow (i32.const 60000)) (i32.const -1)) (then unreachable)) i32.const 0";
    let plugin = Handmade { select, ..Handmade::default() }.load().unwrap();
    let outcome = select_with(&plugin, "{}", &Budget::default()).unwrap();
    assert_eq!(outcome.peak_memory_bytes, 131_072, "a refused growth does not count as held");
}

#[test]
fn tables_have_a_budget() {
    let module = "(memory (export \"memory\") 2) (table 200000 funcref)".to_owned();
    let error = Handmade { module, ..Handmade::default() }.load().unwrap_err();
    let SandboxError::OverBudget { field: "table_elements", limit: 100_000, wanted: 200_000, .. } = error else {
        panic!("{error:?}")
    };
}

#[test]
fn a_plugin_that_loops_when_it_starts_or_describes_itself_is_not_loaded() {
    let module = "(memory (export \"memory\") 2) (func $start (loop br 0)) (start $start)".to_owned();
    let error = Handmade { module, ..Handmade::default() }.load().unwrap_err();
    assert!(matches!(&error, SandboxError::OutOfFuel { plugin, .. } if plugin.starts_with("file ")), "{error:?}");
    let error = Handmade { describe: "(loop br 0) unreachable", ..Handmade::default() }.load().unwrap_err();
    assert!(matches!(error, SandboxError::OutOfFuel { .. }), "{error:?}");
}

#[test]
fn a_plugin_that_says_its_name_wrongly_is_not_loaded() {
    let error = Handmade { name: "Hand Made", ..Handmade::default() }.load().unwrap_err();
    assert!(error.to_string().contains("about itself, its name `Hand Made` is not"), "{error}");
}

#[test]
fn an_answer_that_lies_outside_of_its_memory_is_a_bad_answer() {
    // Decisions at the end of memory, more than fit.
    let select =
        "(i32.store offset=516 (i32.const 0) (i32.const 131000)) (i32.store offset=520 (i32.const 0) (i32.const 900))
                  i32.const 512";
    let error = Handmade { select, ..Handmade::default() }.fail();
    assert!(matches!(error, SandboxError::BadAnswer { .. }), "{error:?}");
    // The result itself far outside.
    let error = Handmade { select: "i32.const -16", ..Handmade::default() }.fail();
    assert!(matches!(error, SandboxError::BadAnswer { .. }), "{error:?}");
    // Neither an answer nor a refusal.
    let error =
        Handmade { select: "(i32.store8 offset=512 (i32.const 0) (i32.const 7)) i32.const 512", ..Handmade::default() }
            .fail();
    assert!(matches!(error, SandboxError::BadAnswer { .. }), "{error:?}");
}

#[test]
fn a_reason_that_is_not_text_is_a_bad_answer() {
    // A refusal whose code is one byte that is not UTF-8.
    let select = "(i32.store8 offset=512 (i32.const 0) (i32.const 1))
                  (i32.store8 offset=600 (i32.const 0) (i32.const 255))
                  (i32.store offset=516 (i32.const 0) (i32.const 600)) (i32.store offset=520 (i32.const 0) (i32.const 1))
                  i32.const 512";
    let error = Handmade { select, ..Handmade::default() }.fail();
    assert!(matches!(error, SandboxError::BadAnswer { .. }), "{error:?}");
}

#[test]
fn a_refusal_about_an_item_that_was_not_asked_about_is_a_bad_answer() {
    // Code and message are the name "handmade"; one item, of number 5.
    let select = "(i32.store8 offset=512 (i32.const 0) (i32.const 1)) (i32.store offset=600 (i32.const 0) (i32.const 5))
                  (i32.store offset=516 (i32.const 0) (i32.const 256)) (i32.store offset=520 (i32.const 0) (i32.const 8))
                  (i32.store offset=524 (i32.const 0) (i32.const 256)) (i32.store offset=528 (i32.const 0) (i32.const 8))
                  (i32.store offset=532 (i32.const 0) (i32.const 600)) (i32.store offset=536 (i32.const 0) (i32.const 1))
                  i32.const 512";
    let error = Handmade { select, ..Handmade::default() }.fail();
    assert!(error.to_string().contains("its refusal names item 5, which it was not asked about"), "{error}");
}

#[test]
fn handles_without_end_are_a_crash() {
    let handmade = Handmade {
        imports: "(import \"wasi:cli/stdout@0.2.0\" \"get-stdout\" (func $get (result i32)))",
        select: "(loop (drop (call $get)) br 0) unreachable",
        wit: (
            "import wasi:cli/stdout@0.2.0;",
            "package wasi:io@0.2.0 { interface streams { resource output-stream; } }
             package wasi:cli@0.2.0 { interface stdout {
               use wasi:io/streams@0.2.0.{output-stream};
               get-stdout: func() -> output-stream;
             } }",
        ),
        ..Handmade::default()
    };
    let error = handmade.fail();
    assert!(matches!(&error, SandboxError::Trapped { what, .. } if what.contains("too many handles")), "{error:?}");
}

#[test]
fn a_wait_for_ever_and_an_exit_are_crashes() {
    let waiting = Handmade {
        imports:
            "(import \"wasi:clocks/monotonic-clock@0.2.0\" \"subscribe-duration\" (func $wait (param i64) (result i32)))
                  (import \"wasi:io/poll@0.2.0\" \"[method]pollable.block\" (func $block (param i32)))",
        select: "(call $block (call $wait (i64.const -1))) unreachable",
        wit: (
            "import wasi:clocks/monotonic-clock@0.2.0; import wasi:io/poll@0.2.0;",
            "package wasi:io@0.2.0 { interface poll { resource pollable { block: func(); } } }
             package wasi:clocks@0.2.0 { interface monotonic-clock {
               use wasi:io/poll@0.2.0.{pollable};
               subscribe-duration: func(when: u64) -> pollable;
             } }",
        ),
        ..Handmade::default()
    };
    let error = waiting.fail();
    assert!(matches!(&error, SandboxError::Trapped { what, .. } if what.contains("never happens")), "{error:?}");

    let exiting = Handmade {
        imports: "(import \"wasi:cli/exit@0.2.0\" \"exit\" (func $exit (param i32)))",
        select: "(call $exit (i32.const 1)) unreachable",
        wit: (
            "import wasi:cli/exit@0.2.0;",
            "package wasi:cli@0.2.0 { interface exit { exit: func(status: result); } }",
        ),
        ..Handmade::default()
    };
    let error = exiting.fail();
    assert!(matches!(&error, SandboxError::Trapped { what, .. } if what.contains("exit status 1")), "{error:?}");
}

#[test]
fn random_bytes_without_end_are_a_crash() {
    let handmade = Handmade {
        imports: "(import \"wasi:random/random@0.2.0\" \"get-random-bytes\" (func $random (param i64 i32)))",
        select: "(call $random (i64.const 1099511627776) (i32.const 512)) unreachable",
        wit: (
            "import wasi:random/random@0.2.0;",
            "package wasi:random@0.2.0 { interface random { get-random-bytes: func(len: u64) -> list<u8>; } }",
        ),
        ..Handmade::default()
    };
    let error = handmade.fail();
    assert!(
        matches!(&error, SandboxError::Trapped { what, .. } if what.contains("1099511627776 random bytes")),
        "{error:?}"
    );
}
