//! Text that comes from a plugin, made safe to show.

/// True for characters that could disturb a terminal, a log line or the order in which a line reads.
pub(crate) fn is_unsafe(character: char) -> bool {
    character.is_control()
        || matches!(character,
            // Zero width, line and paragraph separators, and marks that change the direction of text.
            '\u{200B}'..='\u{200F}' | '\u{2028}'..='\u{202E}' | '\u{2060}'..='\u{206F}' | '\u{FEFF}' | '\u{061C}')
}

/// True for a text that holds such a character. Nearly all texts are plain ASCII, which is told without decoding it.
pub(crate) fn holds_unsafe(text: &str) -> bool {
    !text.bytes().all(|byte| matches!(byte, b' '..=b'~')) && text.chars().any(is_unsafe)
}

/// The text with unsafe characters escaped, cut to at most `limit_bytes` bytes; `…` marks a cut.
pub(crate) fn escaped(text: &str, limit_bytes: usize) -> String {
    let mut shown = String::with_capacity(text.len().min(limit_bytes));
    for character in text.chars() {
        let before = shown.len();
        if is_unsafe(character) {
            shown.extend(character.escape_default());
        } else {
            shown.push(character);
        }
        if shown.len() > limit_bytes {
            shown.truncate(before);
            while shown.len().saturating_add('…'.len_utf8()) > limit_bytes && shown.pop().is_some() {}
            shown.push('…');
            break;
        }
    }
    shown
}

/// The text in backquotes, escaped and short enough for a message.
pub(crate) fn quoted(text: &str) -> String {
    format!("`{}`", escaped(text, 80))
}

#[cfg(test)]
mod tests {
    use super::{escaped, quoted};

    #[test]
    fn control_characters_and_direction_marks_are_spelled_out() {
        assert_eq!(escaped("a\u{1b}[2Jb\nc\u{202e}d", 100), "a\\u{1b}[2Jb\\nc\\u{202e}d");
        assert_eq!(escaped("größe 大", 100), "größe 大");
    }

    proptest::proptest! {
        #[test]
        fn whatever_comes_in_is_safe_and_short(text: String, limit in 3_usize..200) {
            let shown = escaped(&text, limit);
            proptest::prop_assert!(shown.len() <= limit);
            proptest::prop_assert!(!shown.chars().any(super::is_unsafe));
            proptest::prop_assert_eq!(super::holds_unsafe(&text), text.chars().any(super::is_unsafe));
        }
    }

    #[test]
    fn long_text_is_cut_between_characters() {
        assert_eq!(escaped("äöüäöü", 8), "äö…");
        assert_eq!(escaped("abcdef", 6), "abcdef");
        assert_eq!(escaped("abcdefg", 6), "abc…");
        assert!(escaped(&"\u{7f}".repeat(100), 20).len() <= 20);
        assert_eq!(quoted("x"), "`x`");
    }
}
