//! How a server is reached: address, credentials, TLS.
//!
//! Contract: what is secret is wiped when it is dropped and is in no `Debug` and no message.

use std::fmt;

use base64::Engine as _;
use tonic::transport::{Certificate, ClientTlsConfig, Endpoint, Identity};
use zeroize::Zeroizing;

use crate::SourceError;

/// A text that is shown to nobody.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// Takes the text.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self(Zeroizing::new(text.into()))
    }

    /// The text, for whoever must send it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// As whom a server is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Credentials {
    /// A user of the server.
    Password {
        /// Its name.
        user: String,
        /// Its password.
        password: Secret,
    },
    /// A token, for example an API key.
    Token(Secret),
}

impl Credentials {
    /// The token, or user and password as one.
    pub(super) fn plain(&self) -> Zeroizing<String> {
        match self {
            Self::Password { user, password } => Zeroizing::new(format!("{user}:{}", password.expose())),
            Self::Token(token) => Zeroizing::new(token.expose().to_owned()),
        }
    }

    /// The value of the header `authorization`.
    pub(super) fn header(&self) -> Zeroizing<String> {
        Zeroizing::new(base64::engine::general_purpose::STANDARD.encode(self.plain().as_bytes()))
    }
}

/// TLS towards a server. Without a certificate of an authority those of the system are trusted.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Tls {
    /// The authority that the server's certificate must come from, PEM.
    pub ca_certificate: Option<Vec<u8>>,
    /// The name that must stand in the server's certificate, where it is not the host of the address.
    pub server_name: Option<String>,
    /// Certificate, PEM, and key, PEM, that this side shows.
    pub identity: Option<(Vec<u8>, Secret)>,
}

/// Where a server is and how to be let in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerAddress {
    /// `http://host:port`, `https://host:port` or `host:port`.
    pub endpoint: String,
    /// Who asks; `None` for servers that let everybody in.
    pub credentials: Option<Credentials>,
    /// TLS; an endpoint that begins with `https://` has it without saying so here.
    pub tls: Option<Tls>,
}

impl ServerAddress {
    /// A server that lets everybody in.
    #[must_use]
    pub fn open(endpoint: impl Into<String>) -> Self {
        Self { endpoint: endpoint.into(), credentials: None, tls: None }
    }

    /// The endpoint with its scheme.
    #[must_use]
    pub fn url(&self) -> String {
        if self.endpoint.contains("://") {
            return self.endpoint.clone();
        }
        format!("{}://{}", if self.tls.is_some() { "https" } else { "http" }, self.endpoint)
    }

    /// # Errors
    /// [`SourceError::BadServerAddress`].
    pub(super) fn to_endpoint(&self) -> Result<Endpoint, SourceError> {
        let bad = |reason: String| SourceError::BadServerAddress { endpoint: self.endpoint.clone(), reason };
        let url = self.url();
        let scheme = url.split("://").next().unwrap_or_default();
        if !matches!(scheme, "http" | "https") {
            return Err(bad(format!("`{scheme}` is not a scheme of Milvus; write http:// or https://")));
        }
        if scheme == "http" && self.tls.is_some() {
            return Err(bad("TLS is set, but the address begins with http://; write https://".to_owned()));
        }
        let endpoint = Endpoint::from_shared(url.clone()).map_err(|error| bad(error.to_string()))?;
        if endpoint.uri().host().unwrap_or_default().is_empty() || endpoint.uri().port().is_none() {
            return Err(bad("host or port is missing; Milvus usually listens on port 19530".to_owned()));
        }
        if scheme == "http" {
            return Ok(endpoint);
        }
        let tls = self.tls.clone().unwrap_or_default();
        let mut config = ClientTlsConfig::new();
        config = match tls.ca_certificate {
            Some(pem) => config.ca_certificate(Certificate::from_pem(pem)),
            None => config.with_native_roots(),
        };
        if let Some(name) = tls.server_name {
            config = config.domain_name(name);
        }
        if let Some((certificate, key)) = tls.identity {
            config = config.identity(Identity::from_pem(certificate, key.expose()));
        }
        endpoint.tls_config(config).map_err(|error| bad(format!("TLS cannot be set up: {error}")))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn secrets_are_not_shown() {
        let password = Secret::new("hunter2");
        let address = ServerAddress {
            credentials: Some(Credentials::Password { user: "root".to_owned(), password: password.clone() }),
            ..ServerAddress::open("localhost:19530")
        };
        assert!(!format!("{address:?}").contains("hunter2"));
        assert_eq!(*address.credentials.unwrap().header(), "cm9vdDpodW50ZXIy");
        assert_eq!(*Credentials::Token(Secret::new("a:b")).header(), "YTpi");
    }

    #[test]
    fn addresses_that_cannot_be_are_refused_in_words() {
        for (endpoint, part) in [
            ("localhost", "19530"),
            ("tcp://localhost:19530", "not a scheme"),
            ("http://", "is not the address"),
            ("http://a b:1", "a b"),
        ] {
            let error = ServerAddress::open(endpoint).to_endpoint().unwrap_err().to_string();
            assert!(error.contains(part), "{endpoint}: {error}");
        }
        let with_tls = ServerAddress { tls: Some(Tls::default()), ..ServerAddress::open("http://h:1") };
        assert!(with_tls.to_endpoint().unwrap_err().to_string().contains("https://"));
        assert_eq!(ServerAddress { tls: Some(Tls::default()), ..ServerAddress::open("h:1") }.url(), "https://h:1");
        ServerAddress::open("h:1").to_endpoint().unwrap();
    }
}
