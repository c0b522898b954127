//! What differs between versions of Milvus: every rule about a version stands here, with its source. What of it was run stands
//! in `host/source/MILVUS.md`.
//!
//! What is told by content is not decided by number: in which of four forms a delete log is (`binlog/deletes.rs`; 2.3 to 2.6
//! write JSON unless `dataNode.storage.deltalog` says `parquet`, which 2.5 brought: milvus-io/milvus #35522 and
//! `pkg/util/paramtable/component_param.go`), and whether a file is a binlog at all (`binlog/events.rs`). What a server says
//! itself is not decided by number either: a call that it does not know, and the unit of [`EndUnit`].

use super::client::MilvusClient;
use super::kept::KeptPoint;
use super::version::ServerVersion;
use crate::SourceError;

/// The oldest server that is read and restored into. Older ones delete without writing a delta log, so that deleted rows would
/// come back (seen on 2.2.16).
const OLDEST: ServerVersion = ServerVersion::new(2, 3, 0);
/// The newest version that was run.
const NEWEST_RUN: ServerVersion = ServerVersion::new(2, 3, 5);
/// The newest line whose differences are known.
const NEWEST_KNOWN: ServerVersion = ServerVersion::new(2, 6, u32::MAX);
/// Databases have properties and can be described (`DescribeDatabase`; milvus-backup `internal/client/milvus/grpc.go`).
const DESCRIBED_DATABASES: ServerVersion = ServerVersion::new(2, 4, 3);
/// Level-zero segments can be imported (`l0_import`; milvus-io/milvus #33712, named in the notes of release 2.4.5).
const LEVEL_ZERO_IMPORT: ServerVersion = ServerVersion::new(2, 4, 5);
/// `end_ts` of Import is a hybrid timestamp on the line of 2.4 (milvus-io/milvus #40334, named in the notes of release 2.4.24).
const HYBRID_END_2_4: ServerVersion = ServerVersion::new(2, 4, 24);
/// The REST interface tells which logs a segment has (`/v2/vectordb/segments/describe`; milvus-backup
/// `internal/client/milvus/grpc.go`).
const DESCRIBED_SEGMENTS: ServerVersion = ServerVersion::new(2, 5, 8);
/// `end_ts` is a hybrid timestamp from here on (milvus-io/milvus #40333, #40332). It came to the branch of 2.5 between the
/// bump to 2.5.6 and that release, so of 2.5.6 it is not sure.
const HYBRID_END_2_5: ServerVersion = ServerVersion::new(2, 5, 7);
/// Segments are written in storage version 2, imported ones too: by default from 2.6.0 on (`common.storage.enablev2`;
/// milvus-io/milvus #43652, #43713), and without a choice from 2.6.9 on (#46889). From then on `Import` takes such files where
/// `storage_version` says so (`internal/util/importutilv2/{option.go,binlog/reader.go}`).
const STORAGE_2: ServerVersion = ServerVersion::new(2, 6, 0);
/// Deletes of level-zero segments are cut at `end_ts` (milvus-io/milvus #43747, a day after the bump to 2.6.0, not on the
/// branch of 2.5); before that all of them are taken, whatever it says (`internal/util/importutilv2/binlog/l0_reader.go`).
const LEVEL_ZERO_CUT: ServerVersion = ServerVersion::new(2, 6, 1);

/// Segments in one call of Import at most: from 2.4 on each is a file to the server, which takes 1,024 in one request
/// (`dataCoord.import.maxImportFileNumPerReq` in `pkg/util/paramtable/component_param.go`; `ListBinlogsAndGroupBySegment` in
/// `internal/datacoord/import_util.go`).
pub(super) const SEGMENTS_PER_IMPORT: usize = 1_024;

/// Why files of a newer storage version are no use here. Version 3 has a manifest that says which files a segment has; servers from
/// 2.6.7 on write it where `common.storage.useLoonFFI` is set, which it is not by default, not in 3.0 either
/// (`pkg/util/paramtable/component_param.go`).
pub(super) const UNREADABLE: &str = "files of storage version 3 and newer (Milvus 2.6.7 and newer where `common.storage.useLoonFFI` \
                                     is set) are kept as they are, but this version of Longshore cannot read them, so their \
                                     rows are not counted and no restore can be proven";

/// Whether rows are read out of files of this storage version. 0 and 1 are one field in each file, 2 is several (milvus-backup
/// `internal/l0compact/version.go`).
pub(super) const fn can_read(storage_version: i64) -> bool {
    storage_version <= 2
}

