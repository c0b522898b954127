//! Who may read: lists of recipients, each replacing the one before (FORMAT.md, "Recipients").
//!
//! A list is authenticated with the id key, so that somebody who can only write to the store cannot add himself: what he
//! puts there has no good code and is ignored. A host with a reader key alone gets the id key out of a list, and checks it
//! against the header.

use std::fmt;

use age::Encryptor;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use longshore_model::{Digest, Timestamp};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::keys::{ReaderKey, Recipient};
use crate::layout::{self, FORMAT_VERSION};
use crate::objects::Objects;
use crate::{IdKey, Limits, SessionId, Vault, VaultError, digest_of};

/// Whether a new vault is encrypted.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Encryption {
    /// Whoever can read its store can read everything in it.
    #[default]
    None,
    /// Encrypted to these recipients.
    Age1 {
        /// At least one.
        recipients: Vec<NamedRecipient>,
    },
}

/// A recipient and what people call it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedRecipient {
    /// The name, for example `recovery key`.
    pub name: String,
    /// The public key.
    pub recipient: Recipient,
    /// When it was added.
    pub added: Timestamp,
}

/// The recipients that count.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecipientList {
    /// Grows by one with every change.
    pub generation: u64,
    /// In the order in which they were added.
    pub recipients: Vec<NamedRecipient>,
}

/// What a change of the recipients did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecipientChange {
    /// The list after it.
    pub list: RecipientList,
    /// Sessions whose keys were wrapped again.
    pub rewrapped_sessions: u64,
    /// Sessions whose keys are lost, damaged, or not encrypted to the reader key that was given: a new recipient cannot
    /// read them.
    pub unreadable_sessions: Vec<SessionId>,
}

/// The object, but for its authentication code.
#[derive(Serialize, Deserialize)]
struct RecipientsFile {
    format: u32,
    kind: String,
    generation: u64,
    recipients: Vec<RecipientEntry>,
    /// The 32 bytes of the id key, encrypted by age to all recipients; base64.
    wrapped_id_key: String,
}

#[derive(Serialize, Deserialize)]
struct RecipientEntry {
    name: String,
    recipient: String,
    added: Timestamp,
}

const KIND: &str = "recipients";
/// What stands before and after the code at the end of an authenticated JSON object.
pub(crate) const CODE_START: &str = ",\"code\":\"";
const CODE_END: &str = "\"}";
/// Bytes of an authentication code with what surrounds it.
const CODE_BYTES: usize = CODE_START.len() + 64 + CODE_END.len();

/// Appends the authentication code to the JSON of an object: it is over all bytes before it.
pub(crate) fn append_code(json: &mut Vec<u8>, code: impl FnOnce(&[u8]) -> Digest) {
    // The closing brace of the object moves behind the code.
    json.pop();
    let code = code(json);
    json.extend_from_slice(format!("{CODE_START}{code}{CODE_END}").as_bytes());
}

/// True when the code at the end of an object is that of the bytes before it.
pub(crate) fn has_good_code(bytes: &[u8], code: impl FnOnce(&[u8]) -> Digest) -> bool {
    let Some((body, end)) = bytes.len().checked_sub(CODE_BYTES).and_then(|start| bytes.split_at_checked(start)) else {
        return false;
    };
    // Compared as BLAKE3 hashes, which is done in constant time.
    let expected = format!("{CODE_START}{}{CODE_END}", code(body));
    blake3::hash(expected.as_bytes()) == blake3::hash(end)
}

/// Encrypts a secret to all recipients.
pub(super) fn wrap(secret: &[u8; 32], recipients: &[NamedRecipient]) -> Result<Vec<u8>, VaultError> {
    use std::io::Write;
    let failed = |_| VaultError::Cipher { what: "encrypt a key to its recipients" };
    let list = recipients.iter().map(|one| one.recipient.as_age() as &dyn age::Recipient);
    let encryptor = Encryptor::with_recipients(list).map_err(|_| failed(std::io::ErrorKind::Other.into()))?;
    let mut wrapped = Vec::new();
    let mut writer = encryptor.wrap_output(&mut wrapped).map_err(failed)?;
    writer.write_all(secret).map_err(failed)?;
    writer.finish().map_err(failed)?;
    Ok(wrapped)
}

