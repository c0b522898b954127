//! What a backup asks of earlier ones: as little as answers, and the newest, whatever a copied vault says about times.

use std::sync::Arc;

use longshore_engine::{
    BackupRequest, ClusterTarget, Limits, RegionVaults, RunContext, RunPolicy, plan_backup, run_backup,
};
use longshore_model::{BackupId, FixedClock, Timestamp};
use longshore_vault::testing::{Event, Operation, RecordingStore};
use longshore_vault::{Vault, VaultOptions};
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};

use crate::support::{Counting, copy, root, sample};

struct Story {
    memory: Arc<InMemory>,
    record: RecordingStore,
    vaults: RegionVaults,
    policy: RunPolicy,
    folder: tempfile::TempDir,
}

impl Story {
    async fn begin() -> Self {
        let memory = Arc::new(InMemory::new());
        let record = RecordingStore::new(Arc::clone(&memory) as Arc<dyn ObjectStore>);
        let options = VaultOptions::random("proj-local".parse().unwrap(), "local".parse().unwrap(), None).unwrap();
        let vault = Vault::init(record.store(), options).await.unwrap();
        let policy = RunPolicy::standard(&vault).unwrap();
        let folder = tempfile::tempdir().unwrap();
        sample(folder.path());
        Self { memory, record, vaults: RegionVaults::of([vault]).unwrap(), policy, folder }
    }

    /// Makes a backup at this time: its id, the newest backup of each collection as policies were told before, and how
    /// many parts of earlier ones were read to plan it.
    async fn back_up_at(&self, now: Timestamp) -> (BackupId, Vec<Option<BackupId>>, usize) {
        let database = self.folder.path().join("sample.db");
        let source = Counting::open(&database);
        let context = RunContext { clock: Arc::new(FixedClock(now)), ..RunContext::new(Limits::default()) };
        let cluster = ClusterTarget::for_directory(&database, "local".parse().unwrap()).unwrap();
        let request = BackupRequest::manual(cluster, Vec::new(), &context).unwrap();
        self.record.clear();
        let plan = plan_backup(request, &source, &self.policy, &self.vaults, &context).await.unwrap();
        let last = plan.collections.iter().map(|one| one.facts.last_backup.as_ref().map(|last| last.backup_id.clone()));
        let last = last.collect();
        let parts_read = self.parts_read();
        let outcome = run_backup(plan, &source, &self.vaults, &context).await.unwrap();
        (outcome.backup_id, last, parts_read)
    }

    /// Parts that were read.
    fn parts_read(&self) -> usize {
        let is_part = |event: &&Event| matches!(event, Event::Began(Operation::Get, key) if key.starts_with("parts/"));
        self.record.events().iter().filter(is_part).count()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_earlier_backups_only_the_newest_is_read() {
    let story = Story::begin().await;
    let now = Timestamp::from_millis(now_ms());
    let mut newest = None;
    for number in 0..5 {
        let (id, last, parts_read) = story.back_up_at(now.plus_millis(number)).await;
        assert!(last.iter().all(|known| *known == newest), "backup {number}: {last:?}");
        assert_eq!(parts_read, usize::from(number > 0), "backup {number}");
        newest = Some(id);
    }
}

fn now_ms() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    i64::try_from(since.as_millis()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_collection_has_older_backups_looked_at_and_the_others_keep_their_newest() {
    let story = Story::begin().await;
    let now = Timestamp::from_millis(now_ms());
    story.back_up_at(now).await;
    let (second, ..) = story.back_up_at(now.plus_millis(1)).await;
    let collections = story.folder.path().join("sample.db/collections");
    copy(&root().join("examples/sample-cluster/collections/medium_articles"), &collections.join("one_more"));
    let schema = std::fs::read_to_string(collections.join("one_more/schema.json")).unwrap();
    std::fs::write(collections.join("one_more/schema.json"), schema.replace("medium_articles", "one_more")).unwrap();
    let (_, last, parts_read) = story.back_up_at(now.plus_millis(2)).await;
    assert_eq!(last.iter().filter(|known| known.is_none()).count(), 1);
    assert!(last.iter().flatten().all(|known| *known == second), "{last:?}");
    assert_eq!(parts_read, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_newest_backup_of_a_copied_vault_is_found_by_what_backups_say_themselves() {
    let story = Story::begin().await;
    let long_ago = Timestamp::from_millis(now_ms() - 100 * 86_400_000);
    let (first, ..) = story.back_up_at(long_ago).await;
    let (second, ..) = story.back_up_at(long_ago.plus_millis(86_400_000)).await;
    // As a copy of files would leave it: the oldest was written last.
    for manifest in story.memory.list_with_delimiter(Some(&Path::from(format!("roots/{first}")))).await.unwrap().objects
    {
        let bytes = story.memory.get(&manifest.location).await.unwrap().bytes().await.unwrap();
        story.memory.put(&manifest.location, bytes.into()).await.unwrap();
    }
    let (_, last, _) = story.back_up_at(long_ago.plus_millis(2 * 86_400_000)).await;
    assert!(last.iter().all(|known| known.as_ref() == Some(&second)), "{last:?}");
}
