//! Decision records: out of vaults and folders, into folders, and asked again.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::Context;
use longshore_engine::{HostConfig, OpenedBackup, RegionVaults, decision_records};
use longshore_model::{BackupId, Digest};
use longshore_policy::{DecisionRecord, replay};
use longshore_sandbox::{Budget, Plugin};
use serde_json::json;

use crate::Exit;
use crate::args::{KeyArguments, RecordsFrom};
use crate::commands::plugin_store::Finder;
use crate::commands::which::open_all;
use crate::output::Output;

/// Most record files of a folder.
const RECORD_FILES: usize = 1_000_000;
/// Largest record file, in bytes. A page has at most a thousand collections, and a megabyte of granted files.
const RECORD_FILE_BYTES: u64 = 256 * 1024 * 1024;

/// A record with where it is from.
pub(crate) struct Named {
    /// Backup and number, or file.
    pub(crate) name: String,
    pub(crate) record: DecisionRecord,
}

/// The vaults that were named, or those of a configuration that are there.
pub(crate) async fn open_place(
    folders: &[PathBuf],
    config: Option<&HostConfig>,
    keys: &KeyArguments,
) -> anyhow::Result<RegionVaults> {
    if !folders.is_empty() {
        return open_all(folders, &keys.read()?).await;
    }
    let config = config.ok_or_else(|| anyhow::anyhow!("give --vault or --config"))?;
    let (vaults, missing) =
        RegionVaults::open_existing(&config.project.id, &config.regions, &config.keys.read()?).await?;
    for region in missing {
        tracing::warn!(%region, "the vault of this region is not there");
    }
    Ok(vaults)
}

/// A backup by its id, or the newest one.
pub(crate) async fn find_backup(vaults: &RegionVaults, id: Option<&str>) -> anyhow::Result<BackupId> {
    if let Some(id) = id.filter(|id| *id != "latest") {
        return Ok(id.parse()?);
    }
    let newest = backups(vaults).await?.pop();
    newest.ok_or_else(|| anyhow::anyhow!("these vaults hold no backup yet"))
}

/// All backups, oldest first.
async fn backups(vaults: &RegionVaults) -> anyhow::Result<Vec<BackupId>> {
    let mut found = BTreeMap::new();
    for vault in vaults.all() {
        for backup in vault.list_backups().await?.backups {
            found.insert((backup.root.created, backup.root.backup_id.clone()), backup.root.backup_id);
        }
    }
    Ok(found.into_values().collect())
}

/// Records of a folder, or of backups, oldest first.
pub(crate) async fn read(from: &RecordsFrom) -> anyhow::Result<Vec<Named>> {
    if let Some(folder) = from.records.clone() {
        return tokio::task::spawn_blocking(move || read_folder(&folder)).await?;
    }
    let place = &from.place;
    let config = place.config.as_deref().map(HostConfig::read).transpose()?;
    let vaults = open_place(&place.vaults, config.as_ref(), &place.keys).await?;
    let ids = match from.backup.as_deref() {
        Some(id) => vec![find_backup(&vaults, Some(id)).await?],
        None => backups(&vaults).await?,
    };
    let mut records = Vec::new();
    for id in ids {
        let opened = OpenedBackup::find_what_is_there(&vaults, None, &id).await?;
        for (number, record) in decision_records(&opened)?.into_iter().enumerate() {
            records.push(Named { name: format!("{id}/{}", file_name(number, &record)), record });
        }
    }
    Ok(records)
}

fn file_name(number: usize, record: &DecisionRecord) -> String {
    format!("{number:04}-{}-{}-{}.json", record.question.kind(), record.asked.member, record.page_number)
}

/// Every `.json` file below a folder, in order of path.
fn read_folder(folder: &Path) -> anyhow::Result<Vec<Named>> {
    let mut files = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        let entries = std::fs::read_dir(&folder).with_context(|| format!("cannot read {}", folder.display()))?;
        for entry in entries {
            let entry = entry.with_context(|| format!("cannot read {}", folder.display()))?;
            let kind = entry.file_type().with_context(|| format!("cannot read {}", entry.path().display()))?;
            if kind.is_dir() {
                folders.push(entry.path());
            } else if entry.path().extension().is_some_and(|extension| extension == "json") {
                files.push(entry.path());
            }
            anyhow::ensure!(files.len() <= RECORD_FILES, "{} holds more than {RECORD_FILES} records", folder.display());
        }
    }
    anyhow::ensure!(!files.is_empty(), "{} holds no records (*.json)", folder.display());
    files.sort();
    let mut records = Vec::with_capacity(files.len());
    for file in files {
        let size = std::fs::metadata(&file).with_context(|| format!("cannot read {}", file.display()))?.len();
        anyhow::ensure!(size <= RECORD_FILE_BYTES, "{} is larger than a record can be", file.display());
        let text = std::fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
        let record = DecisionRecord::from_json(&text).with_context(|| file.display().to_string())?;
        records.push(Named { name: file.display().to_string(), record });
    }
    Ok(records)
}

