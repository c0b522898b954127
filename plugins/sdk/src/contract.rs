//! What the host would refuse about an answer, for native tests of a policy: the same rules, checked without a sandbox.

use std::collections::BTreeSet;

use crate::answer::{
    Answer, CARRY_MAX_BYTES, CodecChoice, Placed, REASON_CODE_MAX_BYTES, REASON_MESSAGE_MAX_BYTES, Reason, Selected,
    is_unsafe,
};
use crate::facts::ItemId;

/// A decision of any kind: it has a reason.
pub trait Decision {
    /// Why it was decided.
    fn reason(&self) -> &Reason;
}

impl Decision for Selected {
    fn reason(&self) -> &Reason {
        &self.reason
    }
}

impl Decision for CodecChoice {
    fn reason(&self) -> &Reason {
        &self.reason
    }
}

impl Decision for Placed {
    fn reason(&self) -> &Reason {
        &self.reason
    }
}

impl<D: Decision> Answer<D> {
    /// The first thing the host would refuse about this answer to a question about `asked`, as part of a sentence. That
    /// codecs and regions were offered is left to the host.
    ///
    /// ```
    /// # use longshore_plugin::{Answer, Reason, Selected};
    /// let answer: Answer<Selected> = [(7, Selected::included(Reason::new("All!", "")))].into_iter().collect();
    /// assert!(answer.refused_by_host(&[7]).unwrap().contains("`All!`"));
    /// assert!(answer.refused_by_host(&[8]).unwrap().contains("item 7"));
    /// ```
    #[must_use]
    pub fn refused_by_host(&self, asked: &[ItemId]) -> Option<String> {
        let asked: BTreeSet<ItemId> = asked.iter().copied().collect();
        let mut answered = BTreeSet::new();
        for (id, decision) in &self.decisions {
            if !asked.contains(id) {
                return Some(format!("it answers item {id}, which it was not asked about"));
            }
            if !answered.insert(*id) {
                return Some(format!("it answers item {id} twice"));
            }
            if let Some(problem) = decision.reason().refused_by_host() {
                return Some(format!("about item {id}, {problem}"));
            }
        }
        (self.carry.len() > CARRY_MAX_BYTES)
            .then(|| format!("it carries {} bytes, and {CARRY_MAX_BYTES} are allowed", self.carry.len()))
    }
}

impl Reason {
    /// What the host would refuse about this reason, as part of a sentence.
    #[must_use]
    pub fn refused_by_host(&self) -> Option<String> {
        let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        if self.code.is_empty() || self.code.len() > REASON_CODE_MAX_BYTES || !self.code.bytes().all(allowed) {
            return Some(format!(
                "its reason code `{}` is not 1 to {REASON_CODE_MAX_BYTES} of a-z, 0-9 and -",
                self.code
            ));
        }
        if self.message.len() > REASON_MESSAGE_MAX_BYTES {
            let length = self.message.len();
            return Some(format!("its message has {length} bytes, and {REASON_MESSAGE_MAX_BYTES} are allowed"));
        }
        self.message.contains(is_unsafe).then(|| "its message has line breaks or other control characters".to_owned())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    fn answer(ids: &[ItemId], code: &str) -> Answer<Selected> {
        ids.iter().map(|id| (*id, Selected::included(Reason::new(code, "Because.")))).collect()
    }

    #[test]
    fn a_message_that_was_not_made_by_reason_new_is_checked_too() {
        let message = |text: &str| Reason { code: "code".into(), message: text.into() }.refused_by_host();
        assert_eq!(message("Fine."), None);
        assert!(message("two\nlines").unwrap().contains("line breaks"));
        assert!(message(&"x".repeat(513)).unwrap().contains("513 bytes"));
    }

    #[test]
    fn a_good_answer_is_not_refused_and_each_bad_one_for_its_own_fault() {
        assert_eq!(answer(&[1, 2], "good-1").refused_by_host(&[1, 2, 3]), None);
        for (bad, expected) in [
            (answer(&[4], "good"), "item 4, which it was not asked"),
            (answer(&[1, 1], "good"), "item 1 twice"),
            (answer(&[1], "Bad"), "`Bad`"),
            (answer(&[1], ""), "``"),
            (answer(&[1], &"x".repeat(65)), "64 of a-z"),
            (answer(&[1], "good").with_carry(vec![0; CARRY_MAX_BYTES + 1]), "carries 65537"),
        ] {
            assert!(bad.refused_by_host(&[1, 2]).unwrap().contains(expected), "{expected}");
        }
    }
}
