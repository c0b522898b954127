//! Streams and polling without a runtime: whatever can be ready is ready at once, or waits for virtual time.
//!
//! The default implementation waits for real events on a Tokio runtime, which would panic on a thread of an async
//! caller, and would let a plugin sleep in real time outside its budget.

use std::future::Future;
use std::pin::pin;

use wasmtime::component::{Resource, ResourceTableError};
use wasmtime_wasi::p2::bindings::sync::io::{poll, streams};
use wasmtime_wasi::p2::{DynInputStream, DynOutputStream, DynPollable, StreamError, StreamResult};
use wasmtime_wasi::runtime::poll_noop;
use wasmtime_wasi_io::bindings::wasi::io::poll::{Host as AsyncPoll, HostPollable as AsyncPollable};
use wasmtime_wasi_io::bindings::wasi::io::streams::{
    Host as AsyncStreams, HostInputStream as AsyncInput, HostOutputStream as AsyncOutput, StreamError as AsyncError,
};

use super::WasiView;

/// A plugin waits for something that cannot happen.
#[derive(Debug, thiserror::Error)]
#[error("it waits for something that never happens in the sandbox")]
pub(crate) struct WaitsForEver;

/// A plugin did to a stream what its contract forbids.
#[derive(Debug, thiserror::Error)]
#[error("it used a stream in a way that WASI forbids: {0}")]
pub(crate) struct Misused(String);

/// Names misuse as what it is: without a type it could not be told from an answer that cannot be read.
fn used<T>(result: StreamResult<T>) -> StreamResult<T> {
    result.map_err(|error| match error {
        StreamError::Trap(trap) if !has_a_type(&trap) => StreamError::Trap(Misused(format!("{trap:#}")).into()),
        other => other,
    })
}

fn has_a_type(trap: &wasmtime::Error) -> bool {
    trap.downcast_ref::<ResourceTableError>().is_some() || trap.downcast_ref::<WaitsForEver>().is_some()
}

/// Runs what is ready at once.
fn at_once<T>(future: impl Future<Output = T>) -> wasmtime::Result<T> {
    poll_noop(pin!(future)).ok_or_else(|| WaitsForEver.into())
}

/// The same for stream operations.
fn stream_at_once<T>(future: impl Future<Output = StreamResult<T>>) -> StreamResult<T> {
    at_once(future).map_err(StreamError::Trap)?
}

impl poll::Host for WasiView<'_> {
    fn poll(&mut self, pollables: Vec<Resource<DynPollable>>) -> wasmtime::Result<Vec<u32>> {
        self.wasi.clocks.forget_awaited();
        let again: Vec<Resource<DynPollable>> = pollables.iter().map(|one| Resource::new_borrow(one.rep())).collect();
        if let Some(ready) = poll_noop(pin!(AsyncPoll::poll(self.table, pollables))) {
            return ready;
        }
        if !self.wasi.clocks.jump_to_awaited() {
            return Err(WaitsForEver.into());
        }
        at_once(AsyncPoll::poll(self.table, again))?
    }
}

impl poll::HostPollable for WasiView<'_> {
    fn ready(&mut self, pollable: Resource<DynPollable>) -> wasmtime::Result<bool> {
        at_once(AsyncPollable::ready(self.table, pollable))?
    }

    fn block(&mut self, pollable: Resource<DynPollable>) -> wasmtime::Result<()> {
        poll::Host::poll(self, vec![pollable]).map(drop)
    }

    fn drop(&mut self, pollable: Resource<DynPollable>) -> wasmtime::Result<()> {
        AsyncPollable::drop(self.table, pollable)
    }
}

impl streams::Host for WasiView<'_> {
    fn convert_stream_error(&mut self, error: StreamError) -> wasmtime::Result<streams::StreamError> {
        Ok(match AsyncStreams::convert_stream_error(self.table, error)? {
            AsyncError::LastOperationFailed(error) => streams::StreamError::LastOperationFailed(error),
            AsyncError::Closed => streams::StreamError::Closed,
        })
    }
}

impl streams::HostInputStream for WasiView<'_> {
    fn read(&mut self, stream: Resource<DynInputStream>, len: u64) -> StreamResult<Vec<u8>> {
        AsyncInput::read(self.table, stream, len)
    }

    fn blocking_read(&mut self, stream: Resource<DynInputStream>, len: u64) -> StreamResult<Vec<u8>> {
        stream_at_once(AsyncInput::blocking_read(self.table, stream, len))
    }

    fn skip(&mut self, stream: Resource<DynInputStream>, len: u64) -> StreamResult<u64> {
        AsyncInput::skip(self.table, stream, len)
    }

    fn blocking_skip(&mut self, stream: Resource<DynInputStream>, len: u64) -> StreamResult<u64> {
        stream_at_once(AsyncInput::blocking_skip(self.table, stream, len))
    }

    fn subscribe(&mut self, stream: Resource<DynInputStream>) -> wasmtime::Result<Resource<DynPollable>> {
        AsyncInput::subscribe(self.table, stream)
    }

    fn drop(&mut self, stream: Resource<DynInputStream>) -> wasmtime::Result<()> {
        at_once(AsyncInput::drop(self.table, stream))?
    }
}

impl streams::HostOutputStream for WasiView<'_> {
    fn check_write(&mut self, stream: Resource<DynOutputStream>) -> StreamResult<u64> {
        AsyncOutput::check_write(self.table, stream)
    }

    fn write(&mut self, stream: Resource<DynOutputStream>, bytes: Vec<u8>) -> StreamResult<()> {
        used(AsyncOutput::write(self.table, stream, bytes))
    }

    fn blocking_write_and_flush(&mut self, stream: Resource<DynOutputStream>, bytes: Vec<u8>) -> StreamResult<()> {
        used(stream_at_once(AsyncOutput::blocking_write_and_flush(self.table, stream, bytes)))
    }

    fn flush(&mut self, stream: Resource<DynOutputStream>) -> StreamResult<()> {
        AsyncOutput::flush(self.table, stream)
    }

    fn blocking_flush(&mut self, stream: Resource<DynOutputStream>) -> StreamResult<()> {
        stream_at_once(AsyncOutput::blocking_flush(self.table, stream))
    }

    fn subscribe(&mut self, stream: Resource<DynOutputStream>) -> wasmtime::Result<Resource<DynPollable>> {
        AsyncOutput::subscribe(self.table, stream)
    }

    fn write_zeroes(&mut self, stream: Resource<DynOutputStream>, len: u64) -> StreamResult<()> {
        used(AsyncOutput::write_zeroes(self.table, stream, len))
    }

    fn blocking_write_zeroes_and_flush(&mut self, stream: Resource<DynOutputStream>, len: u64) -> StreamResult<()> {
        used(stream_at_once(AsyncOutput::blocking_write_zeroes_and_flush(self.table, stream, len)))
    }

    fn splice(
        &mut self,
        into: Resource<DynOutputStream>,
        from: Resource<DynInputStream>,
        len: u64,
    ) -> StreamResult<u64> {
        AsyncOutput::splice(self.table, into, from, len)
    }

    fn blocking_splice(
        &mut self,
        into: Resource<DynOutputStream>,
        from: Resource<DynInputStream>,
        len: u64,
    ) -> StreamResult<u64> {
        stream_at_once(AsyncOutput::blocking_splice(self.table, into, from, len))
    }

    fn drop(&mut self, stream: Resource<DynOutputStream>) -> wasmtime::Result<()> {
        at_once(AsyncOutput::drop(self.table, stream))?
    }
}
