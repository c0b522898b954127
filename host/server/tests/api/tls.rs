//! The API over TLS: certificates made here, a client of the same library, and what is wrong with files.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use longshore_server::{Limits, Tls, serve_with};
use rcgen::{CertificateParams, DistinguishedName, DnType, Issuer, KeyPair};
use rustls::pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsConnector;

use crate::place::{FAST, Place};

/// An issuer, and a server's certificate and key as files.
struct Made {
    issuer: CertificateDer<'static>,
    certificate: PathBuf,
    key: PathBuf,
}

fn write_key(path: &Path, text: &str) {
    std::fs::write(path, text).unwrap();
    std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
}

/// Makes an issuer with this name, and a certificate for `localhost` from it.
fn make(folder: &Path, name: &str) -> Made {
    let issuer_key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    let issuer_certificate = params.self_signed(&issuer_key).unwrap();
    let issuer = Issuer::new(params, issuer_key);
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, format!("{name} server"));
    let certificate = params.signed_by(&key, &issuer).unwrap();
    let made = Made {
        issuer: issuer_certificate.der().clone(),
        certificate: folder.join(format!("{name}.pem")),
        key: folder.join(format!("{name}.key")),
    };
    std::fs::write(&made.certificate, certificate.pem() + &issuer_certificate.pem()).unwrap();
    write_key(&made.key, &key.serialize_pem());
    made
}

fn connector(issuer: &CertificateDer<'static>, versions: &[&'static rustls::SupportedProtocolVersion]) -> TlsConnector {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(issuer.clone()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider).with_protocol_versions(versions).unwrap();
    TlsConnector::from(Arc::new(builder.with_root_certificates(roots).with_no_client_auth()))
}

async fn call(
    address: std::net::SocketAddr,
    connector: &TlsConnector,
    request: &str,
) -> std::io::Result<(rustls::ProtocolVersion, String)> {
    let stream = TcpStream::connect(address).await?;
    let mut stream = connector.connect(ServerName::try_from("localhost").unwrap(), stream).await?;
    let version = stream.get_ref().1.protocol_version().unwrap();
    stream.write_all(request.as_bytes()).await?;
    let mut text = Vec::new();
    stream.read_to_end(&mut text).await?;
    Ok((version, String::from_utf8(text).unwrap()))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_api_is_served_over_tls_and_a_reload_takes_a_new_certificate() {
    let place = Place::start().await;
    let (first, second) = (make(place.folder.path(), "first"), make(place.folder.path(), "second"));
    let tls = Tls::open(&first.certificate, &first.key).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let stopped = async move { drop(stopped.await) };
    let served = tokio::spawn(serve_with(place.host.clone(), listener, stopped, FAST, Some(tls)));

    let get = |path: &str| {
        let key = &place.owner;
        format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {key}\r\nConnection: close\r\n\r\n")
    };
    let tls_1_2 = connector(&first.issuer, &[&rustls::version::TLS12]);
    let tls_1_3 = connector(&first.issuer, &[&rustls::version::TLS13]);
    for (connector, expected) in
        [(&tls_1_2, rustls::ProtocolVersion::TLSv1_2), (&tls_1_3, rustls::ProtocolVersion::TLSv1_3)]
    {
        let (version, answer) = call(address, connector, &get("/v2/clusters")).await.unwrap();
        assert_eq!(version, expected);
        assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("in01-test"), "{answer}");
    }
    // Somebody who trusts another issuer does not talk to it.
    let stranger = connector(&second.issuer, &[&rustls::version::TLS13]);
    call(address, &stranger, &get("/healthz")).await.unwrap_err();
    // Nor does anything that is no TLS, or an old one, get an answer; and it holds nobody up.
    assert_eq!(
        refused(address, b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n").await.first(),
        Some(&0x15),
        "an alert"
    );
    let alert = refused(address, &client_hello_of_tls_1_1()).await;
    assert_eq!(alert.get(5..7), Some(&[2, 70][..]), "a fatal alert, protocol_version: {alert:?}");

    // A new certificate under the same names: what is wrong changes nothing, what is right counts from the next connection.
    let post = get("/v2/reload").replacen("GET", "POST", 1);
    std::fs::copy(&second.certificate, &first.certificate).unwrap();
    let (_, answer) = call(address, &tls_1_3, &post).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 422") && answer.contains("does not belong to"), "{answer}");
    call(address, &tls_1_3, &get("/healthz")).await.unwrap();
    write_key(&first.key, &std::fs::read_to_string(&second.key).unwrap());
    // All of a reload or nothing of it: where the configuration is wrong, the certificate stays, too.
    let configuration = place.folder.path().join("longshore.toml");
    let right = std::fs::read_to_string(&configuration).unwrap();
    std::fs::write(&configuration, "no configuration").unwrap();
    let (_, answer) = call(address, &tls_1_3, &post).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 422"), "{answer}");
    call(address, &tls_1_3, &get("/healthz")).await.unwrap();
    call(address, &stranger, &get("/healthz")).await.unwrap_err();
    std::fs::write(&configuration, right).unwrap();
    let (_, answer) = call(address, &tls_1_3, &post).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    call(address, &tls_1_3, &get("/healthz")).await.unwrap_err();
    let (_, answer) = call(address, &stranger, &get("/healthz")).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    stop.send(()).unwrap();
    tokio::time::timeout(Duration::from_secs(30), served).await.unwrap().unwrap().unwrap();
    place.host.shutdown().await;
}

/// What the server says to bytes before it closes.
async fn refused(address: std::net::SocketAddr, bytes: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    let mut said = Vec::new();
    let read = tokio::time::timeout(Duration::from_secs(30), stream.read_to_end(&mut said)).await.unwrap();
    if let Err(error) = read {
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset, "{error}");
    }
    said
}

