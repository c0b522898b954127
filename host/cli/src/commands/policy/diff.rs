//! `longshore policy diff`: what another policy would change, over recorded questions.

use std::path::PathBuf;

use longshore_engine::{Limits, load_plugin};
use longshore_policy::{ChangeGroup, DecisionRecord, Effect, PolicyDiff, Side, diff};
use longshore_sandbox::{Sandbox, SandboxConfig};

use super::records::{Named, ceiling_of, read};
use crate::Exit;
use crate::args::Diff;
use crate::output::{Output, money_change, number, signed_bytes, table};

pub(crate) async fn run(arguments: Diff, code_cache: Option<PathBuf>, output: Output) -> anyhow::Result<Exit> {
    let records: Vec<DecisionRecord> =
        read(&arguments.from).await?.into_iter().map(|Named { record, .. }| record).collect();
    let result = tokio::task::spawn_blocking(move || -> anyhow::Result<PolicyDiff> {
        let ceiling = ceiling_of(&records);
        let sandbox = Sandbox::new(SandboxConfig { code_cache, ceiling, ..SandboxConfig::default() })?;
        let load = |file: &str| load_plugin(&sandbox, file, &ceiling, &Limits::default());
        let (old, new) = (load(&arguments.old)?, load(&arguments.new)?);
        let new_side = Side { settings: arguments.new_settings.as_ref(), ..Side::of(&new) };
        let limits = longshore_policy::Limits::DEFAULT;
        Ok(diff(&records, arguments.member.as_deref(), Side::of(&old), new_side, &limits)?)
    })
    .await??;
    output.result(&serde_json::to_value(&result)?, || text(&result));
    Ok(if result.protected_losses > 0 { Exit::WouldLose } else { Exit::Done })
}

fn text(diff: &PolicyDiff) -> String {
    let side = |one: &longshore_policy::Compared| {
        let digest: String = one.digest.chars().take(12).collect();
        format!("{} {} ({digest}…), {} units of fuel", one.plugin, one.version, number(one.fuel_used))
    };
    let mut text = format!(
        "old  {}\nnew  {}\n{} records of {} runs, {} items: {} would be decided otherwise.\n",
        side(&diff.old),
        side(&diff.new),
        number(diff.records as u64),
        number(diff.runs as u64),
        number(diff.items),
        number(diff.changed_items),
    );
    for label in &diff.not_repeated {
        text.push_str(&format!("NOT REPEATED: the old policy answers {label} otherwise than it did then\n"));
    }
    for (kind, records) in &diff.not_compared {
        text.push_str(&format!(
            "not compared: {} records of {kind}, which one of both does not decide\n",
            number(*records as u64)
        ));
    }
    if !diff.groups.is_empty() {
        text.push('\n');
        text.push_str(&groups(&diff.groups));
        for group in &diff.groups {
            text.push_str(&examples(group));
        }
    }
    if !diff.regions.is_empty() {
        let cells: Vec<Vec<String>> = diff
            .regions
            .iter()
            .map(|(region, effect)| {
                vec![region.to_string(), signed_bytes(effect.stored_bytes), money_change(effect.monthly_cost_micros)]
            })
            .collect();
        text.push_str(&format!("\n{}", table(&["REGION", "STORED", "A MONTH"], &cells)));
    }
    if !diff.is_empty() {
        text.push_str(&format!(
            "\nAll in all: {}. That is before deduplication, of whole collections; another codec counts for new bytes only.\n",
            effect(&diff.effect)
        ));
    }
    for one in &diff.unanswered {
        let (kind, cluster, time, items) = (one.kind, &one.cluster, &one.time, one.items);
        text.push_str(&format!("{kind} of {cluster} at {time} ({items} items): {} -> {}\n", one.before, one.after));
    }
    for loss in &diff.losses {
        text.push_str(&format!("LOST: protected collection {}: {}\n", loss.collection, loss.why));
    }
    let more = diff.protected_losses.saturating_sub(diff.losses.len() as u64);
    if more > 0 {
        text.push_str(&format!("LOST: {} more protected collections\n", number(more)));
    }
    text.push_str(&match diff.protected_losses {
        0 => "No protected collection would lose its backup.".to_owned(),
        1 => "One protected collection would lose its backup.".to_owned(),
        count => format!("{} protected collections would lose their backup.", number(count)),
    });
    text
}

fn effect(effect: &Effect) -> String {
    format!(
        "{} backed up, {} stored, {} a month",
        signed_bytes(effect.size_bytes),
        signed_bytes(effect.stored_bytes),
        money_change(effect.monthly_cost_micros)
    )
}

fn groups(groups: &[ChangeGroup]) -> String {
    let cells: Vec<Vec<String>> = groups
        .iter()
        .map(|group| {
            let code = |code: &Option<String>| code.clone().unwrap_or_else(|| "-".to_owned());
            vec![
                group.kind.to_string(),
                group.change.as_str().to_owned(),
                number(group.count),
                format!("{} -> {}", code(&group.reason_before), code(&group.reason_after)),
                signed_bytes(group.effect.size_bytes),
                signed_bytes(group.effect.stored_bytes),
                money_change(group.effect.monthly_cost_micros),
            ]
        })
        .collect();
    table(&["KIND", "CHANGE", "ITEMS", "REASON", "SIZE", "STORED", "A MONTH"], &cells)
}

fn examples(group: &ChangeGroup) -> String {
    let mut text = format!("\n{} {}:\n", group.kind, group.change.as_str());
    for step in &group.steps {
        text.push_str(&format!("  {} x  {} -> {}\n", number(step.count), step.before, step.after));
    }
    for change in &group.examples {
        let protected = if change.protected { ", protected" } else { "" };
        let why = change.reason_after.as_ref().map_or_else(String::new, |reason| format!(": {}", reason.message));
        text.push_str(&format!("  for example {}{protected}{why}\n", change.item));
    }
    text
}
