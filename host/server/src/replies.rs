//! What the engine tells, in the words of the API.

use longshore_catalog::AuditRow;
use longshore_engine::{
    AppliedVolume, BackedUpCollection, BackupView, ClusterView, CostLine, CostReport, JobView, KnownPlugin, Login,
    Page, PageRequest, ProjectView, RegionView, RestoringCluster,
};
use longshore_model::{BackupType, Timestamp};
use serde_json::{Map, Value, json};

/// A time in whole seconds, as the documents show it.
fn seconds(time: Timestamp) -> String {
    Timestamp::from_millis(time.as_millis() - time.as_millis() % 1_000).to_string()
}

pub(crate) fn seconds_or_null(time: Option<Timestamp>) -> Value {
    time.map_or(Value::Null, |time| seconds(time).into())
}

/// A place in a volume. A folder has no bucket, and nobody is given rights in it.
pub(crate) fn applied_volume(applied: &AppliedVolume) -> Value {
    json!({
        "volumeName": applied.volume,
        "stageName": applied.volume,
        "uploadPath": format!("{}/", applied.folder),
        "cloud": applied.provider,
        "region": applied.region,
        "bucketName": "",
        "endpoint": "",
        "condition": { "maxContentLength": applied.available_bytes },
        "credentials": { "tmpAK": "", "tmpSK": "", "sessionToken": "", "expireTime": "" },
    })
}

/// One page of a list, its entries under `name`.
pub(crate) fn page<T>(name: &str, page: PageRequest, listed: Page<T>, entry: fn(&T) -> Value) -> Value {
    let entries: Vec<Value> = listed.items.iter().map(entry).collect();
    json!({ "count": listed.count, "currentPage": page.number, "pageSize": page.size, name: entries })
}

/// An entry of the list of backups.
pub(crate) fn backup(backup: &BackupView) -> Value {
    let mut reply = json!({
        "projectId": backup.project_id,
        "backupId": backup.backup_id,
        "backupName": backup.backup_name,
        "backupType": backup.backup_type,
        "creationMethod": backup.creation_method,
        "size": backup.size_bytes,
        "expireTime": seconds_or_null(backup.expire_time),
        "clusterId": backup.cluster_id,
        "clusterName": backup.cluster_name,
        "createTime": seconds(backup.create_time),
        "status": backup.status,
        "regionId": backup.region_id,
    });
    if backup.backup_type == BackupType::Cluster {
        reply["restoreNewInstancePolicies"] = json!(["LATEST", "ORIGINAL"]);
    }
    reply
}

/// Everything about one backup. The reference has `dbCollections`, older clients read the flat `collections`.
pub(crate) fn backup_in_full(view: &BackupView) -> Value {
    let mut reply = backup(view);
    reply["dbCollections"] = by_database(&view.collections);
    reply["collections"] = view
        .collections
        .iter()
        .map(|collection| {
            let mut reply = one_collection(collection);
            reply["dbName"] = collection.name.database.clone().into();
            reply
        })
        .collect();
    reply["storedBytes"] = view.stored_bytes.into();
    reply["regions"] = json!(view.regions);
    reply["crossRegionCopies"] = view
        .copies
        .iter()
        .map(|copy| {
            json!({
                "regionId": copy.region_id,
                "status": copy.state,
                "expireTime": seconds_or_null(copy.expire_time),
                "jobId": copy.job_id,
                "reason": copy.reason,
            })
        })
        .collect();
    reply["excludedCollections"] = view
        .excluded
        .iter()
        .map(|excluded| {
            json!({
                "dbName": excluded.name.database,
                "collectionName": excluded.name.collection,
                "decidedBy": excluded.decided_by,
                "reason": excluded.reason,
            })
        })
        .collect();
    reply
}

/// Collections come in order of database and name, so those of one database stand together.
fn by_database(collections: &[BackedUpCollection]) -> Value {
    let databases = collections.chunk_by(|one, next| one.name.database == next.name.database);
    databases
        .filter_map(|chunk| {
            let database = &chunk.first()?.name.database;
            let collections: Vec<Value> = chunk.iter().map(one_collection).collect();
            Some(json!({ "dbName": database, "collections": collections }))
        })
        .collect()
}

fn one_collection(collection: &BackedUpCollection) -> Value {
    json!({
        "collectionName": collection.name.collection,
        "description": collection.description,
        "status": if collection.loaded { "LOADED" } else { "UNLOADED" },
        "physicalRows": collection.physical_rows,
        "liveRows": collection.live_rows,
        "sizeBytes": collection.size_bytes,
        "regionId": collection.region,
        "changedDuringBackup": collection.changed_during_backup,
        "cannotBeRestored": collection.cannot_be_restored,
    })
}

