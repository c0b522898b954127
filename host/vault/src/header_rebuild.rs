//! Makes the lost or damaged header of a vault again.
//!
//! A header holds four things. Which vault this is and in which region stands in its manifests as well; the project and the
//! id key are those of every vault of the project. So it takes one other vault of the project, and manifests that agree.
//!
//! Contract: nothing is written unless the key fits what lies here: in an encrypted vault by the codes of its manifests,
//! otherwise by a blob that has the id the key gives it. A damaged header is kept under `set-aside/`.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use longshore_model::{ProjectId, RegionId, VaultId};
use object_store::ObjectStore;
use object_store::path::Path;

use crate::crypto::Keyring;
use crate::header::{Header, HeaderKey};
use crate::layout::{HEADER_KEY, ManifestKind};
use crate::manifest::bad;
use crate::objects::Objects;
use crate::{Limits, Part, Receipt, Root, Vault, VaultError};

/// Blobs that are tried before a key counts as another's: some may be damaged.
const BLOBS_TRIED: usize = 16;

/// What a header was made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RebuiltHeader {
    /// Which vault it is.
    pub vault_id: VaultId,
    /// Its project.
    pub project_id: ProjectId,
    /// Its region.
    pub region_id: RegionId,
    /// Manifests that say so.
    pub manifests: u64,
}

impl Vault {
    /// Makes the header of the vault in `store` again, with the project and the key of another vault of the project. With
    /// `write` false only looks whether it can be done.
    ///
    /// # Errors
    /// [`VaultError::AlreadyAVault`] when the header is good, [`VaultError::Empty`] and [`VaultError::Foreign`] when no
    /// vault was here, [`VaultError::KeyNeeded`] when the other one is encrypted and open without a key,
    /// [`VaultError::BadManifest`] when manifests do not say which vault this is, or it is of another project or key;
    /// failures of the store.
    pub async fn rebuild_header(
        store: Arc<dyn ObjectStore>,
        other: &Self,
        write: bool,
    ) -> Result<RebuiltHeader, VaultError> {
        let damaged = match Self::open(Arc::clone(&store), &crate::Keys::none()).await {
            Ok(vault) => {
                return Err(VaultError::AlreadyAVault { place: vault.place(), vault_id: vault.id().clone() });
            }
            Err(VaultError::DamagedHeader { .. }) => true,
            Err(VaultError::LostHeader { .. }) => false,
            Err(error) => return Err(error),
        };
        let encryption = match other.is_encrypted() {
            true => HeaderKey::Age1(other.id_key()?.check_value()),
            false => HeaderKey::Plain(other.id_key()?.clone()),
        };
        // Only to read with; who it is does not matter for that.
        let (vault_id, project_id, region_id) =
            (other.id().clone(), other.project_id().clone(), other.region_id().clone());
        let nobody = Header { vault_id, project_id, region_id, encryption };
        let objects = Objects::new(store, Limits::DEFAULT);
        let vault = Self::of(objects, nobody.clone(), Keyring::of(other.id_key()?.clone()));
        vault.check_key().await?;
        let found = vault.who_is_this().await?;
        let RebuiltHeader { vault_id, region_id, project_id, .. } = found.clone();
        let header = Header { vault_id, region_id, project_id, ..nobody };
        if write {
            let path = Path::from(HEADER_KEY);
            if damaged {
                // What the disk cannot copy is replaced where it is.
                vault.set_aside(&path).await?;
            }
            vault.objects().replace(&path, Bytes::from(header.to_bytes()?)).await?;
        }
        Ok(found)
    }

    /// What its manifests agree on.
    async fn who_is_this(&self) -> Result<RebuiltHeader, VaultError> {
        let (mut found, mut manifests) = (BTreeSet::new(), 0);
        let mut ids = BTreeSet::new();
        let mut projects = BTreeSet::new();
        let limits = self.limits();
        for kind in [ManifestKind::Receipt, ManifestKind::Root, ManifestKind::Part] {
            for key in self.manifests(kind, None).await? {
                // What is damaged says nothing.
                let Ok(bytes) = self.read_manifest(kind, &key).await else { continue };
                let object = key.path(kind).to_string();
                match kind {
                    ManifestKind::Receipt => {
                        let Ok((receipt, root)) = Receipt::parse(&object, &bytes, limits) else { continue };
                        found.insert((receipt.open.part.vault_id, receipt.open.part.region_id));
                        projects.insert(root.open.project_id);
                    }
                    ManifestKind::Root => {
                        let Ok(root) = Root::parse(&object, &bytes, limits) else { continue };
                        let home = &root.open.home_region;
                        let home = root.open.parts.into_iter().filter(|part| part.region_id == *home);
                        found.extend(home.map(|part| (part.vault_id, part.region_id)));
                        projects.insert(root.open.project_id);
                    }
                    ManifestKind::Part => {
                        let Ok(part) = Part::parse(&object, &bytes, limits) else { continue };
                        ids.insert(part.open.vault_id);
                    }
                }
                manifests += 1;
            }
        }
        let one =
            |text: &str| bad(HEADER_KEY, format!("{text}, so it cannot be made again: copy it from a backup of it"));
        if projects.iter().any(|project| project != self.project_id()) {
            let what = format!("this vault is not of project {}, as the other one is", self.project_id());
            return Err(bad(HEADER_KEY, what));
        }
        let mut found = found.into_iter();
        match (found.next(), found.next()) {
            (Some((vault_id, region_id)), None) if ids.iter().all(|id| *id == vault_id) => {
                Ok(RebuiltHeader { vault_id, region_id, project_id: self.project_id().clone(), manifests })
            }
            (None, _) => Err(one("no root or receipt here can be read")),
            _ => Err(one("the manifests here are of more than one vault")),
        }
    }

    /// Whether the key is the one that this vault was written with.
    async fn check_key(&self) -> Result<(), VaultError> {
        let not_its =
            || bad(HEADER_KEY, "the key of the other vault does not fit what lies here: they are of two projects");
        let mut parts = Vec::new();
        for key in self.manifests(ManifestKind::Part, None).await? {
            match self.load_part_by(&key).await {
                // In an encrypted vault this has checked a code.
                Ok(_) if self.is_encrypted() => return Ok(()),
                Ok(part) => parts.push(part),
                Err(error) if error.is_unanswered() => return Err(error),
                Err(_) => {}
            }
        }
        let reader = self.open_reader().await?;
        let collections = parts.iter().flat_map(|part| &part.open.collections);
        let blobs = collections.flat_map(|collection| &collection.files).flat_map(|file| &file.blobs);
        for blob in blobs.take(BLOBS_TRIED) {
            match reader.read_blob(blob).await {
                Ok(_) => return Ok(()),
                Err(error) if error.is_unanswered() => return Err(error),
                Err(_) => {}
            }
        }
        Err(not_its())
    }
}
