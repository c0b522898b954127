//! A server with collections of every kind, and their backup in memory.

use std::path::{Path, PathBuf};
use std::sync::{Arc, MutexGuard};

use bytes::Bytes;
use longshore_model::{CollectionMapping, CollectionName, Digest, RestoredLoadState};
use longshore_source::milvus::proto::common::LoadState;
use longshore_source::milvus::proto::milvus::{GetLoadStateRequest, ReleaseCollectionRequest};
use longshore_source::{
    CollectionPoint, Committed, MilvusSource, MilvusTarget, MilvusTargetOptions, PointOptions, RestoreTarget,
    RestoreWatch, Source, SourceError, TargetCollection, TargetFile, TargetPlan,
};
use longshore_tests::milvus::{Milvus, in_the_long_form, milvus_judge};

/// The server of these tests, filled with the databases `made` and `made_two`, for a test of the long form; whoever gets it is
/// alone with it.
pub(crate) fn server() -> Option<(&'static Milvus, MutexGuard<'static, ()>)> {
    if in_the_long_form() { server_in_both_forms() } else { None }
}

/// The same for a test that `make test` runs too.
pub(crate) fn server_in_both_forms() -> Option<(&'static Milvus, MutexGuard<'static, ()>)> {
    Milvus::alone(|| {
        let milvus = Milvus::start(&["dataCoord.compaction.enableAutoCompaction=false"])?;
        milvus_judge(&milvus, ["fill", "made", "--rows", "2600"]).ok();
        Some(milvus)
    })
}

pub(crate) fn target(milvus: &Milvus) -> MilvusTarget {
    MilvusTarget::new(milvus.server(), MilvusTargetOptions::default())
}

/// The folder in which restores stage their files.
pub(crate) fn staging(milvus: &Milvus) -> PathBuf {
    milvus.storage.join("longshore-staging")
}

/// What stands in the staging folder.
pub(crate) fn staged(milvus: &Milvus) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(staging(milvus)) else { return Vec::new() };
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

/// A backup held in memory: a plan, and the bytes of each file.
#[derive(Clone)]
pub(crate) struct Held {
    pub(crate) plan: TargetPlan,
    pub(crate) bytes: Vec<Vec<Bytes>>,
    /// As the manifest has them.
    digests: Vec<Vec<Digest>>,
}

/// Backs up collections of a server, from which name to which.
pub(crate) async fn back_up(milvus: &Milvus, names: &[(&str, &str)]) -> Held {
    let source = MilvusSource::new(milvus.server());
    let (mut collections, mut bytes) = (Vec::new(), Vec::new());
    for (from, to) in names {
        let from: CollectionName = from.parse().unwrap();
        let point: Arc<dyn CollectionPoint> = source.open_point(&from, PointOptions::default()).await.unwrap();
        let mut files = Vec::new();
        for (place, file) in point.files().iter().enumerate() {
            files.push(point.read(place, 0, usize::try_from(file.size_bytes).unwrap()).await.unwrap());
        }
        bytes.push(files);
        collections.push(TargetCollection {
            mapping: CollectionMapping { from, to: to.parse().unwrap(), load_state: RestoredLoadState::NotLoaded },
            schema: point.schema().clone(),
            files: point
                .files()
                .iter()
                .map(|file| TargetFile { path: file.path.clone(), class: file.class, size_bytes: file.size_bytes })
                .collect(),
            description: point.description().clone(),
        });
    }
    let databases = source.inventory().await.unwrap().databases;
    let digest_of = |file: &Bytes| Digest::new(*blake3::hash(file).as_bytes());
    let digests = bytes.iter().map(|files: &Vec<Bytes>| files.iter().map(digest_of).collect()).collect();
    Held { plan: TargetPlan { databases, whole_cluster: false, collections, access: None }, bytes, digests }
}

impl Held {
    /// Restores it: what an engine does, without a vault.
    pub(crate) async fn restore(&self, target: &dyn RestoreTarget) -> Result<Committed, SourceError> {
        self.restore_watched(target, &()).await
    }

