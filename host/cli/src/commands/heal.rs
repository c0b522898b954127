//! `longshore heal`: what is lost or damaged comes back from other vaults.

use longshore_engine::{HealOutcome, HealRequest, RegionVaults, RunContext, StopSignal, heal};

use crate::Exit;
use crate::args::Heal;
use crate::bars::with_bars;
use crate::output::{Output, bytes, duration, number, table};

pub(crate) async fn run(arguments: Heal, output: Output, stop: &StopSignal) -> anyhow::Result<Exit> {
    let keys = arguments.keys.read()?;
    let vault = RegionVaults::open_one(&arguments.vault, &keys).await?;
    let mut sources = Vec::with_capacity(arguments.from.len());
    for folder in &arguments.from {
        sources.push(RegionVaults::open_one(folder, &keys).await?);
    }
    let mut context = RunContext::new(arguments.throttle.limits());
    context.stop = stop.clone();
    let request = HealRequest { backup: arguments.backup, level: arguments.level.into(), dry_run: arguments.dry_run };
    let outcome = with_bars(&context, output, heal(&vault, &sources, &request, &context)).await?;
    output.result(&serde_json::to_value(&outcome)?, || as_table(&outcome));
    let damaged = !outcome.whole || outcome.dry_run && !outcome.objects.is_empty();
    Ok(if damaged { Exit::Damaged } else { Exit::Done })
}

fn as_table(outcome: &HealOutcome) -> String {
    let would = if outcome.dry_run { "would be healed" } else { "healed" };
    let mut text = String::new();
    if !outcome.objects.is_empty() {
        let rows: Vec<Vec<String>> = outcome
            .objects
            .iter()
            .map(|one| {
                let state = if one.healed { would } else { "NOT HEALED" };
                vec![one.object.clone(), state.to_owned(), one.how.clone()]
            })
            .collect();
        text.push_str(&table(&["OBJECT", "STATE", "HOW"], &rows));
        text.push('\n');
    }
    if !outcome.collections.is_empty() {
        let rows: Vec<Vec<String>> = outcome
            .collections
            .iter()
            .map(|one| {
                let state = match one.still_damaged_files {
                    0 => would.to_owned(),
                    left => format!("{left} of {} files STILL DAMAGED", one.damaged_files),
                };
                vec![one.backup_id.to_string(), one.name.clone(), state, one.reasons.join("; ")]
            })
            .collect();
        text.push_str(&table(&["BACKUP", "COLLECTION", "STATE", "WHY"], &rows));
        text.push('\n');
    }
    let verdict = match (outcome.objects.is_empty() && outcome.collections.is_empty(), outcome.whole) {
        (true, _) => "nothing was damaged",
        (false, true) if outcome.dry_run => "everything can be healed; nothing was written",
        (false, true) => "everything is whole now",
        (false, false) => "not everything could be healed",
    };
    text.push_str(&format!(
        "Vault of region {}: {verdict}; {} backups, {} read in {}.",
        outcome.region,
        number(outcome.backups),
        bytes(outcome.read_bytes),
        duration(outcome.duration_ms)
    ));
    text
}
