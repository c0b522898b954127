//! Accepts connections and serves the API on them until told to stop.

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use hyper_util::service::TowerToHyperService;
use longshore_engine::Host;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::{Limits, Tls, router_with};

/// Serves the API of `host` on `listener` until `stop` is ready; then takes no further connections, lets open calls end
/// (at most [`Limits::stop_ms`]) and returns. The host goes on; its owner shuts it down.
///
/// # Errors
/// Only when the listener itself can no longer be used.
pub async fn serve<S>(host: Host, listener: TcpListener, stop: S) -> io::Result<()>
where
    S: Future<Output = ()> + Send + 'static,
{
    serve_with(host, listener, stop, Limits::DEFAULT, None).await
}

/// Like [`serve`] with other limits, and over TLS if a certificate is given.
///
/// # Errors
/// As [`serve`].
pub async fn serve_with<S>(
    host: Host,
    listener: TcpListener,
    stop: S,
    limits: Limits,
    tls: Option<Tls>,
) -> io::Result<()>
where
    S: Future<Output = ()> + Send + 'static,
{
    let router = router_with(host, limits, tls.clone());
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(Duration::from_millis(limits.head_ms))
        // hyper panics below its own minimum.
        .max_buf_size(limits.head_bytes.max(8 * 1024));
    let graceful = GracefulShutdown::new();
    let room = Arc::new(Semaphore::new(limits.connections));
    let mut stop = std::pin::pin!(stop);
    let result = loop {
        let accepted = tokio::select! {
            biased;
            () = &mut stop => break Ok(()),
            accepted = accept(&listener, &room) => accepted,
        };
        match accepted {
            Ok((stream, place)) => {
                let talk =
                    Talk { builder: builder.clone(), watcher: graceful.watcher(), place, router: router.clone() };
                connect(talk, stream, tls.as_ref(), Duration::from_millis(limits.handshake_ms));
            }
            Err(error) => break Err(error),
        }
    };
    drop(listener);
    let patience = Duration::from_millis(limits.stop_ms);
    if tokio::time::timeout(patience, graceful.shutdown()).await.is_err() {
        tracing::warn!("some calls did not end in time; their connections are closed");
    }
    result
}

/// Waits for a free place first: clients beyond the limit wait in the listener's queue instead of costing memory.
async fn accept(listener: &TcpListener, room: &Arc<Semaphore>) -> io::Result<(TcpStream, OwnedSemaphorePermit)> {
    let place = Arc::clone(room).acquire_owned().await.map_err(io::Error::other)?;
    loop {
        match listener.accept().await {
            Ok((stream, _)) => return Ok((stream, place)),
            // The peer was gone before it was accepted: nothing of ours is wrong.
            Err(error) if is_of_one_connection(&error) => {}
            Err(error) if matches!(error.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::NotConnected) => {
                return Err(error);
            }
            Err(error) => {
                // Most likely out of file descriptors, which pass when connections close. Not at once again, or this
                // loop would take a whole core meanwhile.
                tracing::error!(%error, "a connection could not be accepted");
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        }
    }
}

fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted)
}

/// What a connection needs to be served.
struct Talk {
    builder: http1::Builder,
    watcher: Watcher,
    place: OwnedSemaphorePermit,
    router: Router,
}

fn connect(talk: Talk, stream: TcpStream, tls: Option<&Tls>, patience: Duration) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "a connection keeps Nagle's algorithm");
    }
    match tls.map(Tls::acceptor) {
        None => drop(tokio::spawn(serve_connection(talk, stream))),
        // In the connection's own task: a client that is slow to shake hands holds up nobody else.
        Some(acceptor) => drop(tokio::spawn(async move {
            match tokio::time::timeout(patience, acceptor.accept(stream)).await {
                Ok(Ok(stream)) => serve_connection(talk, stream).await,
                Ok(Err(error)) => tracing::debug!(%error, "a client did not agree on TLS"),
                Err(_) => tracing::debug!("a client did not agree on TLS in time"),
            }
        })),
    }
}

async fn serve_connection<S>(talk: Talk, stream: S)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let Talk { builder, watcher, place, router } = talk;
    let connection = builder.serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    // Slow, broken and vanished clients end here; there is nothing to do about them.
    if let Err(error) = watcher.watch(connection).await {
        tracing::debug!(%error, "a connection ended early");
    }
    drop(place);
}
