//! Who may do what: roles, what a key is for, and API keys themselves.
//!
//! Contract: a role says which actions a key allows, its scope about which projects and clusters. Both are checked before
//! anything else is looked at, and a refused action is in the audit log. What a scope leaves out is not in any list.
//! A key is shown once, when it is made; the catalog keeps its hash.

use longshore_catalog::{ApiKeyRow, AuditEntry, Catalog, NewApiKey, hash_api_key};
use longshore_model::{ClusterId, KeyScope, ModelError, ProjectId, Timestamp};
use serde::{Deserialize, Serialize};

use crate::random::draw;
use crate::{EngineError, Random};

/// Longest name of a key, in bytes.
pub const KEY_NAME_BYTES: usize = 128;

/// Which actions an API key allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// Everything, also what concerns the host itself. Never narrowed to projects or clusters.
    OrganizationOwner,
    /// Everything about projects and clusters.
    ProjectAdmin,
    /// A custom role with both backup privileges: see and change backups.
    BackupManage,
    /// A custom role with the backup privilege `view`: see backups.
    BackupView,
}

/// What an action needs of a role.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Privilege {
    /// See.
    View,
    /// Create, delete and restore backups.
    Manage,
    /// Drop clusters, read the audit log.
    ManageProject,
    /// Change the host itself.
    Administer,
}

impl Role {
    /// Whether the role allows an action that needs this.
    #[must_use]
    pub const fn allows(self, privilege: Privilege) -> bool {
        match privilege {
            Privilege::View => true,
            Privilege::Manage => self.may_manage(),
            Privilege::ManageProject => self.may_manage_project(),
            Privilege::Administer => self.may_administer(),
        }
    }

    /// All roles, the most powerful first.
    pub const ALL: [Self; 4] = [Self::OrganizationOwner, Self::ProjectAdmin, Self::BackupManage, Self::BackupView];

    /// The spelling used on the command line, in the catalog and in answers.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::OrganizationOwner => "organization-owner",
            Self::ProjectAdmin => "project-admin",
            Self::BackupManage => "backup-manage",
            Self::BackupView => "backup-view",
        }
    }

    /// True when the role may create, delete and restore.
    #[must_use]
    pub const fn may_manage(self) -> bool {
        !matches!(self, Self::BackupView)
    }

    /// True when the role may drop clusters and read the audit log.
    #[must_use]
    pub const fn may_manage_project(self) -> bool {
        matches!(self, Self::OrganizationOwner | Self::ProjectAdmin)
    }

    /// True when the role may change the host itself.
    #[must_use]
    pub const fn may_administer(self) -> bool {
        matches!(self, Self::OrganizationOwner)
    }
}

impl std::str::FromStr for Role {
    type Err = ModelError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|role| role.as_str() == text).ok_or_else(|| {
            let expected = "organization-owner, project-admin, backup-manage or backup-view";
            ModelError::malformed("role", text, expected)
        })
    }
}

/// Who is calling.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Principal {
    /// Who, as the audit log shows it: name and id of an API key, or which part of the host.
    pub name: String,
    /// Which actions are allowed.
    pub role: Role,
    /// About what.
    pub scope: KeyScope,
}

impl Principal {
    /// The host itself or its operator: everything within a role.
    #[must_use]
    pub fn host(name: impl Into<String>, role: Role) -> Self {
        Self { name: name.into(), role, scope: KeyScope::All }
    }

    /// Who a key belongs to.
    ///
    /// # Errors
    /// [`EngineError::Unauthenticated`]: a role that this version does not know grants nothing.
    pub(crate) fn of(row: ApiKeyRow) -> Result<Self, EngineError> {
        let role = row.role.parse().map_err(|_| EngineError::Unauthenticated)?;
        Ok(Self { name: actor(&row), role, scope: row.scope })
    }

    /// Refuses what belongs to a project or cluster that the key is not for.
    ///
    /// # Errors
    /// [`EngineError::OutOfScope`].
    pub(crate) fn must_reach(&self, project: &ProjectId, cluster: Option<&ClusterId>) -> Result<(), EngineError> {
        if self.scope.includes(project, cluster) {
            return Ok(());
        }
        let (what, id) = match cluster {
            Some(cluster) => ("cluster", cluster.to_string()),
            None => ("project", project.to_string()),
        };
        Err(EngineError::OutOfScope { key: self.name.clone(), what, id })
    }

