//! `longshore serve`: the host behind its REST API. SIGHUP reloads the configuration, SIGINT and SIGTERM stop it.

use std::future::Future;
use std::sync::Arc;

use anyhow::Context;
use longshore_engine::{Host, HostConfig, HostOptions, ReloadReport};
use longshore_server::Tls;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::Exit;
use crate::args::Serve;
use crate::output::{Output, say};

pub(crate) async fn run(arguments: Serve, output: Output) -> anyhow::Result<Exit> {
    let config = HostConfig::read(&arguments.config)?;
    // Before anything is started: a wrong certificate is a sentence, not a server that nobody can reach.
    let tls = config.server.tls_files().map(|(certificate, key)| Tls::open(certificate, key)).transpose()?;
    if arguments.check {
        return check(&config, output);
    }
    let listen = config.server.listen.clone();
    let calls_per_second = config.server.calls_per_second;
    let limits = longshore_server::Limits { calls_per_second, ..longshore_server::Limits::DEFAULT };
    let notifier = longshore_server::HttpNotifier::new().map_err(anyhow::Error::msg)?;
    let options = HostOptions {
        config_path: Some(arguments.config.clone()),
        notifier: Some(Arc::new(notifier)),
        ..HostOptions::default()
    };
    let host = Host::start(config, options).await?;
    let listener = match tokio::net::TcpListener::bind(&listen).await {
        Ok(listener) => listener,
        Err(error) => {
            host.shutdown().await;
            return Err(error).with_context(|| format!("cannot listen on {listen}; change [server] listen"));
        }
    };
    let address = listener.local_addr().context("the listener has no address")?;
    for line in host.describe_policies() {
        tracing::info!("policy {line}");
    }
    // Before the line below: whoever has read it may send signals, and an unexpected one ends the process at once.
    let stop = stop_signal()?;
    let hangup = signal(SignalKind::hangup()).context("cannot wait for SIGHUP")?;
    // The one line that programs wait for and read the port from.
    say!("longshore listens on {}://{address}", if tls.is_some() { "https" } else { "http" });
    let reloads = tokio::spawn(reload_on_hangup(host.clone(), tls.clone(), hangup));
    let served = longshore_server::serve_with(host.clone(), listener, stop, limits, tls).await;
    reloads.abort();
    host.shutdown().await;
    served.context("the server stopped")?;
    Ok(Exit::Done)
}

fn check(config: &HostConfig, output: Output) -> anyhow::Result<Exit> {
    let lines = longshore_engine::check_policies(config)?;
    let value = serde_json::json!({ "policies": lines });
    output.result(&value, || format!("The configuration is good.\n{}", lines.join("\n")));
    Ok(Exit::Done)
}

fn stop_signal() -> anyhow::Result<impl Future<Output = ()> + Send + 'static> {
    let mut terminate = signal(SignalKind::terminate()).context("cannot wait for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot wait for SIGINT")?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tracing::info!("stopping; running jobs go on at the next start");
    })
}

/// The certificate and the configuration; neither is used when one of them is wrong.
async fn reload(host: &Host, tls: Option<&Tls>) -> anyhow::Result<ReloadReport> {
    let certificate = tls.map(Tls::read).transpose()?;
    let report = host.reload_by_signal().await?;
    if let (Some(tls), Some(certificate)) = (tls, certificate) {
        tls.use_from_now_on(certificate);
    }
    Ok(report)
}

async fn reload_on_hangup(host: Host, tls: Option<Tls>, mut hangup: Signal) {
    while hangup.recv().await.is_some() {
        match reload(&host, tls.as_ref()).await {
            Ok(report) => {
                for line in report.policies {
                    tracing::info!("reloaded: policy {line}");
                }
                for what in report.needs_restart {
                    tracing::warn!("changed, but takes effect only after a restart: {what}");
                }
            }
            Err(error) => tracing::error!(%error, "the configuration was not reloaded; the old one stays in force"),
        }
    }
}
