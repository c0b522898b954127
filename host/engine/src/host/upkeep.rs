//! What is done with backups that are there: verify, export, rename.

use std::path::{Component, Path};

use longshore_model::{BackupId, ClusterId, JobId, JobType};

use super::Host;
use crate::access::{Principal, require_manage};
use crate::jobs::JobRequest;
use crate::random::draw;
use crate::views::BackupView;
use crate::{EngineError, VerifyLevel};

/// Longest name of a backup, in bytes.
pub const BACKUP_NAME_BYTES: usize = 128;

/// A check of a backup.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VerifyBackup {
    /// How deep; not [`VerifyLevel::Opened`], for which a host has no place.
    pub level: VerifyLevel,
    /// Read only this share of the packs, 1 to 100 percent.
    pub sample_percent: Option<u8>,
}

/// An export.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExportBackup {
    /// The configured place it goes to.
    pub integration_id: String,
    /// A folder below that; none when empty.
    pub directory: String,
}

impl Host {
    /// Accepts the check of a backup. The job fails when anything is damaged, and says what.
    ///
    /// # Errors
    /// [`EngineError::Forbidden`], [`EngineError::NotFound`], [`EngineError::BadRequest`], [`EngineError::Catalog`] for a
    /// backup that is not AVAILABLE.
    pub async fn verify_backup(
        &self,
        who: &Principal,
        cluster: &ClusterId,
        backup: &BackupId,
        request: VerifyBackup,
    ) -> Result<JobId, EngineError> {
        let outcome = async {
            require_manage(who, "verify a backup")?;
            let bad = |what: &str| Err(EngineError::BadRequest { what: what.to_owned() });
            if request.level == VerifyLevel::Opened {
                return bad("a host verifies up to level parsed; use `longshore verify --level opened` for more");
            }
            if request.sample_percent.is_some_and(|percent| !(1..=100).contains(&percent)) {
                return bad("samplePercent is 1 to 100");
            }
            let record = self.backup(who, cluster, backup).await?;
            let VerifyBackup { level, sample_percent } = request;
            let request = JobRequest::Verify { level, sample_percent };
            self.accept(JobType::Verify, cluster, Some(backup), &record.backup.project, request).await
        }
        .await;
        self.audit(who, "backup.verify", backup.as_str(), &outcome).await;
        outcome
    }

    /// Accepts the export of a backup into a folder of its own below a configured one.
    ///
    /// # Errors
    /// [`EngineError::Forbidden`], [`EngineError::NotFound`], [`EngineError::BadRequest`] for a directory that leads
    /// elsewhere, [`EngineError::Catalog`] for a backup that is not AVAILABLE.
    pub async fn export_backup(
        &self,
        who: &Principal,
        cluster: &ClusterId,
        backup: &BackupId,
        request: ExportBackup,
    ) -> Result<JobId, EngineError> {
        let outcome = async {
            require_manage(who, "export a backup")?;
            let record = self.backup(who, cluster, backup).await?;
            let config = self.inner.config();
            let integration = config.integrations.iter().find(|one| one.id == request.integration_id);
            let integration = integration
                .ok_or_else(|| EngineError::NotFound { what: "integration", id: request.integration_id.clone() })?;
            let below = Path::new(&request.directory);
            if !below.components().all(|part| matches!(part, Component::Normal(_))) {
                let what =
                    "directory is a path below the integration's folder, without `..` and without a slash in front";
                return Err(EngineError::BadRequest { what: what.to_owned() });
            }
            // Each export has a folder of its own, so that none is in the way of the next.
            let own: [u8; 4] = draw(self.inner.random.as_ref())?;
            let own: String = own.iter().map(|byte| format!("{byte:02x}")).collect();
            let folder = integration.folder.join(below).join(format!("{backup}-{own}"));
            let request = JobRequest::Export { folder: folder.display().to_string() };
            self.accept(JobType::Export, cluster, Some(backup), &record.backup.project, request).await
        }
        .await;
        self.audit(who, "backup.export", backup.as_str(), &outcome).await;
        outcome
    }

    /// Gives a backup another name in the catalog. Its manifest keeps the one it was made with.
    ///
    /// # Errors
    /// [`EngineError::Forbidden`], [`EngineError::NotFound`], [`EngineError::BadRequest`] for what is no name.
    pub async fn rename_backup(
        &self,
        who: &Principal,
        cluster: &ClusterId,
        backup: &BackupId,
        name: &str,
    ) -> Result<BackupView, EngineError> {
        let outcome = async {
            require_manage(who, "rename a backup")?;
            check_backup_name(name)?;
            self.backup(who, cluster, backup).await?;
            let (id, name) = (backup.clone(), name.to_owned());
            self.catalog("renaming a backup", move |catalog, _| Ok(catalog.rename_backup(&id, &name)?)).await?;
            self.describe_backup(who, cluster, backup).await
        }
        .await;
        self.audit(who, "backup.rename", backup.as_str(), &outcome).await;
        outcome
    }
}

fn check_backup_name(name: &str) -> Result<(), EngineError> {
    let fits = !name.is_empty()
        && name.len() <= BACKUP_NAME_BYTES
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_. ".contains(&byte))
        && name.trim() == name;
    if fits {
        return Ok(());
    }
    let what = format!(
        "backupName is 1 to {BACKUP_NAME_BYTES} letters, digits, hyphens, underscores, dots and spaces, with no space at an end"
    );
    Err(EngineError::BadRequest { what })
}
