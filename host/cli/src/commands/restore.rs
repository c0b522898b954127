//! `longshore restore`: a backup back into a directory or a Milvus server, proven.

use std::sync::Arc;

use anyhow::Context;
use longshore_engine::{HostConfig, RestoreScope, RunContext, StopSignal, plan_restore, run_restore};
use longshore_model::{CollectionMapping, RestoredLoadState};
use longshore_source::milvus::check_until;
use longshore_source::{MilvusLiteTarget, MilvusTargetOptions, RestoreTarget};
use serde_json::json;

use crate::Exit;
use crate::args::Restore;
use crate::bars::with_bars;
use crate::commands::source::one_of;
use crate::commands::which::find;
use crate::output::{Output, bytes, table};
use crate::tables;

pub(crate) async fn run(arguments: Restore, output: Output, stop: &StopSignal) -> anyhow::Result<Exit> {
    let (vaults, id) = find(&arguments.which).await?;
    let scope = scope(&arguments.collections)?;
    let mut plan = plan_restore(&vaults, None, &id, scope).await?;
    let mut context = RunContext::new(arguments.throttle.limits());
    context.stop = stop.clone();
    if arguments.users {
        plan = plan.with_users(&context.random)?;
    }
    if let Some(until_ms) = arguments.until_ms {
        check_until(&plan.target, until_ms)?;
    }
    if arguments.dry_run {
        let rows: Vec<Vec<String>> = plan
            .target
            .collections
            .iter()
            .map(|one| {
                let size = one.files.iter().map(|file| file.size_bytes).sum();
                vec![one.mapping.from.to_string(), one.mapping.to.to_string(), bytes(size)]
            })
            .collect();
        let value = json!({
            "dryRun": true, "backupId": id,
            "collections": plan.target.collections.iter().map(|one| &one.mapping).collect::<Vec<_>>(),
        });
        output.result(&value, || table(&["COLLECTION", "RESTORED AS", "SIZE"], &rows) + "\nNothing was written.");
        return Ok(Exit::Done);
    }
    let target = target(&arguments)?;
    let outcome = with_bars(&context, output, run_restore(plan, target.as_ref(), &context)).await?;
    let mut value = serde_json::to_value(&outcome)?;
    if let Some(object) = value.as_object_mut().filter(|_| !outcome.passwords.is_empty()) {
        let shown =
            outcome.passwords.iter().map(|(user, password)| json!({ "user": user, "password": password.expose() }));
        object.insert("passwords".to_owned(), shown.collect());
    }
    output.result(&value, || tables::restore(&outcome));
    if let Some(to) = &arguments.to {
        output.hint(&format!("\nOpen it with pymilvus: MilvusClient(\"{}\") (the path must end in .db)", to.display()));
    }
    Ok(Exit::Done)
}

fn target(arguments: &Restore) -> anyhow::Result<Arc<dyn RestoreTarget>> {
    if let Some(to) = &arguments.to {
        return Ok(Arc::new(MilvusLiteTarget::new(to)));
    }
    let Some(config) = &arguments.config else { anyhow::bail!("give a directory or --config") };
    let config = HostConfig::read(config)?;
    let cluster = one_of(&config, arguments.cluster.as_ref())?;
    let Some(milvus) = &cluster.milvus else {
        anyhow::bail!("cluster {} is a Milvus Lite directory; give it with --to", cluster.id)
    };
    let options = MilvusTargetOptions {
        until_ms: arguments.until_ms,
        any_version: arguments.any_version,
        ..MilvusTargetOptions::default()
    };
    Ok(Arc::new(milvus.restore_target(options)?))
}

fn scope(named: &[String]) -> anyhow::Result<RestoreScope> {
    if named.is_empty() {
        return Ok(RestoreScope::WholeCluster(RestoredLoadState::Keep));
    }
    let mapping = |text: &String| -> anyhow::Result<CollectionMapping> {
        let (from, to) = text.split_once('=').unwrap_or((text, text));
        let wrong = || format!("in --collection {text}");
        Ok(CollectionMapping {
            from: from.parse().with_context(wrong)?,
            to: to.parse().with_context(wrong)?,
            load_state: RestoredLoadState::Keep,
        })
    };
    Ok(RestoreScope::Collections(named.iter().map(mapping).collect::<Result<_, _>>()?))
}
