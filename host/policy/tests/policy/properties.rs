//! What holds whatever the oracles say. A failing case prints its input, and its seed is kept beside this file.

use std::collections::BTreeSet;
use std::sync::Arc;

use longshore_model::{CollectionFacts, FileClass, PolicyKind, RegionOffer, RunKind, RunTrigger, Selected};
use longshore_policy::{Guardrails, Limits, Member, OnFailure, PolicySet};
use proptest::prelude::*;

use crate::support::*;

/// A number that depends on nothing but its inputs.
fn dice(seed: u64, what: &str) -> u64 {
    let hash = blake3::hash(format!("{seed}/{what}").as_bytes());
    u64::from_le_bytes(hash.as_bytes()[..8].try_into().unwrap())
}

/// A stateless oracle that has some opinion or none, by the dice.
fn random_oracle(name: &str, seed: u64) -> Fake {
    Fake::new(name)
        .select_each(move |facts| {
            let roll = dice(seed, &facts.name.to_string());
            (!roll.is_multiple_of(3)).then(|| Selected {
                include_index_files: roll & 8 > 0,
                priority: i32::try_from(roll % 7).unwrap() - 3,
                ..selected(roll % 3 == 1, "dice")
            })
        })
        .choose_each(move |stream| {
            let roll = dice(seed, &format!("{}/{}", stream.collection, stream.class));
            let offer = usize::try_from(roll).unwrap() / 2 % stream.offers.len();
            roll.is_multiple_of(2).then(|| codec(&stream.offers[offer].codec.to_string(), "dice"))
        })
        .place_each(move |facts, regions| {
            let roll = dice(seed, &facts.name.to_string());
            let at = usize::try_from(roll / 2).unwrap() % regions.len();
            let next = (at + 1) % regions.len();
            let days = Some(u32::try_from(roll % 40).unwrap());
            let copies: Vec<_> = (next != at).then(|| (regions[next].id.as_str(), days)).into_iter().collect();
            roll.is_multiple_of(2).then(|| placed(regions[at].id.as_str(), &copies, days))
        })
}

fn random_set(seeds: &[u64], page_items: usize) -> PolicySet {
    let mut builder = PolicySet::builder().limits(Limits { page_items, ..Limits::DEFAULT });
    for kind in PolicyKind::ALL {
        for (number, seed) in seeds.iter().enumerate() {
            let fake = Arc::new(random_oracle(&format!("random{number}"), *seed));
            // Some fail now and then, and are skipped where that is allowed.
            let on_failure = if kind == PolicyKind::Placement { OnFailure::Fail } else { OnFailure::Skip };
            builder = builder.member(kind, Member { on_failure, ..member(&fake) }).unwrap();
        }
        builder = builder.member(kind, member(&Arc::new(Fake::standard()))).unwrap();
    }
    builder.build().unwrap()
}

fn facts() -> impl Strategy<Value = Vec<CollectionFacts>> {
    let one = ("[a-c]{1,2}", "[a-e]{1,2}", any::<bool>());
    let names = proptest::collection::btree_map(one.0, proptest::collection::btree_map(one.1, one.2, 0..6), 0..4);
    names.prop_map(|databases| {
        let all = databases.into_iter().flat_map(|(database, collections)| {
            collections.into_iter().map(move |(name, protected)| (format!("{database}.{name}"), protected))
        });
        let mut all: Vec<CollectionFacts> =
            all.map(|(name, protected)| CollectionFacts { protected, ..collection(&name) }).collect();
        // Not in order: the set has to put them in order itself.
        all.sort_by_key(|facts| dice(1, &facts.name.to_string()));
        all
    })
}

fn run_kinds() -> impl Strategy<Value = (RunKind, RunTrigger)> {
    let kinds = prop_oneof![Just(RunKind::Cluster), Just(RunKind::Collection)];
    (kinds, prop_oneof![Just(RunTrigger::Manual), Just(RunTrigger::Automatic)])
}

