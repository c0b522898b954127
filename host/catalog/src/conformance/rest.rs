//! Projects, clusters, keys, audit log, settings, limits.

use longshore_model::{CreationMethod, JobStatus, KeyScope};
use serde_json::{Value, json};

use super::sample::*;
use super::{Check, Verdict, holds, refused, same, some};
use crate::{AuditEntry, Catalog, CatalogError, Limits, NewApiKey, Page, hash_api_key};

pub(super) const CHECKS: &[Check] = &[
    Check { name: "what configuration says about projects and clusters is brought up to date", run: upserts },
    Check { name: "a key works until it is revoked or expires", run: keys },
    Check { name: "the audit log keeps everything in order", run: audit },
    Check { name: "a setting is what was last put", run: settings },
    Check { name: "of two who change a setting at once only one does", run: swaps },
    Check { name: "text of any kind comes back as it went in", run: text },
    Check { name: "what is too large is refused, and a reason that is too long is cut", run: limits },
];

fn upserts(catalog: &dyn Catalog) -> Verdict {
    same("unknown project", catalog.get_project(&project(1)?)?, None)?;
    let expected = CatalogError::ProjectNotFound { project: project(1)? };
    refused("a cluster of no project", catalog.put_cluster(&new_cluster(1)?, at(0)), &expected)?;
    catalog.put_project(&project(1)?, "one", at(0))?;
    let renamed = catalog.put_project(&project(1)?, "uno", at(9))?;
    same("project", (renamed.name.as_str(), renamed.created), ("uno", at(0)))?;
    same("read again", catalog.get_project(&project(1)?)?, Some(renamed))?;
    same("unknown cluster", catalog.get_cluster(&cluster(1))?, None)?;
    let first = catalog.put_cluster(&new_cluster(1)?, at(1))?;
    same("cluster", (&first.cluster, first.created, first.backup_counter), (&new_cluster(1)?, at(1), 0))?;
    create(catalog, 1, 1, CreationMethod::Manual, 2)?;
    let mut moved = new_cluster(1)?;
    moved.location = "/elsewhere".to_owned();
    moved.cu_size = u32::MAX;
    let second = catalog.put_cluster(&moved, at(3))?;
    same("moved cluster", (&second.cluster, second.created, second.backup_counter), (&moved, at(1), 1))?;
    same("read again", catalog.get_cluster(&cluster(1))?, Some(second))
}

fn keys(catalog: &dyn Catalog) -> Verdict {
    let scope = KeyScope::of([project(1)?], [cluster(2)]);
    let key = |id: &str, secret: &str, expires| NewApiKey {
        id: id.to_owned(),
        name: "laptop".to_owned(),
        hash: hash_api_key(secret),
        role: "owner".to_owned(),
        scope: scope.clone(),
        expires,
    };
    let row = catalog.add_key(&key("k1", "secret", None), at(0))?;
    same("scope", &row.scope, &scope)?;
    same("found", catalog.find_key(&hash_api_key("secret"), at(1))?, Some(row.clone()))?;
    same("another key", catalog.find_key(&hash_api_key("Secret"), at(1))?, None)?;
    let exists = |id: &str| CatalogError::Exists { what: "API key", id: id.to_owned() };
    refused("the same id", catalog.add_key(&key("k1", "other", None), at(1)), &exists("k1"))?;
    refused("the same key", catalog.add_key(&key("k2", "secret", None), at(1)), &exists("k2"))?;
    catalog.add_key(&key("k3", "short", Some(at(10))), at(2))?;
    holds(catalog.find_key(&hash_api_key("short"), at(9))?.is_some(), "a key works before it expires")?;
    same("expired", catalog.find_key(&hash_api_key("short"), at(10))?, None)?;
    same("revoked", catalog.revoke_key("k1", at(5))?.revoked, Some(at(5)))?;
    same("revoked again", catalog.revoke_key("k1", at(6))?.revoked, Some(at(5)))?;
    same("revoked key", catalog.find_key(&hash_api_key("secret"), at(1))?, None)?;
    let expected = CatalogError::KeyNotFound { key: "k9".to_owned() };
    refused("an unknown key", catalog.revoke_key("k9", at(6)), &expected)?;
    let ids: Vec<_> = catalog.list_keys()?.into_iter().map(|row| row.id).collect();
    same("list", ids, vec!["k1".to_owned(), "k3".to_owned()])
}

