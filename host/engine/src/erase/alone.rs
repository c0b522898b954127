//! Keeps two erasures from rewriting the same backups at the same time.
//!
//! Each writes a new root one token above the one it read. Two that read the same root would write two of the same token, and
//! whichever a reader takes names what the other one erased. So an erasure says in its pins what it erases, and looks at the
//! pins of others after its own are durable: of two that begin at once at least one sees the other, and that one gives up
//! before it wrote anything. Both may.
//!
//! The pin of an erasure whose host died counts until it has lapsed, because that host may only be standing still; until
//! then the erasure can be run again, which is the same one going on under the same id, and once it is through the dead pin
//! counts no more: what its host may still do finds nothing that names the collection.

use std::collections::BTreeSet;

use longshore_model::{ClusterId, Digest, Timestamp};
use longshore_vault::{PinRecord, Vault};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{ErasePlan, EraseRequest};
use crate::EngineError;

/// What the pin of an erasure says of it, in the field `erasure` of its state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Says {
    id: String,
    /// Recognises the collection ([`longshore_vault::IdKey::name_id`]): a pin names nothing in the open.
    name_id: Digest,
    clusters: BTreeSet<ClusterId>,
}

impl Says {
    fn of(pin: &PinRecord) -> Option<Self> {
        serde_json::from_value(pin.state.get("erasure")?.clone()).ok()
    }
}

/// The state of the pin of an erasure in this vault.
pub(super) fn pin_state(plan: &ErasePlan, vault: &Vault) -> Result<Value, EngineError> {
    let key = vault.id_key().map_err(EngineError::vault(vault.region_id()))?;
    let name_id = key.name_id(&plan.request.collection);
    let says = Says { id: plan.erasure_id.clone(), name_id, clusters: plan.request.clusters.clone() };
    Ok(json!({ "erasure": says }))
}

/// Ids of erasures of this collection that pins in this vault speak of: whoever begins it again goes on under the same id,
/// also where the host died before it wrote the record.
pub(super) async fn begun(request: &EraseRequest, vault: &Vault) -> Result<Vec<String>, EngineError> {
    let fail = || EngineError::vault(vault.region_id());
    let name_id = vault.id_key().map_err(fail())?.name_id(&request.collection);
    let said = vault.list_pins().await.map_err(fail())?.into_iter().filter_map(|pin| Says::of(&pin));
    Ok(said.filter(|says| says.name_id == name_id && says.clusters == request.clusters).map(|says| says.id).collect())
}

/// Fails while another erasure may be at work on backups of the same clusters in this vault. Our own pin is there already.
pub(super) async fn check(plan: &ErasePlan, vault: &Vault, now: Timestamp) -> Result<(), EngineError> {
    let fail = || EngineError::vault(vault.region_id());
    let pins = vault.list_pins().await.map_err(fail())?;
    let others: Vec<(Says, PinRecord)> = pins.into_iter().filter_map(|pin| other(plan, vault, pin, now)).collect();
    if others.is_empty() {
        return Ok(());
    }
    let records = vault.list_erasures().await.map_err(fail())?;
    for (Says { id, .. }, pin) in others {
        let record = records.iter().find(|record| record.erasure_id == id);
        if record.is_some_and(|record| record.rewritten.is_some()) {
            continue;
        }
        let hours = vault.limits().pin_lapse_ms / 3_600_000;
        let what = format!(
            "{id}, of a collection of the same cluster, is at work in region {} and was last heard of at {}: run this one \
             when it has ended. If its host died, run that one again first; {hours} hours after it was last heard of it \
             stands in nobody's way",
            vault.region_id(),
            pin.refreshed
        );
        return Err(EngineError::Conflict { what });
    }
    Ok(())
}

/// What this pin says, if it is of another erasure that touches the same clusters, and has not lapsed.
fn other(plan: &ErasePlan, vault: &Vault, pin: PinRecord, now: Timestamp) -> Option<(Says, PinRecord)> {
    let says = Says::of(&pin)?;
    let limits = vault.limits();
    let lapsed = now.millis_since(pin.refreshed) > limits.pin_lapse_ms.saturating_add(limits.pin_lapse_margin_ms);
    let touches = says.clusters.iter().any(|cluster| plan.request.clusters.contains(cluster));
    (!lapsed && touches && says.id != plan.erasure_id).then_some((says, pin))
}
