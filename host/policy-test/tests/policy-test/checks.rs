//! What `check` finds.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};

use longshore_model::Selected;
use longshore_policy_test::check::{CheckReport, Severity, check};
use longshore_policy_test::{Setup, Subject, report};
use longshore_sandbox::{Budget, Sandbox, SandboxConfig};

use crate::support::{Fake, plain, selected, trapped};

fn plugin(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../plugins").join(name)
}

fn standard() -> Vec<u8> {
    std::fs::read(plugin("standard/standard.wasm")).unwrap()
}

fn codes(report: &CheckReport) -> Vec<&str> {
    report.findings.iter().map(|finding| finding.code).collect()
}

#[test]
fn the_standard_policy_is_without_findings() {
    let subject = Subject::load(plugin("standard/standard.wasm")).unwrap();
    let report = check(&standard(), &Ok(subject), &[]);
    assert!(report.findings.is_empty(), "{:#?}", report.findings);
    assert_eq!(report.built_as.as_deref(), Some("component (wasm32-wasip2)"));
    assert!(report.asked.starts_with("selection of 20 collections twice, "), "{}", report.asked);
}

#[test]
fn a_misfit_is_explained_as_a_compiler_would() {
    let sandbox = Sandbox::new(SandboxConfig::default()).unwrap();
    let bytes = std::fs::read(plugin("stranger/stranger.wasm")).unwrap();
    let loaded = Subject::load_bytes(&sandbox, "stranger.wasm", &bytes, &Budget::default());
    let report = check(&bytes, &loaded, &[]);
    assert_eq!(report.count(Severity::Error), 1);
    // The first line names bytes and compilers, which another build of the file changes.
    let text = report::check("stranger.wasm", &report);
    let (first, rest) = text.split_once('\n').unwrap();
    assert!(first.starts_with("stranger.wasm: component (wasm32-wasip2), "), "{first}");
    insta::assert_snapshot!(rest);
}

#[test]
fn a_schema_that_no_host_would_take_is_an_error() {
    let unusable = plain().schema(r##"{"type": "object", "properties": {"a": {"pattern": "("}}}"##);
    let report = check(&standard(), &Subject::new(Arc::new(unusable)), &[]);
    assert_eq!((codes(&report), report.count(Severity::Error)), (vec!["bad-schema"], 1));
}

#[test]
fn what_could_be_better_is_a_warning() {
    let open = r#"{"properties": {"days": {"type": "integer"}, "weeks": {"type": "integer", "title": "Weeks"}}}"#;
    let subject = plain().schema(open).anonymous().subject();
    // An empty module with 20,000 bytes of debug information: a custom section, its length in three groups of seven bits.
    let mut bytes = b"\0asm\x01\0\0\0".to_vec();
    let name = b".debug_info";
    let size = 1 + name.len() + 20_000;
    let seven = |shift: usize| u8::try_from(size >> shift & 0x7f).unwrap();
    bytes.extend([0, seven(0) | 0x80, seven(7) | 0x80, seven(14)]);
    bytes.push(u8::try_from(name.len()).unwrap());
    bytes.extend(name);
    bytes.extend(std::iter::repeat_n(0, 20_000));
    let report = check(&bytes, &Ok(subject), &[]);
    assert_eq!(
        codes(&report),
        ["no-description", "no-author", "undescribed-setting", "schema-type", "open-schema", "debug-sections"]
    );
    insta::assert_snapshot!(report::check("tiered.wasm", &report));
}

#[test]
fn a_plugin_that_fails_at_once_or_does_two_things_is_an_error() {
    let crashing = Fake::new().select_pages(|_, _| Err(trapped())).subject();
    let report = check(&standard(), &Ok(crashing), &[]);
    assert_eq!((codes(&report), report.count(Severity::Error)), (vec!["fails"], 1));
    let calls = AtomicI32::new(0);
    let moody = Fake::new()
        .select(move |_| Some(Selected { priority: calls.fetch_add(1, Ordering::SeqCst), ..selected(true, "x") }))
        .subject();
    assert_eq!(codes(&check(&standard(), &Ok(moody), &[])), ["not-deterministic"]);
}

#[test]
fn settings_of_the_cases_are_used_where_none_is_not_enough() {
    let schema = r#"{"type": "object", "additionalProperties": false, "required": ["days"],
        "properties": {"days": {"type": "integer", "title": "Days"}}}"#;
    let report = check(&standard(), &Ok(plain().schema(schema).subject()), &[]);
    assert!(report.asked.contains("needs settings"), "{}", report.asked);
    let report =
        check(&standard(), &Ok(plain().schema(schema).subject()), &[Setup::of(serde_json::json!({"days": 1}))]);
    assert!(report.asked.contains("selection of 20"), "{}", report.asked);
}
