//! Users, roles and grants, brought back one by one; what is there already stays as it is.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::NewPassword;
use crate::milvus::MilvusClient;
use crate::milvus::kept::{KeptAccess, KeptGrant};
use crate::milvus::proto::milvus::{
    CreateCredentialRequest, CreateRoleRequest, GrantEntity, GrantorEntity, ListCredUsersRequest, ObjectEntity,
    OperatePrivilegeRequest, OperateUserRoleRequest, PrivilegeEntity, RoleEntity, SelectRoleRequest, UserEntity,
};
use crate::{Committed, SourceError};

/// Whoever grants.
const ROOT: &str = "root";

/// Makes what is missing. What cannot be made becomes a note: rows are restored already.
pub(super) async fn restore(
    client: &MilvusClient,
    kept: &KeptAccess,
    new_password: Option<&NewPassword>,
    done: &mut Committed,
) {
    let (roles, users) = match there(client).await {
        Ok(there) => there,
        Err(error) => {
            done.notes.push(format!("users and roles were not restored: {error}"));
            return;
        }
    };
    for role in kept.roles.iter().filter(|role| !roles.contains(role)) {
        let entity = Some(RoleEntity { name: role.clone() });
        note(client.call(CreateRoleRequest { entity }).await, &format!("role {role}"), done);
    }
    for grant in &kept.grants {
        let what =
            format!("privilege {} on {} {} of role {}", grant.privilege, grant.object, grant.object_name, grant.role);
        note(client.call(granting(grant)).await, &what, done);
    }
    for user in &kept.users {
        if !users.contains(&user.name) {
            let password = new_password.map_or_else(|| Err("nobody gives it a password".to_owned()), |new| new());
            let password = match password {
                Ok(password) => password,
                Err(why) => {
                    done.notes.push(format!("user {} was not made: {why}", user.name));
                    continue;
                }
            };
            let request = CreateCredentialRequest {
                username: user.name.clone(),
                password: STANDARD.encode(password.expose()),
                ..CreateCredentialRequest::default()
            };
            if note(client.call(request).await, &format!("user {}", user.name), done) {
                done.passwords.push((user.name.clone(), password));
            }
        }
        for role in &user.roles {
            let request = OperateUserRoleRequest { username: user.name.clone(), role_name: role.clone(), r#type: 0 };
            note(client.call(request).await, &format!("role {role} of user {}", user.name), done);
        }
    }
}

async fn there(client: &MilvusClient) -> Result<(Vec<String>, Vec<String>), SourceError> {
    let roles = client.call(SelectRoleRequest::default()).await?.results;
    let roles = roles.into_iter().filter_map(|role| Some(role.role?.name)).collect();
    Ok((roles, client.call(ListCredUsersRequest {}).await?.usernames))
}

fn granting(grant: &KeptGrant) -> OperatePrivilegeRequest {
    let entity = GrantEntity {
        role: Some(RoleEntity { name: grant.role.clone() }),
        object: Some(ObjectEntity { name: grant.object.clone() }),
        object_name: grant.object_name.clone(),
        grantor: Some(GrantorEntity {
            user: Some(UserEntity { name: ROOT.to_owned() }),
            privilege: Some(PrivilegeEntity { name: grant.privilege.clone() }),
        }),
        db_name: grant.db_name.clone(),
    };
    OperatePrivilegeRequest { entity: Some(entity), r#type: 0 }
}

fn note<T>(made: Result<T, SourceError>, what: &str, done: &mut Committed) -> bool {
    match made {
        Ok(_) => true,
        Err(error) => {
            done.notes.push(format!("{what} was not restored: {error}"));
            false
        }
    }
}
