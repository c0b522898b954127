//! Files that a case grants to the plugin: written in the case, or a folder beside it.
//!
//! Contract: only plain files below the folder are read, links are refused, and never more than a host would grant.

use std::collections::BTreeMap;
use std::path::Path;

use longshore_policy::{GrantedFiles, Grants};
use longshore_sandbox::Limits;

/// Texts by path below a directory, by the path a plugin sees the directory at.
pub(crate) type WrittenFiles = BTreeMap<String, BTreeMap<String, String>>;

/// What a case grants. An error is a sentence.
pub(crate) fn granted(written: &WrittenFiles, grants: &Grants, folder: Option<&Path>) -> Result<GrantedFiles, String> {
    let bytes = |files: &BTreeMap<String, String>| {
        files.iter().map(|(path, text)| (path.clone(), text.clone().into_bytes())).collect()
    };
    let mut directories: BTreeMap<String, BTreeMap<String, Vec<u8>>> =
        written.iter().map(|(guest, files)| (guest.clone(), bytes(files))).collect();
    for grant in &grants.read {
        let folder = folder.ok_or("`grants` names a folder beside the case file, and this text is in no file")?;
        let mut files = BTreeMap::new();
        read(&folder.join(&grant.host), "", &mut files)?;
        if directories.insert(grant.guest.clone(), files).is_some() {
            return Err(format!("`{}` is granted twice", grant.guest));
        }
    }
    GrantedFiles::new(directories).map_err(|error| error.to_string())
}

/// Reads the files of a directory and of those below it.
fn read(directory: &Path, prefix: &str, files: &mut BTreeMap<String, Vec<u8>>) -> Result<(), String> {
    let said = |error: std::io::Error| format!("{}: {error}", directory.display());
    if prefix.matches('/').count() >= Limits::DEFAULT.granted_levels {
        return Err(format!("{} has folders deeper than a host grants", directory.display()));
    }
    for entry in std::fs::read_dir(directory).map_err(said)? {
        let entry = entry.map_err(said)?;
        let kind = entry.file_type().map_err(said)?;
        let name = entry
            .file_name()
            .into_string()
            .map_err(|_| format!("{} holds a name that is not text", directory.display()))?;
        let path = format!("{prefix}{name}");
        if kind.is_dir() {
            read(&entry.path(), &format!("{path}/"), files)?;
        } else if kind.is_file() {
            if files.len() >= Limits::DEFAULT.granted_files {
                return Err(format!("{} has more files than a host grants", directory.display()));
            }
            let limit = u64::try_from(Limits::DEFAULT.granted_bytes).unwrap_or(u64::MAX);
            let bytes = crate::subject::read_bounded(&entry.path(), limit).map_err(|error| error.to_string())?;
            files.insert(path, bytes);
        } else {
            return Err(format!("{} is neither a file nor a folder", entry.path().display()));
        }
    }
    Ok(())
}
