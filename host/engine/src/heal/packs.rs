//! Packs, and the blobs in them.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use longshore_vault::{BlobId, LOST_INDEX, LOST_LIST, PackId, SessionOptions, VerifyOptions, VerifyReport};

use super::{Heal, HealedCollection, HealedObject, PartHere};
use crate::{EngineError, VerifyLevel};

impl Heal<'_> {
    /// Reads the packs of all parts, replaces what is lost or damaged, and reads what was hit again.
    pub(super) async fn packs(&mut self, parts: Vec<PartHere>) -> Result<(), EngineError> {
        let mut good = HashSet::new();
        let (mut hit, mut bad_packs, mut damaged) = (Vec::new(), BTreeMap::new(), BTreeSet::new());
        let mut lost_index = None;
        for part in parts {
            self.context.stop.check()?;
            let report = self.verify(&part, &good).await?;
            good.extend(report.good_packs.iter().copied());
            self.outcome.read_bytes += report.read_bytes;
            damaged.extend(report.damaged_packs.iter().copied());
            let index = report.objects.iter().find(|damage| damage.object == LOST_INDEX);
            lost_index = lost_index.or_else(|| index.map(|damage| damage.found.clone()));
            self.lost_list(&report);
            for (pack, found) in self.bad_packs(&part, &report).await? {
                bad_packs.entry(pack).or_insert(found);
            }
            if !report.is_whole() || !report.objects.is_empty() {
                hit.push((part, report));
            }
        }
        let region = self.vault.region_id().clone();
        let unneeded = self.unneeded(good.iter().chain(&damaged).chain(bad_packs.keys()).copied().collect()).await?;
        damaged.extend(unneeded.keys().copied());
        if bad_packs.is_empty() && hit.is_empty() && unneeded.is_empty() {
            return Ok(());
        }
        if !self.request.dry_run {
            // Before anything else: whoever writes beside this heal must not rely on them.
            let noted: Vec<PackId> = damaged.into_iter().collect();
            let now = self.context.clock.now();
            self.vault.note_damage(&noted, now).await.map_err(EngineError::vault(&region))?;
        }
        let unhealed = self.same_packs(bad_packs).await?;
        for (pack, found) in self.same_packs(unneeded).await? {
            let how = match self.request.dry_run {
                true => "no backup needs it; a note would keep those that are made later from relying on it",
                false => "no backup needs it, and none that is made from now on relies on it",
            };
            let how = how.to_owned();
            self.outcome.objects.push(HealedObject { object: key(&pack), found, healed: true, how });
        }
        let reasons =
            if self.request.dry_run { self.plan_blobs(&hit, &unhealed).await? } else { self.blobs(&hit).await? };
        let judged = self.outcome.collections.len();
        let needed: BTreeSet<BlobId> = hit.iter().flat_map(|(part, _)| blobs_of(part)).copied().collect();
        for (part, before) in hit {
            self.judge(&part, &before, &good, &reasons).await?;
        }
        if !self.request.dry_run && self.pin.is_some() {
            // What could be read again decides: a blob that no session may rely on, because its pack is marked, is there.
            let any_left = self.outcome.collections.iter().skip(judged).any(|one| one.still_damaged_files > 0);
            let relied_on = self.relied_on(&needed, &reasons).await?;
            self.report_unhealed(&unhealed, any_left, relied_on.as_deref());
        }
        self.index_again(lost_index).await
    }

    /// Packs that no backup needs and that are damaged: the next backup would rely on them. Whoever heals one backup asks for
    /// that one alone.
    async fn unneeded(&mut self, known: HashSet<PackId>) -> Result<BTreeMap<PackId, String>, EngineError> {
        if self.request.backup.is_some() {
            return Ok(BTreeMap::new());
        }
        let found = self.vault.verify_unneeded_packs(&known).await;
        let found = found.map_err(EngineError::vault(self.vault.region_id()))?;
        self.outcome.read_bytes += found.read_bytes;
        Ok(found.damaged.into_iter().map(|(pack, damage)| (pack, damage.found)).collect())
    }

    /// A list of recipients that a part misses, and that no copy of the vault had: those were asked before.
    fn lost_list(&mut self, report: &VerifyReport) {
        let Some(damage) = report.objects.iter().find(|damage| damage.object == LOST_LIST) else { return };
        let is_known = |told: &HealedObject| told.object == LOST_LIST && !told.healed;
        if self.outcome.objects.iter().any(is_known) {
            return;
        }
        let how = format!(
            "{} is lost and an older one counts: make the last change again with `longshore key recipient`, or name a \
             copy of this vault",
            damage.expected
        );
        let (object, found) = (damage.object.clone(), damage.found.clone());
        self.outcome.objects.push(HealedObject { object, found, healed: false, how });
    }

    async fn verify(&self, part: &PartHere, good: &HashSet<PackId>) -> Result<VerifyReport, EngineError> {
        let level = match self.request.level {
            VerifyLevel::Exists | VerifyLevel::Stored => longshore_vault::VerifyLevel::Stored,
            _ => longshore_vault::VerifyLevel::Decoded,
        };
        let mut options = VerifyOptions::new(level, &|_, _| {});
        options.good = good.clone();
        self.vault.verify(&part.part, options).await.map_err(EngineError::vault(self.vault.region_id()))
    }

    /// Packs that this part relies on, or should, and that are not as they should be.
    async fn bad_packs(&self, part: &PartHere, report: &VerifyReport) -> Result<BTreeMap<PackId, String>, EngineError> {
        let mut bad = BTreeMap::new();
        for damage in &report.objects {
            let name = damage.object.strip_prefix("packs/").and_then(|rest| rest.rsplit('/').next());
            if let Some(pack) = name.and_then(|name| name.parse::<PackId>().ok()) {
                bad.insert(pack, damage.found.clone());
            }
        }
        if !report.bad_blobs.is_empty() {
            let reader = self.vault.open_reader().await.map_err(EngineError::vault(self.vault.region_id()))?;
            for pack in part.part.open.packs.iter().filter(|pack| !reader.has_pack(&pack.id)) {
                bad.entry(pack.id).or_insert_with(|| "nothing".to_owned());
            }
        }
        Ok(bad)
    }

    /// Fetches packs by their names. Answers those that no source has.
    async fn same_packs(&mut self, bad: BTreeMap<PackId, String>) -> Result<BTreeMap<PackId, String>, EngineError> {
        let region = self.vault.region_id().clone();
        let mut left = BTreeMap::new();
        for (pack, found) in bad {
            self.context.stop.check()?;
            let from = if self.request.dry_run {
                self.vault.find_pack(&pack, &self.sources).await
            } else {
                let now = self.context.clock.now();
                self.vault.heal_pack(&pack, &self.sources, now).await.map_err(EngineError::vault(&region))?
            };
            match from {
                Some(source) => {
                    let how = format!("the same pack was fetched from {}", self.place_of(&source));
                    self.outcome.objects.push(HealedObject { object: key(&pack), found, healed: true, how });
                }
                None => drop(left.insert(pack, found)),
            }
        }
        Ok(left)
    }

    /// Stores the blobs of packs that no source has into new packs: bad ones from sources, good ones from the damaged
    /// packs themselves, so that nothing relies on those any more. Answers why blobs could not be had.
    async fn blobs(&mut self, hit: &[(PartHere, VerifyReport)]) -> Result<BTreeMap<BlobId, String>, EngineError> {
        let region = self.vault.region_id().clone();
        let Some(pin) = self.pin.clone() else { return Ok(BTreeMap::new()) };
        // Loads the index anew: what was fetched by name is there, what is noted as damaged is not.
        let session = self
            .vault
            .begin(&pin, SessionOptions::holding(self.context.limits.content_budget_bytes()))
            .await
            .map_err(EngineError::vault(&region))?;
        let wanted: BTreeSet<BlobId> = hit.iter().flat_map(|(part, _)| blobs_of(part)).copied().collect();
        let mut missing: Vec<BlobId> = wanted.into_iter().filter(|blob| session.lookup(blob).is_none()).collect();
        let mut reasons = BTreeMap::new();
        // Without a reader key only whole packs can be taken, and here these are damaged.
        let here = std::iter::once(&self.vault).filter(|vault| vault.is_readable());
        for source in here.chain(&self.sources).cloned().collect::<Vec<_>>() {
            if missing.is_empty() {
                break;
            }
            let reader = source.open_reader().await.map_err(EngineError::vault(source.region_id()))?;
            let copied = session.copy_from(&reader, &missing, &|_, _| {}).await;
            let copied = copied.map_err(EngineError::vault(&region))?;
            missing.clear();
            for (blob, error) in copied.unreadable {
                reasons.insert(blob, error.to_string());
                missing.push(blob);
            }
        }
        session.checkpoint().await.map_err(EngineError::vault(&region))?;
        let left: HashSet<BlobId> = missing.iter().copied().collect();
        reasons.retain(|blob, _| left.contains(blob));
        Ok(reasons)
    }

    /// Why backups rely on a damaged pack still, if they do: a blob may be sound where it lies and could not be had from
    /// there, as long as there is no reader key.
    async fn relied_on(
        &self,
        needed: &BTreeSet<BlobId>,
        reasons: &BTreeMap<BlobId, String>,
    ) -> Result<Option<String>, EngineError> {
        let reader = self.vault.open_reader().await.map_err(EngineError::vault(self.vault.region_id()))?;
        let left = needed.iter().find(|blob| reader.is_only_in_damaged_packs(blob));
        Ok(left.map(|blob| reasons.get(blob).cloned().unwrap_or_else(|| format!("{blob} lies in no other pack"))))
    }

    /// What became of packs that no source has under their names.
    fn report_unhealed(&mut self, unhealed: &BTreeMap<PackId, String>, any_left: bool, relied_on: Option<&str>) {
        for (pack, found) in unhealed {
            let (healed, how) = match relied_on {
                _ if any_left => {
                    (false, "no other vault has this pack, nor all of the blobs that are missing now".to_owned())
                }
                Some(why) => (false, format!("backups rely on it, and what they need could not be stored anew: {why}")),
                None => (true, "what backups need of it is in other packs; nothing relies on it any more".to_owned()),
            };
            let (object, found) = (key(pack), found.clone());
            self.outcome.objects.push(HealedObject { object, found, healed, how });
        }
    }

    /// The same without writing: whether the sources list what is missing.
    async fn plan_blobs(
        &mut self,
        hit: &[(PartHere, VerifyReport)],
        unhealed: &BTreeMap<PackId, String>,
    ) -> Result<BTreeMap<BlobId, String>, EngineError> {
        let mut missing: BTreeSet<BlobId> =
            hit.iter().flat_map(|(_, report)| report.bad_blobs.iter().copied()).collect();
        for source in self.sources.clone() {
            let reader = source.open_reader().await.map_err(EngineError::vault(source.region_id()))?;
            missing.retain(|blob| reader.blob_bytes(blob).is_none());
        }
        for (pack, found) in unhealed {
            let (healed, how) = if missing.is_empty() {
                (true, "other vaults have its blobs; they would be stored in new packs")
            } else {
                (false, "no other vault has this pack, nor all of the blobs that are missing")
            };
            let (object, found, how) = (key(pack), found.clone(), how.to_owned());
            self.outcome.objects.push(HealedObject { object, found, healed, how });
        }
        Ok(missing.into_iter().map(|blob| (blob, "no other vault has it".to_owned())).collect())
    }

    /// Reads what was hit again and tells what became of each collection.
    async fn judge(
        &mut self,
        part: &PartHere,
        before: &VerifyReport,
        good: &HashSet<PackId>,
        reasons: &BTreeMap<BlobId, String>,
    ) -> Result<(), EngineError> {
        let after = if self.request.dry_run { None } else { Some(self.verify(part, good).await?) };
        let names = part.names();
        for (place, one) in before.collections.iter().enumerate().filter(|(_, one)| one.damaged_files > 0) {
            let files = part.part.open.collections.get(place).map(|one| one.files.as_slice()).unwrap_or_default();
            let lost = |file: &&longshore_vault::FileEntry| file.blobs.iter().any(|blob| reasons.contains_key(blob));
            let still = match &after {
                Some(after) => after.collections.get(place).map_or(0, |one| one.damaged_files),
                None => files.iter().filter(lost).count() as u64,
            };
            let why: BTreeSet<&String> =
                files.iter().flat_map(|file| &file.blobs).filter_map(|blob| reasons.get(blob)).collect();
            self.outcome.collections.push(HealedCollection {
                backup_id: part.backup.clone(),
                name: names.get(&one.number).map_or_else(|| format!("number {}", one.number), ToString::to_string),
                damaged_files: one.damaged_files,
                still_damaged_files: still,
                reasons: if still > 0 { why.into_iter().take(10).cloned().collect() } else { Vec::new() },
            });
        }
        Ok(())
    }
}

fn key(pack: &PackId) -> String {
    let name = pack.to_string();
    format!("packs/{}/{name}", name.get(..2).unwrap_or_default())
}

fn blobs_of(part: &PartHere) -> impl Iterator<Item = &BlobId> {
    part.part.open.collections.iter().flat_map(|collection| &collection.files).flat_map(|file| &file.blobs)
}
