//! The vaults of a project, by region.
//!
//! Contract: one vault per region, all of one project, so that they share the key for blob ids. A region's vault is made
//! when its folder is empty; a folder of another program, or a vault of another project or region, is an error and is
//! never touched.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use longshore_model::{BackupId, ProjectId, RegionId, VaultId};
use longshore_vault::{Encryption, IdKey, Keys, StoredByDay, Throttle, Vault, VaultError, VaultOptions, Withdrawal};
use object_store::memory::InMemory;

use crate::config::{RegionConfig, RegionEncryption};
use crate::random::draw;
use crate::{EngineError, Random};

/// Open vaults by region. Cheap to clone; clones are the same set.
#[derive(Debug, Clone, Default)]
pub struct RegionVaults {
    vaults: Arc<RwLock<BTreeMap<RegionId, Vault>>>,
}

impl RegionVaults {
    /// Opens the vaults of all configured regions, making those that are not there.
    ///
    /// # Errors
    /// [`EngineError::Vault`], [`EngineError::Config`] for a vault of another project or region.
    pub async fn open(
        project: &ProjectId,
        regions: &[RegionConfig],
        keys: &Keys,
        random: &dyn Random,
    ) -> Result<Self, EngineError> {
        let vaults = Self::default();
        vaults.add(project, regions, keys, random).await?;
        Ok(vaults)
    }

    /// Vaults that are open already, for embedders with stores of their own.
    ///
    /// # Errors
    /// [`EngineError::Conflict`] when two are of one region, or of two projects.
    pub fn of(vaults: impl IntoIterator<Item = Vault>) -> Result<Self, EngineError> {
        let set = Self::default();
        for vault in vaults {
            set.insert(vault)?;
        }
        Ok(set)
    }

    /// Opens the vaults of regions that are not open yet.
    ///
    /// # Errors
    /// As [`RegionVaults::open`]; vaults opened before the failing one stay open.
    pub async fn add(
        &self,
        project: &ProjectId,
        regions: &[RegionConfig],
        keys: &Keys,
        random: &dyn Random,
    ) -> Result<(), EngineError> {
        let mut missing = Vec::new();
        // First those that exist: a new vault must get the key of the project, whatever the order of the regions.
        for region in regions.iter().filter(|region| self.get(&region.id).is_err()) {
            match Vault::open_local(&region.vault, keys).await {
                Ok(vault) => {
                    check_owner(&vault, project, region)?;
                    self.insert(vault)?;
                }
                Err(error) if is_absent(&error) => missing.push(region),
                Err(error) => return Err(EngineError::vault(&region.id)(error)),
            }
        }
        for region in missing {
            let shared = self.shared_with_new(region).await?;
            let vault = make(&region.vault, project, &region.id, shared, random).await?;
            for other in self.all() {
                vault.adopt_erasures(&other).await.map_err(EngineError::vault(&region.id))?;
            }
            self.insert(vault)?;
        }
        Ok(())
    }

    /// Opens the vaults of regions that are there, and names the regions whose vault is not: nothing is made.
    ///
    /// # Errors
    /// [`EngineError::Vault`] for a vault that is there and cannot be opened, [`EngineError::Config`] for one of another
    /// project or region.
    pub async fn open_existing(
        project: &ProjectId,
        regions: &[RegionConfig],
        keys: &Keys,
    ) -> Result<(Self, Vec<RegionId>), EngineError> {
        let (vaults, mut missing) = (Self::default(), Vec::new());
        for region in regions {
            match Vault::open_local(&region.vault, keys).await {
                Ok(vault) => {
                    check_owner(&vault, project, region)?;
                    vaults.insert(vault)?;
                }
                Err(error) if is_absent(&error) => missing.push(region.id.clone()),
                Err(error) => return Err(EngineError::vault(&region.id)(error)),
            }
        }
        Ok((vaults, missing))
    }

