//! From believed machine code to a component: the one line of this repository that the compiler cannot check.

use wasmtime::Engine;
use wasmtime::component::Component;

use crate::code_cache::TrustedCode;

/// Loads machine code without compiling.
///
/// # Errors
/// When it was made by another engine or with other settings, which wasmtime checks by itself.
#[allow(unsafe_code, reason = "loading machine code is unsafe in wasmtime; see the argument below")]
pub(crate) fn component(engine: &Engine, code: &TrustedCode) -> wasmtime::Result<Component> {
    // SAFETY: wasmtime asks that the bytes are what `Component::serialize` gave, unchanged. A `TrustedCode` is made in one
    // place, after a MAC over all of these bytes was checked under a key that only this host's user can read, and that MAC
    // is made in one place, over what `serialize` gave right after a full load. The bytes are this process's own memory,
    // so they cannot change between that check and this line. Code of another engine is refused by wasmtime's own check.
    unsafe { Component::deserialize(engine, code.bytes()) }
}
