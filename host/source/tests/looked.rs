//! What an inventory saw is used a moment later only while it is still so, and files that are stored are not held.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use common::{read_all, sample};
use longshore_model::{CollectionName, FileClass, FixedClock, Timestamp};
use longshore_source::{
    CollectionPoint, FileIdentity, KnownFile, KnownFiles, Limits, MilvusLiteSource, PointOptions, PointState, Source,
    SourceError,
};

const ARTICLES: &str = "collections/medium_articles";

/// Says of every file that it is stored.
struct AllStored;

impl KnownFiles for AllStored {
    fn look_up(&self, _collection: &CollectionName, _file: &FileIdentity) -> KnownFile {
        KnownFile { rows: Some(7), is_stored: true }
    }
}

struct Story {
    database: PathBuf,
    source: MilvusLiteSource,
    _folder: tempfile::TempDir,
}

impl Story {
    /// A cluster whose files are all old enough for an identity, after an inventory.
    async fn seen(known: Arc<dyn KnownFiles>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let database = sample(folder.path());
        let clock = Arc::new(FixedClock(Timestamp::from_millis(i64::MAX)));
        let source = MilvusLiteSource::open_with(&database, Limits::DEFAULT, clock).unwrap();
        source.inventory_knowing(known).await.unwrap();
        Self { database, source, _folder: folder }
    }

    async fn open(&self, hold_all_files: bool) -> Arc<dyn CollectionPoint> {
        let options = PointOptions { hold_all_files, ..PointOptions::default() };
        self.source.open_point(&"medium_articles".parse().unwrap(), options).await.unwrap()
    }

    /// Puts another file in the place of one, as Milvus Lite does.
    fn replace(&self, name: &str, change: impl Fn(String) -> String) {
        let place = self.database.join(ARTICLES).join(name);
        let text = change(std::fs::read_to_string(&place).unwrap());
        let staged = place.with_extension("new");
        std::fs::write(&staged, text).unwrap();
        std::fs::rename(&staged, &place).unwrap();
    }
}

fn segments(point: &dyn CollectionPoint) -> Vec<usize> {
    let files = point.files().iter().enumerate();
    files.filter(|(_, file)| file.class == FileClass::Segment).map(|(place, _)| place).collect()
}

fn on_disk(database: &Path, point: &dyn CollectionPoint, place: usize) -> PathBuf {
    database.join(ARTICLES).join(&point.files()[place].path)
}

#[tokio::test]
async fn stored_files_are_not_held_and_can_be_read_as_long_as_they_are_there() {
    let story = Story::seen(Arc::new(AllStored)).await;
    let (few, all) = (story.open(false).await, story.open(true).await);
    assert!(!few.holds_all_files() && all.holds_all_files());
    assert!(few.descriptors() < all.descriptors());
    assert_eq!(few.files().len(), all.files().len());
    let segments = segments(few.as_ref());
    let (first, second) = (segments[0], segments[1]);
    let bytes = std::fs::read(on_disk(&story.database, few.as_ref(), first)).unwrap();
    assert!(read_all(few.as_ref(), first).await.unwrap() == bytes);
    std::fs::remove_file(on_disk(&story.database, few.as_ref(), first)).unwrap();
    assert!(read_all(few.as_ref(), first).await.unwrap() == bytes, "once opened it is held");
    let path = on_disk(&story.database, few.as_ref(), second);
    let held = read_all(all.as_ref(), second).await.unwrap();
    std::fs::remove_file(&path).unwrap();
    let gone = read_all(few.as_ref(), second).await.unwrap_err();
    assert!(matches!(&gone, SourceError::FileChanged { .. }), "{gone}");
    std::fs::write(&path, &held).unwrap();
    let other = read_all(few.as_ref(), second).await.unwrap_err();
    assert!(matches!(&other, SourceError::FileChanged { .. }), "the same bytes in another file: {other}");
    assert!(read_all(all.as_ref(), second).await.unwrap() == held);
}

