//! Messages to a webhook: what they say and how they are signed. Sending them is a [`Notifier`]'s.
//!
//! Contract: a message is a JSON object `{"type", "timestamp", "data"}`, signed as Standard Webhooks says: headers
//! `webhook-id`, `webhook-timestamp` and `webhook-signature`, the last one `v1,` and the base64 of HMAC-SHA256 over
//! `id.timestamp.body`. The id stays the same however often a message is sent, so a receiver can tell a repetition.
//!
//! The address may hold a token and the secret is one: neither is in a `Debug`, an error or a log.

use std::fmt;
use std::path::Path;
use std::time::Duration;

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use longshore_model::Timestamp;
use serde_json::{Value, json};
use zeroize::Zeroizing;

use crate::EngineError;
use crate::keys::read_private;

/// What secrets of Standard Webhooks begin with.
const SECRET_PREFIX: &str = "whsec_";
/// Shortest and longest secret, in bytes.
const SECRET_BYTES: std::ops::RangeInclusive<usize> = 16..=512;

/// Sends messages; the server's does so by HTTP.
#[async_trait]
pub trait Notifier: Send + Sync {
    /// Sends one message. `Ok` says that the receiver has taken it.
    ///
    /// # Errors
    /// Why it was not taken, in one sentence without the address.
    async fn send(&self, message: &Message) -> Result<(), String>;
}

/// A message as it goes out.
pub struct Message {
    /// Where to.
    pub url: String,
    /// The same for every attempt to send it.
    pub id: String,
    /// When this attempt is made, in seconds since 1970.
    pub timestamp: i64,
    /// The header `webhook-signature`.
    pub signature: String,
    /// The JSON text.
    pub body: Bytes,
    /// How long sending may take.
    pub timeout: Duration,
}

impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Message").field("id", &self.id).field("timestamp", &self.timestamp).finish_non_exhaustive()
    }
}

/// The secret that messages are signed with.
pub struct WebhookSecret(Zeroizing<Vec<u8>>);

impl WebhookSecret {
    /// Reads it from a file that nobody else can read: one line, `whsec_` and base64, or any text.
    ///
    /// # Errors
    /// [`EngineError::File`].
    pub fn read(path: &Path) -> Result<Self, EngineError> {
        let text = read_private(path)?;
        let wrong = |what: &str| EngineError::file(path, what);
        let text = text.trim();
        let bytes = match text.strip_prefix(SECRET_PREFIX) {
            Some(encoded) => {
                STANDARD.decode(encoded).map_err(|_| wrong("is no secret: behind `whsec_` stands base64"))?
            }
            None => text.as_bytes().to_vec(),
        };
        let bytes = Zeroizing::new(bytes);
        if !SECRET_BYTES.contains(&bytes.len()) {
            return Err(wrong("is no good secret: it has 16 to 512 bytes; `openssl rand -base64 24` makes one"));
        }
        Ok(Self(bytes))
    }

    fn sign(&self, id: &str, timestamp: i64, body: &[u8]) -> String {
        let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, &self.0);
        let mut context = ring::hmac::Context::with_key(&key);
        context.update(format!("{id}.{timestamp}.").as_bytes());
        context.update(body);
        format!("v1,{}", STANDARD.encode(context.sign().as_ref()))
    }
}

/// A message about something that happened at `happened`, sent now.
pub(crate) fn message(
    (url, timeout_ms, secret): (&str, u64, &WebhookSecret),
    id: &str,
    (kind, happened, data): (&str, Timestamp, &Value),
    now: Timestamp,
) -> Message {
    let body = json!({ "type": kind, "timestamp": happened, "data": data }).to_string();
    let timestamp = now.as_millis().div_euclid(1_000);
    Message {
        url: url.to_owned(),
        id: id.to_owned(),
        timestamp,
        signature: secret.sign(id, timestamp, body.as_bytes()),
        body: Bytes::from(body),
        timeout: Duration::from_millis(timeout_ms),
    }
}

#[cfg(all(test, unix))]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn secret(text: &str) -> Result<WebhookSecret, EngineError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        crate::write_key_file(&path, "x", "y").unwrap();
        std::fs::write(&path, text).unwrap();
        WebhookSecret::read(&path)
    }

    /// The example of the Standard Webhooks specification.
    #[test]
    fn messages_are_signed_as_the_specification_says() {
        let secret = secret("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n").unwrap();
        let signed = secret.sign("msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, br#"{"test": 2432232314}"#);
        assert_eq!(signed, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn a_bad_secret_is_refused_without_being_told() {
        for text in ["short", "whsec_%%%", "whsec_c2hvcnQ="] {
            let error = secret(text).err().unwrap().to_string();
            assert!(!error.contains(text.trim_start_matches("whsec_")), "{error}");
        }
        let open = "a plain text of more than sixteen bytes";
        assert!(secret(open).is_ok());
    }

    #[test]
    fn nothing_secret_is_shown() {
        let secret = secret("a plain text of more than sixteen bytes").unwrap();
        let told = ("https://example.org/hook?token=hidden", 5, &secret);
        let now = Timestamp::from_millis(1_700_000_000_999);
        let message = message(told, "id-1", ("job.ended", now, &json!({})), now);
        let shown = format!("{message:?}");
        assert!(shown.contains("id-1") && !shown.contains("hidden") && !shown.contains("v1,"), "{shown}");
        assert_eq!(message.timestamp, 1_700_000_000);
    }
}
