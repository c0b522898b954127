//! Passwords of administrators of new clusters: shown once, kept nowhere.
//!
//! A password is derived from a secret of the host and the id of the cluster, so that the job that makes the cluster, later
//! or after a restart, comes to the same one, and neither the catalog nor its snapshots hold it. The secret is a private
//! file of the data directory, made when it is needed first.

use std::path::Path;

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
const CONTEXT: &str = "longshore 2026 administrator of a restored cluster";
const LETTERS: &[u8] = b"abcdefghijkmnopqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ23456789";
/// Letters and digits of a password, about 92 bits; with its end it has 20, because Milvus takes no longer ones (2.3).
const LENGTH: usize = 16;

/// The password of the administrator of a new cluster.
///
/// # Errors
/// [`EngineError::File`], [`EngineError::NoRandomness`].
pub(crate) fn password_of(
    data_directory: &Path,
    cluster: &ClusterId,
    random: &dyn Random,
) -> Result<Secret, EngineError> {
    let secret = secret(&data_directory.join(FILE), random)?;
    Ok(derive(&secret, cluster))
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
fn derive(secret: &[u8], cluster: &ClusterId) -> Secret {
    let mut hasher = blake3::Hasher::new_derive_key(CONTEXT);
    hasher.update(secret).update(cluster.as_str().as_bytes());
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
    fn a_cluster_has_one_password_and_each_another() {
        let (folder, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (one, two) = ("in01-aa".parse().unwrap(), "in01-ab".parse().unwrap());
        let of = |folder: &tempfile::TempDir, cluster| password_of(folder.path(), cluster, &SystemRandom).unwrap();
        let first = of(&folder, &one);
        assert_eq!(of(&folder, &one), first, "the job comes to the same one");
        assert!(first.expose().len() == 20 && of(&folder, &two) != first && of(&other, &one) != first);
        std::fs::write(folder.path().join(FILE), "# x\nshort\n").unwrap();
        assert!(password_of(folder.path(), &one, &SystemRandom).is_err());
    }
}
