//! What the host insists on.

use std::sync::{Arc, Mutex};

use longshore_model::{RunKind, RunTrigger, Selected};
use longshore_policy::{Guardrails, PolicyError};

use crate::support::*;

fn leaves_all_out() -> Arc<Fake> {
    Arc::new(Fake::new("none").select_each(|_| Some(selected(false, "nothing-matters"))))
}

#[test]
fn a_protected_collection_stays_in_and_the_decision_says_so() {
    let wants_indexes =
        Arc::new(Fake::new("indexes").select_each(|_| {
            Some(Selected { include_index_files: true, priority: 9, ..selected(true, "fast-restore") })
        }));
    let guardrails = Guardrails { protected: vec!["books.*".parse().unwrap()], ..no_guardrails() };
    let facts = collections(&["books.ledger", "tmp"]);
    let plan = set(&[&leaves_all_out(), &wants_indexes]).select(&manual(), &facts, &guardrails).unwrap();
    let kept = &plan.decisions[0];
    assert!(kept.value.include_collection);
    assert!(kept.value.include_index_files && kept.value.priority == 9, "taken from who wanted it");
    assert_eq!(kept.value.reason.code, "protected");
    assert_eq!(kept.decided_by.member, "none");
    let changed = kept.overridden.as_ref().unwrap();
    assert_eq!(changed.rule, "protected");
    assert_eq!(changed.original.reason.code, "nothing-matters");
    assert!(!changed.original.include_collection);
    assert!(!plan.decisions[1].value.include_collection);
    assert!(plan.decisions[1].overridden.is_none());
}

#[test]
fn protection_comes_from_a_fact_a_pattern_a_property_or_a_label() {
    let guardrails = Guardrails {
        protected: vec!["*_ledger".parse().unwrap()],
        protected_properties: vec!["backup.protected".to_owned()],
        ..no_guardrails()
    };
    let with = |key: &str, value: &str| {
        let mut facts = collection("a");
        facts.properties = vec![(key.to_owned(), value.to_owned())];
        facts
    };
    let labelled = |value: &str| {
        let mut facts = collection("a");
        facts.labels = vec![("backup.protected".to_owned(), value.to_owned())];
        facts
    };
    let mut by_fact = collection("a");
    by_fact.protected = true;
    for protected in [
        by_fact,
        collection("main_ledger"),
        with("backup.protected", "true"),
        with("backup.protected", "legal-hold"),
        labelled("1"),
    ] {
        assert!(guardrails.protects(&protected), "{protected:?}");
    }
    for free in
        [collection("a"), with("backup.protected", " False "), with("other", "true"), labelled("no"), labelled("")]
    {
        assert!(!guardrails.protects(&free), "{free:?}");
    }
}

#[test]
fn a_policy_sees_which_collections_are_protected() {
    let seen: Arc<Mutex<Vec<bool>>> = Arc::default();
    let (select_seen, place_seen) = (Arc::clone(&seen), Arc::clone(&seen));
    let spy = Arc::new(
        Fake::new("spy")
            .select_each(move |facts| {
                select_seen.lock().unwrap().push(facts.protected);
                Some(selected(true, "in"))
            })
            .place_each(move |facts, _| {
                place_seen.lock().unwrap().push(facts.protected);
                Some(placed("eu-1", &[], None))
            }),
    );
    let guardrails = Guardrails { protected: vec!["b".parse().unwrap()], ..no_guardrails() };
    let set = set(&[&spy]);
    set.select(&manual(), &collections(&["a", "b"]), &guardrails).unwrap();
    set.place(&manual(), &collections(&["a", "b"]), &regions(&["eu-1"]), &guardrails).unwrap();
    assert_eq!(*seen.lock().unwrap(), [false, true, false, true]);
}

#[test]
fn a_collection_named_in_the_request_cannot_be_dropped() {
    let mut facts = collections(&["a"]);
    facts[0].requested = true;
    let set = set(&[&leaves_all_out()]);
    let named = run(RunKind::Collection, RunTrigger::Manual);
    let plan = set.select(&named, &facts, &no_guardrails()).unwrap();
    assert!(plan.decisions[0].value.include_collection);
    assert_eq!(plan.decisions[0].overridden.as_ref().unwrap().rule, "requested");
    let plan = set.select(&manual(), &facts, &no_guardrails()).unwrap();
    assert!(!plan.decisions[0].value.include_collection, "in a cluster run a name in the request means nothing");
}

