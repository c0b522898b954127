//! Files that are no plugins, and what is said about them.

use longshore_sandbox::{Budget, FileFacts, FileForm, SandboxError};

use super::fixtures::{sandbox, wasm};

/// The error without the digest, which is another one for every file.
fn said(bytes: &[u8]) -> String {
    let error = sandbox().load(bytes, &Budget::default()).unwrap_err();
    let SandboxError::BadPlugin { plugin, .. } = &error else { panic!("{error:?}") };
    error.to_string().replace(plugin, "FILE")
}

fn text(text: &str) -> String {
    said(&wat::parse_str(text).unwrap())
}

#[test]
fn a_file_that_is_not_wasm_is_named_for_what_it_is() {
    let mut all = String::new();
    for bytes in [
        &b""[..],
        b"PK\x03\x04rest",
        b"\x7fELF\x02\x01",
        b"!<arch>\nlib.rmeta",
        b"\x1f\x8b\x08",
        b"(module)",
        b"use longshore_plugin::export;\nfn main() {}",
        b"#!/bin/sh\necho hi\x1b[31m",
        b"\xff\xd8\xff\xe0",
        b"\0asm",
        b"\0asm\x09\0\0\0",
        b"\0asm\x01\0\0\0\x05",
    ] {
        all.push_str(&said(bytes));
        all.push('\n');
    }
    insta::assert_snapshot!(all);
}

#[test]
fn a_core_module_without_bindings_is_told_how_to_be_built() {
    let mut all = String::new();
    for module in [
        "(module)",
        "(module (import \"wasi_snapshot_preview1\" \"fd_write\" (func)) (func (export \"_start\")))",
        "(module (import \"__wbindgen_placeholder__\" \"x\" (func)))",
        "(module (import \"gojs\" \"x\" (func)))",
        "(module (import \"env\" \"abort\" (func)))",
    ] {
        all.push_str(&text(module));
        all.push('\n');
    }
    insta::assert_snapshot!(all);
}

#[test]
fn a_component_that_is_no_policy_is_told_what_it_exports() {
    insta::assert_snapshot!(said(&wasm("stranger/stranger")));
    insta::assert_snapshot!(text("(component)"));
}

#[test]
fn a_name_that_is_nearly_right_is_recognised() {
    insta::assert_snapshot!(text(
        "(component (instance $e) (export \"longshore:policy/about@0.1.0\" (instance $e))
           (export \"longshore:policy/selector@0.1.0\" (instance $e)))"
    ));
    insta::assert_snapshot!(text(
        "(component (import \"wasi:clocks/wall-clok@0.2.0\" (instance)) (instance $e)
           (export \"longshore:policy/about@0.1.0\" (instance $e))
           (export \"longshore:policy/selection@0.1.0\" (instance $e)))"
    ));
}

#[test]
fn a_component_of_another_version_is_told_which_are_spoken() {
    insta::assert_snapshot!(text(
        "(component (instance $e) (export \"longshore:policy/about@0.2.0\" (instance $e))
           (export \"longshore:policy/selection@0.2.0\" (instance $e)))"
    ));
}

#[test]
fn an_import_that_is_not_offered_is_named() {
    insta::assert_snapshot!(text(
        "(component (import \"wasi:http/types@0.2.0\" (instance)) (import \"acme:database/sql\" (instance)) (instance $e)
           (export \"longshore:policy/about@0.1.0\" (instance $e))
           (export \"longshore:policy/selection@0.1.0\" (instance $e)))"
    ));
}

#[test]
fn a_policy_without_about_is_told_so() {
    insta::assert_snapshot!(text(
        "(component (instance $e) (export \"longshore:policy/placement@0.1.0\" (instance $e)))"
    ));
}

#[test]
fn exports_of_the_right_name_and_the_wrong_type_are_refused() {
    let empty = "(component (instance $e) (export \"longshore:policy/about@0.1.0\" (instance $e))
           (export \"longshore:policy/KIND@0.1.0\" (instance $e)))";
    for kind in ["selection", "compression", "placement"] {
        let said = text(&empty.replace("KIND", kind));
        assert!(said.contains("its imports or exports differ from the contract"), "{said}");
        assert!(said.contains("wit/v0.1.0"), "{said}");
    }
}

#[test]
fn a_file_that_was_cut_or_damaged_anywhere_never_loads_and_never_panics() {
    let whole = wasm("stranger/stranger");
    for cut in (0..whole.len()).step_by(whole.len() / 97) {
        let _ = said(&whole[..cut]);
    }
    let whole = wasm("residency/residency");
    for at in (8..whole.len()).step_by(whole.len() / 19) {
        let mut damaged = whole.clone();
        damaged[at] ^= 0x55;
        // It may still load: a changed constant is a different plugin, not a damaged one.
        let _ = sandbox().load(&damaged, &Budget::default());
    }
}

#[test]
fn what_a_file_is_made_of_is_read_without_loading_it() {
    let component = FileFacts::read(&wasm("standard/standard")).unwrap();
    assert_eq!(component.form, FileForm::Component);
    assert!(component.imports.iter().any(|name| name.starts_with("wasi:io/streams@0.2")), "{component:?}");
    assert!(component.exports.iter().any(|name| name == "longshore:policy/placement@0.1.0"), "{component:?}");
    assert!(component.producers.iter().any(|(_, name, _)| name.starts_with("wit-bindgen")), "{component:?}");
    let parts = component.code_bytes + component.data_bytes + component.debug_bytes;
    assert!(component.code_bytes > 50_000 && parts < component.size_bytes, "{component:?}");
    assert_eq!(FileFacts::read(&wasm("hostile/hostile-wasip1")).unwrap().form, FileForm::Wasip1Module);
    let named = wat::parse_str("(module $a (func $with_a_name) (data \"\"))").unwrap();
    let plain = FileFacts::read(&named).unwrap();
    assert_eq!(
        (plain.form, plain.debug_bytes > 0),
        (FileForm::PlainModule, true),
        "names of functions are for debugging"
    );
    assert!(matches!(FileFacts::read(b"no wasm"), Err(SandboxError::BadPlugin { .. })));
    let whole = wasm("stranger/stranger");
    for cut in (0..whole.len()).step_by(whole.len() / 97) {
        // Cut between two sections it is another file, not a damaged one.
        let _ = FileFacts::read(&whole[..cut]);
    }
}
