//! The look: everything a prune must know about the vaults of a project, read in the one order that is safe.
//!
//! Of all vaults first the marks, then the pins, then records of erasures, then roots, receipts and tombstones, then parts
//! and packs, then the pins again. (An erasure that begins after its record would have been seen has not replaced anything
//! for so long that it would be called settled: the clock was read before.) A writer releases its pin after its root is durable: whoever does not see the pin sees the root. A reader
//! writes its pin and then looks whether its backup still exists: whoever does not see the pin in the second listing
//! either was not relied on.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::ops::RangeInclusive;

use futures::{StreamExt, TryStreamExt, stream};
use longshore_model::{BackupId, Timestamp};
use object_store::ObjectMeta;
use object_store::path::Path;
use serde_json::Value;

use super::marks::Marks;
use crate::layout::{self, CatalogKey, ManifestKey, ManifestKind};
use crate::pin::{self, ListedPin};
use crate::survey::{Survey, survey};
use crate::withdrawal::Tombstones;
use crate::{LoadedBackup, Origin, PackId, Vault, VaultError, damage_note};

/// A key and when the store says its object was written.
#[derive(Debug, Clone)]
pub(super) struct Seen<K> {
    pub(super) key: K,
    pub(super) path: Path,
    pub(super) size_bytes: u64,
    pub(super) written: Timestamp,
}

impl<K> Seen<K> {
    fn new(key: K, meta: ObjectMeta) -> Self {
        let written = time_of(&meta);
        Self { key, path: meta.location, size_bytes: meta.size, written }
    }
}

fn time_of(meta: &ObjectMeta) -> Timestamp {
    Timestamp::from_millis(meta.last_modified.timestamp_millis())
}

/// A root or receipt that counts, and what it says if it can be read.
pub(super) struct Visible {
    pub(super) seen: Seen<ManifestKey>,
    /// `None` when it cannot be read.
    pub(super) loaded: Option<LoadedBackup>,
}

/// A record of an erasure that is not complete.
pub(super) struct OpenErasure {
    pub(super) path: Path,
    pub(super) record: Value,
    packs: HashSet<PackId>,
    /// From when it began, as early as that may be by the store's clock, until every backup was rewritten.
    during: Option<RangeInclusive<Timestamp>>,
    /// The backups it rewrites; `None` when the record does not say it in a way that can be read.
    backups: Option<BTreeSet<BackupId>>,
}

impl OpenErasure {
    /// True when what nobody needs of this pack must go, however little it is: the record names the pack, or it was
    /// written while the erasure ran: by a prune, from one that is named. (Not every older pack: what is deleted day by day
    /// afterwards must not keep the erasure open.)
    pub(super) fn reaches(&self, pack: &PackId, written: Timestamp) -> bool {
        self.packs.contains(pack) || self.during.as_ref().is_some_and(|during| during.contains(&written))
    }

    /// When every backup was rewritten, by the store's clock.
    pub(super) fn rewritten(&self) -> Option<Timestamp> {
        self.during.as_ref().map(|during| *during.end())
    }

    fn is_rewriting(&self, backup_id: &BackupId) -> bool {
        self.during.is_none() && self.backups.as_ref().is_none_or(|backups| backups.contains(backup_id))
    }
}

/// One vault at the moment of the look.
pub(super) struct View {
    pub(super) vault: Vault,
    pub(super) marks: Marks,
    pub(super) pins: Vec<ListedPin>,
    pub(super) visible: BTreeMap<BackupId, Vec<Visible>>,
    /// Roots and receipts that a tombstone covers.
    pub(super) covered: Vec<(ManifestKind, Seen<ManifestKey>)>,
    pub(super) tombstones: Tombstones,
    pub(super) tombstone_objects: Vec<Seen<(BackupId, Option<u64>)>>,
    pub(super) parts: Vec<Seen<ManifestKey>>,
    pub(super) survey: Survey,
    /// Packs with a damage note that counts.
    pub(super) noted: HashSet<PackId>,
    /// All damage notes.
    pub(super) notes: Vec<Seen<PackId>>,
    pub(super) erasures: Vec<OpenErasure>,
    /// What lapsed pins left.
    pub(super) lapsed: Vec<Seen<()>>,
    pub(super) probes: Vec<Seen<()>>,
    /// Snapshots of catalogs.
    pub(super) catalogs: Vec<Seen<CatalogKey>>,
}

