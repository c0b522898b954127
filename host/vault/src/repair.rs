//! Repairing what only repeats something else: index objects, rebuilt from the packs they describe.
//!
//! Contract: after a repair every pack that is there and has a readable end stands in exactly one kind of place, a good
//! index object; what cannot be read was set aside, never thrown away, unless the disk cannot even copy it. Needs no key.
//! New index objects are durable before an old one goes, so a repair that is killed leaves the vault as readable as it was.

use std::collections::{BTreeMap, HashSet};

use futures::{StreamExt, TryStreamExt, stream};
use object_store::ObjectStoreExt;
use object_store::path::Path;

use crate::index::{self, PackIndex};
use crate::verify::ObjectDamage;
use crate::{PackId, Vault, VaultError, layout};

/// What a repair would do.
#[derive(Debug, Default)]
pub struct RepairPlan {
    /// Index objects that cannot be read; they are set aside.
    pub damaged: Vec<ObjectDamage>,
    /// Index objects that name packs which are not there; they are written again without those, and removed.
    pub outdated: Vec<String>,
    /// Packs that index objects name and that are lost. Heal fetches them from another vault of the project.
    pub lost_packs: Vec<PackId>,
    /// Packs that no good index object names.
    pub unindexed_packs: Vec<PackId>,
    /// Packs whose own end cannot be read. Nothing is done about them here.
    pub unreadable: Vec<ObjectDamage>,
    /// What is written into new index objects.
    packs: Vec<PackIndex>,
}

/// What a repair did.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct RepairOutcome {
    /// Index objects that were written.
    pub written: Vec<String>,
    /// Objects that were moved under `set-aside/`.
    pub set_aside: Vec<String>,
    /// Objects that the disk could not read, not even to keep them: they were removed, because others say the same now.
    pub removed: Vec<String>,
    /// Objects that should be gone and could not be removed, for example for want of permission. They do no harm.
    pub left: Vec<String>,
}

impl RepairPlan {
    /// True when there is nothing to do.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.damaged.is_empty() && self.outdated.is_empty() && self.packs.is_empty()
    }

    /// Blobs that new index objects will name.
    #[must_use]
    pub fn blobs(&self) -> u64 {
        self.packs.iter().map(|pack| pack.entries.len() as u64).sum()
    }
}

impl Vault {
    /// Compares the index objects with the packs. Reads no pack but the ends of those that no index object names.
    ///
    /// # Errors
    /// Failures of the store.
    pub async fn plan_repair(&self) -> Result<RepairPlan, VaultError> {
        let objects = self.objects();
        let mut plan = RepairPlan::default();
        let mut good: BTreeMap<Path, Vec<PackIndex>> = BTreeMap::new();
        for (path, object) in index::read_index_objects(objects).await? {
            match object {
                Ok(packs) => drop(good.insert(path, packs)),
                Err(damage) if damage.found == "nothing" => {}
                Err(damage) => plan.damaged.push(damage),
            }
        }
        // Listed after the index objects were read, so that a pack that is missing here is really gone.
        let mut there: BTreeMap<PackId, (Path, u64)> = BTreeMap::new();
        for meta in objects.list(Some(layout::PACKS)).await? {
            if let Some(id) = layout::parse_pack_path(meta.location.as_ref()) {
                there.insert(id, (meta.location, meta.size));
            }
        }
        let mut covered: HashSet<PackId> = HashSet::new();
        let fits = |pack: &PackIndex| there.get(&pack.id).is_some_and(|(_, size)| *size == pack.size_bytes);
        let (current, outdated): (Vec<_>, Vec<_>) = good.into_iter().partition(|(_, packs)| packs.iter().all(fits));
        covered.extend(current.iter().flat_map(|(_, packs)| packs).map(|pack| pack.id));
        for (path, packs) in outdated {
            plan.outdated.push(path.to_string());
            for pack in packs {
                if !fits(&pack) {
                    plan.lost_packs.push(pack.id);
                } else if covered.insert(pack.id) {
                    plan.packs.push(pack);
                }
            }
        }
        let missing: Vec<_> = there.into_iter().filter(|(id, _)| !covered.contains(id)).collect();
        let mut ends = stream::iter(missing)
            .map(|(id, (path, size))| async move { index::read_pack_end(objects, id, &path, size).await })
            .buffered(self.limits().requests_in_flight.max(1));
        while let Some(end) = ends.try_next().await? {
            match end {
                Ok(pack) => {
                    plan.unindexed_packs.push(pack.id);
                    plan.packs.push(pack);
                }
                Err(damage) => plan.unreadable.push(damage),
            }
        }
        plan.lost_packs.sort_unstable();
        plan.lost_packs.dedup();
        plan.damaged.sort_by(|one, other| one.object.cmp(&other.object));
        Ok(plan)
    }

    /// Carries out a repair. Repeating it is harmless.
    ///
    /// # Errors
    /// Failures of the store while index objects are written; the old ones are still there then.
    pub async fn run_repair(&self, plan: &RepairPlan) -> Result<RepairOutcome, VaultError> {
        let written = index::write(self.objects(), &plan.packs).await?;
        let mut outcome = RepairOutcome { written, ..RepairOutcome::default() };
        for damage in &plan.damaged {
            // Written again under its own name: its right content has replaced what was damaged.
            if outcome.written.contains(&damage.object) {
                continue;
            }
            let path = Path::from(damage.object.as_str());
            match self.set_aside_or_remove(&path).await {
                Ok(Some(aside)) => outcome.set_aside.push(aside),
                Ok(None) => outcome.removed.push(damage.object.clone()),
                Err(error) => {
                    tracing::warn!(object = %path, %error, "could not be set aside");
                    outcome.left.push(damage.object.clone());
                }
            }
        }
        for object in &plan.outdated {
            // A new index object can have the name of an old one only if it has its content.
            if outcome.written.contains(object) {
                continue;
            }
            if let Err(error) = self.objects().delete(&Path::from(object.as_str())).await {
                tracing::warn!(%object, %error, "could not be removed");
                outcome.left.push(object.clone());
            }
        }
        Ok(outcome)
    }

    /// Moves a damaged object out of the way: it is kept for whoever wants to look at it, and counts no more. `None` when
    /// the disk cannot even copy it: then it is still where it was.
    pub(crate) async fn set_aside(&self, path: &Path) -> Result<Option<String>, VaultError> {
        let aside = layout::set_aside_path(path);
        let copied = self.objects().store().copy(path, &aside).await;
        match copied.map_err(|error| VaultError::store("set aside", path, error)) {
            Err(error) if error.is_unreadable_medium() => {
                tracing::warn!(object = %path, %error, "nothing of it can be kept");
                return Ok(None);
            }
            copied => copied?,
        }
        self.objects().delete(path).await?;
        Ok(Some(aside.to_string()))
    }

    /// As [`Vault::set_aside`], of an object that nobody needs any more: what it said is durable under another name, or
    /// worth nothing. What cannot be copied is removed.
    pub(crate) async fn set_aside_or_remove(&self, path: &Path) -> Result<Option<String>, VaultError> {
        let aside = self.set_aside(path).await?;
        if aside.is_none() {
            self.objects().delete(path).await?;
            tracing::warn!(object = %path, "removed: the disk cannot read it, and nobody needs it any more");
        }
        Ok(aside)
    }
}