    /// Opens the vaults of regions that are there, with empty ones in memory in place of those that are not: enough to plan
    /// with, and nothing is made.
    ///
    /// # Errors
    /// As [`RegionVaults::open_existing`].
    pub async fn open_to_plan(
        project: &ProjectId,
        regions: &[RegionConfig],
        keys: &Keys,
        random: &dyn Random,
    ) -> Result<Self, EngineError> {
        let (vaults, missing) = Self::open_existing(project, regions, keys).await?;
        for region in &missing {
            let key = vaults.all().first().and_then(|vault| vault.id_key().ok().cloned());
            vaults.insert(stand_in(project, region, key, random).await?)?;
        }
        Ok(vaults)
    }

    /// An empty vault in memory, to plan with where there is none.
    ///
    /// # Errors
    /// [`EngineError::NoRandomness`], [`EngineError::Vault`].
    pub async fn in_memory(project: &ProjectId, random: &dyn Random) -> Result<Vault, EngineError> {
        stand_in(project, &local_region(), None, random).await
    }

    /// Opens one local vault on its own, whatever its project and region are.
    ///
    /// # Errors
    /// [`EngineError::Vault`].
    pub async fn open_one(folder: &Path, keys: &Keys) -> Result<Vault, EngineError> {
        Vault::open_local(folder, keys).await.map_err(|error| match error {
            VaultError::Empty { .. } => EngineError::BadRequest {
                what: format!("{} holds no vault; give the folder that a backup was written to", folder.display()),
            },
            error => EngineError::vault(&local_region())(error),
        })
    }

    /// Opens one local vault, or makes it for `project` in the region `local`.
    ///
    /// # Errors
    /// [`EngineError::Vault`].
    pub async fn open_or_make_one(
        folder: &Path,
        project: &ProjectId,
        keys: &Keys,
        random: &dyn Random,
    ) -> Result<Vault, EngineError> {
        PreparedVault::prepare(folder, project, keys, random).await?.make().await
    }

    /// The same vaults with their traffic and CPU work counted against what jobs share. A region that is added to the
    /// original later is not in it.
    #[must_use]
    pub fn throttled(&self, throttle: &Throttle) -> Self {
        let vaults = self.all().into_iter().map(|vault| vault.with_throttle(throttle.clone()));
        let vaults = vaults.map(|vault| (vault.region_id().clone(), vault)).collect();
        Self { vaults: Arc::new(RwLock::new(vaults)) }
    }

    fn insert(&self, vault: Vault) -> Result<(), EngineError> {
        let mut vaults = self.vaults.write().unwrap_or_else(PoisonError::into_inner);
        let region = vault.region_id().clone();
        if let Some(other) = vaults.values().find(|other| other.project_id() != vault.project_id()) {
            let (one, two) = (other.project_id(), vault.project_id());
            let what = format!("the vaults of one host belong to one project; here are vaults of {one} and of {two}");
            return Err(EngineError::Conflict { what });
        }
        if vaults.get(&region).is_some_and(|there| there.id() != vault.id()) {
            return Err(EngineError::Conflict { what: format!("there are two vaults of region {region}") });
        }
        vaults.insert(region, vault);
        Ok(())
    }

    /// The vault of a region.
    ///
    /// # Errors
    /// [`EngineError::NotFound`].
    pub fn get(&self, region: &RegionId) -> Result<Vault, EngineError> {
        let vaults = self.vaults.read().unwrap_or_else(PoisonError::into_inner);
        vaults.get(region).cloned().ok_or_else(|| EngineError::NotFound { what: "region", id: region.to_string() })
    }

    /// The vault with this id.
    #[must_use]
    pub fn by_id(&self, id: &VaultId) -> Option<Vault> {
        self.all().into_iter().find(|vault| vault.id() == id)
    }

