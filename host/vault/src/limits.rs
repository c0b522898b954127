//! Upper bounds on everything the vault reads, holds or writes.

/// Limits of the storage core. Raising a limit never changes what older readers can read: lengths stand in the format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Files are split into pieces of this many bytes. A multiple of a power of two and at least 1 KiB, so that the
    /// digest of a file can be put together from its pieces.
    pub split_bytes: usize,
    /// Longest plain blob that is written or read; a longer one in an index is damage, not a reason to allocate.
    pub blob_bytes: usize,
    /// A pack is closed once it holds this many bytes.
    pub pack_target_bytes: usize,
    /// Longest pack that is read; a longer object in `packs/` is not ours.
    pub pack_bytes: u64,
    /// Most blobs in one pack; a pack of tiny blobs is closed here.
    pub pack_blobs: usize,
    /// An index object is closed once it holds this many blobs.
    pub index_object_blobs: usize,
    /// Longest index object that is read.
    pub index_object_bytes: u64,
    /// Most blobs a vault may hold while its index is kept in memory: about 100 bytes each. At 4 MiB a blob this is
    /// 16 TB.
    pub index_blobs: usize,
    /// Longest root, part or receipt that is written or read.
    pub manifest_bytes: u64,
    /// Longest `longshore-vault.json` that is read.
    pub header_bytes: u64,
    /// Longest list of recipients or wrapped session key that is read.
    pub key_object_bytes: u64,
    /// Most recipients of one encrypted vault.
    pub recipients: usize,
    /// Longest name of a recipient.
    pub recipient_name_bytes: usize,
    /// Longest pin, resume state included.
    pub pin_bytes: u64,
    /// Largest snapshot of a catalog, packed or not.
    pub catalog_bytes: u64,
    /// Longest mark.
    pub mark_bytes: u64,
    /// Most packs, and most parts, that one mark lists; more are spread over several marks.
    pub mark_entries: usize,
    /// Furthest that a store's clock and this host's may be apart for a prune, in milliseconds.
    pub clock_skew_ms: i64,
    /// A prune takes a pin away only when it lapsed this long ago, in milliseconds.
    pub pin_lapse_margin_ms: i64,
    /// What a lapsed pin leaves is kept this long, in milliseconds: no job may be suspended for longer.
    pub lapsed_kept_ms: i64,
    /// A prune deletes for at most this long, or one fence if that is longer, after it looked what is needed; in
    /// milliseconds.
    pub prune_deletion_ms: i64,
    /// Unfinished files of a local vault are removed at this age, in milliseconds.
    pub unfinished_kept_ms: i64,
    /// More good index objects than this are written together into few.
    pub index_objects: usize,
    /// Most roots, receipts or parts in one vault.
    pub manifests: usize,
    /// Bytes a session holds in memory when nothing else is asked for: pieces being read, encoded, packed and uploaded.
    pub memory_budget_bytes: usize,
    /// Smallest memory budget; a smaller one is raised to it, because one piece must fit beside an open pack.
    pub memory_budget_min_bytes: usize,
    /// Pieces of one file that are read and encoded at the same time.
    pub pieces_in_flight: usize,
    /// Small objects (index objects, manifests) that are read at the same time.
    pub requests_in_flight: usize,
    /// Blobs up to this size are hashed and encoded where they are put, because handing them to another thread costs
    /// more.
    pub inline_bytes: usize,
    /// A pin is refreshed this often, in milliseconds.
    pub pin_refresh_ms: i64,
    /// A pin that was not refreshed for this long has lapsed, in milliseconds: its job must not commit.
    pub pin_lapse_ms: i64,
    /// Damages listed per collection by a verification; the rest is counted.
    pub damages_listed: usize,
    /// A verification reads packs in ranges of about this many bytes; a range is longer only for a longer blob.
    pub verify_range_bytes: u64,
}

impl Limits {
    /// The limits every part of Longshore uses.
    pub const DEFAULT: Self = Self {
        split_bytes: 4 * 1024 * 1024,
        blob_bytes: 16 * 1024 * 1024,
        pack_target_bytes: 64 * 1024 * 1024,
        pack_bytes: 256 * 1024 * 1024,
        pack_blobs: 65_536,
        index_object_blobs: 500_000,
        index_object_bytes: 256 * 1024 * 1024,
        index_blobs: 4_000_000,
        manifest_bytes: 512 * 1024 * 1024,
        header_bytes: 64 * 1024,
        key_object_bytes: 256 * 1024,
        recipients: 64,
        recipient_name_bytes: 100,
        pin_bytes: 16 * 1024 * 1024,
        catalog_bytes: 1024 * 1024 * 1024,
        mark_bytes: 64 * 1024 * 1024,
        mark_entries: 50_000,
        clock_skew_ms: 15 * 60 * 1000,
        pin_lapse_margin_ms: 60 * 60 * 1000,
        lapsed_kept_ms: 30 * 24 * 60 * 60 * 1000,
        prune_deletion_ms: 30 * 60 * 1000,
        unfinished_kept_ms: 24 * 60 * 60 * 1000,
        index_objects: 64,
        manifests: 1_000_000,
        memory_budget_bytes: 256 * 1024 * 1024,
        memory_budget_min_bytes: 32 * 1024 * 1024,
        pieces_in_flight: 4,
        requests_in_flight: 16,
        inline_bytes: 16 * 1024,
        pin_refresh_ms: 15 * 60 * 1000,
        pin_lapse_ms: 24 * 60 * 60 * 1000,
        damages_listed: 100,
        verify_range_bytes: 8 * 1024 * 1024,
    };
}

impl Default for Limits {
    fn default() -> Self {
        Self::DEFAULT
    }
}
