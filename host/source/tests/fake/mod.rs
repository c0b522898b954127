//! A server that speaks gRPC and answers as a test says: for faults, and for versions of Milvus that cannot be had here.
#![allow(dead_code)]

pub(crate) mod importing;
pub(crate) mod packed;

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::{BufMut, Bytes, BytesMut};
use http_body_util::{BodyExt, Either, Empty, Full};
use hyper::body::Incoming;
use hyper::header::HeaderMap;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message;

/// What a call gets.
pub(crate) enum Answer {
    Message(Vec<u8>),
    /// A gRPC status by number, and its text.
    Status(u32, &'static str),
    Never,
}

impl Answer {
    pub(crate) fn of(message: &impl Message) -> Self {
        Self::Message(message.encode_to_vec())
    }
}

/// A call that came.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    /// Its name, for example `Flush`.
    pub(crate) name: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

type Answers = dyn Fn(&Call, usize) -> Answer + Send + Sync;

/// A running server.
pub(crate) struct Fake {
    pub(crate) address: String,
    calls: Arc<Mutex<Vec<Call>>>,
}

impl Fake {
    /// `answers` gets each call and how many of its name came before.
    pub(crate) async fn start(answers: impl Fn(&Call, usize) -> Answer + Send + Sync + 'static) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address").to_string();
        let calls: Arc<Mutex<Vec<Call>>> = Arc::default();
        let (answers, seen): (Arc<Answers>, _) = (Arc::new(answers), Arc::clone(&calls));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (answers, seen) = (Arc::clone(&answers), Arc::clone(&seen));
                let service = service_fn(move |request| answer(request, Arc::clone(&answers), Arc::clone(&seen)));
                tokio::spawn(http2::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service));
            }
        });
        Self { address, calls }
    }

    /// The calls of this name so far.
    pub(crate) fn calls(&self, name: &str) -> Vec<Call> {
        let calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
        calls.iter().filter(|call| call.name == name).cloned().collect()
    }
}

type Body = Either<http_body_util::combinators::BoxBody<Bytes, Infallible>, Empty<Bytes>>;

async fn answer(
    request: Request<Incoming>,
    answers: Arc<Answers>,
    seen: Arc<Mutex<Vec<Call>>>,
) -> Result<Response<Body>, Infallible> {
    let name = request.uri().path().rsplit('/').next().unwrap_or_default().to_owned();
    let headers = request.headers().clone();
    let body = request.into_body().collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
    // A frame: one byte of flags, four of length.
    let call = Call { name, headers, body: body.slice(5.min(body.len())..) };
    let before = {
        let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
        let before = seen.iter().filter(|other| other.name == call.name).count();
        seen.push(call.clone());
        before
    };
    let response = Response::builder().header("content-type", "application/grpc");
    let response = match answers(&call, before) {
        Answer::Message(message) => {
            let mut frame = BytesMut::new();
            frame.put_u8(0);
            frame.put_u32(u32::try_from(message.len()).unwrap_or(0));
            frame.extend_from_slice(&message);
            let mut trailers = HeaderMap::new();
            trailers.insert("grpc-status", "0".parse().expect("a header"));
            let body = Full::new(frame.freeze()).with_trailers(async move { Some(Ok(trailers)) });
            response.body(Either::Left(body.boxed()))
        }
        Answer::Status(number, text) => {
            response.header("grpc-status", number).header("grpc-message", text).body(Either::Right(Empty::new()))
        }
        Answer::Never => std::future::pending().await,
    };
    Ok(response.expect("a response"))
}

/// Answers by name of the call, the same each time; anything else is unknown to the server.
pub(crate) fn fixed(answers: Vec<(&'static str, Vec<u8>)>) -> impl Fn(&Call, usize) -> Answer + Send + Sync {
    let answers: HashMap<&str, Vec<u8>> = answers.into_iter().collect();
    move |call, _| match answers.get(call.name.as_str()) {
        Some(answer) => Answer::Message(answer.clone()),
        None => Answer::Status(12, "unknown method"),
    }
}
