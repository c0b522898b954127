//! Encryption of a vault: who holds which key, and how bytes are sealed and opened (FORMAT.md, "Encryption").
//!
//! Contract: in an encrypted vault no name, schema, decision or byte of a collection is stored in the open; whoever holds
//! the writer key can add backups and recognise what is there, but read nothing; whoever holds a reader key can read.
//! Every sealed object is authenticated, so that a changed byte is an error and never other content.
//!
//! Secrets (id keys, identities, data keys, and subkeys while they are derived) are wiped when they are dropped and have
//! no `Debug` that shows them. Random keys and salts are drawn from the operating system here and nowhere else: a caller
//! that could pass them in could also pass in the same ones twice, which would break the encryption.
//!
//! Failure: [`VaultError`](crate::VaultError); no error repeats a key or any part of one.

mod cipher;
mod keyring;
mod keys;
mod recipients;
mod sessions;

pub use cipher::LockedBody;
pub(crate) use cipher::{BlobCipher, SealWork, TAG_BYTES, open_whole, seal_whole};
pub(crate) use keyring::Keyring;
pub use keys::{Keys, ReaderKey, Recipient, WriterKey};
pub(crate) use keys::{SessionKey, random_bytes};
pub use recipients::{Encryption, NamedRecipient, RecipientChange, RecipientList};
pub(crate) use recipients::{append_code, has_good_code, write_recipients};
pub(crate) use sessions::WrappedSession;
