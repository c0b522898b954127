//! `longshore why`: the recorded decisions about one collection, and what would have changed them.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use longshore_engine::{HostConfig, OpenedBackup, WhyDecision, WhyView, decision_records, why};
use longshore_policy::{Limits, Oracle};

use super::plugin_store::Finder;
use super::policy::records::{ceiling_of, find_backup, open_place};
use crate::Exit;
use crate::args::Why;
use crate::output::Output;

pub(crate) async fn run(arguments: Why, cache: Option<PathBuf>, output: Output) -> anyhow::Result<Exit> {
    let config = arguments.config.as_deref().map(HostConfig::read).transpose()?;
    let vaults = open_place(&arguments.vaults, config.as_ref(), &arguments.keys).await?;
    let id = find_backup(&vaults, arguments.backup.as_deref()).await?;
    let opened = OpenedBackup::find(&vaults, None, &id).await?;
    let view = tokio::task::spawn_blocking(move || -> anyhow::Result<WhyView> {
        let ceiling = ceiling_of(&decision_records(&opened)?);
        let finder = Finder::new(&arguments.plugins, config, ceiling, cache)?;
        let found: RefCell<BTreeMap<_, Option<Arc<dyn Oracle>>>> = RefCell::default();
        let plugins = |digest: &longshore_model::Digest| {
            let mut found = found.borrow_mut();
            let plugin = found.entry(*digest).or_insert_with(|| match finder.find(digest) {
                Ok(plugin) => plugin.map(|plugin| Arc::new(plugin) as Arc<dyn Oracle>),
                Err(error) => {
                    tracing::warn!(%digest, %error, "a plugin that is there cannot be asked");
                    None
                }
            });
            plugin.clone()
        };
        Ok(why(&opened, &arguments.collection, &plugins, &Limits::DEFAULT)?)
    })
    .await??;
    output.result(&serde_json::to_value(&view)?, || text(&view));
    Ok(Exit::Done)
}

fn text(view: &WhyView) -> String {
    let state = if view.included { "is in" } else { "is left out of" };
    let mut text = format!("{} {state} backup {} of {}\n", view.collection, view.backup_id, view.created);
    for decision in &view.decisions {
        text.push_str(&one(decision));
    }
    text
}

fn one(decision: &WhyDecision) -> String {
    let row = &decision.row;
    let mut text = format!(
        "\n{} {}: {}\n  because    {} ({})\n  decided by {}\n",
        row.kind, row.item, row.decision, row.message, row.reason_code, row.decided_by
    );
    if let Some(overridden) = &row.overridden {
        text.push_str(&format!("  guardrail  {overridden}\n"));
    }
    for other in &row.others {
        text.push_str(&format!("  others     {other}\n"));
    }
    for plugin in &decision.missing_plugins {
        text.push_str(&format!("  not asked again: {plugin} is not at hand; give its file with --plugin\n"));
    }
    let Some(found) = &decision.counterfactuals else { return text };
    if found.changes.is_empty() {
        text.push_str(&format!(
            "  nothing that was tried would have changed it ({} facts)\n",
            found.without_effect.len()
        ));
    }
    for change in &found.changes {
        let reason =
            change.reason.as_ref().map_or_else(String::new, |reason| format!(": {} ({})", reason.message, reason.code));
        text.push_str(&format!(
            "  would be   {}, if {} were {} (it was {}){reason}\n",
            change.decision, change.fact, change.if_it_were, change.was
        ));
    }
    if found.not_tried > 0 {
        text.push_str(&format!("  {} more facts were not tried\n", found.not_tried));
    }
    text
}
