//! Decisions of a backup, read back: its records, and why one of its collections is where it is.
//!
//! Failure: [`EngineError::Vault`] where names are sealed and no reader key was given, [`EngineError::DamagedBackup`],
//! [`EngineError::NotFound`] for a collection that no policy was asked about.

use std::sync::Arc;

use longshore_model::{BackupId, CollectionName, Digest, Timestamp};
use longshore_policy::{
    Counterfactuals, DecisionRecord, ExplainRow, KeptFiles, Limits, Oracle, Voice, read_kept, what_would_change,
};
use longshore_vault::JsonText;
use serde::{Deserialize, Serialize};

use crate::EngineError;
use crate::opened::OpenedBackup;

/// Plugins that can be asked again, by digest.
pub type PluginLookup<'a> = dyn Fn(&Digest) -> Option<Arc<dyn Oracle>> + 'a;

/// Why a collection of a backup is where it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct WhyView {
    /// Of which backup.
    pub backup_id: BackupId,
    /// When it was made.
    pub created: Timestamp,
    /// Which collection.
    pub collection: CollectionName,
    /// Whether it is in the backup.
    pub included: bool,
    /// What was decided about it, in the order in which it was asked.
    pub decisions: Vec<WhyDecision>,
}

/// One decision about a collection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct WhyDecision {
    /// What was decided, by whom, why, what others said, and which guardrail changed it.
    #[serde(flatten)]
    pub row: ExplainRow,
    /// What would have changed it; `None` if nobody could be asked.
    pub counterfactuals: Option<Counterfactuals>,
    /// Plugins that are not at hand and could not be asked again.
    pub missing_plugins: Vec<String>,
}

/// The records of a backup, in the order in which the policies were asked.
///
/// # Errors
/// [`EngineError::Vault`], [`EngineError::DamagedBackup`], [`EngineError::Policy`] for records of another form.
pub fn decision_records(opened: &OpenedBackup) -> Result<Vec<DecisionRecord>, EngineError> {
    read(opened)?.decision_records()
}

/// What a root keeps of its decisions, as far as it is needed here.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Kept {
    rows: Vec<ExplainRow>,
    records: Vec<JsonText>,
    #[serde(rename = "grantedFiles")]
    granted_files: Vec<KeptFiles>,
}

impl Kept {
    fn decision_records(&self) -> Result<Vec<DecisionRecord>, EngineError> {
        Ok(read_kept(self.records.iter().map(JsonText::as_str), &self.granted_files)?)
    }
}

fn read(opened: &OpenedBackup) -> Result<Kept, EngineError> {
    let kept = opened.sealed()?.decisions.read::<Option<Kept>>();
    Ok(kept.map_err(|error| damaged(opened, &format!("its decisions cannot be read: {error}")))?.unwrap_or_default())
}

/// Why a collection is where it is, and what would have changed that.
///
/// # Errors
/// [`EngineError::NotFound`] if no policy was asked about it in this backup, and as [`decision_records`].
pub fn why(
    opened: &OpenedBackup,
    collection: &CollectionName,
    plugins: &PluginLookup<'_>,
    limits: &Limits,
) -> Result<WhyView, EngineError> {
    let sealed = opened.sealed()?;
    let kept = read(opened)?;
    let records = kept.decision_records()?;
    let name = collection.to_string();
    let about = |row: &ExplainRow| {
        let stream = row.item.strip_prefix(&name).is_some_and(|rest| rest.starts_with('/'));
        row.item == name || stream
    };
    let mut decisions = Vec::new();
    for row in kept.rows.into_iter().filter(about) {
        decisions.push(decision(row, &records, collection, plugins, limits)?);
    }
    if decisions.is_empty() {
        return Err(EngineError::NotFound { what: "decision about collection", id: name });
    }
    decisions.sort_by_key(|decision| decision.row.kind);
    let included = !sealed.excluded.iter().any(|excluded| excluded.name == *collection);
    let open = &opened.root.open;
    let (backup_id, created) = (open.backup_id.clone(), open.created);
    Ok(WhyView { backup_id, created, collection: collection.clone(), included, decisions })
}

fn damaged(opened: &OpenedBackup, what: &str) -> EngineError {
    EngineError::DamagedBackup { backup: opened.root.open.backup_id.to_string(), what: what.to_owned() }
}

/// A record, the place of an item in its question, and the plugin that answered, if it is at hand.
type Asked<'a> = (&'a DecisionRecord, u32, Option<Arc<dyn Oracle>>);

fn decision(
    row: ExplainRow,
    records: &[DecisionRecord],
    collection: &CollectionName,
    plugins: &PluginLookup<'_>,
    limits: &Limits,
) -> Result<WhyDecision, EngineError> {
    let mut asked: Vec<Asked<'_>> = Vec::new();
    let mut missing_plugins = Vec::new();
    for record in records.iter().filter(|record| record.question.kind() == row.kind) {
        for place in record.question.places_of(collection) {
            if record.question.item_name(place).as_deref() != Some(row.item.as_str()) {
                continue;
            }
            let plugin = plugins(&record.asked.digest);
            if plugin.is_none() {
                missing_plugins.push(format!("{} ({})", record.asked, record.asked.digest));
            }
            asked.push((record, place, plugin));
        }
    }
    let voices: Vec<Voice<'_>> = asked
        .iter()
        .map(|(record, place, plugin)| Voice { record, place: *place, plugin: plugin.as_deref() })
        .collect();
    let nobody = voices.iter().all(|voice| voice.plugin.is_none());
    let counterfactuals = if nobody { None } else { Some(what_would_change(&voices, limits)?) };
    Ok(WhyDecision { row, counterfactuals, missing_plugins })
}
