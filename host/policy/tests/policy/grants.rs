//! What members may see beside the facts.

use std::sync::Arc;

use longshore_model::PolicyKind;
use longshore_policy::{
    DecisionRecord, GrantedFiles, Grants, KeptFiles, KeptRecords, Member, PolicyError, PolicySet, ReadGrant, Shadow,
    read_kept, replay,
};

use crate::support::*;

fn grant(guest: &str) -> ReadGrant {
    ReadGrant { guest: guest.to_owned(), host: "/on/the/host".into() }
}

fn files(rule: &str) -> GrantedFiles {
    serde_json::from_value(serde_json::json!({"/rules": {"rule.txt": {"text": rule}}})).unwrap()
}

/// An oracle that gives the text of its only rule as its reason.
fn reader() -> Arc<Fake> {
    Arc::new(Fake::standard().select_pages(|call, page| {
        let rule = call.files.files().map(|(_, _, bytes)| std::str::from_utf8(bytes).unwrap()).collect::<String>();
        let code = if rule.is_empty() { "no-rule".to_owned() } else { rule };
        Ok(outcome((0_u32..).zip(page).map(|(place, _)| (place, selected(true, &code))).collect()))
    }))
}

fn granted_set(oracle: &Arc<Fake>) -> PolicySet {
    let granted = Member { grants: Grants { read: vec![grant("/rules")] }, ..member(oracle) };
    builder(&[granted]).build().unwrap()
}

fn reading(set: &PolicySet, rule: &str) -> PolicySet {
    set.with_files(|_| Ok::<_, PolicyError>(files(rule))).unwrap()
}

fn code(set: &PolicySet) -> (String, DecisionRecord) {
    let mut plan = set.select(&manual(), &collections(&["a"]), &no_guardrails()).unwrap();
    (plan.decisions.remove(0).value.reason.code, plan.records.remove(0))
}

#[test]
fn a_member_sees_the_files_of_its_run_and_no_member_those_of_another() {
    let oracle = reader();
    let set = granted_set(&oracle);
    assert!(set.has_grants());
    assert_eq!(code(&reading(&set, "first")).0, "first");
    assert_eq!(code(&reading(&set, "second")).0, "second");
    let other = Member { name: "other".to_owned(), ..member(&reader()) };
    let both = builder(&[other, Member { grants: Grants { read: vec![grant("/rules")] }, ..member(&oracle) }]);
    let plan = reading(&both.build().unwrap(), "rule").select(&manual(), &collections(&["a"]), &no_guardrails());
    let decision = plan.unwrap().decisions.remove(0);
    assert_eq!((decision.value.reason.code.as_str(), decision.others[0].reason.code.as_str()), ("no-rule", "rule"));
}

