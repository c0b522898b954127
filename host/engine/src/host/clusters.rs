//! Clusters, projects and regions: what there is.

use longshore_catalog::{BackupFilter, ClusterFilter, ClusterRow, Page as CatalogPage};
use longshore_model::{ClusterId, KeyScope, ProjectId};

use super::Host;
use crate::EngineError;
use crate::access::{Principal, forbidden};
use crate::views::{ClusterView, Dropped, Page, PageRequest, ProjectView, RegionView};

impl Host {
    /// Clusters that the key is for, in order of name.
    ///
    /// # Errors
    /// When the page is out of bounds or the catalog cannot be read.
    pub async fn list_clusters(&self, who: &Principal, page: PageRequest) -> Result<Page<ClusterView>, EngineError> {
        let (filter, page) = (ClusterFilter { scope: who.scope.clone(), ..Default::default() }, super::page(page));
        self.catalog("listing clusters", move |catalog, _| {
            let listed = catalog.list_clusters(&filter, page)?;
            let items = listed.items.into_iter().map(|row| view(catalog, row)).collect::<Result<_, _>>()?;
            Ok(Page { count: listed.count, items })
        })
        .await
    }

    /// One cluster, also one that a restore is making.
    ///
    /// # Errors
    /// [`EngineError::NotFound`], also for one that was dropped; [`EngineError::OutOfScope`].
    pub async fn describe_cluster(&self, who: &Principal, cluster: &ClusterId) -> Result<ClusterView, EngineError> {
        let row = match self.cluster(who, cluster).await {
            Err(EngineError::NotFound { .. }) => match self.cluster_under_way(who, cluster).await? {
                Some(view) => return Ok(view),
                // A restore that ended in between has registered it.
                None => self.cluster(who, cluster).await?,
            },
            row => row?,
        };
        self.catalog("counting backups", move |catalog, _| view(catalog, row)).await
    }

    /// Unregisters a cluster: no backups of it are made any more, and its automatic backups are deleted, at once or after
    /// the grace of the configuration. The database itself is not touched, and backups made by hand stay. What could not
    /// be deleted now goes later, by itself.
    ///
    /// # Errors
    /// [`EngineError::Forbidden`], [`EngineError::NotFound`], [`EngineError::Catalog`] while it has a job that has not
    /// ended.
    pub async fn drop_cluster(&self, who: &Principal, cluster: &ClusterId) -> Result<Dropped, EngineError> {
        let outcome = async {
            if !who.role.may_manage_project() {
                return Err(forbidden(who, "drop a cluster"));
            }
            self.cluster(who, cluster).await?;
            let id = cluster.clone();
            self.catalog("dropping a cluster", move |catalog, now| Ok(catalog.drop_cluster(&id, now)?)).await
        }
        .await;
        self.audit(who, "cluster.drop", cluster.as_str(), &outcome).await;
        let dropped = outcome?;
        let automatic = dropped.automatic_backups;
        let grace_ms = super::expiry::grace_ms(self.inner.config().dropped_cluster_grace_days);
        let last = dropped.cluster.dropped.map(|time| time.plus_millis(grace_ms));
        if grace_ms > 0 && !automatic.is_empty() {
            return Ok(Dropped { deleted_backups: 0, kept_until: last });
        }
        // From here on it cannot be taken back: what stops half-way is found and finished by the next look.
        let deleted = match self.expire_backups().await {
            Ok(outcome) => outcome.deleted,
            Err(error) => {
                tracing::warn!(%cluster, %error, "backups of a dropped cluster are deleted later");
                Vec::new()
            }
        };
        let deleted_backups = automatic.iter().filter(|backup| deleted.contains(backup)).count();
        Ok(Dropped { deleted_backups, kept_until: None })
    }

