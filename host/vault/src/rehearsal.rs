//! A store as it would be: what is written stays in memory, for whoever says beforehand what a job would do.
//!
//! Contract: nothing reaches the store below. What was written or deleted here hides what lies below under the same key.
//! Memory is what was written, so this is for small objects.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, ObjectStoreExt,
    PutMode, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};

/// The store.
#[derive(Debug)]
pub(crate) struct Rehearsal {
    below: Arc<dyn ObjectStore>,
    written: Arc<InMemory>,
    /// Keys that were written or deleted: only memory knows of them.
    changed: Arc<Mutex<HashSet<Path>>>,
}

impl Rehearsal {
    pub(crate) fn over(below: Arc<dyn ObjectStore>) -> Self {
        Self { below, written: Arc::default(), changed: Arc::default() }
    }

    fn is_changed(&self, key: &Path) -> bool {
        self.changed.lock().unwrap_or_else(PoisonError::into_inner).contains(key)
    }

    fn change(&self, key: &Path) {
        self.changed.lock().unwrap_or_else(PoisonError::into_inner).insert(key.clone());
    }
}

impl std::fmt::Display for Rehearsal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.below)
    }
}

#[async_trait]
impl ObjectStore for Rehearsal {
    async fn put_opts(&self, location: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        if options.mode == PutMode::Create {
            match self.head(location).await {
                Err(Error::NotFound { .. }) => {}
                Err(error) => return Err(error),
                Ok(_) => {
                    let (path, source) = (location.to_string(), "it is there".into());
                    return Err(Error::AlreadyExists { path, source });
                }
            }
        }
        let put = self.written.put(location, payload).await?;
        self.change(location);
        Ok(put)
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.change(location);
        self.written.put_multipart_opts(location, options).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        match self.is_changed(location) {
            true => self.written.get_opts(location, options).await,
            false => self.below.get_opts(location, options).await,
        }
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        let (written, changed) = (Arc::clone(&self.written), Arc::clone(&self.changed));
        locations
            .and_then(move |location| {
                changed.lock().unwrap_or_else(PoisonError::into_inner).insert(location.clone());
                let written = Arc::clone(&written);
                async move { written.delete(&location).await.map(|()| location) }
            })
            .boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        let changed = Arc::clone(&self.changed);
        let below = self.below.list(prefix).try_filter(move |meta| {
            let changed = changed.lock().unwrap_or_else(PoisonError::into_inner);
            std::future::ready(!changed.contains(&meta.location))
        });
        self.written.list(prefix).chain(below).boxed()
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        let mut listed = self.below.list_with_delimiter(prefix).await?;
        listed.objects.retain(|meta| !self.is_changed(&meta.location));
        let written = self.written.list_with_delimiter(prefix).await?;
        listed.objects.extend(written.objects);
        listed.common_prefixes.extend(written.common_prefixes);
        listed.common_prefixes.sort();
        listed.common_prefixes.dedup();
        Ok(listed)
    }

    async fn copy_opts(&self, from: &Path, to: &Path, _options: CopyOptions) -> Result<()> {
        let bytes = match self.get(from).await {
            Ok(found) => found.bytes().await.unwrap_or_default(),
            Err(error @ Error::NotFound { .. }) => return Err(error),
            // A file system that cannot read a file can still link it; whether this store can shows when it is asked to.
            Err(_) => Bytes::new(),
        };
        self.put(to, bytes.into()).await.map(drop)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    async fn text(store: &dyn ObjectStore, key: &str) -> Option<String> {
        let got = store.get(&Path::from(key)).await.ok()?;
        Some(String::from_utf8(got.bytes().await.unwrap().to_vec()).unwrap())
    }

    async fn listed(store: &dyn ObjectStore) -> Vec<String> {
        let mut keys: Vec<String> =
            store.list(None).map_ok(|meta| meta.location.to_string()).try_collect().await.unwrap();
        keys.sort();
        keys
    }

    #[tokio::test]
    async fn what_is_written_and_deleted_shows_here_and_nowhere_else() {
        let below: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
        for key in ["a/kept", "a/replaced", "a/deleted"] {
            below.put(&key.into(), "before".into()).await.unwrap();
        }
        let store = Rehearsal::over(Arc::clone(&below));
        store.put(&"a/replaced".into(), "after".into()).await.unwrap();
        store.put(&"b/new".into(), "after".into()).await.unwrap();
        store.delete(&"a/deleted".into()).await.unwrap();
        store.copy(&"a/kept".into(), &"set-aside/a/kept".into()).await.unwrap();
        let create = || PutOptions::from(PutMode::Create);
        let again = store.put_opts(&"a/kept".into(), "after".into(), create()).await;
        assert!(matches!(again, Err(Error::AlreadyExists { .. })));
        store.put_opts(&"a/deleted".into(), "again".into(), create()).await.unwrap();
        store.delete(&"a/deleted".into()).await.unwrap();
        assert_eq!(listed(&store).await, ["a/kept", "a/replaced", "b/new", "set-aside/a/kept"]);
        let found = [("a/kept", "before"), ("a/replaced", "after"), ("b/new", "after"), ("set-aside/a/kept", "before")];
        for (key, expected) in found {
            assert_eq!(text(&store, key).await.as_deref(), Some(expected), "{key}");
        }
        assert_eq!(text(&store, "a/deleted").await, None);
        let first = store.list_with_delimiter(None).await.unwrap();
        assert_eq!(first.common_prefixes, ["a", "b", "set-aside"].map(Path::from));
        let second = store.list_with_delimiter(Some(&"a".into())).await.unwrap();
        assert_eq!(second.objects.len(), 2);
        assert_eq!(listed(below.as_ref()).await, ["a/deleted", "a/kept", "a/replaced"]);
        assert_eq!(text(below.as_ref(), "a/replaced").await.as_deref(), Some("before"));
    }
}
