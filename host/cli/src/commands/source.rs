//! The cluster that a command without a host is about, and `longshore source check`.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use longshore_engine::{ClusterConfig, ClusterTarget, HostConfig, open_folder};
use longshore_model::{ClusterId, RegionId};
use longshore_source::{FindingState, Source, SourceFinding};
use serde_json::json;

use crate::Exit;
use crate::args::{SourceCommand, WhichCluster};
use crate::output::{Output, table};

/// A cluster, opened to be read.
pub(crate) struct OpenedCluster {
    pub(crate) source: Arc<dyn Source>,
    /// Its folder on this machine, if it has one: no vault may lie in it, nor it in one.
    pub(crate) folder: Option<PathBuf>,
    configured: Option<(HostConfig, ClusterConfig)>,
}

impl OpenedCluster {
    /// Opens what was named.
    pub(crate) fn open(which: &WhichCluster) -> anyhow::Result<Self> {
        match (&which.directory, &which.config) {
            (Some(directory), _) => {
                Ok(Self { source: open_folder(directory)?, folder: Some(directory.clone()), configured: None })
            }
            (None, Some(config)) => {
                let config = HostConfig::read(config)?;
                let cluster = one_of(&config, which.cluster.as_ref())?.clone();
                let folder = match &cluster.milvus {
                    Some(milvus) => milvus.storage.folder.clone(),
                    None => cluster.milvus_lite.clone(),
                };
                Ok(Self { source: cluster.source()?, folder, configured: Some((config, cluster)) })
            }
            (None, None) => anyhow::bail!("give a directory or --config"),
        }
    }

    /// What backups of it are filed under.
    pub(crate) fn target(&self, home_region: RegionId) -> anyhow::Result<ClusterTarget> {
        match (&self.configured, &self.folder) {
            (Some((config, cluster)), _) => {
                Ok(ClusterTarget { home_region, ..ClusterTarget::configured(config, cluster) })
            }
            (None, folder) => {
                Ok(ClusterTarget::for_directory(folder.as_deref().unwrap_or(Path::new("")), home_region)?)
            }
        }
    }
}

/// The cluster of a configuration that was named, or the only one.
pub(crate) fn one_of<'a>(config: &'a HostConfig, id: Option<&ClusterId>) -> anyhow::Result<&'a ClusterConfig> {
    match (id, config.clusters.as_slice()) {
        (None, [one]) => Ok(one),
        (None, several) => {
            let ids: Vec<&str> = several.iter().map(|cluster| cluster.id.as_str()).collect();
            anyhow::bail!("say which cluster with --cluster; the configuration has: {}", ids.join(", "));
        }
        (Some(id), clusters) => clusters
            .iter()
            .find(|cluster| cluster.id == *id)
            .ok_or_else(|| anyhow::anyhow!("the configuration has no cluster `{id}`")),
    }
}

pub(crate) async fn run(command: SourceCommand, output: Output) -> anyhow::Result<Exit> {
    let SourceCommand::Check(which) = command;
    let findings = OpenedCluster::open(&which)?.source.check().await;
    let works = findings.iter().all(|finding| finding.state != FindingState::Bad);
    output.result(&json!({ "works": works, "findings": findings }), || shown(&findings, works));
    Ok(if works { Exit::Done } else { Exit::Failed })
}

fn shown(findings: &[SourceFinding], works: bool) -> String {
    let word = |state| match state {
        FindingState::Good => "good",
        FindingState::Warning => "warning",
        FindingState::Bad => "bad",
    };
    let rows: Vec<Vec<String>> = findings
        .iter()
        .map(|finding| vec![finding.what.to_owned(), word(finding.state).to_owned(), finding.text.clone()])
        .collect();
    let end = if works { "Backups of this cluster can work." } else { "Backups of this cluster do not work." };
    format!("{}\n{end}", table(&["CHECKED", "STATE", "FOUND"], &rows))
}
