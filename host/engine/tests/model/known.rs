//! What the model knows of a backup, and what is read back to compare it with.

use std::collections::{BTreeMap, BTreeSet};

use longshore_engine::{EngineError, OpenedBackup, RegionVaults};
use longshore_model::{BackupId, JobId};
use longshore_vault::testing::SeededRandom;
use longshore_vault::{Reader, Vault, VaultError, digest_of};

use crate::cluster::{Content, MadeCluster};
use crate::script::COLLECTIONS;

/// What the user was told about a piece of work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Told {
    /// Nothing: it crashed, or the error says that nobody knows.
    Unknown,
    Failed,
    Done,
}

/// A backup as the model knows it.
#[derive(Debug)]
pub(crate) struct Known {
    pub(crate) id: BackupId,
    pub(crate) job: JobId,
    pub(crate) token: u64,
    pub(crate) cluster: usize,
    pub(crate) told: Told,
    /// What it may hold: the cluster at the beginning and at the end of each attempt. There is one point per collection
    /// and none across collections, so a change meanwhile may be in some collections and not in others.
    pub(crate) attempts: Vec<[Content; 2]>,
    pub(crate) copies: BTreeMap<usize, Told>,
    pub(crate) deleted: Option<Told>,
    /// Collections that were erased from it.
    pub(crate) erased: BTreeMap<String, Told>,
    /// Collections that were erased when it was deleted already.
    pub(crate) erased_after_deletion: BTreeSet<String>,
}

impl Known {
    /// Whether this is what it may hold. `erasing` are collections that are being erased right now.
    pub(crate) fn may_hold(&self, content: &Content, erasing: &BTreeSet<String>) -> bool {
        let erased = |name: &String| self.erased.get(name) == Some(&Told::Done);
        let may_lack = |name: &String| self.erased.contains_key(name) || erasing.contains(name);
        !content.keys().any(erased)
            && self.attempts.iter().any(|[before, after]| {
                let is_of = |(name, files)| before.get(name) == Some(files) || after.get(name) == Some(files);
                let stayed = before.keys().filter(|name| after.contains_key(*name));
                content.iter().all(is_of) && stayed.into_iter().all(|name| content.contains_key(name) || may_lack(name))
            })
    }

    /// Whether everything it held may be erased: then it is nowhere but in its home.
    pub(crate) fn may_be_empty(&self) -> bool {
        self.attempts.iter().any(|[before, after]| {
            let stayed = before.keys().filter(|name| after.contains_key(*name));
            stayed.into_iter().all(|name| self.erased.contains_key(name))
        })
    }
}

/// What a user hears.
pub(crate) fn told<T>(result: Result<T, EngineError>) -> Told {
    match result {
        Ok(_) => Told::Done,
        Err(EngineError::Vault { source, .. }) if matches!(*source, VaultError::Uncertain { .. }) => Told::Unknown,
        Err(_) => Told::Failed,
    }
}

/// Reads what a vault alone holds of a backup, checking every digest on the way; `None` when all of it is elsewhere. No
/// manifest of it may name what was erased from it.
pub(crate) async fn read(vault: &Vault, reader: &Reader, known: &Known) -> Result<Option<Content>, String> {
    let loaded = vault.load_backup(&known.id).await.map_err(|error| error.to_string())?;
    if loaded.part.is_none() {
        return Ok(None);
    }
    let alone = RegionVaults::of([vault.clone()]).map_err(|error| error.to_string())?;
    let opened = OpenedBackup::find(&alone, None, &known.id).await.map_err(|error| error.to_string())?;
    names_nothing_erased(&opened, known)?;
    let mut content = Content::new();
    for opened in opened.collections().map_err(|error| error.to_string())? {
        let mut collection = BTreeMap::new();
        for (entry, name) in opened.files.files.iter().zip(&opened.sealed.files) {
            let mut bytes = Vec::new();
            for piece in reader.file_pieces(entry).map_err(|error| error.to_string())? {
                bytes.extend_from_slice(&reader.read_blob(&piece.blob).await.map_err(|error| error.to_string())?);
            }
            if digest_of(&bytes) != name.digest {
                return Err(format!("{} has other bytes than its part says", name.path));
            }
            collection.insert(name.path.clone(), bytes);
        }
        content.insert(opened.sealed.name.collection.clone(), collection);
    }
    Ok(Some(content))
}

fn names_nothing_erased(opened: &OpenedBackup, known: &Known) -> Result<(), String> {
    let mut texts = vec![serde_json::to_string(opened.sealed().map_err(|error| error.to_string())?).unwrap()];
    for part in &opened.parts {
        texts.push(serde_json::to_string(part.part.sealed.open().map_err(|error| error.to_string())?).unwrap());
    }
    for name in known.erased.iter().filter(|(_, told)| **told == Told::Done).map(|(name, _)| name) {
        if let Some(text) = texts.iter().find(|text| text.contains(name.as_str())) {
            return Err(format!("{name} was erased and is named: {text}"));
        }
    }
    Ok(())
}

/// Changes a cluster: new files, files of the same name with other bytes, bytes that other clusters have too, dropped
/// collections, and collections that are dropped and made again with the same bytes.
pub(crate) fn change(cluster: &MadeCluster, seed: u64) {
    let mut random = SeededRandom::new(seed);
    for _ in 0..2 + random.below(4) {
        let collection = COLLECTIONS[usize::try_from(random.below(3)).unwrap()];
        // Few different contents, so that clusters and times share them.
        let content = 1 + random.below(40);
        let bytes = SeededRandom::new(content).bytes(usize::try_from((content % 16) * 397).unwrap());
        match random.below(10) {
            0 => cluster.drop_collection(collection),
            1 => {
                let before = cluster.content();
                cluster.drop_collection(collection);
                for (path, bytes) in before.get(collection).into_iter().flatten() {
                    cluster.write(collection, path, bytes.clone());
                }
            }
            2 | 3 => cluster.write(collection, "wal.log", bytes),
            _ => cluster.write(collection, &format!("data/{}.parquet", random.below(4)), bytes),
        }
    }
}