    /// Refuses a key that is not for everything on this host.
    ///
    /// # Errors
    /// [`EngineError::OutOfScope`].
    pub(crate) fn must_reach_everything(&self) -> Result<(), EngineError> {
        match &self.scope {
            KeyScope::All => Ok(()),
            KeyScope::Only { .. } => {
                Err(EngineError::OutOfScope { key: self.name.clone(), what: "host", id: "whole".to_owned() })
            }
        }
    }
}

/// Refuses a role that may only look.
pub(crate) fn require_manage(who: &Principal, action: &'static str) -> Result<(), EngineError> {
    if who.role.may_manage() { Ok(()) } else { Err(forbidden(who, action)) }
}

/// The refusal of an action that a role does not allow.
pub(crate) fn forbidden(who: &Principal, action: &'static str) -> EngineError {
    EngineError::Forbidden { key: who.name.clone(), role: who.role.as_str(), action }
}

/// How the audit log names a key: names may repeat, ids do not.
fn actor(row: &ApiKeyRow) -> String {
    format!("{} ({})", row.name, row.id)
}

/// A key to make.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyRequest {
    /// What people call it: 1 to [`KEY_NAME_BYTES`] bytes, no control characters.
    pub name: String,
    /// Which actions it allows.
    pub role: Role,
    /// About what.
    pub scope: KeyScope,
    /// When it stops working; `None` for never.
    pub expires: Option<Timestamp>,
}

impl KeyRequest {
    fn check(&self, now: Timestamp) -> Result<(), EngineError> {
        let bad = |what: String| Err(EngineError::BadRequest { what });
        let name = &self.name;
        if name.trim().is_empty() || name.len() > KEY_NAME_BYTES || name.chars().any(char::is_control) {
            return bad(format!("the name of a key is 1 to {KEY_NAME_BYTES} bytes of text on one line"));
        }
        if self.role == Role::OrganizationOwner && self.scope != KeyScope::All {
            let what = "an organization-owner's key is for everything; leave projects and clusters out, or make a \
                        project-admin's key";
            return bad(what.to_owned());
        }
        match self.expires {
            Some(expires) if expires <= now => bad(format!("{expires} has passed; a key expires in the future")),
            _ => Ok(()),
        }
    }
}

/// Makes an API key: the answer holds the key, which is kept nowhere. `by` is who wants it, for the audit log.
///
/// # Errors
/// [`EngineError::BadRequest`], [`EngineError::NoRandomness`], [`EngineError::Catalog`].
pub fn create_key(
    catalog: &dyn Catalog,
    request: &KeyRequest,
    random: &dyn Random,
    now: Timestamp,
    by: &str,
) -> Result<(ApiKeyRow, String), EngineError> {
    let outcome = create_key_now(catalog, request, random, now);
    let subject = outcome.as_ref().map_or_else(|_| request.name.clone(), |(row, _)| row.id.clone());
    note(catalog, by, "key.create", subject, &outcome, now)?;
    outcome
}

fn create_key_now(
    catalog: &dyn Catalog,
    request: &KeyRequest,
    random: &dyn Random,
    now: Timestamp,
) -> Result<(ApiKeyRow, String), EngineError> {
    request.check(now)?;
    let secret = draw::<24>(random)?;
    let id = draw::<5>(random)?;
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let key = format!("lsk_{}", hex(&secret));
    let row = NewApiKey {
        id: format!("key-{}", hex(&id)),
        name: request.name.clone(),
        hash: hash_api_key(&key),
        role: request.role.as_str().to_owned(),
        scope: request.scope.clone(),
        expires: request.expires,
    };
    Ok((catalog.add_key(&row, now)?, key))
}

