//! Limits of this crate.

/// Upper bounds and waiting times for reading sources and restoring into targets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Attempts to open a collection at one point before giving up. Each flush or compaction in the middle costs one.
    pub open_attempts: u32,
    /// Pause after the first failed attempt, in milliseconds; it doubles from attempt to attempt.
    pub first_pause_ms: u64,
    /// Longest pause between two attempts, in milliseconds.
    pub longest_pause_ms: u64,
    /// How long the folders of a collection must have held still before it counts as one that was never flushed, in
    /// milliseconds: a collection that is just being deleted looks the same for a moment.
    pub settle_ms: i64,
    /// How long ago the folder of a missing file must have changed before the file counts as lost, in milliseconds.
    pub vanishing_ms: i64,
    /// How long to wait before the last look at a collection whose log's folder changed a moment ago, in milliseconds: one
    /// that is being deleted loses its log's files first and the folder right after.
    pub last_look_ms: u64,
    /// How old the last change of a file must be before its identity is trusted, in milliseconds (DESIGN §7).
    pub identity_age_ms: i64,
    /// Descriptions of collections that an inventory keeps for opening them a moment later, in bytes of their text; in
    /// memory they take several times as much.
    pub looked_bytes: usize,
    /// Threads that look at collections side by side when a cluster is listed.
    pub list_threads: usize,
    /// Longest `schema.json`, `manifest.json`, `aliases.json` or `database_properties.json`, in bytes.
    pub json_bytes: u64,
    /// Most folder entries that are listed in one folder.
    pub folder_entries: u64,
    /// Longest description of one batch in a write-ahead log, in bytes.
    pub wal_metadata_bytes: u64,
    /// Most batches in one write-ahead log file.
    pub wal_batches: u64,
    /// Longest footer of a Parquet file, in bytes.
    pub parquet_footer_bytes: u64,
    /// Most bytes of one read of a point.
    pub read_bytes: u64,
    /// Memory for counting live rows of a restored collection, in bytes.
    pub count_memory_bytes: u64,
    /// Bytes of one collection that a restore keeps from reading it back until its rows are counted; what is more is read
    /// again. As many collections as are restored side by side keep so much.
    pub read_back_bytes: u64,
    /// Most files in one restore plan.
    pub plan_files: u64,
    /// Longest log file of a Milvus server, in bytes.
    pub binlog_bytes: u64,
    /// Most bytes that one payload of such a file may unpack to.
    pub binlog_plain_bytes: u64,
    /// Most rows of one segment of a Milvus server.
    pub segment_rows: u64,
    /// Most rows of one data file that is written for Milvus Lite, which loads each as a whole.
    pub lite_file_rows: u64,
    /// Bytes after which the next such file is begun.
    pub lite_file_bytes: usize,
    /// Bytes of such files that are held in memory before they are written: all files together that are open.
    pub lite_write_bytes: usize,
    /// How long connecting to a server may take, in milliseconds.
    pub connect_timeout_ms: u64,
    /// How often a connection that is waited on is asked whether it still lives, in milliseconds.
    pub keep_alive_ms: u64,
    /// How long a server may take for one answer, in milliseconds.
    pub call_timeout_ms: u64,
    /// Pause before a call is made again, in milliseconds; it doubles from time to time.
    pub call_pause_ms: u64,
    /// Longest such pause, in milliseconds.
    pub call_longest_pause_ms: u64,
    /// How long calls are made again while the server cannot be reached or is not ready, in milliseconds.
    pub unavailable_patience_ms: u64,
    /// How long calls are made again while the server says that there are too many of them, in milliseconds.
    pub rate_patience_ms: u64,
    /// Collections that a server is asked about side by side when it is listed.
    pub list_calls: usize,
    /// Pause before a flush is asked about again, in milliseconds; it doubles from time to time.
    pub flush_pause_ms: u64,
    /// Longest such pause, in milliseconds.
    pub flush_longest_pause_ms: u64,
    /// How long a flush may take, in milliseconds.
    pub flush_patience_ms: u64,
    /// Collections that are restored into a server side by side.
    pub restored_collections: usize,
    /// Most bytes of one call of Import, as long as a segment does not have more: a server gives up what takes 15 minutes.
    pub import_task_bytes: u64,
    /// Bytes of files that are held in memory while they are put into a server's bucket, all restored collections together.
    pub upload_bytes: usize,
    /// Bytes of one part of such a file. Stores want 5 MiB and more, and all but the last of one size.
    pub upload_part_bytes: usize,
    /// Bytes after which the next segment is begun, where segments are written for a server, which reads each as a whole.
    pub import_segment_bytes: u64,
    /// How often a collection is made anew when it is not known what became of an import.
    pub import_attempts: u32,
    /// How long one call of Import may take, in milliseconds.
    pub import_patience_ms: u64,
    /// How long to wait for the end of an import whose collection is to be dropped, in milliseconds. A server gives one up after
    /// a quarter of an hour.
    pub import_end_patience_ms: u64,
    /// The same when the restore was told to stop.
    pub stopped_import_patience_ms: u64,
    /// How long a restored collection may look different from its backup while the server settles, in milliseconds.
    pub proof_patience_ms: u64,
    /// How long making one index may take, in milliseconds.
    pub index_patience_ms: u64,
    /// How long loading a collection may take, in milliseconds.
    pub load_patience_ms: u64,
    /// How long a server that was away in the middle of a restore may take to come back, in milliseconds.
    pub return_patience_ms: u64,
    /// Longest answer of a server, in bytes.
    pub answer_bytes: usize,
    /// Space that must stay free on a target's disk besides the files, in bytes.
    pub spare_bytes: u64,
}

