//! The last step of a restore: collections are made, proven, and get their names; or everything is taken back.
//!
//! Order: the marker names a thing before it is made. Collections get their names only when all of them are proven. Aliases,
//! loading and users come after that: what fails there is a note and no reason to take rows back.

use std::sync::Arc;

use futures::{StreamExt, TryStreamExt, stream};
use longshore_model::{CollectionName, DEFAULT_DATABASE, RestoredLoadState};

use super::earlier::always;
use super::marker::{MadeCollection, Marker};
use super::run::{Inner, Planned};
use super::unfinished::{AtStop, Dropping};
use super::{access, server};
use crate::milvus::features;
use crate::milvus::proto::common::KeyValuePair;
use crate::plan;
use crate::{Committed, RestoreWatch, SourceError, TargetPlan};

/// See the module.
pub(super) struct Commit<'a> {
    pub(super) inner: &'a Arc<Inner>,
    pub(super) watch: &'a dyn RestoreWatch,
}

impl Commit<'_> {
    pub(super) async fn run(&self) -> Result<Committed, SourceError> {
        match self.collections().await {
            Ok(()) => self.afterwards().await,
            Err(error) => Err(self.take_back(error).await),
        }
    }

    fn plan(&self) -> Result<Arc<TargetPlan>, SourceError> {
        Ok(Arc::clone(&self.inner.staged()?.files.plan))
    }

    /// Everything that is taken back when it fails.
    async fn collections(&self) -> Result<(), SourceError> {
        self.databases().await?;
        let wanted = (0..).zip(self.inner.planned.iter()).filter(|(number, _)| !self.inner.is_finished_before(*number));
        let wanted: Vec<(usize, &Planned)> = wanted.collect();
        stream::iter(&wanted)
            .map(Ok)
            .try_for_each_concurrent(
                self.inner.target.shared.limits.restored_collections.max(1),
                |(number, planned)| self.restore(*number, planned),
            )
            .await?;
        for (_, planned) in &wanted {
            let database = &planned.name.database;
            server::rename(&self.inner.client, database, &planned.temporary, &planned.name.collection).await?;
        }
        Ok(())
    }

    /// Makes the databases that are not there.
    async fn databases(&self) -> Result<(), SourceError> {
        let plan = self.plan()?;
        let there = server::databases(&self.inner.client).await?;
        for (database, properties) in plan::databases(&plan) {
            if database == DEFAULT_DATABASE || there.iter().any(|one| one == database) {
                continue;
            }
            self.inner.note(|marker| marker.databases.push(database.to_owned())).await?;
            let properties = properties.as_object().into_iter().flatten();
            let properties = properties.map(|(key, value)| KeyValuePair {
                key: key.clone(),
                value: value.as_str().map_or_else(|| value.to_string(), str::to_owned),
            });
            server::create_database(&self.inner.client, database, properties.collect()).await?;
        }
        Ok(())
    }

    /// Makes one collection under its temporary name and proves it. What became of a call of Import is sometimes not known,
    /// and a second one would double the rows: then the collection is dropped and made anew.
    async fn restore(&self, number: usize, planned: &Planned) -> Result<(), SourceError> {
        let limits = &self.inner.target.shared.limits;
        let made = MadeCollection {
            database: planned.name.database.clone(),
            temporary: planned.temporary.clone(),
            name: planned.name.collection.clone(),
            collection_id: 0,
        };
        self.inner.note(|marker| marker.collections.push(made)).await?;
        let mut attempt = 1;
        loop {
            if self.watch.is_stopped() {
                return Err(SourceError::Stopped);
            }
            match self.attempt(number, planned).await {
                Err(error) if attempt < limits.import_attempts && is_unknown(&error) => {
                    tracing::warn!(%error, collection = %planned.name, "what became of an import is not known: making the collection anew");
                    server::answers(&self.inner.client, limits).await?;
                    let shared = &self.inner.target.shared;
                    let dropping = Dropping::new(&self.inner.client, shared, self.watch, AtStop::Stop);
                    dropping.drop_when_ended(&planned.name.database, &planned.temporary).await?;
                    attempt += 1;
                }
                other => return other,
            }
        }
    }

    /// After all collections have their names.
    async fn afterwards(&self) -> Result<Committed, SourceError> {
        let (plan, client) = (self.plan()?, &self.inner.client);
        let mut done = Committed::default();
        done.notes.extend(features::not_run(client));
        for number in 0..self.inner.planned.len() {
            done.notes.extend(self.inner.made(number)?.notes.iter().cloned());
        }
        done.notes.extend(self.inner.planned.iter().find_map(|planned| planned.until_ms).map(always));
        for (database, aliases) in plan::aliases(&plan, &|_, _| false) {
            for (alias, collection) in aliases {
                let of = CollectionName { database: database.clone(), collection };
                if let Err(error) = self.alias(&of, &alias).await {
                    done.notes.push(format!("alias {database}.{alias} of {of} was not made: {error}"));
                }
            }
        }
        for planned in self.inner.planned.iter() {
            let Some(holding) = holding(planned) else { continue };
            match server::load(client, &planned.name, holding, &self.inner.target.shared.limits).await {
                Ok(note) => done.notes.extend(note.map(|note| format!("collection {}: {note}", planned.name))),
                Err(why) => {
                    done.notes.push(format!("collection {} is restored, but was not loaded: {why}", planned.name));
                }
            }
        }
        if let Some(access) = &plan.access {
            access::restore(client, access, &plan, &mut done).await;
        }
        Ok(done)
    }

    /// Makes an alias, unless it is there already, from an earlier run of this plan.
    async fn alias(&self, of: &CollectionName, alias: &str) -> Result<(), SourceError> {
        match server::find(&self.inner.client, &of.database, alias).await? {
            Some(found) if found.name == of.collection => Ok(()),
            Some(found) => Err(SourceError::BadPlan { reason: format!("it stands for {} there", found.name) }),
            None => server::create_alias(&self.inner.client, of, alias).await,
        }
    }

    /// Drops everything that was made. The error is the one that led here, or says what is left as well.
    async fn take_back(&self, error: SourceError) -> SourceError {
        let limits = &self.inner.target.shared.limits;
        let Marker { collections, databases } = self.inner.marker();
        let mut left = Vec::new();
        if let Err(away) = server::answers(&self.inner.client, limits).await {
            tracing::warn!(error = %away, "the server does not answer, so what was made there cannot be taken back now");
            left.extend(collections.iter().map(|made| format!("collection {}.{}", made.database, made.temporary)));
        } else {
            let shared = &self.inner.target.shared;
            let dropping = Dropping::new(&self.inner.client, shared, self.watch, AtStop::Hurry);
            let waited = matches!(error, SourceError::ImportUnderWay { .. });
            let dropping = if waited { dropping.impatient() } else { dropping };
            for made in &collections {
                // Under the one name or the other.
                let (client, database) = (&self.inner.client, &made.database);
                let mut dropped = dropping.drop_when_ended(database, &made.temporary).await;
                if dropped.is_ok() && made.collection_id != 0 {
                    dropped = server::drop_collection(client, database, &made.name, made.collection_id).await;
                }
                if let Err(why) = dropped {
                    left.push(format!("collection {database}.{} ({why})", made.temporary));
                }
            }
            for database in &databases {
                if let Err(why) = server::drop_empty_database(&self.inner.client, database).await {
                    left.push(format!("database {database} ({why})"));
                }
            }
        }
        if left.is_empty() {
            return error;
        }
        SourceError::LeftBehind { error: Box::new(error), left: left.join(", ") }
    }
}

/// How a collection is to be held in memory, if at all. Whoever asks for it to be loaded gets all of it.
fn holding(planned: &Planned) -> Option<server::Holding<'_>> {
    let replicas = planned.point.replicas.max(1);
    match planned.load_state {
        RestoredLoadState::NotLoaded => None,
        RestoredLoadState::Loaded => Some(server::Holding { replicas, partitions: &[] }),
        RestoredLoadState::Keep => {
            let partitions = &planned.point.loaded_partitions;
            planned.point.loaded.then_some(server::Holding { replicas, partitions })
        }
    }
}

/// Whether it is not known what the server did.
fn is_unknown(error: &SourceError) -> bool {
    matches!(
        error,
        SourceError::ServerUnreachable { .. } | SourceError::NoAnswer { .. } | SourceError::ImportLost { .. }
    )
}
