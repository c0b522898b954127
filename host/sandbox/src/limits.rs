//! Limits of the sandbox that are the same for every plugin. What an operator may tune per plugin is a
//! [`Budget`](crate::Budget).

/// Upper bounds on what crosses the border between host and plugin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Most collections in one call (`wit/v0.1.0/policy.wit`). More would make one call too long to be judged.
    pub page_collections: usize,
    /// Most streams in one call: five classes of files for each collection of a page.
    pub page_streams: usize,
    /// Most regions offered in one call.
    pub page_regions: usize,
    /// Longest settings of a plugin, in bytes of JSON.
    pub settings_bytes: usize,
    /// Longest carry from page to page, in bytes.
    pub carry_bytes: usize,
    /// Longest reason code, in bytes.
    pub reason_code_bytes: usize,
    /// Longest reason message, in bytes.
    pub reason_message_bytes: usize,
    /// Most further copies of one collection that a placement may ask for.
    pub copies: usize,
    /// Longest name of a plugin, in bytes.
    pub about_name_bytes: usize,
    /// Longest version, author or description of a plugin, in bytes.
    pub about_text_bytes: usize,
    /// Longest settings schema of a plugin, in bytes of JSON.
    pub settings_schema_bytes: usize,
    /// Deepest nesting of a settings schema.
    pub settings_schema_levels: usize,
    /// Longest line of a plugin's log, in bytes; longer ones are cut.
    pub log_line_bytes: usize,
    /// Most directories that are granted to one plugin.
    pub granted_directories: usize,
    /// Most files in all of a plugin's granted directories.
    pub granted_files: usize,
    /// Most bytes in all of a plugin's granted files. They go into every record of a decision.
    pub granted_bytes: usize,
    /// Longest path of a granted file below its directory, in bytes.
    pub granted_path_bytes: usize,
    /// Most names in such a path.
    pub granted_levels: usize,
    /// Most handles (streams, files, pollables) a plugin may hold at a time.
    pub handles: usize,
    /// Most random bytes a plugin may ask for at a time.
    pub random_bytes: u64,
    /// Stack of a plugin's own calls, in bytes. It lies on the caller's thread, which needs as much again for the host.
    pub wasm_stack_bytes: usize,
    /// Length of a tick of the clock that stops a plugin at its wall time, in milliseconds.
    pub tick_ms: u64,
    /// Most functions in a file, counting those of all its modules. The limits from here to `component_instances` were held
    /// against real guests: the shipped plugins come to 890 functions, 18,233 bytes and 76,553 joins in the largest, 2 levels
    /// and 4 instances; the example in C to 54, 8,981, 15,968, 1 and 0; in JavaScript to 12,706, 171,628, 551,644, 2 and 2; in
    /// Python to 13,355, 426,843, 807,010, 2 and 3. So the most that is known has room for 15 times as many functions, 4.9 times
    /// as many bytes, 2.4 times as many joins, twice the levels and 16 times the instances.
    pub functions: u64,
    /// Largest function, in bytes.
    pub function_bytes: u64,
    /// Most joins of local variables in a function: for each block the locals used in it. It bounds the compiler's memory.
    pub function_joins: u64,
    /// Most levels of components in components.
    pub component_levels: u64,
    /// Most instances of components in a file.
    pub component_instances: u64,
    /// Most compilations that took too long and are still running by themselves; until one ends, no plugin is loaded.
    pub abandoned_compilations: usize,
    /// Most compiled plugins that are kept; the ones not used for longest go first.
    pub code_cache_entries: usize,
    /// Most bytes of all compiled plugins that are kept.
    pub code_cache_bytes: u64,
    /// Largest compiled plugin that is kept, in bytes. A larger one is compiled at every load.
    pub code_cache_entry_bytes: u64,
}

impl Limits {
    /// The limits every part of Longshore uses.
    pub const DEFAULT: Self = Self {
        page_collections: 1_000,
        page_streams: 5_000,
        page_regions: 1_000,
        settings_bytes: 256 * 1024,
        carry_bytes: 64 * 1024,
        reason_code_bytes: 64,
        reason_message_bytes: 512,
        copies: 64,
        about_name_bytes: 64,
        about_text_bytes: 512,
        settings_schema_bytes: 64 * 1024,
        settings_schema_levels: 32,
        log_line_bytes: 4 * 1024,
        granted_directories: 8,
        granted_files: 256,
        granted_bytes: 1024 * 1024,
        granted_path_bytes: 512,
        granted_levels: 8,
        handles: 1_000,
        random_bytes: 1024 * 1024,
        wasm_stack_bytes: 512 * 1024,
        tick_ms: 10,
        functions: 200_000,
        function_bytes: 2 * 1024 * 1024,
        function_joins: 2_000_000,
        component_levels: 4,
        component_instances: 64,
        abandoned_compilations: 2,
        code_cache_entries: 64,
        code_cache_bytes: 1024 * 1024 * 1024,
        code_cache_entry_bytes: 256 * 1024 * 1024,
    };
}

impl Default for Limits {
    fn default() -> Self {
        Self::DEFAULT
    }
}
