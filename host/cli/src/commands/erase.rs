//! `longshore erase`: one collection out of all backups.

use longshore_engine::{
    EngineError, EraseOutcome, ErasePlan, EraseRequest, RunContext, StopSignal, plan_erase, run_erase,
};
use longshore_model::Phase;
use serde_json::json;

use crate::Exit;
use crate::args::Erase;
use crate::bars::with_bars;
use crate::commands::which::open_all;
use crate::output::{Output, bytes, number, table};

pub(crate) async fn run(arguments: Erase, output: Output, stop: &StopSignal) -> anyhow::Result<Exit> {
    let Erase { collection, vaults, keys, clusters, reason, by, dry_run, throttle } = arguments;
    let vaults = open_all(&vaults, &keys.read()?).await?;
    let mut context = RunContext::new(throttle.limits());
    context.stop = stop.clone();
    let request = EraseRequest { collection, clusters: clusters.into_iter().collect(), reason, by };
    let work = async {
        let plan = plan_erase(request, &vaults, &context).await?;
        let outcome = if dry_run { None } else { Some(run_erase(&plan, &vaults, &context).await?) };
        context.progress.enter(Phase::Done);
        Ok::<_, EngineError>((plan, outcome))
    };
    let (plan, outcome) = with_bars(&context, output, work).await?;
    let value = json!({
        "dryRun": dry_run, "request": plan.request, "backups": plan.backups, "packs": plan.pack_count(),
        "unnamedPacks": plan.unnamed_pack_count(),
        "unreadable": plan.unreadable, "outcome": outcome,
    });
    output.result(&value, || text(&plan, outcome.as_ref()));
    Ok(if plan.unreadable.is_empty() { Exit::Done } else { Exit::Damaged })
}

fn text(plan: &ErasePlan, outcome: Option<&EraseOutcome>) -> String {
    let name = &plan.request.collection;
    let rows: Vec<Vec<String>> = plan
        .backups
        .iter()
        .map(|one| {
            let regions: Vec<String> = one.regions.iter().map(ToString::to_string).collect();
            let held = if regions.is_empty() { "only named".to_owned() } else { bytes(one.size_bytes) };
            vec![
                one.backup_id.to_string(),
                one.cluster_id.to_string(),
                one.created.to_string(),
                held,
                regions.join(", "),
                one.left.to_string(),
            ]
        })
        .collect();
    let mut text = table(&["BACKUP", "CLUSTER", "CREATED", "HELD", "REGIONS", "COLLECTIONS LEFT"], &rows);
    for (object, why) in &plan.unreadable {
        text.push_str(&format!("could not be looked into: {object}: {why}\n"));
    }
    let packs = number(plan.pack_count() as u64);
    match outcome {
        None => text.push_str(&format!(
            "\n{name} would be erased from {} backups; {packs} packs hold bytes of it. Nothing was written.",
            rows.len()
        )),
        Some(outcome) => {
            text.push_str(&format!(
                "\n{name} was erased from {} backups; record {}. {packs} packs hold bytes of it until they are pruned.",
                outcome.backups.len(),
                outcome.erasure_id
            ));
            if !plan.unreadable.is_empty() {
                text.push_str(" The erasure stays open: run it again once everything can be read.");
            }
        }
    }
    if plan.unnamed_pack_count() > 0 {
        text.push_str(&format!(
            " {} more packs hold bytes that no backup needs and nobody can name; bytes of it may be among them, of backups \
             that were deleted before, so prunes rewrite these packs too.",
            number(plan.unnamed_pack_count() as u64)
        ));
    }
    text
}
