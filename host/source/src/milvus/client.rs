//! The one place that calls a Milvus server.
//!
//! Contract: every call has a deadline, carries the credentials and names its database in the header `dbname` beside the
//! field of the request (some calls of 2.3 heed only the one, some only the other), and both of the fields in which an
//! answer can say "no" are looked at. What did not arrive is sent again only where the call may be repeated; what the server
//! refused for its rate is sent again always, for nothing was done.
//!
//! Failure: [`SourceError::ServerUnreachable`], [`SourceError::NoAnswer`], [`SourceError::NotLetIn`],
//! [`SourceError::NotPermitted`], [`SourceError::CallNotOffered`], [`SourceError::CallRefused`].

use std::error::Error as _;
use std::time::Duration;

use tokio::time::Instant;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::metadata::Ascii;
use tonic::metadata::MetadataValue;
use tonic::transport::Channel;
use tonic::{Code, Request};
use tonic_prost::ProstCodec;

use super::address::ServerAddress;
use super::proto::milvus::{ConnectRequest, GetVersionRequest};
use super::proto::{common, milvus};
use super::rpc::{Refusal, Rpc, refused};
use super::version::ServerVersion;
use crate::{Limits, SourceError};

/// What tonic says of a deadline that it watches itself.
const TIMEOUT_EXPIRED: &str = "Timeout expired";

/// A connection to a server. Clones share it.
#[derive(Debug, Clone)]
pub struct MilvusClient {
    endpoint: String,
    channel: Channel,
    authorization: Option<MetadataValue<Ascii>>,
    limits: Limits,
    version_text: String,
    version: Option<ServerVersion>,
}

impl MilvusClient {
    /// Connects and asks for the version.
    ///
    /// # Errors
    /// [`SourceError::BadServerAddress`], and what calls fail with.
    pub async fn connect(address: &ServerAddress, limits: Limits) -> Result<Self, SourceError> {
        let endpoint = address
            .to_endpoint()?
            .user_agent("longshore")
            .map_err(|error| unreachable(&address.endpoint, &error))?
            .connect_timeout(Duration::from_millis(limits.connect_timeout_ms))
            .tcp_nodelay(true)
            .http2_keep_alive_interval(Duration::from_millis(limits.keep_alive_ms))
            .keep_alive_timeout(Duration::from_millis(limits.connect_timeout_ms));
        let channel = endpoint.connect().await.map_err(|error| unreachable(&address.endpoint, &error))?;
        let authorization = address.credentials.as_ref().map(|credentials| {
            let mut value = MetadataValue::try_from(credentials.header().as_str())
                // Base64 is always a good header value.
                .unwrap_or_else(|_| MetadataValue::from_static(""));
            value.set_sensitive(true);
            value
        });
        let mut client = Self {
            endpoint: address.endpoint.clone(),
            channel,
            authorization,
            limits,
            version_text: String::new(),
            version: None,
        };
        client.version_text = client.ask_version().await?;
        client.version = ServerVersion::parse(&client.version_text);
        Ok(client)
    }

    async fn ask_version(&self) -> Result<String, SourceError> {
        let client_info = common::ClientInfo {
            sdk_type: "rust".to_owned(),
            sdk_version: env!("CARGO_PKG_VERSION").to_owned(),
            ..common::ClientInfo::default()
        };
        match self.call(ConnectRequest { client_info: Some(client_info) }).await {
            Ok(milvus::ConnectResponse { server_info: Some(info), .. }) if !info.build_tags.is_empty() => {
                return Ok(info.build_tags);
            }
            // Servers before 2.2.9 do not know it.
            Ok(_) | Err(SourceError::CallNotOffered { .. }) => {}
            Err(error) => return Err(error),
        }
        Ok(self.call(GetVersionRequest {}).await?.version)
    }

    /// What the server says its version is, for example `v2.3.5-lite`.
    #[must_use]
    pub fn version_text(&self) -> &str {
        &self.version_text
    }

    /// The same for comparing; `None` when it says something else, as builds between releases do.
    #[must_use]
    pub fn version(&self) -> Option<ServerVersion> {
        self.version
    }

    /// Whether the server is at least this new. A version that cannot be read counts as new: whoever builds servers from
    /// the middle of a branch is ahead of releases, and a call it does not know is answered so.
    #[must_use]
    pub fn is_at_least(&self, major: u32, minor: u32, patch: u32) -> bool {
        self.version.is_none_or(|version| version >= ServerVersion::new(major, minor, patch))
    }

