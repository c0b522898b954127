//! Files that an operator granted a plugin, as they were read for a run.
//!
//! Contract: a value. What is in it is all a plugin can see of any file system, it goes into the record of a decision,
//! and the same value gives the same answer for ever; whoever reads the directory decides when. Directories are those
//! of their files: an empty one cannot be told from one that is not there, but for the granted ones themselves.
//!
//! Failure: [`SandboxError::BadGrant`] with what does not fit and the limit it goes over.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::text::quoted;
use crate::{Limits, SandboxError};

/// Files of one granted directory by their path below it.
type Files = BTreeMap<String, Bytes>;

/// Granted directories by the path a plugin sees them at, each with its files. Cheap to clone.
///
/// As JSON: `{"/rules": {"a.toml": {"text": "…"}, "sub/b.bin": {"hex": "00ff"}}}`.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct GrantedFiles(Option<Arc<BTreeMap<String, Files>>>);

/// What stands at a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Entry<'a> {
    /// A directory.
    Directory,
    /// A file with its bytes.
    File(&'a Bytes),
}

impl GrantedFiles {
    /// No directory at all: what a plugin gets whose operator granted nothing.
    #[must_use]
    pub fn none() -> &'static Self {
        static NONE: GrantedFiles = GrantedFiles(None);
        &NONE
    }

    /// Directories by guest path (`/rules`), each with its files by the path below it (`a.toml`, `sub/b.toml`).
    ///
    /// # Errors
    /// [`SandboxError::BadGrant`] for a path of another form, for directories that lie in each other, for a file that is
    /// also a directory, and for more than the `granted_…` fields of [`Limits`] allow.
    pub fn new(directories: BTreeMap<String, BTreeMap<String, Vec<u8>>>) -> Result<Self, SandboxError> {
        if directories.is_empty() {
            return Ok(Self(None));
        }
        let shared = |files: BTreeMap<String, Vec<u8>>| -> Files {
            files.into_iter().map(|(path, bytes)| (path, Bytes::from(bytes))).collect()
        };
        let directories: BTreeMap<String, Files> =
            directories.into_iter().map(|(guest, files)| (guest, shared(files))).collect();
        check(&directories, &Limits::DEFAULT).map_err(|what| SandboxError::BadGrant { what })?;
        Ok(Self(Some(Arc::new(directories))))
    }

    /// True if no directory was granted.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// Every file as (granted directory, path below it, bytes), in order.
    pub fn files(&self) -> impl Iterator<Item = (&str, &str, &[u8])> {
        let directories = self.0.iter().flat_map(|directories| directories.iter());
        directories.flat_map(|(guest, files)| {
            files.iter().map(move |(path, bytes)| (guest.as_str(), path.as_str(), bytes.as_ref()))
        })
    }

    /// The granted directories as a plugin sees them, in order.
    pub fn directories(&self) -> impl Iterator<Item = &str> {
        self.0.iter().flat_map(|directories| directories.keys()).map(String::as_str)
    }

    /// What stands at a path below a granted directory; the empty path is the directory itself.
    pub(crate) fn entry(&self, directory: &str, path: &str) -> Option<Entry<'_>> {
        let files = self.0.as_ref()?.get(directory)?;
        if path.is_empty() {
            return Some(Entry::Directory);
        }
        if let Some(bytes) = files.get(path) {
            return Some(Entry::File(bytes));
        }
        self.below(directory, path).next().map(|_| Entry::Directory)
    }

    /// Names in a directory below a granted one, in order of their bytes; true for directories.
    pub(crate) fn names(&self, directory: &str, path: &str) -> BTreeMap<String, bool> {
        let rest = self.below(directory, path);
        rest.map(|rest| match rest.split_once('/') {
            Some((name, _)) => (name.to_owned(), true),
            None => (rest.to_owned(), false),
        })
        .collect()
    }

    /// Paths of the files in and below a directory, relative to it.
    fn below<'a>(&'a self, directory: &str, path: &str) -> impl Iterator<Item = &'a str> {
        let prefix = if path.is_empty() { String::new() } else { format!("{path}/") };
        let files = self.0.as_ref().and_then(|directories| directories.get(directory));
        let from = prefix.clone();
        let paths = files.into_iter().flat_map(move |files| files.range(from.clone()..));
        paths.map_while(move |(path, _)| path.strip_prefix(prefix.as_str()))
    }
}

/// Says how many, not what: contents are the operator's.
impl std::fmt::Debug for GrantedFiles {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let bytes: usize = self.files().map(|(_, _, bytes)| bytes.len()).sum();
        f.debug_struct("GrantedFiles")
            .field("directories", &self.directories().collect::<Vec<_>>())
            .field("files", &self.files().count())
            .field("bytes", &bytes)
            .finish()
    }
}

