//! One collection, from nothing to proven, under its temporary name.
//!
//! `Import` of 2.3 says *Completed* to a path that is not there, to a wrong unit of time and to deletes that are missing.
//! So nothing it says is believed before rows were counted.

use super::commit::Commit;
use super::made::Made;
use super::run::Planned;
use super::schema::{is_restored, renamed};
use super::server::{self, Wait, pairs};
use super::tasks::ImportTask;
use crate::SourceError;
use crate::milvus::describe::describe;
use crate::milvus::features::{self, EndUnit};
use crate::milvus::proto::common::{ImportState, KeyValuePair};
use crate::milvus::proto::milvus::{
    CreateCollectionRequest, CreatePartitionRequest, GetImportStateRequest, GetImportStateResponse, ImportRequest,
};
use crate::milvus::rest_import::{RestImport, RestImports, RestState};
use crate::milvus::rpc::Refusal;

/// The partition that every collection has.
const DEFAULT_PARTITION: &str = "_default";

impl Commit<'_> {
    /// See the module.
    pub(super) async fn attempt(&self, number: usize, planned: &Planned) -> Result<(), SourceError> {
        let made = self.inner.made(number)?;
        self.create(planned, &made).await?;
        for task in &made.tasks {
            self.inner.upload(&made, task).await?;
            let taken = self.import(number, planned, task).await?;
            self.inner.remove_upload(task).await;
            if let Some((expected, there)) = task.rows.zip(taken).filter(|(expected, there)| expected != there) {
                let partition = &task.partition;
                return Err(planned.differs(&format!(
                    "the server took {there} rows in a call of Import into partition {partition}, and {expected} are in \
                     the files that it was given"
                )));
            }
        }
        self.prove(number, planned, &made.expected).await?;
        for index in &made.schema.indexes {
            server::index(&self.inner.client, &planned.temporary_name(), index, &self.inner.target.shared.limits)
                .await?;
        }
        Ok(())
    }

    async fn create(&self, planned: &Planned, made: &Made) -> Result<(), SourceError> {
        let (client, kept) = (&self.inner.client, &made.schema);
        let shown = format!("collection {}", planned.name);
        let schema = renamed(&kept.message_bytes(&shown)?, &planned.temporary);
        let no_schema =
            || SourceError::Damaged { path: shown.clone(), reason: "its kept schema is no schema".to_owned() };
        let partitions = &kept.partitions;
        let num_partitions = if planned.has_partition_key { i64::try_from(partitions.len()).unwrap_or(0) } else { 0 };
        let properties: Vec<(String, String)> =
            kept.properties.iter().filter(|(key, _)| is_restored(key)).cloned().collect();
        client
            .call(CreateCollectionRequest {
                db_name: planned.name.database.clone(),
                collection_name: planned.temporary.clone(),
                schema: schema.ok_or_else(no_schema)?,
                shards_num: kept.shards,
                consistency_level: kept.consistency_level,
                properties: pairs(&properties),
                num_partitions,
            })
            .await?;
        let described = describe(client, &planned.temporary_name()).await?;
        let described = described.ok_or_else(|| planned.differs("it vanished right after it was made"))?;
        let (database, temporary) = (planned.name.database.clone(), planned.temporary.clone());
        self.inner
            .note(|marker| {
                let made = marker.collections.iter_mut();
                for made in made.filter(|made| made.database == database && made.temporary == temporary) {
                    made.collection_id = described.collection_id;
                }
            })
            .await?;
        // Files say which field they are of by number, and a server numbers fields anew, in their order.
        let made = described.schema.decode(&shown)?;
        let ids = |schema: &crate::milvus::proto::schema::CollectionSchema| {
            schema.fields.iter().map(|field| (field.field_id, field.name.clone())).collect::<Vec<_>>()
        };
        if let Some(((was, name), (is, _))) =
            ids(&planned.decoded).into_iter().zip(ids(&made)).find(|(one, other)| one != other)
        {
            return Err(SourceError::BadPlan {
                reason: format!(
                    "field `{name}` of {} has number {was} in the backup and would have {is} in this server, which tells \
                     files apart by it; a field was dropped from the collection before it was backed up",
                    planned.name
                ),
            });
        }
        // Those of a partition key are made with the collection.
        let named = partitions.iter().filter(|name| !planned.has_partition_key && *name != DEFAULT_PARTITION);
        for partition_name in named {
            client
                .call(CreatePartitionRequest {
                    db_name: planned.name.database.clone(),
                    collection_name: planned.temporary.clone(),
                    partition_name: partition_name.clone(),
                })
                .await?;
        }
        Ok(())
    }

    /// Makes one call of Import and waits for its end. Returns the rows it says it took, where it says so.
    ///
    /// A server that wants the cut in the other unit says so before it has imported anything: it reads the options before the
    /// files (Milvus `internal/util/importutilv2/reader.go`), so the call is made once more.
    async fn import(&self, number: usize, planned: &Planned, task: &ImportTask) -> Result<Option<u64>, SourceError> {
        let mut moved = 0;
        let unit = self.inner.end_unit();
        match self.import_once(number, planned, task, unit, &mut moved).await {
            Err(error) if task.is_cut && unit.is_refused_by(&error) => {
                tracing::warn!(%error, collection = %planned.name, "telling the server the cut in the other unit");
                self.inner.use_end_unit(EndUnit::HybridTimestamp);
                self.import_once(number, planned, task, EndUnit::HybridTimestamp, &mut moved).await
            }
            other => other,
        }
    }

    async fn import_once(
        &self,
        number: usize,
        planned: &Planned,
        task: &ImportTask,
        unit: EndUnit,
        moved: &mut u64,
    ) -> Result<Option<u64>, SourceError> {
        let job = self.start(planned, task, unit).await?;
        let lost =
            |reason: &str| SourceError::ImportLost { collection: planned.name.clone(), reason: reason.to_owned() };
        let limits = &self.inner.target.shared.limits;
        let mut wait = Wait::new(limits, limits.import_patience_ms);
        loop {
            let now = self.look(planned, &job).await?;
            let done = task.bytes.saturating_mul(now.percent) / 100;
            self.watch.moved(number, done.saturating_sub(*moved));
            *moved = done.max(*moved);
            match now.ended {
                Some(Ok(rows)) => return Ok(rows),
                // A server that was started again forgets what it was doing; nothing is wrong with the files.
                Some(Err(reason)) if reason.contains("service restarted") => return Err(lost(&reason)),
                Some(Err(reason)) => {
                    return Err(SourceError::ImportFailed {
                        collection: planned.name.clone(),
                        partition: task.partition.clone(),
                        reason,
                    });
                }
                None => {}
            }
            if self.watch.is_stopped() {
                return Err(SourceError::Stopped);
            }
            if !wait.more().await {
                return Err(lost(&format!("it was not done after {} ms", limits.import_patience_ms)));
            }
        }
    }

    /// Starts an import, over REST where the server does not offer it over gRPC.
    async fn start(&self, planned: &Planned, task: &ImportTask, unit: EndUnit) -> Result<Job, SourceError> {
        let staged = self.inner.staged()?;
        let files = task.paths(&staged.as_seen(&self.inner.server_root));
        drop(staged);
        let (client, options) = (&self.inner.client, task.options(planned.end_ms.map(|end_ms| unit.text(end_ms))));
        let pairs = options.iter().map(|(key, value)| KeyValuePair { key: (*key).to_owned(), value: value.clone() });
        let request = ImportRequest {
            db_name: planned.name.database.clone(),
            collection_name: planned.temporary.clone(),
            partition_name: task.partition.clone(),
            files: files.clone(),
            options: pairs.collect(),
            ..ImportRequest::default()
        };
        match client.call(request).await {
            Ok(answer) => {
                let lost = || SourceError::ImportLost {
                    collection: planned.name.clone(),
                    reason: "the server named no task".to_owned(),
                };
                Ok(Job::Task(*answer.tasks.first().ok_or_else(lost)?))
            }
            Err(error) if features::imports_over_rest(&error) => {
                let collection = (planned.name.database.as_str(), planned.temporary.as_str());
                let id = self.rest()?.create(collection, &task.partition, &files, &options).await?;
                Ok(Job::Rest(id))
            }
            Err(error) => Err(error),
        }
    }

    fn rest(&self) -> Result<RestImports<'_>, SourceError> {
        let shared = &self.inner.target.shared;
        RestImports::of(&shared.server.address, self.inner.client.version_text(), &shared.limits)
    }

    /// How far an import is.
    async fn look(&self, planned: &Planned, job: &Job) -> Result<Look, SourceError> {
        let told = |error| match error {
            SourceError::CallRefused { refusal: Refusal::Other | Refusal::NotReady, reason, .. } => {
                SourceError::ImportLost { collection: planned.name.clone(), reason }
            }
            error => error,
        };
        match job {
            Job::Task(task) => {
                let state = self.inner.client.call(GetImportStateRequest { task: *task }).await.map_err(told)?;
                Ok(Look::of_task(&state))
            }
            Job::Rest(id) => Ok(Look::of_job(self.rest()?.describe(&planned.name.database, id).await.map_err(told)?)),
        }
    }
}

