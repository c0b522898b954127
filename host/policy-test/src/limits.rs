//! Limits on what the tools take in and write.

/// Upper bounds of this crate, enforced where values come in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Largest plugin file, in bytes; the sandbox's budget may allow less.
    pub plugin_file_bytes: u64,
    /// Largest case file, in bytes.
    pub case_file_bytes: u64,
    /// Most case files in a folder.
    pub case_files: usize,
    /// Most cases in a file.
    pub cases_per_file: usize,
    /// Most collections of a case, after `count` is multiplied out.
    pub case_collections: usize,
    /// Most items that are listed in a message.
    pub listed_items: usize,
    /// Most mismatches of one expectation that are shown.
    pub shown_mismatches: usize,
    /// Most questions that shrinking a counterexample may ask.
    pub shrink_questions: usize,
    /// The same where every question uses a budget up.
    pub slow_shrink_questions: usize,
}

impl Limits {
    /// The limits that hold everywhere.
    pub const DEFAULT: Self = Self {
        plugin_file_bytes: 256 * 1024 * 1024,
        case_file_bytes: 4 * 1024 * 1024,
        case_files: 1_000,
        cases_per_file: 1_000,
        case_collections: 200_000,
        listed_items: 8,
        shown_mismatches: 5,
        shrink_questions: 3_000,
        slow_shrink_questions: 100,
    };
}

impl Default for Limits {
    fn default() -> Self {
        Self::DEFAULT
    }
}
