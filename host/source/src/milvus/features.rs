//! What differs between versions of Milvus: every rule about a version stands here, with its source. What of it was run stands
//! in `host/source/MILVUS.md`.

use super::client::MilvusClient;
use super::kept::KeptPoint;
use super::version::ServerVersion;
use crate::SourceError;

/// The oldest server that is read and restored into. Older ones delete without writing a delta log, so that deleted rows would
/// come back (seen on 2.2.16).
const OLDEST: ServerVersion = ServerVersion::new(2, 3, 0);
/// Level-zero segments (milvus-backup `internal/client/milvus/grpc.go`).
const LEVEL_ZERO: ServerVersion = ServerVersion::new(2, 4, 0);
/// Databases have properties and can be described (`DescribeDatabase`; milvus-backup `internal/client/milvus/grpc.go`).
const DESCRIBED_DATABASES: ServerVersion = ServerVersion::new(2, 4, 3);
/// Users, roles and grants can be read with hashed passwords in one call (`BackupRBAC`; milvus-backup `docs/user_guide/rbac.md`).
const ACCESS_IN_ONE_CALL: ServerVersion = ServerVersion::new(2, 4, 10);
/// The REST interface tells which logs a segment has (`/v2/vectordb/segments/describe`; milvus-backup
/// `internal/client/milvus/grpc.go`).
const DESCRIBED_SEGMENTS: ServerVersion = ServerVersion::new(2, 5, 8);
/// Storage version 2: several fields in one file (Milvus 2.6).
const STORAGE_VERSION_2: ServerVersion = ServerVersion::new(2, 6, 0);

impl MilvusClient {
    fn is_since(&self, first: ServerVersion) -> bool {
        self.is_at_least(first.major, first.minor, first.patch)
    }

    pub(super) fn describes_databases(&self) -> bool {
        self.is_since(DESCRIBED_DATABASES)
    }

    pub(super) fn backs_up_access(&self) -> bool {
        self.is_since(ACCESS_IN_ONE_CALL)
    }

    pub(super) fn describes_segments(&self) -> bool {
        self.is_since(DESCRIBED_SEGMENTS)
    }

    pub(super) fn can_be_backed_up(&self) -> bool {
        self.is_since(OLDEST)
    }
}

/// Refuses a server that is older than the one a backup is of, or lacks what is in it. `accept_any` is for people who know
/// better than the numbers: versions that cannot be read are refused without it.
///
/// # Errors
/// [`SourceError::WrongVersion`].
pub(super) fn check_target(client: &MilvusClient, points: &[&KeptPoint], accept_any: bool) -> Result<(), SourceError> {
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
                (segment.storage_version > 0, STORAGE_VERSION_2, "files of a newer storage version"),
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
