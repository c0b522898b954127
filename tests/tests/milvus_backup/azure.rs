//! A server whose files are in a container of Azure. No server could be had that writes to a stand-in for Azure, so the files of
//! one that keeps them in a folder are copied into a container of Azurite, and read there.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use longshore_tests::milvus::milvus_judge;
use longshore_tests::{Ran, longshore_in, not_run, root};

use super::support::{Rows, configuration, server};

/// The account that Azurite has, and its key, both known to everybody.
const ACCOUNT: &str = "devstoreaccount1";
const KEY: &str = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";

/// A server of Azure Blob Storage. Ends when dropped.
struct Azure {
    child: Child,
    tools: PathBuf,
    endpoint: String,
    _data: tempfile::TempDir,
}

impl Drop for Azure {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Azure {
    fn start() -> Option<Self> {
        let ran: Ran = Command::new(root().join("tests/azure/install.sh")).output().unwrap().into();
        if ran.code != 0 {
            not_run(&format!("Milvus with its files in a container of Azure: {}", ran.stderr.trim()));
            return None;
        }
        let tools = PathBuf::from(ran.stdout.trim().lines().last().unwrap());
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = free.local_addr().unwrap().port().to_string();
        drop(free);
        let data = tempfile::tempdir().unwrap();
        let child = Command::new(tools.join("node_modules/.bin/azurite-blob"))
            .args([
                "--blobHost",
                "127.0.0.1",
                "--blobPort",
                &port,
                "--silent",
                "--skipApiVersionCheck",
                "--disableTelemetry",
            ])
            .arg("--location")
            .arg(data.path())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let endpoint = format!("http://127.0.0.1:{port}/{ACCOUNT}");
        Some(Self { child, tools, endpoint, _data: data })
    }

    /// Copies a folder into a container. The client asks again until the server answers.
    fn fill(&self, container: &str, folder: &Path, prefix: &str) {
        let filled: Ran = Command::new("node")
            .current_dir(&self.tools)
            .args(["fill.mjs", &self.endpoint, ACCOUNT, KEY, container])
            .args([folder.to_str().unwrap(), prefix])
            .output()
            .unwrap()
            .into();
        assert_eq!(filled.code, 0, "{filled:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn files_in_a_container_of_azure_are_backed_up_known_again_and_restored_from() {
    let Some((milvus, _turn)) = server() else { return };
    let Some(azure) = Azure::start() else { return };
    let folder = tempfile::tempdir().unwrap();
    let key = folder.path().join("key");
    std::fs::write(&key, KEY).unwrap();
    std::fs::set_permissions(&key, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let rows = Rows::create(milvus, "azure.rows").await;
    rows.insert(0..1000).await;
    rows.delete(0..100).await;
    let backup = ["backup", "--config", "longshore.toml", "--to", "vault", "--collection", "azure.rows", "--json"];
    let storage = &milvus.storage;
    // Everything is written down by it.
    configuration(folder.path(), &milvus.address(), storage, "");
    let of_folder = longshore_in(folder.path(), backup).ok().json();
    for logs in ["insert_log", "delta_log"] {
        azure.fill("a-container", &storage.join(logs), &format!("files/{logs}"));
    }

    let local = std::fs::read_to_string(folder.path().join("longshore.toml")).unwrap();
    let (before, _) = local.split_once("[cluster.milvus.storage]").unwrap();
    let configure = |container: &str, root_path: &str, key: &str| {
        let text = format!(
            "{before}[cluster.milvus.storage]\nprovider = \"azure\"\nbucket = \"{container}\"\nroot_path = \"{root_path}\"\n\
             endpoint = \"{}\"\naccess_key_id = \"{ACCOUNT}\"\nsecret_access_key_file = \"{key}\"\n",
            azure.endpoint
        );
        std::fs::write(folder.path().join("longshore.toml"), text).unwrap();
    };
    configure("a-container", "files", "key");
    let first = longshore_in(folder.path(), backup).ok().json();
    assert_eq!(first["collections"][0]["liveRows"], 900, "{first}");
    assert_eq!(first["sizeBytes"], of_folder["sizeBytes"], "{first}");
    // Other files by their identity, the same by their bytes.
    assert_eq!((&first["reusedBytes"], &first["storedBytes"]), (&0.into(), &0.into()), "{first}");
    let second = longshore_in(folder.path(), backup).ok().json();
    assert_eq!(second["reusedBytes"], first["sizeBytes"], "{second}");
    longshore_in(folder.path(), ["verify", "vault"]).ok();

    // What is wrong is found, and no key is said.
    let check = || longshore_in(folder.path(), ["source", "check", "--config", "longshore.toml", "--json"]);
    assert_eq!(check().ok().json()["works"], true);
    configure("a-container", "", "key");
    let said = check();
    assert!(said.code == 1 && said.stdout.contains("insert_log is in az://a-container/files"), "{said:?}");
    configure("another-container", "files", "key");
    let said = check();
    assert!(said.code == 1 && said.stdout.contains("ContainerNotFound"), "{said:?}");
    let wrong = folder.path().join("wrong-key");
    std::fs::write(&wrong, KEY.replace("Eby8", "AAAA")).unwrap();
    std::fs::set_permissions(&wrong, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    configure("a-container", "files", "wrong-key");
    let said = check();
    assert!(said.code == 1 && said.stdout.contains("key that may list and read"), "{said:?}");
    assert!(!format!("{said:?}").contains("vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50"), "{said:?}");

    // The rows are those that the server has.
    std::fs::write(folder.path().join("longshore.toml"), local).unwrap();
    let restore =
        ["restore", "vault", "--config", "longshore.toml", "--collection", "azure.rows=azure_again.rows", "--json"];
    let restored = longshore_in(folder.path(), restore).ok().json();
    assert_eq!(restored["collections"][0]["liveRows"], 900, "{restored}");
    let same = milvus_judge(milvus, ["compare", "azure.rows", "azure_again.rows"]);
    assert_eq!(same.code, 0, "{same:?}");
}
