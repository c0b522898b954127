//! What a script can do, done with the real engine.

use std::collections::BTreeMap;

use longshore_engine::{
    BackupRequest, ClusterTarget, CopyRequest, EngineError, EraseRequest, OpenedBackup, RegionVaults, RestoreScope,
    copy_backup, plan_backup, plan_erase, plan_restore, run_backup, run_erase, run_restore,
};
use longshore_model::{BackupId, Clock, ClusterId, JobId, RestoredLoadState};
use longshore_vault::{PruneOptions, Vault, VaultError, Withdrawal, prune};

use crate::cluster::MadeTarget;
use crate::known::{Told, change, told};
use crate::script::{Action, CLUSTERS, COLLECTIONS};
use crate::world::{Outcome, World, region};

pub(crate) const HOUR_MS: i64 = 3_600_000;

fn cluster_id(cluster: usize) -> ClusterId {
    format!("in01-{}", CLUSTERS[cluster]).parse().unwrap()
}

/// A set of vaults for one job, so that nothing is kept from an earlier one.
fn set_of(vaults: &[Vault]) -> RegionVaults {
    RegionVaults::of(vaults.iter().cloned()).unwrap()
}

impl World {
    /// What a user hears of a result; the error is kept.
    pub(crate) fn told<T>(&self, result: Result<T, EngineError>) -> Told {
        if let Err(error) = &result {
            *self.heard.borrow_mut() = Some(error.to_string());
        }
        told(result)
    }

    pub(crate) fn draw<const N: usize>(&self) -> [u8; N] {
        let mut bytes = [0; N];
        self.context.random.fill(&mut bytes).unwrap();
        bytes
    }

    pub(crate) fn number(&self, backup: usize) -> Option<usize> {
        backup.checked_rem(self.known.len())
    }

    pub(crate) async fn act(&self, action: Action) -> Result<Outcome, String> {
        Ok(match action {
            Action::Change { cluster, seed } => {
                change(&self.clusters[cluster], seed);
                Outcome::Nothing
            }
            Action::Advance { hours } => {
                self.advance_ms(i64::try_from(hours).unwrap() * HOUR_MS);
                Outcome::Nothing
            }
            Action::BackUp { cluster } => self.back_up(cluster).await,
            Action::Again { backup } => self.again(backup).await,
            Action::CopyTo { backup, region } => self.copy(backup, region).await,
            Action::Restore { backup, region } => self.restore(backup, region).await?,
            Action::Delete { backup } => self.delete(backup).await,
            Action::Erase { cluster, collection } => self.erase(cluster, collection).await,
            Action::Heal { region, seed } => {
                self.hurt_and_heal(region, seed).await?;
                Outcome::Nothing
            }
            Action::Sweep { hours } => {
                for hours in [hours, 2, 0] {
                    if let Err(error) = self.prune(&self.hosts).await {
                        *self.heard.borrow_mut() = Some(error.to_string());
                    }
                    self.advance_ms(i64::try_from(hours).unwrap() * HOUR_MS);
                }
                Outcome::Nothing
            }
            Action::Prune { region } => {
                // What a prune says is not judged here; what it left is.
                let vaults = region.map_or(self.hosts.clone(), |region| vec![self.hosts[region].clone()]);
                if let Err(error) = self.prune(&vaults).await {
                    *self.heard.borrow_mut() = Some(error.to_string());
                }
                Outcome::Nothing
            }
        })
    }

    async fn run_backup(&self, cluster: usize, id: &BackupId, job: &JobId, token: u64) -> Told {
        let context = self.context.for_another_job();
        let target = ClusterTarget {
            id: cluster_id(cluster),
            name: CLUSTERS[cluster].to_owned(),
            project_id: "proj-test".parse().unwrap(),
            home_region: region(cluster),
            labels: BTreeMap::new(),
            recovery_point_objective_seconds: None,
        };
        let request = BackupRequest::manual(target, Vec::new(), &context).unwrap();
        let request = BackupRequest { backup_id: id.clone(), job_id: job.clone(), fencing_token: token, ..request };
        let (source, vaults) = (&self.clusters[cluster], set_of(&self.hosts));
        let run = async {
            let plan = plan_backup(request, source, &self.policy, &vaults, &context).await?;
            run_backup(plan, source, &vaults, &context).await
        };
        self.told(run.await)
    }

    async fn back_up(&self, cluster: usize) -> Outcome {
        let (id, job) = (BackupId::from_random(self.draw()), JobId::from_random(self.draw()));
        let before = self.clusters[cluster].content();
        let told = self.run_backup(cluster, &id, &job, 1).await;
        let seen = [before, self.clusters[cluster].content()];
        Outcome::BackUp { id, job, cluster, seen, told }
    }

