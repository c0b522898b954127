//! A server that keeps its files in a bucket.

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use longshore_tests::milvus::{Milvus, milvus_judge};
use longshore_tests::{Ran, longshore_in, not_run, root};

use super::support::{Rows, server};

/// A server that speaks S3, with a bucket `a-bucket`. Ends when dropped.
struct Bucket {
    child: Child,
    port: u16,
}

impl Drop for Bucket {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Bucket {
    async fn start() -> Option<Self> {
        let requirements = root().join("tests/python/requirements-s3.txt");
        let script = root().join("tests/python/venv.sh");
        let ran: Ran = Command::new("bash").arg(script).arg(requirements).arg("moto.server").output().unwrap().into();
        if ran.code != 0 {
            not_run(&format!("Milvus with its files in a bucket: {}", ran.stderr.trim()));
            return None;
        }
        let python = ran.stdout.trim().lines().last().unwrap().to_owned();
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = free.local_addr().unwrap().port();
        drop(free);
        let child = Command::new(python)
            .args(["-m", "moto.server", "-H", "127.0.0.1", "-p", &port.to_string()])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let bucket = Self { child, port };
        longshore_source::milvus::choose_tls();
        let http = reqwest::Client::new();
        for _ in 0..300 {
            let made = http.put(format!("http://127.0.0.1:{port}/a-bucket")).send().await;
            if made.is_ok_and(|answer| answer.status().is_success()) {
                return Some(bucket);
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        panic!("the S3 server does not answer");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn files_in_a_bucket_are_backed_up_known_again_and_restored() {
    // The turn: one server works at a time.
    let Some((_, _turn)) = server() else { return };
    let Some(bucket) = Bucket::start().await else { return };
    let port = bucket.port;
    let settings = [
        "COMMON_STORAGETYPE=minio".to_owned(),
        "MINIO_ADDRESS=127.0.0.1".to_owned(),
        format!("MINIO_PORT={port}"),
        "MINIO_BUCKETNAME=a-bucket".to_owned(),
        "MINIO_ROOTPATH=files".to_owned(),
        "MINIO_ACCESSKEYID=minioadmin".to_owned(),
        "MINIO_SECRETACCESSKEY=minioadmin".to_owned(),
    ];
    let arguments: Vec<&str> = settings.iter().flat_map(|setting| ["--env", setting.as_str()]).collect();
    let Some(milvus) = Milvus::start(&arguments) else { return };
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("key"), "minioadmin").unwrap();
    std::fs::set_permissions(folder.path().join("key"), std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let configure = |bucket: &str, root_path: &str| {
        let text = format!(
            "data_directory = \"data\"\n[project]\nid = \"proj-test\"\nname = \"Test\"\n[[region]]\nid = \"local-eu\"\n\
             vault = \"regional\"\n[[cluster]]\nid = \"in01-milvus\"\nname = \"Milvus\"\nregion = \"local-eu\"\n\
             [cluster.milvus]\nendpoint = \"http://{}\"\n[cluster.milvus.storage]\nbucket = \"{bucket}\"\n\
             root_path = \"{root_path}\"\nendpoint = \"http://127.0.0.1:{port}\"\naccess_key_id = \"minioadmin\"\n\
             secret_access_key_file = \"key\"\n",
            milvus.address()
        );
        std::fs::write(folder.path().join("longshore.toml"), text).unwrap();
    };
    let rows = Rows::create(&milvus, "bucket.rows").await;
    rows.insert(0..1000).await;
    rows.delete(0..100).await;
    configure("a-bucket", "files");
    let backup = ["backup", "--config", "longshore.toml", "--to", "vault", "--json"];
    let first = longshore_in(folder.path(), backup).ok().json();
    assert_eq!(first["collections"][0]["physicalRows"], 1000, "{first}");
    assert_eq!(first["collections"][0]["liveRows"], 900, "{first}");
    let second = longshore_in(folder.path(), backup).ok().json();
    assert_eq!(second["reusedBytes"], first["sizeBytes"], "{second}");
    assert_eq!(second["sizeBytes"], first["sizeBytes"], "{second}");
    longshore_in(folder.path(), ["verify", "vault"]).ok();

    // Files of a restore are checked in a folder of this machine first.
    let restore =
        ["restore", "vault", "--config", "longshore.toml", "--collection", "bucket.rows=bucket_again.rows", "--json"];
    longshore_in(folder.path(), restore).refused(1, "[cluster.milvus.staging] folder");
    let staging = "[cluster.milvus.staging]\nfolder = \"staging\"\n";
    let path = folder.path().join("longshore.toml");
    std::fs::write(&path, std::fs::read_to_string(&path).unwrap() + staging).unwrap();
    let restored = longshore_in(folder.path(), restore).ok().json();
    assert_eq!(restored["collections"][0]["liveRows"], 900, "{restored}");
    let same = milvus_judge(&milvus, ["compare", "bucket.rows", "bucket_again.rows"]);
    assert_eq!(same.code, 0, "{same:?}");
    let counted = milvus_judge(&milvus, ["rows", "bucket_again.rows"]).ok().json();
    assert_eq!(counted["count"], 900);
    // Nothing of it stays in the bucket or in the folder.
    let left = format!("http://127.0.0.1:{port}/a-bucket?list-type=2&prefix=files/");
    let left = reqwest::get(left).await.unwrap().text().await.unwrap();
    assert!(left.contains("files/insert_log") && !left.contains("longshore-staging"), "{left}");
    assert_eq!(std::fs::read_dir(folder.path().join("staging")).unwrap().count(), 0);

    // What is wrong is found, and the right root path named.
    let check = || longshore_in(folder.path(), ["source", "check", "--config", "longshore.toml", "--json"]);
    assert_eq!(check().ok().json()["works"], true);
    configure("a-bucket", "");
    let said = check();
    assert!(said.code == 1 && said.stdout.contains("insert_log is in s3://a-bucket/files"), "{said:?}");
    configure("another-bucket", "files");
    let said = check();
    assert!(said.code == 1 && said.stdout.contains("NoSuchBucket"), "{said:?}");
}
