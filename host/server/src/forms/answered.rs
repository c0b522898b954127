//! What we answer.

use super::{
    BACKUP_ID, BACKUP_STATUSES, BACKUP_TYPES, CLUSTER_ID, CREATION_METHODS, DAYS, JOB_ID, JOB_STATUSES, JOB_TYPES,
    KINDS, PROJECT_ID, REGION_ID,
};
use crate::form::Form::{Free, Like, List, Named, Object, OneOf, Or, Text, Time, Truth, Whole};
use crate::form::{COUNT, Field, Form, field, joined, optional};

const BACKUP_ENTRY: [Field; 13] = [
    field("projectId", PROJECT_ID, ""),
    field("backupId", BACKUP_ID, ""),
    field("backupName", Text, ""),
    field("backupType", BACKUP_TYPES, ""),
    field("creationMethod", CREATION_METHODS, ""),
    field("size", COUNT, "Bytes of the files, before compression; 0 while it is being made."),
    field("expireTime", Or(&Time), "When it goes; `null` is never."),
    field("clusterId", CLUSTER_ID, ""),
    field("clusterName", Text, "Name of the cluster when the backup was made."),
    field("createTime", Time, ""),
    field("status", BACKUP_STATUSES, ""),
    field("regionId", REGION_ID, "Home region."),
    optional("restoreNewInstancePolicies", List(&OneOf(&["LATEST", "ORIGINAL"])), "CLUSTER backups only."),
];
const COLLECTION: [Field; 9] = [
    field("collectionName", Text, ""),
    field("description", Text, ""),
    field("status", OneOf(&["LOADED", "UNLOADED"]), ""),
    field("physicalRows", COUNT, "Rows, deleted ones included."),
    field("liveRows", Or(&COUNT), "Rows that a query sees, where they could be counted."),
    field("sizeBytes", COUNT, ""),
    field("regionId", REGION_ID, "Where it is kept."),
    field("changedDuringBackup", Truth, "DDL while the backup ran; what is in it is one point all the same."),
    field("cannotBeRestored", Or(&Text), "Why it is kept and cannot be restored by this version; `null` where it can."),
];
const COLLECTIONS: &[Field] = &COLLECTION;
const FLAT_COLLECTION: &[Field] = &joined::<1, 9, 10>([field("dbName", Text, "")], COLLECTION);

const ENTRY: &[Field] = &BACKUP_ENTRY;
const MORE: [Field; 6] = [
    field(
        "dbCollections",
        List(&Object(&[field("dbName", Text, ""), field("collections", List(&Named("Collection", COLLECTIONS)), "")])),
        "Its collections by database.",
    ),
    field("collections", List(&Named("FlatCollection", FLAT_COLLECTION)), "The same as older clients read it."),
    field("storedBytes", COUNT, "Bytes it added to the vaults."),
    field("regions", List(&REGION_ID), "Where it can be restored from."),
    field(
        "crossRegionCopies",
        List(&Object(&[
            field("regionId", REGION_ID, ""),
            field("status", OneOf(&["CREATING", "AVAILABLE", "FAILED", "EXPIRED"]), ""),
            field("expireTime", Or(&Time), ""),
            field("jobId", JOB_ID, ""),
            field("reason", Text, "Why it failed, or waits to be tried again; empty otherwise."),
        ])),
        "",
    ),
    field(
        "excludedCollections",
        List(&Object(&[
            field("dbName", Text, ""),
            field("collectionName", Text, ""),
            field("decidedBy", Text, ""),
            field("reason", Text, ""),
        ])),
        "Collections that policies left out.",
    ),
];
const FULL_BACKUP: &[Field] = &joined::<13, 6, 19>(BACKUP_ENTRY, MORE);

