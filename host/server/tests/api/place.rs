//! A host of its own for each test, with keys of every role.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{HeaderMap, Request, StatusCode};
use longshore_catalog::{ApiKeyRow, Catalog, SqliteCatalog};
use longshore_engine::{
    ClusterAccess, Host, HostConfig, HostOptions, KeyRequest, Notifier, Role, SystemRandom, create_key,
};
use longshore_model::{Clock, KeyScope, SystemClock, Timestamp};
use longshore_server::{Limits, router};
use serde_json::Value;
use tempfile::TempDir;
use tower::ServiceExt as _;

/// The cluster of the configuration.
pub(crate) const CLUSTER: &str = "in01-test";
/// The call of the guide.
pub(crate) const CREATE: &str = "/v2/clusters/in01-test/backups/create";

/// The default limits, but a test may call as fast as it can.
pub(crate) const FAST: Limits = Limits { calls_per_second: 1_000_000, ..Limits::DEFAULT };

/// An answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Value,
}

impl Answer {
    /// The `data` of an answer that must be good.
    pub(crate) fn data(&self) -> &Value {
        assert!(self.status == StatusCode::OK && self.body["code"] == 0, "{self:?}");
        &self.body["data"]
    }

    /// HTTP status and code of an answer that must be a refusal with a sentence.
    pub(crate) fn refusal(&self) -> (u16, u64) {
        let message = self.body["message"].as_str().unwrap_or_else(|| panic!("no message: {self:?}"));
        let sentence = message.ends_with('.') && message.len() > 15 && self.body.get("data").is_none();
        assert!(sentence, "not a sentence: {self:?}");
        (self.status.as_u16(), self.body["code"].as_u64().unwrap())
    }
}

/// A clock that a test moves. It must stand still while jobs run, whose leases it counts.
#[derive(Debug, Clone)]
pub(crate) struct ManualClock(Arc<AtomicI64>);

impl ManualClock {
    pub(crate) fn at(time: &str) -> Self {
        Self(Arc::new(AtomicI64::new(time.parse::<Timestamp>().unwrap().as_millis())))
    }

    pub(crate) fn forward(&self, ms: i64) {
        self.0.fetch_add(ms, Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.0.load(Ordering::SeqCst))
    }
}

/// What a host is started with, where it is not as usual.
#[derive(Clone)]
pub(crate) struct Start {
    pub(crate) limits: Limits,
    pub(crate) clock: Arc<dyn Clock>,
    /// Ends the configuration.
    pub(crate) more: String,
    pub(crate) clusters: Option<Arc<dyn ClusterAccess>>,
    pub(crate) notifier: Option<Arc<dyn Notifier>>,
}

impl Default for Start {
    fn default() -> Self {
        Self { limits: FAST, clock: Arc::new(SystemClock), more: String::new(), clusters: None, notifier: None }
    }
}

/// A host, its API, and where it keeps its things.
pub(crate) struct Place {
    pub(crate) folder: TempDir,
    pub(crate) host: Host,
    pub(crate) router: Router,
    pub(crate) owner: String,
}

impl Place {
    /// Starts a host over a copy of the sample cluster.
    pub(crate) async fn start() -> Self {
        Self::start_with(FAST).await
    }

    pub(crate) async fn start_with(limits: Limits) -> Self {
        Self::start_as(Start { limits, ..Start::default() }).await
    }

    /// Starts a host whose time the test moves.
    pub(crate) async fn start_at(clock: ManualClock) -> Self {
        Self::start_as(Start { clock: Arc::new(clock), ..Start::default() }).await
    }

    pub(crate) async fn start_as(start: Start) -> Self {
        Self::start_in(Self::folder(), start).await
    }

    /// The same with lines before the first table of the configuration.
    pub(crate) async fn start_with_head(head: &str, start: Start) -> Self {
        let folder = Self::folder();
        std::fs::write(folder.path().join("head.toml"), head).unwrap();
        Self::start_in(folder, start).await
    }

    /// A folder with a copy of the sample cluster.
    pub(crate) fn folder() -> TempDir {
        let folder = tempfile::tempdir().unwrap();
        let sample = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/sample-cluster");
        copy_tree(&sample, &folder.path().join("cluster"));
        folder
    }

