//! Turns what a backup moved into the vault's manifests. Pure.

use longshore_model::{PolicyKind, Timestamp, VaultId};
use longshore_policy::{DecisionRecord, ExplainRow, KeptRecords, PolicySet, ShadowOutcome};
use longshore_source::{DatabaseEntry, PointState};
use longshore_vault::{
    CollectionFiles, CollectionFinding, CollectionSealed, DatabaseSealed, JsonText, PartDraft, PartSealed, Sealed,
    content_digest,
};
use serde::Serialize;
use serde_json::{Value, json};

use crate::EngineError;
use crate::history::reason_key;
use crate::plan::{BackupPlan, PlannedCollection};
use crate::request::BackupRequest;
use crate::transfer::TransferredCollection;

/// One collection of a part.
pub(crate) struct PartInput<'a> {
    pub(crate) planned: &'a PlannedCollection,
    pub(crate) moved: &'a TransferredCollection,
    pub(crate) state: PointState,
}

/// The part of one vault: its collections, numbered from 0.
pub(crate) fn part_draft(
    request: &BackupRequest,
    home_vault_id: Option<VaultId>,
    inputs: &[PartInput<'_>],
    created: Timestamp,
) -> PartDraft {
    let numbered = || (0_u32..).zip(inputs);
    PartDraft {
        backup_id: request.backup_id.clone(),
        token: request.fencing_token,
        home_vault_id,
        created,
        collections: numbered()
            .map(|(number, input)| CollectionFiles { number, name_id: None, files: input.moved.files.clone() })
            .collect(),
        sealed: Sealed::Readable(PartSealed {
            collections: numbered().map(|(number, input)| sealed(number, input)).collect(),
        }),
    }
}

fn sealed(number: u32, input: &PartInput<'_>) -> CollectionSealed {
    let (planned, moved) = (input.planned, input.moved);
    let files = moved.files.iter().zip(&moved.names);
    CollectionSealed {
        number,
        name: planned.facts.name.clone(),
        schema: moved.schema.clone(),
        properties: planned.entry.properties.clone(),
        indexes: planned.entry.indexes.clone(),
        consistent_point: moved.description.clone(),
        physical_rows: moved.physical_rows,
        live_rows: moved.live_rows,
        content_digest: content_digest(files.map(|(file, name)| (name.path.as_str(), file.size_bytes, name.digest))),
        load_state: planned.entry.load_state,
        finding: match input.state {
            PointState::Unaltered => CollectionFinding::Unaltered,
            PointState::Altered => CollectionFinding::Altered,
            PointState::Dropped => CollectionFinding::Dropped,
        },
        files: moved.names.clone(),
        extra: json!({
            "codecs": moved.codecs,
            reason_key(PolicyKind::Selection): planned.selected.value.reason.code,
            reason_key(PolicyKind::Placement): planned.placed.value.reason.code,
        }),
    }
}

pub(crate) fn no_json(error: serde_json::Error) -> EngineError {
    EngineError::Internal { what: format!("what goes into a manifest is no JSON: {error}") }
}

/// Databases as a root keeps them.
pub(crate) fn database_entries(databases: &[DatabaseEntry]) -> Vec<DatabaseSealed> {
    databases
        .iter()
        .map(|database| DatabaseSealed {
            name: database.name.clone(),
            properties: database.properties.clone(),
            aliases: database.aliases.clone(),
        })
        .collect()
}

/// Who stood in which chain.
pub(crate) fn policies_value(policies: &PolicySet) -> Value {
    let chains = PolicyKind::ALL.map(|kind| (kind.as_str().to_owned(), json!(policies.identities(kind))));
    Value::Object(chains.into_iter().collect())
}

/// What was asked and decided, and what candidates would have decided, as a root keeps it.
pub(crate) struct Decisions {
    rows: Vec<ExplainRow>,
    records: Vec<DecisionRecord>,
    shadows: Vec<ShadowOutcome>,
}

/// The same to be written.
#[derive(Serialize)]
struct Written<'a> {
    rows: &'a [ExplainRow],
    #[serde(flatten)]
    records: KeptRecords<'a>,
    #[serde(skip_serializing_if = "<[ShadowOutcome]>::is_empty")]
    shadows: &'a [ShadowOutcome],
}

impl Decisions {
    /// Takes them out of a plan: once it is carried out, only the root needs them.
    pub(crate) fn taken_from(plan: &mut BackupPlan) -> Self {
        let BackupPlan { rows, records, shadows, .. } = plan;
        Self { rows: std::mem::take(rows), records: std::mem::take(records), shadows: std::mem::take(shadows) }
    }

    /// Writes them down.
    ///
    /// # Errors
    /// [`EngineError::Internal`], [`EngineError::Policy`]; they are JSON by their type.
    pub(crate) fn text(&self) -> Result<JsonText, EngineError> {
        let records = KeptRecords::of(&self.records)?;
        JsonText::of(&Written { rows: &self.rows, records, shadows: &self.shadows }).map_err(no_json)
    }
}
