//! Users, roles and what they may do: made in a server, brought into another one, and tried out there.

use std::path::Path;

use longshore_source::Limits;
use longshore_source::milvus::proto::milvus::{
    CreateCredentialRequest, CreateRoleRequest, GetCollectionStatisticsRequest, GrantEntity, GrantorEntity,
    ListCredUsersRequest, ObjectEntity, OperatePrivilegeRequest, OperateUserRoleRequest, PrivilegeEntity, RoleEntity,
    ShowPartitionsRequest, UserEntity,
};
use longshore_source::milvus::{Credentials, MilvusClient, Secret, ServerAddress};
use longshore_source::{MilvusSource, Source as _, SourceError};
use longshore_tests::longshore_in;
use longshore_tests::milvus::Milvus;
use serde_json::{Value, json};

use super::support::{configuration, server};

const USER: &str = "reader";
const ROLE: &str = "looks";
/// Object, database, name and privilege of what the role may do.
const GRANTS: [[&str; 4]; 4] = [
    ["Collection", "made", "docs", "GetStatistics"],
    ["Collection", "made", "docs", "ShowPartitions"],
    ["Collection", "made_two", "*", "GetStatistics"],
    ["Global", "made", "*", "CreateCollection"],
];

/// A server as somebody with a password finds it.
pub(crate) fn address(milvus: &Milvus, user: &str, password: &str) -> ServerAddress {
    let credentials = Credentials::Password { user: user.to_owned(), password: Secret::new(password) };
    ServerAddress { credentials: Some(credentials), ..ServerAddress::open(milvus.address()) }
}

pub(crate) async fn connect(milvus: &Milvus, user: &str, password: &str) -> Result<MilvusClient, SourceError> {
    MilvusClient::connect(&address(milvus, user, password), Limits::DEFAULT).await
}

/// Who may do what, as a backup would keep it.
pub(crate) async fn access(milvus: &Milvus, user: &str, password: &str) -> Value {
    let mut server = milvus.server();
    server.address = address(milvus, user, password);
    MilvusSource::new(server).inventory().await.unwrap().access.unwrap()
}

