//! The real Milvus server for tests: standalone, local storage, in a folder and on ports of its own.
//!
//! The server's supervisor (`tests/python/milvus_server.py`) stops it and removes its folder when its standard input
//! ends, so it goes with the test program, however that ends.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use longshore_source::milvus::{MilvusClient, ServerAddress, StorageLocation};
use longshore_source::{Limits, MilvusServer};
use serde_json::Value;

use crate::{Ran, not_run, root};

/// Whether the long form of the tests was asked for; else the test that asks is noted as not run.
#[must_use]
pub fn in_the_long_form() -> bool {
    let long = std::env::var_os("LONGSHORE_LONG").is_some();
    if !long {
        not_run("the real Milvus server, beyond its short form: in the long form only, `make test-full`");
    }
    long
}

/// A Python with the Milvus server and pymilvus 2.3 in it, or `None` (noted as a test that was not run) where it cannot be
/// had.
#[must_use]
pub fn milvus_python() -> Option<PathBuf> {
    static PYTHON: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    let python = PYTHON.get_or_init(|| {
        let requirements = root().join("tests/python/requirements-milvus.txt");
        let script = root().join("tests/python/venv.sh");
        let ran = Command::new("bash").arg(script).arg(requirements).arg("milvus, pymilvus").output();
        let ran: Ran = ran.map_err(|error| error.to_string())?.into();
        match ran.code {
            0 => Ok(ran.stdout.trim().lines().last().unwrap_or_default().into()),
            _ => Err(ran.stderr.trim().lines().last().unwrap_or_default().to_owned()),
        }
    });
    match python {
        Ok(python) => Some(python.clone()),
        Err(why) => {
            not_run(&format!("the real Milvus server: {why}"));
            None
        }
    }
}

/// A running Milvus server. Stopped, and its data removed, when dropped or when the test program ends.
pub struct Milvus {
    /// Port of gRPC (and of its REST), on 127.0.0.1.
    pub port: u16,
    /// The root folder of its storage: `insert_log`, `delta_log` and others are in it.
    pub storage: PathBuf,
    supervisor: Mutex<Supervisor>,
}

struct Supervisor {
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
    folder: PathBuf,
}

impl Supervisor {
    fn answer(&mut self) -> Value {
        let mut line = String::new();
        self.output.read_line(&mut line).expect("the supervisor of Milvus can be read");
        serde_json::from_str(&line)
            .unwrap_or_else(|error| panic!("{error} in the answer `{line}` of Milvus' supervisor"))
    }

    fn ask(&mut self, word: &str) -> Value {
        let input = self.input.as_mut().expect("it runs until it is dropped");
        writeln!(input, "{word}").and_then(|()| input.flush()).expect("the supervisor of Milvus reads");
        self.answer()
    }
}

impl Milvus {
    /// The server that the tests of one program share, made by `start` for the first of them and started again after one
    /// that killed it; each test makes databases of its own. `None` (noted as a test that was not run) where it cannot be had.
    ///
    /// Whoever gets it is alone with it until the guard is dropped: a machine with two cores has enough to do with a server.
    #[must_use]
    pub fn alone(start: fn() -> Option<Self>) -> Option<(&'static Self, MutexGuard<'static, ()>)> {
        static SERVER: OnceLock<Option<Milvus>> = OnceLock::new();
        static TURN: Mutex<()> = Mutex::new(());
        // Asked by each test: `start` would note the first of them alone.
        milvus_python()?;
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        let started = SERVER.get_or_init(start);
        if let Some(milvus) = started.as_ref().filter(|milvus| !milvus.is_alive()) {
            milvus.start_again();
        }
        Some((started.as_ref()?, turn))
    }

    /// Starts one; `arguments` as `tests/python/milvus_server.py` takes them.
    ///
    /// # Panics
    /// When it is installed and does not become healthy.
    #[must_use]
    pub fn start(arguments: &[&str]) -> Option<Self> {
        let python = milvus_python()?;
        // Not a `TempDir`: a static is never dropped. The supervisor removes it.
        let folder = tempfile::Builder::new().prefix("longshore-milvus-").tempdir().expect("a folder").keep();
        let mut child = Command::new(python)
            .arg(root().join("tests/python/milvus_server.py"))
            .arg(&folder)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("python runs");
        let input = child.stdin.take();
        let output = BufReader::new(child.stdout.take().expect("a pipe"));
        let mut supervisor = Supervisor { child, input, output, folder };
        let started = supervisor.answer();
        let port = started["port"].as_u64().and_then(|port| u16::try_from(port).ok());
        let port = port.unwrap_or_else(|| panic!("Milvus did not start: {started}"));
        let storage = started["storage"].as_str().expect("a storage folder").into();
        Some(Self { port, storage, supervisor: Mutex::new(supervisor) })
    }

    /// Where it listens, `127.0.0.1:…`.
    #[must_use]
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// It as a source or a target is told of it.
    #[must_use]
    pub fn server(&self) -> MilvusServer {
        let storage = StorageLocation::Folder(self.storage.clone());
        MilvusServer { address: ServerAddress::open(self.address()), storage }
    }

    /// A client of it.
    ///
    /// # Panics
    /// When it does not answer.
    pub async fn client(&self) -> MilvusClient {
        MilvusClient::connect(&ServerAddress::open(self.address()), Limits::DEFAULT).await.expect("Milvus answers")
    }

    /// Its folder: `data`, `logs`, and room for what a test wants the server to read.
    #[must_use]
    pub fn folder(&self) -> PathBuf {
        self.lock().folder.clone()
    }

    /// Kills it as a power cut would.
    pub fn kill(&self) {
        assert_eq!(self.lock().ask("kill")["ended"], true);
    }

    /// Starts it again on the same data and the same port.
    ///
    /// # Panics
    /// When it does not become healthy.
    pub fn start_again(&self) {
        let started = self.lock().ask("start");
        assert_eq!(started["port"].as_u64(), Some(self.port.into()), "{started}");
    }

    /// Whether its process is there.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        self.lock().ask("alive")["alive"] == true
    }

    fn lock(&self) -> MutexGuard<'_, Supervisor> {
        self.supervisor.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Milvus {
    fn drop(&mut self) {
        let supervisor = self.supervisor.get_mut().unwrap_or_else(PoisonError::into_inner);
        drop(supervisor.input.take());
        let _ = supervisor.child.wait();
    }
}

/// Runs one of our programs under `tests/python` that speak with the server through pymilvus.
///
/// # Panics
/// When Python is not there; ask [`Milvus::alone`] first.
pub fn milvus_judge<I, S>(milvus: &Milvus, arguments: I) -> Ran
where
    I: IntoIterator<Item = S>,
    S: AsRef<std::ffi::OsStr>,
{
    let python = milvus_python().expect("it was there when the server was started");
    let script: &Path = &root().join("tests/python/milvus_judge.py");
    Command::new(python).arg(script).arg(milvus.address()).args(arguments).output().expect("python runs").into()
}