    /// Starts a host in a folder that may have had one before.
    pub(crate) async fn start_in(folder: TempDir, start: Start) -> Self {
        let path = folder.path().join("longshore.toml");
        let head = std::fs::read_to_string(folder.path().join("head.toml")).unwrap_or_default();
        std::fs::write(&path, format!("{head}{CONFIGURATION}{}", start.more)).unwrap();
        let config = HostConfig::read(&path).unwrap();
        let Start { limits, clock, clusters, notifier, .. } = start;
        let options = HostOptions { config_path: Some(path), clock, clusters, notifier, ..HostOptions::default() };
        let host = Host::start(config, options).await.unwrap();
        let router = router(host.clone(), limits);
        let mut place = Self { folder, host, router, owner: String::new() };
        place.owner = place.key("owner", Role::OrganizationOwner);
        place
    }

    /// Stops the host and starts another one in its place.
    pub(crate) async fn restart(self, start: Start) -> Self {
        self.host.shutdown().await;
        let Self { folder, host, router, .. } = self;
        drop((host, router));
        Self::start_in(folder, start).await
    }

    pub(crate) fn catalog(&self) -> SqliteCatalog {
        SqliteCatalog::open(&self.path("data/catalog.sqlite")).unwrap()
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Makes a key.
    pub(crate) fn key(&self, name: &str, role: Role) -> String {
        self.key_with_row(name, role).1
    }

    pub(crate) fn key_with_row(&self, name: &str, role: Role) -> (ApiKeyRow, String) {
        self.key_for(name, role, KeyScope::All, None)
    }

    /// Makes a key for some projects and clusters, or one that expires.
    pub(crate) fn key_for(
        &self,
        name: &str,
        role: Role,
        scope: KeyScope,
        expires: Option<Timestamp>,
    ) -> (ApiKeyRow, String) {
        let request = KeyRequest { name: name.to_owned(), role, scope, expires };
        create_key(&self.catalog(), &request, &SystemRandom, Timestamp::from_millis(0), "tests").unwrap()
    }

    /// Sends a request as the owner.
    pub(crate) async fn send(&self, method: &str, path: &str, body: &str) -> Answer {
        self.send_as(&self.owner, method, path, body).await
    }

    pub(crate) async fn send_as(&self, key: &str, method: &str, path: &str, body: &str) -> Answer {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("Authorization", format!("Bearer {key}"))
            .header("Content-Type", "application/json")
            .body(Body::from(body.to_owned()))
            .unwrap();
        self.ask(request).await
    }

    /// The status and the text of an answer that is no JSON when it is good.
    pub(crate) async fn send_text(&self, key: &str, path: &str) -> (u16, String) {
        let request = Request::get(path).header("Authorization", format!("Bearer {key}")).body(Body::empty()).unwrap();
        let (head, body) = self.router.clone().oneshot(request).await.unwrap().into_parts();
        let bytes = to_bytes(body, 100_000_000).await.unwrap();
        (head.status.as_u16(), String::from_utf8(bytes.to_vec()).unwrap())
    }

    /// Sends any request; checks what is true of every answer.
    pub(crate) async fn ask(&self, request: Request<Body>) -> Answer {
        let (method, path) = (request.method().clone(), request.uri().to_string());
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (head, body) = response.into_parts();
        let bytes = to_bytes(body, 100_000_000).await.unwrap();
        let body: Value = serde_json::from_slice(&bytes)
            .unwrap_or_else(|error| panic!("not JSON ({error}): {}", String::from_utf8_lossy(&bytes)));
        assert_eq!(head.headers["content-type"], "application/json");
        assert_eq!(head.headers["requestid"].len(), 32);
        // The document alone has no envelope.
        if path != "/openapi.json" || head.status != StatusCode::OK {
            assert_eq!(head.status == StatusCode::OK, body["code"] == 0, "{head:?} {body}");
            crate::contract::check(method.as_str(), &path, head.status.as_u16(), &body);
        }
        Answer { status: head.status, headers: head.headers, body }
    }

    /// Asks until a job has ended. Bounded, so that a job that hangs fails the test.
    pub(crate) async fn ended(&self, job: &str) -> Value {
        for _ in 0..6_000 {
            let answer = self.send("GET", &format!("/v2/jobs/{job}"), "").await;
            let job = answer.data();
            if ["SUCCESSFUL", "FAILED", "CANCELED"].contains(&job["status"].as_str().unwrap()) {
                return job.clone();
            }
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
        panic!("job {job} did not end within a minute");
    }

    /// Asks until a job is in this phase. Bounded, so that a job that never gets there fails the test.
    pub(crate) async fn in_phase(&self, job: &str, phase: &str) {
        let mut last = Value::Null;
        for _ in 0..6_000 {
            last = self.send("GET", &format!("/v2/jobs/{job}"), "").await.data().clone();
            if last["phase"] == phase {
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
        panic!("the job did not get to its {phase}: {last}");
    }

    /// Makes a backup that has ended well; its id.
    pub(crate) async fn backup(&self, body: &str) -> String {
        let answer = self.send("POST", CREATE, body).await;
        let job = self.ended(answer.data()["jobId"].as_str().unwrap()).await;
        assert_eq!(job["status"], "SUCCESSFUL", "{job}");
        answer.data()["backupId"].as_str().unwrap().to_owned()
    }

    /// Everything in the catalog but the audit log, to see that a refused call changed nothing.
    pub(crate) fn everything(&self) -> String {
        use std::fmt::Write as _;
        let connection = rusqlite::Connection::open(self.path("data/catalog.sqlite")).unwrap();
        let tables = "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%' ORDER BY name";
        let mut statement = connection.prepare(tables).unwrap();
        let names = statement.query_map([], |row| row.get::<_, String>(0)).unwrap();
        let mut text = String::new();
        for name in names.map(Result::unwrap).filter(|name| name != "audit") {
            let mut statement = connection.prepare(&format!("SELECT * FROM {name}")).unwrap();
            let columns = statement.column_count();
            let mut rows = statement.query([]).unwrap();
            while let Some(row) = rows.next().unwrap() {
                let values: Vec<rusqlite::types::Value> = (0..columns).map(|place| row.get(place).unwrap()).collect();
                writeln!(text, "{name} {values:?}").unwrap();
            }
        }
        text
    }

    /// How much there is, to see that a refused call changed nothing.
    pub(crate) fn counts(&self) -> (u64, u64, u64) {
        let catalog = self.catalog();
        let page = longshore_catalog::Page::default();
        let every = [
            longshore_model::BackupStatus::Creating,
            longshore_model::BackupStatus::Available,
            longshore_model::BackupStatus::Failed,
            longshore_model::BackupStatus::Deleted,
        ];
        let filter = longshore_catalog::BackupFilter { statuses: Some(every.to_vec()), ..Default::default() };
        let clusters = longshore_catalog::ClusterFilter { include_dropped: true, ..Default::default() };
        (
            catalog.list_backups(&filter, page).unwrap().count,
            catalog.list_jobs(&Default::default(), page).unwrap().count,
            catalog.list_clusters(&clusters, page).unwrap().count,
        )
    }
}

/// Three regions of one provider and one of another, one cluster, default policies.
pub(crate) const CONFIGURATION: &str = r#"
data_directory = "data"
[project]
id = "proj-test"
name = "Test"
[[region]]
id = "local-eu"
jurisdiction = "eu"
storage_price_micros_per_gb_month = 25000
vault = "vault-eu"
[[region]]
id = "local-us"
jurisdiction = "us"
vault = "vault-us"
[[region]]
id = "local-us-2"
jurisdiction = "us"
vault = "vault-us-2"
[[region]]
id = "cloud-us"
provider = "cloud"
jurisdiction = "us"
vault = "vault-cloud"
[[integration]]
id = "integ-1"
folder = "exports"
[[cluster]]
id = "in01-test"
name = "Dedicated-01"
region = "local-eu"
milvus_lite = "cluster"
"#;

pub(crate) fn copy_tree(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_tree(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}
