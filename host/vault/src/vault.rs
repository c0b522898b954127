//! Creating and opening a vault.

use std::path::Path as FilePath;
use std::sync::Arc;

use bytes::Bytes;
use longshore_model::{ProjectId, RegionId, VaultId};
use object_store::ObjectStore;
use object_store::path::Path;

use crate::header::Header;
use crate::layout::{self, HEADER_KEY};
use crate::objects::Objects;
use crate::{IdKey, Limits, Throttle, VaultError, create_local_store, local_store};

/// What a new vault is made with.
#[derive(Debug, Clone)]
pub struct VaultOptions {
    /// The project it belongs to. Projects never share a vault.
    pub project_id: ProjectId,
    /// The region it is in.
    pub region_id: RegionId,
    /// Its id, from random bytes.
    pub vault_id: VaultId,
    /// The project's key for blob ids. All vaults of a project must have the same one.
    pub id_key: IdKey,
}

impl VaultOptions {
    /// Options with a random id and, unless the project has a vault already and its key is given, a random key.
    ///
    /// # Errors
    /// [`VaultError::NoRandomness`].
    pub fn random(project_id: ProjectId, region_id: RegionId, id_key: Option<IdKey>) -> Result<Self, VaultError> {
        let fail = |error: getrandom::Error| VaultError::NoRandomness { reason: error.to_string() };
        let (mut vault, mut key) = ([0; 10], [0; 32]);
        getrandom::fill(&mut vault).map_err(fail)?;
        getrandom::fill(&mut key).map_err(fail)?;
        let id_key = id_key.unwrap_or_else(|| IdKey::new(key));
        Ok(Self { project_id, region_id, vault_id: VaultId::from_random(vault), id_key })
    }
}

/// An open vault. Cheap to clone; all clones are the same vault.
#[derive(Debug, Clone)]
pub struct Vault {
    objects: Objects,
    header: Arc<Header>,
}

impl Vault {
    /// Makes a vault of an empty store (a folder, or a bucket's prefix).
    ///
    /// # Errors
    /// [`VaultError::AlreadyAVault`] and [`VaultError::Foreign`] when something is there already: a vault never shares
    /// its place with another program. [`VaultError::Store`] and [`VaultError::StorageFull`] from the store.
    pub async fn init(store: Arc<dyn ObjectStore>, options: VaultOptions) -> Result<Self, VaultError> {
        let objects = Objects::new(store, Limits::DEFAULT);
        let place = objects.place();
        match read_header(&objects).await {
            Ok(header) => return Err(VaultError::AlreadyAVault { place, vault_id: header.vault_id }),
            Err(VaultError::Empty { .. }) => {}
            Err(error) => return Err(error),
        }
        let VaultOptions { project_id, region_id, vault_id, id_key } = options;
        let header = Header { vault_id, project_id, region_id, id_key };
        let bytes = Bytes::from(header.to_bytes()?);
        // Two that make a vault of the same place at once: the second finds the first one's header.
        if let Err(error) = objects.create(&Path::from(HEADER_KEY), bytes).await {
            return match read_header(&objects).await {
                Ok(found) if found.vault_id == header.vault_id => Ok(Self { objects, header: Arc::new(found) }),
                Ok(found) => Err(VaultError::AlreadyAVault { place, vault_id: found.vault_id }),
                Err(_) => Err(VaultError::store("write", HEADER_KEY, error)),
            };
        }
        Ok(Self { objects, header: Arc::new(header) })
    }

    /// Opens a vault.
    ///
    /// # Errors
    /// [`VaultError::Empty`], [`VaultError::Foreign`], [`VaultError::NewerFormat`], [`VaultError::Unsupported`],
    /// [`VaultError::DamagedHeader`], and failures of the store.
    pub async fn open(store: Arc<dyn ObjectStore>) -> Result<Self, VaultError> {
        let objects = Objects::new(store, Limits::DEFAULT);
        let header = read_header(&objects).await?;
        Ok(Self { objects, header: Arc::new(header) })
    }

    /// Makes a vault of a local folder, which is created if only it is missing.
    ///
    /// # Errors
    /// As [`Vault::init`], and [`VaultError::Folder`].
    pub async fn init_local(folder: &FilePath, options: VaultOptions) -> Result<Self, VaultError> {
        Self::init(create_local_store(folder)?, options).await
    }