fn offers() -> Vec<RegionOffer> {
    regions(&["eu-1/aws", "eu-2/gcp", "us-1/aws", "us-2/gcp"])
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn paging_never_changes_what_stateless_oracles_decide(
        seeds in proptest::collection::vec(any::<u64>(), 0..3), facts in facts(), page_items in 1..8_usize,
    ) {
        let (whole, cut) = (random_set(&seeds, 1_000), random_set(&seeds, page_items));
        let run = automatic();
        let streams: Vec<_> = facts.iter().flat_map(|facts| {
            [FileClass::Wal, FileClass::Segment].map(|class| stream(&facts.name.to_string(), class, &["store", "lz4", "zstd-1"]))
        }).collect();
        let select = |set: &PolicySet| set.select(&run, &facts, &no_guardrails()).unwrap().decisions;
        let choose = |set: &PolicySet| set.choose(&run, &streams).unwrap().decisions;
        let place = |set: &PolicySet| set.place(&run, &facts, &offers(), &no_guardrails()).unwrap().decisions;
        prop_assert_eq!(select(&whole), select(&cut));
        prop_assert_eq!(choose(&whole), choose(&cut));
        prop_assert_eq!(place(&whole), place(&cut));
    }

    #[test]
    fn every_item_gets_exactly_one_decision_in_the_order_given(
        seeds in proptest::collection::vec(any::<u64>(), 0..4), facts in facts(), page_items in 1..8_usize,
    ) {
        let set = random_set(&seeds, page_items);
        let names: Vec<_> = facts.iter().map(|facts| facts.name.clone()).collect();
        let plan = set.select(&manual(), &facts, &no_guardrails()).unwrap();
        prop_assert_eq!(plan.decisions.iter().map(|d| d.collection.clone()).collect::<Vec<_>>(), names.clone());
        let plan = set.place(&manual(), &facts, &offers(), &no_guardrails()).unwrap();
        prop_assert_eq!(plan.decisions.iter().map(|d| d.collection.clone()).collect::<Vec<_>>(), names);
    }

    #[test]
    fn protected_and_requested_collections_are_never_left_out(
        seeds in proptest::collection::vec(any::<u64>(), 1..4), facts in facts(), kinds in run_kinds(),
    ) {
        let mut facts = facts;
        for facts in &mut facts {
            facts.requested = kinds.0 == RunKind::Collection;
        }
        let guardrails = Guardrails { protected: vec!["a*.*".parse().unwrap()], ..no_guardrails() };
        let plan = random_set(&seeds, 3).select(&run(kinds.0, kinds.1), &facts, &guardrails).unwrap();
        for (facts, decision) in facts.iter().zip(&plan.decisions) {
            let kept = facts.protected || facts.requested || facts.name.database.starts_with('a');
            prop_assert!(decision.value.include_collection || !kept, "{:?}", decision);
            // And nothing changes silently: an answer that does not hold is kept beside the one that does.
            if let Some(changed) = &decision.overridden {
                prop_assert!(!changed.original.include_collection && kept);
            } else {
                prop_assert_eq!(&decision.value.reason.message, if decision.decided_by.plugin == "standard" { "Because of all-in." } else { "Because of dice." });
            }
        }
    }

    #[test]
    fn allowed_regions_are_never_left_and_retention_is_never_shortened(
        seeds in proptest::collection::vec(any::<u64>(), 1..4), facts in facts(), kinds in run_kinds(),
        allowed in proptest::sample::subsequence(vec!["eu-1", "eu-2", "us-1", "us-2"], 1..=4),
        minimum in proptest::option::of(1..31_u32),
    ) {
        let guardrails = Guardrails {
            allowed_regions: Some(allowed.iter().map(|id| id.parse().unwrap()).collect()),
            minimum_retention_days: minimum,
            ..no_guardrails()
        };
        let run = run(kinds.0, kinds.1);
        let plan = random_set(&seeds, 3).place(&run, &facts, &offers(), &guardrails).unwrap();
        for decision in &plan.decisions {
            let value = &decision.value;
            let used: Vec<&str> =
                std::iter::once(&value.region).chain(value.copies.iter().map(|copy| &copy.region)).map(|id| id.as_str()).collect();
            prop_assert!(used.iter().all(|id| allowed.contains(id)));
            prop_assert_eq!(used.iter().collect::<BTreeSet<_>>().len(), used.len());
            for days in std::iter::once(value.retention_days).chain(value.copies.iter().map(|copy| copy.retention_days)) {
                match run.trigger {
                    RunTrigger::Manual => prop_assert_eq!(days, None),
                    RunTrigger::Automatic => prop_assert!(days.is_none_or(|days| days >= minimum.unwrap_or(0))),
                }
            }
        }
    }
}
