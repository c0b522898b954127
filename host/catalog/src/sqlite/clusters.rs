//! Projects and clusters.

use longshore_model::{BackupId, ClusterId, ProjectId, Timestamp};
use rusqlite::{Connection, Row, params};

use super::convert::{Where, bounded, limit_offset, parsed, plain, time, time_option, unsigned};
use super::fail::Fail;
use crate::{CatalogError, ClusterFilter, ClusterRow, DroppedCluster, Limits, Listed, NewCluster, Page, ProjectRow};

const CLUSTER_COLUMNS: &str = "id, project_id, name, region_id, source_kind, location, cu_size, status, created_ms, \
                               dropped_ms, backup_counter";

fn project_row(row: &Row<'_>) -> Result<ProjectRow, Fail> {
    Ok(ProjectRow { id: parsed(row, "id")?, name: plain(row, "name")?, created: time(row, "created_ms")? })
}

fn cluster_row(row: &Row<'_>) -> Result<ClusterRow, Fail> {
    let cluster = NewCluster {
        id: parsed(row, "id")?,
        name: plain(row, "name")?,
        project: parsed(row, "project_id")?,
        region: parsed(row, "region_id")?,
        source_kind: plain(row, "source_kind")?,
        location: plain(row, "location")?,
        cu_size: unsigned(row, "cu_size")?,
        status: plain(row, "status")?,
    };
    Ok(ClusterRow {
        cluster,
        created: time(row, "created_ms")?,
        dropped: time_option(row, "dropped_ms")?,
        backup_counter: unsigned(row, "backup_counter")?,
    })
}

pub(super) fn put_project(
    connection: &Connection,
    limits: &Limits,
    id: &ProjectId,
    name: &str,
    now: Timestamp,
) -> Result<ProjectRow, Fail> {
    bounded("the name of a project", name, limits.text_bytes)?;
    connection
        .prepare_cached(
            "INSERT INTO projects (id, name, created_ms) VALUES (?1, ?2, ?3) \
             ON CONFLICT (id) DO UPDATE SET name = excluded.name",
        )?
        .execute(params![id.as_str(), name, now.as_millis()])?;
    existing_project(connection, id)
}

pub(super) fn project(connection: &Connection, id: &ProjectId) -> Result<Option<ProjectRow>, Fail> {
    let mut statement = connection.prepare_cached("SELECT id, name, created_ms FROM projects WHERE id = ?1")?;
    let mut rows = statement.query([id.as_str()])?;
    rows.next()?.map(project_row).transpose()
}

/// The project, or the error that there is none.
pub(super) fn existing_project(connection: &Connection, id: &ProjectId) -> Result<ProjectRow, Fail> {
    Ok(project(connection, id)?.ok_or_else(|| CatalogError::ProjectNotFound { project: id.clone() })?)
}

pub(super) fn projects(connection: &Connection) -> Result<Vec<ProjectRow>, Fail> {
    let mut statement = connection.prepare_cached("SELECT id, name, created_ms FROM projects ORDER BY id")?;
    let mut rows = statement.query([])?;
    let mut projects = Vec::new();
    while let Some(row) = rows.next()? {
        projects.push(project_row(row)?);
    }
    Ok(projects)
}

pub(super) fn put(
    connection: &Connection,
    limits: &Limits,
    cluster: &NewCluster,
    now: Timestamp,
) -> Result<ClusterRow, Fail> {
    existing_project(connection, &cluster.project)?;
    let texts = [
        ("the name of a cluster", &cluster.name),
        ("the source kind of a cluster", &cluster.source_kind),
        ("the location of a cluster", &cluster.location),
        ("the status of a cluster", &cluster.status),
    ];
    for (what, text) in texts {
        bounded(what, text, limits.text_bytes)?;
    }
    connection
        .prepare_cached(
            "INSERT INTO clusters (id, project_id, name, region_id, source_kind, location, cu_size, status, created_ms) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9) \
             ON CONFLICT (id) DO UPDATE SET project_id = excluded.project_id, name = excluded.name, \
             region_id = excluded.region_id, source_kind = excluded.source_kind, location = excluded.location, \
             cu_size = excluded.cu_size, status = excluded.status, dropped_ms = NULL",
        )?
        .execute(params![
            cluster.id.as_str(),
            cluster.project.as_str(),
            cluster.name,
            cluster.region.as_str(),
            cluster.source_kind,
            cluster.location,
            cluster.cu_size,
            cluster.status,
            now.as_millis(),
        ])?;
    existing(connection, &cluster.id)
}

