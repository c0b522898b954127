//! What clients send: parameters and bodies.

use super::{BACKUP_TYPES, CLUSTER_ID, CREATION_METHODS, DAYS, JOB_STATUSES, JOB_TYPES, KINDS, PROJECT_ID, REGION_ID};
use crate::form::Form::{Like, List, Object, OneOf, Text, Time, Truth, Whole};
use crate::form::{Field, field, optional};

const PAGE: [Field; 2] = [
    optional("pageSize", Whole(1, 100), "Entries per page; 10 when left out."),
    optional("currentPage", Whole(1, 4_294_967_295), "Which page, from 1."),
];
const OF_PROJECT: Field = optional("projectId", PROJECT_ID, "Only of this project.");
const OF_CLUSTER: Field = optional("clusterId", CLUSTER_ID, "Only of this cluster.");

pub(crate) const PAGED: &[Field] = &PAGE;
pub(crate) const BACKUP_FILTERS: &[Field] = &[
    OF_PROJECT,
    OF_CLUSTER,
    optional("creationMethod", CREATION_METHODS, "Only those made this way."),
    optional("backupType", BACKUP_TYPES, "Only those of this scope."),
    optional("start", Time, "Only those made at this time or later."),
    optional("end", Time, "Only those made at this time or earlier; includes the second it names."),
    PAGE[0],
    PAGE[1],
];
pub(crate) const JOB_FILTERS: &[Field] = &[
    OF_PROJECT,
    OF_CLUSTER,
    optional("type", JOB_TYPES, "Only those that do this."),
    optional("status", JOB_STATUSES, "Only those in this state."),
    PAGE[0],
    PAGE[1],
];
pub(crate) const REGION_FILTERS: &[Field] = &[optional("cloudId", Text, "Only those of this provider.")];
pub(crate) const DECISION_FILTERS: &[Field] = &[
    optional("kind", KINDS, "Only decisions of this kind."),
    optional("collection", Text, "Only decisions about this collection, `name` or `database.name`."),
    optional(
        "records",
        OneOf(&["true", "false"]),
        "`false` leaves out the questions that were asked; they can be large.",
    ),
];
pub(crate) const COST_FILTERS: &[Field] = &[
    OF_PROJECT,
    OF_CLUSTER,
    optional("regionId", REGION_ID, "Only what this region costs."),
    optional("start", Time, "From the day of this time on; the first of this month when left out."),
    optional("end", Time, "Until the day of this time, which counts whole; today when left out."),
    optional(
        "groupBy",
        Like("^(day|month|region|cluster|backup)(,(day|month|region|cluster|backup))*$"),
        "What a line is about: any of day or month, region, cluster, backup, separated by commas; `day,region` when left \
         out.",
    ),
    PAGE[0],
    PAGE[1],
];

const NAMED_REGION: &[Field] =
    &[field("regionId", REGION_ID, "The region; it has a vault, and is not the home region.")];
