//! Checks that committed backups are whole, in every vault that holds a part of them, as deep as is asked for.
//!
//! Contract: damage is a result, never an error; one damaged object hides nothing else. What is found is told by
//! collection. A pack that is found damaged is noted in its vault, so that the next backup does not rely on it; a pack
//! that is noted and found good loses its note. Nothing else is changed.
//!
//! A verification that is stopped goes on where it was if it was given a resume file ([`resume`]).

pub(crate) mod missing;
mod outcome;
mod parse;
pub(crate) mod resume;

use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use longshore_model::{BackupId, CollectionName, JobType, Phase, RestoredLoadState, VaultId};
use longshore_source::MilvusLiteTarget;
use longshore_vault::{BlobId, ObjectDamage, Sample, Vault, VerifyOptions, VerifyReport};
use serde::{Deserialize, Serialize};

pub use self::outcome::{DamagedObject, VerifiedCollection, VerifyOutcome};
use self::resume::{Resume, Wanted};
use crate::opened::{OpenedBackup, OpenedPart};
use crate::pins::{self, Reading};
use crate::restore::{RestoreScope, plan_restore, write_out};
use crate::vaults::RegionVaults;
use crate::{EngineError, RunContext};

/// How deep to look. Each level includes those before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum VerifyLevel {
    /// Everything a backup names is there with the right length.
    Exists,
    /// Stored bytes match their names. Needs no key.
    Stored,
    /// Every blob decodes to its id.
    Decoded,
    /// Every file parses, what files name is there, and rows are as many as the backup says.
    Parsed,
    /// The backup is restored into a scratch folder and proven, and opened there if a program for it is given.
    Opened,
}

impl VerifyLevel {
    /// The spelling used on the command line and in JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Exists => "exists",
            Self::Stored => "stored",
            Self::Decoded => "decoded",
            Self::Parsed => "parsed",
            Self::Opened => "opened",
        }
    }

    /// What the vault itself is asked for.
    fn of_vault(self) -> longshore_vault::VerifyLevel {
        match self {
            Self::Exists => longshore_vault::VerifyLevel::Exists,
            Self::Stored => longshore_vault::VerifyLevel::Stored,
            Self::Decoded | Self::Parsed | Self::Opened => longshore_vault::VerifyLevel::Decoded,
        }
    }
}

/// Opens a restored database; says what went wrong.
pub type OpenWith = Arc<dyn Fn(&Path) -> Result<(), String> + Send + Sync>;

/// What to check, and how.
#[derive(Clone)]
pub struct VerifyRequest {
    /// How deep.
    pub level: VerifyLevel,
    /// Read only this share of the packs, in percent; whole packs, at least one.
    pub sample_percent: Option<u8>,
    /// Which sample; the next one of the resume file, or the number of the day, when left out.
    pub seed: Option<u64>,
    /// Where progress is kept, so that a stopped run goes on and the next sample is another one.
    pub resume_file: Option<PathBuf>,
    /// Note damaged packs in their vaults, so that the next backup does not rely on them.
    pub note_damage: bool,
    /// An existing folder with space for the whole backup; for [`VerifyLevel::Opened`] only.
    pub scratch: Option<PathBuf>,
    /// Opens what was restored; for [`VerifyLevel::Opened`] only.
    pub open_with: Option<OpenWith>,
}

impl std::fmt::Debug for VerifyRequest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("VerifyRequest")
            .field("level", &self.level)
            .field("sample_percent", &self.sample_percent)
            .field("seed", &self.seed)
            .field("resume_file", &self.resume_file)
            .finish_non_exhaustive()
    }
}

impl VerifyRequest {
    /// Everything at this level, with notes about what is damaged.
    #[must_use]
    pub fn new(level: VerifyLevel) -> Self {
        Self {
            level,
            sample_percent: None,
            seed: None,
            resume_file: None,
            note_damage: true,
            scratch: None,
            open_with: None,
        }
    }

