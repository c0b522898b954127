//! Users, roles and grants, brought back one by one; what is there already stays as it is. Only the administrator of a new
//! cluster is made anew, so that the password that was shown is the right one whoever was there before.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::grants::moved;
use crate::milvus::kept::{KeptAccess, KeptGrant};
use crate::milvus::proto::milvus::{
    CreateCredentialRequest, CreateRoleRequest, DeleteCredentialRequest, GrantEntity, GrantorEntity,
    ListCredUsersRequest, ObjectEntity, OperatePrivilegeRequest, OperateUserRoleRequest, PrivilegeEntity, RoleEntity,
    SelectRoleRequest, UserEntity,
};
use crate::milvus::{MilvusClient, Secret};
use crate::{Administrator, Committed, SourceError, TargetAccess, TargetPlan};

/// Whoever grants.
const ROOT: &str = "root";
/// The built-in role that may do everything.
const ADMIN_ROLE: &str = "admin";

/// Makes what is missing. What cannot be made becomes a note: rows are restored already.
pub(super) async fn restore(client: &MilvusClient, access: &TargetAccess, plan: &TargetPlan, done: &mut Committed) {
    let kept = match access.kept.clone().map(serde_json::from_value).transpose() {
        Ok(kept) => kept.unwrap_or_default(),
        Err(error) => {
            done.notes
                .push(format!("users and roles were not restored: what the backup says of them is damaged: {error}"));
            KeptAccess::default()
        }
    };
    let (roles, mut users) = match there(client).await {
        Ok(there) => there,
        Err(error) => {
            done.notes.push(format!("users and roles were not restored: {error}"));
            return;
        }
    };
    if let Some(administrator) = &access.administrator {
        make_administrator(client, administrator, &users, done).await;
        users.push(administrator.name.clone());
    }
    for role in kept.roles.iter().filter(|role| !roles.contains(role)) {
        let entity = Some(RoleEntity { name: role.clone() });
        note(client.call(CreateRoleRequest { entity }).await, &format!("role {role}"), done);
    }
    let (grants, notes) = moved(&kept.grants, plan);
    done.notes.extend(notes);
    for grant in &grants {
        let what =
            format!("privilege {} on {} {} of role {}", grant.privilege, grant.object, grant.object_name, grant.role);
        note(client.call(granting(grant)).await, &what, done);
    }
    for user in &kept.users {
        if !users.contains(&user.name) {
            let nobody = || Err("nobody gives it a password".to_owned());
            let password = match access.new_password.as_ref().map_or_else(nobody, |new| new(&user.name)) {
                Ok(password) => password,
                Err(why) => {
                    done.notes.push(format!("user {} was not made: {why}", user.name));
                    continue;
                }
            };
            if note(client.call(credential(&user.name, &password)).await, &format!("user {}", user.name), done) {
                done.passwords.push((user.name.clone(), password));
            }
        }
        for role in &user.roles {
            note(client.call(member(&user.name, role)).await, &format!("role {role} of user {}", user.name), done);
        }
    }
}

async fn make_administrator(
    client: &MilvusClient,
    administrator: &Administrator,
    users: &[String],
    done: &mut Committed,
) {
    let Administrator { name, password } = administrator;
    let made = async {
        if users.contains(name) {
            client.call(DeleteCredentialRequest { username: name.clone() }).await?;
        }
        client.call(credential(name, password)).await?;
        client.call(member(name, ADMIN_ROLE)).await
    };
    if let Err(error) = made.await {
        done.notes.push(format!("administrator {name} was not made, and its password is not valid: {error}"));
    }
}

fn credential(user: &str, password: &Secret) -> CreateCredentialRequest {
    let (username, password) = (user.to_owned(), STANDARD.encode(password.expose()));
    CreateCredentialRequest { username, password, ..CreateCredentialRequest::default() }
}

fn member(user: &str, role: &str) -> OperateUserRoleRequest {
    OperateUserRoleRequest { username: user.to_owned(), role_name: role.to_owned(), r#type: 0 }
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
