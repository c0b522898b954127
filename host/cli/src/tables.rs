//! Results as tables and plain lines for a person.

use std::collections::BTreeSet;

use longshore_engine::{
    BackedUpCollection, BackupOutcome, PlanRow, PlanView, RestoreOutcome, VerifiedCollection, VerifyLevel,
    VerifyOutcome,
};
use serde_json::Value;

use crate::output::{bytes, duration, money, number, table};

/// What policies decided, one row per decision; equal decisions of many items are counted together.
pub(crate) fn decisions(rows: &Value) -> String {
    let mut cells: Vec<Vec<String>> = Vec::new();
    for row in rows.as_array().into_iter().flatten() {
        let text = |key: &str| row[key].as_str().unwrap_or_default().to_owned();
        let mut message = text("message");
        if let Some(overridden) = row["overridden"].as_str() {
            message = format!("{message} [{overridden}]");
        }
        cells.push(vec![text("kind"), text("item"), text("decision"), text("decidedBy"), message]);
    }
    table(&["KIND", "ITEM", "DECISION", "BY", "WHY"], &cells)
}

/// Collections of a backup.
pub(crate) fn collections(collections: &[BackedUpCollection]) -> String {
    let cells: Vec<Vec<String>> = collections
        .iter()
        .map(|one| {
            let live = one.live_rows.map_or_else(|| "-".to_owned(), number);
            let changed = one.changed_during_backup.then_some("changed by DDL during the backup");
            let notes: Vec<&str> =
                one.cannot_be_restored.as_ref().map(|_| "CANNOT BE RESTORED").into_iter().chain(changed).collect();
            vec![
                one.name.to_string(),
                live,
                number(one.physical_rows),
                bytes(one.size_bytes),
                one.region.to_string(),
                notes.join("; "),
            ]
        })
        .collect();
    let mut text = table(&["COLLECTION", "ROWS", "PHYSICAL ROWS", "SIZE", "REGION", ""], &cells);
    let reasons: BTreeSet<&String> = collections.iter().filter_map(|one| one.cannot_be_restored.as_ref()).collect();
    for reason in reasons {
        text.push_str(&format!("cannot be restored by this version: {reason}\n"));
    }
    text
}

/// A plan, before it is carried out.
pub(crate) fn plan(view: &PlanView) -> String {
    let cells: Vec<Vec<String>> = view.collections.iter().map(planned).collect();
    let header = ["COLLECTION", "", "REGION", "COPIES", "SIZE", "NEW", "STORED", "ADDED", "A MONTH", "WHY"];
    let mut text = table(&header, &cells);
    let cells: Vec<Vec<String>> = view
        .regions
        .iter()
        .map(|region| {
            let name = if region.home { format!("{} (home)", region.region) } else { region.region.to_string() };
            let (collections, copies) = (number(region.collections), number(region.copies));
            let (stored, added) = (bytes(region.stored_bytes), bytes(region.added_bytes));
            vec![name, collections, copies, stored, added, money(region.monthly_cost_micros)]
        })
        .collect();
    if !cells.is_empty() {
        text.push_str(&format!(
            "\n{}",
            table(&["REGION", "COLLECTIONS", "COPIES", "STORED", "ADDED", "A MONTH"], &cells)
        ));
    }
    text.push_str(&format!("\n{}", decisions(&serde_json::to_value(&view.decisions).unwrap_or_default())));
    for shadow in &view.shadows {
        let failed = shadow.failure.as_ref().map_or_else(String::new, |failure| format!("; it failed: {failure}"));
        text.push_str(&format!(
            "\nCandidate {} {} for {} {}: {} of {} decisions otherwise{failed}\n",
            shadow.candidate.plugin,
            shadow.candidate.version,
            shadow.kind,
            shadow.active.member,
            number(shadow.changed),
            number(shadow.decisions)
        ));
        for change in shadow.examples.iter().take(3) {
            text.push_str(&format!("  {}: {} -> {}\n", change.item, change.before, change.after));
        }
    }
    let totals = &view.totals;
    let moved = match totals.transfer_cost_micros {
        0 => String::new(),
        micros => format!(", {} once to move it", money(micros)),
    };
    text.push_str(&format!(
        "\n{} collections, {} ({} not in an earlier backup), about {} stored before deduplication ({} added by this \
         backup), {} a month{moved}; {} left out. Nothing was written.",
        number(totals.included),
        bytes(totals.size_bytes),
        bytes(totals.new_bytes),
        bytes(totals.stored_bytes),
        bytes(totals.added_bytes),
        money(totals.monthly_cost_micros),
        number(totals.excluded),
    ));
    if let Some(month) = &view.month {
        let budget = match month.budget_micros {
            Some(micros) => format!("the budget is {}", money(micros)),
            None => "there is no budget".to_owned(),
        };
        text.push_str(&format!(
            "\nAll backups of this project cost {} this month until now, and {} in a whole month as they are; {budget}.",
            money(month.spend_micros),
            money(month.estimate_micros),
        ));
    }
    text
}

fn planned(row: &PlanRow) -> Vec<String> {
    let copies: Vec<String> = row.copies.iter().map(ToString::to_string).collect();
    let why = row.reasons.first().map_or_else(String::new, |reason| match &reason.guardrail {
        Some(rule) => format!("{} [guardrail {rule}]", reason.message),
        None => reason.message.clone(),
    });
    let dash = |text: String| if text.is_empty() { "-".to_owned() } else { text };
    vec![
        row.collection.to_string(),
        if row.included { "in".to_owned() } else { "left out".to_owned() },
        dash(row.region.as_ref().map(ToString::to_string).unwrap_or_default()),
        dash(copies.join(", ")),
        bytes(row.size_bytes),
        bytes(row.new_bytes),
        bytes(row.stored_bytes),
        bytes(row.added_bytes),
        money(row.monthly_cost_micros),
        why,
    ]
}

