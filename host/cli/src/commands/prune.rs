//! `longshore prune`, `longshore delete` and `longshore space`.

use longshore_engine::{
    HostConfig, Limits, RegionVaults, RunContext, StopSignal, delete_backup, plan_prune, run_prune,
};
use longshore_vault::{PruneAction, PruneOptions, VaultPlan};
use serde_json::json;

use crate::Exit;
use crate::args::{Delete, Prune, Space, Vaults};
use crate::bars::with_bars;
use crate::commands::which::open_all;
use crate::output::{Output, bytes, number, table};

/// Objects of one action that are listed unless all are asked for; the rest is counted.
const LISTED: usize = 20;

pub(crate) async fn run(arguments: Prune, output: Output, stop: &StopSignal) -> anyhow::Result<Exit> {
    let vaults = open(&arguments.vaults, output).await?;
    let options = PruneOptions {
        fence_ms: arguments.fence,
        minimum_age_ms: arguments.minimum_age,
        compact_below_percent: arguments.compact_below,
        lost_vaults: arguments.lost_vaults.into_iter().collect(),
    };
    let context = context(arguments.throttle.limits(), stop);
    let listed = if arguments.all { usize::MAX } else { LISTED };
    let plans = if arguments.dry_run {
        with_bars(&context, output, plan_prune(&vaults, &options, &context)).await?.vaults
    } else {
        with_bars(&context, output, run_prune(&vaults, &options, &context)).await?.vaults
    };
    let value = json!({ "dryRun": arguments.dry_run, "vaults": plans });
    output.result(&value, || {
        plans.iter().map(|plan| text(plan, arguments.dry_run, listed)).collect::<Vec<_>>().join("\n")
    });
    let blocked = plans.iter().any(|plan| !plan.blocked.is_empty());
    Ok(if blocked { Exit::Damaged } else { Exit::Done })
}

pub(crate) async fn delete(arguments: Delete, output: Output, stop: &StopSignal) -> anyhow::Result<Exit> {
    let vaults = open(&arguments.vaults, output).await?;
    let home = delete_backup(&vaults, &arguments.backup, "longshore delete", &context(Limits::default(), stop)).await?;
    let value = json!({ "deleted": arguments.backup, "homeRegion": home });
    output.result(&value, || format!("{} is deleted. Its bytes go with a later prune.", arguments.backup));
    Ok(Exit::Done)
}

pub(crate) async fn space(arguments: Space, output: Output, stop: &StopSignal) -> anyhow::Result<Exit> {
    let vaults = open(&arguments.vaults, output).await?;
    let plans = plan_prune(&vaults, &PruneOptions::default(), &context(Limits::default(), stop)).await?.vaults;
    let spaces = plans.iter().map(|plan| {
        json!({ "vaultId": plan.vault_id, "regionId": plan.region_id, "place": plan.place, "space": plan.space })
    });
    let value = json!({ "vaults": spaces.collect::<Vec<_>>() });
    output.result(&value, || plans.iter().map(space_text).collect::<Vec<_>>().join("\n"));
    Ok(Exit::Done)
}

fn context(limits: Limits, stop: &StopSignal) -> RunContext {
    let mut context = RunContext::new(limits);
    context.stop = stop.clone();
    context
}

async fn open(vaults: &Vaults, output: Output) -> anyhow::Result<RegionVaults> {
    let Some(config) = &vaults.config else {
        return open_all(&vaults.folders, &vaults.keys.read()?).await;
    };
    let config = HostConfig::read(config)?;
    let (open, missing) =
        RegionVaults::open_existing(&config.project.id, &config.regions, &config.keys.read()?).await?;
    for region in missing {
        output.hint(&format!("the vault of region {region} is not there; what it may need is kept"));
    }
    Ok(open)
}

