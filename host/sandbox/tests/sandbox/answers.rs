//! Answers that are used, and answers that are not.

use longshore_model::{PolicyKind, RegionOffer};
use longshore_sandbox::{Budget, Plugin, SandboxError};

use super::fixtures::{behave, call, hostile, page, regions, run, sandbox, select, select_with, streams, wasm};

fn bad(result: Result<impl std::fmt::Debug, SandboxError>) -> String {
    match result.unwrap_err() {
        SandboxError::BadAnswer { plugin, what, .. } => {
            assert_eq!(plugin, "hostile 0.1.0");
            what
        }
        error => panic!("{error:?}"),
    }
}

#[test]
fn an_honest_plugin_answers_by_place_for_every_kind() {
    let (run, budget, settings) = (run(), Budget::default(), behave("honest"));
    let call = call(&run, &settings, &budget);

    let selected = hostile().select(&call, &page(3)).unwrap();
    assert_eq!(selected.answer.iter().map(|(id, _)| *id).collect::<Vec<_>>(), [0, 1, 2]);
    assert!(selected.answer.iter().all(|(_, selected)| selected.include_collection));
    assert!(selected.fuel_used > 0 && selected.peak_memory_bytes >= 65_536);

    let chosen = hostile().choose(&call, &streams(2)).unwrap();
    assert_eq!(
        chosen.answer.iter().map(|(_, choice)| choice.codec.to_string()).collect::<Vec<_>>(),
        ["store", "store"]
    );

    let placed = hostile().place(&call, &page(2), &regions()).unwrap();
    assert!(placed.answer.iter().all(|(_, placed)| placed.region.as_str() == "local" && placed.copies.is_empty()));
    assert_eq!(placed.answer.len(), 2);
}

#[test]
fn an_empty_page_and_a_page_without_answers_are_fine() {
    let (run, budget) = (run(), Budget::default());
    assert!(hostile().select(&call(&run, &behave("honest"), &budget), &[]).unwrap().answer.is_empty());
    assert!(select("answer-nothing").unwrap().answer.is_empty());
}

#[test]
fn a_second_answer_for_an_item_and_an_answer_for_an_unknown_one_fail_the_call() {
    assert_eq!(bad(select("answer-twice")), "it answers twice about item 0 (default.c0000)");
    assert_eq!(bad(select("answer-unknown")), "it answers about item 1000001, which it was not asked about");
}

#[test]
fn a_codec_or_region_that_was_not_offered_fails_the_call_and_the_offers_are_named() {
    let (run, budget) = (run(), Budget::default());
    let what = bad(hostile().choose(&call(&run, &behave("unknown-codec"), &budget), &streams(1)));
    assert_eq!(
        what,
        "about item 0 (segment of default.c0000), codec `quantum-9` was not offered, only store, zstd-1, shuffle4-zstd-1"
    );
    let what = bad(hostile().place(&call(&run, &behave("unknown-region"), &budget), &page(1), &regions()));
    assert_eq!(what, "about item 0 (default.c0000), region `moon-north-1` was not offered, only local, second");
}

#[test]
fn reasons_that_are_long_or_hold_control_characters_and_a_huge_carry_fail_the_call() {
    assert!(bad(select("huge-reason")).contains("has 1048576 bytes, and 512 are allowed"));
    let what = bad(select("control-characters"));
    assert!(what.contains("holds control characters") && what.contains("\\u{1b}[31m"), "{what}");
    assert!(!what.chars().any(char::is_control), "{what:?}");
    assert_eq!(bad(select("huge-carry")), "its carry has 1048576 bytes, and 65536 are allowed");
}

#[test]
fn the_largest_reason_and_carry_that_are_allowed_are_accepted() {
    let sized = |behaviour: &str, bytes: u32| {
        let settings = format!("{{\"behaviour\": \"{behaviour}\", \"size_bytes\": {bytes}}}");
        select_with(hostile(), &settings, &Budget::default())
    };
    assert_eq!(sized("huge-reason", 512).unwrap().answer.len(), 2);
    bad(sized("huge-reason", 513));
    assert_eq!(sized("huge-carry", 65_536).unwrap().carry.len(), 65_536);
    bad(sized("huge-carry", 65_537));
}

