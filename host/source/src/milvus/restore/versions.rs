//! Which server a backup may be restored into.

use crate::SourceError;
use crate::milvus::kept::KeptPoint;
use crate::milvus::{MilvusClient, ServerVersion};

/// The first server whose `Import` keeps deletes apart (seen: 2.2.16 takes rows, but its own deletes are lost).
const OLDEST: ServerVersion = ServerVersion::new(2, 3, 0);
/// Level-zero segments (milvus-backup `internal/client/milvus/grpc.go`).
const LEVEL_ZERO: ServerVersion = ServerVersion::new(2, 4, 0);
/// Storage version 2.
const STORAGE_VERSION: ServerVersion = ServerVersion::new(2, 6, 0);

/// Refuses a server that is older than the one a backup is of, or lacks what is in it. `accept_any` is for people who know
/// better than the numbers: versions that cannot be read are refused without it.
///
/// # Errors
/// [`SourceError::WrongVersion`].
pub(super) fn check(client: &MilvusClient, points: &[&KeptPoint], accept_any: bool) -> Result<(), SourceError> {
    let wrong = |backup: &str, reason: String| SourceError::WrongVersion {
        endpoint: client.endpoint().to_owned(),
        version: client.version_text().to_owned(),
        backup_version: backup.to_owned(),
        reason,
    };
    for point in points {
        let backup = point.server_version.as_str();
        match (client.version(), ServerVersion::parse(backup)) {
            _ if accept_any => {}
            (Some(target), Some(of_backup)) => {
                if target < OLDEST {
                    return Err(wrong(backup, format!("restores need {OLDEST} or newer")));
                }
                if (of_backup.major, of_backup.minor) > (target.major, target.minor) {
                    return Err(wrong(
                        backup,
                        "an older server may not understand the files of a newer one".to_owned(),
                    ));
                }
            }
            (target, of_backup) if client.version_text() != backup => {
                let which = if target.is_none() { "the server's" } else { "the backup's" };
                let _ = of_backup;
                return Err(wrong(backup, format!("{which} version cannot be compared")));
            }
            _ => {}
        }
        for segment in &point.segments {
            let needs = [
                (segment.is_level_zero, LEVEL_ZERO, "level-zero segments"),
                (segment.storage_version > 0, STORAGE_VERSION, "files of a newer storage version"),
            ];
            for (_, needed, what) in needs.into_iter().filter(|(has, ..)| *has) {
                if client.version().is_some_and(|target| target < needed) {
                    return Err(wrong(backup, format!("it has {what}, which need {needed} or newer")));
                }
            }
        }
    }
    Ok(())
}
