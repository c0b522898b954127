//! A store that speaks as much S3, and of Google's XML interface, as is asked of one here, and refuses what a test says.
#![allow(dead_code)]

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;

/// The bucket that there is.
pub(crate) const BUCKET: &str = "a-bucket";

/// Objects by key.
pub(crate) type Objects = BTreeMap<String, Bytes>;

#[derive(Default)]
struct Inner {
    objects: Objects,
    /// Parts of uploads, by upload and number.
    parts: BTreeMap<(u32, u32), Bytes>,
    uploads: u32,
    /// Methods that are refused with 403.
    refused: Vec<Method>,
    calls: Vec<String>,
}

/// A running store.
#[derive(Clone)]
pub(crate) struct S3 {
    pub(crate) endpoint: String,
    inner: Arc<Mutex<Inner>>,
}

impl S3 {
    pub(crate) async fn start() -> Self {
        Self::serve(None).await
    }

    /// One that speaks TLS with a certificate of an authority that no system knows: it, and the authority as PEM.
    pub(crate) async fn start_with_tls() -> (Self, Vec<u8>) {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::new(Vec::new()).expect("parameters");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = params.self_signed(&key).expect("a certificate");
        let issuer = Issuer::new(params, key);
        let own_key = KeyPair::generate().expect("a key");
        let params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).expect("parameters");
        let own = params.signed_by(&own_key, &issuer).expect("a certificate");
        longshore_source::milvus::choose_tls();
        let own_key = PrivateKeyDer::try_from(own_key.serialize_der()).expect("a key");
        let config = ServerConfig::builder().with_no_client_auth();
        let config = config.with_single_cert(vec![own.der().clone()], own_key).expect("they fit");
        (Self::serve(Some(TlsAcceptor::from(Arc::new(config)))).await, authority.pem().into_bytes())
    }

    async fn serve(tls: Option<TlsAcceptor>) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let scheme = if tls.is_some() { "https" } else { "http" };
        let endpoint = format!("{scheme}://{}", listener.local_addr().expect("an address"));
        let store = Self { endpoint, inner: Arc::default() };
        let serving = store.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (store, tls) = (serving.clone(), tls.clone());
                let service = service_fn(move |request| {
                    let store = store.clone();
                    async move { Ok::<_, Infallible>(store.answer(request).await) }
                });
                tokio::spawn(async move {
                    match tls {
                        None => drop(http1::Builder::new().serve_connection(TokioIo::new(stream), service).await),
                        Some(tls) => {
                            let Ok(stream) = tls.accept(stream).await else { return };
                            drop(http1::Builder::new().serve_connection(TokioIo::new(stream), service).await);
                        }
                    }
                });
            }
        });
        store
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Refuses these methods from now on.
    pub(crate) fn refuse(&self, methods: &[Method]) {
        self.lock().refused = methods.to_vec();
    }

    /// Looks at the objects, or changes them.
    pub(crate) fn with<T>(&self, work: impl FnOnce(&mut Objects) -> T) -> T {
        work(&mut self.lock().objects)
    }

    /// The calls so far, method and path.
    pub(crate) fn calls(&self) -> Vec<String> {
        self.lock().calls.clone()
    }

    async fn answer(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let (head, body) = request.into_parts();
        let body = body.collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
        let path = decoded(head.uri.path().trim_start_matches('/'));
        let query: BTreeMap<String, String> = head
            .uri
            .query()
            .unwrap_or_default()
            .split('&')
            .filter_map(|pair| pair.split_once('=').or(Some((pair, ""))))
            .map(|(key, value)| (key.to_owned(), decoded(value)))
            .collect();
        let key = path.strip_prefix(BUCKET).unwrap_or(&path).trim_start_matches('/').to_owned();
        let mut inner = self.lock();
        inner.calls.push(format!("{} {path}?{}", head.method, head.uri.query().unwrap_or_default()));
        let is_listing = query.contains_key("list-type");
        if inner.refused.contains(&head.method) && !is_listing {
            return respond(StatusCode::FORBIDDEN, "<Error><Code>AccessDenied</Code></Error>");
        }
        let range = head.headers.get("range").and_then(|range| range.to_str().ok()).and_then(range_of);
        match head.method {
            Method::GET if is_listing => {
                let prefix = query.get("prefix").map(String::as_str).unwrap_or_default();
                listing(&inner.objects, prefix, query.contains_key("delimiter"))
            }
            Method::GET => match (inner.objects.get(&key), range) {
                (None, _) => respond(StatusCode::NOT_FOUND, "<Error><Code>NoSuchKey</Code></Error>"),
                (Some(bytes), None) => object(StatusCode::OK, bytes.clone(), None),
                (Some(bytes), Some((start, end))) => {
                    let (start, end) = (start.min(bytes.len()), end.min(bytes.len()));
                    let told = format!("bytes {start}-{}/{}", end.saturating_sub(1), bytes.len());
                    object(StatusCode::PARTIAL_CONTENT, bytes.slice(start..end), Some(told))
                }
            },
            Method::PUT => {
                if let (Some(number), Some(upload)) = (number(&query, "partNumber"), number(&query, "uploadId")) {
                    inner.parts.insert((upload, number), body);
                } else {
                    inner.objects.insert(key, body);
                }
                object(StatusCode::OK, Bytes::new(), None)
            }
            Method::DELETE => {
                match number(&query, "uploadId") {
                    Some(upload) => inner.parts.retain(|(of, _), _| *of != upload),
                    None => drop(inner.objects.remove(&key)),
                }
                respond(StatusCode::NO_CONTENT, "")
            }
            Method::POST if query.contains_key("uploads") => {
                inner.uploads += 1;
                let (key, upload) = (key, inner.uploads);
                let told = format!(
                    "<InitiateMultipartUploadResult><Bucket>{BUCKET}</Bucket><Key>{key}</Key><UploadId>{upload}</UploadId>\
                     </InitiateMultipartUploadResult>"
                );
                respond(StatusCode::OK, &told)
            }
            Method::POST if query.contains_key("uploadId") => {
                let upload = number(&query, "uploadId").unwrap_or(0);
                let parts = std::mem::take(&mut inner.parts);
                let (own, others) = parts.into_iter().partition(|((of, _), _)| *of == upload);
                inner.parts = others;
                let own: BTreeMap<(u32, u32), Bytes> = own;
                inner.objects.insert(key.clone(), own.into_values().flatten().collect());
                let told = format!(
                    "<CompleteMultipartUploadResult><Bucket>{BUCKET}</Bucket><Key>{key}</Key><ETag>\"e\"</ETag>\
                     </CompleteMultipartUploadResult>"
                );
                respond(StatusCode::OK, &told)
            }
            // Removing many at once is what some stores lack.
            _ => respond(StatusCode::NOT_IMPLEMENTED, "<Error><Code>NotImplemented</Code></Error>"),
        }
    }
}

