//! Zilliz Cloud's official command line against a host: all its backup commands, and those about clusters, projects, jobs.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::path::{Path, PathBuf};
use std::process::Command;

use longshore_tests::{HostPlace, Ran, Server, copy_tree, not_run, root};
use serde_json::{Value, json};

/// The client with its settings, as somebody who uses our host instead of the cloud has it.
struct Zilliz {
    python: PathBuf,
    folder: tempfile::TempDir,
    key: String,
}

impl Zilliz {
    /// `None`, noted as skipped, where the client cannot be had.
    fn install(server: &Server, key: String) -> Option<Self> {
        let script = root().join("tests/python/venv.sh");
        let requirements = root().join("tests/python/requirements-zilliz-cli.txt");
        let ran: Ran = Command::new("bash").arg(script).arg(requirements).arg("zilliz_cli").output().ok()?.into();
        if ran.code != 0 {
            not_run(&format!("the official command line zilliz-cli: {}", ran.stderr.trim()));
            return None;
        }
        let python = PathBuf::from(ran.stdout.trim().lines().last().unwrap());
        let folder = tempfile::tempdir().unwrap();
        // `job describe` takes its endpoint from a file of the package and not from the settings; so that file says
        // another one, in a copy of the package.
        let found: Ran = Command::new(&python)
            .args(["-c", "import os, zilliz_cli; print(os.path.dirname(zilliz_cli.__file__))"])
            .output()
            .unwrap()
            .into();
        let package = folder.path().join("zilliz_cli");
        copy_tree(Path::new(found.ok().stdout.trim()), &package);
        let model = package.join("builtin_models/control-plane.json");
        let text = std::fs::read_to_string(&model).unwrap();
        std::fs::write(&model, text.replace("https://api.cloud.zilliz.com", &server.url)).unwrap();
        let zilliz = Self { python, folder, key };
        zilliz.run(&["configure", "set", "base_url", &server.url]).ok();
        Some(zilliz)
    }

    fn run(&self, arguments: &[&str]) -> Ran {
        Command::new(&self.python)
            .args(["-m", "zilliz_cli"])
            .args(arguments)
            .current_dir(self.folder.path())
            .env("PYTHONPATH", self.folder.path())
            .env("ZILLIZ_CONFIG_DIR", self.folder.path().join("settings"))
            .env("ZILLIZ_API_KEY", &self.key)
            .env("NO_PROXY", "127.0.0.1")
            .output()
            .unwrap()
            .into()
    }

    /// Runs a command that must end well; its answer.
    fn json(&self, arguments: &[&str]) -> Value {
        self.run(&[arguments, &["-o", "json"]].concat()).ok().json()
    }

    /// Waits with the client's own `--wait` for a job to end well.
    fn wait(&self, job: &Value) {
        let job = job["jobId"].as_str().unwrap_or_else(|| panic!("no job in {job}"));
        let said = self.run(&["job", "describe", "--job-id", job, "--wait", "--interval", "1", "--timeout", "60"]).ok();
        assert!(said.stdout.contains("SUCCESSFUL"), "{said:?}");
        let described = self.json(&["job", "describe", "--job-id", job]);
        assert_eq!((&described["status"], &described["progress"]), (&json!("SUCCESSFUL"), &json!("100")));
    }
}