/// Makes a key stop working. `by` is who wants it, for the audit log.
///
/// # Errors
/// [`EngineError::Catalog`], also for an id that no key has.
pub fn revoke_key(catalog: &dyn Catalog, id: &str, now: Timestamp, by: &str) -> Result<ApiKeyRow, EngineError> {
    let outcome = catalog.revoke_key(id, now).map_err(EngineError::from);
    note(catalog, by, "key.revoke", id.to_owned(), &outcome, now)?;
    outcome
}

fn note<T>(
    catalog: &dyn Catalog,
    by: &str,
    action: &str,
    subject: String,
    outcome: &Result<T, EngineError>,
    time: Timestamp,
) -> Result<(), EngineError> {
    let outcome = outcome.as_ref().err().map_or_else(|| "ok".to_owned(), |error| crate::worker::sentence(error));
    let entry = AuditEntry { time, actor: by.to_owned(), action: action.to_owned(), subject, outcome };
    catalog.append_audit(&entry)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use longshore_catalog::{Page, SqliteCatalog};

    use super::*;
    use crate::SystemRandom;

    const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);

    fn request(role: Role, scope: KeyScope) -> KeyRequest {
        KeyRequest { name: "laptop".to_owned(), role, scope, expires: None }
    }

    #[test]
    fn a_key_is_kept_as_its_hash_alone_and_every_try_is_on_record() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("catalog.sqlite");
        let catalog = SqliteCatalog::open(&path).unwrap();
        let scope = KeyScope::of(["proj-a".parse().unwrap()], ["in01-b".parse().unwrap()]);
        let wanted = request(Role::BackupView, scope.clone());
        let (row, key) = create_key(&catalog, &wanted, &SystemRandom, NOW, "command line").unwrap();
        assert!(key.starts_with("lsk_") && key.len() == 52);
        let found = catalog.find_key(&hash_api_key(&key), NOW).unwrap().unwrap();
        let who = Principal::of(found).unwrap();
        assert_eq!((who.name, who.role, who.scope), (format!("laptop ({})", row.id), Role::BackupView, scope));
        let secret = key.strip_prefix("lsk_").unwrap();
        for entry in std::fs::read_dir(folder.path()).unwrap() {
            let bytes = std::fs::read(entry.unwrap().path()).unwrap();
            assert!(!bytes.windows(secret.len()).any(|window| window == secret.as_bytes()), "the key itself is kept");
        }
        revoke_key(&catalog, &row.id, NOW, "command line").unwrap();
        revoke_key(&catalog, "key-0", NOW, "command line").unwrap_err();
        let past = KeyRequest { expires: Some(NOW), ..wanted };
        create_key(&catalog, &past, &SystemRandom, NOW, "command line").unwrap_err();
        let listed = catalog.list_audit(&KeyScope::All, Page::default()).unwrap().items;
        let seen: Vec<_> = listed.iter().map(|row| (row.entry.action.as_str(), row.entry.outcome == "ok")).collect();
        let expected = [("key.create", false), ("key.revoke", false), ("key.revoke", true), ("key.create", true)];
        assert_eq!(seen, expected);
        assert!(!format!("{listed:?}").contains(secret));
    }

    #[test]
    fn an_owner_is_never_narrowed_and_a_role_that_is_not_known_grants_nothing() {
        let scope = KeyScope::of(["proj-a".parse().unwrap()], []);
        assert!(request(Role::OrganizationOwner, scope.clone()).check(NOW).is_err());
        assert!(request(Role::OrganizationOwner, KeyScope::All).check(NOW).is_ok());
        assert!(request(Role::ProjectAdmin, scope.clone()).check(NOW).is_ok());
        for name in ["", " ", "two\nlines", &"x".repeat(KEY_NAME_BYTES + 1)] {
            assert!(
                KeyRequest { name: name.to_owned(), ..request(Role::BackupView, KeyScope::All) }.check(NOW).is_err()
            );
        }
        let row = ApiKeyRow {
            id: "key-1".to_owned(),
            name: "later".to_owned(),
            role: "superuser".to_owned(),
            scope,
            created: NOW,
            expires: None,
            revoked: None,
        };
        assert!(matches!(Principal::of(row), Err(EngineError::Unauthenticated)));
    }
}
