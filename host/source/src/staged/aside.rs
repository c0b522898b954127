//! What restore runs do with staged files, aside: on threads that may wait for the disk.
//!
//! Contract: whatever holds the files is held until the thread is done with them, also when nobody waits for it any more. So
//! a run that is dropped does not remove its staging folder, or give its lock back, under a thread that still writes there;
//! and one that ends waits for such threads first.

use std::sync::Arc;

use bytes::Bytes;
use longshore_model::Digest;

use super::StagedFiles;
use crate::blocking::blocking;
use crate::{FilePiece, SourceError};

/// What holds staged files.
pub(crate) trait HoldsFiles: AsRef<StagedFiles> + Send + Sync + 'static {}

impl<T: AsRef<StagedFiles> + Send + Sync + 'static> HoldsFiles for T {}

/// See [`RestoreRun::left_over`](crate::RestoreRun::left_over).
pub(crate) async fn left_over(
    holder: &Arc<impl HoldsFiles>,
    collection: usize,
    file: usize,
) -> Result<Option<Digest>, SourceError> {
    // Asked for every file: in a folder that was just made it needs no thread.
    if !files_of(holder).resumed {
        return Ok(None);
    }
    with_files(holder, move |files| files.left_over(collection, file)).await
}

/// See [`RestoreRun::clear`](crate::RestoreRun::clear).
pub(crate) async fn clear(holder: &Arc<impl HoldsFiles>, collection: usize, file: usize) -> Result<(), SourceError> {
    if !files_of(holder).resumed {
        return Ok(());
    }
    with_files(holder, move |files| files.clear(collection, file)).await
}

/// See [`RestoreRun::write`](crate::RestoreRun::write).
pub(crate) async fn write(
    holder: &Arc<impl HoldsFiles>,
    collection: usize,
    file: usize,
    offset: u64,
    bytes: Bytes,
) -> Result<(), SourceError> {
    with_files(holder, move |files| files.write(collection, file, offset, &bytes)).await
}

/// See [`RestoreRun::write_pieces`](crate::RestoreRun::write_pieces).
pub(crate) async fn write_pieces(
    holder: &Arc<impl HoldsFiles>,
    collection: usize,
    pieces: Vec<FilePiece>,
) -> Result<(), SourceError> {
    with_files(holder, move |files| files.write_pieces(collection, &pieces)).await
}

fn files_of(holder: &Arc<impl HoldsFiles>) -> &StagedFiles {
    (**holder).as_ref()
}

async fn with_files<T: Send + 'static>(
    holder: &Arc<impl HoldsFiles>,
    on_files: impl FnOnce(&StagedFiles) -> Result<T, SourceError> + Send + 'static,
) -> Result<T, SourceError> {
    work(holder, move |holder| on_files(holder.as_ref())).await
}

/// Any other work of a run.
pub(crate) async fn work<H: HoldsFiles, T: Send + 'static>(
    holder: &Arc<H>,
    on_holder: impl FnOnce(&H) -> Result<T, SourceError> + Send + 'static,
) -> Result<T, SourceError> {
    let held = Arc::clone(holder);
    blocking(&files_of(holder).root.shown, move || {
        let _at_work = files_of(&held).enter()?;
        on_holder(&held)
    })
    .await
}

/// The last work of a run, alone: a restore that failed has dropped what it waited for, and threads may still write.
pub(crate) async fn end<H: HoldsFiles, T: Send + 'static>(
    holder: &Arc<H>,
    on_holder: impl FnOnce(&H) -> Result<T, SourceError> + Send + 'static,
) -> Result<T, SourceError> {
    let held = Arc::clone(holder);
    blocking(&files_of(holder).root.shown, move || {
        files_of(&held).end();
        on_holder(&held)
    })
    .await
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::sync::{Mutex, mpsc};

    use tokio::sync::oneshot;

    use super::*;
    use crate::TargetPlan;
    use crate::disk::Folder;

    struct Holder(StagedFiles);

    impl AsRef<StagedFiles> for Holder {
        fn as_ref(&self) -> &StagedFiles {
            &self.0
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_run_ends_when_no_thread_is_at_work_any_more_and_none_begins_after_it() {
        let here = tempfile::tempdir().unwrap();
        let plan = TargetPlan { databases: Vec::new(), whole_cluster: false, collections: Vec::new(), access: None };
        let files = StagedFiles::new(Folder::at(here.path()), false, Arc::new(plan), Box::new(|_, _| None));
        let (holder, order) = (Arc::new(Holder(files)), Arc::new(Mutex::new(Vec::new())));
        let (begun, has_begun) = oneshot::channel();
        let (go_on, may_go_on) = mpsc::channel::<()>();
        let (held, seen) = (Arc::clone(&holder), Arc::clone(&order));
        let at_work = tokio::spawn(async move {
            let on_holder = move |_: &Holder| {
                begun.send(()).unwrap();
                may_go_on.recv().unwrap();
                seen.lock().unwrap().push("worked");
                Ok(())
            };
            work(&held, on_holder).await
        });
        has_begun.await.unwrap();
        // Whoever waited is gone; the thread is not.
        at_work.abort();
        let (held, seen) = (Arc::clone(&holder), Arc::clone(&order));
        let ending = tokio::spawn(async move {
            let on_holder = move |_: &Holder| {
                seen.lock().unwrap().push("ended");
                Ok(())
            };
            end(&held, on_holder).await
        });
        for _ in 0..1_000 {
            tokio::task::yield_now().await;
        }
        go_on.send(()).unwrap();
        ending.await.unwrap().unwrap();
        assert_eq!(*order.lock().unwrap(), ["worked", "ended"]);
        let late = work(&holder, |_| -> Result<(), SourceError> { panic!("it began after the end") }).await;
        assert!(late.unwrap_err().to_string().contains("ended already"));
    }
}
