//! `longshore-vault.json`: what makes a folder or prefix a vault, and what is needed to read it.

use longshore_model::{Digest, ProjectId, RegionId, VaultId};
use serde::{Deserialize, Serialize};

use crate::layout::{FORMAT_VERSION, HEADER_KEY};
use crate::{IdKey, VaultError, digest_of};

/// The header as it stands in the object. Fields this version does not know are kept out, not refused.
#[derive(Clone, Serialize, Deserialize)]
struct HeaderFile {
    format: u32,
    kind: String,
    vault_id: VaultId,
    project_id: ProjectId,
    region_id: RegionId,
    /// `none`: everything is readable by whoever can read the store. `age-1`: see [`crate::crypto`].
    encryption: String,
    /// The 32 bytes of the [`IdKey`]; only where `encryption` is `none`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    blob_id_key: Option<Digest>,
    /// What the [`IdKey`] is recognised by; only where `encryption` is `age-1`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    id_key_check: Option<Digest>,
    /// BLAKE3 over the values above (FORMAT.md, "Header"): a flipped bit in the key would make every blob look damaged.
    check: Digest,
}

/// Only what tells formats apart: read first, so that a newer format is not called damaged.
#[derive(Deserialize)]
struct FormatProbe {
    format: u32,
}

/// What a vault says about itself.
#[derive(Debug, Clone)]
pub(crate) struct Header {
    pub(crate) vault_id: VaultId,
    pub(crate) project_id: ProjectId,
    pub(crate) region_id: RegionId,
    pub(crate) encryption: HeaderKey,
}

/// Whether a vault is encrypted, and what its header says of the id key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum HeaderKey {
    /// Not encrypted: here is the key.
    Plain(IdKey),
    /// Encrypted: this is what the key is recognised by ([`IdKey::check_value`]).
    Age1(Digest),
}

const PLAIN: &str = "none";
const AGE_1: &str = "age-1";

impl HeaderFile {
    /// The checksum over the other values, one per line.
    fn checksum(&self) -> Digest {
        let key = self.blob_id_key.or(self.id_key_check).map(|key| key.to_string()).unwrap_or_default();
        let text = format!(
            "{}\n{}\n{}\n{}\n{}\n{}\n{key}\n",
            self.format, self.kind, self.vault_id, self.project_id, self.region_id, self.encryption
        );
        digest_of(text.as_bytes())
    }
}

impl Header {
    const KIND: &'static str = "longshore-vault";

    /// The bytes of the object.
    pub(crate) fn to_bytes(&self) -> Result<Vec<u8>, VaultError> {
        let (encryption, blob_id_key, id_key_check) = match &self.encryption {
            HeaderKey::Plain(key) => (PLAIN, Some(key.expose()), None),
            HeaderKey::Age1(check) => (AGE_1, None, Some(*check)),
        };
        let mut file = HeaderFile {
            format: FORMAT_VERSION,
            kind: Self::KIND.to_owned(),
            vault_id: self.vault_id.clone(),
            project_id: self.project_id.clone(),
            region_id: self.region_id.clone(),
            encryption: encryption.to_owned(),
            blob_id_key,
            id_key_check,
            check: Digest::new([0; 32]),
        };
        file.check = file.checksum();
        let mut bytes = serde_json::to_vec_pretty(&file)
            .map_err(|error| VaultError::BadManifest { object: HEADER_KEY.to_owned(), reason: error.to_string() })?;
        bytes.push(b'\n');
        Ok(bytes)
    }

