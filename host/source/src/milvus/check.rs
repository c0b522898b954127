//! Looks whether a server can be backed up as it is configured, and says what to change: most trouble that people have with
//! backups of Milvus is a wrong root path or bucket, or a missing right.

use longshore_model::CollectionName;

use super::access::access;
use super::client::MilvusClient;
use super::describe::describe;
use super::inventory::{databases, names};
use super::layout::INSERT_LOG;
use super::segments::{flushed_segments, kept, list_files};
use super::shared::Shared;
use super::storage::LogStorage;
use super::version::ServerVersion;
use crate::{SourceError, SourceFinding};

/// Collections that are looked at one by one.
const COLLECTIONS: usize = 50;
/// Folders in which a root path is looked for when the configured one is not it.
const DEPTH: usize = 3;
/// The newest version whose differences are known.
const NEWEST: ServerVersion = ServerVersion::new(2, 6, u32::MAX);

/// See the module. The first thing that is in the way of all others ends it.
pub(super) async fn check(shared: &Shared) -> Vec<SourceFinding> {
    let mut found = Vec::new();
    let client = match shared.client().await {
        Ok(client) => client,
        Err(error) => return vec![SourceFinding::bad("server", error.to_string())],
    };
    found.push(version(client));
    let names = match list(client).await {
        Ok((databases, names)) => {
            let text = format!("{} collections in {} databases", names.len(), databases.len());
            found.push(SourceFinding::good("collections", text));
            found.push(match access(client, &databases).await {
                Ok(access) => SourceFinding::good(
                    "users",
                    format!(
                        "{} users, {} roles, {} grants",
                        access.users.len(),
                        access.roles.len(),
                        access.grants.len()
                    ),
                ),
                Err(error) => SourceFinding::warning("users", format!("they will not be in backups: {error}")),
            });
            names
        }
        Err(error) => {
            found.push(SourceFinding::bad("collections", error.to_string()));
            return found;
        }
    };
    match shared.storage().await {
        Ok(storage) => found.push(files(client, storage.as_ref(), &names).await),
        Err(error) => found.push(SourceFinding::bad("storage", error.to_string())),
    }
    found
}

async fn list(client: &MilvusClient) -> Result<(Vec<String>, Vec<CollectionName>), SourceError> {
    let databases = databases(client).await?;
    let names = names(client, &databases).await?;
    Ok((databases, names))
}

fn version(client: &MilvusClient) -> SourceFinding {
    let text = format!("Milvus {} at {}", client.version_text(), client.endpoint());
    match client.version() {
        None => SourceFinding::warning("server", format!("{text}: not a release; what it can do is found by asking")),
        Some(version) if version > NEWEST => SourceFinding::warning(
            "server",
            format!("{text}: newer than what is known here; try a restore before relying on it"),
        ),
        Some(_) => SourceFinding::good("server", text),
    }
}

/// Whether the files of the first collections that have rows are where they should be.
async fn files(client: &MilvusClient, storage: &dyn LogStorage, names: &[CollectionName]) -> SourceFinding {
    let (mut looked, mut rows) = (0_u64, 0_u64);
    for name in names.iter().take(COLLECTIONS) {
        match look(client, storage, name).await {
            Ok(Some(of_it)) => {
                looked += 1;
                rows += of_it;
            }
            Ok(None) => {}
            Err(error @ SourceError::SegmentWithoutFiles { .. }) => {
                let hint = elsewhere(storage).await;
                return SourceFinding::bad("storage", format!("{error}{hint}"));
            }
            Err(error) => return SourceFinding::bad("storage", error.to_string()),
        }
    }
    let shown = storage.shown();
    if rows > 0 {
        let text = format!("{shown} holds the files of {looked} collections with {rows} flushed rows");
        return SourceFinding::good("storage", text);
    }
    match storage.folders("").await {
        Ok(folders) if folders.iter().any(|folder| folder == INSERT_LOG) => SourceFinding::good(
            "storage",
            format!("{shown} has a folder {INSERT_LOG}; no flushed rows to compare with"),
        ),
        Ok(_) => SourceFinding::warning(
            "storage",
            format!(
                "{shown} has no folder {INSERT_LOG}; no collection has flushed rows, so it cannot be told whether it is \
                 the right place{}",
                elsewhere(storage).await
            ),
        ),
        Err(error) => SourceFinding::bad("storage", error.to_string()),
    }
}

/// Flushed rows of a collection; `None` for one that is gone.
async fn look(
    client: &MilvusClient,
    storage: &dyn LogStorage,
    name: &CollectionName,
) -> Result<Option<u64>, SourceError> {
    let Some(described) = describe(client, name).await? else { return Ok(None) };
    let Some(segments) = flushed_segments(client, name, described.collection_id).await? else { return Ok(None) };
    let listed = list_files(storage, described.collection_id, kept(&segments)).await?;
    listed.check_complete(name, &described, storage)?;
    Ok(Some(listed.rows()))
}

/// Where below the configured place a root path of Milvus seems to be.
async fn elsewhere(storage: &dyn LogStorage) -> String {
    let mut folders = vec![String::new()];
    let mut found = Vec::new();
    for _ in 0..DEPTH {
        let mut next = Vec::new();
        for folder in &folders {
            for name in storage.folders(folder).await.unwrap_or_default() {
                let path = if folder.is_empty() { name.clone() } else { format!("{folder}/{name}") };
                if name == INSERT_LOG && !folder.is_empty() {
                    found.push(format!("{}/{folder}", storage.shown().trim_end_matches('/')));
                } else if name != INSERT_LOG {
                    next.push(path);
                }
            }
        }
        next.truncate(COLLECTIONS);
        folders = next;
    }
    if found.is_empty() { String::new() } else { format!("; {INSERT_LOG} is in {}", found.join(" and in ")) }
}
