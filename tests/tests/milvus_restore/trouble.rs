//! Restores that fail: what is left, and what the next one does with it.

use std::sync::atomic::{AtomicBool, Ordering};

use longshore_source::{
    Limits, MilvusTarget, MilvusTargetOptions, RestoreTarget, RestoreWatch, SourceError, StagingPlace,
};
use longshore_tests::longshore_in;
use longshore_tests::milvus::milvus_judge;

use super::support::{all_same, back_up, configuration, names, same, server, staged, target};

/// Acts once, as soon as something was moved.
struct Once<'a>(AtomicBool, &'a (dyn Fn() + Send + Sync));

impl RestoreWatch for Once<'_> {
    fn moved(&self, _collection: usize, bytes: u64) {
        if bytes > 0 && !self.0.swap(true, Ordering::SeqCst) {
            (self.1)();
        }
    }
}

/// Asks to stop as soon as something was moved.
#[derive(Default)]
struct Stop(AtomicBool);

impl RestoreWatch for Stop {
    fn moved(&self, _collection: usize, bytes: u64) {
        self.0.fetch_or(bytes > 0, Ordering::SeqCst);
    }

    fn is_stopped(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_restore_leaves_the_server_as_it_was() {
    let Some((milvus, _turn)) = server() else { return };
    let pairs = [("made_two.plain", "stopped.plain"), ("made_two.binv", "stopped.binv"), ("made.docs", "stopped.docs")];
    let held = back_up(milvus, &pairs).await;
    let error = held.restore_watched(&target(milvus), &Stop::default()).await.unwrap_err();
    assert!(matches!(error, SourceError::Stopped), "{error}");
    assert!(names(milvus, "stopped").await.is_empty());
    assert!(staged(milvus).is_empty());
}

/// A second call of `Import` doubles rows: what became of the first is not known when the server dies, so the
/// collection is dropped and made anew.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_dies_in_the_middle_gets_every_row_once() {
    let Some((milvus, _turn)) = server() else { return };
    let held = back_up(milvus, &[("made.docs", "died.docs")]).await;
    let kill = || {
        milvus.kill();
        milvus.start_again();
    };
    held.restore_watched(&target(milvus), &Once(AtomicBool::default(), &kill)).await.unwrap();
    same(milvus, "made.docs", "died.docs", None);
    milvus_judge(milvus, ["drop", "died"]).ok();
}

/// A restore that is killed in the middle of its last step, while the server imports: the future is dropped, and what it made
/// stays.
async fn killed(milvus: &longshore_tests::milvus::Milvus, held: &super::support::Held) {
    let run = target(milvus).begin(&held.plan, &()).await.unwrap();
    for (file, bytes) in held.bytes[0].iter().enumerate() {
        run.write(0, file, 0, bytes.clone()).await.unwrap();
    }
    run.finish_collection(0).await.unwrap();
    let (reached, wait) = tokio::sync::oneshot::channel::<()>();
    let reached = std::sync::Mutex::new(Some(reached));
    let tell = || drop(reached.lock().unwrap().take());
    let watch = Once(AtomicBool::default(), &tell);
    tokio::select! {
        ended = run.commit(&watch) => panic!("it was to be killed: {ended:?}"),
        _ = wait => {}
    }
}

/// Remembers what was waited for.
#[derive(Default)]
struct Waits(std::sync::Mutex<Vec<String>>);

impl RestoreWatch for Waits {
    fn waits_for(&self, what: Option<String>) {
        self.0.lock().unwrap().extend(what);
    }
}

/// Dropped under its import it would block the server for a quarter of an hour. Whoever comes while the import goes on waits,
/// shows it, and leaves everything as it is when told to stop or when it takes too long.
#[tokio::test(flavor = "multi_thread")]
async fn a_collection_is_not_dropped_while_an_import_goes_into_it() {
    let Some((milvus, _turn)) = server() else { return };
    let held = back_up(milvus, &[("made.docs", "goes_on.docs")]).await;
    let other = back_up(milvus, &[("made_two.binv", "goes_on.binv")]).await;
    let limits = Limits { import_end_patience_ms: 0, ..Limits::DEFAULT };
    let impatient = MilvusTarget::with_limits(milvus.server(), MilvusTargetOptions::default(), limits);
    killed(milvus, &held).await;
    for plan in [&held.plan, &other.plan] {
        let error = impatient.begin(plan, &()).await.err().unwrap();
        assert!(matches!(error, SourceError::ImportUnderWay { .. }), "{error}");
        assert!(error.to_string().contains("was not dropped"), "{error}");
        let stopped = target(milvus).begin(plan, &Stop(AtomicBool::new(true))).await.err().unwrap();
        assert!(matches!(stopped, SourceError::Stopped), "{stopped}");
        assert_eq!((names(milvus, "goes_on").await.len(), staged(milvus).len()), (1, 1), "nothing was changed");
    }
    let waits = Waits::default();
    held.restore_watched(&target(milvus), &waits).await.unwrap();
    let waits = waits.0.into_inner().unwrap();
    assert!(waits.iter().any(|text| text.contains("an import into goes_on.longshore_restore_")), "{waits:?}");
    same(milvus, "made.docs", "goes_on.docs", None);
    assert!(staged(milvus).is_empty());
    milvus_judge(milvus, ["drop", "goes_on"]).ok();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_killed_restore_left_is_taken_back_by_the_next_one() {
    let Some((milvus, _turn)) = server() else { return };
    // The same plan again: it goes on with what is staged and makes the collection anew.
    let held = back_up(milvus, &[("made.docs", "killed.docs")]).await;
    killed(milvus, &held).await;
    let made = names(milvus, "killed").await;
    assert!(made.len() == 1 && made[0].starts_with("longshore_restore_"), "{made:?}");
    assert_eq!(staged(milvus).len(), 1);
    held.restore(&target(milvus)).await.unwrap();
    assert_eq!(names(milvus, "killed").await, ["docs"]);
    same(milvus, "made.docs", "killed.docs", None);
    assert!(staged(milvus).is_empty());
    // Another plan: what the first made is dropped with its database.
    killed(milvus, &back_up(milvus, &[("made.docs", "killed_too.docs")]).await).await;
    assert_eq!(names(milvus, "killed_too").await.len(), 1);
    let other = back_up(milvus, &[("made_two.binv", "killed.binv")]).await;
    other.restore(&target(milvus)).await.unwrap();
    assert!(names(milvus, "killed_too").await.is_empty());
    assert!(staged(milvus).is_empty());
    milvus_judge(milvus, ["drop", "killed"]).ok();
}

/// The host itself is killed as by a power cut while collections are being made, and started again.
#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_is_killed_in_the_middle_goes_on_where_it_was() {
    let Some((milvus, _turn)) = server() else { return };
    let folder = tempfile::tempdir().unwrap();
    configuration(folder.path(), &[milvus]);
    longshore_in(folder.path(), ["backup", "--config", "longshore.toml", "--to", "vault"]).ok();
    let pairs = [("made.docs", "power.docs"), ("made.tenants", "power.tenants"), ("made_two.plain", "power.plain")];
    let named: Vec<String> = pairs.iter().map(|(from, to)| format!("{from}={to}")).collect();
    let mut restore = vec!["restore", "vault", "--config", "longshore.toml", "--json"];
    restore.extend(named.iter().flat_map(|pair| ["--collection", pair.as_str()]));
    let mut host = std::process::Command::new(longshore_tests::binary())
        .args(&restore)
        .current_dir(folder.path())
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    // The first collection is there, under the name of the making.
    while names(milvus, "power").await.is_empty() {
        assert_eq!(host.try_wait().unwrap(), None, "it ended before it could be killed");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    host.kill().unwrap();
    host.wait().unwrap();
    let left = names(milvus, "power").await;
    assert!(left.iter().any(|name| name.starts_with("longshore_restore_")), "{left:?}");
    assert_eq!(staged(milvus).len(), 1);
    longshore_in(folder.path(), &restore).ok();
    assert_eq!(names(milvus, "power").await, ["docs", "plain", "tenants"]);
    all_same(milvus, &pairs, None);
    assert!(staged(milvus).is_empty());
    milvus_judge(milvus, ["drop", "power"]).ok();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_is_taken_and_a_disk_that_is_full_are_found_before_anything_is_made() {
    let Some((milvus, _turn)) = server() else { return };
    let held = back_up(milvus, &[("made_two.plain", "made_two.binv")]).await;
    let error = held.restore(&target(milvus)).await.unwrap_err();
    assert!(matches!(error, SourceError::CollectionExists { .. }), "{error}");
    let held = back_up(milvus, &[("made_two.binv", "made_two.plain_alias")]).await;
    let error = held.restore(&target(milvus)).await.unwrap_err().to_string();
    assert!(error.contains("is an alias of plain"), "{error}");
    let held = back_up(milvus, &[("made_two.plain", "full.plain")]).await;
    let limits = Limits { spare_bytes: u64::MAX / 4, ..Limits::DEFAULT };
    let options = MilvusTargetOptions::default();
    let error = held.restore(&MilvusTarget::with_limits(milvus.server(), options, limits)).await.unwrap_err();
    assert!(matches!(error, SourceError::NoSpace { .. }), "{error}");
    assert!(staged(milvus).is_empty());
    assert!(names(milvus, "full").await.is_empty());
}

/// A real full disk: a file system of a few hundred kilobytes as the place to stage files, which somebody else fills when
/// the first of them are there.
#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_fills_up_in_the_middle_ends_in_a_sentence() {
    let Some((milvus, _turn)) = server() else { return };
    let Some(small) = SmallDisk::mount("1m") else {
        longshore_tests::not_run("a full disk under a restore: no file system can be mounted here");
        return;
    };
    let held = back_up(milvus, &[("made_two.plain", "full.plain")]).await;
    let staging = StagingPlace { folder: small.0.path().to_owned(), server_folder: None };
    let options = MilvusTargetOptions { staging: Some(staging), ..MilvusTargetOptions::default() };
    let target = MilvusTarget::with_limits(milvus.server(), options, Limits { spare_bytes: 0, ..Limits::DEFAULT });
    let run = target.begin(&held.plan, &()).await.unwrap();
    let mut files = held.bytes[0].iter().enumerate();
    for (file, bytes) in files.by_ref().take(2) {
        run.write(0, file, 0, bytes.clone()).await.unwrap();
    }
    let others = small.0.path().join("fill");
    assert!(std::fs::write(&others, vec![0_u8; 1 << 20]).is_err(), "it is not full");
    let mut error = None;
    for (file, bytes) in files {
        error = run.write(0, file, 0, bytes.clone()).await.err();
        if error.is_some() {
            break;
        }
    }
    let error = error.unwrap();
    assert!(matches!(error, SourceError::NoSpace { .. }), "{error}");
    run.abort().await.unwrap();
    assert!(names(milvus, "full").await.is_empty());
    let left: Vec<_> = std::fs::read_dir(small.0.path()).unwrap().map(|one| one.unwrap().path()).collect();
    assert_eq!(left, std::slice::from_ref(&others));
    // The same is restored when there is space again.
    std::fs::remove_file(&others).unwrap();
    held.restore(&target).await.unwrap();
    same(milvus, "made_two.plain", "full.plain", None);
    milvus_judge(milvus, ["drop", "full"]).ok();
}

struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    fn mount(size: &str) -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let mounted = std::process::Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"])
            .arg(folder.path())
            .output()
            .ok()?;
        mounted.status.success().then_some(Self(folder))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount").arg(self.0.path()).status();
    }
}
