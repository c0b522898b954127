//! Runs blocking work on its own threads so that the async ones never wait for a disk, a plugin or a database.

use crate::EngineError;

/// Runs `work` on a blocking thread and waits for it.
///
/// # Errors
/// What `work` returns; [`EngineError::Internal`] when it panicked or the runtime is shutting down.
pub(crate) async fn blocking<T, F>(what: &str, work: F) -> Result<T, EngineError>
where
    T: Send + 'static,
    F: FnOnce() -> Result<T, EngineError> + Send + 'static,
{
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => Err(EngineError::Internal { what: format!("{what} did not end well: {error}") }),
    }
}

/// Gives memory back on a thread of its own: what describes thousands of collections takes as long to free as it took to
/// make, and nobody has to wait for that.
pub(crate) fn drop_aside<T: Send + 'static>(value: T) {
    // Nothing is awaited: a runtime that is shutting down drops the value here.
    drop(tokio::task::spawn_blocking(move || drop(value)));
}
