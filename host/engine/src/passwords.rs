//! Passwords of users of new clusters: shown once, kept nowhere.
//!
//! A password is derived from a secret of the host, the id of the cluster and the name of the user, so that the job that
//! makes the cluster, later or after a restart, comes to the same one, and neither the catalog nor its snapshots hold
//! it. The secret is a private file of the data directory, made when it is needed first.

use std::path::Path;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use longshore_model::ClusterId;
use longshore_source::milvus::Secret;
use zeroize::Zeroizing;

use crate::keys::{read_private, write_key_file};
use crate::random::draw;
use crate::{EngineError, Random};

/// Name of the administrator of a new cluster.
pub(crate) const ADMINISTRATOR: &str = "db_admin";
/// Name of the secret's file.
const FILE: &str = "restore.key";
const CONTEXT: &str = "longshore 2026 user of a restored cluster";
const LETTERS: &[u8] = b"abcdefghijkmnopqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ23456789";
/// Letters and digits of a password, about 92 bits; with its end it has 20, because Milvus takes no longer ones (2.3).
const LENGTH: usize = 16;

/// The passwords of users of new clusters.
#[derive(Clone)]
pub(crate) struct Passwords {
    secret: Arc<Zeroizing<Vec<u8>>>,
}

impl Passwords {
    /// Reads the secret of a host, or makes it. Blocks.
    ///
    /// # Errors
    /// [`EngineError::File`], [`EngineError::NoRandomness`].
    pub(crate) fn of_host(data_directory: &Path, random: &dyn Random) -> Result<Self, EngineError> {
        Ok(Self { secret: Arc::new(secret(&data_directory.join(FILE), random)?) })
    }

    /// The password of a user of a new cluster.
    pub(crate) fn of_user(&self, cluster: &ClusterId, user: &str) -> Secret {
        derive(&self.secret, cluster, user)
    }
}

fn secret(path: &Path, random: &dyn Random) -> Result<Zeroizing<Vec<u8>>, EngineError> {
    if !path.exists() {
        let new: Zeroizing<[u8; 32]> = Zeroizing::new(draw(random)?);
        let text = Zeroizing::new(STANDARD.encode(*new));
        match write_key_file(path, "passwords of restored clusters are derived from this", &text) {
            // Somebody else was faster; theirs counts.
            Err(_) if path.exists() => {}
            written => written?,
        }
    }
    let text = read_private(path)?;
    let line = text.lines().find(|line| !line.starts_with('#')).unwrap_or_default();
    let bytes = STANDARD.decode(line.trim()).ok().filter(|bytes| bytes.len() == 32).map(Zeroizing::new);
    bytes.ok_or_else(|| EngineError::file(path, "holds no secret; restore it, or remove it to have a new one made"))
}

/// Letters of an alphabet without those that look alike, and one of every kind that servers ask for at the end.
fn derive(secret: &[u8], cluster: &ClusterId, user: &str) -> Secret {
    let mut hasher = blake3::Hasher::new_derive_key(CONTEXT);
    // No id of a cluster has a zero byte in it, so no two pairs are the same bytes.
    hasher.update(secret).update(cluster.as_str().as_bytes()).update(&[0]).update(user.as_bytes());
    let mut stream = hasher.finalize_xof();
    let mut password = Zeroizing::new(String::with_capacity(LENGTH + 4));
    let mut byte = [0_u8; 1];
    while password.len() < LENGTH {
        stream.fill(&mut byte);
        // A byte that would favour the first letters is drawn again.
        let [drawn] = byte;
        let limit = 256 / LETTERS.len() * LETTERS.len();
        if usize::from(drawn) < limit
            && let Some(letter) = LETTERS.get(usize::from(drawn) % LETTERS.len())
        {
            password.push(char::from(*letter));
        }
    }
    password.push_str("-aA2");
    Secret::new(std::mem::take(&mut *password))
}

#[cfg(all(test, unix))]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::SystemRandom;

    #[test]
    fn a_user_of_a_cluster_has_one_password_and_each_another() {
        let (folder, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (one, two) = ("in01-aa".parse().unwrap(), "in01-ab".parse().unwrap());
        let of = |folder: &tempfile::TempDir, cluster, user| {
            Passwords::of_host(folder.path(), &SystemRandom).unwrap().of_user(cluster, user)
        };
        let first = of(&folder, &one, "ann");
        assert_eq!(of(&folder, &one, "ann"), first, "the job comes to the same one");
        assert_eq!(first.expose().len(), 20);
        for another in [of(&folder, &two, "ann"), of(&folder, &one, "ben"), of(&other, &one, "ann")] {
            assert_ne!(another, first);
        }
        std::fs::write(folder.path().join(FILE), "# x\nshort\n").unwrap();
        assert!(Passwords::of_host(folder.path(), &SystemRandom).is_err());
    }
}
