//! Bodies of requests as the engine takes them, with every spelling that Zilliz's documents and clients use.

use longshore_engine::{
    ApplyVolume, CreateBackup, ExportBackup, RestoreCluster, RestoreCollections, StartMigration, VerifyBackup,
    VerifyLevel,
};
use longshore_model::{
    BackupType, ClusterId, CollectionMapping, CollectionName, ProjectId, RegionId, RestoredLoadState,
};
use serde_json::Value;

use crate::answer::Refusal;
use crate::code;
use crate::fields::Fields;
use crate::forms;
use crate::meaning::sentence;

/// The body of `…/backups/create`.
pub(crate) fn create_backup(body: &Value) -> Result<CreateBackup, Refusal> {
    let body = Fields::body(body, forms::CREATE_BACKUP)?;
    let wrong_type = "`backupType` must be CLUSTER or COLLECTION.";
    let backup_type = body.text("backupType").ok().flatten().and_then(|text| text.parse::<BackupType>().ok());
    let backup_type = backup_type.ok_or_else(|| Refusal::bad(code::BACKUP_TYPE, wrong_type))?;
    let mut collections: Vec<CollectionName> = Vec::new();
    for database in body.objects("dbCollections")? {
        let names = database.texts("collectionNames")?;
        if names.is_empty() {
            let message = format!("`{}` must name at least one collection.", database.place("collectionNames"));
            return Err(Refusal::bad(code::INVALID_FIELD, message));
        }
        let database_name = database.text("dbName")?.unwrap_or_default();
        for name in names {
            collections.push(collection(database_name, name)?);
        }
    }
    // A name that stands there twice is meant once.
    collections.sort();
    collections.dedup();
    let mut copies: Vec<RegionId> = Vec::new();
    for copy in body.objects("crossRegionCopies")? {
        let region = copy.text("regionId")?.unwrap_or_default();
        let region: RegionId = region.parse().map_err(|error| {
            Refusal::bad(code::REGION, format!("`{}`: {}", copy.place("regionId"), sentence(&error)))
        })?;
        if !copies.contains(&region) {
            copies.push(region);
        }
    }
    Ok(CreateBackup { backup_type, collections, copies })
}

fn collection(database: &str, name: &str) -> Result<CollectionName, Refusal> {
    CollectionName::new(database, name).map_err(|error| Refusal::bad(code::INVALID_FIELD, sentence(&error)))
}

/// The body of `…/restoreCluster`. The guide says `targetProjectId` where the reference says `projectId`; the official
/// command line sends LOADED and NOT_LOADED where the reference says KEEP and RELEASE.
pub(crate) fn restore_cluster(body: &Value) -> Result<RestoreCluster, Refusal> {
    let body = Fields::body(body, forms::RESTORE_CLUSTER)?;
    let project_id = match (body.text("projectId")?, body.text("targetProjectId")?) {
        (Some(project), Some(target)) if project != target => {
            let message = "`projectId` and `targetProjectId` name different projects; send one of them.";
            return Err(Refusal::bad(code::PROJECT, message));
        }
        (Some(project), _) | (None, Some(project)) => project,
        (None, None) => return Err(Refusal::bad(code::PROJECT, "`projectId` is missing.")),
    };
    let project_id: ProjectId = project_id
        .parse()
        .map_err(|error| Refusal::bad(code::PROJECT, format!("`projectId`: {}", sentence(&error))))?;
    let cluster_name = body.text("clusterName")?.unwrap_or_default().to_owned();
    longshore_engine::check_cluster_name(&cluster_name)
        .map_err(|what| Refusal::bad(code::CLUSTER_NAME, format!("`clusterName`: {}", sentence(&what))))?;
    let cu_size = body.integer("cuSize").map_err(|refusal| refusal.with_code(code::CU_SIZE))?;
    let cu_size = cu_size.and_then(|size| u32::try_from(size).ok()).filter(|size| (1..=1024).contains(size));
    let cu_size =
        cu_size.ok_or_else(|| Refusal::bad(code::CU_SIZE, "`cuSize` must be a whole number of 1 to 1024."))?;
    let load_state = match body.text("collectionStatus")? {
        Some("KEEP") => RestoredLoadState::Keep,
        Some("LOADED") => RestoredLoadState::Loaded,
        Some("RELEASE" | "NOT_LOADED" | "UNLOADED") => RestoredLoadState::NotLoaded,
        _ => {
            let message = "`collectionStatus` must be KEEP or RELEASE (or LOADED or NOT_LOADED).";
            return Err(Refusal::bad(code::COLLECTION_STATUS, message));
        }
    };
    match body.text("restoreVersionPolicy")? {
        None | Some("LATEST" | "ORIGINAL") => {}
        Some(_) => {
            let message = "`restoreVersionPolicy` must be LATEST or ORIGINAL.";
            return Err(Refusal::bad(code::INVALID_FIELD, message));
        }
    }
    let restore_users = body.boolean("includeRbac")?.unwrap_or_default();
    Ok(RestoreCluster { project_id, cluster_name, cu_size, load_state, restore_users })
}

