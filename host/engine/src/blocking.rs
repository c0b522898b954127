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
/// make, and nobody has to wait for that, not even the end of the process.
pub(crate) fn drop_aside<T: Send + 'static>(value: T) {
    // Where no thread can be had, the closure is dropped here, and the value with it.
    drop(std::thread::Builder::new().name("freeing".to_owned()).spawn(move || drop(value)));
}
