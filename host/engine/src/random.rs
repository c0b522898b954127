//! Randomness that is passed in, so that tests decide what is drawn.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use longshore_source::milvus::Secret;

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

/// Random bytes of a new password: 20 letters of Base64, because Milvus takes no longer ones (2.3).
const PASSWORD_BYTES: usize = 15;

/// Draws a password.
///
/// # Errors
/// As [`Random::fill`].
pub(crate) fn new_password(random: &dyn Random) -> Result<Secret, EngineError> {
    Ok(Secret::new(STANDARD.encode(draw::<PASSWORD_BYTES>(random)?)))
}
