//! Runs restores, and says what is in the target when one fails.
//!
//! What must stay true: a restore that fails leaves its target as it was, or the reason of its job says exactly what is there.
//! Of a job whose host died between two renames, what was moved into place is whole and stays; the next attempt adds the
//! rest.

use std::collections::BTreeSet;
use std::sync::Arc;

use longshore_catalog::{JobRow, NewCluster};
use longshore_model::{ClusterId, CollectionName};
use longshore_source::{Administrator, SourceError, SourceKind};
use serde_json::{Value, json};

use super::{backup_record, cluster_row, to_value};
use crate::blocking::blocking;
use crate::host::Inner;
use crate::passwords::ADMINISTRATOR;
use crate::restore::{RestorePlan, RestoreScope, plan_restore, run_restore};
use crate::views::{RestoreCluster, RestoreCollections};
use crate::worker::{Finished, sentence};
use crate::{EngineError, RunContext};

/// Where a new cluster is made.
pub(super) struct NewPlace {
    pub(super) id: ClusterId,
    pub(super) kind: String,
    pub(super) location: String,
}

/// Restores a whole cluster and registers it.
pub(super) async fn cluster(
    inner: &Arc<Inner>,
    job: &JobRow,
    request: RestoreCluster,
    place: NewPlace,
    context: &RunContext,
) -> Result<Finished, EngineError> {
    let record = backup_record(inner, job).await?;
    let has_users = inner.clusters.has_users(&place.kind);
    let scope = RestoreScope::WholeCluster(request.load_state);
    let mut plan = plan_restore(&inner.vaults, Some(&record.backup.region), &record.backup.id, scope).await?;
    plan.lower_shards(&inner.config().restore, request.cu_size);
    // A restore that is asked for again gets another place.
    plan.run_only_once();
    let mut notes = Vec::new();
    if has_users {
        let passwords = inner.passwords().await?;
        let password = passwords.of_user(&place.id, ADMINISTRATOR);
        plan.make_administrator(Administrator { name: ADMINISTRATOR.to_owned(), password });
        if request.restore_users {
            if plan.has_users() {
                let id = place.id.clone();
                plan = plan.with_users_by(Arc::new(move |user: &str| Ok(passwords.of_user(&id, user))))?;
            } else {
                notes.push("the backup holds no users and roles, so none were restored".to_owned());
            }
        }
    } else {
        let users = if request.restore_users { "the backup holds none to restore" } else { "there is no db_admin" };
        notes.push(format!(
            "{} has no users, so {users} and no password is made; it keeps no load state, a collection is loaded by who \
             opens it first; cuSize is recorded only.",
            place.kind
        ));
    }
    let made = job.attempt > 1 && is_made(inner, &plan, &place.kind, &place.location).await;
    // A new directory appears by one rename after the proof. In a server there is more to do after the collections.
    let nothing_is_left = made && place.kind == SourceKind::MilvusLite.as_str();
    let outcome = if nothing_is_left {
        None
    } else {
        run(inner, plan, (&place.kind, &place.location), &BTreeSet::new(), made, context).await?
    };
    let restored = match outcome {
        Some(outcome) => {
            let users: Vec<&str> = outcome.passwords.iter().map(|(user, _)| user.as_str()).collect();
            if !users.is_empty() {
                notes.push(format!(
                    "users that were made have new passwords, because backups hold none; the answer to restoreCluster \
                     has shown them: {}",
                    users.join(", ")
                ));
            }
            to_value(&outcome)?
        }
        None => json!({ "backupId": record.backup.id, "restoredByAnEarlierAttempt": true }),
    };
    let cluster = NewCluster {
        id: place.id.clone(),
        name: request.cluster_name,
        project: request.project_id,
        region: record.backup.region.clone(),
        source_kind: place.kind.clone(),
        location: place.location.clone(),
        cu_size: request.cu_size,
        status: "RUNNING".to_owned(),
    };
    let host = Arc::clone(inner);
    blocking("registering a cluster", move || Ok(host.catalog.put_cluster(&cluster, host.clock.now())?)).await?;
    let mut result = json!({ "clusterId": place.id, "connectAddress": place.location, "restore": restored });
    if !notes.is_empty() {
        result["note"] = notes.join(" ").into();
    }
    Ok(Finished::with(result))
}

/// Whether an earlier attempt moved everything into place.
async fn is_made(inner: &Arc<Inner>, plan: &RestorePlan, kind: &str, location: &str) -> bool {
    if kind == SourceKind::MilvusLite.as_str() {
        return std::path::Path::new(location).is_dir();
    }
    let there = rows_of_destinations(inner, plan, kind, location).await;
    plan.destinations().iter().all(|one| there.contains(one))
}

/// Restores collections into a cluster that exists.
pub(super) async fn collections(
    inner: &Arc<Inner>,
    job: &JobRow,
    request: RestoreCollections,
    context: &RunContext,
) -> Result<Finished, EngineError> {
    let record = backup_record(inner, job).await?;
    let scope = RestoreScope::Collections(request.collections);
    let plan = plan_restore(&inner.vaults, Some(&record.backup.region), &record.backup.id, scope).await?;
    Ok(Finished::with(into_cluster(inner, plan, &request.destination, job.attempt, context).await?))
}