/// Whether several fields lie in one file.
pub(super) const fn is_packed(storage_version: i64) -> bool {
    storage_version >= 2
}

/// Why a collection that is in a backup cannot be restored by this version, by what its source described the point with; `None`
/// where it can be.
#[must_use]
pub fn cannot_be_restored(description: &serde_json::Value) -> Option<&'static str> {
    KeptPoint::read(description, "").ok()?.unreadable()
}

/// Whether nothing is known of what a server of this version does differently.
pub(super) fn is_unknown(version: ServerVersion) -> bool {
    version > NEWEST_KNOWN
}

/// Whether a server of this version writes files of storage version 2, and takes them.
pub(super) fn has_storage_2(version: ServerVersion) -> bool {
    version >= STORAGE_2
}

/// Whether level-zero deletes after the cut are left out by a server of this version. One that does not tell its version does
/// not, as far as is known.
pub(super) fn cuts_level_zero(version: Option<ServerVersion>) -> bool {
    version.is_some_and(|version| version >= LEVEL_ZERO_CUT)
}

/// Whether two segments may be given to one call of Import: level-zero segments may not, before 2.6.5 (milvus-backup
/// `internal/client/milvus/grpc.go`), and over gRPC a call has one folder of them anyway.
pub(super) const fn share_an_import(one_has_rows: bool, other_has_rows: bool) -> bool {
    one_has_rows && other_has_rows
}

/// Whether imports are to be made over REST, because the server does not offer them over gRPC. All servers up to 3.0 do; those
/// from 2.4 on offer both (milvus-backup `internal/client/milvus/restful.go`).
pub(super) const fn imports_over_rest(error: &SourceError) -> bool {
    matches!(error, SourceError::CallNotOffered { .. })
}

/// What somebody who restored into this server has to know of it.
pub(super) fn not_run(client: &MilvusClient) -> Option<String> {
    let is_run = client.version().is_some_and(|version| version <= NEWEST_RUN);
    (!is_run).then(|| {
        format!(
            "restores into Milvus {} were not run with this version of Longshore, only into {NEWEST_RUN}: every row was \
             compared with the backup, but look at indexes and searches yourself",
            client.version_text()
        )
    })
}

impl MilvusClient {
    fn is_since(&self, first: ServerVersion) -> bool {
        self.is_at_least(first.major, first.minor, first.patch)
    }

    pub(super) fn describes_databases(&self) -> bool {
        self.is_since(DESCRIBED_DATABASES)
    }

    pub(super) fn describes_segments(&self) -> bool {
        self.is_since(DESCRIBED_SEGMENTS)
    }

    pub(super) fn can_be_backed_up(&self) -> bool {
        self.is_since(OLDEST)
    }
}

/// The unit in which Import is told where to cut (`end_ts`).
///
/// Up to 2.4.23 and 2.5.5 it is milliseconds, which the server itself shifts (`ParseTimeRange` of Milvus
/// `internal/util/importutilv2/option.go`; run on 2.3.5); later it is a hybrid timestamp, and anything else is refused. A hybrid
/// timestamp that is given to an older server is shifted once more, and so means any time: it is never refused. So where the
/// version does not say it for sure, milliseconds come first. milvus-backup always sends hybrid timestamps
/// (`internal/client/milvus/grpc.go`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum EndUnit {
    Milliseconds,
    HybridTimestamp,
}

impl EndUnit {
    /// What a server of this version wants.
    pub(super) fn of(version: Option<ServerVersion>) -> Self {
        match version {
            Some(version) if version >= HYBRID_END_2_5 => Self::HybridTimestamp,
            Some(version) if (HYBRID_END_2_4..ServerVersion::new(2, 5, 0)).contains(&version) => Self::HybridTimestamp,
            _ => Self::Milliseconds,
        }
    }

    /// A time as the option says it.
    pub(super) fn text(self, end_ms: u64) -> String {
        match self {
            Self::Milliseconds => end_ms.to_string(),
            Self::HybridTimestamp => end_ms.saturating_mul(1 << 18).to_string(),
        }
    }

    /// Whether an import failed for nothing but this unit, and the other one is to be tried. The words are those of
    /// `ParseTimeRange`; they come as a refusal of the call or as the reason of a task that failed.
    pub(super) fn is_refused_by(self, error: &SourceError) -> bool {
        let (SourceError::CallRefused { reason, .. } | SourceError::ImportFailed { reason, .. }) = error else {
            return false;
        };
        self == Self::Milliseconds && reason.contains("is not a valid hybrid timestamp")
    }
}

