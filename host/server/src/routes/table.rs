//! Every call of the API: the one table that the router, the check of roles and the OpenAPI document are made from.

use axum::routing::{MethodFilter, MethodRouter, on};
use longshore_engine::Privilege;
use longshore_engine::Privilege::{Administer, Manage, ManageProject, View};

use super::{backups, clusters, costs, host, jobs, migrations, schedules};
use crate::App;
use crate::form::{Field, Form};
use crate::forms;

/// One call.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) verb: Verb,
    pub(crate) path: &'static str,
    /// Its name in the document; unique.
    pub(crate) name: &'static str,
    /// What it does, as a line.
    pub(crate) summary: &'static str,
    pub(crate) needs: Needs,
    /// What the query may say.
    pub(crate) query: &'static [Field],
    /// What the body says; `None` where none is read.
    pub(crate) body: Option<&'static [Field]>,
    pub(crate) answer: Answered,
    pub(crate) serve: fn(MethodFilter) -> MethodRouter<App>,
}

/// A method that we have calls for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verb {
    Get,
    Post,
    Delete,
}

impl Verb {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Post => "POST",
            Self::Delete => "DELETE",
        }
    }

    const fn filter(self) -> MethodFilter {
        match self {
            Self::Get => MethodFilter::GET,
            Self::Post => MethodFilter::POST,
            Self::Delete => MethodFilter::DELETE,
        }
    }
}

/// Who may make a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Needs {
    /// Anybody, without a key.
    Nothing,
    /// Whose role has this privilege.
    Key(Privilege),
    /// The same, and a refusal is in the audit log: its name there, and what the caller may not.
    Action(Privilege, &'static str, &'static str),
}

/// What a call answers.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Answered {
    /// The envelope with this `data`.
    Data(&'static Form),
    /// Server-sent events.
    Events,
    /// The text format of Prometheus.
    Metrics,
    /// A JSON document without the envelope.
    Document,
}

impl Call {
    /// The call as a route.
    pub(crate) fn route(&self) -> MethodRouter<App> {
        (self.serve)(self.verb.filter())
    }

    /// The call behind a method and the path of a route; a HEAD is a GET whose answer's body is left out.
    pub(crate) fn find(method: &str, path: &str) -> Option<&'static Self> {
        let method = if method == "HEAD" { "GET" } else { method };
        CALLS.iter().find(|call| call.path == path && call.verb.as_str() == method)
    }
}

const fn read(path: &'static str, name: &'static str, summary: &'static str, needs: Needs) -> Call {
    Call {
        verb: Verb::Get,
        path,
        name,
        summary,
        needs,
        query: &[],
        body: None,
        answer: Answered::Data(&Form::Free),
        serve: |_| MethodRouter::new(),
    }
}

const fn change(verb: Verb, path: &'static str, name: &'static str, summary: &'static str, needs: Needs) -> Call {
    Call { verb, ..read(path, name, summary, needs) }
}

const VIEW: Needs = Needs::Key(View);
const BACKUP: &str = "/v2/clusters/{cluster_id}/backups/{backup_id}";

