//! Sends messages to a webhook by HTTP.
//!
//! Contract: one POST per attempt, within the time the message gives; redirects are not followed, because a signature is for
//! the address of the configuration alone; only an answer of 2xx counts as taken, and its body is not read. No error names
//! the address, which may hold a token.

use longshore_engine::{Message, Notifier, choose_tls};
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use reqwest::redirect::Policy;

/// Sends messages by HTTP and HTTPS.
#[derive(Debug, Clone)]
pub struct HttpNotifier {
    client: reqwest::Client,
}

impl HttpNotifier {
    /// A client that trusts the certificates the machine trusts.
    ///
    /// # Errors
    /// When TLS cannot be set up, as a sentence.
    pub fn new() -> Result<Self, String> {
        choose_tls();
        let client = reqwest::Client::builder()
            .redirect(Policy::none())
            .user_agent(concat!("longshore/", env!("CARGO_PKG_VERSION")))
            .build();
        client.map(|client| Self { client }).map_err(|error| format!("messages cannot be sent: {}", told(error)))
    }
}

#[async_trait::async_trait]
impl Notifier for HttpNotifier {
    async fn send(&self, message: &Message) -> Result<(), String> {
        let headers = headers(message)?;
        let request =
            self.client.post(&message.url).timeout(message.timeout).headers(headers).body(message.body.clone());
        let answer = request.send().await.map_err(told)?;
        let status = answer.status();
        if status.is_success() {
            return Ok(());
        }
        let more = if status.is_redirection() { "; redirects are not followed" } else { "" };
        Err(format!("it answered {}{more}", status.as_u16()))
    }
}

fn headers(message: &Message) -> Result<HeaderMap, String> {
    let pairs = [
        ("webhook-id", message.id.clone()),
        ("webhook-timestamp", message.timestamp.to_string()),
        ("webhook-signature", message.signature.clone()),
    ];
    let mut headers = HeaderMap::new();
    for (name, value) in pairs {
        let value = HeaderValue::from_str(&value).map_err(|_| format!("the header {name} cannot be written"))?;
        headers.insert(HeaderName::from_static(name), value);
    }
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Ok(headers)
}

/// An error and what caused it, without the address.
fn told(error: reqwest::Error) -> String {
    if error.is_timeout() {
        return "it did not answer in time".to_owned();
    }
    let error = error.without_url();
    let mut text = error.to_string();
    let mut source = std::error::Error::source(&error);
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}
