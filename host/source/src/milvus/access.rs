//! Users, roles and what they may do, as far as the server tells.
//!
//! Contract: nothing that is kept lets anybody in. Servers from 2.4.10 on would tell hashes of passwords, too (`BackupRBAC`;
//! milvus-backup `docs/user_guide/rbac.md`); they are not asked for, because a restore gives users new passwords and a vault is
//! no place for old ones.

use super::client::MilvusClient;
use super::kept::{KeptAccess, KeptGrant, KeptUser};
use super::proto::milvus::{GrantEntity, RoleEntity, SelectGrantRequest, SelectRoleRequest, SelectUserRequest};
use crate::SourceError;

/// The user that every server has.
const ROOT: &str = "root";
/// The roles that every server has.
const BUILT_IN_ROLES: [&str; 2] = ["admin", "public"];

/// Asks for them. Grants are told per role and per database (measured on 2.3.5: `*` gives none, and no name means
/// `default`).
///
/// # Errors
/// What calls fail with, mostly [`SourceError::NotPermitted`].
pub(super) async fn access(client: &MilvusClient, databases: &[String]) -> Result<KeptAccess, SourceError> {
    let request = SelectUserRequest { include_role_info: true, ..SelectUserRequest::default() };
    let users = client.call(request).await?.results.into_iter().filter_map(|user| {
        let name = user.user?.name;
        let mut roles: Vec<String> = user.roles.into_iter().map(|role| role.name).collect();
        roles.sort_unstable();
        (name != ROOT).then_some(KeptUser { name, roles })
    });
    let mut access = KeptAccess { users: users.collect(), ..KeptAccess::default() };
    access.users.sort_unstable_by(|one, other| one.name.cmp(&other.name));
    let roles = client.call(SelectRoleRequest::default()).await?.results;
    let roles: Vec<String> = roles.into_iter().filter_map(|role| Some(role.role?.name)).collect();
    for role in &roles {
        for database in databases {
            access.grants.extend(grants(client, role, database).await?);
        }
    }
    access.grants.sort_unstable_by(|one, other| one.key().cmp(&other.key()));
    // What holds in all databases is told for each of them.
    access.grants.dedup();
    access.roles = roles.into_iter().filter(|role| !BUILT_IN_ROLES.contains(&role.as_str())).collect();
    access.roles.sort_unstable();
    Ok(access)
}

async fn grants(client: &MilvusClient, role: &str, database: &str) -> Result<Vec<KeptGrant>, SourceError> {
    let entity = GrantEntity {
        role: Some(RoleEntity { name: role.to_owned() }),
        db_name: database.to_owned(),
        ..GrantEntity::default()
    };
    let granted = client.call(SelectGrantRequest { entity: Some(entity) }).await?.entities;
    let kept = granted.into_iter().map(|grant| KeptGrant {
        role: role.to_owned(),
        object: grant.object.map(|object| object.name).unwrap_or_default(),
        object_name: grant.object_name,
        privilege: grant.grantor.and_then(|grantor| grantor.privilege).map(|one| one.name).unwrap_or_default(),
        db_name: if grant.db_name.is_empty() { database.to_owned() } else { grant.db_name },
    });
    Ok(kept.collect())
}

impl KeptGrant {
    /// By which grants are put in order.
    pub(super) fn key(&self) -> [&str; 5] {
        [&self.role, &self.db_name, &self.object, &self.object_name, &self.privilege]
    }
}
