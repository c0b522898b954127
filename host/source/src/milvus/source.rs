//! A Milvus server to read from. It is flushed, and nothing else of it is changed.

use std::sync::Arc;

use async_trait::async_trait;
use longshore_model::{Clock, CollectionName, SystemClock};

use super::shared::{MilvusServer, Shared};
use super::{check, inventory, point};
use crate::{
    CollectionPoint, Inventory, KnownFiles, Limits, PointOptions, Source, SourceError, SourceFinding, SourceKind,
};

/// A Milvus server, 2.3 or newer, to read from.
#[derive(Debug, Clone)]
pub struct MilvusSource {
    pub(super) shared: Arc<Shared>,
}

impl MilvusSource {
    /// A server; nothing is connected yet.
    #[must_use]
    pub fn new(server: MilvusServer) -> Self {
        Self::with(server, Limits::DEFAULT, Arc::new(SystemClock))
    }

    /// The same with chosen limits and clock.
    #[must_use]
    pub fn with(server: MilvusServer, limits: Limits, clock: Arc<dyn Clock>) -> Self {
        Self { shared: Arc::new(Shared::new(server, limits, clock)) }
    }
}

#[async_trait]
impl Source for MilvusSource {
    fn kind(&self) -> SourceKind {
        SourceKind::Milvus
    }

    async fn inventory(&self) -> Result<Inventory, SourceError> {
        self.inventory_knowing(Arc::new(())).await
    }

    async fn inventory_knowing(&self, known: Arc<dyn KnownFiles>) -> Result<Inventory, SourceError> {
        inventory::list(&self.shared, known).await
    }

    async fn collection_names(&self) -> Result<Vec<CollectionName>, SourceError> {
        let client = self.shared.client().await?;
        inventory::names(client, &inventory::databases(client).await?).await
    }

    async fn check(&self) -> Vec<SourceFinding> {
        check::check(&self.shared).await
    }

    async fn open_point(
        &self,
        name: &CollectionName,
        _options: PointOptions,
    ) -> Result<Arc<dyn CollectionPoint>, SourceError> {
        Ok(Arc::new(point::open(&self.shared, name).await?))
    }
}