#[test]
fn the_official_command_line_works() {
    let host = HostPlace::new("[[integration]]\nid = \"integ-1\"\nfolder = \"exports\"\n");
    let key = host.new_key("zilliz-cli", "organization-owner");
    let server = Server::start(&host.config);
    let Some(zilliz) = Zilliz::install(&server, key) else { return };
    let of = ["--cluster-id", "in01-test"];
    let run = |first: &[&str], more: &[&str]| zilliz.json(&[first, &of, more].concat());

    assert_eq!(zilliz.json(&["project", "list"])[0]["projectId"], "proj-test");
    assert_eq!(zilliz.json(&["project", "describe", "--project-id", "proj-test"])["projectName"], "Test");
    assert_eq!(zilliz.json(&["cluster", "list", "--all"])[0]["clusterId"], "in01-test");
    assert_eq!(run(&["cluster", "describe"], &[])["clusterName"], "Dedicated-01");
    assert_eq!(zilliz.json(&["cluster", "providers"])[0]["cloudId"], "local");
    assert_eq!(zilliz.json(&["cluster", "regions"])[0]["regionId"], "local-eu");

    let cluster = run(&["backup", "create"], &["--backup-type", "CLUSTER"]);
    zilliz.wait(&cluster);
    let more = ["--backup-type", "COLLECTION", "--database", "default", "--collection", "medium_articles"];
    let collection = run(&["backup", "create"], &more);
    zilliz.wait(&collection);
    let id = cluster["backupId"].as_str().unwrap();
    let listed = zilliz.json(&["backup", "list", "--all"]);
    assert_eq!(listed.as_array().unwrap().len(), 2, "{listed}");
    let described = run(&["backup", "describe"], &["--backup-id", id]);
    assert_eq!((&described["status"], &described["backupName"]), (&json!("AVAILABLE"), &json!("Dedicated-01_backup1")));

    let exported =
        run(&["backup", "export"], &["--backup-id", id, "--integration-id", "integ-1", "--directory", "march"]);
    zilliz.wait(&exported);
    assert_eq!(std::fs::read_dir(host.path().join("exports/march")).unwrap().count(), 1);

    let more = [
        "--backup-id",
        id,
        "--project-id",
        "proj-test",
        "--name",
        "Again",
        "--cu-size",
        "1",
        "--collection-status",
        "LOADED",
    ];
    let restored = run(&["backup", "restore-cluster"], &more);
    zilliz.wait(&restored);
    let new = restored["clusterId"].as_str().unwrap();
    let body = r#"{"dbCollections":[{"dbName":"default","collections":[{"collectionName":"medium_articles","destCollectionName":"copy"}]}]}"#;
    let of_collection = collection["backupId"].as_str().unwrap();
    let into = run(
        &["backup", "restore-collection"],
        &["--backup-id", of_collection, "--dest-cluster-id", new, "--body", body],
    );
    zilliz.wait(&into);

    let more = ["--auto-backup", "true", "--frequency", "weekdays", "--start-time", "03:00", "--retention-days", "14"];
    assert_eq!(run(&["backup", "update-policy"], &more)["status"], "ENABLED");
    let policy = run(&["backup", "describe-policy"], &[]);
    let seen = (&policy["frequency"], &policy["startTime"], &policy["retentionDays"]);
    assert_eq!(seen, (&json!("1,2,3,4,5"), &json!("03:00-05:00"), &json!(14)), "{policy}");
    assert_eq!(run(&["backup", "update-policy"], &["--auto-backup", "false"])["status"], "DISABLED");
    let automatic = zilliz.json(&["backup", "list", "--all"]);
    let automatic = automatic.as_array().unwrap().iter().find(|backup| backup["creationMethod"] == "AUTO");
    assert!(automatic.is_some(), "enabling the policy made a first backup");

    assert_eq!(run(&["backup", "delete"], &["--backup-id", id, "-y"])["backupId"], id);
    assert_eq!(zilliz.json(&["backup", "list", "--all"]).as_array().unwrap().len(), 2);
    let gone = run(&["backup", "describe"], &["--backup-id", id]);
    assert_eq!(gone["status"], "DELETED");
    assert_eq!(zilliz.json(&["cluster", "delete", "--cluster-id", new, "-y"])["clusterId"], new);

    // What is refused says why.
    let refused = zilliz.run(&["cluster", "describe", "--cluster-id", new]);
    assert!(refused.code != 0 && format!("{refused:?}").contains("96018"), "{refused:?}");
    let stranger = Zilliz { key: "wrong".to_owned(), ..zilliz };
    let refused = stranger.run(&["backup", "list"]);
    assert!(refused.code != 0 && format!("{refused:?}").contains("21119"), "{refused:?}");
    server.stop();
}
