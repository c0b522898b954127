//! Dropping a collection that an import may still be going into.
//!
//! Contract: a collection is dropped only when the server has said that every import into it has ended. One that loses its
//! collection stays *Persisted* until it expires after a quarter of an hour, and its data node takes no other one as long
//! (seen on 2.3.5). Where the end is not seen in time, nothing is dropped and [`SourceError::ImportUnderWay`] says so; the
//! marker still names the collection, and a later restore drops it.

use std::time::Duration;

use longshore_model::CollectionName;
use tokio::time::Instant;

use super::import::info;
use super::server::{Wait, drop_collection, find};
use crate::milvus::MilvusClient;
use crate::milvus::address::ServerAddress;
use crate::milvus::features;
use crate::milvus::proto::common::ImportState;
use crate::milvus::proto::milvus::{GetImportStateResponse, ListImportTasksRequest};
use crate::milvus::rest_import::{RestImport, RestImports, RestState};
use crate::milvus::rpc::Refusal;
use crate::milvus::shared::Shared;
use crate::{Limits, RestoreWatch, SourceError};

/// What a wait does when it is told to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AtStop {
    /// It ends.
    Stop,
    /// It goes on for a little: what was made is to be taken back because of the stop.
    Hurry,
}

/// Drops collections; the patience is for all of them together.
pub(super) struct Dropping<'a> {
    client: &'a MilvusClient,
    address: &'a ServerAddress,
    limits: &'a Limits,
    watch: &'a dyn RestoreWatch,
    at_stop: AtStop,
    patience: Duration,
    started: Instant,
}

/// What is known of the imports into a collection.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Imports {
    Ended,
    GoOn(String),
    /// The server did not tell. Asking again may help.
    Untold(String),
    /// Asking again does not help.
    NeverTold(String),
}

impl<'a> Dropping<'a> {
    /// Waits as long as a server may take to give an import up.
    pub(super) fn new(
        client: &'a MilvusClient,
        shared: &'a Shared,
        watch: &'a dyn RestoreWatch,
        at_stop: AtStop,
    ) -> Self {
        let (address, limits) = (&shared.server.address, &shared.limits);
        let patience = Duration::from_millis(limits.import_end_patience_ms);
        Self { client, address, limits, watch, at_stop, patience, started: Instant::now() }
    }

    /// The same for somebody who has waited in vain before: it looks once.
    pub(super) fn impatient(self) -> Self {
        Self { patience: Duration::ZERO, ..self }
    }

    /// Drops what has this name, once no import goes into it. An alias of that name is not touched.
    ///
    /// # Errors
    /// [`SourceError::ImportUnderWay`], [`SourceError::Stopped`], what calls fail with.
    pub(super) async fn drop_when_ended(&self, database: &str, name: &str) -> Result<(), SourceError> {
        if find(self.client, database, name).await?.is_none_or(|found| found.name != name) {
            return Ok(());
        }
        let ended = self.wait(database, name).await;
        self.watch.waits_for(None);
        ended?;
        drop_collection(self.client, database, name, 0).await
    }

    async fn wait(&self, database: &str, name: &str) -> Result<(), SourceError> {
        let collection = CollectionName { database: database.to_owned(), collection: name.to_owned() };
        let mut wait = Wait::new(self.limits, self.limits.import_end_patience_ms);
        loop {
            let reason = match self.imports(&collection).await {
                Imports::Ended => return Ok(()),
                Imports::GoOn(reason) | Imports::Untold(reason) => reason,
                Imports::NeverTold(reason) => return Err(SourceError::ImportUnderWay { collection, reason }),
            };
            self.watch
                .waits_for(Some(format!("the end of an import into {collection} before it is dropped: {reason}")));
            let patience = match (self.watch.is_stopped(), self.at_stop) {
                (false, _) => self.patience,
                (true, AtStop::Stop) => return Err(SourceError::Stopped),
                (true, AtStop::Hurry) => {
                    self.patience.min(Duration::from_millis(self.limits.stopped_import_patience_ms))
                }
            };
            if self.started.elapsed() >= patience || !wait.more().await {
                return Err(SourceError::ImportUnderWay { collection, reason });
            }
        }
    }

