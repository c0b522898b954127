//! `longshore retention`: which backups rules let go, and why.

use longshore_engine::{
    EngineError, Limits, RetentionDecision, RetentionOutcome, RetentionPlan, RunContext, StopSignal, apply_retention,
    plan_retention,
};
use longshore_model::{Clock, Phase, SystemClock};
use serde_json::json;

use crate::Exit;
use crate::args::Retention;
use crate::bars::with_bars;
use crate::commands::which::open_all;
use crate::output::{Output, table};

pub(crate) async fn run(arguments: Retention, output: Output, stop: &StopSignal) -> anyhow::Result<Exit> {
    let vaults = open_all(&arguments.vaults, &arguments.keys.read()?).await?;
    let rules = arguments.rules.rules();
    let mut context = RunContext::new(Limits::default());
    context.stop = stop.clone();
    let work = async {
        context.progress.enter(Phase::Inventory);
        let plan = plan_retention(&vaults, arguments.cluster.as_ref(), &move |_| rules, SystemClock.now()).await?;
        let outcome = match arguments.apply {
            true => Some(apply_retention(&plan, &vaults, SystemClock.now(), &context).await?),
            false => None,
        };
        context.progress.enter(Phase::Done);
        Ok::<_, EngineError>((plan, outcome))
    };
    let (plan, outcome) = with_bars(&context, output, work).await?;
    let value = json!({
        "dryRun": outcome.is_none(), "rules": rules, "decisions": plan.decisions, "unreadable": plan.unreadable,
        "outcome": outcome,
    });
    output.result(&value, || text(&plan, outcome.as_ref()));
    Ok(if outcome.is_some_and(|outcome| !outcome.failed.is_empty()) { Exit::Failed } else { Exit::Done })
}

fn text(plan: &RetentionPlan, outcome: Option<&RetentionOutcome>) -> String {
    let cells = |decision: &RetentionDecision| {
        vec![
            decision.backup_id.to_string(),
            decision.cluster_id.to_string(),
            decision.created.to_string(),
            decision.reason.clone(),
        ]
    };
    let rows: Vec<Vec<String>> = plan.decisions.iter().map(cells).collect();
    let mut text = table(&["BACKUP", "CLUSTER", "CREATED", "DECISION"], &rows);
    for (backup, why) in &plan.unreadable {
        text.push_str(&format!("kept: {backup} cannot be read: {why}\n"));
    }
    let (all, goes) = (plan.decisions.len(), plan.decisions.iter().filter(|decision| decision.goes).count());
    let kept = all - goes;
    match outcome {
        None if goes == 0 => text.push_str(&format!("\nAll {kept} are kept.")),
        None => text.push_str(&format!("\n{goes} would go, {kept} are kept. Nothing was changed; add --apply.")),
        Some(outcome) => {
            for (backup, why) in &outcome.failed {
                text.push_str(&format!("not deleted: {backup}: {why}\n"));
            }
            let deleted = outcome.deleted.len();
            text.push_str(&format!(
                "\n{deleted} deleted, {} kept. Bytes that no other backup uses go with the next prune.",
                all - deleted
            ));
        }
    }
    text
}