    pub(crate) async fn restore_watched(
        &self,
        target: &dyn RestoreTarget,
        watch: &dyn RestoreWatch,
    ) -> Result<Committed, SourceError> {
        let run = target.begin(&self.plan, watch).await?;
        let written = async {
            for (collection, files) in self.bytes.iter().enumerate() {
                for (file, bytes) in files.iter().enumerate() {
                    run.write(collection, file, 0, bytes.clone()).await?;
                }
                let restored = run.finish_collection(collection).await?;
                for (file, digest) in restored.file_digests.iter().enumerate() {
                    if *digest != self.digests[collection][file] {
                        let path = self.plan.collections[collection].files[file].path.clone();
                        return Err(SourceError::Damaged { path, reason: "it is not what was backed up".to_owned() });
                    }
                }
            }
            Ok(())
        };
        if let Err(error) = written.await {
            run.abort().await.unwrap();
            return Err(error);
        }
        run.commit(watch).await
    }
}

/// Checks with the judge that a collection is the same as another one, of another server if there is one.
pub(crate) fn same(milvus: &Milvus, one: &str, other: &str, second: Option<&Milvus>) {
    all_same(milvus, &[(one, other)], second);
}

/// The same for several pairs, which costs little more than for one.
pub(crate) fn all_same(milvus: &Milvus, pairs: &[(&str, &str)], second: Option<&Milvus>) {
    let mut arguments = vec!["compare"];
    arguments.extend(pairs.iter().flat_map(|(one, other)| [*one, *other]));
    let address = second.map(Milvus::address);
    arguments.extend(address.iter().flat_map(|address| ["--other", address.as_str()]));
    let ran = milvus_judge(milvus, &arguments);
    assert_eq!(ran.code, 0, "{pairs:?}: {ran:?}");
}

/// Checks with the judge that searches find the same in the second of each pair as in the first, all of one server.
pub(crate) fn all_found(milvus: &Milvus, pairs: &[(&str, &str)]) {
    let names = pairs.iter().flat_map(|(one, other)| [*one, *other]);
    let ran = milvus_judge(milvus, ["search"].into_iter().chain(names));
    assert_eq!(ran.code, 0, "{pairs:?}: {ran:?}");
    let searched = ran.json().as_array().unwrap().iter().filter(|one| one["searches"].as_u64() >= Some(20)).count();
    assert_eq!(searched, pairs.len(), "{ran:?}");
}

/// Whether a collection is held in memory.
pub(crate) async fn load_state(milvus: &Milvus, name: &str) -> LoadState {
    let CollectionName { database, collection } = name.parse().unwrap();
    let request = GetLoadStateRequest { db_name: database, collection_name: collection, ..Default::default() };
    milvus.client().await.call(request).await.unwrap().state()
}

/// Takes a collection out of memory.
pub(crate) async fn release(milvus: &Milvus, name: &str) {
    let CollectionName { database, collection } = name.parse().unwrap();
    let request = ReleaseCollectionRequest { db_name: database, collection_name: collection };
    milvus.client().await.call(request).await.unwrap();
}

/// Names of the collections of a database.
pub(crate) async fn names(milvus: &Milvus, database: &str) -> Vec<String> {
    let source = MilvusSource::new(milvus.server());
    let all = source.collection_names().await.unwrap();
    all.into_iter().filter(|name| name.database == database).map(|name| name.collection).collect()
}

/// A configuration of one or two Milvus clusters.
pub(crate) fn configuration(folder: &Path, clusters: &[&Milvus]) {
    let mut text =
        "data_directory = \"data\"\n[project]\nid = \"proj-test\"\nname = \"Test\"\n[[region]]\nid = \"local-eu\"\n\
         vault = \"regional\"\n"
            .to_owned();
    for (number, milvus) in clusters.iter().enumerate() {
        text += &format!(
            "[[cluster]]\nid = \"in01-milvus{number}\"\nname = \"Milvus-{number}\"\nregion = \"local-eu\"\n\
             [cluster.milvus]\nendpoint = \"http://{}\"\n[cluster.milvus.storage]\nfolder = \"{}\"\n",
            milvus.address(),
            milvus.storage.display()
        );
    }
    std::fs::write(folder.join("longshore.toml"), text).unwrap();
}