#[tokio::test]
async fn files_that_nobody_stored_are_opened_when_they_are_read_and_are_then_what_the_inventory_saw() {
    let story = Story::seen(Arc::new(())).await;
    let (few, all) = (story.open(false).await, story.open(true).await);
    assert!(!few.holds_all_files() && all.holds_all_files());
    assert!(few.descriptors() < all.descriptors());
    assert_eq!(few.physical_rows(), all.physical_rows());
    assert_eq!(few.live_rows(1 << 20).await.unwrap(), all.live_rows(1 << 20).await.unwrap());
    assert!(few.holds_all_files(), "each was opened to count its rows");
    let again = story.open(false).await;
    let path = on_disk(&story.database, again.as_ref(), segments(again.as_ref())[0]);
    let bytes = std::fs::read(&path).unwrap();
    std::fs::remove_file(&path).unwrap();
    std::fs::write(&path, &bytes).unwrap();
    let counted = again.live_rows(1 << 20).await.unwrap_err();
    assert!(matches!(&counted, SourceError::FileChanged { .. }), "the same bytes in another file: {counted}");
}

#[tokio::test]
async fn files_that_were_too_young_to_be_told_apart_are_held() {
    let folder = tempfile::tempdir().unwrap();
    let database = sample(folder.path());
    let articles = database.join(ARTICLES);
    let changed_ms = |path: &Path| {
        let metadata = std::fs::metadata(path).unwrap();
        metadata.ctime() * 1_000 + metadata.ctime_nsec() / 1_000_000
    };
    let described_ms = ["schema.json", "manifest.json"].map(|name| changed_ms(&articles.join(name)));
    let described_ms = described_ms.into_iter().max().unwrap();
    let young = std::fs::read_dir(articles.join("partitions/_default/data")).unwrap().next().unwrap().unwrap().path();
    // As long as it takes until the clock of the file system has moved on.
    while changed_ms(&young) <= described_ms {
        std::fs::set_permissions(&young, std::fs::metadata(&young).unwrap().permissions()).unwrap();
    }
    // The descriptions have just become old enough, the file has not.
    let now = described_ms + Limits::DEFAULT.identity_age_ms;
    let clock = Arc::new(FixedClock(Timestamp::from_millis(now)));
    let source = MilvusLiteSource::open_with(&database, Limits::DEFAULT, clock).unwrap();
    source.inventory_knowing(Arc::new(())).await.unwrap();
    let point = source.open_point(&"medium_articles".parse().unwrap(), PointOptions::default()).await.unwrap();
    assert!(!point.holds_all_files(), "the others are old enough");
    let bytes = std::fs::read(&young).unwrap();
    std::fs::remove_file(&young).unwrap();
    let is_young = |file: &longshore_source::PointFile| young.ends_with(&file.path);
    let place = point.files().iter().position(is_young).unwrap();
    assert!(read_all(point.as_ref(), place).await.unwrap() == bytes, "it was held");
}

#[tokio::test]
async fn rows_are_counted_out_of_bytes_that_are_read_anyway() {
    let story = Story::seen(Arc::new(())).await;
    let point = story.open(true).await;
    let expected = point.live_rows(1 << 20).await.unwrap();
    assert_eq!(expected, Some(1_476));
    // However many of the files are handed in, and in whatever order, some of them twice.
    for handed_in in 0..=point.files().len() {
        let counting = point.counting(1 << 20).unwrap();
        for place in (0..handed_in).rev().chain(0..handed_in.min(3)) {
            let bytes = read_all(point.as_ref(), place).await.unwrap().into();
            counting.add(place, &bytes).unwrap();
        }
        assert!(!counting.needs_no_reading(), "there is a log, too");
        assert_eq!(counting.finish().unwrap(), expected, "{handed_in}");
    }
    let counting = point.counting(1 << 20).unwrap();
    let first = segments(point.as_ref())[0];
    let bytes: bytes::Bytes = read_all(point.as_ref(), first).await.unwrap().into();
    let short = counting.add(first, &bytes.slice(1..)).unwrap_err();
    assert!(matches!(short, SourceError::FileChanged { .. }), "{short}");
    let noise = counting.add(first, &vec![7; bytes.len()].into()).unwrap_err();
    assert!(matches!(noise, SourceError::Damaged { .. }), "{noise}");
    assert_eq!(counting.finish().unwrap(), expected, "what could not be added is read");
    let small = point.counting(1_000).unwrap();
    small.add(first, &bytes).unwrap();
    assert_eq!(small.finish().unwrap(), None, "too little memory");
}

