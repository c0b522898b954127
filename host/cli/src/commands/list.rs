//! `longshore list`: the backups of one vault.

use longshore_engine::RegionVaults;
use serde_json::json;

use crate::Exit;
use crate::args::List;
use crate::output::{Output, bytes, table};

pub(crate) async fn run(arguments: List, output: Output) -> anyhow::Result<Exit> {
    let vault = RegionVaults::open_one(&arguments.vault, &arguments.keys.read()?).await?;
    let listing = vault.list_backups().await?;
    let backups: Vec<_> = listing
        .backups
        .iter()
        .rev()
        .map(|backup| {
            let root = &backup.root;
            json!({
                "backupId": root.backup_id, "backupType": root.backup_type, "creationMethod": root.creation_method,
                "clusterId": root.cluster_id, "created": root.created, "sizeBytes": root.sizes.plain_bytes,
                "storedBytes": root.sizes.stored_bytes, "homeRegion": root.home_region,
            })
        })
        .collect();
    let damaged: Vec<_> =
        listing.damaged.iter().map(|(id, error)| json!({ "backupId": id, "error": error.to_string() })).collect();
    let value = json!({ "vault": vault.id(), "region": vault.region_id(), "backups": backups, "damaged": damaged });
    output.result(&value, || {
        let cells: Vec<Vec<String>> = listing
            .backups
            .iter()
            .rev()
            .map(|backup| {
                let root = &backup.root;
                vec![
                    root.backup_id.to_string(),
                    root.backup_type.to_string(),
                    root.created.to_string(),
                    bytes(root.sizes.plain_bytes),
                    root.cluster_id.to_string(),
                ]
            })
            .collect();
        if cells.is_empty() {
            return "The vault holds no backup yet.".to_owned();
        }
        table(&["BACKUP", "TYPE", "CREATED", "SIZE", "CLUSTER"], &cells)
    });
    for (id, error) in &listing.damaged {
        eprintln!("damaged: {id}: {error}");
    }
    Ok(if listing.damaged.is_empty() { Exit::Done } else { Exit::Damaged })
}
