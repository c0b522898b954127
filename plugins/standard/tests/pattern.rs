//! Patterns that name collections.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use longshore_plugin::CollectionPattern;
use proptest::prelude::*;

#[test]
fn patterns_with_a_dot_are_about_one_database_and_patterns_without_about_all() {
    for (pattern, database, name, expected) in [
        ("scratch", "default", "scratch", true),
        ("scratch", "db", "scratch", true),
        ("scratch", "scratch", "docs", false),
        ("scratch", "default", "scratch2", false),
        ("db.scratch", "db", "scratch", true),
        ("db.scratch", "default", "scratch", false),
        ("scratch.*", "scratch", "docs", true),
        ("scratch.*", "default", "scratch", false),
        ("*", "default", "docs", true),
        ("*.*", "default", "docs", true),
        ("d?cs", "default", "docs", true),
        ("d?cs", "default", "dcs", false),
        ("docs?", "default", "docs", false),
        ("*a*b", "default", "xaxab", true),
        ("*a*b", "default", "xaxba", false),
        ("DOCS", "default", "docs", false),
        ("*中?", "default", "x中文", true),
    ] {
        let pattern_read = CollectionPattern::from(pattern.to_owned());
        assert_eq!(pattern_read.matches(database, name), expected, "{pattern} against {database}.{name}");
        assert_eq!(pattern_read.to_string(), pattern);
    }
}

/// The obvious matcher, exponential where the real one is not.
fn matches_slowly(pattern: &[char], text: &[char]) -> bool {
    match pattern.split_first() {
        None => text.is_empty(),
        Some(('*', rest)) => (0..=text.len()).any(|skipped| matches_slowly(rest, &text[skipped..])),
        Some((first, rest)) => text
            .split_first()
            .is_some_and(|(character, left)| (*first == '?' || first == character) && matches_slowly(rest, left)),
    }
}

proptest! {
    #[test]
    fn the_matcher_agrees_with_the_obvious_one(pattern in "[ab*?]{0,8}", text in "[ab]{0,8}") {
        let slowly = matches_slowly(&pattern.chars().collect::<Vec<_>>(), &text.chars().collect::<Vec<_>>());
        prop_assert_eq!(CollectionPattern::from(pattern).matches("any", &text), slowly);
    }
}

#[test]
fn a_pattern_made_to_be_slow_is_not() {
    // 100 stars against 10,000 characters: the obvious matcher would not end.
    let pattern = CollectionPattern::from("*a".repeat(100) + "b");
    assert!(!pattern.matches("default", &"a".repeat(10_000)));
}