pub(crate) const BACKUP: Form = Named("Backup", FULL_BACKUP);
pub(crate) const JOB: Form = Named(
    "Job",
    &[
        field("jobId", JOB_ID, ""),
        field("type", JOB_TYPES, ""),
        field("status", JOB_STATUSES, ""),
        field("progress", Like("^(100|[0-9]{1,2})$"), "Whole percent, as a text."),
        field("startTime", Or(&Time), ""),
        field("endTime", Or(&Time), ""),
        field("reason", Text, "Why it failed or was canceled, or waits to be tried again; empty otherwise."),
        field("retries", COUNT, "How often it was put back to be tried again later."),
        field("nextRetryTime", Or(&Time), "When it is tried again; `null` when it does not wait for that."),
        field("createTime", Time, ""),
        field(
            "phase",
            OneOf(&["waiting", "inventory", "policy", "transfer", "recheck", "commit", "proof", "done"]),
            "",
        ),
        field("totalBytes", COUNT, ""),
        field("doneBytes", COUNT, ""),
        field("bytesPerSecond", Or(&COUNT), ""),
        field("remainingSeconds", Or(&COUNT), ""),
        field("waitingFor", Or(&Text), "What it waits for, in words, while nothing moves."),
        field("clusterId", Or(&CLUSTER_ID), ""),
        field("backupId", Or(&BACKUP_ID), ""),
        field(
            "collections",
            List(&Object(&[
                field("dbName", Text, ""),
                field("collectionName", Text, ""),
                field("totalBytes", COUNT, ""),
                field("doneBytes", COUNT, ""),
            ])),
            "",
        ),
        field("result", Free, "What came out of it; `null` before its end."),
    ],
);
pub(crate) const CLUSTER: Form = Named(
    "Cluster",
    &[
        field("clusterId", CLUSTER_ID, ""),
        field("clusterName", Text, ""),
        field("projectId", PROJECT_ID, ""),
        field("description", Text, ""),
        field("regionId", REGION_ID, ""),
        field("plan", Text, ""),
        field("deploymentOption", OneOf(&["Dedicated"]), ""),
        field("status", OneOf(&["RUNNING", "RESTORE_BACKUP", "UNKNOWN"]), "RESTORE_BACKUP while a restore makes it."),
        field("connectAddress", Text, "Where it is: a directory for Milvus Lite; empty while a restore makes it."),
        field("privateLinkAddress", Text, ""),
        field("replica", COUNT, ""),
        field("cuSize", COUNT, ""),
        field("snapshotNumber", COUNT, "Number of backups."),
        field("createProgress", Whole(0, 100), "Percent; below 100 while a restore makes it."),
        field("createTime", Time, ""),
    ],
);
pub(crate) const PROJECT: Form = Named(
    "Project",
    &[
        field("projectId", PROJECT_ID, ""),
        field("projectName", Text, ""),
        field("instanceCount", COUNT, "Clusters that the key is for."),
        field("createTime", Time, ""),
        field("plan", Text, ""),
    ],
);
const REGION: Form = Named(
    "Region",
    &[
        field("cloudId", Text, ""),
        field("regionId", REGION_ID, ""),
        field("domain", Text, ""),
        field("jurisdiction", Text, ""),
        field("storagePriceMicrosPerGbMonth", COUNT, "In millionths of the currency unit."),
        field("transferPriceMicrosPerGb", COUNT, "In millionths of the currency unit."),
        field(
            "usedBytes",
            Or(&COUNT),
            "What its vault holds; `null` where it does not answer or is not the key's to see.",
        ),
    ],
);
pub(crate) const POLICY: Form = Named(
    "BackupPolicy",
    &[
        field("clusterId", CLUSTER_ID, ""),
        field("status", OneOf(&["ENABLED", "DISABLED"]), ""),
        field("startTime", Or(&Text), ""),
        field("frequency", Or(&Text), ""),
        field("retentionDays", Whole(0, 30), ""),
        field(
            "crossRegionCopies",
            List(&Object(&[
                field("regionId", REGION_ID, ""),
                field("retentionDays", DAYS, ""),
                field("region", REGION_ID, ""),
            ])),
            "",
        ),
        field("cron", Or(&Text), ""),
        field("nextRunTime", Or(&Time), ""),
    ],
);
const AUDIT: Form = Named(
    "AuditLog",
    &[
        field("sequence", COUNT, "Grows with every entry."),
        field("time", Time, ""),
        field("actor", Text, "Name and id of a key, or which part of the host."),
        field("action", Text, "For example `backup.create`."),
        field("subject", Text, "On what: an id."),
        field("outcome", Text, "`ok`, or the sentence of the refusal."),
    ],
);

/// A page of a list.
macro_rules! listed {
    ($name:literal, $entry:expr) => {
        Object(&[
            field("count", COUNT, "Entries on all pages."),
            field("currentPage", COUNT, ""),
            field("pageSize", COUNT, ""),
            field($name, List(&$entry), ""),
        ])
    };
}

pub(crate) const BACKUPS: Form = listed!("backups", Named("BackupEntry", ENTRY));
pub(crate) const JOBS: Form = listed!("jobs", JOB);
pub(crate) const CLUSTERS: Form = listed!("clusters", CLUSTER);
pub(crate) const AUDITS: Form = listed!("auditLogs", AUDIT);
pub(crate) const PLUGINS: Form = listed!("plugins", PLUGIN);
pub(crate) const PROJECTS: Form = List(&PROJECT);
pub(crate) const REGIONS: Form = List(&REGION);
pub(crate) const CLOUDS: Form = List(&Object(&[field("cloudId", Text, ""), field("description", Text, "")]));