/// An import that was started.
enum Job {
    /// Its number, over gRPC.
    Task(i64),
    /// Its id, over REST.
    Rest(String),
}

/// How far an import is.
#[derive(Debug, PartialEq, Eq)]
struct Look {
    percent: u64,
    /// The rows it took, if it says so, or why it failed.
    ended: Option<Result<Option<u64>, String>>,
}

impl Look {
    fn of_task(state: &GetImportStateResponse) -> Self {
        let percent = || info(state, "progress_percent").and_then(|text| text.parse().ok()).unwrap_or(0).min(100);
        match state.state() {
            ImportState::ImportCompleted => {
                Self { percent: 100, ended: Some(Ok(Some(u64::try_from(state.row_count).unwrap_or(0)))) }
            }
            ImportState::ImportFailed | ImportState::ImportFailedAndCleaned => {
                let reason = info(state, "failed_reason").unwrap_or("no reason was given").to_owned();
                Self { percent: percent(), ended: Some(Err(reason)) }
            }
            _ => Self { percent: percent(), ended: None },
        }
    }

    /// What a job over REST says of rows counts deleted ones with some versions and not with others: they are counted
    /// afterwards, as always.
    fn of_job(job: RestImport) -> Self {
        let reason = if job.reason.is_empty() { "no reason was given".to_owned() } else { job.reason };
        match job.state {
            RestState::Completed => Self { percent: 100, ended: Some(Ok(None)) },
            RestState::Failed => Self { percent: job.progress, ended: Some(Err(reason)) },
            RestState::GoesOn => Self { percent: job.progress, ended: None },
        }
    }
}

pub(super) fn info<'a>(state: &'a GetImportStateResponse, key: &str) -> Option<&'a str> {
    state.infos.iter().find(|pair| pair.key == key).map(|pair| pair.value.as_str())
}

impl Planned {
    /// The error for a collection that is not what was backed up.
    pub(super) fn differs(&self, what: &str) -> SourceError {
        SourceError::RowsDiffer { collection: self.name.clone(), what: what.to_owned() }
    }
}
