//! Damages objects of one vault, heals them from the other, and looks that nothing else changed.
//!
//! Only what can be healed is damaged: objects whose content the other vault has as well.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use futures::TryStreamExt;
use longshore_engine::{HealRequest, OpenedBackup, RegionVaults, VerifyLevel, heal};
use longshore_vault::testing::SeededRandom;
use longshore_vault::{BlobId, PackId, Vault, digest_of};
use object_store::path::Path;
use object_store::{ObjectMeta, ObjectStore, ObjectStoreExt};

use crate::known::Known;
use crate::script::REGIONS;
use crate::world::{World, region};

type Objects = BTreeMap<String, Bytes>;

/// What was there before, and what was done to it.
#[derive(Debug)]
pub(crate) struct Hurt {
    region: usize,
    /// With the reader key.
    by_owner: bool,
    before: [Objects; 2],
    /// Vault, key, and the bytes that were put there; `None` for a deletion.
    damaged: BTreeMap<(usize, String), Option<Bytes>>,
    /// The same object was damaged in the vault that should heal it: nothing may be healed from that.
    bad_source: bool,
}

impl Hurt {
    /// The folder of what was damaged, for counting.
    pub(crate) fn kind(&self) -> String {
        let kind = self.damaged.keys().next().map_or("nothing", |(_, key)| folder(key));
        if self.bad_source { format!("{kind} from a damaged vault") } else { kind.to_owned() }
    }
}

async fn snapshot(store: &dyn ObjectStore) -> Objects {
    let listed: Vec<ObjectMeta> = store.list(None).try_collect().await.unwrap();
    let mut objects = Objects::new();
    for meta in listed {
        objects.insert(meta.location.to_string(), store.get(&meta.location).await.unwrap().bytes().await.unwrap());
    }
    objects
}

fn folder(key: &str) -> &str {
    key.split('/').next().unwrap_or_default()
}

/// Bytes that are not these; `None` for no object at all.
fn damage(random: &mut SeededRandom, bytes: &Bytes) -> Option<Bytes> {
    let mut bytes = bytes.to_vec();
    let place = usize::try_from(random.below(bytes.len() as u64)).unwrap();
    match random.below(4) {
        0 => return None,
        1 => bytes.truncate(place),
        _ => bytes[place] ^= 1 << random.below(8),
    }
    Some(bytes.into())
}

async fn put(store: &dyn ObjectStore, key: &str, bytes: Option<Bytes>) {
    match bytes {
        Some(bytes) => drop(store.put(&Path::from(key), bytes.into()).await.unwrap()),
        None => store.delete(&Path::from(key)).await.unwrap(),
    }
}

impl World {
    /// Damages and heals. What is left to compare is kept for [`World::healed`], also when the heal fails or crashes.
    pub(crate) async fn hurt_and_heal(&self, region: usize, seed: u64) -> Result<(), String> {
        let Some(hurt) = self.hurt(region, seed).await? else { return Ok(()) };
        for ((region, key), bytes) in &hurt.damaged {
            put(self.stores[*region].as_ref(), key, bytes.clone()).await;
        }
        if std::env::var_os("LONGSHORE_SCRIPT").is_some() {
            let kinds = hurt
                .damaged
                .iter()
                .map(|((region, key), bytes)| (REGIONS[*region], key, bytes.as_ref().map(Bytes::len)));
            eprintln!("damaged {:?}", kinds.collect::<Vec<_>>());
        }
        if let Err(error) = self.heal(&hurt).await
            && !hurt.bad_source
        {
            *self.heard.borrow_mut() = Some(error);
        }
        *self.hurt.borrow_mut() = Some(hurt);
        Ok(())
    }

    /// Heals. Without a reader key nothing is copied out of packs that may hold erased bytes; the sentence that says so is
    /// taken at its word: whoever has one makes all whole.
    async fn heal(&self, hurt: &Hurt) -> Result<(), String> {
        if hurt.by_owner {
            return self.heal_in(hurt, &self.owners).await;
        }
        let erased = |known: &Known| !known.erased.is_empty() || !known.erased_after_deletion.is_empty();
        match self.heal_in(hurt, &self.hosts).await {
            Err(why) if why.contains("with a reader key") && self.known.iter().any(erased) => {
                self.heal_in(hurt, &self.owners).await
            }
            healed => healed,
        }
    }

