//! The envelope of every answer.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use crate::code;

#[derive(Serialize)]
struct Success<T> {
    code: u32,
    data: T,
}

#[derive(Serialize)]
struct Failure<'a> {
    code: u32,
    message: &'a str,
}

/// A call that did what was asked.
pub(crate) fn success<T: Serialize>(data: T) -> Response {
    Json(Success { code: 0, data }).into_response()
}

/// A call that did nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) status: StatusCode,
    pub(crate) code: u32,
    pub(crate) message: String,
}

impl Refusal {
    pub(crate) fn new(status: StatusCode, code: u32, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into() }
    }

    /// The request is wrong.
    pub(crate) fn bad(code: u32, message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, code, message)
    }

    /// The key is missing, unknown, revoked or expired; which of them is not said.
    pub(crate) fn illegal_key() -> Self {
        let message = "The apikey is illegal: send `Authorization: Bearer <API key>` with a key that is neither revoked \
                       nor expired.";
        Self::new(StatusCode::UNAUTHORIZED, code::ILLEGAL_KEY, message)
    }

    /// The key has no call of this kind left in this second.
    pub(crate) fn too_many_calls(per_second: u32) -> Self {
        let message = format!(
            "The key makes more than {per_second} calls a second of this kind; nothing was changed. Wait as the \
             `retry-after` header of this answer says, and call again."
        );
        Self::new(StatusCode::TOO_MANY_REQUESTS, code::TOO_MANY_CALLS, message)
    }

    /// The host failed in a way that is its operator's business.
    pub(crate) fn internal() -> Self {
        let message = "The host could not do this because of an error of its own. Its operator finds the cause in the \
                       log, under the `requestid` of this answer.";
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, code::INTERNAL, message)
    }

    /// The same refusal under another code.
    pub(crate) fn with_code(self, code: u32) -> Self {
        Self { code, ..self }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let body = Json(Failure { code: self.code, message: &self.message });
        let mut response = (self.status, body).into_response();
        if self.status == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if self.status == StatusCode::TOO_MANY_REQUESTS {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        if matches!(self.status, StatusCode::REQUEST_TIMEOUT | StatusCode::PAYLOAD_TOO_LARGE) {
            // The rest of the body was not read; the connection cannot be used again.
            response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }
}