    fn check(&self) -> Result<(), EngineError> {
        let bad = |what: &str| Err(EngineError::BadRequest { what: what.to_owned() });
        if self.sample_percent.is_some_and(|share| share == 0 || share > 100) {
            return bad("a sample is between 1 and 100 percent");
        }
        if self.sample_percent.is_some() && self.level == VerifyLevel::Opened {
            return bad("a restore cannot be sampled: leave the sample out, or choose level parsed");
        }
        if self.level == VerifyLevel::Opened && self.scratch.is_none() {
            return bad("level opened restores the backup: name a scratch folder with space for it");
        }
        Ok(())
    }
}

/// Checks every part and copy of one backup.
///
/// # Errors
/// [`EngineError::BadRequest`], [`EngineError::NotFound`], [`EngineError::Vault`] when a vault does not answer,
/// [`EngineError::File`] for the resume file, [`EngineError::Stopped`]. Damage is a result, not an error.
pub async fn verify_backup(
    vaults: &RegionVaults,
    backup: &BackupId,
    request: &VerifyRequest,
    context: &RunContext,
) -> Result<VerifyOutcome, EngineError> {
    request.check()?;
    let run = Run::begin(vaults, Some(backup), request, context)?;
    let outcome = run.keep_on_error(run.one(backup).await)?;
    run.resume.finish()?;
    context.progress.enter(Phase::Done);
    Ok(outcome)
}

/// Checks all backups of these vaults, each pack once.
///
/// # Errors
/// As [`verify_backup`].
pub async fn verify_all(
    vaults: &RegionVaults,
    request: &VerifyRequest,
    context: &RunContext,
) -> Result<Vec<VerifyOutcome>, EngineError> {
    request.check()?;
    let run = Run::begin(vaults, None, request, context)?;
    let mut outcomes = Vec::new();
    for backup in all_backups(vaults).await? {
        outcomes.push(run.keep_on_error(run.one(&backup).await)?);
    }
    run.resume.finish()?;
    context.progress.enter(Phase::Done);
    Ok(outcomes)
}

/// Every backup that any of these vaults knows, damaged ones too, in order of id.
pub(crate) async fn all_backups(vaults: &RegionVaults) -> Result<Vec<BackupId>, EngineError> {
    let mut all = std::collections::BTreeSet::new();
    for vault in vaults.all() {
        let listing = vault.list_backups().await.map_err(EngineError::vault(vault.region_id()))?;
        all.extend(listing.backups.into_iter().map(|backup| backup.root.backup_id));
        all.extend(listing.damaged.into_iter().map(|(id, _)| id));
    }
    Ok(all.into_iter().collect())
}

/// One verification, of one backup or of many.
struct Run<'a> {
    vaults: RegionVaults,
    request: &'a VerifyRequest,
    context: &'a RunContext,
    resume: Resume,
    sample: Option<Sample>,
    /// Records beside backups that cannot be trusted, or are missing, by vault; looked for once, when the first backup in it
    /// is.
    records: tokio::sync::Mutex<BTreeMap<VaultId, Vec<ObjectDamage>>>,
}

impl<'a> Run<'a> {
    fn begin(
        vaults: &RegionVaults,
        backup: Option<&BackupId>,
        request: &'a VerifyRequest,
        context: &'a RunContext,
    ) -> Result<Self, EngineError> {
        context.progress.enter(Phase::Proof);
        const DAY_MS: i64 = 24 * 60 * 60 * 1000;
        let day = context.clock.now().as_millis().div_euclid(DAY_MS);
        let (level, sample, seed) = (request.level, request.sample_percent, request.seed);
        let wanted = Wanted { backup, level, sample, seed, first_seed: u64::try_from(day).unwrap_or(0) };
        let (resume, seed) = Resume::open(request.resume_file.as_deref(), &wanted)?;
        let sample = request.sample_percent.map(|percent| Sample { percent, seed });
        Ok(Self {
            vaults: vaults.throttled(&context.throttle),
            request,
            context,
            resume,
            sample,
            records: tokio::sync::Mutex::default(),
        })
    }

    /// A run that ends early keeps what it knows.
    fn keep_on_error<T>(&self, result: Result<T, EngineError>) -> Result<T, EngineError> {
        if result.is_err() {
            self.resume.keep();
        }
        result
    }

