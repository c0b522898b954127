//! Randomness that is passed in, so that tests decide what is drawn.

use crate::EngineError;

/// A source of random bytes.
pub trait Random: Send + Sync {
    /// Fills `bytes`.
    ///
    /// # Errors
    /// [`EngineError::NoRandomness`] when the operating system has none to give.
    fn fill(&self, bytes: &mut [u8]) -> Result<(), EngineError>;
}

/// The operating system's random source.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemRandom;

impl Random for SystemRandom {
    fn fill(&self, bytes: &mut [u8]) -> Result<(), EngineError> {
        getrandom::fill(bytes).map_err(|error| EngineError::NoRandomness { why: error.to_string() })
    }
}

/// Draws a fixed number of bytes.
///
/// # Errors
/// As [`Random::fill`].
pub(crate) fn draw<const N: usize>(random: &dyn Random) -> Result<[u8; N], EngineError> {
    let mut bytes = [0_u8; N];
    random.fill(&mut bytes)?;
    Ok(bytes)
}