/// Decrypts a secret; `None` when it was not encrypted to this key or was changed.
pub(super) fn unwrap(wrapped: &[u8], reader: &ReaderKey) -> Option<Zeroizing<Vec<u8>>> {
    age::decrypt(reader.identity(), wrapped).ok().map(Zeroizing::new)
}

/// Writes a list of recipients.
///
/// # Errors
/// [`VaultError::BadKey`] for a list that nobody can use, failures of the store.
pub(crate) async fn write_recipients(
    objects: &Objects,
    id_key: &IdKey,
    generation: u64,
    recipients: &[NamedRecipient],
) -> Result<(), VaultError> {
    check_list(recipients, objects.limits())?;
    let entries = recipients.iter().map(|NamedRecipient { name, recipient, added }| RecipientEntry {
        name: name.clone(),
        recipient: recipient.to_string(),
        added: *added,
    });
    let file = RecipientsFile {
        format: FORMAT_VERSION,
        kind: KIND.to_owned(),
        generation,
        recipients: entries.collect(),
        wrapped_id_key: STANDARD.encode(wrap(id_key.secret(), recipients)?),
    };
    let bad = |error: serde_json::Error| VaultError::BadManifest { object: KIND.to_owned(), reason: error.to_string() };
    let mut json = serde_json::to_vec(&file).map_err(bad)?;
    append_code(&mut json, |bytes| id_key.recipients_code(bytes));
    let path = layout::recipients_path(generation, &digest_of(&json));
    objects.put_content(&path, vec![Bytes::from(json)]).await
}

fn check_list(recipients: &[NamedRecipient], limits: &Limits) -> Result<(), VaultError> {
    let bad = |reason| Err(VaultError::BadKey { kind: "list of recipients", reason });
    if recipients.is_empty() {
        return bad("at least one recipient is needed, or nobody could ever read the vault");
    }
    let (count, limit) = (recipients.len() as u64, limits.recipients as u64);
    if count > limit {
        return Err(VaultError::TooMany { what: "recipients of this vault", count, limit });
    }
    if let Some(long) = recipients.iter().find(|one| one.name.len() > limits.recipient_name_bytes) {
        let (size_bytes, limit_bytes) = (long.name.len() as u64, limits.recipient_name_bytes as u64);
        return Err(VaultError::TooLarge { what: "the name of a recipient".to_owned(), size_bytes, limit_bytes });
    }
    if recipients.iter().any(|one| one.name.is_empty() || one.name.chars().any(char::is_control)) {
        return bad("a recipient's name must not be empty and has no control characters");
    }
    let twice = |place: usize, one: &NamedRecipient| {
        recipients.iter().skip(place + 1).any(|other| other.name == one.name || other.recipient == one.recipient)
    };
    if recipients.iter().enumerate().any(|(place, one)| twice(place, one)) {
        return bad("a recipient or a name stands in it twice");
    }
    Ok(())
}

/// A list as it was read: parsed, but authenticated only by [`Found::is_good`].
pub(super) struct Found {
    bytes: Bytes,
    wrapped_id_key: Vec<u8>,
    pub(super) list: RecipientList,
}

impl fmt::Debug for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Found").field("list", &self.list).finish_non_exhaustive()
    }
}

impl Found {
    /// Whether it was made by a holder of the id key.
    pub(super) fn is_good(&self, id_key: &IdKey) -> bool {
        has_good_code(&self.bytes, |bytes| id_key.recipients_code(bytes))
    }

    /// The id key, if it was encrypted to this reader.
    pub(super) fn unwrap_id_key(&self, reader: &ReaderKey) -> Option<IdKey> {
        let plain = unwrap(&self.wrapped_id_key, reader)?;
        <[u8; 32]>::try_from(plain.as_slice()).ok().map(IdKey::new)
    }
}

/// Reads all lists, the highest generation first. What is not a list is left out.
pub(super) async fn read_lists(objects: &Objects) -> Result<Vec<Found>, VaultError> {
    let limits = objects.limits();
    let listed = objects.list(Some(layout::RECIPIENTS)).await?;
    let mut keys: Vec<_> = listed
        .into_iter()
        .filter_map(|meta| layout::parse_recipients_path(meta.location.as_ref()).map(|key| (key, meta.location)))
        .collect();
    keys.sort_by_key(|(key, _)| std::cmp::Reverse(*key));
    let found: Vec<Option<Found>> = stream::iter(keys)
        .map(|((generation, digest), location)| async move {
            let bytes = match objects.get(&location, limits.key_object_bytes).await {
                Err(error) if error.is_unreadable_object() => {
                    tracing::warn!(object = %location, %error, "left out: it cannot be read");
                    return Ok(None);
                }
                bytes => bytes?,
            };
            let found = bytes.filter(|bytes| digest_of(bytes) == digest).and_then(|bytes| parse(bytes, generation));
            if found.is_none() {
                tracing::warn!(object = %location, "left out: it is not a list of recipients");
            }
            Ok::<_, VaultError>(found)
        })
        .buffered(limits.requests_in_flight.max(1))
        .try_collect()
        .await?;
    Ok(found.into_iter().flatten().collect())
}

