//! What a policy answers: a decision with its reason per item, or a refusal of the whole run.

use crate::facts::{ItemId, Text};

/// Longest message of a [`Reason`] in bytes.
pub const REASON_MESSAGE_MAX_BYTES: usize = 512;
/// Longest code of a [`Reason`] in bytes.
pub const REASON_CODE_MAX_BYTES: usize = 64;
/// Longest [`Answer::carry`] in bytes.
pub const CARRY_MAX_BYTES: usize = 64 * 1024;

/// Why something was decided. Shown to people and kept with the backup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reason {
    /// Short, stable, machine-readable: lower case letters, digits and hyphens, at most [`REASON_CODE_MAX_BYTES`].
    pub code: String,
    /// One sentence for a person, at most [`REASON_MESSAGE_MAX_BYTES`].
    pub message: String,
}

impl Reason {
    /// A reason. A message that is too long is cut and ends in `…`; characters that a host does not take, as line breaks
    /// and marks that turn the direction of text, become spaces. So names and errors can be put into it as they are.
    ///
    /// ```
    /// # use longshore_plugin::Reason;
    /// let reason = Reason::new("too-old", "x".repeat(1000));
    /// assert_eq!(reason.message.len(), 512);
    /// assert!(reason.message.ends_with('…'));
    /// ```
    #[must_use]
    pub fn new(code: impl Into<String>, message: impl Into<String>) -> Self {
        Self { code: code.into(), message: cut(one_line(message.into())) }
    }
}

/// True for characters that could disturb a terminal, a log line or the order in which a line reads; a host takes none.
pub(crate) fn is_unsafe(character: char) -> bool {
    character.is_control()
        || matches!(character,
            '\u{200B}'..='\u{200F}' | '\u{2028}'..='\u{202E}' | '\u{2060}'..='\u{206F}' | '\u{FEFF}' | '\u{061C}')
}

/// True for a text of printable ASCII only, as nearly every message is. Eight bytes at a time: a page has thousands of
/// messages, and in a sandbox every turn of a loop is counted.
fn is_plain(text: &str) -> bool {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGH: u64 = 0x80 * ONES;
    let (words, rest) = text.as_bytes().as_chunks::<8>();
    let plain = |word: &[u8; 8]| {
        let word = u64::from_le_bytes(*word);
        // The high bit of a byte: not ASCII; of the second: below a space; of the third: DEL.
        (word | word.wrapping_sub(u64::from(b' ') * ONES) | (word ^ (0x7f * ONES)).wrapping_sub(ONES)) & HIGH == 0
    };
    words.iter().all(plain) && rest.iter().all(|byte| matches!(byte, b' '..=b'~'))
}

fn one_line(message: String) -> String {
    if is_plain(&message) || !message.contains(is_unsafe) {
        return message;
    }
    let words = message.split(|character| character == ' ' || is_unsafe(character)).filter(|word| !word.is_empty());
    words.collect::<Vec<_>>().join(" ")
}

fn cut(mut message: String) -> String {
    const ELLIPSIS: &str = "…";
    if message.len() > REASON_MESSAGE_MAX_BYTES {
        let end = message.floor_char_boundary(REASON_MESSAGE_MAX_BYTES - ELLIPSIS.len());
        message.truncate(end);
        message.push_str(ELLIPSIS);
    }
    message
}

/// The policy refuses the whole run. The job fails with this reason and nothing is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// Why.
    pub reason: Reason,
    /// The items it is about; empty when it is about the run as a whole.
    pub items: Vec<ItemId>,
}

impl Refusal {
    /// A refusal that is about the run as a whole.
    #[must_use]
    pub fn new(code: impl Into<String>, message: impl Into<String>) -> Self {
        Self { reason: Reason::new(code, message), items: Vec::new() }
    }

    /// The same refusal, about these items.
    #[must_use]
    pub fn about(mut self, items: impl IntoIterator<Item = ItemId>) -> Self {
        self.items.extend(items);
        self
    }
}

/// The decisions about one page. An item without a decision means "no opinion": the next policy is asked.
///
/// It collects from pairs, also fallibly:
///
/// ```
/// # use longshore_plugin::{Answer, Collection, Reason, Refusal, Selected};
/// fn select(page: &[Collection]) -> Result<Answer<Selected>, Refusal> {
///     page.iter().map(|c| Ok((c.id, Selected::included(Reason::new("all", "Everything is backed up."))))).collect()
/// }
/// let answer = select(&[Collection::named(3, "default", "docs")]).unwrap();
/// assert!(answer.get(3).unwrap().include_collection);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer<Decision> {
    /// At most one decision per item of the page.
    pub decisions: Vec<(ItemId, Decision)>,
    /// Handed to the next page as `run.carry`, at most [`CARRY_MAX_BYTES`].
    pub carry: Vec<u8>,
}

