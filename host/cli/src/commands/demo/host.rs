//! The host of the demo: its configuration, its process, its key.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::Context;
use longshore_catalog::SqliteCatalog;
use longshore_engine::{HostConfig, KeyRequest, Role, SystemRandom, create_key};
use longshore_model::{Clock, KeyScope, SystemClock};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use super::require;
use crate::args::Demo;

/// A file that marks a folder as one that a demo made, and may remove.
const MARK: &str = ".longshore-demo";

/// A running host.
pub(super) struct DemoHost {
    child: Child,
    pub(super) url: String,
    pub(super) key: String,
    config: PathBuf,
}

/// Makes the folder: a copy of the sample cluster, so that the committed one is never opened by anything else, and the
/// first configuration.
pub(super) fn prepare(arguments: &Demo) -> anyhow::Result<()> {
    let directory = &arguments.directory;
    let sample = require(&arguments.sample, "the sample cluster")?;
    require(&arguments.residency, "the residency policy")?;
    if directory.exists() {
        anyhow::ensure!(
            directory.join(MARK).exists(),
            "{} is there and was not made by a demo; name another folder with --directory",
            directory.display()
        );
        std::fs::remove_dir_all(directory).with_context(|| format!("cannot remove {}", directory.display()))?;
    }
    std::fs::create_dir_all(directory).with_context(|| format!("cannot make {}", directory.display()))?;
    std::fs::write(directory.join(MARK), "")?;
    copy_tree(&sample, &directory.join("sample.db"))?;
    std::fs::write(directory.join("longshore.toml"), configuration(None))?;
    Ok(())
}

fn copy_tree(from: &Path, to: &Path) -> anyhow::Result<()> {
    std::fs::create_dir(to).with_context(|| format!("cannot make {}", to.display()))?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_tree(&entry.path(), &target)?;
        } else {
            std::fs::copy(entry.path(), &target).with_context(|| format!("cannot copy {}", entry.path().display()))?;
        }
    }
    Ok(())
}

fn configuration(residency: Option<&Path>) -> String {
    let mut text = r#"# Written by `longshore demo`. examples/longshore.toml explains every key.
data_directory = "data"

[server]
listen = "127.0.0.1:0"

[project]
id = "proj-demo"
name = "Demo"

[[region]]
id = "local-eu"
jurisdiction = "eu"
vault = "vault-eu"

[[region]]
id = "local-us"
jurisdiction = "us"
vault = "vault-us"

[[cluster]]
id = "in01-dedicated01"
name = "Dedicated-01"
region = "local-eu"
milvus_lite = "sample.db"
"#
    .to_owned();
    if let Some(residency) = residency {
        let path = toml::Value::String(residency.display().to_string());
        text.push_str(&format!(
            "\n[[policy.placement]]\nplugin = {path}\nrequired = true\n\n[[policy.placement]]\nplugin = \"standard\"\nrequired = true\n"
        ));
    }
    text
}

impl DemoHost {
    /// Makes a key and starts `longshore serve`.
    pub(super) async fn start(directory: &Path) -> anyhow::Result<Self> {
        let config = directory.join("longshore.toml");
        let data = HostConfig::read(&config)?.data_directory;
        std::fs::create_dir_all(&data)?;
        let catalog = SqliteCatalog::open(&data.join("catalog.sqlite"))?;
        let now = SystemClock.now();
        let (role, scope) = (Role::OrganizationOwner, KeyScope::All);
        let request = KeyRequest { name: "demo".to_owned(), role, scope, expires: None };
        let (_, key) = create_key(&catalog, &request, &SystemRandom, now, "demo")?;
        drop(catalog);
        let log = std::fs::File::create(directory.join("host.log"))?;
        let mut child = Command::new(std::env::current_exe().context("this program has no path")?)
            .args(["serve", "--config"])
            .arg(&config)
            .stdout(Stdio::piped())
            .stderr(log)
            // A demo that is interrupted must not leave a host behind.
            .kill_on_drop(true)
            .spawn()
            .context("cannot start the host")?;
        let stdout = child.stdout.take().context("the host has no output")?;
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line).await?;
        let Some(url) = line.trim().strip_prefix("longshore listens on ") else {
            child.wait().await?;
            let log = std::fs::read_to_string(directory.join("host.log")).unwrap_or_default();
            anyhow::bail!("the host did not start: {}", log.trim());
        };
        Ok(Self { child, url: url.to_owned(), key, config })
    }

    /// Writes a configuration with the residency policy in front of the standard one.
    pub(super) fn use_residency(&self, arguments: &Demo) -> anyhow::Result<()> {
        let residency = require(&arguments.residency, "the residency policy")?;
        std::fs::write(&self.config, configuration(Some(&residency)))?;
        Ok(())
    }

    /// Asks the host to stop and waits for it.
    pub(super) async fn stop(mut self) -> anyhow::Result<()> {
        if let Some(id) = self.child.id().and_then(|id| i32::try_from(id).ok())
            && let Some(process) = rustix::process::Pid::from_raw(id)
        {
            rustix::process::kill_process(process, rustix::process::Signal::TERM)?;
        }
        let status = self.child.wait().await?;
        anyhow::ensure!(status.success(), "the host ended with {status}");
        Ok(())
    }
}