#[test]
fn regions_and_providers_outside_the_lists_are_not_even_offered() {
    let offered: Arc<Mutex<Vec<String>>> = Arc::default();
    let spy_offered = Arc::clone(&offered);
    let spy = Arc::new(Fake::new("spy").place_each(move |_, regions| {
        *spy_offered.lock().unwrap() = regions.iter().map(|region| region.id.to_string()).collect();
        Some(placed(regions[0].id.as_str(), &[], None))
    }));
    let set = set(&[&spy]);
    let all = regions(&["eu-1/aws", "eu-2/gcp", "us-1/aws"]);
    let guardrails = Guardrails {
        allowed_regions: Some(vec!["eu-1".parse().unwrap(), "eu-2".parse().unwrap()]),
        allowed_providers: Some(vec!["gcp".to_owned()]),
        ..no_guardrails()
    };
    set.place(&manual(), &collections(&["a"]), &all, &guardrails).unwrap();
    assert_eq!(*offered.lock().unwrap(), ["eu-2"]);
    set.place(&manual(), &collections(&["a"]), &all, &no_guardrails()).unwrap();
    assert_eq!(offered.lock().unwrap().len(), 3);
    let nothing = Guardrails { allowed_regions: Some(Vec::new()), ..no_guardrails() };
    let error = set.place(&manual(), &collections(&["a"]), &all, &nothing).unwrap_err();
    insta::assert_snapshot!(error, @"none of the regions of this run (eu-1, eu-2, us-1) may be used by the project; allow one of them or configure a vault in an allowed region");
}

#[test]
fn an_answer_in_a_region_that_guardrails_took_away_is_an_error() {
    let stubborn = Arc::new(Fake::new("stubborn").place_each(|_, _| Some(placed("us-1", &[], None))));
    let guardrails = Guardrails { allowed_regions: Some(vec!["eu-1".parse().unwrap()]), ..no_guardrails() };
    let offers = regions(&["eu-1", "us-1"]);
    let error = set(&[&stubborn]).place(&manual(), &collections(&["a"]), &offers, &guardrails).unwrap_err();
    assert!(matches!(error, PolicyError::PluginFailed { .. }), "{error}");
}

#[test]
fn retention_of_automatic_backups_is_only_lengthened() {
    let short = Arc::new(Fake::new("short").place_each(|c, _| {
        Some(match c.name.collection.as_str() {
            "a" => placed("eu-1", &[("eu-2", Some(1)), ("eu-3", Some(20)), ("eu-4", None)], Some(3)),
            _ => placed("eu-1", &[], Some(30)),
        })
    }));
    let guardrails = Guardrails { minimum_retention_days: Some(7), ..no_guardrails() };
    let offers = regions(&["eu-1", "eu-2", "eu-3", "eu-4"]);
    let plan = set(&[&short]).place(&automatic(), &collections(&["a", "b"]), &offers, &guardrails).unwrap();
    let value = &plan.decisions[0].value;
    assert_eq!(value.retention_days, Some(7));
    assert_eq!(value.copies.iter().map(|copy| copy.retention_days).collect::<Vec<_>>(), [Some(7), Some(20), None]);
    let changed = plan.decisions[0].overridden.as_ref().unwrap();
    assert_eq!((changed.rule.as_str(), changed.original.retention_days), ("retention-only-lengthened", Some(3)));
    assert_eq!(plan.decisions[1].value.retention_days, Some(30));
    assert!(plan.decisions[1].overridden.is_none());
}

#[test]
fn manual_backups_never_expire() {
    let keen = Arc::new(Fake::new("keen").place_each(|c, _| {
        let days = (c.name.collection == "a").then_some(1);
        Some(placed("eu-1", &[("eu-2", days)], days))
    }));
    let offers = regions(&["eu-1", "eu-2"]);
    let plan = set(&[&keen]).place(&manual(), &collections(&["a", "b"]), &offers, &no_guardrails()).unwrap();
    let value = &plan.decisions[0].value;
    assert_eq!((value.retention_days, value.copies[0].retention_days), (None, None));
    assert_eq!(plan.decisions[0].overridden.as_ref().unwrap().rule, "manual-never-expires");
    assert!(plan.decisions[1].overridden.is_none());
}

#[test]
fn guardrails_are_read_from_a_configuration_and_unknown_ones_are_refused() {
    let read: Guardrails = serde_json::from_str(r#"{"protected": ["prod.*"], "allowed_regions": ["eu-1"]}"#).unwrap();
    assert_eq!(read.protected[0].as_str(), "prod.*");
    assert_eq!(serde_json::from_str::<Guardrails>(&serde_json::to_string(&read).unwrap()).unwrap(), read);
    assert!(serde_json::from_str::<Guardrails>(r#"{"protcted": ["prod.*"]}"#).is_err());
    assert!(serde_json::from_str::<Guardrails>(r#"{"protected": ["a/b"]}"#).is_err());
}