impl Limits {
    /// The limits every part of Longshore uses.
    pub const DEFAULT: Self = Self {
        open_attempts: 16,
        first_pause_ms: 2,
        longest_pause_ms: 250,
        settle_ms: 200,
        vanishing_ms: 10_000,
        last_look_ms: 5,
        identity_age_ms: 2_000,
        looked_bytes: 8 << 20,
        list_threads: 4,
        json_bytes: 64 << 20,
        folder_entries: 1_000_000,
        wal_metadata_bytes: 16 << 20,
        wal_batches: 10_000_000,
        parquet_footer_bytes: 64 << 20,
        read_bytes: 256 << 20,
        count_memory_bytes: 256 << 20,
        read_back_bytes: 8 << 20,
        plan_files: 10_000_000,
        binlog_bytes: 1 << 30,
        binlog_plain_bytes: 2 << 30,
        segment_rows: 50_000_000,
        lite_file_rows: 100_000,
        lite_file_bytes: 128 << 20,
        lite_write_bytes: 64 << 20,
        connect_timeout_ms: 10_000,
        keep_alive_ms: 20_000,
        call_timeout_ms: 60_000,
        call_pause_ms: 100,
        call_longest_pause_ms: 5_000,
        unavailable_patience_ms: 15_000,
        rate_patience_ms: 900_000,
        list_calls: 8,
        flush_pause_ms: 100,
        flush_longest_pause_ms: 1_000,
        flush_patience_ms: 1_800_000,
        restored_collections: 2,
        import_task_bytes: 2 << 30,
        upload_bytes: 64 << 20,
        upload_part_bytes: 8 << 20,
        import_segment_bytes: 256 << 20,
        import_attempts: 3,
        import_patience_ms: 3_600_000,
        import_end_patience_ms: 960_000,
        stopped_import_patience_ms: 60_000,
        proof_patience_ms: 10_000,
        index_patience_ms: 86_400_000,
        load_patience_ms: 600_000,
        return_patience_ms: 120_000,
        answer_bytes: 256 << 20,
        spare_bytes: 1 << 20,
    };
}

impl Default for Limits {
    fn default() -> Self {
        Self::DEFAULT
    }
}
