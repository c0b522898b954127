//! Data keys of sessions: made by a job, wrapped to all recipients, durable before anything is encrypted with them.

use std::collections::BTreeSet;

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use longshore_model::Digest;
use object_store::path::Path;

use super::keys::SessionKey;
use super::recipients::{NamedRecipient, unwrap, wrap};
use crate::layout;
use crate::pack::{PackEncryption, PackHeader};
use crate::{Pin, SessionId, Vault, VaultError, digest_of};

/// A session's data key, wrapped: what vaults of a project hand each other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct WrappedSession {
    /// Which session.
    pub(crate) id: SessionId,
    /// The age files that hold its key; more than one after recipients were added.
    pub(crate) files: Vec<Bytes>,
}

impl Vault {
    /// Makes a data key and stores it wrapped. When this returns, every recipient can unwrap it.
    pub(crate) async fn new_session(&self) -> Result<SessionKey, VaultError> {
        let key = SessionKey::generate()?;
        let mut list = self.recipients().await?;
        loop {
            let path_and_bytes = wrapped(&key, &list.recipients)?;
            self.put_wrapped(path_and_bytes).await?;
            // Somebody who adds a recipient writes the list first and then wraps all sessions it finds. Either it found
            // this one, or the new list is found here.
            let now = self.recipients().await?;
            if now.generation == list.generation {
                return Ok(key);
            }
            list = now;
        }
    }

    async fn put_wrapped(&self, (path, bytes): (Path, Bytes)) -> Result<(), VaultError> {
        self.objects().put_content(&path, vec![bytes]).await
    }

    /// The data key of a session.
    ///
    /// # Errors
    /// [`VaultError::Locked`] without a reader key, [`VaultError::SessionKey`], failures of the store.
    pub(crate) async fn session_key(&self, id: &SessionId) -> Result<SessionKey, VaultError> {
        if let Some(key) = self.keyring().session(id) {
            return Ok(key);
        }
        let reader = self.keyring().reader().ok_or(VaultError::Locked)?;
        let wrapped = self.wrapped_session(id).await?;
        let lost = wrapped.files.is_empty();
        let failed = |reason: &str| {
            let (reason, place) = (reason.to_owned(), self.place());
            VaultError::SessionKey { session: *id, reason, lost, place }
        };
        let opened = wrapped.files.iter().filter_map(|file| unwrap(file, reader));
        // The id follows from the key, so nobody can put another key in its place.
        let key = opened.filter_map(|plain| SessionKey::from_plain(&plain)).find(|key| key.id() == *id);
        let key = key.ok_or_else(|| match lost {
            true => failed("is missing"),
            false => failed("is not encrypted to the reader key that was given"),
        })?;
        self.keyring().remember(*id, key.clone());
        Ok(key)
    }

    /// The wrapped data key of a session as this vault holds it; no files when it does not.
    pub(crate) async fn wrapped_session(&self, id: &SessionId) -> Result<WrappedSession, VaultError> {
        let folder = format!("{}/{id}", layout::SESSIONS);
        let mut listed = self.objects().list(Some(&folder)).await?;
        listed.sort_by(|one, other| one.location.cmp(&other.location));
        let mut files = Vec::new();
        for meta in listed {
            let Some((_, digest)) = layout::parse_session_path(meta.location.as_ref()) else { continue };
            files.extend(self.wrapped_file(&meta.location, &digest).await?);
        }
        Ok(WrappedSession { id: *id, files })
    }

    /// One wrapped data key; `None` when it is gone or damaged.
    async fn wrapped_file(&self, path: &Path, digest: &Digest) -> Result<Option<Bytes>, VaultError> {
        let bytes = match self.objects().get(path, self.limits().key_object_bytes).await {
            Err(error) if error.is_unreadable_object() => {
                tracing::warn!(object = %path, %error, "left out: it cannot be read");
                return Ok(None);
            }
            bytes => bytes?.filter(|bytes| digest_of(bytes) == *digest),
        };
        if bytes.is_none() {
            tracing::warn!(object = %path, "left out: it is damaged");
        }
        Ok(bytes)
    }

    /// Fails when a session's wrapped key is not here: what is encrypted in it must not be written without.
    pub(crate) async fn require_session(&self, id: &SessionId) -> Result<(), VaultError> {
        if !self.wrapped_session(id).await?.files.is_empty() {
            return Ok(());
        }
        let (reason, place) = ("is missing".to_owned(), self.place());
        Err(VaultError::SessionKey { session: *id, reason, lost: true, place })
    }

    /// Stores a wrapped data key that another vault of the project holds.
    pub(crate) async fn put_wrapped_session(&self, session: &WrappedSession) -> Result<(), VaultError> {
        for file in &session.files {
            let path = layout::session_path(&session.id, &digest_of(file));
            self.objects().put_content(&path, vec![file.clone()]).await?;
        }
        Ok(())
    }