/// Looks at all vaults.
pub(super) async fn look(vaults: &[Vault]) -> Result<Vec<View>, VaultError> {
    let mut marks = Vec::new();
    for vault in vaults {
        marks.push(Marks::load_all(vault.objects()).await?);
    }
    let mut pins = Vec::new();
    for vault in vaults {
        pins.push(pin::list(vault.objects()).await?);
    }
    // Before the manifests of any vault: what is said to be rewritten then is so in every manifest read afterwards.
    let mut erasures = Vec::new();
    for vault in vaults {
        erasures.push(open_erasures(vault).await?);
    }
    let mut views = Vec::new();
    for (((vault, marks), pins), erasures) in vaults.iter().zip(marks).zip(pins).zip(erasures) {
        views.push(look_at_manifests(vault, marks, pins, erasures).await?);
    }
    for view in &mut views {
        look_at_objects(view).await?;
    }
    for view in &mut views {
        for again in pin::list(view.vault.objects()).await? {
            match view.pins.iter_mut().find(|pin| pin.path == again.path) {
                // A pin that was released in between still counts as it was.
                Some(pin) if again.record.as_ref().is_some_and(|record| record.released) => {
                    tracing::debug!(pin = %pin.path, "released meanwhile");
                }
                Some(pin) => *pin = again,
                None => view.pins.push(again),
            }
        }
    }
    Ok(views)
}

async fn look_at_manifests(
    vault: &Vault,
    marks: Marks,
    pins: Vec<ListedPin>,
    erasures: Vec<OpenErasure>,
) -> Result<View, VaultError> {
    let mut roots = Vec::new();
    for kind in [ManifestKind::Root, ManifestKind::Receipt] {
        roots.extend(list(vault, kind).await?.into_iter().map(|seen| (kind, seen)));
    }
    let (mut tombstones, mut tombstone_objects) = (Tombstones::default(), Vec::new());
    for meta in vault.objects().list(Some(layout::WITHDRAWN)).await? {
        if let Some((backup_id, below)) = layout::parse_tombstone_path(meta.location.as_ref()) {
            tombstones.add(backup_id.clone(), below);
            tombstone_objects.push(Seen::new((backup_id, below), meta));
        }
    }
    let (covered, counting): (Vec<_>, Vec<_>) = roots.into_iter().partition(|(_, seen)| tombstones.cover(&seen.key));
    let mut visible: BTreeMap<BackupId, Vec<Visible>> = BTreeMap::new();
    let mut loads = stream::iter(counting)
        .map(|(kind, seen)| async move {
            let loaded = match vault.load_for_receipts(kind, &seen.key).await {
                Ok(loaded) => Some(loaded),
                Err(error @ (VaultError::Store { .. } | VaultError::StorageFull { .. })) => return Err(error),
                Err(VaultError::MissingObject { .. }) => return Ok(None),
                Err(error) => {
                    tracing::warn!(object = %seen.path, %error, "everything of this backup is kept");
                    None
                }
            };
            Ok(Some(Visible { seen, loaded }))
        })
        .buffered(vault.limits().requests_in_flight.max(1));
    while let Some(one) = loads.try_next().await? {
        if let Some(one) = one {
            visible.entry(one.seen.key.backup_id.clone()).or_default().push(one);
        }
    }
    drop(loads);
    Ok(View {
        vault: vault.clone(),
        marks,
        pins,
        visible,
        covered,
        tombstones,
        tombstone_objects,
        parts: Vec::new(),
        survey: Survey::default(),
        noted: HashSet::new(),
        notes: Vec::new(),
        erasures,
        lapsed: Vec::new(),
        probes: Vec::new(),
        catalogs: Vec::new(),
    })
}

