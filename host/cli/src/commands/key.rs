//! `longshore key`: works on the catalog directly, also while the host runs.

use longshore_catalog::Catalog;
use longshore_engine::{Host, SystemRandom};
use longshore_model::{Clock, SystemClock};
use serde_json::json;

use super::{host_catalog, recipient};
use crate::Exit;
use crate::args::Key;
use crate::output::{Output, table};

/// Milliseconds of a day.
const DAY_MS: i64 = 24 * 60 * 60 * 1_000;

pub(crate) async fn run(arguments: Key, output: Output) -> anyhow::Result<Exit> {
    let now = SystemClock.now();
    match arguments {
        Key::Recipient(arguments) => return recipient::run(arguments, output).await,
        Key::Writer(arguments) => return recipient::writer(arguments, output).await,
        Key::Create { name, role, expires_days, config } => {
            let (_, catalog) = host_catalog::open(&config)?;
            let expires = expires_days.map(|days| now.plus_millis(i64::from(days) * DAY_MS));
            let (row, key) = Host::create_key(&catalog, &name, role, expires, &SystemRandom, now)?;
            let value = json!({ "id": row.id, "name": row.name, "role": row.role, "expires": row.expires, "key": key });
            output.result(&value, || key.clone());
            output.hint(&format!(
                "Key {} for `{}` ({}). It is shown this once and kept nowhere.",
                row.id, row.name, row.role
            ));
        }
        Key::List { config } => {
            let rows = host_catalog::open(&config)?.1.list_keys()?;
            let value = json!({ "keys": rows });
            output.result(&value, || {
                let time =
                    |time: Option<longshore_model::Timestamp>| time.map_or_else(|| "-".to_owned(), |t| t.to_string());
                let cells: Vec<Vec<String>> = rows
                    .iter()
                    .map(|row| {
                        vec![row.id.clone(), row.name.clone(), row.role.clone(), time(row.expires), time(row.revoked)]
                    })
                    .collect();
                table(&["ID", "NAME", "ROLE", "EXPIRES", "REVOKED"], &cells)
            });
        }
        Key::Revoke { id, config } => {
            let row = host_catalog::open(&config)?.1.revoke_key(&id, now)?;
            output.result(&json!({ "id": row.id, "revoked": row.revoked }), || format!("Key {} is revoked.", row.id));
        }
    }
    Ok(Exit::Done)
}