    /// Copies the wrapped data keys of all sessions of another vault of the project that this one does not hold. Needs no
    /// key. Must be done before packs or manifests are copied: what is encrypted in a session is lost without its key.
    /// Gives the number of objects copied; nothing is done between vaults that are not encrypted.
    ///
    /// # Errors
    /// Failures of either store.
    pub async fn copy_session_objects(&self, from: &Self) -> Result<u64, VaultError> {
        if !from.is_encrypted() || !self.is_encrypted() {
            return Ok(0);
        }
        let here: BTreeSet<Path> =
            self.objects().list(Some(layout::SESSIONS)).await?.into_iter().map(|meta| meta.location).collect();
        let there = from.objects().list(Some(layout::SESSIONS)).await?;
        let missing = there.into_iter().map(|meta| meta.location).filter(|path| !here.contains(path));
        let copied = stream::iter(missing)
            .map(|path| async move {
                let Some((_, digest)) = layout::parse_session_path(path.as_ref()) else { return Ok(0) };
                let Some(bytes) = from.wrapped_file(&path, &digest).await? else { return Ok(0) };
                self.objects().put_content(&path, vec![bytes]).await?;
                Ok::<u64, VaultError>(1)
            })
            .buffer_unordered(self.limits().requests_in_flight.max(1))
            .try_collect::<Vec<u64>>()
            .await?;
        Ok(copied.into_iter().sum())
    }

    /// Makes sure that a whole pack of another vault can be read here as it can be there: its session's wrapped key is
    /// copied first. False when it cannot: it is encrypted and this vault is not or the other way round, or the other
    /// vault has lost that key.
    ///
    /// # Errors
    /// Failures of either store.
    pub(crate) async fn take_session_of(&self, pack: &[u8], from: &Self) -> Result<bool, VaultError> {
        let Ok(header) = PackHeader::read(pack) else { return Ok(false) };
        match header.encryption {
            None => Ok(!self.is_encrypted()),
            Some(_) if !self.is_encrypted() => Ok(false),
            Some(PackEncryption { session, .. }) => {
                if !self.wrapped_session(&session).await?.files.is_empty() {
                    return Ok(true);
                }
                let there = from.wrapped_session(&session).await?;
                self.put_wrapped_session(&there).await?;
                Ok(!there.files.is_empty())
            }
        }
    }

    /// Wraps the keys of all sessions to these recipients: how many, and those whose keys cannot be had. The old objects
    /// stay: they take nothing from anybody.
    pub(super) async fn rewrap_sessions(
        &self,
        recipients: &[NamedRecipient],
    ) -> Result<(u64, Vec<SessionId>), VaultError> {
        let listed = self.objects().list(Some(layout::SESSIONS)).await?;
        let sessions: BTreeSet<SessionId> = listed
            .iter()
            .filter_map(|meta| layout::parse_session_path(meta.location.as_ref()).map(|(session, _)| session))
            .collect();
        let mut unreadable = Vec::new();
        let mut done = 0;
        let mut rewraps = stream::iter(sessions)
            .map(|session| async move { (session, self.rewrap(&session, recipients).await) })
            .buffer_unordered(self.limits().requests_in_flight.max(1));
        while let Some((session, result)) = rewraps.next().await {
            match result {
                Ok(()) => done += 1,
                // One lost key must not keep a new recipient from all the others.
                Err(VaultError::SessionKey { .. }) => unreadable.push(session),
                Err(error) => return Err(error),
            }
        }
        unreadable.sort();
        Ok((done, unreadable))
    }

    async fn rewrap(&self, session: &SessionId, recipients: &[NamedRecipient]) -> Result<(), VaultError> {
        let key = self.session_key(session).await?;
        self.put_wrapped(wrapped(&key, recipients)?).await
    }

    /// The data key of the job that holds this pin, made when it is first needed; `None` in a vault that is not
    /// encrypted. It is forgotten with the pin.
    pub(crate) async fn job_session<'a>(&self, pin: &'a Pin) -> Result<Option<&'a SessionKey>, VaultError> {
        if !self.is_encrypted() {
            return Ok(None);
        }
        pin.data_key().get_or_try_init(|| self.new_session()).await.map(Some)
    }
}

/// The object that holds a data key for these recipients.
fn wrapped(key: &SessionKey, recipients: &[NamedRecipient]) -> Result<(Path, Bytes), VaultError> {
    let bytes = Bytes::from(wrap(key.secret(), recipients)?);
    Ok((layout::session_path(&key.id(), &digest_of(&bytes)), bytes))
}