/// Checks paths and amounts; the error is the rest of a sentence.
fn check(directories: &BTreeMap<String, Files>, limits: &Limits) -> Result<(), String> {
    at_most("directories", directories.len(), limits.granted_directories)?;
    at_most("files", directories.values().map(BTreeMap::len).sum(), limits.granted_files)?;
    let bytes = directories.values().flat_map(BTreeMap::values).map(Bytes::len).sum();
    at_most("bytes", bytes, limits.granted_bytes)?;
    for (guest, files) in directories {
        let parts = guest.strip_prefix('/').filter(|rest| is_path(rest, limits));
        if parts.is_none() {
            return Err(format!("{} is not an absolute path like `/rules`", quoted(guest)));
        }
        // In order of bytes `/a-b` stands between `/a` and `/a/b`, so every pair is compared, and there are few.
        if let Some(inside) = directories.keys().find(|other| lies_in(other, guest)) {
            return Err(format!("{} lies in {}", quoted(inside), quoted(guest)));
        }
        for path in files.keys() {
            if !is_path(path, limits) {
                let (path, levels, most) = (quoted(path), limits.granted_levels, limits.granted_path_bytes);
                return Err(format!("{path} is not a path of at most {levels} names and {most} bytes"));
            }
        }
        if let Some(path) = files.keys().find(|path| files.keys().any(|other| lies_in(other, path))) {
            return Err(format!("{} is a file and a directory", quoted(path)));
        }
    }
    Ok(())
}

fn at_most(what: &str, found: usize, limit: usize) -> Result<(), String> {
    if found <= limit { Ok(()) } else { Err(format!("there are {found} {what}, and {limit} are allowed")) }
}

/// True if `inner` is a path below `outer`.
fn lies_in(inner: &str, outer: &str) -> bool {
    inner.strip_prefix(outer).is_some_and(|rest| rest.starts_with('/'))
}

/// One or more plain names with slashes between.
fn is_path(path: &str, limits: &Limits) -> bool {
    let plain = |name: &str| !matches!(name, "" | "." | "..") && !name.contains(['\0', '\\']);
    path.len() <= limits.granted_path_bytes
        && path.split('/').all(plain)
        && path.split('/').count() <= limits.granted_levels
}

/// The bytes of a file in JSON.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Content<'a> {
    /// They are UTF-8.
    Text(std::borrow::Cow<'a, str>),
    /// They are not: pairs of hexadecimal digits.
    Hex(std::borrow::Cow<'a, str>),
}

impl Content<'_> {
    fn of(bytes: &[u8]) -> Content<'_> {
        match std::str::from_utf8(bytes) {
            Ok(text) => Content::Text(text.into()),
            Err(_) => {
                use std::fmt::Write as _;
                let mut hex = String::with_capacity(bytes.len().saturating_mul(2));
                for byte in bytes {
                    // Writing into a String cannot fail.
                    let _ = write!(hex, "{byte:02x}");
                }
                Content::Hex(hex.into())
            }
        }
    }

    fn bytes(self) -> Option<Vec<u8>> {
        let hex = match self {
            Content::Text(text) => return Some(text.into_owned().into_bytes()),
            Content::Hex(hex) => hex,
        };
        let (pairs, rest) = hex.as_bytes().as_chunks::<2>();
        let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
        let byte = |[high, low]: &[u8; 2]| Some(digit(*high)? << 4 | digit(*low)?);
        if rest.is_empty() { pairs.iter().map(byte).collect() } else { None }
    }
}

impl Serialize for GrantedFiles {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let directories = self.0.iter().flat_map(|directories| directories.iter());
        serializer.collect_map(directories.map(|(guest, files)| {
            let files: BTreeMap<&str, Content<'_>> =
                files.iter().map(|(path, bytes)| (path.as_str(), Content::of(bytes))).collect();
            (guest, files)
        }))
    }
}

impl<'de> Deserialize<'de> for GrantedFiles {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        use serde::de::Error;
        let read = BTreeMap::<String, BTreeMap<String, Content<'static>>>::deserialize(deserializer)?;
        let mut directories: BTreeMap<String, BTreeMap<String, Vec<u8>>> = BTreeMap::new();
        for (guest, files) in read {
            let directory = directories.entry(guest).or_default();
            for (path, content) in files {
                let wrong = || D::Error::custom(format!("the bytes of {} are not hexadecimal", quoted(&path)));
                let bytes = content.bytes().ok_or_else(wrong)?;
                directory.insert(path, bytes);
            }
        }
        Self::new(directories).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::collections::BTreeMap;

    use super::{Entry, GrantedFiles};