    async fn one(&self, backup: &BackupId) -> Result<VerifyOutcome, EngineError> {
        let started = self.context.clock.now();
        let mut outcome = VerifyOutcome::new(backup, self.request.level, self.sample);
        match OpenedBackup::find_what_is_there(&self.vaults, None, backup).await {
            Ok(opened) => self.look_at_pinned(&opened, &mut outcome).await?,
            Err(EngineError::DamagedBackup { what, .. }) => outcome.problem(what),
            Err(error) => return Err(error),
        }
        if self.request.level == VerifyLevel::Opened && outcome.whole {
            self.open(backup, &mut outcome).await?;
        }
        outcome.duration_ms = self.context.clock.now().millis_since(started);
        Ok(outcome)
    }

    /// Looks under pins, so that a prune on another host takes nothing away meanwhile that would be called damage.
    async fn look_at_pinned(&self, opened: &OpenedBackup, outcome: &mut VerifyOutcome) -> Result<(), EngineError> {
        let job = (JobType::Verify, None);
        let throttle = &self.context.throttle;
        let Reading { pins, .. } = pins::begin_reading(opened, &|_| true, job, throttle, self.context).await?;
        let looked = pins::pinned(&pins, self.look_at(opened, outcome)).await;
        pins::release(pins).await;
        looked
    }

    async fn look_at(&self, opened: &OpenedBackup, outcome: &mut VerifyOutcome) -> Result<(), EngineError> {
        outcome.add_objects(opened.damages.iter().cloned());
        outcome.add_objects(self.missing_commits(opened).await?);
        outcome.add_objects(self.missing_erasures(opened).await?);
        let (lost_keys, everywhere) = self.missing_keys(opened).await?;
        if everywhere && !lost_keys.is_empty() {
            outcome.problem("the key that its root is sealed with is in no vault that is open here".to_owned());
        }
        outcome.add_objects(lost_keys);
        if let Err(error) = opened.require_complete() {
            // Without a reader key it cannot be told which collections should be there.
            outcome.lost_collections = if opened.is_locked() { Vec::new() } else { opened.lost_collections()? };
            match error {
                EngineError::DamagedBackup { what, .. } => outcome.problem(what),
                error => return Err(error),
            }
        }
        let names = opened.parts.iter().map(|part| {
            let region = part.vault.region_id().to_string();
            (CollectionName { database: "region".to_owned(), collection: region }, 1)
        });
        self.context.progress.expect(names);
        for (place, part) in opened.parts.iter().enumerate() {
            self.context.stop.check()?;
            let report = tokio::select! {
                report = self.read_part(place, part) => report?,
                () = self.context.stop.stopped() => return self.context.stop.check(),
            };
            self.note(part, &report).await;
            let records = self.records_of(&part.vault).await?;
            outcome.add_objects(records.iter().map(|damage| DamagedObject::of(part.vault.region_id(), damage)));
            let from = outcome.collections.len();
            outcome.add_part(part, &report);
            if self.request.level >= VerifyLevel::Parsed {
                self.parse_part(opened, part, &report, from, outcome).await?;
            }
        }
        Ok(())
    }

    /// Damaged and lost records of a vault. They hit no collection, but deletions, erasures, keys or the next catalog.
    async fn records_of(&self, vault: &Vault) -> Result<Vec<ObjectDamage>, EngineError> {
        let mut known = self.records.lock().await;
        if let Some(damages) = known.get(vault.id()) {
            return Ok(damages.clone());
        }
        let fail = || EngineError::vault(vault.region_id());
        let mut damages = vault.record_damages().await.map_err(fail())?;
        damages.extend(vault.record_losses(&self.beside(vault)).await.map_err(fail())?);
        known.insert(vault.id().clone(), damages.clone());
        Ok(damages)
    }

    async fn read_part(&self, place: usize, part: &OpenedPart) -> Result<VerifyReport, EngineError> {
        let board = self.context.progress.clone();
        let seen = std::sync::atomic::AtomicU64::new(0);
        let on_bytes = move |done: u64, total: u64| {
            board.set_total(place, total);
            let before = seen.fetch_max(done, std::sync::atomic::Ordering::Relaxed);
            board.add(place, done.saturating_sub(before));
        };
        let vault = part.vault.id().clone();
        let on_pack = |pack, good| {
            if good {
                self.resume.add(&vault, pack, self.context.clock.now());
            }
        };
        let mut options = VerifyOptions::new(self.request.level.of_vault(), &on_bytes);
        options.sample = self.sample;
        options.good = self.resume.good(&vault);
        options.on_pack = &on_pack;
        part.vault.verify(&part.part, options).await.map_err(EngineError::vault(part.vault.region_id()))
    }

