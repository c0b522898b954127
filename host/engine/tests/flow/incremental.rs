//! Which files a second backup reads, and that it restores exactly what was there whatever happened in between.

use std::path::{Path, PathBuf};

use longshore_engine::{BackupOutcome, Limits};

use crate::support::{Counting, Place, copy, sample, tree};

const DATA: &str = "collections/medium_articles/partitions/library/data/data_000376_000562.parquet";

/// A database with one backup of it, and a place for restored ones.
struct Story {
    place: Place,
    folder: tempfile::TempDir,
    database: PathBuf,
}

impl Story {
    async fn begin() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let database = sample(folder.path());
        let story = Self { place: Place::new().await, folder, database };
        let (first, source) = story.back_up().await;
        assert_eq!(first.reused_bytes, 0);
        assert!(source.read_of(".parquet") > 1_000_000);
        story
    }

    fn path(&self, file: &str) -> PathBuf {
        self.database.join(file)
    }

    async fn back_up(&self) -> (BackupOutcome, Counting) {
        let source = Counting::open(&self.database);
        let outcome = self.place.back_up(&self.database, &source, Limits::default()).await.unwrap();
        self.check(&outcome).await;
        (outcome, source)
    }

    /// What comes out is what is there now, but for what a backup leaves out.
    async fn check(&self, outcome: &BackupOutcome) {
        let restored = self.folder.path().join(format!("restored-{}.db", outcome.backup_id));
        self.place.restore(&outcome.backup_id, &restored).await;
        let names = |path: &str| path.ends_with("aliases.json") || path.ends_with("database_properties.json");
        // Time to live is left out of every backup.
        let adapted = "collections/recent_searches/schema.json";
        let left_out =
            |path: &str| path == "LOCK" || path.ends_with(".idx") || path.ends_with(".prev") || path == adapted;
        let (mut wanted, mut found) = (tree(&self.database), tree(&restored));
        for files in [&mut wanted, &mut found] {
            files.retain(|path, _| !left_out(path) && !names(path) && path.contains("collections/"));
        }
        assert_eq!(found.keys().collect::<Vec<_>>(), wanted.keys().collect::<Vec<_>>());
        assert!(found == wanted, "some file differs");
    }
}