    async fn imports(&self, collection: &CollectionName) -> Imports {
        let request = ListImportTasksRequest {
            db_name: collection.database.clone(),
            collection_name: collection.collection.clone(),
            ..ListImportTasksRequest::default()
        };
        match self.client.call(request).await {
            Ok(answer) => state_of(&answer.tasks),
            // Somebody else dropped it.
            Err(SourceError::CallRefused {
                refusal: Refusal::CollectionNotFound | Refusal::DatabaseNotFound, ..
            }) => Imports::Ended,
            Err(error) if features::imports_over_rest(&error) => self.rest_imports(collection).await,
            Err(error @ SourceError::NotPermitted { .. }) => Imports::NeverTold(error.to_string()),
            Err(error) => Imports::Untold(error.to_string()),
        }
    }

    async fn rest_imports(&self, collection: &CollectionName) -> Imports {
        let listed = match RestImports::of(self.address, self.client.version_text(), self.limits) {
            Ok(imports) => imports.list(collection).await,
            Err(error) => Err(error),
        };
        match listed {
            Ok(jobs) => state_of_jobs(&jobs),
            Err(error @ SourceError::CallNotOffered { .. }) => Imports::NeverTold(error.to_string()),
            Err(error) => Imports::Untold(error.to_string()),
        }
    }
}

fn state_of(tasks: &[GetImportStateResponse]) -> Imports {
    let has_ended = |task: &GetImportStateResponse| {
        matches!(
            task.state(),
            ImportState::ImportCompleted | ImportState::ImportFailed | ImportState::ImportFailedAndCleaned
        )
    };
    let Some(task) = tasks.iter().find(|task| !has_ended(task)) else { return Imports::Ended };
    let percent = info(task, "progress_percent").unwrap_or("0");
    Imports::GoOn(format!("import {} is {} and {percent} % done", task.id, task.state().as_str_name()))
}

fn state_of_jobs(jobs: &[RestImport]) -> Imports {
    match jobs.iter().find(|job| job.state == RestState::GoesOn) {
        None => Imports::Ended,
        Some(job) => Imports::GoOn(format!("import {} is {} % done", job.id, job.progress)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn task(state: ImportState) -> GetImportStateResponse {
        GetImportStateResponse { id: 7, state: state.into(), ..GetImportStateResponse::default() }
    }

    #[test]
    fn only_what_has_ended_lets_a_collection_go() {
        use ImportState::{
            ImportCompleted, ImportFailed, ImportFailedAndCleaned, ImportPending, ImportPersisted, ImportStarted,
        };
        let ended = [ImportCompleted, ImportFailed, ImportFailedAndCleaned];
        assert_eq!(state_of(&[]), Imports::Ended);
        assert_eq!(state_of(&ended.map(task)), Imports::Ended);
        for goes_on in [ImportPending, ImportStarted, ImportPersisted] {
            let tasks: Vec<_> = ended.into_iter().chain([goes_on]).map(task).collect();
            assert!(matches!(state_of(&tasks), Imports::GoOn(_)), "{goes_on:?}");
        }
    }

    #[test]
    fn over_rest_too() {
        let job = |state| RestImport { id: "7".to_owned(), state, progress: 5, reason: String::new() };
        assert_eq!(state_of_jobs(&[]), Imports::Ended);
        assert_eq!(state_of_jobs(&[job(RestState::Completed), job(RestState::Failed)]), Imports::Ended);
        assert!(matches!(state_of_jobs(&[job(RestState::Completed), job(RestState::GoesOn)]), Imports::GoOn(_)));
    }
}
