//! Commands that delete and free space.

use std::path::PathBuf;

use clap::Args;
use longshore_model::{BackupId, VaultId};

use super::KeyArguments;
use crate::throttle::ThrottleArguments;

/// `longshore prune`.
#[derive(Debug, Args)]
#[command(after_help = PRUNE_HELP)]
pub(crate) struct Prune {
    #[command(flatten)]
    pub(crate) vaults: Vaults,
    /// How long a mark waits before what it lists may be deleted: a number with s, m, h or d.
    #[arg(long, default_value = "1h", value_name = "TIME", value_parser = milliseconds)]
    pub(crate) fence: i64,
    /// Packs younger than this are not marked.
    #[arg(long, default_value = "24h", value_name = "TIME", value_parser = milliseconds)]
    pub(crate) minimum_age: i64,
    /// Rewrite packs of which less than this share is needed, in percent; 0 rewrites none.
    #[arg(long, default_value_t = 50, value_name = "PERCENT", value_parser = clap::value_parser!(u8).range(0..=100))]
    pub(crate) compact_below: u8,
    /// A vault of the project that is gone for good: nothing is kept for its sake. May be repeated.
    #[arg(long = "lost-vault", value_name = "ID")]
    pub(crate) lost_vaults: Vec<VaultId>,
    /// Show what would be done and why; change nothing.
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// List every object, not only the first of each kind. --json always has all.
    #[arg(long)]
    pub(crate) all: bool,
    #[command(flatten)]
    pub(crate) throttle: ThrottleArguments,
}

const PRUNE_HELP: &str = "A first run marks what no backup needs; a run at least one fence later looks again and \
deletes it. It may run beside backups, copies and restores on other hosts, and may be stopped at any moment. It is the \
only command, besides erase, that needs permission to delete.";

/// `longshore delete`.
#[derive(Debug, Args)]
pub(crate) struct Delete {
    /// Id of the backup.
    pub(crate) backup: BackupId,
    #[command(flatten)]
    pub(crate) vaults: Vaults,
}

/// `longshore space`.
#[derive(Debug, Args)]
pub(crate) struct Space {
    #[command(flatten)]
    pub(crate) vaults: Vaults,
}

/// All vaults of a project.
#[derive(Debug, Args)]
pub(crate) struct Vaults {
    /// Folder of a vault; repeat it for the other vaults of the project.
    #[arg(long = "vault", value_name = "VAULT", required_unless_present = "config", conflicts_with = "config")]
    pub(crate) folders: Vec<PathBuf>,
    /// The configuration of a host: the vaults of all its regions.
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) keys: KeyArguments,
}

/// `90s`, `15m`, `24h`, `7d` in milliseconds.
fn milliseconds(text: &str) -> Result<i64, String> {
    let wrong = || format!("`{text}` is not a time: say for example 90s, 15m, 24h or 7d");
    let unit = text.chars().last().ok_or_else(wrong)?;
    let factor: i64 = match unit {
        's' => 1_000,
        'm' => 60_000,
        'h' => 3_600_000,
        'd' => 86_400_000,
        _ => return Err(wrong()),
    };
    let number = text.strip_suffix(unit).and_then(|number| number.parse::<u32>().ok()).ok_or_else(wrong)?;
    i64::from(number).checked_mul(factor).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn times_are_numbers_with_a_unit() {
        assert_eq!(milliseconds("0s").unwrap(), 0);
        assert_eq!(milliseconds("90m").unwrap(), 5_400_000);
        assert_eq!(milliseconds("7d").unwrap(), 604_800_000);
        for wrong in ["", "h", "1", "-1h", "1.5h", "1 h", "99999999999d", "1w"] {
            assert!(milliseconds(wrong).is_err(), "{wrong}");
        }
    }
}
