//! Looks whether a server can be backed up as it is configured, and says what to change: most trouble that people have with
//! backups of Milvus is a wrong root path or bucket, or a missing right. Whether it can be restored into is looked at in
//! `restore/check.rs`.
//!
//! Contract: nothing is changed. Of the files of one collection the head of one log is read, because the right to list is
//! not the right to read.

use longshore_model::CollectionName;

use super::access::access;
use super::client::MilvusClient;
use super::cut::{HEAD_BYTES, begins_like_a_log};
use super::describe::describe;
use super::features;
use super::inventory::{databases, names};
use super::layout::INSERT_LOG;
use super::segments::{LogFileEntry, SegmentFiles, flushed_segments, kept, list_files};
use super::shared::Shared;
use super::storage::LogStorage;
use crate::{SourceError, SourceFinding};

/// Collections that are looked at one by one.
const COLLECTIONS: usize = 50;
/// Folders in which a root path is looked for when the configured one is not it.
const DEPTH: usize = 3;

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
        Some(version) if features::is_unknown(version) => SourceFinding::warning(
            "server",
            format!("{text}: newer than what is known here; try a restore before relying on it"),
        ),
        Some(version) if features::has_storage_2(version) => SourceFinding::warning(
            "server",
            format!(
                "{text}: its files are read as its sources say, and no such server was run; try a restore before relying on it"
            ),
        ),
        Some(_) => SourceFinding::good("server", text),
    }
}

/// Whether the files of the first collections that have rows are where they should be, and can be read.
async fn files(client: &MilvusClient, storage: &dyn LogStorage, names: &[CollectionName]) -> SourceFinding {
    let (mut looked, mut rows, mut read) = (0_u64, 0_u64, None);
    for name in names.iter().take(COLLECTIONS) {
        match look(client, storage, name).await {
            Ok(Some(listed)) => {
                looked += 1;
                rows += listed.rows();
                if read.is_none()
                    && let Some(file) = listed.files.first()
                {
                    if let Err(error) = head(storage, file).await {
                        let text = format!("{} was listed, and its bytes cannot be had: {error}", file.stored);
                        return SourceFinding::bad("storage", text);
                    }
                    read = Some(file.stored.clone());
                }
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
        let read = read.map_or_else(|| "and none can be read".to_owned(), |read| format!("and {read} can be read"));
        let text = format!("{shown} holds the files of {looked} collections with {rows} flushed rows, {read}");
        return SourceFinding::good("storage", text + &not_looked(names));
    }
    match storage.folders("").await {
        Ok(folders) if folders.iter().any(|folder| folder == INSERT_LOG) => SourceFinding::good(
            "storage",
            format!("{shown} has a folder {INSERT_LOG}; no flushed rows to compare with{}", not_looked(names)),
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

/// Which collections were looked at, where not all were.
fn not_looked(names: &[CollectionName]) -> String {
    match (names.first(), names.get(COLLECTIONS - 1)) {
        (Some(first), Some(last)) if names.len() > COLLECTIONS => {
            let all = names.len();
            format!("; only the first {COLLECTIONS} of {all} collections were looked at, {first} to {last}")
        }
        _ => String::new(),
    }
}

/// Reads how a log begins.
async fn head(storage: &dyn LogStorage, file: &LogFileEntry) -> Result<(), SourceError> {
    let length = usize::try_from(file.listed.size_bytes).unwrap_or(HEAD_BYTES).min(HEAD_BYTES);
    let head = storage.read(&file.stored, 0, length).await?;
    if begins_like_a_log(&head) {
        return Ok(());
    }
    let path = format!("{}/{}", storage.shown(), file.stored);
    Err(SourceError::Damaged { path, reason: "it does not begin like a log of Milvus".to_owned() })
}

/// The flushed segments of a collection and their files; `None` for one that is gone.
async fn look(
    client: &MilvusClient,
    storage: &dyn LogStorage,
    name: &CollectionName,
) -> Result<Option<SegmentFiles>, SourceError> {
    let Some(described) = describe(client, name).await? else { return Ok(None) };
    let Some(segments) = flushed_segments(client, name, described.collection_id).await? else { return Ok(None) };
    let listed = list_files(storage, described.collection_id, kept(&segments)).await?;
    listed.check_complete(name, &described, storage)?;
    Ok(Some(listed))
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