fn audit(catalog: &dyn Catalog) -> Verdict {
    let entry = |ms: i64| AuditEntry {
        time: at(ms),
        actor: "k1".to_owned(),
        action: "backup.create".to_owned(),
        subject: cluster(1).to_string(),
        outcome: "ok".to_owned(),
    };
    let first = catalog.append_audit(&entry(0))?;
    let second = catalog.append_audit(&entry(-5))?;
    holds(second > first, "numbers grow, whatever the clock says")?;
    let list = catalog.list_audit(&KeyScope::All, Page::default())?;
    same("count", list.count, 2)?;
    let entries: Vec<_> = list.items.into_iter().map(|row| (row.sequence, row.entry)).collect();
    same("entries", entries, vec![(second, entry(-5)), (first, entry(0))])
}

fn settings(catalog: &dyn Catalog) -> Verdict {
    same("unknown", catalog.get_setting("a")?, None)?;
    for value in [json!({ "a": [1, 2.5, "x"] }), Value::Null, json!(u64::MAX)] {
        catalog.put_setting("a", &value)?;
        same("read again", catalog.get_setting("a")?, Some(value))?;
    }
    same("another", catalog.get_setting("A")?, None)
}

fn swaps(catalog: &dyn Catalog) -> Verdict {
    let (one, two) = (json!({ "n": 1 }), json!({ "n": 2 }));
    same("put where something was expected", catalog.swap_setting("a", Some(&one), &two)?, false)?;
    same("nothing was put", catalog.get_setting("a")?, None)?;
    same("put where nothing was", catalog.swap_setting("a", None, &one)?, true)?;
    same("put where something is by now", catalog.swap_setting("a", None, &two)?, false)?;
    same("swapped for what is there", catalog.swap_setting("a", Some(&one), &two)?, true)?;
    same("swapped for what was there", catalog.swap_setting("a", Some(&one), &json!(3))?, false)?;
    same("read again", catalog.get_setting("a")?, Some(two))?;
    // A setting that was put as null is there.
    same("null", catalog.swap_setting("b", None, &Value::Null)?, true)?;
    same("null is not nothing", catalog.swap_setting("b", None, &one)?, false)?;
    same("swapped for null", catalog.swap_setting("b", Some(&Value::Null), &one)?, true)
}

fn text(catalog: &dyn Catalog) -> Verdict {
    settle(catalog)?;
    for text in ["'; DROP TABLE jobs; --", "%_\\\"", "Größe 北京 🦀", "a\0b", "", "null", "?1"] {
        catalog.put_setting(text, &json!(text))?;
        same("setting", catalog.get_setting(text)?, Some(json!(text)))?;
        let mut odd = new_cluster(7)?;
        odd.name = text.to_owned();
        odd.location = text.to_owned();
        same("cluster", catalog.put_cluster(&odd, at(0))?.cluster, odd)?;
        same("owner", catalog.release_leases_of(text)?, 0)?;
    }
    same("clusters", catalog.list_clusters(&crate::ClusterFilter::default(), Page::default())?.count, 4)
}

fn limits(catalog: &dyn Catalog) -> Verdict {
    settle(catalog)?;
    let limits = Limits::DEFAULT;
    let large = Value::String("x".repeat(limits.json_bytes));
    let too_large = |what| CatalogError::TooLarge { what, actual: limits.json_bytes + 2, limit: limits.json_bytes };
    refused("a setting", catalog.put_setting("a", &large), &too_large("a setting"))?;
    let (new, mut its_job) = new_backup(1, 1, CreationMethod::Manual);
    its_job.request = large;
    let found = catalog.create_backup(&new, &its_job, at(0));
    refused("a request", found, &too_large("the request of a job"))?;
    same("the backup of a refused request", catalog.get_backup(&backup(1))?, None)?;
    let mut long = new_cluster(1)?;
    long.name = "x".repeat(limits.text_bytes + 1);
    holds(matches!(catalog.put_cluster(&long, at(0)), Err(CatalogError::TooLarge { .. })), "a long name is refused")?;
    create(catalog, 1, 1, CreationMethod::Manual, 0)?;
    let held = catalog.claim(&job(1), "a", at(1), LEASE_MS)?;
    let mut end = unsuccessful(JobStatus::Failed);
    end.reason = Some("é".repeat(limits.reason_bytes));
    let ended = catalog.finish_job(&job(1), held.fencing_token, &end, at(2))?;
    let reason = some("reason", ended.reason)?;
    same("length of a cut reason", reason.len(), limits.reason_bytes / 2 * 2)?;
    holds(reason.chars().all(|c| c == 'é'), "a reason is cut between characters")
}
