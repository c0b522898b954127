//! Compares what is there with what the model knows.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use futures::TryStreamExt;
use longshore_model::BackupId;
use longshore_vault::{BlobExtent, BlobId};
use object_store::ObjectMeta;

use crate::acts::HOUR_MS;
use crate::cluster::Content;
use crate::known::{Known, Told, read};
use crate::script::REGIONS;
use crate::world::{SPLIT_BYTES, World};

impl World {
    pub(crate) fn may_hold(&self, known: &Known, content: &Content) -> bool {
        let here = self.erasing.iter().filter(|(cluster, _)| *cluster == known.cluster);
        let erasing: BTreeSet<String> = here.map(|(_, name)| name.clone()).collect();
        known.may_hold(content, &erasing)
    }

    /// The end of a script. When nothing runs any more, prunes leave nothing of what was erased; and when everything was
    /// deleted, they leave nothing at all.
    pub(crate) async fn nothing_is_left(&mut self) -> Result<(), String> {
        self.prune_out().await?;
        self.visible = self.check().await?;
        self.erased_bytes_are_gone().await?;
        for backup in 0..self.known.len() {
            let deleted = self.delete(backup).await;
            self.take_over(deleted, false, false);
        }
        self.check().await?;
        self.prune_out().await?;
        for store in &self.stores {
            let listed: Vec<ObjectMeta> = store.list(None).try_collect().await.map_err(|error| error.to_string())?;
            let left: Vec<String> = listed
                .iter()
                .map(|meta| meta.location.to_string())
                .filter(|key| {
                    ["packs/", "index/", "parts/", "roots/", "receipts/"].iter().any(|folder| key.starts_with(folder))
                })
                .collect();
            if !left.is_empty() {
                return Err(format!("everything was deleted and pruned, and this is left: {left:?}"));
            }
        }
        Ok(())
    }

    /// Compares what is there with what must be there. Answers which backups there are.
    pub(crate) async fn check(&self) -> Result<BTreeSet<BackupId>, String> {
        let mut listed: Vec<BTreeSet<BackupId>> = Vec::new();
        for vault in &self.seen {
            let listing = vault.list_backups().await.map_err(|error| format!("listing: {error}"))?;
            if let Some((id, error)) = listing.damaged.first() {
                return Err(format!("{id} shows as damaged: {error}"));
            }
            let ids: BTreeSet<BackupId> = listing.backups.into_iter().map(|backup| backup.root.backup_id).collect();
            let reader = vault.open_reader().await.map_err(|error| error.to_string())?;
            for id in &ids {
                let known = self.known.iter().find(|known| known.id == *id).ok_or(format!("nobody made {id}"))?;
                let content = read(vault, &reader, known)
                    .await
                    .map_err(|error| format!("{id} in {}: {error}", vault.region_id()))?;
                if content.is_some_and(|content| !self.may_hold(known, &content)) {
                    return Err(format!("{id} in {} holds other bytes than were backed up", vault.region_id()));
                }
            }
            listed.push(ids);
        }
        for (number, known) in self.known.iter().enumerate() {
            let there = |region: usize| listed[region].contains(&known.id);
            let anywhere = (0..REGIONS.len()).any(there);
            if known.deleted == Some(Told::Done) && anywhere {
                return Err(format!("backup {number} ({}) was reported as deleted and is there", known.id));
            }
            if known.told == Told::Failed && anywhere {
                return Err(format!("backup {number} ({}) was reported as failed and is there", known.id));
            }
            if known.deleted.is_some() {
                continue;
            }
            if known.told == Told::Done && !there(known.cluster) {
                return Err(format!("backup {number} ({}) was reported as made and is not there", known.id));
            }
            let copies = known.copies.iter().filter(|(_, told)| **told == Told::Done);
            for (region, _) in copies {
                if !there(*region) && !known.may_be_empty() {
                    return Err(format!("backup {number} was reported as copied to {} and is not", REGIONS[*region]));
                }
            }
        }
        Ok(listed.into_iter().flatten().collect())
    }

    /// Prunes until nothing more can go: after pins of jobs that crashed have lapsed, and past all fences.
    async fn prune_out(&self) -> Result<(), String> {
        self.advance_ms(30 * HOUR_MS);
        for _ in 0..4 {
            self.prune(&self.hosts).await.map_err(|error| format!("the last prunes: {error}"))?;
            self.advance_ms(2 * HOUR_MS);
        }
        Ok(())
    }

    /// After prunes past all fences every erasure that reached all backups is recorded as completed, and no pack holds
    /// what only the erased collections held, in backups that were there and in those that were deleted before.
    async fn erased_bytes_are_gone(&self) -> Result<(), String> {
        let (mut erased, mut others): (BTreeMap<BlobId, String>, HashSet<BlobId>) = (BTreeMap::new(), HashSet::new());
        for known in &self.known {
            for (name, files) in known.attempts.iter().flatten().flatten() {
                let key = self.seen[0].id_key().unwrap();
                let blobs = files.values().flat_map(|bytes| {
                    let pieces = bytes.chunks(SPLIT_BYTES).enumerate();
                    pieces.map(|(number, piece)| {
                        let (offset, file_bytes) = ((number * SPLIT_BYTES) as u64, bytes.len() as u64);
                        let extent = BlobExtent::of_piece(offset, piece.len() as u64, file_bytes);
                        key.piece_id(piece, extent.unwrap()).unwrap()
                    })
                });
                if known.erased.get(name) == Some(&Told::Done) || known.erased_after_deletion.contains(name) {
                    erased.extend(blobs.map(|blob| (blob, format!("{name} of {}", known.id))));
                } else {
                    others.extend(blobs);
                }
            }
        }
        for vault in &self.seen {
            for record in vault.list_erasures().await.map_err(|error| error.to_string())? {
                if record.rewritten.is_some() && record.completed.is_none() {
                    return Err(format!("{} in {} was never completed", record.erasure_id, vault.region_id()));
                }
            }
            let reader = vault.open_reader().await.map_err(|error| error.to_string())?;
            let left = erased.iter().filter(|(blob, _)| !others.contains(blob) && reader.blob_bytes(blob).is_some());
            if let Some((blob, what)) = left.into_iter().next() {
                return Err(format!("{what} was erased, and {} holds {blob} of it", vault.region_id()));
            }
        }
        Ok(())
    }
}
