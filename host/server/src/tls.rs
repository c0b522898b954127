//! TLS by certificate files: read at the start, and again at each reload.
//!
//! Contract: TLS 1.2 and 1.3 with the safe suites of rustls, HTTP/1.1 inside. A new certificate is used for connections that
//! are made from then on; those that are open keep theirs. What is wrong with new files changes nothing.
//!
//! Failure: [`TlsError`], before anything listens. No message repeats any part of a key.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use thiserror::Error;
use tokio_rustls::TlsAcceptor;

/// Largest certificate file, in bytes: a chain has a few kilobytes.
const CERTIFICATE_FILE_BYTES: u64 = 1024 * 1024;

/// Why a certificate cannot be used.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum TlsError {
    /// A file cannot be read, or others can read the key.
    #[error(transparent)]
    File(#[from] longshore_engine::EngineError),
    /// A file does not hold what it should.
    #[error("{path} holds no {expected}: {why}; it must be in PEM form, as `openssl` and ACME clients write it")]
    Content {
        /// Which file.
        path: String,
        /// `certificate` or `private key`.
        expected: &'static str,
        /// What was found.
        why: String,
    },
    /// The key is another certificate's.
    #[error(
        "the key in {key} does not belong to the first certificate in {certificate}; give the key that the certificate \
         was made for, and put the server's own certificate before those of its issuers"
    )]
    Mismatch {
        /// Certificate file.
        certificate: String,
        /// Key file.
        key: String,
    },
    /// The two cannot be used for another reason.
    #[error("the certificate in {certificate} cannot be used: {why}")]
    Unusable {
        /// Certificate file.
        certificate: String,
        /// What the TLS library said.
        why: String,
    },
}

/// A certificate with its key, ready for connections.
#[derive(Clone)]
pub struct Certificate(Arc<rustls::ServerConfig>);

/// Where a server's certificate is, and what it uses now. Clones are the same.
#[derive(Clone)]
pub struct Tls(Arc<Files>);

struct Files {
    certificate: PathBuf,
    key: PathBuf,
    now: RwLock<Certificate>,
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls")
            .field("certificate", &self.0.certificate)
            .field("key", &self.0.key)
            .finish_non_exhaustive()
    }
}

impl Tls {
    /// Reads a certificate (with those of its issuers behind it) and its private key, both PEM files.
    ///
    /// # Errors
    /// [`TlsError`].
    pub fn open(certificate: &Path, key: &Path) -> Result<Self, TlsError> {
        let now = RwLock::new(load(certificate, key)?);
        Ok(Self(Arc::new(Files { certificate: certificate.to_owned(), key: key.to_owned(), now })))
    }

    /// Reads the files again; nothing changes until [`Tls::use_from_now_on`].
    ///
    /// # Errors
    /// [`TlsError`].
    pub fn read(&self) -> Result<Certificate, TlsError> {
        load(&self.0.certificate, &self.0.key)
    }

    /// Uses a certificate for connections that are made from now on.
    pub fn use_from_now_on(&self, certificate: Certificate) {
        *self.0.now.write().unwrap_or_else(PoisonError::into_inner) = certificate;
    }

    pub(crate) fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(Arc::clone(&self.0.now.read().unwrap_or_else(PoisonError::into_inner).0))
    }
}

fn load(certificate: &Path, key: &Path) -> Result<Certificate, TlsError> {
    let chain = read_chain(certificate)?;
    let text = longshore_engine::read_private(key)?;
    let private =
        PrivateKeyDer::from_pem_slice(text.as_bytes()).map_err(|error| content(key, "private key", &error))?;
    let unusable = |error: rustls::Error| match error {
        rustls::Error::InconsistentKeys(_) => TlsError::Mismatch { certificate: shown(certificate), key: shown(key) },
        error => TlsError::Unusable { certificate: shown(certificate), why: error.to_string() },
    };
    // Named, not taken from the process: two libraries in one process may each want their own.
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let mut config =
        builder.map_err(unusable)?.with_no_client_auth().with_single_cert(chain, private).map_err(unusable)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Certificate(Arc::new(config)))
}

fn read_chain(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let file = |error: std::io::Error| TlsError::File(longshore_engine::EngineError::file(path, error));
    let size = std::fs::metadata(path).map_err(file)?.len();
    if size > CERTIFICATE_FILE_BYTES {
        let why = format!("it is {size} bytes long, a certificate file has at most {CERTIFICATE_FILE_BYTES}");
        return Err(TlsError::Content { path: shown(path), expected: "certificate", why });
    }
    let bytes = std::fs::read(path).map_err(file)?;
    let chain = CertificateDer::pem_slice_iter(&bytes).collect::<Result<Vec<_>, _>>();
    let chain = chain.map_err(|error| content(path, "certificate", &error))?;
    if chain.is_empty() {
        let why = "there is no BEGIN CERTIFICATE in it".to_owned();
        return Err(TlsError::Content { path: shown(path), expected: "certificate", why });
    }
    Ok(chain)
}

fn content(path: &Path, expected: &'static str, error: &rustls::pki_types::pem::Error) -> TlsError {
    TlsError::Content { path: shown(path), expected, why: error.to_string() }
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}