#[test]
fn carry_goes_from_page_to_page() {
    let (run, budget, settings) = (run(), Budget::default(), behave("carry"));
    let mut carry = Vec::new();
    for number in 1..=3_u32 {
        let mut call = call(&run, &settings, &budget);
        (call.carry, call.page_number, call.last_page) = (&carry, number - 1, number == 3);
        let outcome = hostile().select(&call, &page(1)).unwrap();
        let message = outcome.answer.first().map(|(_, selected)| selected.reason.message.clone()).unwrap();
        assert_eq!(message, format!("This is page {number} by the count in carry."));
        carry = outcome.carry;
    }
}

#[test]
fn a_refusal_is_told_from_a_failure() {
    let error = select("refuse").unwrap_err();
    assert_eq!(
        error.to_string(),
        "plugin hostile 0.1.0 refuses the run: This policy refuses, as it was told to. (hostile-refusal)"
    );
    assert!(matches!(error, SandboxError::Refused { refusal, .. } if refusal.reason.code == "hostile-refusal"));
}

#[test]
fn settings_reach_the_plugin_as_they_are() {
    let error = select_with(hostile(), "{\"behaviour\": \"no-such\"}", &Budget::default()).unwrap_err();
    assert!(matches!(error, SandboxError::Refused { .. }), "{error:?}");
}

#[test]
fn a_plugin_is_not_asked_for_a_kind_it_does_not_serve() {
    let plugin = sandbox().load(&wasm("residency/residency"), &Budget::default()).unwrap();
    assert_eq!(plugin.kinds(), [PolicyKind::Placement]);
    assert!(plugin.serves(PolicyKind::Placement) && !plugin.serves(PolicyKind::Selection));
    let error = select_with(&plugin, "{}", &Budget::default()).unwrap_err();
    assert_eq!(
        error.to_string(),
        format!(
            "plugin residency {} makes no selection decisions: take it out of the selection chain",
            plugin.about().version
        )
    );
}

#[test]
fn a_question_larger_than_the_contract_allows_is_not_asked() {
    let (run, budget) = (run(), Budget::default());
    let honest = behave("honest");
    let large = |what: &str, result: Result<(), SandboxError>| {
        let error = result.unwrap_err();
        assert!(matches!(&error, SandboxError::BadCall { what: named, .. } if *named == what), "{error:?}");
    };
    let ask = call(&run, &honest, &budget);
    large("collections", hostile().select(&ask, &page(1_001)).map(drop));
    large("streams", hostile().choose(&ask, &streams(5_001)).map(drop));
    large("collections", hostile().place(&ask, &page(1_001), &regions()).map(drop));
    let many = |count: usize| -> Vec<RegionOffer> {
        let offer = regions().remove(0);
        let id = |number: usize| format!("region-{number}").parse().unwrap();
        (0..count).map(|number| RegionOffer { id: id(number), home: number == 0, ..offer.clone() }).collect()
    };
    large("regions", hostile().place(&ask, &page(1), &many(1_001)).map(drop));
    assert_eq!(hostile().place(&ask, &page(1), &many(1_000)).unwrap().answer.len(), 1, "as many as there may be");
    let mut carried = ask;
    let carry = vec![0; 65_537];
    carried.carry = &carry;
    large("bytes of carry", hostile().select(&carried, &page(1)).map(drop));
    let settings = format!("{{\"behaviour\": \"honest\"{}}}", " ".repeat(300_000));
    large("bytes of settings", hostile().select(&call(&run, &settings, &budget), &page(1)).map(drop));
}

#[test]
fn the_standard_policy_answers_a_full_page_of_every_kind() {
    let plugin: Plugin = sandbox().load(&wasm("standard/standard"), &Budget::default()).unwrap();
    let (run, budget) = (run(), Budget::default());
    let call = call(&run, "{}", &budget);
    assert_eq!(plugin.select(&call, &page(1_000)).unwrap().answer.len(), 1_000);
    assert_eq!(plugin.choose(&call, &streams(5_000)).unwrap().answer.len(), 5_000);
    assert_eq!(plugin.place(&call, &page(1_000), &regions()).unwrap().answer.len(), 1_000);
}
