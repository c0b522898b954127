//! Creating and opening a vault.

use std::path::{Path as FilePath, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use longshore_model::{ProjectId, RegionId, Timestamp, VaultId};
use object_store::ObjectStore;
use object_store::path::Path;

use crate::crypto::write_recipients;
use crate::crypto::{Encryption, Keyring, Keys, random_bytes};
use crate::header::{Header, HeaderKey};
use crate::layout::{self, HEADER_KEY};
use crate::objects::Objects;
use crate::rehearsal::Rehearsal;
use crate::{IdKey, Limits, StoredByDay, Throttle, VaultError, create_local_store, local_store};

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
    /// Whether it is encrypted, and for whom. All vaults of a project are, or none is.
    pub encryption: Encryption,
}

impl VaultOptions {
    /// Options with a random id and, unless the project has a vault already and its key is given, a random key. Not
    /// encrypted.
    ///
    /// # Errors
    /// [`VaultError::NoRandomness`].
    pub fn random(project_id: ProjectId, region_id: RegionId, id_key: Option<IdKey>) -> Result<Self, VaultError> {
        let vault_id = VaultId::from_random(*random_bytes()?);
        let id_key = id_key.map_or_else(IdKey::generate, Ok)?;
        Ok(Self { project_id, region_id, vault_id, id_key, encryption: Encryption::None })
    }
}