pub(crate) static CALLS: &[Call] = &[
    Call {
        body: Some(forms::CREATE_BACKUP),
        answer: Answered::Data(&forms::CREATED),
        serve: |method| on(method, backups::create),
        ..change(
            Verb::Post,
            "/v2/clusters/{cluster_id}/backups/create",
            "createBackup",
            "Back up a cluster or some of its collections.",
            Needs::Action(Manage, "backup.create", "create a backup"),
        )
    },
    Call {
        query: forms::BACKUP_FILTERS,
        answer: Answered::Data(&forms::BACKUPS),
        serve: |method| on(method, backups::list),
        ..read("/v2/backups", "listBackups", "List backups, newest first.", VIEW)
    },
    Call {
        answer: Answered::Data(&forms::BACKUP),
        serve: |method| on(method, backups::describe),
        ..read(BACKUP, "describeBackup", "Describe a backup.", VIEW)
    },
    Call {
        answer: Answered::Data(&forms::NAMED_BACKUP),
        serve: |method| on(method, backups::delete),
        ..change(
            Verb::Delete,
            BACKUP,
            "deleteBackup",
            "Delete a backup. A body is not read.",
            Needs::Action(Manage, "backup.delete", "delete a backup"),
        )
    },
    Call {
        body: Some(forms::RESTORE_CLUSTER),
        answer: Answered::Data(&forms::RESTORING),
        serve: |method| on(method, backups::restore_cluster),
        ..change(
            Verb::Post,
            "/v2/clusters/{cluster_id}/backups/{backup_id}/restoreCluster",
            "restoreCluster",
            "Restore a whole cluster into a new one.",
            Needs::Action(Manage, "backup.restore-cluster", "restore a backup"),
        )
    },
    Call {
        body: Some(forms::RESTORE_COLLECTION),
        answer: Answered::Data(&forms::STARTED),
        serve: |method| on(method, backups::restore_collections),
        ..change(
            Verb::Post,
            "/v2/clusters/{cluster_id}/backups/{backup_id}/restoreCollection",
            "restoreCollection",
            "Restore collections into an existing cluster.",
            Needs::Action(Manage, "backup.restore-collection", "restore a backup"),
        )
    },
    Call {
        query: forms::DECISION_FILTERS,
        answer: Answered::Data(&forms::DECISIONS),
        serve: |method| on(method, backups::decisions),
        ..read(
            "/v2/clusters/{cluster_id}/backups/{backup_id}/decisions",
            "listDecisions",
            "What each policy was asked about a backup, what it decided and why.",
            VIEW,
        )
    },
    Call {
        body: Some(forms::VERIFY_BACKUP),
        answer: Answered::Data(&forms::STARTED),
        serve: |method| on(method, backups::verify),
        ..change(
            Verb::Post,
            "/v2/clusters/{cluster_id}/backups/{backup_id}/verify",
            "verifyBackup",
            "Check that a backup is whole.",
            Needs::Action(Manage, "backup.verify", "verify a backup"),
        )
    },
    Call {
        body: Some(forms::EXPORT_BACKUP),
        answer: Answered::Data(&forms::STARTED),
        serve: |method| on(method, backups::export),
        ..change(
            Verb::Post,
            "/v2/clusters/{cluster_id}/backups/{backup_id}/export",
            "exportBackup",
            "Write a backup out as plain files.",
            Needs::Action(Manage, "backup.export", "export a backup"),
        )
    },
    Call {
        body: Some(forms::RENAME_BACKUP),
        answer: Answered::Data(&forms::NAMED_BACKUP),
        serve: |method| on(method, backups::rename),
        ..change(
            Verb::Post,
            "/v2/clusters/{cluster_id}/backups/{backup_id}/rename",
            "renameBackup",
            "Give a backup another name.",
            Needs::Action(Manage, "backup.rename", "rename a backup"),
        )
    },
    Call {
        body: Some(forms::SET_POLICY),
        answer: Answered::Data(&forms::POLICY_SET),
        serve: |method| on(method, schedules::set),
        ..change(
            Verb::Post,
            "/v2/clusters/{cluster_id}/backups/policy",
            "setBackupPolicy",
            "Say when a cluster is backed up automatically.",
            Needs::Action(Manage, "schedule.set", "change a backup policy"),
        )
    },
    Call {
        answer: Answered::Data(&forms::POLICY),
        serve: |method| on(method, schedules::describe),
        ..read(
            "/v2/clusters/{cluster_id}/backups/policy",
            "getBackupPolicy",
            "When a cluster is backed up automatically.",
            VIEW,
        )
    },
    Call {
        body: Some(forms::APPLY_VOLUME),
        answer: Answered::Data(&forms::APPLIED_VOLUME),
        serve: |method| on(method, migrations::apply_volume),
        ..change(
            Verb::Post,
            "/v2/volumes/apply",
            "applyVolume",
            "Make a folder in a volume for a database that is to be taken in.",
            Needs::Action(Manage, "volume.apply", "use a volume"),
        )
    },
    Call {
        body: Some(forms::START_MIGRATION),
        answer: Answered::Data(&forms::STARTED),
        serve: |method| on(method, migrations::start),
        ..change(
            Verb::Post,
            "/v2/migrations/startByRemote",
            "startMigration",
            "Take a database that lies in a volume into an existing cluster.",
            Needs::Action(Manage, "migration.start", "start a migration"),
        )
    },
    Call {
        query: forms::JOB_FILTERS,
        answer: Answered::Data(&forms::JOBS),
        serve: |method| on(method, jobs::list),
        ..read("/v2/jobs", "listJobs", "List jobs, newest first.", VIEW)
    },
    Call {
        answer: Answered::Data(&forms::JOB),
        serve: |method| on(method, jobs::describe),
        ..read("/v2/jobs/{job_id}", "describeJob", "Describe a job.", VIEW)
    },
    Call {
        answer: Answered::Events,
        serve: |method| on(method, jobs::events),
        ..read("/v2/jobs/{job_id}/events", "followJob", "Follow a job until it has ended: events `job`.", VIEW)
    },
    Call {
        answer: Answered::Data(&forms::JOB),
        serve: |method| on(method, jobs::cancel),
        ..change(
            Verb::Post,
            "/v2/jobs/{job_id}/cancel",
            "cancelJob",
            "Ask a job to stop. A body is not read.",
            Needs::Action(Manage, "job.cancel", "cancel a job"),
        )
    },
    Call {
        query: forms::PAGED,
        answer: Answered::Data(&forms::CLUSTERS),
        serve: |method| on(method, clusters::list),
        ..read("/v2/clusters", "listClusters", "List clusters in order of name.", VIEW)
    },
    Call {
        answer: Answered::Data(&forms::CLUSTER),
        serve: |method| on(method, clusters::describe),
        ..read("/v2/clusters/{cluster_id}", "describeCluster", "Describe a cluster.", VIEW)
    },
    Call {
        answer: Answered::Data(&forms::DROPPED),
        serve: |method| on(method, clusters::drop),
        ..change(
            Verb::Delete,
            "/v2/clusters/{cluster_id}/drop",
            "dropCluster",
            "Unregister a cluster and delete its automatic backups; the database is not touched. A body is not read.",
            Needs::Action(ManageProject, "cluster.drop", "drop a cluster"),
        )
    },
    Call {
        query: forms::COST_FILTERS,
        answer: Answered::Data(&forms::COSTS),
        serve: |method| on(method, costs::list),
        ..read("/v2/costs", "listCosts", "What keeping and moving backups costs.", VIEW)
    },
    Call {
        query: forms::PAGED,
        answer: Answered::Data(&forms::AUDITS),
        serve: |method| on(method, host::audit),
        ..read(
            "/v2/auditLogs",
            "listAuditLogs",
            "Who did what with which outcome, newest first.",
            Needs::Action(ManageProject, "audit.list", "read the audit log"),
        )
    },
    Call {
        answer: Answered::Data(&forms::PROJECTS),
        serve: |method| on(method, clusters::projects),
        ..read("/v2/projects", "listProjects", "List projects.", VIEW)
    },
    Call {
        answer: Answered::Data(&forms::PROJECT),
        serve: |method| on(method, clusters::project),
        ..read("/v2/projects/{project_id}", "describeProject", "Describe a project.", VIEW)
    },
    Call {
        query: forms::REGION_FILTERS,
        answer: Answered::Data(&forms::REGIONS),
        serve: |method| on(method, clusters::regions),
        ..read("/v2/regions", "listRegions", "List regions.", VIEW)
    },
    Call {
        answer: Answered::Data(&forms::CLOUDS),
        serve: |method| on(method, clusters::clouds),
        ..read("/v2/clouds", "listClouds", "List providers of regions.", VIEW)
    },
    Call {
        query: forms::PAGED,
        answer: Answered::Data(&forms::PLUGINS),
        serve: |method| on(method, host::plugins),
        ..read("/v2/plugins", "listPlugins", "List policy plugins and where they are used.", VIEW)
    },
    Call {
        answer: Answered::Data(&forms::POLICIES),
        serve: |method| on(method, host::policies),
        ..read("/v2/policies", "getPolicies", "What decides here, and how it did.", VIEW)
    },
    Call {
        answer: Answered::Data(&forms::RELOADED),
        serve: |method| on(method, host::reload),
        ..change(
            Verb::Post,
            "/v2/reload",
            "reload",
            "Read the configuration and the certificate again. A body is not read.",
            Needs::Action(Administer, "host.reload", "reload the configuration"),
        )
    },
    Call {
        answer: Answered::Metrics,
        serve: |method| on(method, host::metrics),
        ..read("/metrics", "getMetrics", "Numbers for Prometheus; takes a key for everything.", VIEW)
    },
    Call {
        answer: Answered::Data(&forms::STATUS),
        serve: |method| on(method, host::healthy),
        ..read("/healthz", "getHealth", "The process answers.", Needs::Nothing)
    },
    Call {
        answer: Answered::Data(&forms::STATUS),
        serve: |method| on(method, host::ready),
        ..read("/readyz", "getReadiness", "The process can work.", Needs::Nothing)
    },
    Call {
        answer: Answered::Document,
        serve: |method| on(method, host::openapi),
        ..read("/openapi.json", "getOpenApi", "This document.", Needs::Nothing)
    },
];