/// The first message of a client that speaks TLS 1.1 at most (RFC 4346).
fn client_hello_of_tls_1_1() -> Vec<u8> {
    let mut hello = vec![3, 2];
    hello.extend([7; 32]);
    // No session, one suite (TLS_RSA_WITH_AES_128_CBC_SHA), no compression; one extension, signature algorithms.
    hello.extend([0, 0, 2, 0, 0x2f, 1, 0, 0, 8, 0, 13, 0, 4, 0, 2, 4, 1]);
    let mut message = vec![1, 0, 0, u8::try_from(hello.len()).unwrap()];
    message.extend(hello);
    let mut record = vec![0x16, 3, 1, 0, u8::try_from(message.len()).unwrap()];
    record.extend(message);
    record
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_never_shakes_hands_holds_nobody_up() {
    let place = Place::start().await;
    let made = make(place.folder.path(), "made");
    let tls = Tls::open(&made.certificate, &made.key).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let limits = Limits { connections: 1, handshake_ms: 200, ..FAST };
    let served = tokio::spawn(serve_with(place.host.clone(), listener, std::future::pending(), limits, Some(tls)));
    let mut silent = TcpStream::connect(address).await.unwrap();
    // There is room for one connection: the next one is served once the silent one is gone.
    let request = "GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    let (_, answer) = call(address, &connector(&made.issuer, &[&rustls::version::TLS13]), request).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert_eq!(silent.read(&mut [0; 10]).await.unwrap(), 0);
    served.abort();
    place.host.shutdown().await;
}

#[test]
fn what_is_wrong_with_files_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let (one, other) = (make(folder.path(), "one"), make(folder.path(), "other"));
    let path = |name: &str| folder.path().join(name);
    std::fs::write(path("empty"), "").unwrap();
    std::fs::write(path("text"), "-----BEGIN CERTIFICATE-----\nnot base64 at all\n-----END CERTIFICATE-----\n")
        .unwrap();
    std::fs::write(path("huge"), vec![b'x'; 2_000_000]).unwrap();
    std::fs::write(path("nonsense"), pem("CERTIFICATE", "bm9uc2Vuc2U=")).unwrap();
    std::fs::copy(&one.key, path("open.key")).unwrap();
    std::fs::set_permissions(path("open.key"), std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
    write_key(&path("empty.key"), "");
    write_key(&path("nonsense.key"), &pem("PRIVATE KEY", "bm9uc2Vuc2U="));
    let cases = [
        (path("nowhere"), one.key.clone(), "nowhere"),
        (path("empty"), one.key.clone(), "holds no certificate"),
        (path("text"), one.key.clone(), "cannot be used"),
        (path("huge"), one.key.clone(), "at most 1048576"),
        (path("nonsense"), one.key.clone(), "nonsense"),
        (one.key.clone(), one.key.clone(), "holds no certificate"),
        (one.certificate.clone(), path("nowhere.key"), "nowhere.key"),
        (one.certificate.clone(), path("empty.key"), "holds no private key"),
        (one.certificate.clone(), path("nonsense.key"), "cannot be used"),
        (one.certificate.clone(), path("open.key"), "chmod 600"),
        (one.certificate.clone(), other.key.clone(), "does not belong to"),
    ];
    let secrets: Vec<String> = [&one.key, &other.key].map(|path| std::fs::read_to_string(path).unwrap()).to_vec();
    for (certificate, key, expected) in cases {
        let error = Tls::open(&certificate, &key).unwrap_err().to_string();
        assert!(error.contains(expected), "{certificate:?} {key:?}: {error}");
        let secret = |text: &String| text.lines().any(|line| !line.starts_with("---") && error.contains(line));
        assert!(!secrets.iter().any(secret), "{error}");
    }
    assert!(Tls::open(&one.certificate, &one.key).is_ok());
}

fn pem(kind: &str, base64: &str) -> String {
    format!("-----BEGIN {kind}-----\n{base64}\n-----END {kind}-----\n")
}
