//! Chains of policy plugins, the guardrails around them, and the record of what was asked and answered.
//!
//! Contract: [`PolicySet`] asks its members about a run and gives exactly one [`Decision`] per item. It never reads a
//! file, a clock or a random source, and never names the runtime that plugins run on: a plugin is an [`Oracle`],
//! and what it was granted to read comes as a value, [`GrantedFiles`], for the run.
//! A set never changes: a run keeps the `Arc<PolicySet>` it started with.
//!
//! Rules, in this order (a later one can only make a backup safer, never smaller):
//! 1. A selection chain leaves a collection out if any member says no; for compression and placement the first opinion
//!    counts. An item that nobody has an opinion on is an error that names it.
//! 2. A plugin that refuses fails the run. A plugin that fails (traps, runs out of budget, answers outside what was
//!    offered) fails the run, or is left out of it as a whole if the operator said `skip`.
//! 3. [`Guardrails`] are the host's: what they change is said in [`Decision::overridden`].
//!
//! Failure: every function returns [`PolicyError`]; nothing is half decided, because decisions are only returned whole.

mod chain;
mod compare;
mod counterfactual;
mod decision;
mod diff;
mod error;
mod estimate;
mod explain;
mod glob;
mod grants;
mod guardrails;
mod json;
mod ledger;
mod limits;
mod member;
mod oracle;
mod question;
mod record;
mod record_list;
mod replay;
mod schema_shape;
mod set;
mod settings;
mod shadow;

pub use compare::{Change, ChangeKind, changes};
pub use counterfactual::{Alteration, Counterfactual, Counterfactuals, Voice, alterations, what_would_change};
pub use decision::{
    CompressionPlan, DecidedBy, Decision, OtherOpinion, Override, PlacementPlan, Plan, SelectionPlan, Skipped, Usage,
};
pub use diff::{ChangeGroup, Compared, PolicyDiff, ProtectedLoss, Side, Step, Unanswered, diff};
pub use error::PolicyError;
pub use estimate::{
    Effect, Estimates, Kept, added_stream_bytes, monthly_cost_micros, selected_bytes, stored_stream_bytes,
    transfer_cost_micros,
};
pub use explain::{Choice, ExplainRow, explain};
pub use glob::CollectionPattern;
pub use grants::{Grants, ReadGrant};
pub use guardrails::Guardrails;
pub use json::canonical as canonical_json;
pub use limits::Limits;
pub use member::{Member, OnFailure};
pub use oracle::{About, Budget, Call, GrantedFiles, Oracle, Outcome, SandboxError};
pub use record::{
    Answered, Answers, DecisionRecord, Failure, Question, RECORD_FORMAT_VERSION, RecordedOutcome, WORLD_VERSION,
};
pub use record_list::{KeptFiles, KeptRecords, read_kept};
pub use replay::{Difference, ReplayOutcome, replay};
pub use set::{PolicySet, PolicySetBuilder};
pub use settings::SettingsSchema;
pub use shadow::{Shadow, ShadowOutcome};
