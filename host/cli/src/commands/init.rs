//! `longshore init`: makes a vault, and for an encrypted one the keys.
//!
//! Order: the writer key file, then the vault, then a test that opens the vault with exactly the text that is printed as
//! its recovery key; only then is anything called done.

use std::path::Path;

use anyhow::Context;
use longshore_engine::{KeyFiles, RegionVaults, write_key_file};
use longshore_model::{Clock, SystemClock};
use longshore_vault::{Encryption, IdKey, Keys, NamedRecipient, ReaderKey, Vault, VaultError, VaultOptions, WriterKey};
use serde_json::json;

use crate::Exit;
use crate::args::Init;
use crate::output::Output;

/// What the recovery key is called among the recipients.
const RECOVERY: &str = "recovery key";

pub(crate) async fn run(arguments: Init, output: Output) -> anyhow::Result<Exit> {
    if let Some(like) = &arguments.like {
        return alike(&arguments, like, output).await;
    }
    let Init { vault: folder, encrypt, recipients, writer_key, project, region, dry_run, .. } = arguments;
    let now = SystemClock.now();
    let mut options = VaultOptions::random(project, region, None)?;
    let recovery = encrypt.then(ReaderKey::generate);
    if let Some(recovery) = &recovery {
        let mut list =
            vec![NamedRecipient { name: RECOVERY.to_owned(), recipient: recovery.to_recipient(), added: now }];
        let others = recipients.into_iter();
        list.extend(others.map(|one| NamedRecipient { name: one.name, recipient: one.recipient, added: now }));
        options.encryption = Encryption::Age1 { recipients: list };
    }
    let writer_file = writer_key.filter(|_| encrypt);
    if dry_run {
        check_free(&folder).await?;
        let value = json!({ "dryRun": true, "vault": folder, "encrypted": encrypt, "writerKeyFile": writer_file });
        output.result(&value, || {
            let kind = if encrypt { "an encrypted vault" } else { "a vault" };
            format!("Would make {kind} at {}.", folder.display())
        });
        return Ok(Exit::Done);
    }
    let id_key = options.id_key.clone();
    if let Some(file) = &writer_file {
        let key = WriterKey::new(id_key.clone());
        write_key_file(file, &format!("Longshore writer key of the vault {}", options.vault_id), &key.to_text())?;
    }
    let made = match Vault::init_local(&folder, options).await {
        Ok(made) => made,
        Err(error) => {
            if let Some(file) = &writer_file {
                // The key of a vault that does not exist.
                std::fs::remove_file(file).with_context(|| format!("could not remove {}", file.display()))?;
            }
            return Err(error.into());
        }
    };
    match recovery {
        None => {
            let value = json!({ "vault": folder, "vaultId": made.id(), "encrypted": false });
            output.result(&value, || {
                format!("Made the vault {} at {}. It is not encrypted.", made.id(), folder.display())
            });
        }
        Some(recovery) => {
            let text = recovery.to_text();
            test(&folder, &text, &id_key).await?;
            let value = json!({
                "vault": folder, "vaultId": made.id(), "encrypted": true, "recoveryKey": *text,
                "recipient": recovery.to_recipient().to_string(), "writerKeyFile": writer_file,
            });
            output.result(&value, || told(made.id().as_str(), &folder, &text, writer_file.as_deref()));
        }
    }
    Ok(Exit::Done)
}

/// Fails when no vault can be made there.
async fn check_free(folder: &Path) -> anyhow::Result<()> {
    match Vault::open_local(folder, &Keys::none()).await {
        Ok(there) => Err(VaultError::AlreadyAVault { place: there.place(), vault_id: there.id().clone() }.into()),
        Err(VaultError::Empty { .. } | VaultError::Folder { .. }) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Opens the new vault with the text that is about to be printed.
async fn test(folder: &Path, text: &str, id_key: &IdKey) -> anyhow::Result<()> {
    let failed = || {
        format!(
            "the vault {} was made, but its recovery key does not open it: remove the folder and make it again",
            folder.display()
        )
    };
    let keys = Keys::none().with_reader(text.parse().with_context(failed)?);
    let vault = Vault::open_local(folder, &keys).await.with_context(failed)?;
    anyhow::ensure!(vault.id_key()? == id_key && vault.is_readable(), failed());
    vault.recipients().await.with_context(failed)?;
    Ok(())
}

fn told(id: &str, folder: &Path, recovery: &str, writer_file: Option<&Path>) -> String {
    let folder = folder.display();
    let writer = match writer_file {
        Some(file) => format!(
            "The writer key is in {}. Hosts that back up need a copy of that file:\n  longshore backup my-database.db \
             --to {folder} --writer-key {}",
            file.display(),
            file.display()
        ),
        None => format!(
            "Hosts that back up need the writer key. Write it to a file with\n  longshore key writer --vault {folder} \
             --reader-key FILE --to writer.key"
        ),
    };
    format!(
        "Made the encrypted vault {id} at {folder}.\n\nRecovery key, shown this once and tested:\n\n  {recovery}\n\nWrite it \
         down or keep it in a password manager, away from this machine. Without it, or another reader key, nothing that is \
         backed up here can ever be read.\n\n{writer}"
    )
}

/// A further vault of a project.
async fn alike(arguments: &Init, like: &Path, output: Output) -> anyhow::Result<Exit> {
    let files =
        KeyFiles { writer_key_file: arguments.writer_key.clone(), reader_key_file: arguments.reader_key.clone() };
    let first = RegionVaults::open_one(like, &files.read()?).await?;
    let (project, region) = (first.project_id().clone(), arguments.region.clone());
    anyhow::ensure!(
        *first.region_id() != region,
        "{} is the vault of region {region} already: give the new one another --region",
        like.display()
    );
    let mut options = VaultOptions::random(project, region, Some(first.id_key()?.clone()))?;
    if first.is_encrypted() {
        options.encryption = Encryption::Age1 { recipients: first.recipients().await?.recipients };
    }
    let (folder, encrypted) = (&arguments.vault, first.is_encrypted());
    let mut value = json!({ "vault": folder, "encrypted": encrypted, "like": first.id(), "dryRun": arguments.dry_run });
    if !arguments.dry_run {
        let made = Vault::init_local(folder, options).await?;
        made.adopt_erasures(&first).await?;
        value["vaultId"] = json!(made.id());
    }
    output.result(&value, || {
        let done = if arguments.dry_run { "Would make" } else { "Made" };
        let kind = if encrypted { "an encrypted vault with the same keys" } else { "a vault" };
        format!("{done} {kind} at {}, of the same project as {}.", folder.display(), like.display())
    });
    Ok(Exit::Done)
}
