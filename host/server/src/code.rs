//! The numbers in error envelopes. Those below 97000 are Zilliz Cloud's, the others are ours; both are in `REST.md`.

/// The API key is illegal.
pub(crate) const ILLEGAL_KEY: u32 = 21119;
/// `regionId` is invalid.
pub(crate) const REGION: u32 = 96001;
/// `cuSize` is invalid.
pub(crate) const CU_SIZE: u32 = 96002;
/// `projectId` is invalid.
pub(crate) const PROJECT: u32 = 96005;
/// A time is invalid.
pub(crate) const TIME: u32 = 96007;
/// `pageSize` is not 1 to 100.
pub(crate) const PAGE_SIZE: u32 = 96008;
/// `currentPage` is not 1 or more.
pub(crate) const CURRENT_PAGE: u32 = 96009;
/// `clusterName` is invalid.
pub(crate) const CLUSTER_NAME: u32 = 96010;
/// The project has a cluster of this name.
pub(crate) const CLUSTER_NAME_TAKEN: u32 = 96017;
/// There is no such cluster.
pub(crate) const CLUSTER_NOT_FOUND: u32 = 96018;
/// A cluster id is missing.
pub(crate) const CLUSTER_ID_EMPTY: u32 = 96025;
/// There is no such job.
pub(crate) const JOB_NOT_FOUND: u32 = 96026;
/// The cluster is not within the key's scope.
pub(crate) const CLUSTER_OUT_OF_SCOPE: u32 = 96016;
/// The key's role, or its scope of projects, does not allow this.
pub(crate) const NO_PERMISSION: u32 = 96027;
/// `backupType` is invalid.
pub(crate) const BACKUP_TYPE: u32 = 96029;
/// `creationMethod` is invalid.
pub(crate) const CREATION_METHOD: u32 = 96030;
/// `collectionStatus` is invalid.
pub(crate) const COLLECTION_STATUS: u32 = 96031;
/// `frequency` or `cron` of a backup policy is invalid.
pub(crate) const FREQUENCY: u32 = 96032;
/// `startTime` of a backup policy is invalid.
pub(crate) const START_TIME: u32 = 96033;
/// `retentionDays` is not 1 to 30.
pub(crate) const RETENTION_DAYS: u32 = 96034;
/// `start` is after `end`.
pub(crate) const TIME_RANGE: u32 = 96035;
/// A cluster id has the wrong form.
pub(crate) const CLUSTER_ID: u32 = 96036;
/// `destCollectionStatus` is invalid.
pub(crate) const DESTINATION_STATUS: u32 = 96037;
/// A backup could not be accepted.
pub(crate) const CREATE_FAILED: u32 = 96038;
/// A restore of collections could not be accepted.
pub(crate) const RESTORE_COLLECTION_FAILED: u32 = 96039;
/// A restore of a cluster could not be accepted.
pub(crate) const RESTORE_CLUSTER_FAILED: u32 = 96040;

/// The body is not JSON.
pub(crate) const NOT_JSON: u32 = 97001;
/// A field or parameter is missing or has the wrong form.
pub(crate) const INVALID_FIELD: u32 = 97002;
/// There is no such backup.
pub(crate) const BACKUP_NOT_FOUND: u32 = 97003;
/// Something that runs or exists is in the way.
pub(crate) const CONFLICT: u32 = 97004;
/// There is no such path.
pub(crate) const NO_SUCH_PATH: u32 = 97005;
/// The path does not know this method.
pub(crate) const NO_SUCH_METHOD: u32 = 97006;
/// The body is too large.
pub(crate) const TOO_LARGE: u32 = 97007;
/// The body came too slowly.
pub(crate) const TOO_SLOW: u32 = 97008;
/// The call took too long.
pub(crate) const TIMED_OUT: u32 = 97009;
/// The host made a mistake or cannot work.
pub(crate) const INTERNAL: u32 = 97010;
/// The host cannot answer now.
pub(crate) const UNAVAILABLE: u32 = 97011;
/// The new configuration is wrong.
pub(crate) const RELOAD_REFUSED: u32 = 97012;
/// The key calls too often.
pub(crate) const TOO_MANY_CALLS: u32 = 97013;

/// All of them, for the document.
pub(crate) const ALL: &[u32] = &[
    ILLEGAL_KEY,
    REGION,
    CU_SIZE,
    PROJECT,
    TIME,
    PAGE_SIZE,
    CURRENT_PAGE,
    CLUSTER_NAME,
    CLUSTER_OUT_OF_SCOPE,
    CLUSTER_NAME_TAKEN,
    CLUSTER_NOT_FOUND,
    CLUSTER_ID_EMPTY,
    JOB_NOT_FOUND,
    NO_PERMISSION,
    BACKUP_TYPE,
    CREATION_METHOD,
    COLLECTION_STATUS,
    FREQUENCY,
    START_TIME,
    RETENTION_DAYS,
    TIME_RANGE,
    CLUSTER_ID,
    DESTINATION_STATUS,
    CREATE_FAILED,
    RESTORE_COLLECTION_FAILED,
    RESTORE_CLUSTER_FAILED,
    NOT_JSON,
    INVALID_FIELD,
    BACKUP_NOT_FOUND,
    CONFLICT,
    NO_SUCH_PATH,
    NO_SUCH_METHOD,
    TOO_LARGE,
    TOO_SLOW,
    TIMED_OUT,
    INTERNAL,
    UNAVAILABLE,
    RELOAD_REFUSED,
    TOO_MANY_CALLS,
];
