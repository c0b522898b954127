//! A store that asks a hook before it does something and tells it afterwards.

use std::collections::HashSet;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use futures::{FutureExt, StreamExt};
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, ObjectStoreExt,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};

/// What is asked of a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Operation {
    /// Writes an object.
    Put,
    /// Reads an object, a range or only its length.
    Get,
    /// Deletes an object.
    Delete,
    /// Lists objects.
    List,
    /// Copies an object; the key is that of the object it copies.
    Copy,
}

/// What a hook wants to happen.
#[derive(Debug)]
pub(super) enum Verdict {
    /// What was asked for.
    Go,
    /// An error, and nothing done.
    Refuse(object_store::Error),
    /// It is done, but the answer is this error.
    DoThenFail(object_store::Error),
    /// Only this many bytes are written, and the answer is this error.
    Tear(usize, object_store::Error),
    /// A listing is answered as it was a while ago; other operations are done as asked.
    Stale(Past),
}

/// How a listing of a while ago differs from one of now.
#[derive(Debug, Default)]
pub(super) struct Past {
    /// Keys that were not there yet.
    pub(super) hidden: HashSet<String>,
    /// Objects that were still there.
    pub(super) shown: Vec<ObjectMeta>,
}

impl Past {
    fn lists(&self, meta: &ObjectMeta) -> bool {
        !self.hidden.contains(meta.location.as_ref())
    }

    /// What was still there below a prefix.
    fn shown_below(&self, prefix: Option<&Path>) -> Vec<ObjectMeta> {
        let below = |meta: &&ObjectMeta| prefix.is_none_or(|prefix| meta.location.prefix_matches(prefix));
        self.shown.iter().filter(below).cloned().collect()
    }
}

/// Sees every operation.
#[async_trait]
pub(super) trait Hook: std::fmt::Debug + Send + Sync + 'static {
    /// Before it is done.
    async fn before(&self, operation: Operation, key: &str) -> Verdict;
    /// After it was done; not called when it was refused.
    fn after(&self, operation: Operation, key: &str, ok: bool);
}

/// The store itself.
#[derive(Debug)]
pub(super) struct Intercept<H> {
    pub(super) inner: Arc<dyn ObjectStore>,
    pub(super) hook: Arc<H>,
}

impl<H: Hook> std::fmt::Display for Intercept<H> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.inner)
    }
}

fn torn(payload: &PutPayload, keep_bytes: usize) -> PutPayload {
    let mut all: Vec<u8> = payload.iter().flat_map(|piece| piece.iter().copied()).collect();
    all.truncate(keep_bytes);
    PutPayload::from(all)
}

#[async_trait]
impl<H: Hook> ObjectStore for Intercept<H> {
    async fn put_opts(&self, location: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        let key = location.as_ref();
        match self.hook.before(Operation::Put, key).await {
            Verdict::Go | Verdict::Stale(_) => {
                let result = self.inner.put_opts(location, payload, options).await;
                self.hook.after(Operation::Put, key, result.is_ok());
                result
            }
            Verdict::Refuse(error) => Err(error),
            Verdict::DoThenFail(error) => {
                let result = self.inner.put_opts(location, payload, options).await;
                self.hook.after(Operation::Put, key, result.is_ok());
                Err(error)
            }
            Verdict::Tear(keep_bytes, error) => {
                self.inner.put_opts(location, torn(&payload, keep_bytes), options).await?;
                Err(error)
            }
        }
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.inner.put_multipart_opts(location, options).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let key = location.as_ref();
        match self.hook.before(Operation::Get, key).await {
            Verdict::Go | Verdict::Stale(_) => {
                let result = self.inner.get_opts(location, options).await;
                self.hook.after(Operation::Get, key, result.is_ok());
                result
            }
            Verdict::Refuse(error) | Verdict::DoThenFail(error) | Verdict::Tear(_, error) => Err(error),
        }
    }

    async fn get_ranges(&self, location: &Path, ranges: &[std::ops::Range<u64>]) -> Result<Vec<Bytes>> {
        match self.hook.before(Operation::Get, location.as_ref()).await {
            Verdict::Go | Verdict::Stale(_) => self.inner.get_ranges(location, ranges).await,
            Verdict::Refuse(error) | Verdict::DoThenFail(error) | Verdict::Tear(_, error) => Err(error),
        }
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        let (inner, hook) = (Arc::clone(&self.inner), Arc::clone(&self.hook));
        locations
            .then(move |location| {
                let (inner, hook) = (Arc::clone(&inner), Arc::clone(&hook));
                async move {
                    let location = location?;
                    let verdict = hook.before(Operation::Delete, location.as_ref()).await;
                    if let Verdict::Refuse(error) = verdict {
                        return Err(error);
                    }
                    let result = inner.delete(&location).await;
                    hook.after(Operation::Delete, location.as_ref(), result.is_ok());
                    match verdict {
                        Verdict::DoThenFail(error) | Verdict::Tear(_, error) => Err(error),
                        _ => result.map(|()| location),
                    }
                }
            })
            .boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        let (inner, hook, prefix) = (Arc::clone(&self.inner), Arc::clone(&self.hook), prefix.cloned());
        async move {
            let key = prefix.as_ref().map(ToString::to_string).unwrap_or_default();
            match hook.before(Operation::List, &key).await {
                Verdict::Go => {
                    hook.after(Operation::List, &key, true);
                    Ok(inner.list(prefix.as_ref()))
                }
                Verdict::Stale(past) => {
                    hook.after(Operation::List, &key, true);
                    let still = futures::stream::iter(past.shown_below(prefix.as_ref()).into_iter().map(Ok));
                    let listed = inner.list(prefix.as_ref());
                    let there = listed.filter(move |meta| {
                        let lists = meta.as_ref().map_or(true, |meta| past.lists(meta));
                        futures::future::ready(lists)
                    });
                    Ok(still.chain(there).boxed())
                }
                Verdict::Refuse(error) | Verdict::DoThenFail(error) | Verdict::Tear(_, error) => Err(error),
            }
        }
        .map(|result| match result {
            Ok(stream) => stream,
            Err(error) => futures::stream::once(async { Err(error) }).boxed(),
        })
        .flatten_stream()
        .boxed()
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        let key = prefix.map(ToString::to_string).unwrap_or_default();
        match self.hook.before(Operation::List, &key).await {
            Verdict::Go => self.inner.list_with_delimiter(prefix).await,
            Verdict::Stale(past) => {
                let mut listed = self.inner.list_with_delimiter(prefix).await?;
                listed.objects.retain(|meta| past.lists(meta));
                Ok(listed)
            }
            Verdict::Refuse(error) | Verdict::DoThenFail(error) | Verdict::Tear(_, error) => Err(error),
        }
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        let key = from.as_ref();
        match self.hook.before(Operation::Copy, key).await {
            Verdict::Go | Verdict::Stale(_) => {
                let result = self.inner.copy_opts(from, to, options).await;
                self.hook.after(Operation::Copy, key, result.is_ok());
                result
            }
            Verdict::Refuse(error) | Verdict::Tear(_, error) => Err(error),
            Verdict::DoThenFail(error) => {
                let result = self.inner.copy_opts(from, to, options).await;
                self.hook.after(Operation::Copy, key, result.is_ok());
                Err(error)
            }
        }
    }
}