/// An open vault. Cheap to clone; all clones are the same vault.
#[derive(Debug, Clone)]
pub struct Vault {
    objects: Objects,
    header: Arc<Header>,
    keyring: Arc<Keyring>,
    folder: Option<PathBuf>,
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
        let VaultOptions { project_id, region_id, vault_id, id_key, encryption } = options;
        let header_key = match &encryption {
            Encryption::None => HeaderKey::Plain(id_key.clone()),
            Encryption::Age1 { recipients } => {
                // Before the header, which is what makes the place a vault: an encrypted vault always has readers.
                write_recipients(&objects, &id_key, 1, recipients).await?;
                HeaderKey::Age1(id_key.check_value())
            }
        };
        let header = Header { vault_id, project_id, region_id, encryption: header_key };
        let keyring = Arc::new(Keyring::of(id_key));
        let bytes = Bytes::from(header.to_bytes()?);
        // Two that make a vault of the same place at once: the second finds the first one's header.
        if let Err(error) = objects.create(&Path::from(HEADER_KEY), bytes).await {
            return match read_header(&objects).await {
                Ok(found) if found.vault_id == header.vault_id => {
                    Ok(Self { objects, header: Arc::new(found), keyring, folder: None })
                }
                Ok(found) => Err(VaultError::AlreadyAVault { place, vault_id: found.vault_id }),
                Err(_) => Err(VaultError::store("write", HEADER_KEY, error)),
            };
        }
        Ok(Self { objects, header: Arc::new(header), keyring, folder: None })
    }

    /// Opens a vault with the keys of whoever opens it; one that is not encrypted without any.
    ///
    /// # Errors
    /// [`VaultError::Empty`], [`VaultError::Foreign`], [`VaultError::NewerFormat`], [`VaultError::Unsupported`],
    /// [`VaultError::LostHeader`], [`VaultError::DamagedHeader`], [`VaultError::WrongKey`], [`VaultError::NotEncrypted`] when keys were given for a
    /// vault that is not encrypted, and failures of the store.
    pub async fn open(store: Arc<dyn ObjectStore>, keys: &Keys) -> Result<Self, VaultError> {
        let objects = Objects::new(store, Limits::DEFAULT);
        let header = read_header(&objects).await?;
        let keyring = match &header.encryption {
            // Whoever brings keys believes the vault to be encrypted. Writing into it in the open would be a leak.
            HeaderKey::Plain(_) if !keys.is_none() => {
                return Err(VaultError::NotEncrypted { place: objects.place() });
            }
            HeaderKey::Plain(id_key) => Keyring::of(id_key.clone()),
            HeaderKey::Age1(check) => Keyring::open(&objects, keys, check).await?,
        };
        Ok(Self { objects, header: Arc::new(header), keyring: Arc::new(keyring), folder: None })
    }

    /// A vault with a header that does not stand in it yet.
    pub(crate) fn of(objects: Objects, header: Header, keyring: Keyring) -> Self {
        Self { objects, header: Arc::new(header), keyring: Arc::new(keyring), folder: None }
    }

    /// Makes a vault of a local folder, which is created if only it is missing.
    ///
    /// # Errors
    /// As [`Vault::init`], and [`VaultError::Folder`].
    pub async fn init_local(folder: &FilePath, options: VaultOptions) -> Result<Self, VaultError> {
        let vault = Self::init(create_local_store(folder)?, options).await?;
        Ok(Self { folder: Some(folder.to_owned()), ..vault })
    }

    /// Opens the vault in a local folder.
    ///
    /// # Errors
    /// As [`Vault::open`], and [`VaultError::Folder`].
    pub async fn open_local(folder: &FilePath, keys: &Keys) -> Result<Self, VaultError> {
        let vault = Self::open(local_store(folder)?, keys).await?;
        Ok(Self { folder: Some(folder.to_owned()), ..vault })
    }

    /// The folder it is in, when it was opened as one.
    #[must_use]
    pub fn folder(&self) -> Option<&FilePath> {
        self.folder.as_deref()
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

    /// The vault as it would be: what is written through this handle and its clones stays in memory and shows nowhere else.
    /// To say what a job would do; for small objects.
    #[must_use]
    pub fn rehearsal(&self) -> Self {
        let store = Rehearsal::over(Arc::clone(self.objects.store()));
        Self {
            objects: self.objects.with_store(Arc::new(store)),
            header: Arc::clone(&self.header),
            // What is unwrapped with a key that is here in memory only must not open anything elsewhere.
            keyring: Arc::new(self.keyring.without_sessions()),
            folder: None,
        }
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
    ///
    /// # Errors
    /// [`VaultError::KeyNeeded`] when the vault is encrypted and was opened without keys.
    pub fn id_key(&self) -> Result<&IdKey, VaultError> {
        self.keyring.id_key().ok_or_else(|| VaultError::KeyNeeded { place: self.place() })
    }

    /// True when what it holds is encrypted.
    #[must_use]
    pub fn is_encrypted(&self) -> bool {
        matches!(self.header.encryption, HeaderKey::Age1(_))
    }

    /// True when what it holds can be read: it is not encrypted, or was opened with a reader key.
    #[must_use]
    pub fn is_readable(&self) -> bool {
        !self.is_encrypted() || self.keyring.reader().is_some()
    }

    pub(crate) fn keyring(&self) -> &Keyring {
        &self.keyring
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
        Ok(self.stored_by_day().await?.total_bytes())
    }

    /// The same by the day on which the store says that they were written.
    ///
    /// # Errors
    /// As [`Vault::used_bytes`].
    pub async fn stored_by_day(&self) -> Result<StoredByDay, VaultError> {
        let packs = self.objects.list(Some(layout::PACKS)).await?;
        let mut stored = StoredByDay::default();
        for meta in packs.iter().filter(|meta| layout::parse_pack_path(meta.location.as_ref()).is_some()) {
            stored.add(Timestamp::from_millis(meta.last_modified.timestamp_millis()), meta.size);
        }
        Ok(stored)
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
        Err(error) if error.is_unreadable_medium() => {
            Err(VaultError::DamagedHeader { place, reason: error.to_string() })
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
    // A fresh ext4 file system has `lost+found`; it is nobody's.
    // `keys` is what is left where making an encrypted vault stopped before its header; it cannot be mistaken for
    // a list of the vault that is made there next, which is authenticated by another key.
    let ours = [format!("`{}/`", layout::KEYS), "`lost+found/`".to_owned()];
    let mut names: Vec<String> = folders.chain(files).filter(|name| !ours.contains(name)).collect();
    if names.is_empty() {
        return Ok(VaultError::Empty { place });
    }
    let holds = |folder: &str| names.iter().any(|name| name == &format!("`{folder}/`"));
    if holds(layout::PACKS) && ["parts", "roots", "receipts"].into_iter().any(holds) {
        return Ok(VaultError::LostHeader { place });
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