/// A job.
pub(crate) fn job(job: &JobView) -> Value {
    // A job that ended well is done, whatever its last report said.
    let percent = if job.status == longshore_model::JobStatus::Successful { 100 } else { job.progress.percent() };
    let (done_bytes, total_bytes) = job.progress.bytes();
    let running = !job.status.is_terminal();
    let collections: Vec<Value> = job
        .progress
        .collections
        .iter()
        .map(|collection| {
            json!({
                "dbName": collection.name.database,
                "collectionName": collection.name.collection,
                "totalBytes": collection.total_bytes,
                "doneBytes": collection.done_bytes,
            })
        })
        .collect();
    json!({
        "jobId": job.job_id,
        "type": job.job_type,
        "status": job.status,
        "progress": percent.to_string(),
        "startTime": seconds_or_null(job.start_time),
        "endTime": seconds_or_null(job.end_time),
        "reason": job.reason,
        "retries": job.retries,
        "nextRetryTime": seconds_or_null(job.next_retry),
        "createTime": seconds(job.create_time),
        "phase": job.progress.phase,
        "totalBytes": total_bytes,
        "doneBytes": done_bytes,
        "bytesPerSecond": job.progress.bytes_per_second.filter(|_| running),
        "remainingSeconds": job.progress.remaining_seconds.filter(|_| running),
        "waitingFor": job.progress.waiting_for.as_ref().filter(|_| running),
        "clusterId": job.cluster_id,
        "backupId": job.backup_id,
        "collections": collections,
        "result": job.result,
    })
}

/// A cluster.
pub(crate) fn cluster(cluster: &ClusterView) -> Value {
    json!({
        "clusterId": cluster.cluster_id,
        "clusterName": cluster.cluster_name,
        "projectId": cluster.project_id,
        "description": "",
        "regionId": cluster.region_id,
        "plan": "BYOC",
        "deploymentOption": "Dedicated",
        "status": cluster.status,
        "connectAddress": cluster.connect_address,
        "privateLinkAddress": "",
        "replica": 1,
        "cuSize": cluster.cu_size,
        "snapshotNumber": cluster.backup_count,
        "createProgress": cluster.create_percent,
        "createTime": seconds(cluster.create_time),
    })
}

/// A cluster that is going to be restored. Passwords are written here and nowhere else.
pub(crate) fn restoring(restoring: &RestoringCluster) -> Value {
    let login = |login: &Login| json!({ "username": login.name, "password": login.password.expose() });
    let (administrator, users) = match restoring.logins.split_first() {
        Some((administrator, users)) => (login(administrator), users),
        None => (json!({ "username": "", "password": "" }), &[][..]),
    };
    let mut reply = administrator;
    reply["clusterId"] = json!(restoring.cluster_id);
    reply["jobId"] = json!(restoring.job_id);
    if restoring.logins.is_empty() {
        reply["note"] = "This kind of cluster has no users, so there is no password.".into();
    }
    if !users.is_empty() {
        reply["users"] = users.iter().map(login).collect();
    }
    reply
}

/// An entry of the audit log.
pub(crate) fn audit(row: &AuditRow) -> Value {
    json!({
        "sequence": row.sequence,
        "time": row.entry.time,
        "actor": row.entry.actor,
        "action": row.entry.action,
        "subject": row.entry.subject,
        "outcome": row.entry.outcome,
    })
}

/// A plugin.
pub(crate) fn plugin(plugin: &KnownPlugin) -> Value {
    json!({
        "name": plugin.name,
        "source": plugin.source,
        "plugin": plugin.plugin,
        "version": plugin.version,
        "digest": plugin.digest,
        "kinds": plugin.kinds,
        "signer": plugin.signer,
        "time": seconds_or_null(plugin.time),
        "usedBy": plugin.used_by,
    })
}

/// A page of what backups cost, with the sums over all pages.
pub(crate) fn costs(report: &CostReport, page: PageRequest) -> Value {
    let first = page.size as usize * (page.number as usize - 1);
    let lines: Vec<&CostLine> = report.costs.iter().skip(first).take(page.size as usize).collect();
    json!({
        "count": report.costs.len(),
        "currentPage": page.number,
        "pageSize": page.size,
        "start": seconds(report.start),
        "end": seconds(report.end),
        "storageCostMicros": report.storage_cost_micros,
        "transferCostMicros": report.transfer_cost_micros,
        "costMicros": report.storage_cost_micros.saturating_add(report.transfer_cost_micros),
        "unknownRegions": report.unknown_regions,
        "costs": lines,
    })
}

/// A project.
pub(crate) fn project(project: &ProjectView) -> Value {
    json!({
        "projectId": project.project_id,
        "projectName": project.project_name,
        "instanceCount": project.cluster_count,
        "createTime": seconds(project.create_time),
        "plan": "BYOC",
    })
}

/// A region.
pub(crate) fn region(view: &RegionView) -> Value {
    json!({
        "cloudId": view.region.provider,
        "regionId": view.region.id,
        "domain": "",
        "jurisdiction": view.region.jurisdiction,
        "storagePriceMicrosPerGbMonth": view.region.storage_price_micros_per_gb_month,
        "transferPriceMicrosPerGb": view.region.transfer_price_micros_per_gb,
        "usedBytes": view.used_bytes,
    })
}

/// The providers of the regions, each once, in order of name.
pub(crate) fn clouds(regions: &[RegionView]) -> Value {
    let mut clouds: Map<String, Value> = Map::new();
    for view in regions {
        clouds.insert(view.region.provider.clone(), Value::Null);
    }
    let mut names: Vec<String> = clouds.into_iter().map(|(name, _)| name).collect();
    names.sort();
    names.into_iter().map(|name| json!({ "cloudId": name, "description": "" })).collect()
}