const SEAT: Form = Object(&[
    field("scope", Text, "`project`, or the cluster whose chain it is."),
    field("kind", KINDS, ""),
    field("member", Text, "Its name in the chain."),
]);
const PLUGIN: Form = Named(
    "Plugin",
    &[
        field("name", Text, "What chains call it."),
        field("source", OneOf(&["installed", "built-in", "file"]), "Where its file comes from."),
        field("plugin", Or(&Text), "What it calls itself."),
        field("version", Text, ""),
        field("digest", Like("^[0-9a-f]{64}$"), "BLAKE3 of its file."),
        field("kinds", List(&KINDS), "Decisions it makes, or that it is asked for where that is all that is known."),
        field("signer", Or(&Text), "The trusted key that signed it."),
        field("time", Or(&Time), "When it was installed."),
        field("usedBy", List(&SEAT), "Where the chains in force use it."),
    ],
);
pub(crate) const POLICIES: Form = Named(
    "Policies",
    &[
        field("set", Or(&COUNT), "Number of the set in force."),
        field("rollback", Free, "Set while an earlier set holds in place of what the configuration says."),
        field("members", List(&Free), "Every member with its seat, version, digest, notes, runs and candidate."),
        field("quarantine", List(&Free), "Members that are no longer asked, and why."),
        field("promotions", List(&Free), "Candidates that took a member's place."),
        field("counters", Free, "How often something happened."),
    ],
);
pub(crate) const DECISIONS: Form = Object(&[
    field("policies", Free, "The chains that decided, with digests and settings."),
    field("decisions", Free, "`rows`, one per decision with its reason; `records`, the questions and answers."),
]);
pub(crate) const COSTS: Form = Named(
    "Costs",
    &[
        field("count", COUNT, "Lines on all pages."),
        field("currentPage", COUNT, ""),
        field("pageSize", COUNT, ""),
        field("start", Time, "Begin of the first day."),
        field("end", Time, "End of the last day."),
        field("storageCostMicros", COUNT, "Of all lines, in millionths of the currency unit."),
        field("transferCostMicros", COUNT, "Of all lines."),
        field("costMicros", COUNT, "Of all lines."),
        field("unknownRegions", List(&REGION_ID), "Regions whose vault does not answer: their costs are told too low."),
        field("costs", List(&COST), ""),
    ],
);
const COST: Form = Named(
    "Cost",
    &[
        field("day", Or(&Like("^[0-9]{4}-[0-9]{2}-[0-9]{2}$")), ""),
        field("month", Or(&Like("^[0-9]{4}-[0-9]{2}$")), ""),
        field("regionId", Or(&REGION_ID), ""),
        field(
            "clusterId",
            Or(&CLUSTER_ID),
            "`null` where lines are not by cluster, and for bytes that are no cluster's.",
        ),
        field("clusterName", Or(&Text), ""),
        field("backupId", Or(&BACKUP_ID), "`null` where lines are not by backup, and for bytes that are no backup's."),
        field("backupName", Or(&Text), ""),
        field("storedByteDays", COUNT, "Bytes times the days for which they were kept."),
        field("storageCostMicros", COUNT, ""),
        field("transferredBytes", COUNT, "Bytes that were moved into the region."),
        field("transferCostMicros", COUNT, ""),
        field("costMicros", COUNT, "Storage and transfer."),
    ],
);
pub(crate) const RELOADED: Form =
    Object(&[field("policies", List(&Text), "One line per member."), field("needsRestart", List(&Text), "")]);
pub(crate) const CREATED: Form =
    Object(&[field("backupId", BACKUP_ID, ""), field("backupName", Text, ""), field("jobId", JOB_ID, "")]);
pub(crate) const NAMED_BACKUP: Form = Object(&[field("backupId", BACKUP_ID, ""), field("backupName", Text, "")]);
pub(crate) const STARTED: Form = Object(&[field("jobId", JOB_ID, "")]);
pub(crate) const APPLIED_VOLUME: Form = Object(&[
    field("volumeName", Text, "The volume."),
    field("stageName", Text, "The same under its older name."),
    field("uploadPath", Text, "The folder on the host's machine, with a slash at its end."),
    field("cloud", Text, "The provider of the region."),
    field("region", REGION_ID, "The region of the cluster, or the first one."),
    field("bucketName", Text, "Empty: a volume is a folder."),
    field("endpoint", Text, "Empty: a volume is a folder."),
    field("condition", Object(&[field("maxContentLength", COUNT, "Room there, in bytes.")]), ""),
    field(
        "credentials",
        Object(&[
            field("tmpAK", Text, ""),
            field("tmpSK", Text, ""),
            field("sessionToken", Text, ""),
            field("expireTime", Text, ""),
        ]),
        "Empty: whoever uses a folder has rights in it.",
    ),
]);
pub(crate) const RESTORING: Form = Object(&[
    field("clusterId", CLUSTER_ID, ""),
    field("username", Text, ""),
    field("password", Text, "Shown this once."),
    field("jobId", JOB_ID, ""),
    optional("note", Text, "Why there is no password, where there is none."),
    optional(
        "users",
        List(&Object(&[field("username", Text, ""), field("password", Text, "Shown this once.")])),
        "With `includeRbac`, the users of the backup and their new passwords; the result of the job names those that were \
         made.",
    ),
]);
pub(crate) const POLICY_SET: Form =
    Object(&[field("clusterId", CLUSTER_ID, ""), field("status", OneOf(&["ENABLED", "DISABLED"]), "")]);
pub(crate) const DROPPED: Form = Object(&[
    field("clusterId", CLUSTER_ID, ""),
    field("prompt", Text, ""),
    field("deletedBackups", COUNT, "Automatic backups that went with it."),
    field("backupsKeptUntil", Or(&Time), "When those go that were left for a while; `null` when none were."),
]);
pub(crate) const STATUS: Form = Object(&[field("status", Text, "")]);
