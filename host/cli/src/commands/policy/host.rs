//! The policies of a host: shown and changed in its catalog, also while it runs.

use std::path::PathBuf;

use longshore_engine::{PolicyStatus, PromoteRules, SetRow};
use serde_json::json;

use crate::Exit;
use crate::args::{PolicyCommand, Promote};
use crate::commands::plugin_store::{desk, short};
use crate::output::{Output, number, table};

const FROM_THE_NEXT_RUN: &str = "It counts from the next run on; a backup that runs keeps what it started with.";

pub(crate) fn run(command: PolicyCommand, cache: Option<PathBuf>, output: Output) -> anyhow::Result<Exit> {
    match command {
        PolicyCommand::Status { config } => {
            let (desk, sandbox) = desk(&config.config, cache)?;
            let status = desk.status(&sandbox)?;
            output.result(&serde_json::to_value(&status)?, || show(&status));
        }
        PolicyCommand::History { config } => {
            let sets = desk(&config.config, cache)?.0.history()?;
            output.result(&json!({ "sets": sets }), || history(&sets));
        }
        PolicyCommand::Rollback { to, config } => {
            let (before, after) = desk(&config.config, cache)?.0.roll_back(to)?;
            output.result(&json!({ "from": before, "to": after }), || {
                format!("Set {after} takes the place of set {before}. {FROM_THE_NEXT_RUN}")
            });
        }
        PolicyCommand::Follow { config } => {
            desk(&config.config, cache)?.0.follow()?;
            output.result(&json!({ "following": true }), || {
                format!("The configuration is followed again. {FROM_THE_NEXT_RUN}")
            });
        }
        PolicyCommand::Promote(arguments) => promote(arguments, cache, output)?,
        PolicyCommand::Release { member, seats, config } => {
            let (desk, _) = desk(&config.config, cache)?;
            let out = desk.release(&member, seats.kind, seats.cluster.as_ref())?;
            output.result(&json!({ "released": out }), || {
                let lines = out.iter().map(|one| format!("{} is out of quarantine, in since {}.", one.seat, one.since));
                format!("{}\n{FROM_THE_NEXT_RUN}", lines.collect::<Vec<_>>().join("\n"))
            });
        }
        // Answered before this is called.
        PolicyCommand::Records { .. } | PolicyCommand::Replay { .. } | PolicyCommand::Diff(_) => {}
    }
    Ok(Exit::Done)
}

fn promote(arguments: Promote, cache: Option<PathBuf>, output: Output) -> anyhow::Result<()> {
    let (desk, sandbox) = desk(&arguments.config.config, cache)?;
    let rules = PromoteRules {
        min_decisions: arguments.min_decisions,
        min_days: arguments.min_days,
        max_protected_changes: arguments.max_protected_changes,
        max_failures: arguments.max_failures,
        max_not_asked: arguments.max_not_asked,
    };
    let (kind, scope) = (arguments.seats.kind, arguments.seats.cluster.as_ref());
    let report = desk.promote(arguments.member.as_deref(), kind, scope, &rules, &sandbox)?;
    output.result(&serde_json::to_value(&report)?, || {
        let record = &report.record;
        format!(
            "{}: {} ({}) takes the place of {}.\nIt made {} decisions in {} runs, {} of them otherwise, {} about \
             protected collections.\n{FROM_THE_NEXT_RUN}",
            report.seat,
            report.version,
            short(&report.digest),
            short(&report.in_place_of),
            number(record.decisions),
            number(record.runs),
            number(record.changed),
            number(record.protected_changes),
        )
    });
    output.hint(
        "\nThe configuration stays as it is: this holds as long as it names the same file there. `longshore policy \
         rollback` undoes it.",
    );
    Ok(())
}

fn show(status: &PolicyStatus) -> String {
    let cells: Vec<Vec<String>> = status
        .members
        .iter()
        .map(|member| {
            vec![
                member.seat.scope.to_string(),
                member.seat.kind.to_string(),
                member.seat.member.clone(),
                member.version.clone(),
                short(&member.digest),
                format!("{} / {}", number(member.good_runs), number(member.failed_runs)),
                member.notes.join("; "),
            ]
        })
        .collect();
    let mut text = table(&["OF", "KIND", "MEMBER", "VERSION", "DIGEST", "RUNS GOOD / FAILED", ""], &cells);
    if let Some(rollback) = &status.rollback {
        text.push_str(&format!(
            "\nSet {} is in force since {}, in place of what the configuration says; `longshore policy follow` ends that.\n",
            rollback.set, rollback.time
        ));
    }
    for one in &status.quarantine {
        text.push_str(&format!(
            "\nIn quarantine since {}: {} ({}), {} failures, the last: {}\n",
            one.since,
            one.seat,
            short(&one.digest),
            one.failures,
            one.why
        ));
    }
    for (member, shadow) in status.members.iter().filter_map(|member| Some((member, member.shadow.as_ref()?))) {
        let (seat, digest) = (&member.seat, short(&shadow.digest));
        text.push_str(&format!("\nCandidate for {seat}: {} {} ({digest})", shadow.plugin, shadow.version));
        let Some(record) = &shadow.record else {
            text.push_str(", not asked yet\n");
            continue;
        };
        text.push_str(&format!(
            ": {} decisions in {} runs since {}, {} otherwise, {} about protected collections, {} failures{}\n",
            number(record.decisions),
            number(record.runs),
            record.first,
            number(record.changed),
            number(record.protected_changes),
            number(record.failures),
            match record.not_asked {
                0 => String::new(),
                left => format!(", {} items not asked about because its time was up", number(left)),
            },
        ));
        for change in record.examples.iter().rev().take(3) {
            text.push_str(&format!("  {} {}: {} -> {}\n", change.kind, change.item, change.before, change.after));
        }
    }
    text
}

fn history(sets: &[SetRow]) -> String {
    let mut cells: Vec<Vec<String>> = Vec::new();
    for set in sets.iter().rev() {
        let state = match (set.active, set.rejected) {
            (true, _) => "in force",
            (false, true) => "rolled back",
            (false, false) => "",
        };
        cells.push(vec![
            set.number.to_string(),
            set.time.to_string(),
            set.cause.clone(),
            format!("{} / {}", number(set.good_runs), number(set.failed_runs)),
            state.to_owned(),
            set.members.join(", "),
        ]);
    }
    table(&["SET", "SINCE", "BY", "RUNS GOOD / FAILED", "", "MEMBERS"], &cells)
}
