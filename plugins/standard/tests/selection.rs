//! What the default policy takes and leaves out.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use longshore_plugin::{Collection, Run, RunKind, Selected, SelectionPolicy};
use longshore_standard::Standard;
use proptest::prelude::*;

fn select(run: &Run, collection: Collection) -> Selected {
    Standard::select(run, &[collection]).unwrap().decisions.remove(0).1
}

fn excluding(pattern: &str) -> Run {
    Run::default().with_settings(format!(r#"{{"exclude_collections": ["{pattern}"]}}"#))
}

#[test]
fn without_settings_everything_is_in_without_index_files() {
    let selected = select(&Run::default(), Collection::named(4, "default", "docs"));
    assert!(selected.include_collection);
    assert!(!selected.include_index_files);
    assert_eq!(selected.priority, 0);
    assert_eq!(selected.reason.code, "selected-by-default");
}

#[test]
fn index_files_are_taken_where_the_settings_say_so() {
    let run = Run::default().with_settings(r#"{"include_index_files": true}"#);
    assert!(select(&run, Collection::named(0, "default", "docs")).include_index_files);
}

#[test]
fn a_pattern_leaves_out_what_it_matches_and_is_named_in_the_reason() {
    let run = excluding("tmp_*");
    let excluded = select(&run, Collection::named(0, "default", "tmp_7"));
    assert!(!excluded.include_collection);
    assert_eq!(excluded.reason.code, "excluded-by-pattern");
    assert!(excluded.reason.message.contains("`tmp_*`"), "{}", excluded.reason.message);
    assert!(select(&run, Collection::named(0, "default", "docs")).include_collection);
}

#[test]
fn a_collection_that_the_request_names_is_in_whatever_the_patterns_say() {
    let requested = Collection { requested: true, ..Collection::named(0, "default", "tmp_7") };
    let named_run = Run { kind: RunKind::Collection, ..excluding("tmp_*") };
    let selected = select(&named_run, requested.clone());
    assert!(selected.include_collection);
    assert_eq!(selected.reason.code, "requested-by-name");
    // In a run over the whole cluster nothing is named, so the mark means nothing there.
    assert!(!select(&excluding("tmp_*"), requested).include_collection);
}

#[test]
fn a_collection_that_the_operator_protects_is_in_whatever_the_patterns_say() {
    let protected = Collection { protected: true, ..Collection::named(0, "default", "tmp_7") };
    let selected = select(&excluding("tmp_*"), protected);
    assert!(selected.include_collection);
    assert_eq!(selected.reason.code, "protected");
}

proptest! {
    #[test]
    fn the_order_of_the_page_does_not_matter(names in proptest::collection::vec("[a-z_]{1,6}", 0..12), seed in any::<u64>()) {
        let page: Vec<Collection> =
            names.iter().enumerate().map(|(id, name)| Collection::named(id as u32, "default", name)).collect();
        let mut shuffled = page.clone();
        shuffled.sort_by_key(|collection| (u64::from(collection.id) + 1).wrapping_mul(seed | 1));
        let run = excluding("*a*");
        let answer = Standard::select(&run, &page).unwrap();
        let other = Standard::select(&run, &shuffled).unwrap();
        prop_assert_eq!(answer.decisions.len(), page.len());
        for collection in &page {
            prop_assert_eq!(answer.get(collection.id), other.get(collection.id));
        }
    }
}

#[test]
fn settings_that_it_does_not_know_are_refused() {
    let refusal = Standard::select(&Run::default().with_settings(r#"{"exclude": []}"#), &[]).unwrap_err();
    assert_eq!(refusal.reason.code, "invalid-settings");
    assert!(refusal.reason.message.contains("`exclude`"), "{}", refusal.reason.message);
}
