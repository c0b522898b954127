//! What is said when something is wrong, and that nothing half-done is left.

use longshore_engine::{BackupRequest, RestoreScope, RunContext, plan_backup, plan_restore, run_backup, run_restore};
use longshore_model::{CollectionMapping, Phase, RestoredLoadState, SystemClock};
use longshore_source::milvus::{Credentials, Secret};
use longshore_source::{Limits, MilvusSource, MilvusTarget, MilvusTargetOptions, PointOptions, Source};
use longshore_tests::longshore_in;
use longshore_tests::milvus::{Milvus, milvus_judge};

use super::support::{Place, Rows, as_source, configuration, server};

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_root_path_is_found_and_the_right_one_named() {
    let Some((milvus, _turn)) = server() else { return };
    let folder = tempfile::tempdir().unwrap();
    let rows = Rows::create(milvus, "wrong_root.rows").await;
    rows.insert(0..100).await;
    let source = super::support::as_source(milvus);
    source.open_point(&rows.name, longshore_source::PointOptions::default()).await.unwrap();

    // The folder above the right one.
    configuration(folder.path(), &milvus.address(), milvus.storage.parent().unwrap(), "");
    let checked = longshore_in(folder.path(), ["source", "check", "--config", "longshore.toml"]);
    assert_eq!(checked.code, 1, "{checked:?}");
    let right = milvus.storage.file_name().unwrap().to_str().unwrap();
    let said = checked.stdout.replace(['\n', ' '], "");
    assert!(said.contains("rootPath") && said.contains(&format!("/{right}")), "{checked:?}");
    let backup = ["backup", "--config", "longshore.toml", "--to", "vault", "--collection", "wrong_root.rows"];
    longshore_in(folder.path(), backup).refused(1, "minio.rootPath");
    // A folder that is not there, and a server that is not there.
    configuration(folder.path(), &milvus.address(), &folder.path().join("nowhere"), "");
    longshore_in(folder.path(), backup).refused(1, "localStorage.path");
    configuration(folder.path(), "127.0.0.1:1", &milvus.storage, "");
    longshore_in(folder.path(), backup).refused(1, "cannot be reached");
    let listed = longshore_in(folder.path(), ["list", "vault", "--json"]);
    assert!(listed.code != 0 || !listed.stdout.contains("backup0_"), "{listed:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_killed_in_the_middle_of_a_copy_leaves_no_backup_and_the_next_one_goes_on() {
    let Some((milvus, _turn)) = server() else { return };
    let rows = Rows::create(milvus, "killed.rows").await;
    // Two points flush two segments, so that a copy has a middle.
    for half in 0..2 {
        rows.insert(half * 3000..half * 3000 + 3000).await;
        as_source(milvus).open_point(&rows.name, PointOptions::default()).await.unwrap();
    }
    let limits = Limits { unavailable_patience_ms: 500, ..Limits::DEFAULT };
    let source = MilvusSource::with(milvus.server(), limits, std::sync::Arc::new(SystemClock));
    let place = Place::new().await;
    let request = || BackupRequest::manual(place.cluster.clone(), vec![rows.name.clone()], &place.context).unwrap();
    // File by file, each made durable at once, and slow enough to be caught.
    let slow = RunContext::new(longshore_engine::Limits {
        bandwidth_bytes_per_second: Some(256 << 10),
        checkpoint_ms: 1,
        parallel_chunks: 1,
        small_files_batch_bytes: 1,
        ..Default::default()
    });
    let plan = plan_backup(request(), &source, &place.policy, &place.vaults, &slow).await.unwrap();
    let mut shown = slow.progress.subscribe();
    let killed = tokio::spawn(async move {
        loop {
            let (done, total) = shown.borrow_and_update().bytes();
            if done > 0 {
                milvus.kill();
                return (done, total, shown.borrow().phase);
            }
            shown.changed().await.unwrap();
        }
    });
    let ended = run_backup(plan, &source, &place.vaults, &slow).await;
    let (done, total, phase) = killed.await.unwrap();
    assert!(done < total && phase == Phase::Transfer, "{done} of {total} bytes, {phase:?}: it was killed too late");
    // The files are all there and are copied; that nothing was altered meanwhile can no longer be found out.
    let error = ended.unwrap_err().to_string();
    assert!(error.contains("cannot be reached"), "{error}");
    let vaults = place.vaults.all();
    let vault = vaults.first().unwrap();
    assert!(vault.list_backups().await.unwrap().backups.is_empty());
    milvus.start_again();
    // It calls itself healthy before all of its parts can be reached, and refuses flushes until then.
    let began = std::time::Instant::now();
    let plan = loop {
        match plan_backup(request(), &source, &place.policy, &place.vaults, &place.context).await {
            Ok(plan) => break plan,
            Err(error) => assert!(began.elapsed().as_secs() < 120, "{error}"),
        }
        tokio::time::sleep(std::time::Duration::from_millis(500)).await;
    };
    let outcome = run_backup(plan, &source, &place.vaults, &place.context).await.unwrap();
    assert_eq!(outcome.collections[0].physical_rows, 6000);
    assert_eq!(outcome.reused_bytes, outcome.size_bytes, "what the first attempt stored is not read again");
    assert_eq!(vault.list_backups().await.unwrap().backups.len(), 1);
    // And it is a whole one.
    let to = vec![CollectionMapping {
        from: rows.name.clone(),
        to: "killed_again.rows".parse().unwrap(),
        load_state: RestoredLoadState::NotLoaded,
    }];
    let plan = plan_restore(&place.vaults, None, &outcome.backup_id, RestoreScope::Collections(to)).await.unwrap();
    let target = MilvusTarget::new(milvus.server(), MilvusTargetOptions::default());
    run_restore(plan, &target, &place.context).await.unwrap();
    let same = milvus_judge(milvus, ["compare", "killed.rows", "killed_again.rows"]);
    assert_eq!(same.code, 0, "{same:?}");
    milvus_judge(milvus, ["drop", "killed", "killed_again"]).ok();
}

#[tokio::test(flavor = "multi_thread")]
async fn users_are_backed_up_and_wrong_ones_not_let_in() {
    let Some((_, _turn)) = server() else { return };
    let Some(milvus) = Milvus::start(&["--authorization"]) else { return };
    let folder = tempfile::tempdir().unwrap();
    let check = || longshore_in(folder.path(), ["source", "check", "--config", "longshore.toml", "--json"]);
    configuration(folder.path(), &milvus.address(), &milvus.storage, "");
    assert!(check().stdout.contains("does not let us in"), "{:?}", check());
    let password = folder.path().join("password");
    let write = |text: &str, mode: u32| {
        std::fs::write(&password, text).unwrap();
        std::fs::set_permissions(&password, std::os::unix::fs::PermissionsExt::from_mode(mode)).unwrap();
    };
    configuration(folder.path(), &milvus.address(), &milvus.storage, "user = \"root\"\npassword_file = \"password\"");
    write("wrong-password", 0o600);
    let said = check();
    assert!(said.code == 1 && said.stdout.contains("check user and password"), "{said:?}");
    assert!(!format!("{said:?}").contains("wrong-password"));
    // A password that everybody may read is taken for known.
    write("Milvus\n", 0o644);
    assert!(check().stderr.contains("chmod 600") || check().stdout.contains("chmod 600"), "{:?}", check());
    write("Milvus\n", 0o600);
    let said = check();
    assert_eq!(said.code, 0, "{said:?}");

    let mut server = milvus.server();
    let user = |user: &str, password: &str| {
        Some(Credentials::Password { user: user.to_owned(), password: Secret::new(password) })
    };
    server.address.credentials = user("root", "Milvus");
    let root = longshore_source::milvus::MilvusClient::connect(&server.address, Limits::DEFAULT).await.unwrap();
    make_user(&root).await;
    let inventory = MilvusSource::new(server.clone()).inventory().await.unwrap();
    let access = inventory.access.unwrap();
    assert_eq!(access["users"], serde_json::json!([{ "name": "reader", "roles": ["looks"] }]));
    assert_eq!(access["roles"], serde_json::json!(["looks"]));
    let grant = serde_json::json!({
        "role": "looks", "object": "Global", "objectName": "*", "privilege": "ShowCollections", "dbName": "default"
    });
    assert!(access["grants"].as_array().unwrap().contains(&grant), "{access}");
    // A user who may see collections and nothing of users: backed up all the same, and it is said what is not in it.
    server.address.credentials = user("reader", "Reader-1");
    let inventory = MilvusSource::new(server).inventory().await.unwrap();
    assert_eq!(inventory.access, None);
    assert!(inventory.warnings[0].contains("users, roles and grants are not in the backup"), "{inventory:?}");
}

async fn make_user(root: &longshore_source::milvus::MilvusClient) {
    use longshore_source::milvus::proto::milvus::{
        CreateCredentialRequest, CreateRoleRequest, GrantEntity, GrantorEntity, ObjectEntity, OperatePrivilegeRequest,
        OperateUserRoleRequest, PrivilegeEntity, RoleEntity, UserEntity,
    };
    let role = || Some(RoleEntity { name: "looks".to_owned() });
    // "Reader-1" in Base64, as this call wants it.
    let (username, password) = ("reader".to_owned(), "UmVhZGVyLTE=".to_owned());
    root.call(CreateCredentialRequest { username, password, ..CreateCredentialRequest::default() }).await.unwrap();
    root.call(CreateRoleRequest { entity: role() }).await.unwrap();
    let (username, role_name) = ("reader".to_owned(), "looks".to_owned());
    root.call(OperateUserRoleRequest { username, role_name, ..OperateUserRoleRequest::default() }).await.unwrap();
    for privilege in ["ShowCollections", "ListDatabases"] {
        let grantor = GrantorEntity {
            user: Some(UserEntity { name: "root".to_owned() }),
            privilege: Some(PrivilegeEntity { name: privilege.to_owned() }),
        };
        let entity = GrantEntity {
            role: role(),
            object: Some(ObjectEntity { name: "Global".to_owned() }),
            object_name: "*".to_owned(),
            grantor: Some(grantor),
            db_name: "default".to_owned(),
        };
        root.call(OperatePrivilegeRequest { entity: Some(entity), ..OperatePrivilegeRequest::default() })
            .await
            .unwrap();
    }
}