    /// Leaves and takes back notes. Credentials that may only read are enough to verify, so a refusal is no failure.
    async fn note(&self, part: &OpenedPart, report: &VerifyReport) {
        if !self.request.note_damage {
            return;
        }
        let now = self.context.clock.now();
        let noted = part.vault.note_damage(&report.damaged_packs, now).await;
        let cleared = part.vault.clear_damage(&report.good_packs, now).await;
        for error in [noted, cleared].into_iter().filter_map(Result::err) {
            let region = part.vault.region_id();
            tracing::warn!(%region, %error, "damage could not be noted in the vault; the next backup may rely on it");
        }
    }

    async fn parse_part(
        &self,
        opened: &OpenedBackup,
        part: &OpenedPart,
        report: &VerifyReport,
        from: usize,
        outcome: &mut VerifyOutcome,
    ) -> Result<(), EngineError> {
        let region = part.vault.region_id();
        let reader = part.vault.open_reader().await.map_err(EngineError::vault(region))?;
        let kind = &opened.sealed()?.source_kind;
        let sampled: Option<HashSet<BlobId>> = self.sample.map(|_| report.sampled_blobs.clone());
        let collections = part.part.collections().map_err(EngineError::vault(region))?;
        for (entry, (files, sealed)) in outcome.collections.iter_mut().skip(from).zip(collections) {
            self.context.stop.check()?;
            // What cannot be decoded cannot be parsed either, and was told already.
            if entry.damaged_files > 0 {
                continue;
            }
            let checked = parse::parse(kind, &reader, files, sealed, sampled.as_ref()).await?;
            entry.add_parsed(&checked, sealed);
        }
        outcome.whole &= outcome.collections.iter().all(|entry| entry.damaged_files == 0 && entry.damages.is_empty());
        Ok(())
    }

    /// Restores into the scratch folder, which proves every file and the row counts, and lets a program open it.
    async fn open(&self, backup: &BackupId, outcome: &mut VerifyOutcome) -> Result<(), EngineError> {
        let Some(scratch) = &self.request.scratch else { return Ok(()) };
        let folder = scratch.join(format!("longshore-verify-{backup}"));
        if folder.exists() {
            let why = "it is there already; remove what an earlier verification left, then run this again";
            return Err(EngineError::file(&folder, why));
        }
        std::fs::create_dir(&folder).map_err(|error| EngineError::file(&folder, error))?;
        let result = self.restore_and_open(backup, &folder.join("restored.db"), outcome).await;
        let removed = std::fs::remove_dir_all(&folder).map_err(|error| EngineError::file(&folder, error));
        result.and(removed)
    }

    async fn restore_and_open(
        &self,
        backup: &BackupId,
        target: &Path,
        outcome: &mut VerifyOutcome,
    ) -> Result<(), EngineError> {
        let scope = RestoreScope::WholeCluster(RestoredLoadState::Keep);
        let plan = plan_restore(&self.vaults, None, backup, scope).await?;
        match write_out(plan, &MilvusLiteTarget::new(target), &self.context.for_another_job()).await {
            Ok(_) => outcome.restored = true,
            Err(error @ EngineError::ProofFailed { .. }) => {
                outcome.problem(error.to_string());
                return Ok(());
            }
            Err(error) => return Err(error),
        }
        let Some(open_with) = self.request.open_with.clone() else { return Ok(()) };
        let path = target.to_owned();
        let opened = tokio::task::spawn_blocking(move || open_with(&path)).await;
        match opened.unwrap_or_else(|error| Err(error.to_string())) {
            Ok(()) => outcome.opened = true,
            Err(what) => outcome.problem(format!("the restored database could not be opened: {what}")),
        }
        Ok(())
    }
}
