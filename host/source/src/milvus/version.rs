//! The version of a Milvus server, and what depends on it.

use std::fmt;

/// A version, for comparing. `v2.3.5-lite`, `2.4.1`, `v2.6.0-rc.1` and `2.5-20250101-abcdef` are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ServerVersion {
    /// First number.
    pub major: u32,
    /// Second number.
    pub minor: u32,
    /// Third number; 0 where the text has none.
    pub patch: u32,
}

impl ServerVersion {
    /// `major.minor.patch`.
    #[must_use]
    pub const fn new(major: u32, minor: u32, patch: u32) -> Self {
        Self { major, minor, patch }
    }

    /// Reads what a server says. `None` for a text that does not begin with two numbers, for example `master-20250101`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim().strip_prefix(['v', 'V']).unwrap_or(text.trim());
        let numbers = text.split(['-', '+', ' ']).next()?;
        let mut numbers = numbers.split('.').map(|number| number.parse::<u32>().ok());
        let (major, minor) = (numbers.next()??, numbers.next()??);
        Some(Self { major, minor, patch: numbers.next().flatten().unwrap_or(0) })
    }
}

impl fmt::Display for ServerVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_as_servers_say_them() {
        for (text, expected) in [
            ("v2.3.5-lite", Some(ServerVersion::new(2, 3, 5))),
            ("2.4.10", Some(ServerVersion::new(2, 4, 10))),
            ("v2.6.0-rc.1", Some(ServerVersion::new(2, 6, 0))),
            ("2.5-20250101-abcdef", Some(ServerVersion::new(2, 5, 0))),
            ("master-20250101", None),
            ("", None),
            ("v2", None),
        ] {
            assert_eq!(ServerVersion::parse(text), expected, "{text}");
        }
        assert!(ServerVersion::new(2, 4, 10) > ServerVersion::new(2, 4, 3));
    }
}
