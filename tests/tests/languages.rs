//! The same policy in C, JavaScript and Python: each is built with the tools of its language, loads into the host, and
//! answers as the cases say, which are the same for all, within the default budget of a call. C is built in every run; the
//! other two take about a minute and half a gigabyte of tools, so they are built in the long form.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::path::PathBuf;
use std::process::Command;

use longshore_policy_test::Subject;
use longshore_sandbox::{Budget, Sandbox, SandboxConfig};
use longshore_tests::{Ran, not_run, root};

/// Exit code of the build script where a tool cannot be had.
const UNAVAILABLE: i32 = 3;

/// The policy in a language, or `None` (noted as skipped) where its tools cannot be had.
fn built(language: &str) -> Option<PathBuf> {
    let script = root().join("examples/policies/build.sh");
    let ran: Ran = Command::new("bash").arg(script).arg(language).output().expect("bash runs").into();
    if ran.code == UNAVAILABLE {
        not_run(&format!("the example policy in {language}: {}", ran.stderr.trim()));
        return None;
    }
    Some(ran.ok().stdout.trim().into())
}

fn answers_as_the_cases_say(language: &str) {
    let Some(wasm) = built(language) else { return };
    let sandbox = Sandbox::new(SandboxConfig::default()).unwrap();
    // An interpreter takes long to compile on a busy machine. Everything else is what a plugin gets by default.
    let budget = Budget { compile_time_ms: Budget::CEILING.compile_time_ms, ..Budget::default() };
    let subject = Subject::load_in(&sandbox, &wasm, &budget).unwrap();
    assert_eq!((subject.about().name.as_str(), subject.about().version.as_str()), ("tagged", "0.1.0"));
    subject.test(root().join("examples/policies/cases")).unwrap().expect_pass();
}

fn in_the_long_form(language: &str) -> bool {
    let long = std::env::var_os("LONGSHORE_LONG").is_some();
    if !long {
        not_run(&format!("the example policy in {language}: it is built in the long form, `make test-full`"));
    }
    long
}

#[test]
fn a_policy_in_c_answers_as_the_cases_say() {
    answers_as_the_cases_say("c");
}

#[test]
fn a_policy_in_javascript_answers_as_the_cases_say() {
    if in_the_long_form("javascript") {
        answers_as_the_cases_say("javascript");
    }
}

#[test]
fn a_policy_in_python_answers_as_the_cases_say() {
    if in_the_long_form("python") {
        answers_as_the_cases_say("python");
    }
}