    /// The address, as it was given.
    #[must_use]
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// Makes a call.
    ///
    /// # Errors
    /// See the module.
    pub async fn call<R: Rpc>(&self, request: R) -> Result<R::Answer, SourceError> {
        let started = Instant::now();
        let mut pause = Duration::from_millis(self.limits.call_pause_ms);
        loop {
            let error = match self.call_once(request.clone()).await {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            let patience_ms = match &error {
                SourceError::CallRefused { refusal: Refusal::RateLimited, .. } => self.limits.rate_patience_ms,
                SourceError::CallRefused { refusal: Refusal::NotReady, .. } => self.limits.unavailable_patience_ms,
                SourceError::ServerUnreachable { .. } if R::REPEATABLE => self.limits.unavailable_patience_ms,
                _ => return Err(error),
            };
            if started.elapsed() + pause > Duration::from_millis(patience_ms) {
                return Err(error);
            }
            tracing::debug!(call = R::NAME, %error, "calling again");
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(Duration::from_millis(self.limits.call_longest_pause_ms));
        }
    }

    async fn call_once<R: Rpc>(&self, request: R) -> Result<R::Answer, SourceError> {
        let deadline = Duration::from_millis(self.limits.call_timeout_ms);
        let request = self.with_headers(request, deadline);
        let mut grpc = tonic::client::Grpc::new(self.channel.clone())
            .max_decoding_message_size(self.limits.answer_bytes)
            .max_encoding_message_size(self.limits.answer_bytes);
        let calling = async move {
            grpc.ready().await.map_err(|error| unreachable(&self.endpoint, &error))?;
            let codec = ProstCodec::<R, R::Answer>::default();
            let answer = grpc.unary(request, PathAndQuery::from_static(R::PATH), codec).await;
            answer.map(tonic::Response::into_inner).map_err(|status| self.failed::<R>(&status))
        };
        // The server gets the deadline too, but may not heed it.
        let answer = tokio::time::timeout(deadline, calling).await.map_err(|_| self.no_answer::<R>())??;
        match R::status(&answer).and_then(|status| Some((status, refused(status)?))) {
            None => Ok(answer),
            Some((status, refusal)) => Err(self.refused::<R>(status, refusal)),
        }
    }

    fn no_answer<R: Rpc>(&self) -> SourceError {
        let waited_ms = self.limits.call_timeout_ms;
        SourceError::NoAnswer { endpoint: self.endpoint.clone(), call: R::NAME, waited_ms }
    }

    fn with_headers<R: Rpc>(&self, request: R, deadline: Duration) -> Request<R> {
        let database = MetadataValue::try_from(request.database()).ok();
        let mut request = Request::new(request);
        request.set_timeout(deadline);
        if let Some(database) = database.filter(|database| !database.is_empty()) {
            request.metadata_mut().insert("dbname", database);
        }
        if let Some(authorization) = &self.authorization {
            request.metadata_mut().insert("authorization", authorization.clone());
        }
        request
    }

    fn failed<R: Rpc>(&self, status: &tonic::Status) -> SourceError {
        let (endpoint, reason) = (self.endpoint.clone(), status.message().to_owned());
        match status.code() {
            Code::Unauthenticated => SourceError::NotLetIn { endpoint, reason },
            Code::PermissionDenied => SourceError::NotPermitted { call: R::NAME, reason },
            Code::Unimplemented => SourceError::CallNotOffered { call: R::NAME, version: self.version_text.clone() },
            Code::DeadlineExceeded => self.no_answer::<R>(),
            // What the client says of a deadline that it watches itself, and of a connection that the other side ends before it
            // answers: one that wants TLS, or another certificate.
            Code::Cancelled if reason == TIMEOUT_EXPIRED => self.no_answer::<R>(),
            Code::Unavailable | Code::Cancelled => {
                SourceError::ServerUnreachable { endpoint, reason: with_causes(status) }
            }
            // A connection that breaks in the middle of a call is `Unknown` to tonic.
            Code::Unknown if status.source().is_some() => {
                SourceError::ServerUnreachable { endpoint, reason: with_causes(status) }
            }
            code => SourceError::CallRefused {
                call: R::NAME,
                code: code as i32,
                refusal: Refusal::Other,
                reason: format!("{reason} (gRPC: {})", code.description()),
            },
        }
    }

    fn refused<R: Rpc>(&self, status: &common::Status, refusal: Refusal) -> SourceError {
        let reason = if status.reason.is_empty() { status.detail.clone() } else { status.reason.clone() };
        match refusal {
            Refusal::NotAuthenticated => SourceError::NotLetIn { endpoint: self.endpoint.clone(), reason },
            Refusal::NotPermitted => SourceError::NotPermitted { call: R::NAME, reason },
            Refusal::NotOffered => SourceError::CallNotOffered { call: R::NAME, version: self.version_text.clone() },
            refusal => {
                let code = if status.code == 0 { status.error_code } else { status.code };
                SourceError::CallRefused { call: R::NAME, code, refusal, reason }
            }
        }
    }
}

fn unreachable(endpoint: &str, error: &(dyn std::error::Error + 'static)) -> SourceError {
    SourceError::ServerUnreachable { endpoint: endpoint.to_owned(), reason: with_causes(error) }
}

/// What happened is in the innermost cause ("connection refused"), and the outer ones say little.
fn with_causes(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let inner_text = inner.to_string();
        if !text.contains(&inner_text) {
            text = format!("{text}: {inner_text}");
        }
        cause = inner.source();
    }
    text
}
