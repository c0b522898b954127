//! The part of `longshore plugin` that is for operators: install, list, remove, sign. Works on the catalog directly, also
//! while the host runs.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;
use longshore_engine::{
    HostConfig, Limits, PluginRow, PolicyDesk, SigningKey, SystemRandom, load_plugin, signature_path, write_key_file,
};
use longshore_model::SystemClock;
use longshore_sandbox::{Budget, Sandbox, SandboxConfig};
use serde_json::json;

use crate::Exit;
use crate::args::PluginStoreCommand;
use crate::output::{Output, table};

/// Who the command line is in the audit log.
pub(crate) const ACTOR: &str = "command line";

/// The desk of a host, and a sandbox with its ceiling.
pub(crate) fn desk(config: &Path, code_cache: Option<PathBuf>) -> anyhow::Result<(PolicyDesk, Sandbox)> {
    let config = HostConfig::read(config)?;
    let ceiling = config.plugin_ceiling;
    let sandbox = Sandbox::new(SandboxConfig { code_cache, ceiling, ..SandboxConfig::default() })?;
    Ok((PolicyDesk::open(config, ACTOR, Arc::new(SystemClock))?, sandbox))
}

/// The start of a digest, as tables show it.
pub(crate) fn short(digest: &longshore_model::Digest) -> String {
    digest.to_string().chars().take(12).collect()
}

pub(crate) fn run(command: PluginStoreCommand, code_cache: Option<PathBuf>, output: Output) -> anyhow::Result<Exit> {
    match command {
        PluginStoreCommand::Install { file, name, config } => {
            let (desk, sandbox) = desk(&config.config, code_cache)?;
            let report = desk.install(&file, name.as_deref(), &sandbox)?;
            output.result(&serde_json::to_value(&report)?, || {
                let installed = &report.installed;
                let signer =
                    installed.signer.as_ref().map_or_else(|| "not signed".to_owned(), |who| format!("signed by {who}"));
                let before = match &report.before {
                    Some(before) if before.digest != installed.digest => {
                        format!("\nIt takes the place of {} ({}).", before.version, short(&before.digest))
                    }
                    _ => String::new(),
                };
                format!(
                    "Installed {} {} as `{}`, {signer}\ndigest {}{before}",
                    installed.plugin, installed.version, report.name, installed.digest
                )
            });
            output.hint(&format!(
                "\nNext: `plugin = \"{}\"` in a chain; chains that have it use it from the next run on.",
                report.name
            ));
        }
        PluginStoreCommand::List { config } => {
            let rows = desk(&config.config, code_cache)?.0.plugins()?;
            output.result(&json!({ "plugins": rows }), || list(&rows));
        }
        PluginStoreCommand::Remove { name, config } => {
            let removed = desk(&config.config, code_cache)?.0.remove(&name)?;
            output.result(&json!({ "name": name, "removed": removed }), || {
                format!("Removed `{name}` ({} {}).", removed.plugin, removed.version)
            });
        }
        PluginStoreCommand::Sign { file, key } => sign(&file, &key, code_cache, output)?,
        PluginStoreCommand::Keygen { to } => {
            let key = SigningKey::generate(&SystemRandom)?;
            let public = key.public().to_string();
            write_key_file(&to, &format!("Longshore: signs policy plugins. Public key: {public}"), &key.to_text())?;
            output.result(&json!({ "publicKey": public, "keyFile": to }), || public.clone());
            output.hint(&format!(
                "\nThe private key is in {}; keep it off the hosts. On them, under [plugins]:\n  trusted_keys = \
                 [\"me={public}\"]\n  require_signature = true",
                to.display()
            ));
        }
    }
    Ok(Exit::Done)
}

fn sign(file: &Path, key: &Path, code_cache: Option<PathBuf>, output: Output) -> anyhow::Result<()> {
    let key = SigningKey::read(key)?;
    // What is no plugin is not signed: a signature says that somebody has looked.
    let sandbox = Sandbox::new(SandboxConfig { code_cache, ..SandboxConfig::default() })?;
    let path = signature_path(file);
    let bytes = std::fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
    // As generously as any host may be: what it needs is for the operator to grant, not for the signer.
    let plugin = sandbox.load(&bytes, &Budget::CEILING);
    let plugin = plugin.with_context(|| format!("{} is not signed", file.display()))?;
    let signature = key.sign(&bytes);
    std::fs::write(&path, signature.to_string()).with_context(|| format!("cannot write {}", path.display()))?;
    let about = plugin.about();
    let value = json!({
        "plugin": about.name, "version": about.version, "digest": signature.digest.to_string(),
        "publicKey": key.public().to_string(), "signature": path,
    });
    output.result(&value, || {
        format!(
            "Signed {} {} ({}) with {}\n{}",
            about.name,
            about.version,
            short(&signature.digest),
            key.public(),
            path.display()
        )
    });
    Ok(())
}

fn list(rows: &[PluginRow]) -> String {
    let cells: Vec<Vec<String>> = rows
        .iter()
        .map(|row| {
            let installed = &row.installed;
            let kinds: Vec<&str> = installed.kinds.iter().map(|kind| kind.as_str()).collect();
            let used: Vec<String> = row.used_by.iter().map(ToString::to_string).collect();
            vec![
                row.name.clone(),
                format!("{} {}", installed.plugin, installed.version),
                short(&installed.digest),
                kinds.join(", "),
                installed.signer.clone().unwrap_or_else(|| "-".to_owned()),
                if used.is_empty() { "-".to_owned() } else { used.join(", ") },
            ]
        })
        .collect();
    table(&["NAME", "PLUGIN", "DIGEST", "KINDS", "SIGNED BY", "USED BY"], &cells)
}

/// Finds plugins by digest: those that were given as files, the standard one, and those that a host keeps.
pub(crate) struct Finder {
    given: Vec<longshore_sandbox::Plugin>,
    config: Option<HostConfig>,
    sandbox: Sandbox,
    ceiling: Budget,
}

impl Finder {
    /// `ceiling` is what the budgets of records may need.
    pub(crate) fn new(
        files: &[String],
        config: Option<HostConfig>,
        ceiling: Budget,
        code_cache: Option<PathBuf>,
    ) -> anyhow::Result<Self> {
        let sandbox = Sandbox::new(SandboxConfig { code_cache, ceiling, ..SandboxConfig::default() })?;
        let mut given = Vec::with_capacity(files.len());
        for file in files {
            given.push(load_plugin(&sandbox, file, &ceiling, &Limits::default())?);
        }
        Ok(Self { given, config, sandbox, ceiling })
    }

    /// The plugin with this digest; `None` if nobody has it.
    pub(crate) fn find(&self, digest: &longshore_model::Digest) -> anyhow::Result<Option<longshore_sandbox::Plugin>> {
        if let Some(plugin) = self.given.iter().find(|plugin| plugin.digest() == *digest) {
            return Ok(Some(plugin.clone()));
        }
        Ok(longshore_engine::kept_plugin(&self.sandbox, self.config.as_ref(), digest, &self.ceiling)?)
    }
}
