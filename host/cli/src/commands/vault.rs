//! `longshore vault`: looks after one vault.

use std::path::Path;

use longshore_engine::{RegionVaults, RunContext, StopSignal, repair_vault};
use longshore_vault::{Keys, Vault};
use serde_json::{Value, json};

use crate::Exit;
use crate::args::VaultCommand;
use crate::output::{Output, number};

pub(crate) async fn run(command: VaultCommand, output: Output, stop: &StopSignal) -> anyhow::Result<Exit> {
    match command {
        VaultCommand::Open { vault, keys, object } => open(&vault, &keys.read()?, object.as_deref(), output).await,
        VaultCommand::Repair { vault, header_from, keys, dry_run } => {
            let header = match header_from {
                Some(other) => Some(header(&vault, &other, &keys.read()?, dry_run).await?),
                None => None,
            };
            match header {
                Some(header) if dry_run => {
                    let value = json!({ "dryRun": true, "header": header });
                    output.result(&value, || "The header can be made again. Nothing was written.".to_owned());
                    Ok(Exit::Damaged)
                }
                header => repair(&vault, dry_run, header, output, stop).await,
            }
        }
    }
}

async fn open(folder: &Path, keys: &Keys, object: Option<&str>, output: Output) -> anyhow::Result<Exit> {
    let store = longshore_vault::local_store(folder)?;
    let found = match object {
        Some(object) => longshore_vault::inspect_object(store, keys, object).await?,
        None => longshore_vault::inspect_vault(store, keys).await?,
    };
    let problems: Vec<_> =
        found.problems.iter().map(|(object, what)| json!({ "object": object, "problem": what })).collect();
    let value = json!({ "content": found.content, "problems": problems });
    // There is no table: whoever asks for this wants to see what stands there.
    output.result(&value, || format!("{value:#}"));
    for (object, what) in &found.problems {
        output.hint(&format!("damaged: {object}: {what}"));
    }
    Ok(if found.problems.is_empty() { Exit::Done } else { Exit::Damaged })
}

/// Makes a header again; what it says.
async fn header(folder: &Path, other: &Path, keys: &Keys, dry_run: bool) -> anyhow::Result<Value> {
    let other = RegionVaults::open_one(other, keys).await?;
    let store = longshore_vault::local_store(folder)?;
    let made = Vault::rebuild_header(store, &other, !dry_run).await?;
    Ok(json!({
        "vaultId": made.vault_id, "projectId": made.project_id, "regionId": made.region_id, "manifests": made.manifests,
    }))
}

async fn repair(
    folder: &Path,
    dry_run: bool,
    header: Option<Value>,
    output: Output,
    stop: &StopSignal,
) -> anyhow::Result<Exit> {
    let vault = RegionVaults::open_one(folder, &Keys::none()).await?;
    let mut context = RunContext::new(longshore_engine::Limits::default());
    context.stop = stop.clone();
    let (plan, outcome) = repair_vault(&vault, dry_run, &context).await?;
    let objects = |list: &[longshore_vault::ObjectDamage]| -> Vec<_> {
        list.iter().map(|one| json!({"object": one.object, "expected": one.expected, "found": one.found})).collect()
    };
    let names = |packs: &[longshore_vault::PackId]| -> Vec<String> { packs.iter().map(ToString::to_string).collect() };
    let value = json!({
        "dryRun": dry_run,
        "header": header,
        "damagedIndexObjects": objects(&plan.damaged),
        "outdatedIndexObjects": plan.outdated,
        "unindexedPacks": names(&plan.unindexed_packs),
        "lostPacks": names(&plan.lost_packs),
        "unreadablePacks": objects(&plan.unreadable),
        "blobs": plan.blobs(),
        "written": outcome.written,
        "setAside": outcome.set_aside,
        "removed": outcome.removed,
        "left": outcome.left,
    });
    output.result(&value, || {
        let mut text = String::new();
        if let Some(header) = &header {
            let said = |name: &str| header.get(name).and_then(Value::as_str).unwrap_or_default();
            let (vault, region) = (said("vaultId"), said("regionId"));
            text.push_str(&format!("The header was made again: vault {vault}, region {region}.\n"));
        }
        for damage in &plan.damaged {
            text.push_str(&format!(
                "damaged: {}: expected {}, found {}\n",
                damage.object, damage.expected, damage.found
            ));
        }
        for damage in &plan.unreadable {
            text.push_str(&format!("unreadable: {}: {}; try `longshore heal`\n", damage.object, damage.found));
        }
        for pack in &plan.lost_packs {
            text.push_str(&format!("lost: pack {pack}; try `longshore heal`\n"));
        }
        for object in &outcome.left {
            text.push_str(&format!("left where it is, which does no harm: {object}\n"));
        }
        for object in &outcome.removed {
            text.push_str(&format!("removed, because the disk cannot even copy it: {object}\n"));
        }
        let done = match (plan.is_empty(), dry_run) {
            (true, _) => "The index is whole; nothing to do.".to_owned(),
            (false, true) => format!("{} blobs would be listed again. Nothing was written.", number(plan.blobs())),
            (false, false) => format!(
                "{} blobs were listed again in {} index objects; {} were set aside.",
                number(plan.blobs()),
                outcome.written.len(),
                outcome.set_aside.len()
            ),
        };
        text + &done
    });
    let damaged = !plan.lost_packs.is_empty() || !plan.unreadable.is_empty() || dry_run && !plan.is_empty();
    Ok(if damaged { Exit::Damaged } else { Exit::Done })
}