pub(crate) const CREATE_BACKUP: &[Field] = &[
    field("backupType", BACKUP_TYPES, "Scope."),
    optional(
        "dbCollections",
        List(&Object(&[
            optional("dbName", Text, "The database; the default one when left out."),
            field("collectionNames", List(&Text), "Its collections."),
        ])),
        "The collections of a COLLECTION backup.",
    ),
    optional("crossRegionCopies", List(&Object(NAMED_REGION)), "Further regions that get a copy."),
];
pub(crate) const RESTORE_CLUSTER: &[Field] = &[
    optional("projectId", PROJECT_ID, "Project of the new cluster; this or `targetProjectId` must be there."),
    optional("targetProjectId", PROJECT_ID, "The same under the name that the guide uses."),
    field("clusterName", Like("^[A-Za-z0-9-]{1,64}$"), "Name of the new cluster."),
    field("cuSize", Whole(1, 1024), "CU size of the new cluster."),
    field(
        "collectionStatus",
        OneOf(&["KEEP", "RELEASE", "LOADED", "NOT_LOADED", "UNLOADED"]),
        "Whether collections are loaded afterwards.",
    ),
    optional("includeRbac", Truth, "Whether users, roles and what they may do are restored too; not when left out."),
    optional("restoreVersionPolicy", OneOf(&["LATEST", "ORIGINAL"]), "Accepted; there is one version."),
];
pub(crate) const RESTORE_COLLECTION: &[Field] = &[
    field("destClusterId", CLUSTER_ID, "The cluster that is restored into."),
    optional(
        "dbCollections",
        List(&Object(&[
            optional("dbName", Text, "The database; the default one when left out."),
            optional("destDbName", Text, "The database that is restored into; the same when left out."),
            field(
                "collections",
                List(&Object(&[
                    field("collectionName", Text, ""),
                    optional("destCollectionName", Text, "Its name there; the same when left out."),
                    optional(
                        "destCollectionStatus",
                        OneOf(&["LOADED", "UNLOADED", "NOT_LOADED"]),
                        "Whether it is loaded afterwards; not when left out.",
                    ),
                ])),
                "Its collections.",
            ),
        ])),
        "What is restored; everything when left out.",
    ),
];
const COPY_FOR_DAYS: &[Field] = &[
    field("regionId", REGION_ID, "The region."),
    optional("retentionDays", DAYS, "Days for which the copy stays; as the backup when left out."),
];
pub(crate) const SET_POLICY: &[Field] = &[
    field("enabled", Truth, "With `false` nothing else is read."),
    optional("frequency", Text, "Days of the week, 1 (Monday) to 7, separated by commas."),
    optional("startTime", Text, "A window of two hours in UTC, `02:00-04:00`."),
    optional("cron", Text, "A cron expression in place of the two."),
    optional("retentionDays", DAYS, "Days for which each backup stays."),
    optional("crossRegionCopies", List(&Object(COPY_FOR_DAYS)), "Copies in other regions."),
    optional("crossRegionPolicies", List(&Object(COPY_FOR_DAYS)), "The same under the name that the guide uses."),
];
pub(crate) const VERIFY_BACKUP: &[Field] = &[
    optional("level", OneOf(&["exists", "stored", "decoded", "parsed"]), "How deep; `decoded` when left out."),
    optional("samplePercent", Whole(1, 100), "Read only this share of the packs."),
];
pub(crate) const EXPORT_BACKUP: &[Field] = &[
    field("integrationId", Text, "An `[[integration]]` of the configuration."),
    optional("directory", Text, "A folder below it."),
];
const MIGRATION_SOURCE: &[Field] = &[
    optional("volumeName", Text, "A `[[volume]]` of the configuration; this or `stageName` must be there."),
    optional("stageName", Text, "The same under the name that milvus-backup uses."),
    field("dataPath", Text, "The folder in it that milvus-backup wrote, or a Milvus Lite directory."),
    optional("bucketName", Text, "Refused: buckets are not read."),
    optional("objectUrl", Text, "Refused: buckets are not read."),
    optional("accessKey", Text, "Refused: buckets are not read."),
    optional("secretKey", Text, "Refused: buckets are not read."),
    optional("token", Text, "Refused: buckets are not read."),
];
pub(crate) const START_MIGRATION: &[Field] = &[
    field("source", Object(MIGRATION_SOURCE), "What is taken in."),
    field("destination", Object(&[field("clusterId", CLUSTER_ID, "The cluster that gets it.")]), "Where to."),
];
pub(crate) const APPLY_VOLUME: &[Field] = &[
    optional("clusterId", CLUSTER_ID, "The cluster that it is for."),
    optional("volumeName", Text, "A `[[volume]]` of the configuration; the first one when left out."),
    optional("stageName", Text, "The same under its older name."),
    field("path", Text, "A folder below it; it is made."),
];
pub(crate) const RENAME_BACKUP: &[Field] = &[field("backupName", Text, "The new name.")];
