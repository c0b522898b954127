//! Work that waits for a disk, from code that must not wait.

use crate::SourceError;

/// Runs work that waits for the disk on a thread that may wait.
pub(crate) async fn blocking<T: Send + 'static>(
    what: &str,
    work: impl FnOnce() -> Result<T, SourceError> + Send + 'static,
) -> Result<T, SourceError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        // The decoders of other crates see bytes of unknown origin; should one of them panic, the file is to blame.
        Err(error) if error.is_panic() => Err(SourceError::Damaged {
            path: what.to_owned(),
            reason: "decoding one of its files failed in a way that is not understood".to_owned(),
        }),
        Err(_) => Err(SourceError::Cancelled),
    }
}
