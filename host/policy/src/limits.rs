//! Limits on what a policy set takes in.

/// Upper bounds of this crate, enforced where values come in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Most items (collections or streams) of one run.
    pub run_items: usize,
    /// Most items on one page of a call (`wit/v0.1.0/policy.wit` allows 1,000).
    pub page_items: usize,
    /// Most members of one chain.
    pub chain_members: usize,
    /// One run in so many, by its seed, asks one page of each member twice, to report a plugin that answers differently.
    pub runs_per_recheck: u64,
    /// Longest name of a member, in bytes.
    pub member_name_bytes: usize,
    /// Longest settings schema, in bytes of JSON.
    pub schema_bytes: usize,
    /// Deepest settings schema, in levels of JSON.
    pub schema_depth_levels: usize,
    /// Most JSON values a settings schema may stand for once its references are followed. Without it, 64 KiB of
    /// references to references would take years to check.
    pub schema_expanded_values: u64,
    /// Largest compiled regular expression of a settings schema, in bytes.
    pub schema_pattern_bytes: usize,
    /// Longest settings of a member, in bytes of JSON.
    pub settings_bytes: usize,
    /// Deepest settings of a member, in levels of JSON.
    pub settings_depth_levels: usize,
    /// Examples that a group of changes keeps.
    pub diff_examples: usize,
    /// Protected collections that a comparison names, at most; it counts all of them.
    pub losses_named: usize,
    /// Kinds of step (from, to) that a group of changes tells apart; the rest is counted together.
    pub diff_steps: usize,
    /// Calls that one question about what would have changed a decision may make.
    pub counterfactual_calls: usize,
    /// Values that are tried for one property or label.
    pub counterfactual_values: usize,
    /// Changes that a shadow keeps as examples in one run.
    pub shadow_examples: usize,
    /// Time that a shadow may take in one run and kind, all its calls together, in milliseconds. What is left then is
    /// not asked.
    pub shadow_time_ms: u64,
    /// Longest pattern of protected collections, in bytes.
    pub pattern_bytes: usize,
}

impl Limits {
    /// The limits that hold where none are given.
    pub const DEFAULT: Self = Self {
        run_items: 10_000_000,
        page_items: longshore_model::Limits::DEFAULT.page_items,
        chain_members: 16,
        runs_per_recheck: 16,
        member_name_bytes: 64,
        schema_bytes: 64 * 1024,
        schema_depth_levels: 32,
        schema_expanded_values: 100_000,
        schema_pattern_bytes: 1024 * 1024,
        settings_bytes: 256 * 1024,
        settings_depth_levels: 32,
        diff_examples: 3,
        losses_named: 100,
        diff_steps: 8,
        counterfactual_calls: 64,
        counterfactual_values: 4,
        shadow_examples: 20,
        shadow_time_ms: 10_000,
        pattern_bytes: 1024,
    };
}

impl Default for Limits {
    fn default() -> Self {
        Self::DEFAULT
    }
}