    async fn heal_in(&self, hurt: &Hurt, vaults: &[Vault]) -> Result<(), String> {
        let request = HealRequest { backup: None, level: VerifyLevel::Stored, dry_run: false };
        let sources = [vaults[1 - hurt.region].clone()];
        let healed = heal(&vaults[hurt.region], &sources, &request, &self.context.for_another_job()).await;
        match healed {
            Ok(outcome) if outcome.whole => Ok(()),
            Ok(outcome) => Err(format!("not whole: {:?} {:?}", outcome.objects, outcome.collections)),
            Err(error) => Err(error.to_string()),
        }
    }

    /// Chooses what to damage; `None` when nothing could be healed.
    async fn hurt(&self, region: usize, seed: u64) -> Result<Option<Hurt>, String> {
        // A pack on its way is written to the end, also when its job failed meanwhile: nothing else may come during the heal.
        while tokio::runtime::Handle::current().metrics().num_alive_tasks() > 0 {
            tokio::task::yield_now().await;
        }
        let mut random = SeededRandom::new(seed);
        let before = [snapshot(self.stores[0].as_ref()).await, snapshot(self.stores[1].as_ref()).await];
        let mut found: BTreeMap<&str, Vec<String>> = BTreeMap::new();
        for key in self.healable(region, &before).await? {
            let kind = ["packs", "index", "parts", "roots", "receipts", "keys"];
            let kind = kind.into_iter().find(|kind| *kind == folder(&key)).unwrap();
            found.entry(kind).or_default().push(key);
        }
        // Not parts: what stands in place of a lost one is known to whoever restores, but not to a prune or an erasure.
        let kinds: Vec<&str> = found.keys().copied().filter(|kind| *kind != "parts").collect();
        let Some(kind) = random.pick(&kinds).copied() else { return Ok(None) };
        // Packs and index objects may be lost together; a part is made again of what its packs still hold.
        let most = if kind == "packs" || kind == "index" { 3 } else { 1 };
        let mut damaged = BTreeMap::new();
        for _ in 0..1 + random.below(most) {
            let Some(key) = random.pick(&found[kind]) else { continue };
            let whole = &before[region][key];
            let bytes = match kind {
                "keys" => None,
                // Of a copy that was made later nobody knows when its receipt is gone.
                "receipts" => Some(damage(&mut random, whole).unwrap_or_default()),
                _ => damage(&mut random, whole),
            };
            damaged.insert((region, key.clone()), bytes);
        }
        let mut bad_source = false;
        if kind == "packs" && random.chance(25) {
            let keys: Vec<String> = damaged.keys().map(|(_, key)| key.clone()).collect();
            for key in keys.into_iter().filter(|key| before[1 - region].contains_key(key)) {
                let bytes = damage(&mut random, &before[1 - region][&key]);
                damaged.insert((1 - region, key), bytes);
                bad_source = true;
            }
        }
        // Parts are made again by whoever can read what stands in them.
        let by_owner = kind == "parts" || random.chance(50);
        Ok(Some(Hurt { region, by_owner, before, damaged, bad_source }))
    }

    /// Keys of objects whose content the other vault has.
    async fn healable(&self, here: usize, before: &[Objects; 2]) -> Result<Vec<String>, String> {
        let needed = [self.needed(0).await?, self.needed(1).await?];
        let reader = self.seen[here].open_reader().await.map_err(|error| error.to_string())?;
        let mut keys: Vec<String> = before[here]
            .keys()
            .filter(|key| folder(key) == "index" || (key.starts_with("keys/") && before[1 - here].contains_key(*key)))
            .cloned()
            .collect();
        for pack in reader.packs_of(&needed[here].blobs) {
            let of_it = needed[here].blobs.iter().filter(|blob| reader.packs_of([*blob]).contains(&pack));
            if of_it.into_iter().all(|blob| needed[1 - here].blobs.contains(blob)) {
                keys.push(pack_key(&pack));
            }
        }
        for (backup, (token, manifests)) in &needed[here].manifests {
            // An erasure that stopped on the way leaves vaults with different commits: neither can give the other its own.
            if needed[1 - here].manifests.get(backup).is_some_and(|(other, _)| other == token) {
                keys.extend(manifests.iter().filter(|key| before[here].contains_key(*key)).cloned());
            }
        }
        keys.retain(|key| before[here].get(key).is_some_and(|bytes| !bytes.is_empty()));
        Ok(keys)
    }