/// `longshore policy records`.
pub(crate) async fn export(to: &Path, from: &RecordsFrom, output: Output) -> anyhow::Result<Exit> {
    let records = read(from).await?;
    let mut backups = std::collections::BTreeSet::new();
    for Named { name, record } in &records {
        let path = to.join(name.trim_start_matches('/'));
        anyhow::ensure!(path.starts_with(to), "{name} cannot be written below {}", to.display());
        let folder = path.parent().unwrap_or(to);
        std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        backups.insert(folder.to_owned());
        let mut file = std::fs::File::create(&path).with_context(|| format!("cannot write {}", path.display()))?;
        writeln!(file, "{}", record.to_json()?).with_context(|| format!("cannot write {}", path.display()))?;
    }
    let value = json!({ "records": records.len(), "backups": backups.len(), "to": to });
    output
        .result(&value, || format!("{} records of {} backups are in {}.", records.len(), backups.len(), to.display()));
    output.hint("They name collections and hold their properties: treat them as you treat the data.");
    Ok(Exit::Done)
}

/// What the budgets of records need of a sandbox, on a host whose own ceiling is higher than the default.
pub(crate) fn ceiling_of<'a>(records: impl IntoIterator<Item = &'a DecisionRecord>) -> Budget {
    records.into_iter().fold(Budget::CEILING, |ceiling, record| ceiling.max(&record.budget))
}

/// `longshore policy replay`.
pub(crate) async fn replay_all(
    from: &RecordsFrom,
    plugins: &[String],
    cache: Option<PathBuf>,
    output: Output,
) -> anyhow::Result<Exit> {
    let records = read(from).await?;
    let config = from.place.config.as_deref().map(HostConfig::read).transpose()?;
    let plugins = plugins.to_vec();
    tokio::task::spawn_blocking(move || {
        let ceiling = ceiling_of(records.iter().map(|named| &named.record));
        let finder = Finder::new(&plugins, config, ceiling, cache)?;
        replay_now(&records, &finder, output)
    })
    .await?
}

fn replay_now(records: &[Named], finder: &Finder, output: Output) -> anyhow::Result<Exit> {
    let mut found: BTreeMap<Digest, Option<Plugin>> = BTreeMap::new();
    let mut missing: BTreeMap<Digest, (String, usize)> = BTreeMap::new();
    let mut differing = Vec::new();
    let (mut same, mut fuel_used) = (0_usize, 0_u64);
    for Named { name, record } in records {
        let digest = record.asked.digest;
        let plugin = match found.get(&digest) {
            Some(plugin) => plugin.clone(),
            None => finder.find(&digest)?,
        };
        found.insert(digest, plugin.clone());
        let Some(plugin) = plugin else {
            missing.entry(digest).or_insert_with(|| (record.asked.to_string(), 0)).1 += 1;
            continue;
        };
        let outcome = replay(record, &plugin)?;
        if outcome.same {
            same += 1;
            if let longshore_policy::RecordedOutcome::Answered { fuel_used: fuel, .. } = &record.outcome {
                fuel_used += fuel;
            }
        } else {
            differing
                .push(json!({ "record": name, "asked": record.asked.to_string(), "differences": outcome.differences }));
        }
    }
    let not_asked: Vec<_> = missing
        .iter()
        .map(|(digest, (who, count))| json!({ "asked": who, "digest": digest, "records": count }))
        .collect();
    let value = json!({
        "records": records.len(), "same": same, "fuelUsed": fuel_used, "differing": differing, "notAsked": not_asked,
    });
    output.result(&value, || {
        let mut text =
            format!("{same} of {} records came out the same, answer and fuel ({fuel_used} units).\n", records.len());
        for one in &differing {
            text.push_str(&format!(
                "DIFFERS {} ({})\n",
                one["record"].as_str().unwrap_or_default(),
                one["asked"].as_str().unwrap_or_default()
            ));
            for difference in one["differences"].as_array().into_iter().flatten() {
                let field = |key: &str| difference[key].as_str().unwrap_or_default().to_owned();
                let item = difference["item"].as_str().map_or_else(String::new, |item| format!("{item} "));
                text.push_str(&format!("  {item}{}: {} -> {}\n", field("what"), field("recorded"), field("replayed")));
            }
        }
        for (digest, (who, count)) in &missing {
            text.push_str(&format!(
                "not asked: {count} records of {who}, digest {digest}; give its file with --plugin\n"
            ));
        }
        text
    });
    // What was not asked was not shown to be the same.
    Ok(if differing.is_empty() && missing.is_empty() { Exit::Done } else { Exit::Failed })
}
