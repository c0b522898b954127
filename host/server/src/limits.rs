//! Limits of the server.

/// Upper bounds on what a client may send and how long it may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Largest request body, in bytes.
    pub body_bytes: usize,
    /// How long a client may take to send the body, in milliseconds.
    pub body_ms: u64,
    /// How long a client may take to send the head of a request, and so also how long a connection may idle between
    /// two requests, in milliseconds.
    pub head_ms: u64,
    /// How long a client may take to agree on TLS, in milliseconds.
    pub handshake_ms: u64,
    /// Largest head of a request, in bytes; at least 8,192.
    pub head_bytes: usize,
    /// How long a call may take, in milliseconds. Backups and restores are jobs and are not bound by it.
    pub call_ms: u64,
    /// How often a job is looked at for a client that follows its events, in milliseconds.
    pub event_pause_ms: u64,
    /// Connections open at a time; further ones wait.
    pub connections: usize,
    /// How long open calls may go on when the server stops, in milliseconds.
    pub stop_ms: u64,
    /// Calls a second that a key may make of one method and path.
    pub calls_per_second: u32,
    /// Longest API key, in bytes.
    pub key_bytes: usize,
    /// Most entries on a page (Zilliz error 96008).
    pub page_items: u32,
}

impl Limits {
    /// The limits used unless the caller gives others.
    pub const DEFAULT: Self = Self {
        body_bytes: 1024 * 1024,
        body_ms: 15_000,
        head_ms: 30_000,
        handshake_ms: 10_000,
        head_bytes: 64 * 1024,
        call_ms: 60_000,
        event_pause_ms: 250,
        connections: 1_024,
        stop_ms: 20_000,
        calls_per_second: 20,
        key_bytes: 512,
        page_items: 100,
    };
}

impl Default for Limits {
    fn default() -> Self {
        Self::DEFAULT
    }
}