    /// What the backups in a vault need.
    async fn needed(&self, number: usize) -> Result<Needed, String> {
        let vault = &self.seen[number];
        let mut needed = Needed::default();
        for backup in vault.list_backups().await.map_err(|error| error.to_string())?.backups {
            let id = backup.root.backup_id;
            let alone = RegionVaults::of([vault.clone()]).unwrap();
            let opened = OpenedBackup::find(&alone, None, &id).await.map_err(|error| error.to_string())?;
            let files = opened.parts.iter().flat_map(|part| &part.part.open.collections).flat_map(|one| &one.files);
            needed.blobs.extend(files.flat_map(|file| file.blobs.iter().copied()));
            let mut keys: Vec<String> = opened.parts.iter().map(|part| part.reference.key.clone()).collect();
            if opened.root.open.home_region == region(number) {
                keys.push(opened.committed.key.clone());
            } else {
                let commits = vault.commits_of(&id).await.map_err(|error| error.to_string())?;
                let newest = commits.iter().filter(|commit| commit.token == opened.root.open.token);
                keys.extend(newest.map(|commit| commit.object.clone()));
            }
            needed.manifests.insert(id.to_string(), (opened.root.open.token, keys));
        }
        Ok(needed)
    }

    /// After a heal, also one that failed: what is written is proven, a heal that nothing disturbs makes all whole, and
    /// nothing else changed.
    pub(crate) async fn healed(&self, hurt: &Hurt, others_ran: bool) -> Result<(), String> {
        self.nothing_else_changed(hurt, others_ran).await?;
        if hurt.bad_source {
            // The disks come back as they were.
            for (region, key) in hurt.damaged.keys() {
                put(self.stores[*region].as_ref(), key, Some(hurt.before[*region][key].clone())).await;
            }
        }
        self.heal(hurt).await.map_err(|error| format!("heal after {:?}: {error}", hurt.damaged.keys()))?;
        self.nothing_else_changed(hurt, others_ran).await
    }

    async fn nothing_else_changed(&self, hurt: &Hurt, others_ran: bool) -> Result<(), String> {
        for (region, before) in hurt.before.iter().enumerate() {
            let after = snapshot(self.stores[region].as_ref()).await;
            let wrong = |key: &str, what: &str| {
                Err(format!("a heal of {}: {key} in {} {what}", REGIONS[hurt.region], REGIONS[region]))
            };
            let may_come: &[&str] = if region == hurt.region {
                // Records that an erasure or a deletion wrote into the other vault, and that this one has not yet.
                &[
                    "packs",
                    "index",
                    "parts",
                    "receipts",
                    "damaged",
                    "keys",
                    "pins",
                    "set-aside",
                    "erasures",
                    "withdrawn",
                ]
            } else {
                &["pins"]
            };
            for (key, bytes) in &after {
                // A damaged pack that could only be replaced by others stays, with a note.
                let stayed = before.get(key) == Some(bytes)
                    || hurt.damaged.get(&(region, key.clone())) == Some(&Some(bytes.clone()));
                if folder(key) == "packs" && !is_proven(key, bytes) && !stayed {
                    return wrong(key, "was written with bytes that its name does not prove");
                }
                let is_new = !before.contains_key(key) && !others_ran;
                if is_new && !may_come.contains(&folder(key)) {
                    return wrong(key, "came");
                }
            }
            for (key, bytes) in before {
                let hit = hurt.damaged.contains_key(&(region, key.clone()));
                // Of one object only the bytes of its last damage are set aside.
                let may_change = ["pins", "damaged", "set-aside"].contains(&folder(key))
                    || (folder(key) == "index" && region == hurt.region);
                if hit || may_change || others_ran {
                    continue;
                }
                match after.get(key) {
                    None => return wrong(key, "is gone"),
                    Some(found) if found != bytes => return wrong(key, "has other bytes"),
                    Some(_) => {}
                }
            }
        }
        Ok(())
    }
}

/// What the backups in one vault need: blobs, and by backup the token of its newest commit and the keys of its manifests.
#[derive(Default)]
struct Needed {
    blobs: BTreeSet<BlobId>,
    manifests: BTreeMap<String, (u64, Vec<String>)>,
}

fn pack_key(pack: &PackId) -> String {
    let name = pack.to_string();
    format!("packs/{}/{name}", &name[..2])
}

fn is_proven(key: &str, bytes: &Bytes) -> bool {
    key.rsplit('/').next() == Some(digest_of(bytes).to_string().as_str())
}
