//! What an open vault can do: the id key, the reader key, and the data keys that were unwrapped so far.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Mutex, PoisonError};

use longshore_model::Digest;

use super::keys::{Keys, ReaderKey, SessionKey};
use super::recipients::read_lists;
use crate::objects::Objects;
use crate::{IdKey, SessionId, VaultError};

/// The keys of one open vault.
pub(crate) struct Keyring {
    id_key: Option<IdKey>,
    reader: Option<ReaderKey>,
    /// Data keys that were unwrapped, so that each is asked for once.
    sessions: Mutex<HashMap<SessionId, SessionKey>>,
}

impl fmt::Debug for Keyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Keyring(..)")
    }
}

impl Keyring {
    /// The id key alone.
    pub(crate) fn of(id_key: IdKey) -> Self {
        Self { id_key: Some(id_key), reader: None, sessions: Mutex::default() }
    }

    /// The keys that somebody brings to an encrypted vault, checked against its header and lists of recipients.
    pub(crate) async fn open(objects: &Objects, keys: &Keys, check: &Digest) -> Result<Self, VaultError> {
        let wrong = |kind, needed: String| VaultError::WrongKey { kind, place: objects.place(), needed };
        let mut id_key = None;
        if let Some(writer) = keys.writer() {
            if writer.id_key().check_value() != *check {
                let needed = "give the writer key that was made with this vault or with another one of its project";
                return Err(wrong("writer key", needed.to_owned()));
            }
            id_key = Some(writer.id_key().clone());
        }
        if let Some(reader) = keys.reader() {
            // All generations: who was removed may still read what was encrypted before.
            let lists = read_lists(objects).await?;
            if lists.is_empty() {
                return Err(VaultError::NoRecipients { place: objects.place() });
            }
            let mut unwrapped = lists.iter().filter_map(|found| found.unwrap_id_key(reader).map(|key| (found, key)));
            let found = unwrapped.find(|(found, key)| key.check_value() == *check && found.is_good(key));
            match found {
                Some((_, key)) => id_key = Some(key),
                None => {
                    let names = lists.first().map(|found| &found.list.recipients).into_iter().flatten();
                    let names: Vec<String> = names.map(|one| format!("{} ({})", one.name, one.recipient)).collect();
                    let needed = format!(
                        "it belongs to {}; needed is that of one of: {}",
                        reader.to_recipient(),
                        names.join(", ")
                    );
                    return Err(wrong("reader key", needed));
                }
            }
        }
        Ok(Self { id_key, reader: keys.reader().cloned(), sessions: Mutex::default() })
    }

    /// The same keys without the data keys that were unwrapped so far.
    pub(crate) fn without_sessions(&self) -> Self {
        Self { id_key: self.id_key.clone(), reader: self.reader.clone(), sessions: Mutex::default() }
    }

    pub(crate) const fn id_key(&self) -> Option<&IdKey> {
        self.id_key.as_ref()
    }

    pub(crate) const fn reader(&self) -> Option<&ReaderKey> {
        self.reader.as_ref()
    }

    /// A data key that was unwrapped before.
    pub(super) fn session(&self, id: &SessionId) -> Option<SessionKey> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner).get(id).cloned()
    }

    pub(super) fn remember(&self, id: SessionId, key: SessionKey) {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner).insert(id, key);
    }
}