    /// All vaults, in order of region.
    #[must_use]
    pub fn all(&self) -> Vec<Vault> {
        self.vaults.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    /// Bytes of packs in a region's vault.
    ///
    /// # Errors
    /// When the region has no vault or it does not answer.
    pub async fn used_bytes(&self, region: &RegionId) -> Result<u64, EngineError> {
        Ok(self.stored_by_day(region).await?.total_bytes())
    }

    /// The same by the day on which they were written.
    ///
    /// # Errors
    /// As [`RegionVaults::used_bytes`].
    pub async fn stored_by_day(&self, region: &RegionId) -> Result<StoredByDay, EngineError> {
        self.get(region)?.stored_by_day().await.map_err(EngineError::vault(region))
    }

    /// Answers when every vault answers.
    ///
    /// # Errors
    /// The first vault that does not.
    pub async fn check(&self) -> Result<(), EngineError> {
        for vault in self.all() {
            vault.check().await.map_err(EngineError::vault(vault.region_id()))?;
        }
        Ok(())
    }

    /// Answers when the vault of a region answers.
    ///
    /// # Errors
    /// When the region has no vault, or it does not answer.
    pub async fn check_one(&self, region: &RegionId) -> Result<(), EngineError> {
        self.get(region)?.check().await.map_err(EngineError::vault(region))
    }

    /// Withdraws a backup everywhere; its bytes go with a later prune. The home vault comes last: until then every part
    /// is kept, and what a deletion that stopped half-way leaves listed is still whole. Vaults that hold nothing of it
    /// are told too, so that a copy that is just being made there does not come to life afterwards.
    ///
    /// # Errors
    /// [`EngineError::Vault`] of the first vault that failed; asking again goes on.
    pub async fn delete_backup(
        &self,
        home: &RegionId,
        backup: &BackupId,
        withdrawal: &Withdrawal,
    ) -> Result<(), EngineError> {
        let (homes, others): (Vec<_>, Vec<_>) = self.all().into_iter().partition(|vault| vault.region_id() == home);
        for vault in others.into_iter().chain(homes) {
            vault.withdraw_backup(backup, withdrawal).await.map_err(EngineError::vault(vault.region_id()))?;
        }
        Ok(())
    }

    /// What a new vault shares with those of its project: the id key, and the recipients where they are encrypted.
    async fn shared_with_new(&self, region: &RegionConfig) -> Result<Option<(IdKey, Encryption)>, EngineError> {
        let Some(first) = self.all().into_iter().next() else {
            if region.encryption == RegionEncryption::None {
                return Ok(None);
            }
            let what = format!(
                "there is no vault at {} yet, and no other one of the project to take keys and recipients from: make it \
                 with `longshore init --vault {} --region {} --encrypt`",
                region.vault.display(),
                region.vault.display(),
                region.id
            );
            return Err(EngineError::Config { place: format!("[[region]] {}", region.id), what });
        };
        let place = EngineError::vault(first.region_id());
        let shared = async {
            let encryption = match region.encryption {
                RegionEncryption::None => Encryption::None,
                RegionEncryption::Age1 => Encryption::Age1 { recipients: first.recipients().await?.recipients },
            };
            Ok((first.id_key()?.clone(), encryption))
        };
        shared.await.map(Some).map_err(place)
    }
}

/// Region of a vault that belongs to no host.
pub(crate) fn local_region() -> RegionId {
    // `local` is a region id by its form, which a test checks; the fallback cannot be reached.
    "local".parse().unwrap_or_else(|_| unreachable!("`local` is a region id"))
}

/// True when a vault can be made there: nothing is there, or an empty folder.
fn is_absent(error: &VaultError) -> bool {
    match error {
        VaultError::Empty { .. } => true,
        VaultError::Folder { source, .. } => source.kind() == std::io::ErrorKind::NotFound,
        _ => false,
    }
}

fn check_owner(vault: &Vault, project: &ProjectId, region: &RegionConfig) -> Result<(), EngineError> {
    let place = format!("[[region]] {}", region.id);
    if vault.project_id() != project {
        let what = format!(
            "the vault {} belongs to project {}, not to {project}; projects never share a vault",
            vault.place(),
            vault.project_id()
        );
        return Err(EngineError::Config { place, what });
    }
    let expected = region.encryption == RegionEncryption::Age1;
    if vault.is_encrypted() != expected {
        let what = if expected {
            "is not encrypted, but the configuration says it is: nothing is written into it in the open"
        } else {
            "is encrypted: say `encryption = \"age-1\"` here and give its keys under [keys]"
        };
        return Err(EngineError::Config { place, what: format!("the vault {} {what}", vault.place()) });
    }
    if *vault.region_id() != region.id {
        let what = format!("the vault {} was made for region {}", vault.place(), vault.region_id());
        return Err(EngineError::Config { place, what });
    }
    Ok(())
}

async fn make(
    folder: &Path,
    project: &ProjectId,
    region: &RegionId,
    shared: Option<(IdKey, Encryption)>,
    random: &dyn Random,
) -> Result<Vault, EngineError> {
    let options = options(project, region, shared, random)?;
    Vault::init_local(folder, options).await.map_err(EngineError::vault(region))
}

async fn stand_in(
    project: &ProjectId,
    region: &RegionId,
    key: Option<IdKey>,
    random: &dyn Random,
) -> Result<Vault, EngineError> {
    let options = options(project, region, key.map(|key| (key, Encryption::None)), random)?;
    Vault::init(Arc::new(InMemory::new()), options).await.map_err(EngineError::vault(region))
}

fn options(
    project: &ProjectId,
    region: &RegionId,
    shared: Option<(IdKey, Encryption)>,
    random: &dyn Random,
) -> Result<VaultOptions, EngineError> {
    let (id_key, encryption) = match shared {
        Some(shared) => shared,
        None => (IdKey::new(draw(random)?), Encryption::None),
    };
    let vault_id = VaultId::from_random(draw(random)?);
    Ok(VaultOptions { project_id: project.clone(), region_id: region.clone(), vault_id, id_key, encryption })
}

/// A local vault that is there, or that can be planned with before its folder is made: a plan that fails, and a dry
/// run, then leave nothing behind.
#[derive(Debug)]
pub struct PreparedVault {
    vault: Vault,
    /// Set when the vault is not there yet: where it will be, and as what.
    missing: Option<(PathBuf, VaultOptions)>,
}

impl PreparedVault {
    /// Opens the vault in a folder, or prepares one for `project` in the region `local`.
    ///
    /// # Errors
    /// [`EngineError::Vault`], also for a folder of another program.
    pub async fn prepare(
        folder: &Path,
        project: &ProjectId,
        keys: &Keys,
        random: &dyn Random,
    ) -> Result<Self, EngineError> {
        let region = local_region();
        match Vault::open_local(folder, keys).await {
            Ok(vault) => Ok(Self { vault, missing: None }),
            Err(error) if is_absent(&error) && !keys.is_none() => {
                let folder = folder.display();
                let what = format!(
                    "keys were given, and there is no vault at {folder}: make an encrypted one with `longshore init \
                     --vault {folder} --encrypt`, or leave the keys out"
                );
                Err(EngineError::BadRequest { what })
            }
            Err(error) if is_absent(&error) => {
                let options = options(project, &region, None, random)?;
                let stand_in = Vault::init(Arc::new(InMemory::new()), options.clone()).await;
                let vault = stand_in.map_err(EngineError::vault(&region))?;
                Ok(Self { vault, missing: Some((folder.to_owned(), options)) })
            }
            Err(error) => Err(EngineError::vault(&region)(error)),
        }
    }

    /// The vault, or an empty one in memory that has its id and key already.
    #[must_use]
    pub fn vault(&self) -> &Vault {
        &self.vault
    }

    /// The vault itself, made now if it is not there.
    ///
    /// # Errors
    /// [`EngineError::Vault`].
    pub async fn make(self) -> Result<Vault, EngineError> {
        match self.missing {
            None => Ok(self.vault),
            Some((folder, options)) => {
                let region = options.region_id.clone();
                Vault::init_local(&folder, options).await.map_err(EngineError::vault(&region))
            }
        }
    }
}