/// Refuses a server that is older than the one a backup is of, or lacks what is in it. `accept_any` is for people who know better
/// than the numbers: versions that cannot be read are refused without it.
///
/// # Errors
/// [`SourceError::TooOldServer`], [`SourceError::WrongVersion`].
pub(super) fn check_target(client: &MilvusClient, points: &[&KeptPoint], accept_any: bool) -> Result<(), SourceError> {
    let (endpoint, version) = (client.endpoint().to_owned(), client.version_text().to_owned());
    check_version(client.version(), &version, points, accept_any).map_err(|refused| match refused {
        Refused::TooOld => SourceError::TooOldServer { version },
        Refused::Wrong { backup_version, reason } => {
            SourceError::WrongVersion { endpoint, version, backup_version, reason }
        }
    })
}

/// Why a server is not restored into.
#[derive(Debug, PartialEq, Eq)]
enum Refused {
    /// It deletes without writing that down.
    TooOld,
    /// It does not fit a backup of that version.
    Wrong { backup_version: String, reason: String },
}

fn check_version(
    target: Option<ServerVersion>,
    text: &str,
    points: &[&KeptPoint],
    accept_any: bool,
) -> Result<(), Refused> {
    for point in points {
        let backup = point.server_version.as_str();
        let wrong = |reason: String| Err(Refused::Wrong { backup_version: backup.to_owned(), reason });
        match (target, ServerVersion::parse(backup)) {
            _ if accept_any => {}
            (Some(target), Some(_)) if target < OLDEST => {
                return wrong(format!("restores need {OLDEST} or newer"));
            }
            (Some(target), Some(of_backup)) if (of_backup.major, of_backup.minor) > (target.major, target.minor) => {
                return wrong("an older server may not understand the files of a newer one".to_owned());
            }
            (Some(_), Some(_)) => {}
            (target, _) if text != backup => {
                let which = if target.is_none() { "the server's" } else { "the backup's" };
                return wrong(format!("{which} version cannot be compared"));
            }
            _ => {}
        }
        let has_level_zero = point.segments.iter().any(|segment| segment.is_level_zero);
        if has_level_zero && target.is_some_and(|target| target < LEVEL_ZERO_IMPORT) {
            return wrong(format!("it has level-zero segments, which need {LEVEL_ZERO_IMPORT} or newer"));
        }
        // One wrong byte may end a whole server, so this is not for people to know better.
        if point.is_packed() && target.is_some_and(|target| !has_storage_2(target)) {
            return wrong(format!("it has files of storage version 2, which need {STORAGE_2} or newer"));
        }
    }
    // With no backup of a server's to compare it with, it must still be one that deletes what it is told to.
    if target.is_some_and(|target| target < OLDEST) {
        return Err(Refused::TooOld);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::kept::KeptSegment;
    use super::*;

    fn version(text: &str) -> Option<ServerVersion> {
        ServerVersion::parse(text)
    }

    /// One line for each version at which something changes, and its neighbours.
    #[test]
    fn what_is_known_of_each_version() {
        use EndUnit::{HybridTimestamp as Hybrid, Milliseconds as Ms};
        // Unit of the cut; whether it cuts level-zero deletes, has storage version 2, is newer than what is known.
        let table = [
            ("v2.3.5-lite", Ms, false, false, false),
            ("2.4.23", Ms, false, false, false),
            ("2.4.24", Hybrid, false, false, false),
            ("2.4.99", Hybrid, false, false, false),
            ("2.5.0", Ms, false, false, false),
            ("2.5-20250401-abcdef", Ms, false, false, false),
            ("2.5.6", Ms, false, false, false),
            ("2.5.7", Hybrid, false, false, false),
            ("2.5.27", Hybrid, false, false, false),
            ("v2.6.0-rc.1", Hybrid, false, true, false),
            ("2.6.1", Hybrid, true, true, false),
            ("2.6.19", Hybrid, true, true, false),
            ("v3.0-beta", Hybrid, true, true, true),
        ];
        for (text, unit, cuts, packs, unknown) in table {
            let of = version(text).unwrap();
            let found = (EndUnit::of(Some(of)), cuts_level_zero(Some(of)), has_storage_2(of), is_unknown(of));
            assert_eq!(found, (unit, cuts, packs, unknown), "{text}");
        }
        assert_eq!((EndUnit::of(None), cuts_level_zero(None)), (Ms, false));
        assert_eq!((Ms.text(7), Hybrid.text(7)), ("7".to_owned(), (7 << 18).to_string()));
        assert_eq!([-1, 0, 1, 2, 3].map(can_read), [true, true, true, true, false]);
        assert_eq!([-1, 0, 1, 2, 3].map(is_packed), [false, false, false, true, true]);
        assert_eq!([(true, true), (false, false)].map(|(one, other)| share_an_import(one, other)), [true, false]);
    }

    #[test]
    fn only_the_refusal_of_the_unit_leads_to_the_other_one() {
        let refused = |reason: &str| SourceError::ImportFailed {
            collection: "docs".parse().unwrap(),
            partition: "_default".to_owned(),
            reason: reason.to_owned(),
        };
        let unit = refused("end_ts is not a valid hybrid timestamp, value=1700000000000: importing data failed");
        assert!(EndUnit::Milliseconds.is_refused_by(&unit));
        assert!(!EndUnit::HybridTimestamp.is_refused_by(&unit), "there is no third unit");
        assert!(!EndUnit::Milliseconds.is_refused_by(&refused("the disk is full")));
        assert!(!EndUnit::Milliseconds.is_refused_by(&SourceError::Stopped));
    }

    #[test]
    fn servers_that_do_not_fit_are_refused() {
        let point = |server_version: &str, is_level_zero| KeptPoint {
            server_version: server_version.to_owned(),
            segments: vec![KeptSegment { is_level_zero, ..KeptSegment::default() }],
            ..KeptPoint::default()
        };
        let check = |backup: &KeptPoint, target: &str, accept_any| match check_version(
            version(target),
            target,
            &[backup],
            accept_any,
        ) {
            Ok(()) => String::new(),
            Err(Refused::Wrong { reason, .. }) => reason,
            Err(other) => format!("{other:?}"),
        };
        let of_2_3 = point("v2.3.5-lite", false);
        let mut packed = point("v2.6.3", false);
        packed.segments[0].storage_version = 2;
        // Backup, server: what is wrong with it, and that with any version.
        let table = [
            (&of_2_3, "v2.3.5-lite", "", ""),
            (&of_2_3, "v2.5.20", "", ""),
            (&of_2_3, "v2.2.16", "restores need 2.3.0 or newer", "TooOld"),
            (&of_2_3, "v2.6.0", "", ""),
            (&of_2_3, "master-20250101", "the server's version cannot be compared", ""),
            (&point("master-1", false), "v2.5.20", "the backup's version cannot be compared", ""),
            (&point("master-1", false), "master-1", "", ""),
            (&point("v2.5.1", false), "v2.4.24", "an older server may not understand the files of a newer one", ""),
            (
                &point("v2.4.1", true),
                "v2.4.4",
                "it has level-zero segments, which need 2.4.5 or newer",
                "it has level-zero segments, which need 2.4.5 or newer",
            ),
            (&point("v2.4.1", true), "v2.4.5", "", ""),
            (&packed, "v2.6.0", "", ""),
            (
                &packed,
                "v2.5.27",
                "an older server may not understand the files of a newer one",
                "it has files of storage version 2, which need 2.6.0 or newer",
            ),
        ];
        for (backup, target, refused, with_any) in table {
            assert_eq!(check(backup, target, false), refused, "{} into {target}", backup.server_version);
            assert_eq!(check(backup, target, true), with_any, "{} into {target}", backup.server_version);
        }
        // Of Milvus Lite there is no version to compare.
        assert_eq!(check_version(version("2.2.0"), "2.2.0", &[], true), Err(Refused::TooOld));
        assert_eq!(check_version(version("2.6.9"), "2.6.9", &[], false), Ok(()));
    }

    #[test]
    fn a_point_with_files_of_an_unknown_storage_version_cannot_be_restored() {
        let described = |storage_version| serde_json::json!({"segments": [{}, {"storageVersion": storage_version}]});
        assert_eq!(
            [0, 1, 2, 3].map(|version| cannot_be_restored(&described(version)).is_some()),
            [false, false, false, true]
        );
        for other in [serde_json::json!({}), serde_json::json!({"segments": {}}), serde_json::json!(7)] {
            assert_eq!(cannot_be_restored(&other), None, "what another kind of source says");
        }
    }
}
