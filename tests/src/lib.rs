//! What the end-to-end tests share: the binary as a user runs it, the sample cluster, and the real Milvus Lite as judge.
//!
//! Everything here panics on failure: it is only used by tests.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stderr)]

mod encrypted;
mod host;
pub mod milvus;

pub use encrypted::{Encrypted, private_file, set_mode};
pub use host::{HostPlace, residency};
pub use milvus::{Milvus, milvus_judge, milvus_python};

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::OnceLock;

use serde_json::Value;

/// The repository.
#[must_use]
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ has a parent").to_owned()
}

/// The sample cluster as it is committed. Copy it before doing anything that could write.
#[must_use]
pub fn sample_cluster() -> PathBuf {
    root().join("examples/sample-cluster")
}

/// A plugin's built file.
#[must_use]
pub fn plugin(name: &str) -> PathBuf {
    let folder = if name.starts_with("hostile") { "hostile" } else { name };
    root().join("plugins").join(folder).join(format!("{name}.wasm"))
}

/// The `longshore` binary: the one that `make test` has just built, or else one built now, so that a test never runs a
/// stale one.
#[must_use]
pub fn binary() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| {
        if let Some(given) = std::env::var_os("LONGSHORE_BINARY") {
            return given.into();
        }
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let arguments = ["build", "--locked", "--quiet", "--workspace", "--bin", "longshore"];
        let built = Command::new(cargo).args(arguments).current_dir(root()).status().expect("cargo runs");
        assert!(built.success(), "the longshore binary does not build");
        let here = std::env::current_exe().expect("a test has a path");
        // …/target/<profile>/deps/<test> -> …/target/<profile>/longshore
        here.parent().and_then(Path::parent).expect("a profile folder").join("longshore")
    })
}

/// A finished command.
#[derive(Debug)]
pub struct Ran {
    /// Exit code; -1 when it was killed by a signal.
    pub code: i32,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl From<Output> for Ran {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

impl Ran {
    /// Standard output as JSON.
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error} in {self:?}"))
    }

    /// Checks that it failed with this exit code and a sentence that says so, and did not panic.
    pub fn refused(&self, code: i32, expected: &str) {
        let said = format!("{}{}", self.stdout, self.stderr);
        assert!(self.code == code && said.contains(expected), "expected {code} and `{expected}` in {self:?}");
        assert!(!said.contains("panicked"), "{self:?}");
    }

    /// This, after checking that it ended well.
    #[allow(clippy::must_use_candidate)]
    pub fn ok(self) -> Self {
        assert_eq!(self.code, 0, "{self:?}");
        self
    }
}

/// Runs `longshore` with arguments in a folder.
pub fn longshore_in<I, S>(folder: &Path, arguments: I) -> Ran
where
    I: IntoIterator<Item = S>,
    S: AsRef<std::ffi::OsStr>,
{
    Command::new(binary())
        .args(arguments)
        .current_dir(folder)
        .env("NO_COLOR", "1")
        .output()
        .expect("longshore runs")
        .into()
}

/// Copies a directory tree, links as links.
pub fn copy_tree(from: &Path, to: &Path) {
    let copied = Command::new("cp").arg("-a").arg(from).arg(to).status().expect("cp runs");
    assert!(copied.success(), "cannot copy {} to {}", from.display(), to.display());
}

/// Notes why a test did less than it could; `make test` shows it.
pub fn skipped(why: &str) {
    note(why, why);
}

/// Notes why the test that asks was not run at all: its runner will call it passed, and `make test` counts it as skipped.
pub fn not_run(why: &str) {
    note(why, &format!("whole test: {why}"));
}

fn note(why: &str, line: &str) {
    eprintln!("skipped: {why}");
    if let Some(path) = std::env::var_os("LONGSHORE_SKIP_FILE") {
        let mut file = std::fs::File::options().append(true).create(true).open(path).expect("the skip file opens");
        // One write: tests of one program run side by side.
        file.write_all(format!("{}\n", line.replace('\n', " ")).as_bytes()).expect("the skip file is written");
    }
}

/// A Python with Milvus Lite in it for a test that is nothing without it, or `None` (noted as a test that was not run)
/// where it cannot be had.
#[must_use]
pub fn python() -> Option<PathBuf> {
    let python = lite_python();
    if python.is_none() {
        not_run(NO_LITE);
    }
    python
}

/// The same for a part of a test.
#[must_use]
pub fn python_for_a_part() -> Option<PathBuf> {
    let python = lite_python();
    if python.is_none() {
        skipped(NO_LITE);
    }
    python
}

const NO_LITE: &str = "Milvus Lite as judge: its Python environment cannot be had here";

fn lite_python() -> Option<PathBuf> {
    static PYTHON: OnceLock<Option<PathBuf>> = OnceLock::new();
    let python = PYTHON.get_or_init(|| {
        if let Some(given) = std::env::var_os("LONGSHORE_PYTHON") {
            return Some(given.into());
        }
        let ran = Command::new("bash").arg(root().join("tests/python/venv.sh")).output().ok()?;
        let path = String::from_utf8_lossy(&ran.stdout).trim().lines().last().unwrap_or_default().to_owned();
        ran.status.success().then(|| path.into())
    });
    python.clone()
}

