//! Open files: a cluster of thousands of collections has more files than the usual soft limit of 1,024 allows, and the hard
//! limit is what an administrator means.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// More is asked for nowhere.
const MOST: u64 = 65_536;

/// Raises the soft limit of open files as far as the hard limit allows.
pub(crate) fn raise_limit() {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let wanted = maximum.unwrap_or(MOST).min(MOST);
    if current.is_some_and(|current| current < wanted) {
        // Refused, for example by a filter of system calls: then fewer points are held, as before.
        let _ = setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), maximum });
    }
}

/// Descriptors that the points of one backup may hold: a quarter of what the process may open.
pub(crate) fn for_points() -> usize {
    let most = getrlimit(Resource::Nofile).current.unwrap_or(MOST).min(MOST);
    usize::try_from(most / 4).unwrap_or(usize::MAX)
}