fn parse(bytes: Bytes, generation: u64) -> Option<Found> {
    let file: RecipientsFile = serde_json::from_slice(&bytes).ok()?;
    if file.format != FORMAT_VERSION || file.kind != KIND || file.generation != generation {
        return None;
    }
    let wrapped_id_key = STANDARD.decode(&file.wrapped_id_key).ok()?;
    let recipients = file.recipients.into_iter().map(|entry| {
        let recipient = entry.recipient.parse().ok()?;
        Some(NamedRecipient { name: entry.name, recipient, added: entry.added })
    });
    let list = RecipientList { generation, recipients: recipients.collect::<Option<_>>()? };
    Some(Found { bytes, wrapped_id_key, list })
}

impl Vault {
    /// The recipients that count: the highest generation that was made by a holder of the id key.
    ///
    /// # Errors
    /// [`VaultError::KeyNeeded`], [`VaultError::NoRecipients`], failures of the store.
    pub async fn recipients(&self) -> Result<RecipientList, VaultError> {
        let id_key = self.id_key()?;
        let lists = read_lists(self.objects()).await?;
        let good = lists.into_iter().find(|found| found.is_good(id_key));
        good.map(|found| found.list).ok_or_else(|| VaultError::NoRecipients { place: self.place() })
    }

    /// Writes a list as it counts in another vault of the project.
    pub(crate) async fn put_recipients(&self, list: &RecipientList) -> Result<(), VaultError> {
        write_recipients(self.objects(), self.id_key()?, list.generation, &list.recipients).await
    }

    /// Adds a recipient: a new list, then the keys of all sessions wrapped to everybody in it, so that the new recipient
    /// can read old backups, too. Repeating it after a failure is harmless.
    ///
    /// # Errors
    /// [`VaultError::Locked`] without a reader key; [`VaultError::BadKey`] when name or recipient is there already with
    /// another; otherwise as [`Vault::recipients`].
    pub async fn add_recipient(&self, new: NamedRecipient) -> Result<RecipientChange, VaultError> {
        if self.keyring().reader().is_none() {
            return Err(VaultError::Locked);
        }
        let mut list = self.recipients().await?;
        let same = |one: &NamedRecipient| one.name == new.name && one.recipient == new.recipient;
        if !list.recipients.iter().any(same) {
            list.recipients.push(new);
            list.generation = list.generation.saturating_add(1);
            write_recipients(self.objects(), self.id_key()?, list.generation, &list.recipients).await?;
        }
        let (rewrapped_sessions, unreadable_sessions) = self.rewrap_sessions(&list.recipients).await?;
        Ok(RecipientChange { list, rewrapped_sessions, unreadable_sessions })
    }

    /// Removes a recipient by its name or its key: what is encrypted from now on is not encrypted to it. It keeps what it
    /// could read before, because nobody can take back what it may have copied.
    ///
    /// # Errors
    /// [`VaultError::BadKey`] when there is no such recipient or it is the last one; otherwise as [`Vault::recipients`].
    pub async fn remove_recipient(&self, name_or_key: &str) -> Result<RecipientChange, VaultError> {
        let mut list = self.recipients().await?;
        let before = list.recipients.len();
        list.recipients.retain(|one| one.name != name_or_key && one.recipient.to_string() != name_or_key);
        if list.recipients.len() == before {
            let reason = "no recipient has this name or key; list them to see which there are";
            return Err(VaultError::BadKey { kind: "recipient of this vault", reason });
        }
        list.generation = list.generation.saturating_add(1);
        write_recipients(self.objects(), self.id_key()?, list.generation, &list.recipients).await?;
        Ok(RecipientChange { list, rewrapped_sessions: 0, unreadable_sessions: Vec::new() })
    }
}
