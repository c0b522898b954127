//! Embeds the engine: backs up a Milvus Lite directory into an object store of one's own, here one in memory, and
//! restores it, without a server, a catalog or a configuration file.
//!
//! ```text
//! cargo run --package longshore-example-embed -- examples/sample-cluster /tmp/restored.db
//! ```
#![allow(clippy::print_stdout)]

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context;
use longshore_engine::{
    BackupRequest, ClusterTarget, Limits, RegionVaults, RestoreScope, RunContext, RunPolicy, plan_backup, plan_restore,
    run_backup, run_restore,
};
use longshore_model::RestoredLoadState;
use longshore_source::{MilvusLiteSource, MilvusLiteTarget};
use longshore_vault::{Vault, VaultOptions};
use object_store::memory::InMemory;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args_os().skip(1).map(PathBuf::from);
    let usage = "usage: longshore-example-embed SOURCE TARGET";
    let (from, to) = (arguments.next().context(usage)?, arguments.next().context(usage)?);

    // Any object store will do: this one forgets everything at the end.
    let options = VaultOptions::random("proj-embedded".parse()?, "memory".parse()?, None)?;
    let vault = Vault::init(Arc::new(InMemory::new()), options).await?;

    // Limits, clock, randomness, progress and a stop signal are passed in; tests put their own here.
    let context = RunContext::new(Limits::default());
    let mut cluster = ClusterTarget::for_directory(&from, vault.region_id().clone())?;
    cluster.project_id = vault.project_id().clone();
    let policy = RunPolicy::standard(&vault)?;
    let vaults = RegionVaults::of([vault])?;

    // Planning decides and writes nothing: a dry run is a plan that is not carried out.
    let source = MilvusLiteSource::open(&from)?;
    let request = BackupRequest::manual(cluster, Vec::new(), &context)?;
    let plan = plan_backup(request, &source, &policy, &vaults, &context).await?;
    for row in &plan.rows {
        println!("{}: {} because {}", row.item, row.decision, row.message);
    }
    let backup = run_backup(plan, &source, &vaults, &context).await?;
    println!("backed up {} bytes in {} files, {} stored", backup.size_bytes, backup.files, backup.stored_bytes);

    let scope = RestoreScope::WholeCluster(RestoredLoadState::Keep);
    let plan = plan_restore(&vaults, None, &backup.backup_id, scope).await?;
    let restored = run_restore(plan, &MilvusLiteTarget::new(&to), &context.for_another_job()).await?;
    for collection in &restored.collections {
        println!("restored {}: {} files, each proven equal", collection.to, collection.files);
    }
    Ok(())
}
