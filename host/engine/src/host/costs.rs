//! What backups cost, and noting what vaults hold so that it can be told later.

use super::Host;
use crate::EngineError;
use crate::access::Principal;
use crate::costs::{self, CostQuery, CostReport};

impl Host {
    /// What backups cost that the key is for.
    ///
    /// # Errors
    /// [`EngineError::OutOfScope`] for a filter by what the key is not for, [`EngineError::BadRequest`] for a span of more than
    /// a year, [`EngineError::Catalog`].
    pub async fn costs(&self, who: &Principal, query: CostQuery) -> Result<CostReport, EngineError> {
        self.check_filter(who, query.project_id.as_ref(), query.cluster_id.as_ref()).await?;
        let config = self.inner.config();
        if let Some(region) = query.region_id.as_ref().filter(|region| config.region(region).is_none()) {
            return Err(EngineError::NotFound { what: "region", id: region.to_string() });
        }
        let storage = costs::read_storage(&config, &self.inner.vaults).await;
        let scope = who.scope.clone();
        self.catalog("adding up costs", move |catalog, now| {
            costs::report(&config.project.id, &storage, catalog, (&query, &scope), now)
        })
        .await
    }

    /// Notes what each vault holds today. The host does so by itself, every hour.
    ///
    /// # Errors
    /// [`EngineError::Catalog`].
    pub async fn meter(&self) -> Result<(), EngineError> {
        let storage = costs::read_storage(&self.inner.config(), &self.inner.vaults).await;
        self.catalog("noting what vaults hold", move |catalog, now| costs::note(catalog, &storage, now)).await
    }

    /// [`Host::meter`] beside everything else: a failure is logged, and the next time tries again.
    pub(crate) async fn meter_quietly(&self) {
        if let Err(error) = self.meter().await {
            tracing::warn!(%error, "what the vaults hold was not noted; costs of today may be told too low");
        }
    }
}