    type NamedFiles<'a> = &'a [(&'a str, &'a [u8])];

    fn granted(directories: &[(&str, NamedFiles<'_>)]) -> Result<GrantedFiles, String> {
        let files = |files: &[(&str, &[u8])]| -> BTreeMap<String, Vec<u8>> {
            files.iter().map(|(path, bytes)| ((*path).to_owned(), bytes.to_vec())).collect()
        };
        let directories = directories.iter().map(|(guest, of)| ((*guest).to_owned(), files(of)));
        GrantedFiles::new(directories.collect()).map_err(|error| error.to_string())
    }

    #[test]
    fn files_are_found_by_path_and_directories_by_their_files() {
        let files = granted(&[("/rules", &[("a.toml", b"1"), ("a/b.toml", b"2"), ("a/c/d", b"3")]), ("/other", &[])]);
        let files = files.unwrap();
        assert_eq!(files.entry("/rules", "a.toml"), Some(Entry::File(&b"1"[..].into())));
        assert_eq!(files.entry("/rules", "a"), Some(Entry::Directory));
        assert_eq!(files.entry("/rules", "a/c/d"), Some(Entry::File(&b"3"[..].into())));
        assert_eq!(files.entry("/rules", "a/c/"), None);
        assert_eq!(files.entry("/rules", "b"), None);
        assert_eq!(files.entry("/other", ""), Some(Entry::Directory));
        assert_eq!(files.entry("/nowhere", ""), None);
        let names = |path| files.names("/rules", path).into_iter().collect::<Vec<_>>();
        assert_eq!(names(""), [("a".to_owned(), true), ("a.toml".to_owned(), false)]);
        assert_eq!(names("a"), [("b.toml".to_owned(), false), ("c".to_owned(), true)]);
        assert!(names("a.toml").is_empty() && files.names("/other", "").is_empty());
    }

    #[test]
    fn what_does_not_fit_is_named() {
        let many: Vec<String> = (0..257).map(|number| number.to_string()).collect();
        let many: Vec<(&str, &[u8])> = many.iter().map(|name| (name.as_str(), &b""[..])).collect();
        let large = vec![0; 1024 * 1024];
        let deep = ["x"; 9].join("/");
        let long = "x".repeat(513);
        type Case<'a> = (&'a [(&'a str, &'a [(&'a str, &'a [u8])])], &'a str);
        let cases: [Case<'_>; 13] = [
            (&[("rules", &[])], "`rules` is not an absolute path"),
            (&[("/", &[])], "`/` is not an absolute path"),
            (&[("/a/", &[])], "`/a/` is not"),
            (&[("/a/../b", &[])], "`/a/../b` is not"),
            (&[("/a", &[]), ("/a-b", &[]), ("/a/b", &[])], "`/a/b` lies in `/a`"),
            (&[("/a", &[("", b"")])], "`` is not a path"),
            (&[("/a", &[("../b", b"")])], "`../b` is not a path"),
            (&[("/a", &[("/b", b"")])], "`/b` is not a path"),
            (&[("/a", &[(deep.as_str(), b"")])], "at most 8 names"),
            (&[("/a", &[(long.as_str(), b"")])], "512 bytes"),
            (&[("/a", &[("b", b""), ("b-c", b""), ("b/c", b"")])], "`b` is a file and a directory"),
            (&[("/a", &many)], "there are 257 files, and 256 are allowed"),
            (&[("/a", &[("b", &large)]), ("/c", &[("d", b"1")])], "there are 1048577 bytes, and 1048576 are allowed"),
        ];
        for (directories, wrong) in cases {
            let said = granted(directories).unwrap_err();
            assert!(said.contains(wrong), "{said}");
        }
        granted(&[("/a", &[("b", &large)])]).unwrap();
    }

    #[test]
    fn they_survive_json_whatever_the_bytes_and_json_is_checked_like_everything_else() {
        let files = granted(&[("/r", &[("a", "größe\n".as_bytes()), ("b", &[0, 255, 16])]), ("/s", &[])]).unwrap();
        let text = serde_json::to_string(&files).unwrap();
        assert_eq!(text, r#"{"/r":{"a":{"text":"größe\n"},"b":{"hex":"00ff10"}},"/s":{}}"#);
        assert_eq!(serde_json::from_str::<GrantedFiles>(&text).unwrap(), files);
        for bad in
            [r#"{"r":{}}"#, r#"{"/r":{"../x":{"text":""}}}"#, r#"{"/r":{"x":{"hex":"0"}}}"#, r#"{"/r":{"x":"y"}}"#]
        {
            assert!(serde_json::from_str::<GrantedFiles>(bad).is_err(), "{bad}");
        }
        assert!(!format!("{files:?}").contains("größe"));
    }
}