    /// Reads the bytes of the object.
    pub(crate) fn parse(place: &str, bytes: &[u8]) -> Result<Self, VaultError> {
        // serde_json's messages name line, column and field, never a value of the key's field that parsed.
        let damaged = |reason: String| VaultError::DamagedHeader { place: place.to_owned(), reason };
        let probe: FormatProbe = serde_json::from_slice(bytes).map_err(|error| damaged(error_place(&error)))?;
        if probe.format > FORMAT_VERSION {
            return Err(VaultError::NewerFormat {
                object: HEADER_KEY.to_owned(),
                found: probe.format,
                supported: FORMAT_VERSION,
            });
        }
        let probe: EncryptionProbe = serde_json::from_slice(bytes).map_err(|error| damaged(error_place(&error)))?;
        if ![PLAIN, AGE_1].contains(&probe.encryption.as_str()) {
            let what = "encryption".to_owned();
            return Err(VaultError::Unsupported { object: HEADER_KEY.to_owned(), what });
        }
        let file: HeaderFile = serde_json::from_slice(bytes).map_err(|error| damaged(error_place(&error)))?;
        if file.kind != Self::KIND || file.format == 0 {
            return Err(damaged("it is not the header of a vault".to_owned()));
        }
        if file.checksum() != file.check {
            return Err(damaged("its values do not match its checksum".to_owned()));
        }
        let encryption = match (file.encryption.as_str(), file.blob_id_key, file.id_key_check) {
            (PLAIN, Some(key), None) => HeaderKey::Plain(IdKey::new(*key.as_bytes())),
            (AGE_1, None, Some(check)) => HeaderKey::Age1(check),
            _ => return Err(damaged("its key does not fit its encryption".to_owned())),
        };
        let HeaderFile { vault_id, project_id, region_id, .. } = file;
        Ok(Self { vault_id, project_id, region_id, encryption })
    }
}

/// Whether the rest can be read at all.
#[derive(Deserialize)]
struct EncryptionProbe {
    encryption: String,
}

/// Where in the JSON something is wrong, without the value: it may be the key.
fn error_place(error: &serde_json::Error) -> String {
    format!("it is not the JSON expected, at line {}, column {}", error.line(), error.column())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn header() -> Header {
        Header {
            vault_id: "vault-0102".parse().unwrap(),
            project_id: "proj-demo".parse().unwrap(),
            region_id: "local".parse().unwrap(),
            encryption: HeaderKey::Plain(IdKey::new([7; 32])),
        }
    }

    fn encrypted() -> Header {
        Header { encryption: HeaderKey::Age1(IdKey::new([7; 32]).check_value()), ..header() }
    }

    #[test]
    fn a_header_is_read_as_it_was_written() {
        let bytes = header().to_bytes().unwrap();
        let read = Header::parse("memory", &bytes).unwrap();
        assert_eq!(read.vault_id, header().vault_id);
        assert_eq!(read.encryption, header().encryption);
        insta::assert_snapshot!(String::from_utf8(bytes).unwrap());
        let bytes = encrypted().to_bytes().unwrap();
        assert_eq!(Header::parse("memory", &bytes).unwrap().encryption, encrypted().encryption);
        insta::assert_snapshot!("encrypted", String::from_utf8(bytes).unwrap());
    }

    #[test]
    fn no_single_changed_byte_goes_unnoticed() {
        for bytes in [header().to_bytes().unwrap(), encrypted().to_bytes().unwrap()] {
            for place in 0..bytes.len() {
                let mut other = bytes.clone();
                other[place] ^= 0x01;
                if other[place].is_ascii_whitespace() && bytes[place].is_ascii_whitespace() {
                    continue;
                }
                let text = String::from_utf8_lossy(&other);
                assert!(Header::parse("memory", &other).is_err(), "byte {place} of {text}");
            }
        }
    }

    #[test]
    fn the_error_for_a_damaged_key_does_not_show_the_key() {
        let text = String::from_utf8(header().to_bytes().unwrap()).unwrap();
        let cut = text.replacen("0707", "07x7", 1);
        let error = Header::parse("memory", cut.as_bytes()).unwrap_err().to_string();
        assert!(!error.contains("0707"), "{error}");
    }

    #[test]
    fn newer_formats_and_encryption_have_errors_of_their_own() {
        let text = String::from_utf8(header().to_bytes().unwrap()).unwrap();
        let newer = text.replacen("\"format\": 1", "\"format\": 2", 1);
        assert!(matches!(Header::parse("m", newer.as_bytes()), Err(VaultError::NewerFormat { found: 2, .. })));
        assert!(matches!(Header::parse("m", br#"{"format": 9}"#), Err(VaultError::NewerFormat { found: 9, .. })));
        let sealed = text.replacen("\"none\"", "\"age-2\"", 1);
        assert!(matches!(Header::parse("m", sealed.as_bytes()), Err(VaultError::Unsupported { .. })));
    }
}