/// The body of `…/restoreCollection`. Without `dbCollections` everything is restored, not loaded.
pub(crate) fn restore_collections(body: &Value) -> Result<RestoreCollections, Refusal> {
    let body = Fields::body(body, forms::RESTORE_COLLECTION)?;
    let destination = body.text("destClusterId")?;
    let destination = destination.ok_or_else(|| Refusal::bad(code::CLUSTER_ID_EMPTY, "`destClusterId` is missing."))?;
    let destination = cluster_id(&body, "destClusterId", destination)?;
    let mut collections = Vec::new();
    for database in body.objects("dbCollections")? {
        let from_database = database.text("dbName")?.unwrap_or_default();
        let to_database = database.text("destDbName")?.unwrap_or(from_database);
        let entries = database.objects("collections")?;
        if entries.is_empty() {
            let message = format!("`{}` must name at least one collection.", database.place("collections"));
            return Err(Refusal::bad(code::INVALID_FIELD, message));
        }
        for entry in entries {
            collections.push(mapping(&entry, from_database, to_database)?);
        }
    }
    Ok(RestoreCollections { destination, collections })
}

fn mapping(entry: &Fields<'_>, from_database: &str, to_database: &str) -> Result<CollectionMapping, Refusal> {
    let Some(name) = entry.text("collectionName")? else { return Err(missing(entry, "collectionName")) };
    let to_name = entry.text("destCollectionName")?.unwrap_or(name);
    let load_state = match entry.text("destCollectionStatus")? {
        Some("LOADED") => RestoredLoadState::Loaded,
        None | Some("UNLOADED" | "NOT_LOADED") => RestoredLoadState::NotLoaded,
        Some(_) => {
            let message = format!("`{}` must be LOADED or UNLOADED.", entry.place("destCollectionStatus"));
            return Err(Refusal::bad(code::DESTINATION_STATUS, message));
        }
    };
    Ok(CollectionMapping { from: collection(from_database, name)?, to: collection(to_database, to_name)?, load_state })
}

/// The body of `…/verify`; `{}` for everything but the files themselves.
pub(crate) fn verify_backup(body: &Value) -> Result<VerifyBackup, Refusal> {
    let body = Fields::body(body, forms::VERIFY_BACKUP)?;
    let level = match body.text("level")? {
        None => VerifyLevel::Decoded,
        Some(text) => [VerifyLevel::Exists, VerifyLevel::Stored, VerifyLevel::Decoded, VerifyLevel::Parsed]
            .into_iter()
            .find(|level| level.as_str() == text)
            .ok_or_else(|| Refusal::bad(code::INVALID_FIELD, "`level` must be exists, stored, decoded or parsed."))?,
    };
    let percent = body.integer("samplePercent")?;
    let sample_percent = percent.map(|percent| {
        u8::try_from(percent)
            .ok()
            .filter(|percent| (1..=100).contains(percent))
            .ok_or_else(|| Refusal::bad(code::INVALID_FIELD, "`samplePercent` must be a whole number of 1 to 100."))
    });
    Ok(VerifyBackup { level, sample_percent: sample_percent.transpose()? })
}

/// The body of `…/export`.
pub(crate) fn export_backup(body: &Value) -> Result<ExportBackup, Refusal> {
    let body = Fields::body(body, forms::EXPORT_BACKUP)?;
    let directory = body.text("directory")?.unwrap_or_default().to_owned();
    Ok(ExportBackup { integration_id: required(&body, "integrationId")?, directory })
}

/// The body of `/v2/volumes/apply`. milvus-backup calls a volume a stage.
pub(crate) fn apply_volume(body: &Value) -> Result<ApplyVolume, Refusal> {
    let body = Fields::body(body, forms::APPLY_VOLUME)?;
    let cluster = body.text("clusterId")?.map(|text| cluster_id(&body, "clusterId", text)).transpose()?;
    Ok(ApplyVolume { volume: volume_name(&body)?.map(str::to_owned), cluster, path: required(&body, "path")? })
}

/// The body of `/v2/migrations/startByRemote`.
pub(crate) fn start_migration(body: &Value) -> Result<StartMigration, Refusal> {
    let body = Fields::body(body, forms::START_MIGRATION)?;
    let (source, destination) = (body.object("source")?, body.object("destination")?);
    for name in ["bucketName", "objectUrl", "accessKey", "secretKey", "token"] {
        if source.text(name)?.is_some() {
            let message = format!(
                "`{}` names a bucket, and this host reads none: put what is to be taken in into a volume                  (`/v2/volumes/apply`) and send `volumeName` and `dataPath`.",
                source.place(name)
            );
            return Err(Refusal::bad(code::INVALID_FIELD, message));
        }
    }
    let Some(volume) = volume_name(&source)? else { return Err(missing(&source, "volumeName")) };
    let Some(cluster) = destination.text("clusterId")? else {
        let message = format!("`{}` is missing.", destination.place("clusterId"));
        return Err(Refusal::bad(code::CLUSTER_ID_EMPTY, message));
    };
    Ok(StartMigration {
        volume: volume.to_owned(),
        path: required(&source, "dataPath")?,
        destination: cluster_id(&destination, "clusterId", cluster)?,
    })
}