    /// What a host does with a job whose host died: what was committed counts, or else it is done again.
    async fn again(&self, backup: usize) -> Outcome {
        let Some(backup) = self.number(backup) else { return Outcome::Nothing };
        let known = &self.known[backup];
        if known.told == Told::Done || known.deleted.is_some() {
            return Outcome::Nothing;
        }
        let before = self.clusters[known.cluster].content();
        let told = match OpenedBackup::find(&set_of(&self.hosts), Some(&region(known.cluster)), &known.id).await {
            Ok(_) => Told::Done,
            Err(EngineError::NotFound { .. }) => {
                self.run_backup(known.cluster, &known.id, &known.job, known.token + 1).await
            }
            Err(error) => self.told::<()>(Err(error)),
        };
        let seen = [before, self.clusters[known.cluster].content()];
        Outcome::Again { backup, seen, told }
    }

    /// Whether a copy is made by a host that can read names: it copies collections, one that cannot copies whole parts.
    pub(crate) fn can_read(&self, backup: usize, to: usize) -> bool {
        self.number(backup).is_none_or(|backup| (backup + to).is_multiple_of(2))
    }

    async fn copy(&self, backup: usize, to: usize) -> Outcome {
        let Some(backup) = self.number(backup) else { return Outcome::Nothing };
        let known = &self.known[backup];
        if known.cluster == to {
            return Outcome::Nothing;
        }
        let request = CopyRequest {
            job_id: JobId::from_random(self.draw()),
            fencing_token: 1,
            backup_id: known.id.clone(),
            home: region(known.cluster),
            to: region(to),
            collections: Vec::new(),
        };
        let vaults = set_of(if self.can_read(backup, to) { &self.owners } else { &self.hosts });
        let told = self.told(copy_backup(&request, &vaults, &self.context.for_another_job()).await);
        Outcome::CopyTo { backup, region: to, told }
    }

    pub(crate) async fn delete(&self, backup: usize) -> Outcome {
        let Some(backup) = self.number(backup) else { return Outcome::Nothing };
        let known = &self.known[backup];
        let withdrawal = Withdrawal { time: self.clock.now(), by: "a user".to_owned(), job_id: None };
        let told = self.told(set_of(&self.hosts).delete_backup(&region(known.cluster), &known.id, &withdrawal).await);
        Outcome::Delete { backup, told }
    }

    /// Restores; an error is an answer, other bytes are not.
    async fn restore(&self, backup: usize, from: Option<usize>) -> Result<Outcome, String> {
        let Some(backup) = self.number(backup) else { return Ok(Outcome::Nothing) };
        let known = &self.known[backup];
        let vaults = match from {
            None => set_of(&self.owners),
            Some(from) => set_of(&self.owners[from..=from]),
        };
        let target = MadeTarget::default();
        let context = self.context.for_another_job();
        let run = async {
            let scope = RestoreScope::WholeCluster(RestoredLoadState::Keep);
            let plan = plan_restore(&vaults, None, &known.id, scope).await?;
            run_restore(plan, &target, &context).await
        };
        match run.await {
            Ok(_) if target.restored().is_some_and(|content| self.may_hold(known, &content)) => Ok(Outcome::Nothing),
            Ok(_) => Err(format!("{} was restored with other bytes than were backed up", known.id)),
            Err(error) => {
                *self.heard.borrow_mut() = Some(error.to_string());
                Ok(Outcome::Nothing)
            }
        }
    }

    /// A prune that spares nothing for its age: what protects a job is its pin, not luck.
    pub(crate) async fn prune(&self, vaults: &[Vault]) -> Result<(), VaultError> {
        let options = PruneOptions { minimum_age_ms: 0, ..PruneOptions::default() };
        prune(vaults, &options, &self.clock, self.draw()).await.map(|_| ())
    }

    async fn erase(&self, cluster: usize, collection: usize) -> Outcome {
        let request = EraseRequest {
            collection: COLLECTIONS[collection].parse().unwrap(),
            clusters: [cluster_id(cluster)].into(),
            reason: "asked for".to_owned(),
            by: "a user".to_owned(),
        };
        let (vaults, context) = (set_of(&self.owners), self.context.for_another_job());
        let run = async {
            let plan = plan_erase(request, &vaults, &context).await?;
            run_erase(&plan, &vaults, &context).await
        };
        let mut refused = false;
        let told = match run.await {
            Ok(outcome) if outcome.unreadable.is_empty() => Told::Done,
            Ok(outcome) => {
                *self.heard.borrow_mut() = Some(format!("not all could be looked into: {:?}", outcome.unreadable));
                Told::Unknown
            }
            Err(EngineError::BadRequest { what }) if what.contains("nothing was erased") => {
                refused = true;
                Told::Done
            }
            Err(error) => {
                *self.heard.borrow_mut() = Some(error.to_string());
                Told::Unknown
            }
        };
        Outcome::Erase { cluster, collection, told, refused }
    }
}
