//! The steps of which random histories are made.

use longshore_model::{CreationMethod, JobStatus};

/// One call, or one thing that happens to a catalog. Numbers are taken modulo what there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Time passes: 0 to 255 times 10 ms.
    Wait(u8),
    /// A backup is asked for.
    CreateBackup(u8, CreationMethod),
    /// A restore from a backup is asked for.
    CreateRestore(u8),
    /// A worker takes any job.
    ClaimNext(u8),
    /// A worker takes a job.
    Claim(u8, u8),
    /// A lease is renewed with a token.
    Renew(u8, Token),
    /// Progress is reported with a token.
    Progress(u8, Token),
    /// A job is ended with a token.
    Finish(u8, Token, JobStatus),
    /// A job is put back with a token, for a number of times 10 ms.
    Retry(u8, Token),
    /// Somebody cancels a job.
    Cancel(u8),
    /// Somebody deletes a backup.
    Delete(u8),
    /// A worker's leases are released.
    Release(u8),
    /// A cluster is dropped.
    Drop(u8),
    /// A cluster is registered.
    Register(u8),
    /// The schedule of a cluster is set: due now, after a number of times 10 ms, or off (0).
    Schedule(u8, u8),
    /// A host starts what a schedule is due for, by the current revision or by the one before.
    StartScheduled(u8, bool),
    /// The storage is opened again before it is closed: by another host, or, where the opener makes an image of what is on
    /// disk, after a power cut.
    Reopen,
}

/// Which token a worker comes with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Token {
    /// That of the newest claim.
    Current,
    /// That of the claim before it.
    Stale,
    /// One that was never given out.
    Future,
}

impl Step {
    /// A step from three bytes, so that any source of randomness can make histories. Useful steps are more frequent.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 3]) -> Self {
        let [kind, a, b] = bytes;
        let token = match b % 4 {
            0 => Token::Stale,
            1 if b % 3 == 0 => Token::Future,
            _ => Token::Current,
        };
        match kind % 29 {
            0..=2 => Self::Wait(a),
            3..=5 => Self::CreateBackup(a, CreationMethod::Manual),
            6..=7 => Self::CreateBackup(a, CreationMethod::Auto),
            8 => Self::CreateRestore(a),
            9..=11 => Self::ClaimNext(a),
            12 => Self::Claim(a, b),
            13 => Self::Renew(a, token),
            14 => Self::Progress(a, token),
            15..=16 => Self::Finish(a, token, JobStatus::Successful),
            17 => Self::Finish(a, token, if b >= 128 { JobStatus::Failed } else { JobStatus::Canceled }),
            18 => Self::Cancel(a),
            19 => Self::Delete(a),
            20 => Self::Release(a),
            21 => Self::Drop(a),
            22 => Self::Register(a),
            23 => Self::Schedule(a, b),
            24..=25 => Self::StartScheduled(a, b % 4 == 0),
            26..=27 => Self::Retry(a, token),
            _ => Self::Reopen,
        }
    }
}
