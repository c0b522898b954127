//! The server on a real socket: slow and broken clients, its own end.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use longshore_server::{Limits, serve_with};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::place::Place;

struct Serving {
    place: Place,
    address: SocketAddr,
    stop: oneshot::Sender<()>,
    served: JoinHandle<std::io::Result<()>>,
}

async fn serving(limits: Limits) -> Serving {
    let place = Place::start().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = oneshot::channel();
    let stopped = async move {
        let _ = stopped.await;
    };
    let served = tokio::spawn(serve_with(place.host.clone(), listener, stopped, limits, None));
    Serving { place, address, stop, served }
}

impl Serving {
    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).unwrap();
        // A server that hangs fails the test instead of hanging it.
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        stream
    }

    /// Sends bytes and reads until the server closes.
    async fn exchange(&self, bytes: Vec<u8>) -> String {
        let mut stream = self.connect();
        tokio::task::spawn_blocking(move || {
            // The server may answer and close before it has read everything.
            let _ = stream.write_all(&bytes);
            let mut text = Vec::new();
            if let Err(error) = stream.read_to_end(&mut text) {
                // A reset is an end too; a client that waited in vain is not.
                assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset, "the server did not close");
            }
            String::from_utf8_lossy(&text).into_owned()
        })
        .await
        .unwrap()
    }

    async fn end(self) {
        self.stop.send(()).unwrap();
        // Bounded, so that a server that does not end fails the test.
        tokio::time::timeout(Duration::from_secs(30), self.served).await.unwrap().unwrap().unwrap();
        self.place.host.shutdown().await;
    }
}

fn get(path: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").into_bytes()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_sends_nothing_or_nonsense_or_too_much_holds_nobody_up() {
    // Room for one connection: each client is gone before the next can be served.
    let limits = Limits { head_ms: 200, connections: 1, ..crate::place::FAST };
    let serving = serving(limits).await;
    assert_eq!(serving.exchange(Vec::new()).await, "", "a silent client is closed");
    let started = b"GET /healthz HTTP/1.1\r\nHost:".to_vec();
    let slow = serving.exchange(started).await;
    assert!(slow.is_empty() || slow.starts_with("HTTP/1.1 4"), "{slow}");
    let nonsense = serving.exchange(vec![0x16, 0x03, 0x01, 0x02, 0x00, b'\r', b'\n', b'\r', b'\n']).await;
    assert!(nonsense.is_empty() || nonsense.starts_with("HTTP/1.1 400"), "{nonsense}");
    let mut huge = b"GET /healthz HTTP/1.1\r\nX: ".to_vec();
    huge.resize(1_000_000, b'x');
    let huge = serving.exchange(huge).await;
    assert!(huge.is_empty() || huge.starts_with("HTTP/1.1 431"), "{huge}");
    let good = serving.exchange(get("/healthz")).await;
    assert!(good.starts_with("HTTP/1.1 200") && good.contains("requestid: "), "{good}");
    serving.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_is_refused_closes_its_connection() {
    let limits = Limits { body_ms: 100, body_bytes: 1_000, ..crate::place::FAST };
    let serving = serving(limits).await;
    let head = format!(
        "POST /v2/clusters/in01-test/backups/create HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\n",
        serving.place.owner
    );
    // Announced and never sent.
    let answer = serving.exchange(format!("{head}Content-Length: 100\r\n\r\n{{").into_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 408") && answer.contains("97008"), "{answer}");
    let answer = serving.exchange(format!("{head}Content-Length: 5000\r\n\r\n").into_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 413") && answer.contains("97007"), "{answer}");
    serving.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_server_ends_although_a_connection_idles_and_takes_no_new_ones() {
    // More patience than the test has: idle connections must be closed, not waited for.
    let serving = serving(Limits { stop_ms: 600_000, ..crate::place::FAST }).await;
    let mut idle = serving.connect();
    // Served once, then kept open.
    idle.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    let mut idle = tokio::task::spawn_blocking(move || {
        let mut first = [0; 12];
        idle.read_exact(&mut first).unwrap();
        assert_eq!(&first, b"HTTP/1.1 200");
        idle
    })
    .await
    .unwrap();
    let address = serving.address;
    serving.end().await;
    TcpStream::connect(address).unwrap_err();
    let closed = tokio::task::spawn_blocking(move || idle.read_to_end(&mut Vec::new()).is_ok()).await.unwrap();
    assert!(closed, "the idle connection is closed, not left to hang");
}
