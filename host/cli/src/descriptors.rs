//! Open files: how many a process has room for, and how many of them the points of a backup may take.

use rustix::process::{Resource, getrlimit};

/// More count as so many.
const MOST: u64 = 65_536;

/// Descriptors that the table of a process is made for.
const ROOM: u64 = 8_192;

/// Makes the table of descriptors as large at once as it is likely to become. Linux doubles it when it is full, and in a
/// process of several threads waits some ten milliseconds each time until no thread can still look at the old one; of those
/// who open files meanwhile, all wait with it. So this must come before the first thread.
pub(crate) fn make_room() {
    let most = getrlimit(Resource::Nofile).current.unwrap_or(ROOM).min(ROOM);
    let last = i32::try_from(most.saturating_sub(1)).unwrap_or_default();
    // A table that stays small costs time and nothing else.
    drop(rustix::io::fcntl_dupfd_cloexec(std::io::stderr(), last));
}

/// Descriptors that the points of one backup may hold: a quarter of what the process may open.
pub(crate) fn for_points() -> usize {
    let most = getrlimit(Resource::Nofile).current.unwrap_or(MOST).min(MOST);
    usize::try_from(most / 4).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_table_has_room_for_what_the_process_may_open() {
        make_room();
        let most = getrlimit(Resource::Nofile).current.unwrap_or(ROOM).min(ROOM);
        // Other systems do not say.
        let Ok(status) = std::fs::read_to_string("/proc/self/status") else { return };
        let size = status.lines().find_map(|line| line.strip_prefix("FDSize:")).unwrap();
        assert!(size.trim().parse::<u64>().unwrap() >= most, "{size} of {most}");
    }
}