async fn look_at_objects(view: &mut View) -> Result<(), VaultError> {
    let vault = &view.vault;
    let objects = vault.objects();
    view.parts = list(vault, ManifestKind::Part).await?;
    view.survey = survey(objects).await?;
    view.notes = damage_note::list(objects).await?.into_iter().map(|(pack, meta)| Seen::new(pack, meta)).collect();
    view.noted = damage_note::counting(objects, view.notes.iter().map(|seen| seen.key).collect()).await?;
    let pins = objects.list(Some(layout::PINS)).await?.into_iter();
    view.lapsed =
        pins.filter(|meta| meta.location.as_ref().ends_with(".lapsed")).map(|meta| Seen::new((), meta)).collect();
    view.probes = objects.list(Some(layout::CLOCK)).await?.into_iter().map(|meta| Seen::new((), meta)).collect();
    let catalogs = objects.list(Some(layout::CATALOGS)).await?.into_iter();
    let parsed = |meta: ObjectMeta| CatalogKey::parse(meta.location.as_ref()).map(|key| Seen::new(key, meta));
    view.catalogs = catalogs.filter_map(parsed).collect();
    Ok(())
}

/// The records of erasures that no prune called completed.
async fn open_erasures(vault: &Vault) -> Result<Vec<OpenErasure>, VaultError> {
    let (objects, mut erasures) = (vault.objects(), Vec::new());
    for meta in objects.list(Some(layout::ERASURES)).await? {
        let Some(bytes) = objects.get(&meta.location, vault.limits().mark_bytes).await? else { continue };
        let Ok(record) = serde_json::from_slice::<Value>(&bytes) else { continue };
        let is_set = |field: &str| record.get(field).is_some_and(|time| !time.is_null());
        if is_set("completed") {
            continue;
        }
        let packs = record.get("packs").cloned().and_then(|packs| serde_json::from_value(packs).ok());
        let started = record.get("started").cloned().and_then(|time| serde_json::from_value::<Timestamp>(time).ok());
        let started = started.unwrap_or(Timestamp::from_millis(0)).plus_millis(-vault.limits().clock_skew_ms);
        let during = is_set("rewritten").then(|| started..=time_of(&meta));
        let backups = record.get("backups").cloned().and_then(|backups| serde_json::from_value(backups).ok());
        let packs = packs.unwrap_or_default();
        erasures.push(OpenErasure { path: meta.location, record, packs, during, backups });
    }
    Ok(erasures)
}

async fn list(vault: &Vault, kind: ManifestKind) -> Result<Vec<Seen<ManifestKey>>, VaultError> {
    let listed = vault.objects().list(Some(kind.folder())).await?;
    let (count, limit) = (listed.len() as u64, vault.limits().manifests as u64);
    if count > limit {
        return Err(VaultError::TooMany { what: "manifests in this vault", count, limit });
    }
    let keys = listed
        .into_iter()
        .filter_map(|meta| ManifestKey::parse(kind, meta.location.as_ref()).map(|key| Seen::new(key, meta)));
    Ok(keys.collect())
}

impl View {
    /// True when an open erasure waits until nothing is left in this pack that nobody needs.
    pub(super) fn erasure_reaches(&self, pack: &PackId, written: Timestamp) -> bool {
        self.erasures.iter().any(|erasure| erasure.reaches(pack, written))
    }

    /// The record of an erasure that rewrites this commit of its backup, or died while it did.
    ///
    /// It needs what is superseded: copies of older commits are reduced one after the other. And it may stand still for so
    /// long between a reduced part and the receipt that names it that its pin lapses. What a tombstone covers it needs no
    /// more: either it is done with it, or the backup was deleted meanwhile.
    pub(super) fn rewritten_by(&self, key: &ManifestKey) -> Option<&Path> {
        let mut erasures = self.erasures.iter().filter(|erasure| erasure.is_rewriting(&key.backup_id));
        erasures.next().filter(|_| !self.tombstones.cover(key)).map(|erasure| &erasure.path)
    }

