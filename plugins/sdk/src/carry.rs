//! Carrying something from page to page.
//!
//! Every page may come to a fresh instance, and the host hands over nothing but [`Answer::carry`], up to
//! [`CARRY_MAX_BYTES`](crate::answer::CARRY_MAX_BYTES). It is kept with the decision record, so a record can be asked again.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::answer::{Answer, CARRY_MAX_BYTES, Refusal};
use crate::facts::Run;

/// Code of the refusals made here: the plugin cannot read, or cannot write, what it carries.
pub const INVALID_CARRY: &str = "invalid-carry";

impl Run {
    /// What the previous page carried, or the default on the first page.
    ///
    /// ```
    /// # use longshore_plugin::{Answer, Run, Selected};
    /// #[derive(Default, serde::Serialize, serde::Deserialize)]
    /// struct Seen { collections: u64 }
    ///
    /// let mut seen: Seen = Run::default().carried().unwrap();
    /// seen.collections += 1_000;
    /// let answer = Answer::<Selected>::new().carrying(&seen).unwrap();
    /// let next = Run { carry: answer.carry, page_number: 1, ..Run::default() };
    /// assert_eq!(next.carried::<Seen>().unwrap().collections, 1_000);
    /// ```
    ///
    /// # Errors
    ///
    /// A [`Refusal`] with code [`INVALID_CARRY`] when it does not fit the type.
    pub fn carried<T: DeserializeOwned + Default>(&self) -> Result<T, Refusal> {
        if self.carry.is_empty() {
            return Ok(T::default());
        }
        serde_json::from_slice(&self.carry).map_err(|error| {
            let message = format!(
                "What this policy carried from page to page cannot be read: {error}. This is a mistake of the policy."
            );
            Refusal::new(INVALID_CARRY, message)
        })
    }
}

impl<Decision> Answer<Decision> {
    /// The same answer, with a value for the next page.
    ///
    /// # Errors
    ///
    /// A [`Refusal`] with code [`INVALID_CARRY`] when it is too large or cannot be written as JSON.
    pub fn carrying(mut self, value: &impl Serialize) -> Result<Self, Refusal> {
        let bytes = serde_json::to_vec(value).map_err(|error| cannot(&error.to_string()))?;
        if bytes.len() > CARRY_MAX_BYTES {
            return Err(cannot(&format!("it is {} bytes long, and {CARRY_MAX_BYTES} are allowed", bytes.len())));
        }
        self.carry = bytes;
        Ok(self)
    }
}

fn cannot(why: &str) -> Refusal {
    let message = format!(
        "What this policy carries from page to page cannot be written: {why}. This is a mistake of the policy."
    );
    Refusal::new(INVALID_CARRY, message)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use crate::Selected;

    #[test]
    fn a_carry_of_another_shape_is_refused() {
        let run = Run { carry: b"{}".to_vec(), ..Run::default() };
        assert_eq!(run.carried::<u64>().unwrap_err().reason.code, INVALID_CARRY);
        assert_eq!(Run::default().carried::<u64>().unwrap(), 0);
    }

    #[test]
    fn a_carry_of_exactly_the_limit_is_taken_and_one_byte_more_is_not() {
        let text = |length: usize| "x".repeat(length - 2);
        let answer = Answer::<Selected>::new().carrying(&text(CARRY_MAX_BYTES)).unwrap();
        assert_eq!(answer.carry.len(), CARRY_MAX_BYTES);
        let refusal = Answer::<Selected>::new().carrying(&text(CARRY_MAX_BYTES + 1)).unwrap_err();
        assert!(refusal.reason.message.contains("65537"), "{}", refusal.reason.message);
    }
}