    /// The row of a registered cluster, if the key is for it.
    pub(crate) async fn cluster(&self, who: &Principal, cluster: &ClusterId) -> Result<ClusterRow, EngineError> {
        let id = cluster.clone();
        let row = self.catalog("reading a cluster", move |catalog, _| Ok(catalog.get_cluster(&id)?)).await?;
        let row = row
            .filter(|row| row.dropped.is_none())
            .ok_or_else(|| EngineError::NotFound { what: "cluster", id: cluster.to_string() })?;
        who.must_reach(&row.cluster.project, Some(cluster))?;
        Ok(row)
    }

    /// Refuses a filter by a project or cluster that the key is not for. One that does not exist matches nothing.
    pub(crate) async fn check_filter(
        &self,
        who: &Principal,
        project: Option<&ProjectId>,
        cluster: Option<&ClusterId>,
    ) -> Result<(), EngineError> {
        if who.scope == KeyScope::All {
            return Ok(());
        }
        if let Some(project) = project.filter(|project| !who.scope.has_project(project)) {
            // The project of a cluster that the key is for may be named, too.
            let (scope, named) = (who.scope.clone(), Some(project.clone()));
            let filter = ClusterFilter { scope, project: named, include_dropped: true };
            let one = CatalogPage { size: 1, current: 1 };
            let listed = self.catalog("reading a project", move |catalog, _| Ok(catalog.list_clusters(&filter, one)?));
            if listed.await?.count == 0 {
                who.must_reach(project, None)?;
            }
        }
        let Some(cluster) = cluster else { return Ok(()) };
        let id = cluster.clone();
        match self.catalog("reading a cluster", move |catalog, _| Ok(catalog.get_cluster(&id)?)).await? {
            Some(row) => who.must_reach(&row.cluster.project, Some(cluster)),
            None => Ok(()),
        }
    }

    /// Projects that the key is for, whole or in part; clusters are counted as far as it is for them.
    ///
    /// # Errors
    /// When the catalog cannot be read.
    pub async fn list_projects(&self, who: &Principal) -> Result<Vec<ProjectView>, EngineError> {
        let scope = who.scope.clone();
        self.catalog("listing projects", move |catalog, _| {
            let projects = catalog.list_projects()?;
            let one = CatalogPage { size: 1, current: 1 };
            let mut views = Vec::with_capacity(projects.len());
            for row in projects {
                let (scope, project) = (scope.clone(), Some(row.id.clone()));
                let seen = scope.has_project(&row.id);
                let filter = ClusterFilter { scope, project, include_dropped: false };
                let cluster_count = catalog.list_clusters(&filter, one)?.count;
                if seen || cluster_count > 0 {
                    let (project_id, project_name) = (row.id, row.name);
                    views.push(ProjectView { project_id, project_name, cluster_count, create_time: row.created });
                }
            }
            Ok(views)
        })
        .await
    }

    /// One project.
    ///
    /// # Errors
    /// [`EngineError::NotFound`], [`EngineError::OutOfScope`].
    pub async fn describe_project(&self, who: &Principal, project: &ProjectId) -> Result<ProjectView, EngineError> {
        if let Some(view) = self.list_projects(who).await?.into_iter().find(|view| view.project_id == *project) {
            return Ok(view);
        }
        let id = project.clone();
        let row = self.catalog("reading a project", move |catalog, _| Ok(catalog.get_project(&id)?)).await?;
        if row.is_some() {
            who.must_reach(project, None)?;
        }
        Err(EngineError::NotFound { what: "project", id: project.to_string() })
    }

    /// The configured regions and what their vaults hold; that only for a key that is for the whole project.
    ///
    /// # Errors
    /// None today; a vault that does not answer shows as `None`.
    pub async fn list_regions(&self, who: &Principal) -> Result<Vec<RegionView>, EngineError> {
        let config = self.inner.config();
        let mut views = Vec::with_capacity(config.regions.len());
        for region in &config.regions {
            let seen = who.scope.has_project(&config.project.id);
            let used_bytes = if seen { self.inner.vaults.used_bytes(&region.id).await.ok() } else { None };
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
        create_percent: if row.cluster.status == "RUNNING" { 100 } else { 0 },
        status: row.cluster.status,
        connect_address: row.cluster.location,
        backup_count,
        create_time: row.created,
    })
}