fn volume_name<'a>(fields: &Fields<'a>) -> Result<Option<&'a str>, Refusal> {
    Ok(fields.text("volumeName")?.or(fields.text("stageName")?))
}

fn missing(fields: &Fields<'_>, name: &str) -> Refusal {
    Refusal::bad(code::INVALID_FIELD, format!("`{}` is missing.", fields.place(name)))
}

fn required(fields: &Fields<'_>, name: &str) -> Result<String, Refusal> {
    fields.text(name)?.map(str::to_owned).ok_or_else(|| missing(fields, name))
}

fn cluster_id(fields: &Fields<'_>, name: &str, text: &str) -> Result<ClusterId, Refusal> {
    let wrong = |error| Refusal::bad(code::CLUSTER_ID, format!("`{}`: {}", fields.place(name), sentence(&error)));
    text.parse().map_err(wrong)
}

/// The body of `…/rename`.
pub(crate) fn rename_backup(body: &Value) -> Result<String, Refusal> {
    required(&Fields::body(body, forms::RENAME_BACKUP)?, "backupName")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use serde_json::json;

    use super::*;

    fn name(text: &str) -> CollectionName {
        text.parse().unwrap()
    }

    #[test]
    fn a_request_for_collections_names_them_once_and_in_order() {
        let body = json!({
            "backupType": "COLLECTION",
            "dbCollections": [
                { "collectionNames": ["b", "a", "b"] },
                { "dbName": "default", "collectionNames": ["a"] },
                { "dbName": "", "collectionNames": ["c"] },
                { "dbName": "wiki", "collectionNames": ["a"] },
            ],
            "crossRegionCopies": [{ "regionId": "eu" }, { "regionId": "us" }, { "regionId": "eu" }],
            "unknown": { "field": 1 },
        });
        let request = create_backup(&body).unwrap();
        assert_eq!(request.backup_type, BackupType::Collection);
        assert_eq!(request.collections, ["a", "b", "c", "wiki.a"].map(name));
        assert_eq!(request.copies, ["eu", "us"].map(|region| region.parse().unwrap()));
    }

    #[test]
    fn what_is_null_is_as_good_as_left_out() {
        let body = json!({ "backupType": "CLUSTER", "dbCollections": null, "crossRegionCopies": null });
        assert_eq!(create_backup(&body).unwrap(), create_backup(&json!({ "backupType": "CLUSTER" })).unwrap());
        let body = json!({ "destClusterId": "in01-b", "dbCollections": null });
        assert_eq!(restore_collections(&body).unwrap().collections, []);
    }

    #[test]
    fn a_restore_of_a_cluster_accepts_both_spellings() {
        use RestoredLoadState::{Keep, Loaded, NotLoaded};
        let spellings = [("KEEP", Keep), ("LOADED", Loaded), ("RELEASE", NotLoaded), ("NOT_LOADED", NotLoaded)];
        for (status, expected) in spellings {
            for project in ["projectId", "targetProjectId"] {
                let body = json!({
                    project: "proj-1", "clusterName": "New-1", "cuSize": 8, "collectionStatus": status,
                    "restoreVersionPolicy": "ORIGINAL",
                });
                let request = restore_cluster(&body).unwrap();
                assert_eq!(request.load_state, expected, "{status}");
                assert_eq!((request.project_id.as_str(), request.cu_size), ("proj-1", 8));
            }
        }
    }

    #[test]
    fn a_restore_of_collections_fills_in_what_is_left_out() {
        let body = json!({
            "destClusterId": "in01-b",
            "dbCollections": [
                { "dbName": "wiki", "destDbName": "copy", "collections": [
                    { "collectionName": "a", "destCollectionName": "b", "destCollectionStatus": "LOADED" },
                    { "collectionName": "c" },
                ] },
                { "collections": [{ "collectionName": "d", "destCollectionStatus": "UNLOADED" }] },
            ],
        });
        let request = restore_collections(&body).unwrap();
        assert_eq!(request.destination.as_str(), "in01-b");
        let seen: Vec<_> = request
            .collections
            .iter()
            .map(|mapping| (mapping.from.to_string(), mapping.to.to_string(), mapping.load_state))
            .collect();
        let expected = [
            ("wiki.a", "copy.b", RestoredLoadState::Loaded),
            ("wiki.c", "copy.c", RestoredLoadState::NotLoaded),
            ("default.d", "default.d", RestoredLoadState::NotLoaded),
        ];
        assert_eq!(seen, expected.map(|(from, to, state)| (from.to_owned(), to.to_owned(), state)));
    }
}