    /// Opens the vault in a local folder.
    ///
    /// # Errors
    /// As [`Vault::open`], and [`VaultError::Folder`].
    pub async fn open_local(folder: &FilePath) -> Result<Self, VaultError> {
        Self::open(local_store(folder)?).await
    }

    /// The same vault under other limits.
    #[must_use]
    pub fn with_limits(mut self, limits: Limits) -> Self {
        self.objects = self.objects.with_limits(limits);
        self
    }

    /// The same vault with its traffic and CPU work counted against limits that jobs share.
    #[must_use]
    pub fn with_throttle(mut self, throttle: Throttle) -> Self {
        self.objects = self.objects.with_throttle(throttle);
        self
    }

    /// What its traffic and CPU work are counted against.
    #[must_use]
    pub fn throttle(&self) -> &Throttle {
        self.objects.throttle()
    }

    /// Its id.
    #[must_use]
    pub fn id(&self) -> &VaultId {
        &self.header.vault_id
    }

    /// The project it belongs to.
    #[must_use]
    pub fn project_id(&self) -> &ProjectId {
        &self.header.project_id
    }

    /// The region it is in.
    #[must_use]
    pub fn region_id(&self) -> &RegionId {
        &self.header.region_id
    }

    /// The project's key for blob ids; further vaults of the project are made with it.
    #[must_use]
    pub fn id_key(&self) -> &IdKey {
        &self.header.id_key
    }

    /// Where it is, for people: a path or an address.
    #[must_use]
    pub fn place(&self) -> String {
        self.objects.place()
    }

    /// The limits it is used with.
    #[must_use]
    pub fn limits(&self) -> &Limits {
        self.objects.limits()
    }

    /// Answers when the vault is there and is still the one that was opened: a folder whose disk was unmounted is not.
    ///
    /// # Errors
    /// As [`Vault::open`]; [`VaultError::AlreadyAVault`] when another vault took its place.
    pub async fn check(&self) -> Result<(), VaultError> {
        let found = read_header(&self.objects).await?;
        if found.vault_id == self.header.vault_id {
            return Ok(());
        }
        Err(VaultError::AlreadyAVault { place: self.place(), vault_id: found.vault_id })
    }

    /// Bytes of all packs: what the vault takes, but for a few small objects.
    ///
    /// # Errors
    /// [`VaultError::Store`] when listing fails.
    pub async fn used_bytes(&self) -> Result<u64, VaultError> {
        let packs = self.objects.list(Some(layout::PACKS)).await?;
        let ours = packs.iter().filter(|meta| layout::parse_pack_path(meta.location.as_ref()).is_some());
        Ok(ours.map(|meta| meta.size).sum())
    }

    pub(crate) fn objects(&self) -> &Objects {
        &self.objects
    }
}

/// Reads the header, or says what is there instead.
async fn read_header(objects: &Objects) -> Result<Header, VaultError> {
    let place = objects.place();
    match objects.get(&Path::from(HEADER_KEY), objects.limits().header_bytes).await {
        Ok(Some(bytes)) => Header::parse(&place, &bytes),
        Ok(None) => Err(describe_place(objects, place).await?),
        Err(VaultError::TooLarge { size_bytes, .. }) => {
            Err(VaultError::DamagedHeader { place, reason: format!("it has {size_bytes} bytes") })
        }
        Err(error) => Err(error),
    }
}

/// What a place without a header is. Only its first level is listed: it may be somebody's home folder.
async fn describe_place(objects: &Objects, place: String) -> Result<VaultError, VaultError> {
    let listed = objects.store().list_with_delimiter(None).await;
    let listed = listed.map_err(|error| VaultError::store("list", "/", error))?;
    let folders = listed.common_prefixes.iter().map(|folder| format!("`{}/`", folder.as_ref().escape_debug()));
    let files = listed.objects.iter().map(|meta| format!("`{}`", meta.location.as_ref().escape_debug()));
    // A fresh ext4 file system has this folder; it is nobody's.
    let mut names: Vec<String> = folders.chain(files).filter(|name| name != "`lost+found/`").collect();
    if names.is_empty() {
        return Ok(VaultError::Empty { place });
    }
    names.sort();
    let more = names.len().saturating_sub(5);
    names.truncate(5);
    let mut found = names.join(", ");
    if more > 0 {
        found = format!("{found} and {more} more");
    }
    Ok(VaultError::Foreign { place, found })
}