/// Without percent signs.
fn decoded(text: &str) -> String {
    let mut pieces = text.split('%');
    let mut bytes = pieces.next().unwrap_or_default().as_bytes().to_vec();
    for piece in pieces {
        let (code, rest) = piece.split_at(2.min(piece.len()));
        bytes.extend(u8::from_str_radix(code, 16));
        bytes.extend(rest.as_bytes());
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn number(query: &BTreeMap<String, String>, key: &str) -> Option<u32> {
    query.get(key)?.parse().ok()
}

/// `bytes=0-9`: from where, and up to where.
fn range_of(text: &str) -> Option<(usize, usize)> {
    let (start, end) = text.strip_prefix("bytes=")?.split_once('-')?;
    Some((start.parse().ok()?, end.parse::<usize>().ok()? + 1))
}

fn listing(objects: &Objects, prefix: &str, has_delimiter: bool) -> Response<Full<Bytes>> {
    let mut text = format!("<ListBucketResult><Name>{BUCKET}</Name><IsTruncated>false</IsTruncated>");
    let mut folders = std::collections::BTreeSet::new();
    for (key, bytes) in objects.iter().filter(|(key, _)| key.starts_with(prefix)) {
        match key[prefix.len()..].split_once('/').filter(|_| has_delimiter) {
            Some((folder, _)) => drop(folders.insert(format!("{prefix}{folder}/"))),
            None => {
                let size = bytes.len();
                let _ = write!(
                    text,
                    "<Contents><Key>{key}</Key><LastModified>2026-11-27T00:00:00.000Z</LastModified><ETag>\"e\"</ETag>\
                     <Size>{size}</Size></Contents>"
                );
            }
        }
    }
    for folder in folders {
        let _ = write!(text, "<CommonPrefixes><Prefix>{folder}</Prefix></CommonPrefixes>");
    }
    respond(StatusCode::OK, &(text + "</ListBucketResult>"))
}

fn object(status: StatusCode, bytes: Bytes, range: Option<String>) -> Response<Full<Bytes>> {
    let mut answer = Response::builder()
        .status(status)
        .header("etag", "\"e\"")
        .header("last-modified", "Fri, 27 Nov 2026 00:00:00 GMT")
        .header("content-length", bytes.len());
    if let Some(range) = range {
        answer = answer.header("content-range", range);
    }
    answer.body(Full::new(bytes)).expect("a response")
}

fn respond(status: StatusCode, body: &str) -> Response<Full<Bytes>> {
    Response::builder().status(status).body(Full::new(Bytes::from(body.to_owned()))).expect("a response")
}