impl<Decision> Answer<Decision> {
    /// No opinion about anything, nothing carried.
    #[must_use]
    pub fn new() -> Self {
        Self { decisions: Vec::new(), carry: Vec::new() }
    }

    /// The same answer, with bytes for the next page.
    #[must_use]
    pub fn with_carry(mut self, carry: impl Into<Vec<u8>>) -> Self {
        self.carry = carry.into();
        self
    }

    /// The decision about an item.
    #[must_use]
    pub fn get(&self, id: ItemId) -> Option<&Decision> {
        self.decisions.iter().find(|(item, _)| *item == id).map(|(_, decision)| decision)
    }
}

impl<Decision> Default for Answer<Decision> {
    fn default() -> Self {
        Self::new()
    }
}

impl<Decision> FromIterator<(ItemId, Decision)> for Answer<Decision> {
    fn from_iter<Pairs: IntoIterator<Item = (ItemId, Decision)>>(pairs: Pairs) -> Self {
        Self { decisions: pairs.into_iter().collect(), carry: Vec::new() }
    }
}

/// Whether a collection goes into the backup, and with what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selected {
    /// False leaves the collection out. It is in only if nobody in the chain says no.
    pub include_collection: bool,
    /// Take index files too: a faster restore for more bytes.
    pub include_index_files: bool,
    /// Higher goes first. 0 is ordinary.
    pub priority: i32,
    /// Why.
    pub reason: Reason,
}

impl Selected {
    /// In, without index files, at ordinary priority.
    #[must_use]
    pub fn included(reason: Reason) -> Self {
        Self { include_collection: true, include_index_files: false, priority: 0, reason }
    }

    /// Left out.
    #[must_use]
    pub fn excluded(reason: Reason) -> Self {
        Self { include_collection: false, include_index_files: false, priority: 0, reason }
    }
}

/// How a stream is compressed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CodecChoice {
    /// One of the codecs offered for this stream.
    pub codec: Text,
    /// Why.
    pub reason: Reason,
}

/// A further copy of a collection's backup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RegionCopy {
    /// Where it is kept.
    pub region: String,
    /// Days to keep it; absent means as long as the main one.
    pub retention_days: Option<u32>,
}

/// Where a collection's backup is kept, and for how long.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placed {
    /// Region of the main backup.
    pub region: String,
    /// Copies beside it.
    pub copies: Vec<RegionCopy>,
    /// Days to keep an automatic backup; absent means the schedule's own. The host only ever lengthens.
    pub retention_days: Option<u32>,
    /// Why.
    pub reason: Reason,
}

impl Placed {
    /// In one region, without copies, kept as long as the schedule says.
    #[must_use]
    pub fn in_region(region: impl Into<String>, reason: Reason) -> Self {
        Self { region: region.into(), copies: Vec::new(), retention_days: None, reason }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn a_message_of_exactly_the_limit_is_left_alone_and_one_byte_more_is_cut() {
        let fits = "x".repeat(REASON_MESSAGE_MAX_BYTES);
        assert_eq!(Reason::new("code", fits.clone()).message, fits);
        let long = Reason::new("code", fits + "y").message;
        assert_eq!(long.len(), REASON_MESSAGE_MAX_BYTES);
        assert!(long.ends_with("x…"), "{long}");
    }

    #[test]
    fn a_message_is_one_line_that_reads_from_left_to_right() {
        let reason = Reason::new("code", "Line 1\n  | x\t\u{1b}[2J\u{202e}y\u{feff}z ");
        assert_eq!(reason.message, "Line 1 | x [2J y z");
        assert_eq!(reason.refused_by_host(), None);
        assert_eq!(Reason::new("code", "Größe  大").message, "Größe  大");
    }

    #[test]
    fn a_message_is_never_cut_inside_a_character() {
        for shift in 0..4 {
            let message = Reason::new("code", "a".repeat(shift) + &"🌊".repeat(200)).message;
            assert!(message.len() <= REASON_MESSAGE_MAX_BYTES && message.ends_with("🌊…"), "{}", message.len());
        }
    }

    #[test]
    fn plain_is_what_is_printable_ascii_at_any_place() {
        for place in 0..20 {
            for character in (0..0x120).filter_map(char::from_u32) {
                let mut text: String = "~ abc 019".chars().cycle().take(20).collect();
                text.replace_range(place..=place, &character.to_string());
                assert_eq!(is_plain(&text), matches!(character, ' '..='~'), "{text:?}");
            }
        }
        assert!(is_plain(""));
    }
}
