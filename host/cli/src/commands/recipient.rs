//! `longshore key recipient` and `longshore key writer`: who can read an encrypted vault, and who can write to it.

use longshore_engine::{KeyFiles, RegionVaults, write_key_file};
use longshore_model::{Clock, SystemClock};
use longshore_vault::{NamedRecipient, RecipientList, Vault, VaultError, WriterKey};
use serde_json::{Value, json};

use crate::Exit;
use crate::args::{KeyVaults, RecipientCommand, WriterFile};
use crate::output::{Output, table};

pub(crate) async fn run(arguments: RecipientCommand, output: Output) -> anyhow::Result<Exit> {
    match arguments {
        RecipientCommand::Add { recipient, vaults } => {
            let now = SystemClock.now();
            let new = NamedRecipient { name: recipient.name, recipient: recipient.recipient, added: now };
            add(new, &vaults, output).await
        }
        RecipientCommand::Remove { recipient, vaults } => remove(&recipient, &vaults, output).await,
        RecipientCommand::List { vaults } => list(&vaults, output).await,
    }
}

async fn open(vaults: &KeyVaults) -> anyhow::Result<Vec<Vault>> {
    let keys = vaults.keys.read()?;
    let mut open = Vec::with_capacity(vaults.vaults.len());
    for folder in &vaults.vaults {
        open.push(RegionVaults::open_one(folder, &keys).await?);
    }
    if let Some(plain) = open.iter().find(|vault| !vault.is_encrypted()) {
        anyhow::bail!("the vault {} is not encrypted: it has no recipients", plain.place());
    }
    Ok(open)
}

async fn add(new: NamedRecipient, vaults: &KeyVaults, output: Output) -> anyhow::Result<Exit> {
    let open = open(vaults).await?;
    // Before the first of several is changed.
    if let Some(locked) = open.iter().find(|vault| !vault.is_readable()) {
        return Err(anyhow::Error::new(VaultError::Locked).context(format!(
            "the keys of old backups in {} must be opened to be encrypted to one more recipient",
            locked.place()
        )));
    }
    let (mut results, mut sessions, mut unreadable) = (Vec::new(), 0, 0);
    for vault in &open {
        if vaults.dry_run {
            results.push(json!({ "vaultId": vault.id(), "dryRun": true }));
            continue;
        }
        let change = vault.add_recipient(new.clone()).await?;
        sessions += change.rewrapped_sessions;
        unreadable += change.unreadable_sessions.len();
        results.push(json!({
            "vaultId": vault.id(), "generation": change.list.generation,
            "rewrappedSessions": change.rewrapped_sessions, "unreadableSessions": change.unreadable_sessions,
        }));
    }
    let value = json!({ "added": new.name, "recipient": new.recipient.to_string(), "vaults": results });
    output.result(&value, || {
        if vaults.dry_run {
            return format!("Would let {} ({}) read everything in {} vaults.", new.name, new.recipient, open.len());
        }
        let mut text =
            format!("{} can read everything, old and new. Keys of {sessions} sessions were wrapped again.", new.name);
        if unreadable > 0 {
            text.push_str(&format!(
                "\nThe keys of {unreadable} sessions are lost or damaged: what is encrypted in them, nobody was given."
            ));
        }
        text
    });
    Ok(if unreadable == 0 { Exit::Done } else { Exit::Damaged })
}

async fn remove(name: &str, vaults: &KeyVaults, output: Output) -> anyhow::Result<Exit> {
    let open = open(vaults).await?;
    let mut results = Vec::new();
    for vault in &open {
        if vaults.dry_run {
            let list = vault.recipients().await?;
            let there = list.recipients.iter().any(|one| one.name == name || one.recipient.to_string() == name);
            results.push(json!({ "vaultId": vault.id(), "dryRun": true, "isRecipient": there }));
            continue;
        }
        let change = vault.remove_recipient(name).await?;
        results.push(json!({ "vaultId": vault.id(), "generation": change.list.generation }));
    }
    output.result(&json!({ "removed": name, "vaults": results, "oldBackupsStayReadable": true }), || {
        let done = if vaults.dry_run { "Nothing was changed: it would no longer be" } else { "It is no longer" };
        format!(
            "{done} encrypted to {name} from the next backup on. This takes nothing back: every backup made until now stays \
             readable with that key, and so does what shares bytes with them. If the key was stolen, make a new vault with \
             new keys and back up into it."
        )
    });
    Ok(Exit::Done)
}

async fn list(vaults: &KeyVaults, output: Output) -> anyhow::Result<Exit> {
    let (mut values, mut cells) = (Vec::new(), Vec::new());
    for vault in open(vaults).await? {
        let list = vault.recipients().await?;
        cells.extend(list.recipients.iter().map(|one| {
            vec![vault.region_id().to_string(), one.name.clone(), one.recipient.to_string(), one.added.to_string()]
        }));
        values.push(json!({ "vaultId": vault.id(), "region": vault.region_id(), "recipients": entries(&list) }));
    }
    output.result(&json!({ "vaults": values }), || table(&["REGION", "NAME", "RECIPIENT", "ADDED"], &cells));
    Ok(Exit::Done)
}

fn entries(list: &RecipientList) -> Vec<Value> {
    let entry =
        |one: &NamedRecipient| json!({ "name": one.name, "recipient": one.recipient.to_string(), "added": one.added });
    list.recipients.iter().map(entry).collect()
}

/// `longshore key writer`.
pub(crate) async fn writer(arguments: WriterFile, output: Output) -> anyhow::Result<Exit> {
    let files = KeyFiles { writer_key_file: None, reader_key_file: Some(arguments.reader_key) };
    let vault = RegionVaults::open_one(&arguments.vault, &files.read()?).await?;
    let key = WriterKey::new(vault.id_key()?.clone());
    let comment = format!("Longshore writer key of the project {}", vault.project_id());
    write_key_file(&arguments.to, &comment, &key.to_text())?;
    let file = arguments.to.display().to_string();
    output.result(&json!({ "writerKeyFile": file }), || format!("Wrote the writer key to {file}."));
    Ok(Exit::Done)
}
