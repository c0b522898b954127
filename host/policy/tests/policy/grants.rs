//! What members may see beside the facts.

use std::sync::Arc;

use longshore_model::PolicyKind;
use longshore_policy::{DecisionRecord, GrantedFiles, Grants, Member, PolicyError, PolicySet, ReadGrant, replay};

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
