//! The one error of this crate: each way to fail has its own variant, and each names limit and use.

use longshore_model::{GuestLogLine, PolicyKind, Refusal};
use thiserror::Error;

/// Why a plugin could not be loaded, or a call of it has no answer.
///
/// `plugin` is its name and version, or the start of its file's digest as long as it has not said its name.
/// `log` is what it logged until then, within its budget.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum SandboxError {
    /// It ran more instructions than it may.
    #[error(
        "plugin {plugin} ran out of fuel: it used {used} of {limit} units and had no answer. It may loop for ever; if \
         it only has much to do, raise `fuel` in its budget"
    )]
    OutOfFuel {
        /// Which plugin.
        plugin: String,
        /// Units it may use in a call.
        limit: u64,
        /// Units it used.
        used: u64,
        /// What it logged.
        log: Box<[GuestLogLine]>,
    },
    /// It ran longer than it may.
    #[error(
        "plugin {plugin} was stopped after {used_ms} ms: it may take {limit_ms} ms for an answer. Lower `fuel` in its \
         budget if it loops for ever, raise `wall_time_ms` if it needs the time"
    )]
    TimedOut {
        /// Which plugin.
        plugin: String,
        /// Milliseconds it may take for a call.
        limit_ms: u64,
        /// Milliseconds it took.
        used_ms: u64,
        /// What it logged.
        log: Box<[GuestLogLine]>,
    },
    /// It asked for more memory than it may have, was told no, and gave up.
    #[error(
        "plugin {plugin} ran out of memory: it wanted {wanted_bytes} bytes and may have {limit_bytes}. If it needs \
         them, raise `memory_bytes` in its budget"
    )]
    OutOfMemory {
        /// Which plugin.
        plugin: String,
        /// Bytes it may have.
        limit_bytes: u64,
        /// Bytes it would have had after the growth that was refused.
        wanted_bytes: u64,
        /// What it logged.
        log: Box<[GuestLogLine]>,
    },
    /// It went over another of its budgets.
    #[error(
        "plugin {plugin} wanted {wanted} {what} and may have {limit}. If it needs them, raise `{field}` in its budget"
    )]
    OverBudget {
        /// Which plugin.
        plugin: String,
        /// What of, for example `table elements`.
        what: &'static str,
        /// The field of [`Budget`](crate::Budget).
        field: &'static str,
        /// How much it may have.
        limit: u64,
        /// How much it wanted, or at least one more than the limit where the exact number is not known.
        wanted: u64,
        /// What it logged.
        log: Box<[GuestLogLine]>,
    },
    /// It crashed, or did what a plugin must not do.
    #[error("plugin {plugin} crashed: {what}. This is a fault of the plugin: report it to its author with the log")]
    Trapped {
        /// Which plugin.
        plugin: String,
        /// How, with its last words if it had any.
        what: String,
        /// What it logged.
        log: Box<[GuestLogLine]>,
    },
    /// It answered, but the answer breaks the contract.
    #[error(
        "plugin {plugin} gave an answer that cannot be used: {what}. This is a fault of the plugin: report it to its author"
    )]
    BadAnswer {
        /// Which plugin.
        plugin: String,
        /// What is wrong, and where.
        what: String,
        /// What it logged.
        log: Box<[GuestLogLine]>,
    },
    /// It refuses the run.
    #[error("plugin {plugin} refuses the run: {} ({})", .refusal.reason.message, .refusal.reason.code)]
    Refused {
        /// Which plugin.
        plugin: String,
        /// Why, and because of which items of the call.
        refusal: Refusal,
        /// What it logged.
        log: Box<[GuestLogLine]>,
    },
    /// The file is not a plugin this host can use.
    #[error("{plugin} is not a usable plugin: {what}. {help}")]
    BadPlugin {
        /// Which file, by the start of its digest.
        plugin: String,
        /// What is wrong with it.
        what: String,
        /// What to do.
        help: String,
    },
    /// A budget is zero or above the operator's ceiling.
    #[error(
        "the budget field `{field}` is {value}: it must be at least 1 and at most {ceiling}, the ceiling in the host's configuration"
    )]
    BadBudget {
        /// Which field of [`Budget`](crate::Budget).
        field: &'static str,
        /// What it is.
        value: u64,
        /// What it may be at most.
        ceiling: u64,
    },
    /// Files that were granted cannot be given to a plugin.
    #[error("files cannot be granted: {what}")]
    BadGrant {
        /// What is wrong, and where.
        what: String,
    },
    /// The plugin was asked for a kind of decision it does not make.
    #[error("plugin {plugin} makes no {kind} decisions: take it out of the {kind} chain")]
    NotServed {
        /// Which plugin.
        plugin: String,
        /// The kind it was asked for.
        kind: PolicyKind,
    },
    /// The host asked a question that the contract does not allow.
    #[error("the question has {value} {what}, and the contract allows {limit}: split it into pages, or shorten it")]
    BadCall {
        /// What there is too much of.
        what: &'static str,
        /// How much there is.
        value: u64,
        /// How much is allowed.
        limit: u64,
    },
    /// The sandbox itself could not do its work; no plugin is at fault.
    #[error("the sandbox failed: {what}")]
    Host {
        /// What failed, and what to do.
        what: String,
    },
}

impl SandboxError {
    /// What the plugin logged until it failed; empty for errors that are not about a call.
    #[must_use]
    pub fn log(&self) -> &[GuestLogLine] {
        match self {
            Self::OutOfFuel { log, .. }
            | Self::TimedOut { log, .. }
            | Self::OutOfMemory { log, .. }
            | Self::OverBudget { log, .. }
            | Self::Trapped { log, .. }
            | Self::BadAnswer { log, .. }
            | Self::Refused { log, .. } => log,
            Self::BadPlugin { .. }
            | Self::BadBudget { .. }
            | Self::BadGrant { .. }
            | Self::NotServed { .. }
            | Self::BadCall { .. }
            | Self::Host { .. } => &[],
        }
    }

    /// A failure of the host with its causes.
    pub(crate) fn host(what: impl std::fmt::Display) -> Self {
        Self::Host { what: what.to_string() }
    }
}
