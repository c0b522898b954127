//! `longshore export`: a backup as plain files.

use longshore_engine::{EXPORT_DATA, RunContext, StopSignal, export_backup};

use crate::Exit;
use crate::args::{Export, Which};
use crate::bars::with_bars;
use crate::commands::which::find;
use crate::output::{Output, bytes, number, table};

pub(crate) async fn run(arguments: Export, output: Output, stop: &StopSignal) -> anyhow::Result<Exit> {
    let Export { backup, vaults, keys, to, collections, throttle } = arguments;
    let mut folders = vaults.into_iter();
    let vault = folders.next().unwrap_or_default();
    let which = Which { vault, backup: Some(backup), more_vaults: folders.collect(), keys };
    let (vaults, id) = find(&which).await?;
    let mut context = RunContext::new(throttle.limits());
    context.stop = stop.clone();
    let outcome = with_bars(&context, output, export_backup(&vaults, &id, &collections, &to, &context)).await?;
    output.result(&serde_json::to_value(&outcome)?, || {
        let cells: Vec<Vec<String>> = outcome
            .collections
            .iter()
            .map(|one| {
                let live = one.live_rows.map_or_else(|| "-".to_owned(), number);
                vec![one.to.to_string(), live, number(one.physical_rows), bytes(one.size_bytes)]
            })
            .collect();
        let files = number(outcome.files);
        let text = table(&["COLLECTION", "ROWS", "PHYSICAL ROWS", "SIZE"], &cells);
        let size = bytes(outcome.size_bytes);
        format!("{text}\nBackup {id} is in {}: {files} files, {size}, all read back and compared.", to.display())
    });
    for note in &outcome.notes {
        output.hint(&format!("\nNote: {note}."));
    }
    let data = to.join(outcome.data);
    if outcome.data == EXPORT_DATA {
        output.hint(&format!("\nOpen it with pymilvus: MilvusClient(\"{}\")", data.display()));
    } else {
        output.hint(&format!(
            "\n{} has the layout of milvus-backup; `longshore backup {} --to VAULT` reads it too.",
            data.display(),
            data.display()
        ));
    }
    Ok(Exit::Done)
}