pub(super) fn get(connection: &Connection, id: &ClusterId) -> Result<Option<ClusterRow>, Fail> {
    let sql = format!("SELECT {CLUSTER_COLUMNS} FROM clusters WHERE id = ?1");
    let mut statement = connection.prepare_cached(&sql)?;
    let mut rows = statement.query([id.as_str()])?;
    rows.next()?.map(cluster_row).transpose()
}

fn existing(connection: &Connection, id: &ClusterId) -> Result<ClusterRow, Fail> {
    Ok(get(connection, id)?.ok_or_else(|| CatalogError::ClusterNotFound { cluster: id.clone() })?)
}

/// The cluster if it is registered and not dropped.
pub(super) fn registered(connection: &Connection, id: &ClusterId) -> Result<ClusterRow, Fail> {
    let cluster = existing(connection, id)?;
    if cluster.dropped.is_some() {
        return Err(CatalogError::ClusterNotFound { cluster: id.clone() }.into());
    }
    Ok(cluster)
}

pub(super) fn list(
    connection: &Connection,
    limits: &Limits,
    filter: &ClusterFilter,
    page: Page,
) -> Result<Listed<ClusterRow>, Fail> {
    let (limit, offset) = limit_offset(page, limits)?;
    let mut conditions = Where::default();
    conditions.within(&filter.scope, |projects, clusters| format!("project_id IN ({projects}) OR id IN ({clusters})"));
    conditions.compare("project_id =", filter.project.as_ref().map(|id| id.as_str().to_owned()));
    if !filter.include_dropped {
        conditions.always("dropped_ms IS NULL");
    }
    let clause = conditions.clause();
    let parameters = || rusqlite::params_from_iter(conditions.parameters());
    let count: i64 = connection
        .prepare_cached(&format!("SELECT count(*) FROM clusters{clause}"))?
        .query_row(parameters(), |row| row.get(0))?;
    let sql = format!("SELECT {CLUSTER_COLUMNS} FROM clusters{clause} ORDER BY name, id LIMIT {limit} OFFSET {offset}");
    let mut statement = connection.prepare_cached(&sql)?;
    let mut rows = statement.query(parameters())?;
    let mut items = Vec::new();
    while let Some(row) = rows.next()? {
        items.push(cluster_row(row)?);
    }
    Ok(Listed { count: count.unsigned_abs(), items })
}

pub(super) fn unregister(connection: &Connection, id: &ClusterId, now: Timestamp) -> Result<DroppedCluster, Fail> {
    registered(connection, id)?;
    if let Some(job) = super::jobs::active_of_cluster(connection, id)? {
        return Err(CatalogError::ClusterBusy { cluster: id.clone(), job }.into());
    }
    connection
        .prepare_cached("UPDATE clusters SET dropped_ms = ?2 WHERE id = ?1")?
        .execute(params![id.as_str(), now.as_millis()])?;
    super::schedules::reset(connection, id, now)?;
    let mut statement = connection.prepare_cached(
        "SELECT id FROM backups WHERE cluster_id = ?1 AND creation_method = 'AUTO' AND status <> 'DELETED' \
         ORDER BY created_ms, id",
    )?;
    let mut rows = statement.query([id.as_str()])?;
    let mut automatic_backups: Vec<BackupId> = Vec::new();
    while let Some(row) = rows.next()? {
        automatic_backups.push(parsed(row, "id")?);
    }
    Ok(DroppedCluster { cluster: existing(connection, id)?, automatic_backups })
}

/// Takes the next number for the name of a backup of a cluster.
pub(super) fn next_backup_number(connection: &Connection, id: &ClusterId) -> Result<u64, Fail> {
    let number: i64 = connection
        .prepare_cached(
            "UPDATE clusters SET backup_counter = backup_counter + 1 WHERE id = ?1 RETURNING backup_counter",
        )?
        .query_row([id.as_str()], |row| row.get(0))?;
    Ok(number.unsigned_abs())
}

/// Makes sure that `number` is not given to a backup of this cluster again.
pub(super) fn skip_backup_number(connection: &Connection, id: &ClusterId, number: i64) -> Result<(), Fail> {
    connection
        .prepare_cached("UPDATE clusters SET backup_counter = max(backup_counter, ?2) WHERE id = ?1")?
        .execute(params![id.as_str(), number])?;
    Ok(())
}
