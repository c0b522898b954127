//! One side of a comparison: asks recorded questions, handing on its own carry from page to page.

use std::collections::BTreeSet;

use longshore_model::PolicyKind;
use serde_json::Value;

use super::{Compared, Side};
use crate::replay::{Ended, ask_again};
use crate::{Call, DecisionRecord, Limits, PolicyError, RecordedOutcome, SettingsSchema, WORLD_VERSION};

/// Asks one side, page by page.
pub(super) struct Asker<'a> {
    side: Side<'a>,
    schema: SettingsSchema,
    given: Option<String>,
    limits: &'a Limits,
    carry: Vec<u8>,
    accepted: BTreeSet<String>,
    fuel_used: u64,
}

impl<'a> Asker<'a> {
    pub(super) fn new(side: Side<'a>, limits: &'a Limits) -> Result<Self, PolicyError> {
        let about = side.oracle.about();
        let schema = SettingsSchema::parse(&about.name, &about.settings_schema, limits)?;
        let given = match side.settings {
            Some(settings) => Some(schema.accept(&about.name, settings, limits)?.text),
            None => None,
        };
        Ok(Self { side, schema, given, limits, carry: Vec::new(), accepted: BTreeSet::new(), fuel_used: 0 })
    }

    pub(super) fn compared(&self) -> Compared {
        let about = self.side.oracle.about();
        Compared {
            plugin: about.name.clone(),
            version: about.version.clone(),
            digest: self.side.oracle.digest().to_string(),
            fuel_used: self.fuel_used,
        }
    }

    /// Whether this side decides a kind.
    pub(super) fn decides(&self, kind: PolicyKind) -> bool {
        self.side.oracle.serves(kind)
    }

    /// Whether this side asks exactly what the record asked of exactly the same file.
    pub(super) fn repeats(&self, record: &DecisionRecord) -> bool {
        self.given.is_none() && self.side.budget.is_none() && self.side.oracle.digest() == record.asked.digest
    }

    pub(super) fn ask(&mut self, record: &DecisionRecord, follows: bool) -> Result<Ended, PolicyError> {
        let not_replayable = |problem: String| Err(PolicyError::NotReplayable { problem });
        if record.world != WORLD_VERSION {
            return not_replayable(format!(
                "it was made with `{}`, this program speaks `{WORLD_VERSION}`",
                record.world
            ));
        }
        let kind = record.question.kind();
        if !self.side.oracle.serves(kind) {
            return not_replayable(format!("plugin `{}` does not serve {kind}", self.side.oracle.about().name));
        }
        let settings = match &self.given {
            Some(given) => given,
            None => {
                self.accept(record)?;
                &record.settings
            }
        };
        let budget = self.side.budget.unwrap_or(record.budget);
        let call = Call {
            run: &record.run,
            settings,
            carry: if follows { &self.carry } else { &record.carry },
            page_number: record.page_number,
            last_page: record.last_page,
            budget: &budget,
            files: &record.files,
        };
        let ended = ask_again(&record.question, self.side.oracle, &call);
        self.carry = match &ended.outcome {
            RecordedOutcome::Answered { carry, fuel_used, .. } => {
                self.fuel_used = self.fuel_used.saturating_add(*fuel_used);
                carry.clone()
            }
            RecordedOutcome::Refused(_) | RecordedOutcome::Failed(_) => Vec::new(),
        };
        Ok(ended)
    }

    /// Settings of a record must be valid under this side's own schema, or its answers would mean nothing.
    fn accept(&mut self, record: &DecisionRecord) -> Result<(), PolicyError> {
        if self.accepted.contains(&record.settings) || self.side.oracle.digest() == record.asked.digest {
            return Ok(());
        }
        let settings: Value = serde_json::from_str(&record.settings)
            .map_err(|error| PolicyError::BadRecord { problem: format!("its settings are not JSON: {error}") })?;
        self.schema.accept(&record.asked.member, &settings, self.limits)?;
        self.accepted.insert(record.settings.clone());
        Ok(())
    }
}
