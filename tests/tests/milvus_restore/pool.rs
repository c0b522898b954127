//! A host restores a whole cluster into a server that waits, with an administrator, users and roles.

use longshore_source::milvus::proto::milvus::ListCredUsersRequest;
use longshore_source::{MilvusSource, Source as _};
use longshore_tests::milvus::Milvus;
use longshore_tests::{Client, Server, longshore_in};
use serde_json::json;

use crate::support::{configuration, server};
use crate::users::{access, address, connect, make_reader, may, password_of_root};
use crate::whole::ALL;

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_is_restored_into_a_server_that_waits_with_administrator_users_and_roles() {
    let Some((milvus, _turn)) = server() else { return };
    let Some(second) = Milvus::start(&["--authorization"]) else { return };
    make_reader(milvus).await;

    let folder = tempfile::tempdir().unwrap();
    configuration(folder.path(), &[milvus]);
    password_of_root(folder.path());
    let config = folder.path().join("longshore.toml");
    let text = std::fs::read_to_string(&config).unwrap();
    let pool = format!(
        "server = {{ listen = \"127.0.0.1:0\" }}\n{text}\n[[server_pool]]\nname = \"spare\"\nregion = \"local-eu\"\n\
         cu_size = 4\n[server_pool.milvus]\nendpoint = \"http://{}\"\nuser = \"root\"\npassword_file = \"password\"\n\
         [server_pool.milvus.storage]\nfolder = \"{}\"\n",
        second.address(),
        second.storage.display()
    );
    std::fs::write(&config, pool).unwrap();
    let arguments = ["key", "create", "t", "--role", "organization-owner", "--config", "longshore.toml", "--quiet"];
    let key = longshore_in(folder.path(), arguments).ok().stdout.trim().to_owned();
    let host = Server::start(&config);
    let client = Client::new(&host, &key);
    let create = "/v2/clusters/in01-milvus0/backups/create";
    let made = client.data("POST", create, Some(r#"{"backupType":"CLUSTER"}"#)).await;
    let job = client.ended(made["jobId"].as_str().unwrap()).await;
    assert_eq!(job["status"], "SUCCESSFUL", "{job}");
    let restore = format!("/v2/clusters/in01-milvus0/backups/{}/restoreCluster", made["backupId"].as_str().unwrap());
    let body = r#"{"projectId":"proj-test","clusterName":"New","cuSize":2,"collectionStatus":"NOT_LOADED","includeRbac":true}"#;
    let answer = client.data("POST", &restore, Some(body)).await;
    let job = client.ended(answer["jobId"].as_str().unwrap()).await;
    assert_eq!(job["status"], "SUCCESSFUL", "{job}");
    assert!(job["result"]["note"].as_str().unwrap().contains("has shown them: reader"), "{job}");
    assert_eq!(job["result"]["restore"].get("notes"), None, "{job}");

    // Who has the password may do everything, a wrong one nothing.
    let (user, password) = (answer["username"].as_str().unwrap(), answer["password"].as_str().unwrap());
    assert_eq!(user, "db_admin");
    assert!(connect(&second, user, "wrong-password").await.is_err());
    assert_eq!(answer["users"].as_array().unwrap().len(), 1, "{answer}");
    assert_eq!(answer["users"][0]["username"], "reader");
    let reader = connect(&second, "reader", answer["users"][0]["password"].as_str().unwrap()).await.unwrap();
    assert_eq!(may(&reader, "made.docs").await, (true, true));
    assert_eq!(may(&reader, "made.tenants").await, (false, false));
    assert_eq!(may(&reader, "made_two.binv").await, (true, false));
    let admin = connect(&second, user, password).await.unwrap();
    let mut users = admin.call(ListCredUsersRequest {}).await.unwrap().usernames;
    users.sort();
    assert_eq!(users, ["db_admin", "reader", "root"]);
    let found = access(&second, user, password).await;
    assert_eq!(found["users"][0], json!({ "name": "db_admin", "roles": ["admin"] }), "{found}");
    assert_eq!(found["users"][1], json!({ "name": "reader", "roles": ["looks"] }), "{found}");
    assert_eq!(found["grants"], access(milvus, "root", "Milvus").await["grants"]);
    let mut there = second.server();
    there.address = address(&second, user, password);
    let inventory = MilvusSource::new(there).inventory().await.unwrap();
    for name in ALL {
        assert!(inventory.collections.iter().any(|one| one.name.to_string() == name), "{name}: {inventory:?}");
    }
    // It is registered and backed up like any other.
    let create = format!("/v2/clusters/{}/backups/create", answer["clusterId"].as_str().unwrap());
    let made = client.data("POST", &create, Some(r#"{"backupType":"CLUSTER"}"#)).await;
    let job = client.ended(made["jobId"].as_str().unwrap()).await;
    assert_eq!(job["status"], "SUCCESSFUL", "{job}");
    // The server is taken.
    let (status, refused) = client.send("POST", &restore, Some(&body.replace("New", "Newer"))).await;
    assert_eq!(status, 409, "{refused}");
    host.stop();
}
