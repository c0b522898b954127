//! The forms of our bodies, parameters and answers. `REST.md` says what they mean; `replies.rs` and its neighbours write
//! them, `requests.rs` and its neighbours read them.

mod answered;
mod sent;

pub(crate) use self::answered::*;
pub(crate) use self::sent::*;

use crate::form::Form;
use crate::form::Form::{Like, OneOf, Whole};

pub(crate) const CLUSTER_ID: Form = Like("^in[0-9]{2}-[A-Za-z0-9_-]{1,59}$");
pub(crate) const PROJECT_ID: Form = Like("^proj-[A-Za-z0-9_-]{1,59}$");
pub(crate) const BACKUP_ID: Form = Like("^backup[0-9]{1,10}_[0-9a-f]{1,40}$");
pub(crate) const JOB_ID: Form = Like("^job-[A-Za-z0-9_-]{1,60}$");
const REGION_ID: Form = Like("^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$");

const BACKUP_TYPES: Form = OneOf(&["CLUSTER", "COLLECTION"]);
const CREATION_METHODS: Form = OneOf(&["MANUAL", "AUTO"]);
const BACKUP_STATUSES: Form = OneOf(&["CREATING", "AVAILABLE", "FAILED", "DELETED"]);
const JOB_TYPES: Form = OneOf(&["BACKUP", "COPY", "RESTORE", "VERIFY", "EXPORT", "MIGRATION"]);
const JOB_STATUSES: Form = OneOf(&["PENDING", "IN_PROGRESS", "SUCCESSFUL", "FAILED", "CANCELING", "CANCELED"]);
const KINDS: Form = OneOf(&["selection", "compression", "placement"]);
const DAYS: Form = Whole(1, 30);