/// Gives a file the modification time of another.
fn same_time(from: &Path, to: &Path) {
    let status = std::process::Command::new("touch").arg("-r").arg(from).arg(to).status().unwrap();
    assert!(status.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn of_an_unchanged_database_nothing_but_logs_is_read() {
    let story = Story::begin().await;
    let (second, source) = story.back_up().await;
    let read = source.read.lock().unwrap().clone();
    assert!(read.keys().all(|(_, path)| path.starts_with("wal/")), "{read:?}");
    assert_eq!(second.stored_bytes, 0);
    assert_eq!(second.reused_bytes + second.deduplicated_bytes, second.size_bytes);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collection_that_was_dropped_and_made_again_with_the_same_rows_is_read_again() {
    let story = Story::begin().await;
    let (collection, kept) = (story.path("collections/medium_articles"), story.folder.path().join("kept"));
    copy(&collection, &kept);
    std::fs::remove_dir_all(&collection).unwrap();
    copy(&kept, &collection);
    let (second, source) = story.back_up().await;
    let read = source.read.lock().unwrap().clone();
    assert!(read.keys().any(|(name, path)| name == "default.medium_articles" && path.ends_with(".parquet")));
    assert!(!read.keys().any(|(name, path)| name != "default.medium_articles" && path.ends_with(".parquet")));
    assert_eq!(second.stored_bytes, 0, "but all of it is found by content");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_replaced_by_one_of_the_same_size_and_time_is_read() {
    let story = Story::begin().await;
    let (path, reference) = (story.path(DATA), story.folder.path().join("reference"));
    std::fs::write(&reference, "").unwrap();
    same_time(&path, &reference);
    // Another file of the same length under the same name: some bytes in the middle, where rows are.
    let mut bytes = std::fs::read(&path).unwrap();
    let original = bytes.clone();
    let other = story.path("collections/medium_articles/partitions/library/data/replaced");
    bytes[200] ^= 1;
    std::fs::write(&other, &bytes).unwrap();
    std::fs::rename(&other, &path).unwrap();
    same_time(&reference, &path);
    let source = Counting::open(&story.database);
    // Live rows may not be countable in a file with a changed byte; what matters is that it was looked at.
    let _ = story.place.back_up(&story.database, &source, Limits::default()).await;
    assert!(source.read_of("data_000376_000562.parquet") >= bytes.len() as u64);
    // The same in place: size, time and inode are the same, only the time of change tells.
    std::fs::write(&path, &original).unwrap();
    same_time(&reference, &path);
    let (_, source) = story.back_up().await;
    assert!(source.read_of("data_000376_000562.parquet") >= original.len() as u64);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_older_directory_put_over_the_database_is_backed_up_as_it_is() {
    let story = Story::begin().await;
    let kept = story.folder.path().join("older");
    let copied = std::process::Command::new("cp").arg("-a").arg(&story.database).arg(&kept).status().unwrap();
    assert!(copied.success());
    // Something goes, something changes, a backup sees it; then the older state comes back with its old times.
    std::fs::remove_dir_all(story.path("collections/recent_searches")).unwrap();
    let (second, _) = story.back_up().await;
    assert_eq!(second.collections.len(), 4);
    std::fs::remove_dir_all(&story.database).unwrap();
    let copied = std::process::Command::new("cp").arg("-a").arg(&kept).arg(&story.database).status().unwrap();
    assert!(copied.success());
    let (third, source) = story.back_up().await;
    assert_eq!(third.collections.len(), 5);
    assert!(source.read_of(".parquet") > 1_000_000, "other inodes: read again");
    assert_eq!(third.stored_bytes, 0, "and found by content");
}

#[tokio::test(flavor = "multi_thread")]
async fn truncated_and_compacted_collections_are_backed_up_as_they_are() {
    let story = Story::begin().await;
    // As a truncate leaves it: the manifest of before is gone, and with it what it named.
    let searches = story.path("databases/handbook/collections/postgres_commands");
    let emptied = story.path("collections/recent_searches");
    std::fs::remove_dir_all(&searches).unwrap();
    copy(&emptied, &searches);
    let schema = searches.join("schema.json");
    let text = std::fs::read_to_string(&schema).unwrap().replace("recent_searches", "postgres_commands");
    std::fs::write(&schema, text).unwrap();
    // As a compaction leaves it: the same rows in a file of another name, and the manifest names that one.
    let compacted = DATA.replace("data_000376_000562", "data_000376_000563");
    std::fs::rename(story.path(DATA), story.path(&compacted)).unwrap();
    let manifest = story.path("collections/medium_articles/manifest.json");
    let text = std::fs::read_to_string(&manifest).unwrap();
    assert!(text.contains("data_000376_000562"));
    std::fs::write(&manifest, text.replace("data_000376_000562", "data_000376_000563")).unwrap();
    let source = Counting::open(&story.database);
    let outcome = story.place.back_up(&story.database, &source, Limits::default()).await.unwrap();
    assert!(source.read_of("data_000376_000563.parquet") > 0, "a renamed file is another file");
    assert!(source.read_of("postgres_commands") == 0);
    let restored = story.folder.path().join("after.db");
    story.place.restore(&outcome.backup_id, &restored).await;
    let (found, wanted) = (tree(&restored), tree(&story.database));
    for path in [compacted.as_str(), "collections/medium_articles/manifest.json"] {
        assert!(found[path] == wanted[path], "{path}");
    }
    assert!(!found.contains_key(DATA));
    let commands: Vec<_> = found.keys().filter(|path| path.contains("postgres_commands")).collect();
    assert!(commands.iter().all(|path| !path.ends_with(".parquet")), "{commands:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hard_link_to_a_known_file_is_another_file() {
    let story = Story::begin().await;
    let path = story.path(DATA);
    // Linking changes the time of change of the one inode both names have.
    let link = story.folder.path().join("link.parquet");
    std::fs::hard_link(&path, &link).unwrap();
    let (second, source) = story.back_up().await;
    assert!(source.read_of("data_000376_000562.parquet") > 0);
    assert_eq!(second.stored_bytes, 0);
    // The link takes the place of the original: the same inode under the same name.
    std::fs::rename(&link, &path).unwrap();
    let (third, _) = story.back_up().await;
    assert_eq!(third.stored_bytes, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_jumps_makes_more_be_read_never_less() {
    let story = Story::begin().await;
    for (now_ms, all) in [(0, true), (i64::MIN / 2, true), (i64::MAX, false)] {
        // In the past every file seems to come from the future: none is old enough for an identity.
        let source = Counting::at(&story.database, now_ms);
        let outcome = story.place.back_up(&story.database, &source, Limits::default()).await.unwrap();
        assert_eq!(source.read_of(".parquet") > 1_000_000, all, "at {now_ms}");
        assert_eq!(outcome.stored_bytes, 0);
        story.check(&outcome).await;
    }
}