    /// The newest token under which a backup exists here.
    pub(super) fn newest_token(&self, backup_id: &BackupId) -> Option<u64> {
        self.visible.get(backup_id)?.iter().map(|one| one.seen.key.token).max()
    }

    /// True when a root or receipt of this backup counts here and cannot be read.
    pub(super) fn has_unreadable(&self, backup_id: &BackupId) -> bool {
        self.visible.get(backup_id).is_some_and(|all| all.iter().any(|one| one.loaded.is_none()))
    }

    /// Manifests of the newest commit of a backup here.
    pub(super) fn newest(&self, backup_id: &BackupId) -> impl Iterator<Item = &Visible> {
        let token = self.newest_token(backup_id);
        let all = self.visible.get(backup_id).into_iter().flatten();
        all.filter(move |one| Some(one.seen.key.token) == token)
    }

    /// Keys of the parts in *this* vault that the newest commits here name.
    pub(super) fn named_here(&self) -> HashSet<String> {
        parts_named_by(self.visible.keys().flat_map(|backup_id| self.newest(backup_id)))
    }

    /// Keys of the parts in *this* vault that older commits name which still count.
    pub(super) fn named_before(&self) -> HashSet<String> {
        let older = self.visible.iter().flat_map(|(backup_id, all)| {
            let newest = self.newest_token(backup_id);
            all.iter().filter(move |one| Some(one.seen.key.token) < newest)
        });
        parts_named_by(older)
    }

    /// Keys of lost parts in *this* vault, each with the keys of those that the newest commits say took its place.
    pub(super) fn replaced(&self) -> HashMap<String, Vec<String>> {
        let newest = self.visible.keys().flat_map(|backup_id| self.newest(backup_id));
        let mut replaced: HashMap<String, Vec<String>> = HashMap::new();
        for loaded in newest.filter_map(|one| one.loaded.as_ref()) {
            let Some(part) = &loaded.part else { continue };
            for digest in &loaded.replaces {
                let (backup_id, token) = (loaded.root.open.backup_id.clone(), loaded.root.open.token);
                let lost = ManifestKey { backup_id, token, digest: *digest }.path(ManifestKind::Part);
                replaced.entry(lost.to_string()).or_default().push(part.key.clone());
            }
        }
        replaced
    }

    /// The newest roots here that can be read: what other vaults' parts may be needed for.
    pub(super) fn newest_roots(&self) -> impl Iterator<Item = &LoadedBackup> {
        let backups = self.visible.keys();
        let newest = backups.flat_map(|backup_id| self.newest(backup_id));
        newest.filter_map(|one| one.loaded.as_ref()).filter(|loaded| loaded.origin == Origin::Root)
    }

    /// Backups that a pin that counts names.
    pub(super) fn pinned_backups(&self) -> BTreeSet<BackupId> {
        let pins = self.pins.iter().filter_map(|pin| pin.record.as_ref()).filter(|pin| !pin.released);
        pins.flat_map(|pin| &pin.relies_on.backups).cloned().collect()
    }

    /// A pin that cannot be read: it may be that of a reader of any backup.
    pub(super) fn unreadable_pin(&self) -> Option<&Path> {
        self.pins.iter().find(|pin| pin.record.is_none()).map(|pin| &pin.path)
    }

    /// Packs that a pin that counts names, and the pin.
    pub(super) fn pinned_packs(&self) -> HashMap<PackId, String> {
        let pins = self.pins.iter().filter_map(|pin| Some((pin, pin.record.as_ref()?)));
        let pins = pins.filter(|(_, record)| !record.released);
        pins.flat_map(|(pin, record)| record.relies_on.packs.iter().map(|pack| (*pack, pin.path.to_string()))).collect()
    }
}

/// Keys of the parts that these manifests name, as far as they can be read.
fn parts_named_by<'a>(manifests: impl Iterator<Item = &'a Visible>) -> HashSet<String> {
    manifests.filter_map(|one| one.loaded.as_ref()?.part.as_ref()).map(|part| part.key.clone()).collect()
}