#[test]
fn a_record_keeps_the_files_and_is_asked_again_with_them() {
    let oracle = reader();
    let (_, record) = code(&reading(&granted_set(&oracle), "then"));
    let text = record.to_json().unwrap();
    assert!(text.contains(r#""files":{"/rules":{"rule.txt":{"text":"then"}}}"#), "{text}");
    let read = DecisionRecord::from_json(&text).unwrap();
    assert_eq!(read, record);
    assert!(replay(&read, oracle.as_ref()).unwrap().same);
    let changed = DecisionRecord { files: files("now"), ..read };
    assert_eq!(replay(&changed, oracle.as_ref()).unwrap().differences[0].what, "answer");
}

#[test]
fn a_candidate_sees_the_files_of_its_member_as_they_were_in_the_run() {
    let member_reader = reader();
    let candidate = Arc::new(Fake::standard().select_pages(|call, page| {
        let then = call.files.files().any(|(_, _, bytes)| bytes == b"then");
        Ok(outcome((0_u32..).zip(page).map(|(place, _)| (place, selected(then, "by-rule"))).collect()))
    }));
    let shadow =
        Shadow { plugin: candidate, settings: serde_json::json!({}), budget: longshore_policy::Budget::default() };
    let granted =
        Member { grants: Grants { read: vec![grant("/rules")] }, shadow: Some(shadow), ..member(&member_reader) };
    let set = builder(&[granted]).build().unwrap();
    let run = reading(&set, "then");
    let plan = run.select(&manual(), &collections(&["a"]), &no_guardrails()).unwrap();
    let outcome = run.ask_shadows(&plan.records).remove(0);
    assert_eq!((outcome.decisions, outcome.changed, &outcome.failure), (1, 0, &None), "it saw the same rule");
    let mut other = plan.records;
    other[0].files = files("now");
    let outcome = run.ask_shadows(&other).remove(0);
    assert_eq!((outcome.changed, &outcome.failure), (1, &None), "{outcome:?}");
}

#[test]
fn the_records_of_a_run_keep_files_once_and_are_read_as_they_were() {
    let (with, other, without) = (reader(), reader(), reader());
    let granted = |name: &str, oracle: &Arc<Fake>| Member {
        name: name.to_owned(),
        grants: Grants { read: vec![grant("/rules")] },
        ..member(oracle)
    };
    let set = builder(&[granted("with", &with), granted("other", &other), member(&without)]).build().unwrap();
    let mut read = 0;
    let set = set.with_files(|_| {
        read += 1;
        Ok::<_, PolicyError>(files(if read == 1 { "one" } else { "two" }))
    });
    // Three pages each.
    let names: Vec<String> = (0..2_500).map(|number| format!("c{number:04}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let plan = set.unwrap().select(&manual(), &collections(&names), &no_guardrails()).unwrap();
    assert_eq!(plan.records.len(), 9);
    assert!(plan.records.iter().filter(|record| !record.files.is_empty()).count() == 6);
    let written = serde_json::to_value(KeptRecords::of(&plan.records).unwrap()).unwrap();
    assert_eq!(written["grantedFiles"].as_array().unwrap().len(), 2, "of two members with different files");
    let texts: Vec<String> = written["records"].as_array().unwrap().iter().map(ToString::to_string).collect();
    let read = |files: &[KeptFiles]| read_kept(texts.iter().map(String::as_str), files).unwrap();
    let kept: Vec<KeptFiles> = serde_json::from_value(written["grantedFiles"].clone()).unwrap();
    assert!(read(&kept) == plan.records);
    // One without files is kept as it is.
    let own = serde_json::to_string(&KeptRecords::of(&plan.records[8..]).unwrap()).unwrap();
    assert_eq!(own, format!("{{\"records\":[{}]}}", plan.records[8].to_json().unwrap()));
    // An erasure may take files away, and with them what cannot be asked again.
    let left = read(&[]);
    assert!(left.len() == 3 && left.iter().all(|one| one.files.is_empty()));
    assert!(read_kept(["{}"], &kept).unwrap_err().to_string().contains("format_version"));
}

#[test]
fn granted_files_that_nobody_read_or_of_another_directory_fail_the_run() {
    let set = granted_set(&reader());
    let error = set.select(&manual(), &collections(&["a"]), &no_guardrails()).unwrap_err();
    insta::assert_snapshot!(error, @"member `standard` cannot have its `grants`: its granted directories were not read for this run");
    let error = set.with_files(|_| Ok::<_, PolicyError>(GrantedFiles::default())).unwrap_err();
    insta::assert_snapshot!(error, @"member `standard` cannot have its `grants`: the files that were read are not those of its grants");
}

#[test]
fn grants_are_asked_for_once_per_member_and_only_of_those_that_have_some() {
    let (with, without) = (reader(), reader());
    let granted = Member { name: "with".to_owned(), grants: Grants { read: vec![grant("/rules")] }, ..member(&with) };
    let set = builder(&[granted, member(&without)]).build().unwrap();
    let mut asked = 0;
    set.with_files(|grants| {
        asked += 1;
        assert_eq!(grants.read, [grant("/rules")]);
        Ok::<_, PolicyError>(files("rule"))
    })
    .unwrap();
    assert_eq!(asked, 3, "once in each chain");
    assert!(!builder(&[member(&without)]).build().unwrap().has_grants());
}

#[test]
fn grants_that_cannot_be_given_are_refused_when_the_set_is_built() {
    let refusal = |guests: &[&str]| {
        let grants = Grants { read: guests.iter().map(|guest| grant(guest)).collect() };
        let granted = Member { grants, ..member(&reader()) };
        PolicySet::builder().member(PolicyKind::Selection, granted).unwrap_err().to_string()
    };
    insta::assert_snapshot!(refusal(&["rules"]), @"member `standard` cannot have its `grants`: files cannot be granted: `rules` is not an absolute path like `/rules`");
    insta::assert_snapshot!(refusal(&["/a", "/a/b"]), @"member `standard` cannot have its `grants`: files cannot be granted: `/a/b` lies in `/a`");
    insta::assert_snapshot!(refusal(&["/a", "/a"]), @"member `standard` cannot have its `grants`: two granted directories have the same guest path");
    assert!(serde_json::from_str::<Grants>(r#"{"write": []}"#).is_err());
}
