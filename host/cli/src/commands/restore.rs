//! `longshore restore`: a backup back into a directory, proven.

use anyhow::Context;
use longshore_engine::{RestoreScope, RunContext, StopSignal, plan_restore, run_restore};
use longshore_model::{CollectionMapping, RestoredLoadState};
use longshore_source::MilvusLiteTarget;
use serde_json::json;

use crate::Exit;
use crate::args::Restore;
use crate::bars::with_bars;
use crate::commands::which::find;
use crate::output::{Output, bytes, table};
use crate::tables;

pub(crate) async fn run(arguments: Restore, output: Output, stop: &StopSignal) -> anyhow::Result<Exit> {
    let (vaults, id) = find(&arguments.which).await?;
    let scope = scope(&arguments.collections)?;
    let plan = plan_restore(&vaults, None, &id, scope).await?;
    if arguments.dry_run {
        let rows: Vec<Vec<String>> = plan
            .target
            .collections
            .iter()
            .map(|one| {
                let size = one.files.iter().map(|file| file.size_bytes).sum();
                vec![one.mapping.from.to_string(), one.mapping.to.to_string(), bytes(size)]
            })
            .collect();
        let value = json!({
            "dryRun": true, "backupId": id,
            "collections": plan.target.collections.iter().map(|one| &one.mapping).collect::<Vec<_>>(),
        });
        output.result(&value, || table(&["COLLECTION", "RESTORED AS", "SIZE"], &rows) + "\nNothing was written.");
        return Ok(Exit::Done);
    }
    let mut context = RunContext::new(arguments.throttle.limits());
    context.stop = stop.clone();
    let target = MilvusLiteTarget::new(&arguments.to);
    let outcome = with_bars(&context, output, run_restore(plan, &target, &context)).await?;
    output.result(&serde_json::to_value(&outcome)?, || tables::restore(&outcome));
    let to = arguments.to.display();
    output.hint(&format!("\nOpen it with pymilvus: MilvusClient(\"{to}\") (the path must end in .db)"));
    Ok(Exit::Done)
}

fn scope(named: &[String]) -> anyhow::Result<RestoreScope> {
    if named.is_empty() {
        return Ok(RestoreScope::WholeCluster(RestoredLoadState::Keep));
    }
    let mapping = |text: &String| -> anyhow::Result<CollectionMapping> {
        let (from, to) = text.split_once('=').unwrap_or((text, text));
        let wrong = || format!("in --collection {text}");
        Ok(CollectionMapping {
            from: from.parse().with_context(wrong)?,
            to: to.parse().with_context(wrong)?,
            load_state: RestoredLoadState::Keep,
        })
    };
    Ok(RestoreScope::Collections(named.iter().map(mapping).collect::<Result<_, _>>()?))
}