/// A file with the password that every new server has for `root`.
pub(crate) fn password_of_root(folder: &Path) {
    let password = folder.join("password");
    std::fs::write(&password, "Milvus\n").unwrap();
    std::fs::set_permissions(&password, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
}

/// Makes a user and a role with grants, unless an earlier test did. A server that asks nobody for a password wants to know
/// all the same who grants.
pub(crate) async fn make_reader(milvus: &Milvus) {
    let root = connect(milvus, "root", "Milvus").await.unwrap();
    if root.call(ListCredUsersRequest {}).await.unwrap().usernames.iter().any(|user| user == USER) {
        return;
    }
    let role = || Some(RoleEntity { name: ROLE.to_owned() });
    root.call(CreateRoleRequest { entity: role() }).await.unwrap();
    // "Reader-1" in Base64, as this call wants it.
    let (username, password) = (USER.to_owned(), "UmVhZGVyLTE=".to_owned());
    root.call(CreateCredentialRequest { username, password, ..CreateCredentialRequest::default() }).await.unwrap();
    let (username, role_name) = (USER.to_owned(), ROLE.to_owned());
    root.call(OperateUserRoleRequest { username, role_name, r#type: 0 }).await.unwrap();
    for [object, db_name, object_name, privilege] in GRANTS.map(|grant| grant.map(str::to_owned)) {
        let grantor = GrantorEntity {
            user: Some(UserEntity { name: "root".to_owned() }),
            privilege: Some(PrivilegeEntity { name: privilege }),
        };
        let object = Some(ObjectEntity { name: object });
        let entity = GrantEntity { role: role(), object, object_name, grantor: Some(grantor), db_name };
        root.call(OperatePrivilegeRequest { entity: Some(entity), r#type: 0 }).await.unwrap();
    }
}

/// Whether a user may count the rows of a collection, and list its partitions.
pub(crate) async fn may(client: &MilvusClient, name: &str) -> (bool, bool) {
    fn is_let<T>(answer: Result<T, SourceError>) -> bool {
        match answer {
            Ok(_) => true,
            Err(SourceError::NotPermitted { .. }) => false,
            Err(error) => panic!("{error}"),
        }
    }
    let (database, collection) = name.split_once('.').unwrap();
    let (db_name, collection_name) = (database.to_owned(), collection.to_owned());
    let request = ShowPartitionsRequest { db_name, collection_name, ..ShowPartitionsRequest::default() };
    let lists = is_let(client.call(request).await);
    let (db_name, collection_name) = (database.to_owned(), collection.to_owned());
    (is_let(client.call(GetCollectionStatisticsRequest { db_name, collection_name }).await), lists)
}

/// What the role may do, in the order of a backup; what everybody may is left out.
fn of_role(access: &Value) -> Vec<[&str; 4]> {
    let grants = access["grants"].as_array().unwrap().iter().filter(|grant| grant["role"] == ROLE);
    let shown = grants.map(|grant| {
        let text = |key: &str| grant[key].as_str().unwrap();
        [text("object"), text("dbName"), text("objectName"), text("privilege")]
    });
    shown.collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn by_the_binary_users_come_along_and_grants_follow_collections_to_their_new_names() {
    let Some((milvus, _turn)) = server() else { return };
    let Some(second) = Milvus::start(&["--authorization"]) else { return };
    make_reader(milvus).await;
    let before = access(milvus, "root", "Milvus").await;
    let mut expected = GRANTS;
    expected.sort_unstable_by_key(|[object, database, name, privilege]| [*database, *object, *name, *privilege]);
    assert_eq!(of_role(&before), expected);

    let folder = tempfile::tempdir().unwrap();
    configuration(folder.path(), &[milvus, &second]);
    password_of_root(folder.path());
    let config = folder.path().join("longshore.toml");
    let text = std::fs::read_to_string(&config).unwrap();
    let endpoint = format!("endpoint = \"http://{}\"\n", second.address());
    let let_in = format!("{endpoint}user = \"root\"\npassword_file = \"password\"\n");
    std::fs::write(&config, text.replace(&endpoint, &let_in)).unwrap();
    let backup = ["backup", "--config", "longshore.toml", "--cluster", "in01-milvus0", "--to", "vault"];
    longshore_in(folder.path(), backup).ok();
    let restore = ["restore", "vault", "--config", "longshore.toml", "--cluster", "in01-milvus1", "--users", "--json"];
    let names = ["made.docs=moved.papers", "made.tenants=moved.tenants", "made_two.plain=made_two.other"];
    let restore = restore.into_iter().chain(names.iter().flat_map(|name| ["--collection", name]));
    let restored = longshore_in(folder.path(), restore).ok().json();
    let notes = restored["notes"].as_array().unwrap();
    assert!(notes.len() == 1 && notes[0].as_str().unwrap().contains("all of database made "), "{restored}");

    let after = access(&second, "root", "Milvus").await;
    assert_eq!(after["users"], json!([{ "name": USER, "roles": [ROLE] }]), "{after}");
    // What is granted in `made` is not told: there is no such database here.
    let expected = [
        ["Collection", "made_two", "*", "GetStatistics"],
        ["Collection", "moved", "papers", "GetStatistics"],
        ["Collection", "moved", "papers", "ShowPartitions"],
    ];
    assert_eq!(of_role(&after), expected);
    let passwords = restored["passwords"].as_array().unwrap();
    assert!(passwords.len() == 1 && passwords[0]["user"] == USER, "{restored}");
    let reader = connect(&second, USER, passwords[0]["password"].as_str().unwrap()).await.unwrap();
    assert_eq!(may(&reader, "moved.papers").await, (true, true));
    assert_eq!(may(&reader, "moved.tenants").await, (false, false));
    assert_eq!(may(&reader, "made_two.other").await, (true, false));
    assert!(connect(&second, USER, "Reader-1").await.is_err(), "the old password is nobody's");
}