/// Runs the plan of a restore into a cluster that exists, going on with what an earlier attempt of the job did. Answers what
/// its record keeps.
pub(super) async fn into_cluster(
    inner: &Arc<Inner>,
    mut plan: RestorePlan,
    destination: &ClusterId,
    attempt: u32,
    context: &RunContext,
) -> Result<Value, EngineError> {
    let row = cluster_row(inner, destination).await?.cluster;
    plan.lower_shards(&inner.config().restore, row.cu_size);
    let place = (row.source_kind.as_str(), row.location.as_str());
    let there = rows_of_destinations(inner, &plan, place.0, place.1).await;
    let mut made = false;
    let mut result = json!({ "clusterId": destination });
    if attempt > 1 {
        // The host died while it moved them into place. What is there with as many rows as were backed up is one of them;
        // anything else of such a name is somebody else's, and the target refuses the plan.
        let wanted = plan.destinations();
        let moved = there.iter().filter(|one| wanted.contains(one)).map(|(name, _)| name.clone());
        let moved: BTreeSet<CollectionName> = moved.collect();
        if !moved.is_empty() {
            result["restoredByAnEarlierAttempt"] = to_value(&moved)?;
        }
        if row.source_kind == SourceKind::MilvusLite.as_str() {
            plan.leave_out(&moved);
        } else {
            // A server's target knows by itself what it made under this plan, and what was left to do after it.
            made = !moved.is_empty() && moved.len() == wanted.len();
        }
    }
    if !plan.target.collections.is_empty() {
        let before = there.into_iter().map(|(name, _)| name).collect();
        if let Some(outcome) = run(inner, plan, place, &before, made, context).await? {
            result["restore"] = to_value(&outcome)?;
        }
    }
    Ok(result)
}

/// Those of the destinations of a plan that are in a cluster, and their rows; none where it cannot be read, or is an empty
/// folder: the target then says what is wrong.
async fn rows_of_destinations(
    inner: &Arc<Inner>,
    plan: &RestorePlan,
    kind: &str,
    location: &str,
) -> Vec<(CollectionName, u64)> {
    let wanted: BTreeSet<CollectionName> = plan.destinations().into_iter().map(|(name, _)| name).collect();
    let Ok(source) = inner.clusters.source(kind, location) else { return Vec::new() };
    let Ok(inventory) = source.inventory().await else { return Vec::new() };
    let there = inventory.collections.into_iter().filter(|entry| wanted.contains(&entry.name));
    there.map(|entry| (entry.name, entry.rows)).collect()
}

/// Runs a plan. When it fails, the error says what of it is in the target that was not there `before`. `None` when everything
/// is `made`, by an earlier attempt, and nothing was left to do.
async fn run(
    inner: &Arc<Inner>,
    plan: RestorePlan,
    (kind, location): (&str, &str),
    before: &BTreeSet<CollectionName>,
    made: bool,
    context: &RunContext,
) -> Result<Option<crate::RestoreOutcome>, EngineError> {
    let wanted: BTreeSet<CollectionName> = plan.destinations().into_iter().map(|(name, _)| name).collect();
    let target = inner.clusters.target(kind, location)?;
    let error = match run_restore(plan, target.as_ref(), context).await {
        Ok(restored) => return Ok(Some(restored)),
        Err(EngineError::Source(SourceError::CollectionExists { .. })) if made => return Ok(None),
        Err(error @ (EngineError::Stopped { .. } | EngineError::ProofFailed { .. })) => return Err(error),
        Err(error) => error,
    };
    let names = match inner.clusters.source(kind, location) {
        Ok(source) => source.collection_names().await.map_err(EngineError::from),
        // A new directory that was not made.
        Err(_) if !before.is_empty() || std::path::Path::new(location).exists() => {
            return Err(failed(&error, "what is in the target now could not be read; look at it before you try again"));
        }
        Err(_) => Ok(Vec::new()),
    };
    let left = match names {
        Ok(names) => left(&names.into_iter().collect(), before, &wanted),
        Err(_) => "what is in the target now could not be read; look at it before you try again".to_owned(),
    };
    Err(failed(&error, &left))
}

fn failed(error: &EngineError, left: &str) -> EngineError {
    EngineError::RestoreFailed { why: sentence(error), left: left.to_owned() }
}

/// What a failed restore left, in words.
fn left(
    now: &BTreeSet<CollectionName>,
    before: &BTreeSet<CollectionName>,
    wanted: &BTreeSet<CollectionName>,
) -> String {
    let list = |names: Vec<&CollectionName>| names.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let (there, missing): (Vec<_>, Vec<_>) =
        wanted.iter().filter(|name| !before.contains(*name)).partition(|name| now.contains(*name));
    if there.is_empty() {
        return "the target was left as it was".to_owned();
    }
    if missing.is_empty() {
        return format!("all of it is in the target: {}", list(there));
    }
    format!("in the target are now {}; not restored are {}", list(there), list(missing))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn set(names: &[&str]) -> BTreeSet<CollectionName> {
        names.iter().map(|name| name.parse().unwrap()).collect()
    }

    #[test]
    fn what_is_left_is_said_exactly() {
        let wanted = set(&["a", "b", "wiki.c"]);
        let said = |now: &[&str], before: &[&str]| left(&set(now), &set(before), &wanted);
        assert_eq!(said(&["x"], &[]), "the target was left as it was");
        // One that was in the way before is not what the restore left.
        assert_eq!(said(&["a"], &["a"]), "the target was left as it was");
        assert_eq!(said(&["a", "x"], &[]), "in the target are now default.a; not restored are default.b, wiki.c");
        assert_eq!(said(&["a", "b", "wiki.c"], &["a"]), "all of it is in the target: default.b, wiki.c");
    }
}
