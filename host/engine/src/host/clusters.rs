//! Clusters, projects and regions: what there is.

use longshore_catalog::{BackupFilter, ClusterFilter, ClusterRow, Page as CatalogPage};
use longshore_model::ClusterId;

use super::Host;
use crate::EngineError;
use crate::views::{ClusterView, Page, PageRequest, Principal, ProjectView, RegionView};

impl Host {
    /// Clusters in order of name.
    ///
    /// # Errors
    /// When the page is out of bounds or the catalog cannot be read.
    pub async fn list_clusters(&self, _who: &Principal, page: PageRequest) -> Result<Page<ClusterView>, EngineError> {
        let page = super::page(page);
        self.catalog("listing clusters", move |catalog, _| {
            let listed = catalog.list_clusters(&ClusterFilter::default(), page)?;
            let items = listed.items.into_iter().map(|row| view(catalog, row)).collect::<Result<_, _>>()?;
            Ok(Page { count: listed.count, items })
        })
        .await
    }

    /// One cluster.
    ///
    /// # Errors
    /// [`EngineError::NotFound`], also for one that was dropped.
    pub async fn describe_cluster(&self, _who: &Principal, cluster: &ClusterId) -> Result<ClusterView, EngineError> {
        let row = self.cluster(cluster).await?;
        self.catalog("counting backups", move |catalog, _| view(catalog, row)).await
    }

    /// Unregisters a cluster: no backups of it are made any more, and its automatic backups are deleted. The database
    /// itself is not touched, and backups made by hand stay. Answers how many backups were deleted; what could not be
    /// deleted now goes later, by itself.
    ///
    /// # Errors
    /// [`EngineError::Forbidden`], [`EngineError::NotFound`], [`EngineError::Catalog`] while it has a job that has not
    /// ended.
    pub async fn drop_cluster(&self, who: &Principal, cluster: &ClusterId) -> Result<usize, EngineError> {
        let outcome = async {
            if !who.role.may_manage_project() {
                return Err(super::forbidden(who, "drop a cluster"));
            }
            self.cluster(cluster).await?;
            let id = cluster.clone();
            self.catalog("dropping a cluster", move |catalog, now| Ok(catalog.drop_cluster(&id, now)?)).await
        }
        .await;
        self.audit(who, "cluster.drop", cluster.as_str(), &outcome).await;
        let automatic = outcome?.automatic_backups;
        // From here on it cannot be taken back: what stops half-way is found and finished by the next look.
        let deleted = match self.expire_backups().await {
            Ok(outcome) => outcome.deleted,
            Err(error) => {
                tracing::warn!(%cluster, %error, "backups of a dropped cluster are deleted later");
                Vec::new()
            }
        };
        Ok(automatic.iter().filter(|backup| deleted.contains(backup)).count())
    }

    /// The row of a registered cluster.
    pub(crate) async fn cluster(&self, cluster: &ClusterId) -> Result<ClusterRow, EngineError> {
        let id = cluster.clone();
        let row = self.catalog("reading a cluster", move |catalog, _| Ok(catalog.get_cluster(&id)?)).await?;
        row.filter(|row| row.dropped.is_none())
            .ok_or_else(|| EngineError::NotFound { what: "cluster", id: cluster.to_string() })
    }

    /// All projects.
    ///
    /// # Errors
    /// When the catalog cannot be read.
    pub async fn list_projects(&self, _who: &Principal) -> Result<Vec<ProjectView>, EngineError> {
        self.catalog("listing projects", |catalog, _| {
            let projects = catalog.list_projects()?;
            let one = CatalogPage { size: 1, current: 1 };
            projects
                .into_iter()
                .map(|row| {
                    let filter = ClusterFilter { project: Some(row.id.clone()), ..Default::default() };
                    let cluster_count = catalog.list_clusters(&filter, one)?.count;
                    Ok(ProjectView {
                        project_id: row.id,
                        project_name: row.name,
                        cluster_count,
                        create_time: row.created,
                    })
                })
                .collect()
        })
        .await
    }

    /// The configured regions and what their vaults hold.
    ///
    /// # Errors
    /// None today; a vault that does not answer shows as `None`.
    pub async fn list_regions(&self, _who: &Principal) -> Result<Vec<RegionView>, EngineError> {
        let config = self.inner.config();
        let mut views = Vec::with_capacity(config.regions.len());
        for region in &config.regions {
            let used_bytes = self.inner.vaults.used_bytes(&region.id).await.ok();
            views.push(RegionView { region: region.region(), used_bytes });
        }
        Ok(views)
    }
}

fn view(catalog: &dyn longshore_catalog::Catalog, row: ClusterRow) -> Result<ClusterView, EngineError> {
    let filter = BackupFilter { cluster: Some(row.cluster.id.clone()), ..Default::default() };
    let backup_count = catalog.list_backups(&filter, CatalogPage { size: 1, current: 1 })?.count;
    Ok(ClusterView {
        cluster_id: row.cluster.id,
        cluster_name: row.cluster.name,
        project_id: row.cluster.project,
        region_id: row.cluster.region,
        cu_size: row.cluster.cu_size,
        status: row.cluster.status,
        connect_address: row.cluster.location,
        backup_count,
        create_time: row.created,
    })
}
