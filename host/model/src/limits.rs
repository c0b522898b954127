//! Limits on the values of this crate.

/// Upper bounds on names and lists, enforced where values are parsed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Longest database, collection or partition name, in bytes. Milvus allows 255; a name is also a path component.
    pub name_bytes: usize,
    /// Longest identifier (`in01-…`, `backup0_…`, `job-…`, `proj-…`), in bytes.
    pub id_bytes: usize,
    /// Most collections on one page of a policy call (`wit/v0.1.0/policy.wit`).
    pub page_items: usize,
    /// Longest reason code, in bytes.
    pub reason_code_bytes: usize,
    /// Longest reason message, in bytes.
    pub reason_message_bytes: usize,
    /// Most bytes a policy may carry from page to page.
    pub carry_bytes: usize,
}

impl Limits {
    /// The limits every part of Longshore uses.
    pub const DEFAULT: Self = Self {
        name_bytes: 255,
        id_bytes: 64,
        page_items: 1_000,
        reason_code_bytes: 64,
        reason_message_bytes: 512,
        carry_bytes: 64 * 1024,
    };
}

impl Default for Limits {
    fn default() -> Self {
        Self::DEFAULT
    }
}
