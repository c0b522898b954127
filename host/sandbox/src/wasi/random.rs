//! Randomness made from the run's seed: the same run gives the same bytes, on every machine and for ever.
//!
//! The bytes are BLAKE3 in its extended-output form, keyed by a context per use, over the seed as eight little-endian
//! bytes. They are not secret; a policy has nothing to keep secret.

use wasmtime_wasi::p2::bindings::random::{insecure, insecure_seed, random};

use super::WasiView;

/// An endless reproducible stream of bytes.
pub(crate) struct Random(blake3::OutputReader);

/// A plugin asked for too many random bytes at a time.
#[derive(Debug, thiserror::Error)]
#[error("it asked for {wanted} random bytes at a time, and {limit} are allowed")]
pub(crate) struct TooManyBytes {
    wanted: u64,
    limit: u64,
}

impl Random {
    /// The stream for this seed and use.
    pub(crate) fn new(context: &'static str, seed: u64) -> Self {
        let mut hasher = blake3::Hasher::new_derive_key(context);
        hasher.update(&seed.to_le_bytes());
        Self(hasher.finalize_xof())
    }

    fn bytes(&mut self, wanted: u64, limit: u64) -> wasmtime::Result<Vec<u8>> {
        let len = usize::try_from(wanted).ok().filter(|_| wanted <= limit).ok_or(TooManyBytes { wanted, limit })?;
        let mut bytes = vec![0; len];
        self.0.fill(&mut bytes);
        Ok(bytes)
    }

    pub(crate) fn next_u64(&mut self) -> u64 {
        let mut bytes = [0; 8];
        self.0.fill(&mut bytes);
        u64::from_le_bytes(bytes)
    }
}

impl random::Host for WasiView<'_> {
    fn get_random_bytes(&mut self, len: u64) -> wasmtime::Result<Vec<u8>> {
        self.wasi.random.bytes(len, self.wasi.random_bytes)
    }

    fn get_random_u64(&mut self) -> wasmtime::Result<u64> {
        Ok(self.wasi.random.next_u64())
    }
}

impl insecure::Host for WasiView<'_> {
    fn get_insecure_random_bytes(&mut self, len: u64) -> wasmtime::Result<Vec<u8>> {
        self.wasi.insecure_random.bytes(len, self.wasi.random_bytes)
    }

    fn get_insecure_random_u64(&mut self) -> wasmtime::Result<u64> {
        Ok(self.wasi.insecure_random.next_u64())
    }
}

impl insecure_seed::Host for WasiView<'_> {
    fn insecure_seed(&mut self) -> wasmtime::Result<(u64, u64)> {
        Ok(self.wasi.insecure_seed)
    }
}
