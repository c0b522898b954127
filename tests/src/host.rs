//! A host's configuration as the end-to-end tests use it: one cluster, a copy of the sample, and three regions.

use std::path::{Path, PathBuf};

use crate::{Client, Ran, Server, copy_tree, longshore_in, plugin, sample_cluster};

/// A folder with a configuration, a copy of the sample cluster as `sample.db`, and vaults `vault` (region local-eu),
/// `vault-us` and `vault-eu-2`.
pub struct HostPlace {
    folder: tempfile::TempDir,
    /// The configuration.
    pub config: PathBuf,
    region: String,
}

impl HostPlace {
    /// A host whose configuration ends with `more`, for example policies.
    #[must_use]
    pub fn new(more: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        copy_tree(&sample_cluster(), &folder.path().join("sample.db"));
        Self::inside(folder, "", more)
    }

    /// A host in a folder with `sample.db`; `region` goes into every region, for example `, encryption = "age-1"`.
    #[must_use]
    pub fn inside(folder: tempfile::TempDir, region: &str, more: &str) -> Self {
        let config = folder.path().join("longshore.toml");
        let place = Self { folder, config, region: region.to_owned() };
        place.write(more);
        place
    }

    /// Where everything lies.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Writes the configuration again.
    pub fn write(&self, more: &str) {
        let region = &self.region;
        let text = format!(
            r#"
            data_directory = "data"
            server = {{ listen = "127.0.0.1:0", calls_per_second = 1000 }}
            project = {{ id = "proj-test", name = "Test" }}
            region = [
                {{ id = "local-eu", jurisdiction = "eu", vault = "vault"{region} }},
                {{ id = "local-us", jurisdiction = "us", vault = "vault-us"{region} }},
                {{ id = "local-eu-2", jurisdiction = "eu", vault = "vault-eu-2"{region} }},
            ]
            [limits]
            heartbeat_ms = 20
            [[cluster]]
            id = "in01-test"
            name = "Dedicated-01"
            region = "local-eu"
            milvus_lite = "sample.db"
            {more}
            "#
        );
        std::fs::write(&self.config, text).unwrap();
    }

    /// Makes an API key.
    #[must_use]
    pub fn new_key(&self, name: &str, role: &str) -> String {
        let config = self.config.to_str().unwrap();
        let arguments = ["key", "create", name, "--role", role, "--config", config, "--quiet"];
        longshore_in(self.path(), arguments).ok().stdout.trim().to_owned()
    }

    /// Starts the host, with a client whose key may do everything.
    #[must_use]
    pub fn start(&self) -> (Server, Client) {
        let key = self.new_key("tests", "organization-owner");
        let server = Server::start(&self.config);
        let client = Client::new(&server, &key);
        (server, client)
    }

    /// Rebuilds the catalog.
    pub fn rebuild(&self, more: &[&str]) -> Ran {
        let arguments = ["catalog", "rebuild", "--json", "--config", self.config.to_str().unwrap()];
        longshore_in(self.path(), arguments.iter().chain(more))
    }
}

/// Placement by the residency plugin with these settings.
#[must_use]
pub fn residency(settings: &str) -> String {
    format!(
        "[[policy.placement]]\nplugin = '{}'\nrequired = true\nsettings = {settings}\n[[policy.placement]]\nplugin = \"standard\"\n",
        plugin("residency").display()
    )
}
