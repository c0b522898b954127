//! The cluster that a command without a host is about, and `longshore source check`.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use longshore_engine::{ClusterConfig, ClusterTarget, HostConfig, open_folder};
use longshore_model::{ClusterId, RegionId};
use longshore_source::{FindingState, MilvusSource, MilvusTargetOptions, Source, SourceFinding};
use serde_json::json;

use crate::Exit;
use crate::args::{SourceCheck, SourceCommand, WhichCluster};
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
    let SourceCommand::Check(arguments) = command;
    if arguments.server_pool {
        return pool(&arguments, output).await;
    }
    let opened = OpenedCluster::open(&arguments.which)?;
    let findings = opened.source.check().await;
    let milvus = opened.configured.as_ref().and_then(|(_, cluster)| cluster.milvus.as_ref());
    let milvus = milvus.filter(|milvus| arguments.restore || milvus.staging.is_some());
    if arguments.restore && milvus.is_none() {
        anyhow::bail!("a Milvus Lite directory needs no check before a restore; --restore is for Milvus servers");
    }
    let into = match milvus {
        Some(milvus) => Some(milvus.restore_target(MilvusTargetOptions::default())?.check().await),
        None => None,
    };
    let (works, restores) = (is_good(&findings), into.as_deref().map(is_good));
    let mut value = json!({ "works": works, "findings": findings });
    if let (Some(into), Some(object)) = (&into, value.as_object_mut()) {
        object.insert("restoresWork".to_owned(), json!(restores));
        object.insert("restoreFindings".to_owned(), json!(into));
    }
    output.result(&value, || {
        let end = if works { "Backups of this cluster can work." } else { "Backups of this cluster do not work." };
        let mut text = format!("{}\n{end}", shown(&findings));
        if let Some(into) = &into {
            let can = restores == Some(true);
            let end = if can { "Restores into it can work." } else { "Restores into it do not work." };
            text = format!("{text}\n\n{}\n{end}", shown(into));
        }
        text
    });
    Ok(if works && restores != Some(false) { Exit::Done } else { Exit::Failed })
}

/// Looks at the servers that wait for restores of whole clusters.
async fn pool(arguments: &SourceCheck, output: Output) -> anyhow::Result<Exit> {
    let Some(config) = &arguments.which.config else { anyhow::bail!("give --config") };
    let config = HostConfig::read(config)?;
    let mut checked: Vec<(&str, Vec<SourceFinding>)> = Vec::new();
    for server in &config.server_pool {
        let Some(milvus) = &server.milvus else { continue };
        let mut findings = MilvusSource::new(milvus.server()?).check().await;
        // Who the server is was found already.
        let into = milvus.restore_target(MilvusTargetOptions::default())?.check().await;
        findings.extend(into.into_iter().filter(|finding| finding.what != "server"));
        checked.push((&server.name, findings));
    }
    if checked.is_empty() {
        anyhow::bail!("the configuration has no [[server_pool]] with a table `milvus`");
    }
    let works = checked.iter().all(|(_, findings)| is_good(findings));
    let servers: Vec<_> = checked
        .iter()
        .map(|(name, findings)| json!({ "name": name, "works": is_good(findings), "findings": findings }))
        .collect();
    output.result(&json!({ "works": works, "serverPool": servers }), || {
        let texts = checked.iter().map(|(name, findings)| {
            let end = if is_good(findings) { "can be restored into." } else { "cannot be restored into." };
            format!("{}\n{name} {end}", shown(findings))
        });
        texts.collect::<Vec<_>>().join("\n\n")
    });
    Ok(if works { Exit::Done } else { Exit::Failed })
}

fn is_good(findings: &[SourceFinding]) -> bool {
    findings.iter().all(|finding| finding.state != FindingState::Bad)
}

fn shown(findings: &[SourceFinding]) -> String {
    let word = |state| match state {
        FindingState::Good => "good",
        FindingState::Warning => "warning",
        FindingState::Bad => "bad",
    };
    let rows: Vec<Vec<String>> = findings
        .iter()
        .map(|finding| vec![finding.what.to_owned(), word(finding.state).to_owned(), finding.text.clone()])
        .collect();
    table(&["CHECKED", "STATE", "FOUND"], &rows)
}
