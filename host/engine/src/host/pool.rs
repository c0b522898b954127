//! Empty servers that wait in the configuration: which one a restored cluster gets.
//!
//! Contract: the smallest server of the right kind and region that is large enough, that no registered cluster and no restore
//! under way has, and that is empty when it is looked at. It is taken by the job that is accepted with its location, so that
//! there is nothing to give back when a job fails.

use std::collections::BTreeSet;

use longshore_model::RegionId;

use super::Host;
use crate::EngineError;
use crate::config::PoolServer;

/// The servers that may do, best first.
fn candidates<'a>(
    pool: &'a [PoolServer],
    taken: &BTreeSet<String>,
    (kind, region, cu_size): (&str, &RegionId, u32),
) -> Vec<&'a PoolServer> {
    let fits = |server: &&PoolServer| {
        server.kind == kind
            && server.region == *region
            && server.cu_size >= cu_size
            && !taken.contains(&server.location)
    };
    let mut servers: Vec<&PoolServer> = pool.iter().filter(fits).collect();
    servers.sort_by(|one, other| (one.cu_size, &one.name).cmp(&(other.cu_size, &other.name)));
    servers
}

impl Host {
    /// Where a cluster of this kind, region and size can be restored.
    ///
    /// # Errors
    /// [`EngineError::NoFreeServer`].
    pub(super) async fn free_server(
        &self,
        taken: &BTreeSet<String>,
        (kind, region, cu_size): (&str, &RegionId, u32),
    ) -> Result<String, EngineError> {
        let config = self.inner.config();
        let mut why = Vec::new();
        for server in candidates(&config.server_pool, taken, (kind, region, cu_size)) {
            let looked = match self.inner.clusters.source(kind, &server.location) {
                Ok(source) => source.collection_names().await.map_err(EngineError::from),
                Err(error) => Err(error),
            };
            match looked {
                Ok(names) if names.is_empty() => return Ok(server.location.clone()),
                Ok(names) => why.push(format!("`{}` holds {} collections", server.name, names.len())),
                Err(error) => {
                    why.push(format!("`{}` cannot be read: {}", server.name, crate::worker::sentence(&error)))
                }
            }
        }
        let mut what = format!(
            "no empty server of kind {kind} with at least {cu_size} CU waits in region {region}; add one as [[server_pool]]"
        );
        if !why.is_empty() {
            what.push_str(&format!(" ({})", why.join("; ")));
        }
        Err(EngineError::NoFreeServer { what })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn server(name: &str, kind: &str, region: &str, cu_size: u32) -> PoolServer {
        let location = format!("http://{name}");
        PoolServer {
            name: name.to_owned(),
            kind: kind.to_owned(),
            region: region.parse().unwrap(),
            location,
            cu_size,
            milvus: None,
        }
    }

    #[test]
    fn the_smallest_free_server_that_is_large_enough_comes_first() {
        let pool = [
            server("large", "milvus", "eu", 16),
            server("b", "milvus", "eu", 4),
            server("a", "milvus", "eu", 4),
            server("small", "milvus", "eu", 2),
            server("far", "milvus", "us", 4),
            server("other", "milvus-next", "eu", 4),
        ];
        let eu = "eu".parse().unwrap();
        let names = |taken: &[&str], cu_size| {
            let taken = taken.iter().map(|name| format!("http://{name}")).collect();
            let found = candidates(&pool, &taken, ("milvus", &eu, cu_size));
            found.iter().map(|server| server.name.clone()).collect::<Vec<_>>()
        };
        assert_eq!(names(&[], 3), ["a", "b", "large"]);
        assert_eq!(names(&["a"], 4), ["b", "large"]);
        assert_eq!(names(&["large"], 16), Vec::<String>::new());
    }
}