/// A finished backup.
pub(crate) fn backup(outcome: &BackupOutcome) -> String {
    let mut text = collections(&outcome.collections);
    for excluded in &outcome.excluded {
        text.push_str(&format!("left out: {} ({}: {})\n", excluded.name, excluded.decided_by, excluded.reason));
    }
    for change in &outcome.ddl_changes {
        text.push_str(&format!("changed during the backup: {} was {}\n", change.name, change.change));
    }
    for warning in &outcome.warnings {
        text.push_str(&format!("warning: {warning}\n"));
    }
    let size = outcome.size_bytes;
    text.push_str(&format!(
        "\nBackup {} of {} in {} files took {}{}; {} were added to the vault.",
        outcome.backup_id,
        bytes(size),
        number(outcome.files),
        duration(outcome.duration_ms),
        rate(size - outcome.reused_bytes.min(size), outcome.duration_ms),
        bytes(outcome.stored_bytes),
    ));
    if outcome.reused_bytes > 0 {
        text.push_str(&format!(" {} were there already: an earlier backup holds them.", bytes(outcome.reused_bytes)));
    }
    text
}

/// A finished restore.
pub(crate) fn restore(outcome: &RestoreOutcome) -> String {
    let cells: Vec<Vec<String>> = outcome
        .collections
        .iter()
        .map(|one| {
            let renamed = if one.from == one.to { String::new() } else { format!("was {}", one.from) };
            let live = one.live_rows.map_or_else(|| "-".to_owned(), number);
            vec![
                one.to.to_string(),
                live,
                number(one.physical_rows),
                number(one.files),
                bytes(one.size_bytes),
                "equal".to_owned(),
                renamed,
            ]
        })
        .collect();
    let mut text = table(&["COLLECTION", "ROWS", "PHYSICAL ROWS", "FILES", "SIZE", "PROOF", ""], &cells);
    for note in &outcome.notes {
        text = format!("{text}\nNote: {note}.");
    }
    for (user, password) in &outcome.passwords {
        text = format!("{text}\nUser {user} has a new password, which is shown only here: {}", password.expose());
    }
    format!(
        "{text}\nRestored {} in {}{}. Every file was read back and is what was backed up; row counts agree.",
        bytes(outcome.size_bytes),
        duration(outcome.duration_ms),
        rate(outcome.size_bytes, outcome.duration_ms),
    )
}

/// A finished check.
pub(crate) fn verify(outcome: &VerifyOutcome) -> String {
    let cells: Vec<Vec<String>> = outcome.collections.iter().map(|one| verified(one, outcome)).collect();
    let mut text = table(&["COLLECTION", "REGION", "FILES", "SIZE", "CHECKED", "ROWS", "STATE"], &cells);
    for one in &outcome.collections {
        for damage in &one.damages {
            text.push_str(&format!("damaged: {}: {damage}\n", one.name));
        }
    }
    for lost in &outcome.lost_collections {
        text.push_str(&format!("lost: {lost}\n"));
    }
    for object in &outcome.damaged_objects {
        text.push_str(&format!(
            "damaged: {} in {}: expected {}, found {}\n",
            object.object, object.region, object.expected, object.found
        ));
    }
    for problem in &outcome.problems {
        text.push_str(&format!("damaged: {problem}\n"));
    }
    let verdict = match (outcome.whole, outcome.sample_percent) {
        (false, _) => "is DAMAGED",
        (true, None) if !outcome.is_sound() => "can be restored, but objects of its vault are DAMAGED",
        (true, None) => "is whole",
        (true, Some(_)) => "is whole as far as the sample goes",
    };
    let sample = match (outcome.sample_percent, outcome.seed) {
        (Some(percent), Some(seed)) => format!(" (sample of {percent}%, seed {seed})"),
        _ => String::new(),
    };
    let proof = match (outcome.restored, outcome.opened) {
        (true, true) => "; it was restored, proven and opened",
        (true, false) => "; it was restored and proven",
        _ => "",
    };
    text.push_str(&format!(
        "\nBackup {} {verdict}{proof}; level {}{sample}: {} of {} packs, {} read in {}{}.",
        outcome.backup_id,
        outcome.level.as_str(),
        number(outcome.packs_read),
        number(outcome.packs),
        bytes(outcome.read_bytes),
        duration(outcome.duration_ms),
        rate(outcome.read_bytes, outcome.duration_ms),
    ));
    text
}

fn verified(one: &VerifiedCollection, outcome: &VerifyOutcome) -> Vec<String> {
    let state = match (one.damaged_files, one.damages.is_empty()) {
        (0, true) => "whole".to_owned(),
        (0, false) => "damaged".to_owned(),
        (damaged, _) => format!("{damaged} files damaged"),
    };
    let share = one.checked_blobs.saturating_mul(100).checked_div(one.blobs).unwrap_or(100);
    let checked = if outcome.level == VerifyLevel::Exists { "-".to_owned() } else { format!("{share}%") };
    vec![
        one.name.to_string(),
        one.region.to_string(),
        number(one.files),
        bytes(one.size_bytes),
        checked,
        one.physical_rows.map_or_else(|| "-".to_owned(), number),
        state,
    ]
}

/// ` (123.4 MB/s)`, or nothing when there is too little to say.
fn rate(size_bytes: u64, duration_ms: i64) -> String {
    let milliseconds = u64::try_from(duration_ms).unwrap_or(0);
    match size_bytes.saturating_mul(1_000).checked_div(milliseconds) {
        Some(per_second) if size_bytes > 0 => format!(" ({}/s)", bytes(per_second)),
        _ => String::new(),
    }
}