#[tokio::test]
async fn a_collection_without_a_log_is_counted_without_reading() {
    let folder = tempfile::tempdir().unwrap();
    let database = sample(folder.path());
    std::fs::remove_dir_all(database.join(ARTICLES).join("wal")).unwrap();
    std::fs::create_dir(database.join(ARTICLES).join("wal")).unwrap();
    let source = MilvusLiteSource::open(&database).unwrap();
    let point = source.open_point(&"medium_articles".parse().unwrap(), PointOptions::default()).await.unwrap();
    let counting = point.counting(1 << 20).unwrap();
    for place in 0..point.files().len() {
        assert!(place == 0 || place > segments(point.as_ref())[0] || !counting.needs_no_reading());
        counting.add(place, &read_all(point.as_ref(), place).await.unwrap().into()).unwrap();
    }
    assert!(counting.needs_no_reading());
    assert_eq!(counting.finish().unwrap(), point.live_rows(1 << 20).await.unwrap());
}

#[tokio::test]
async fn what_changed_after_the_inventory_is_read_anew() {
    let story = Story::seen(Arc::new(AllStored)).await;
    let before = story.open(false).await;
    story.replace("schema.json", |text| text.replace("\"eu\"", "\"us\""));
    let after = story.open(false).await;
    assert_ne!(after.schema(), before.schema());
    assert!(after.holds_all_files(), "nothing of the inventory counts any more");
    assert_eq!(before.recheck().await.unwrap(), PointState::Altered);
    assert_eq!(before.recheck_later().unwrap().recheck_here().unwrap().unwrap(), PointState::Altered);
    assert_eq!(after.recheck().await.unwrap(), PointState::Unaltered);
}

#[tokio::test]
async fn a_flush_after_the_inventory_is_seen_and_is_no_alteration() {
    let story = Story::seen(Arc::new(AllStored)).await;
    let before = story.open(false).await;
    story.replace("manifest.json", |text| text.replace("\"version\": 8", "\"version\": 9"));
    assert_eq!(story.open(false).await.description()["manifestVersion"], 9);
    assert_eq!(before.description()["manifestVersion"], 8);
    assert_eq!(before.recheck_later().unwrap().recheck_here().unwrap().unwrap(), PointState::Unaltered);
}

#[tokio::test]
async fn a_collection_that_was_dropped_and_created_again_is_another_one() {
    let story = Story::seen(Arc::new(AllStored)).await;
    let before = story.open(false).await;
    let (place, copy) = (story.database.join(ARTICLES), story.database.join("copy"));
    common::copy_tree(&place, &copy);
    std::fs::remove_dir_all(&place).unwrap();
    let here = before.recheck_later().unwrap();
    assert_eq!(here.recheck_here().unwrap().unwrap(), PointState::Dropped);
    std::fs::rename(&copy, &place).unwrap();
    assert_eq!(here.recheck_here().unwrap().unwrap(), PointState::Altered);
    assert!(story.open(false).await.holds_all_files());
}

#[tokio::test]
async fn an_inventory_that_may_remember_nothing_costs_only_time() {
    let folder = tempfile::tempdir().unwrap();
    let clock = Arc::new(FixedClock(Timestamp::from_millis(i64::MAX)));
    let limits = Limits { looked_bytes: 0, ..Limits::DEFAULT };
    let source = MilvusLiteSource::open_with(&sample(folder.path()), limits, clock).unwrap();
    source.inventory_knowing(Arc::new(AllStored)).await.unwrap();
    let point = source.open_point(&"medium_articles".parse().unwrap(), PointOptions::default()).await.unwrap();
    assert!(point.holds_all_files());
}