/// Runs one of our Python programs under `tests/python`.
pub fn judge<I, S>(python: &Path, arguments: I) -> Ran
where
    I: IntoIterator<Item = S>,
    S: AsRef<std::ffi::OsStr>,
{
    let script = root().join("tests/python/judge.py");
    Command::new(python).arg(script).args(arguments).output().expect("python runs").into()
}

/// A running `longshore serve`; killed when dropped.
pub struct Server {
    child: Child,
    /// Where it listens, `http://127.0.0.1:…`.
    pub url: String,
    log: PathBuf,
}

impl Server {
    /// Starts the host of a configuration and waits until it listens.
    #[must_use]
    pub fn start(config: &Path) -> Self {
        Self::try_start(config).unwrap_or_else(|log| panic!("longshore serve did not start: {log}"))
    }

    /// The same, or what it logged.
    ///
    /// # Errors
    /// The log of a host that ended instead of listening.
    pub fn try_start(config: &Path) -> Result<Self, String> {
        let log = config.with_extension("log");
        let stderr = std::fs::File::options().append(true).create(true).open(&log).expect("a log file");
        let mut child = Command::new(binary())
            .args(["serve", "--config"])
            .arg(config)
            .env("NO_COLOR", "1")
            .stdout(Stdio::piped())
            .stderr(stderr)
            .spawn()
            .expect("longshore runs");
        let mut line = String::new();
        let mut stdout = BufReader::new(child.stdout.take().expect("a pipe"));
        stdout.read_line(&mut line).expect("its output can be read");
        match line.trim().strip_prefix("longshore listens on ") {
            Some(url) => Ok(Self { child, url: url.to_owned(), log }),
            None => {
                child.wait().expect("it ended");
                Err(std::fs::read_to_string(&log).unwrap_or_default())
            }
        }
    }

    /// What it logged so far.
    #[must_use]
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Sends a signal by name, for example `HUP`.
    pub fn signal(&self, name: &str) {
        let sent = Command::new("kill").arg(format!("-{name}")).arg(self.child.id().to_string()).status();
        assert!(sent.expect("kill runs").success());
    }

    /// Kills it as a power cut would end it: at once, without a word.
    pub fn kill(mut self) {
        self.child.kill().expect("it was running");
        self.child.wait().expect("it ended");
    }

    /// Asks it to stop and waits for its end.
    ///
    /// # Panics
    /// When it does not end well.
    pub fn stop(mut self) {
        self.signal("TERM");
        let status = self.child.wait().expect("it ended");
        assert!(status.success(), "{status}: {}", self.log());
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A client of a server with a key.
#[derive(Clone)]
pub struct Client {
    url: String,
    key: String,
    http: reqwest::Client,
}

impl Client {
    /// A client for `server` that sends `key`.
    #[must_use]
    pub fn new(server: &Server, key: &str) -> Self {
        longshore_source::milvus::choose_tls();
        Self { url: server.url.clone(), key: key.to_owned(), http: reqwest::Client::new() }
    }

    /// Sends a request; answers the HTTP status and the body.
    pub async fn send(&self, method: &str, path: &str, body: Option<&str>) -> (u16, Value) {
        let method = reqwest::Method::from_bytes(method.as_bytes()).expect("a method");
        let mut request = self.http.request(method, format!("{}{path}", self.url));
        request = request.header("Authorization", format!("Bearer {}", self.key));
        if let Some(body) = body {
            request = request.header("Content-Type", "application/json").body(body.to_owned());
        }
        let response = request.send().await.expect("the server answers");
        let status = response.status().as_u16();
        let text = response.text().await.expect("a body");
        (status, serde_json::from_str(&text).unwrap_or(Value::String(text)))
    }

    /// Sends a request that must succeed; answers its `data`.
    pub async fn data(&self, method: &str, path: &str, body: Option<&str>) -> Value {
        let (status, answer) = self.send(method, path, body).await;
        assert!(status == 200 && answer["code"] == 0, "{method} {path}: {status} {answer}");
        answer["data"].clone()
    }

    /// Waits until a job has ended and answers it. Bounded: a job that hangs fails the test.
    pub async fn ended(&self, job: &str) -> Value {
        // A key may ask twenty times a second: often at first, because most jobs are short.
        let (mut pause_ms, mut waited_ms) = (20, 0);
        while waited_ms < 180_000 {
            let answer = self.data("GET", &format!("/v2/jobs/{job}"), None).await;
            if ["SUCCESSFUL", "FAILED", "CANCELED"].contains(&answer["status"].as_str().unwrap_or_default()) {
                return answer;
            }
            tokio::time::sleep(std::time::Duration::from_millis(pause_ms)).await;
            waited_ms += pause_ms;
            pause_ms = (pause_ms * 2).min(160);
        }
        panic!("job {job} did not end within three minutes");
    }
}