/// What was, or would be, done in one vault; of each action at most `listed` objects.
fn text(plan: &VaultPlan, dry_run: bool, listed: usize) -> String {
    let mut text = format!("{} ({}, region {})\n", plan.place, plan.vault_id, plan.region_id);
    for sentence in &plan.blocked {
        text.push_str(&format!("nothing is marked or deleted: {sentence}\n"));
    }
    let verbs = [
        (PruneAction::Delete, "deleted", "would be deleted"),
        (PruneAction::Mark, "marked", "would be marked"),
        (PruneAction::Compact, "rewritten and marked", "would be rewritten and marked"),
        (PruneAction::Write, "written", "would be written"),
        (PruneAction::Unmark, "needed again", "needed again"),
        (PruneAction::Wait, "waiting", "waiting"),
        (PruneAction::Keep, "kept", "kept"),
    ];
    let mut rows = Vec::new();
    for (action, done, would) in verbs {
        let verb = if dry_run { would } else { done };
        let of: Vec<_> = plan.objects.iter().filter(|object| object.action == action).collect();
        for object in of.iter().take(listed) {
            rows.push(vec![
                verb.to_owned(),
                bytes(object.size_bytes),
                object.object.clone(),
                object.reason.to_string(),
            ]);
        }
        if of.len() > listed {
            let rest: u64 = of.iter().skip(listed).map(|object| object.size_bytes).sum();
            let more = of.len() - listed;
            rows.push(vec![verb.to_owned(), bytes(rest), format!("{more} more"), "--all lists them".to_owned()]);
        }
    }
    if rows.is_empty() {
        text.push_str("nothing to do\n");
    } else {
        text.push_str(&table(&["", "SIZE", "OBJECT", "WHY"], &rows));
    }
    let (deleted, freed) = plan.count(PruneAction::Delete);
    let (marked, going) = plan.count(PruneAction::Mark);
    let verb = if dry_run { "Would delete" } else { "Deleted" };
    text.push_str(&format!(
        "{verb} {} objects, {}; marked {}, {}; {} stay.\n",
        number(deleted),
        bytes(freed),
        number(marked),
        bytes(going),
        bytes(plan.space.needed_bytes),
    ));
    if let Some(next) = plan.next_deletion {
        text.push_str(&format!("What is marked may be deleted by a run at {next} or later.\n"));
    }
    text
}

fn space_text(plan: &VaultPlan) -> String {
    let space = &plan.space;
    let mut text = format!("{} ({}, region {})\n", plan.place, plan.vault_id, plan.region_id);
    let rows: Vec<Vec<String>> = space
        .backups
        .iter()
        .map(|one| vec![one.backup_id.to_string(), bytes(one.alone_bytes), bytes(one.shared_bytes)])
        .collect();
    text.push_str(&table(&["BACKUP", "ALONE", "SHARED"], &rows));
    text.push_str(&format!(
        "{} packs, {}: {} needed, {} in marked packs, {} unneeded",
        number(space.packs),
        bytes(space.pack_bytes),
        bytes(space.needed_bytes),
        bytes(space.marked_bytes),
        bytes(space.unneeded_bytes),
    ));
    if space.unreadable_bytes > 0 {
        text.push_str(&format!(", {} in packs that cannot be read", bytes(space.unreadable_bytes)));
    }
    text.push_str(".\n");
    text
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use longshore_vault::{PlannedObject, PruneReason, SpaceReport};

    use super::*;

    fn plan(objects: usize) -> VaultPlan {
        let object = |number: usize| PlannedObject {
            action: PruneAction::Mark,
            object: format!("packs/aa/{number}"),
            size_bytes: 1,
            reason: PruneReason::Unneeded,
        };
        VaultPlan {
            vault_id: "vault-1".parse().unwrap(),
            region_id: "local".parse().unwrap(),
            place: "/vault".to_owned(),
            now: longshore_model::Timestamp::from_millis(0),
            objects: (0..objects).map(object).collect(),
            space: SpaceReport::default(),
            next_deletion: None,
            blocked: Vec::new(),
        }
    }

    #[test]
    fn every_object_is_explained_when_all_are_asked_for() {
        let plan = plan(LISTED + 5);
        let (short, all) = (text(&plan, true, LISTED), text(&plan, true, usize::MAX));
        assert!(short.contains("5 more") && short.contains("--all lists them"), "{short}");
        assert_eq!(short.matches("no backup needs anything of it").count(), LISTED);
        assert_eq!(all.matches("no backup needs anything of it").count(), plan.objects.len());
        assert!(!all.contains("more"), "{all}");
    }
}
