//! Which known name somebody probably meant.

/// The known name that takes the fewest changed letters, if they are a third of it at most.
pub(crate) fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    // A name this long is no slip of the keyboard, and comparing takes time in the product of the lengths.
    const LONGEST: usize = 200;
    if name.len() > LONGEST {
        return None;
    }
    let near = known.into_iter().map(|known| (distance(name, known), known)).min()?;
    (near.0 > 0 && near.0 * 3 <= near.1.chars().count()).then_some(near.1)
}

/// Letters to change, add or take out to make one word of the other.
fn distance(one: &str, two: &str) -> usize {
    let two: Vec<char> = two.chars().collect();
    let mut row: Vec<usize> = (0..=two.len()).collect();
    for (at, letter) in one.chars().enumerate() {
        let mut before = at;
        let mut left = at + 1;
        for (place, other) in two.iter().enumerate() {
            let above = row.get(place + 1).copied().unwrap_or(usize::MAX);
            let changed = before + usize::from(letter != *other);
            let best = changed.min(above + 1).min(left + 1);
            before = above;
            if let Some(slot) = row.get_mut(place) {
                *slot = left;
            }
            left = best;
        }
        if let Some(slot) = row.get_mut(two.len()) {
            *slot = left;
        }
    }
    row.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::{distance, nearest};

    #[test]
    fn distances_are_those_of_levenshtein() {
        for (one, two, expected) in [
            ("", "", 0),
            ("a", "", 1),
            ("", "abc", 3),
            ("kitten", "sitting", 3),
            ("flaw", "lawn", 2),
            ("same", "same", 0),
        ] {
            assert_eq!(distance(one, two), expected, "{one} {two}");
            assert_eq!(distance(two, one), expected, "{two} {one}");
        }
    }

    #[test]
    fn only_what_is_near_is_meant() {
        let known = ["selection", "compression", "placement"];
        assert_eq!(nearest("selector", known), Some("selection"));
        assert_eq!(nearest("placment", known), Some("placement"));
        assert_eq!(nearest("run", known), None);
        assert_eq!(nearest("selection", known), None, "it is there already");
        assert_eq!(nearest(&"x".repeat(300), known), None);
    }
}
