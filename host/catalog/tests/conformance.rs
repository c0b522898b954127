//! The SQLite catalog against the public suite, and against its model over random histories.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use longshore_catalog::conformance::{self, Step, model};
use longshore_catalog::{Catalog, CatalogError, NewBackup, NewBackupJob, NewCluster, SqliteCatalog};
use longshore_model::{BackupId, BackupType, ClusterId, CreationMethod, JobId, Timestamp};
use proptest::prelude::*;
use serde_json::Value;

#[test]
fn the_sqlite_catalog_keeps_every_rule() {
    let folder = tempfile::tempdir().unwrap();
    let mut number = 0;
    let mut make = || -> Box<dyn Catalog> {
        number += 1;
        Box::new(SqliteCatalog::open(&folder.path().join(format!("{number}.db"))).unwrap())
    };
    let broken = conformance::run(&mut make);
    assert!(broken.is_empty(), "{broken:#?}");
    assert!(conformance::checks().len() >= 35, "checks went missing");
}

#[test]
fn two_hosts_on_one_file_cannot_both_take_the_slot() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("catalog.db");
    let hosts = [SqliteCatalog::open(&path).unwrap(), SqliteCatalog::open(&path).unwrap()];
    let now = Timestamp::from_millis(1_700_000_000_000);
    hosts[0].put_project(&"proj-1".parse().unwrap(), "one", now).unwrap();
    for round in 1..=20_u8 {
        let cluster = NewCluster {
            id: ClusterId::from_random([round; 8]),
            name: format!("Dedicated-{round}"),
            project: "proj-1".parse().unwrap(),
            region: "local".parse().unwrap(),
            source_kind: "milvus-lite".to_owned(),
            location: "/data".to_owned(),
            cu_size: 1,
            status: "RUNNING".to_owned(),
        };
        hosts[0].put_cluster(&cluster, now).unwrap();
        let ask = |host: u8| {
            let backup = NewBackup {
                id: BackupId::from_random([round, host, 0, 0, 0, 0, 0, 0, 0, 0]),
                cluster: cluster.id.clone(),
                backup_type: BackupType::Cluster,
                creation_method: CreationMethod::Manual,
                expires: None,
                expiring_copies: Vec::new(),
                collections: Value::Null,
                detail: Value::Null,
            };
            let job = NewBackupJob {
                id: JobId::from_random([round, host, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
                request: Value::Null,
            };
            hosts[usize::from(host)].create_backup(&backup, &job, now)
        };
        let answers = std::thread::scope(|scope| {
            let threads = [scope.spawn(|| ask(0)), scope.spawn(|| ask(1))];
            threads.map(|thread| thread.join().unwrap())
        });
        let won = answers.iter().filter(|answer| answer.is_ok()).count();
        assert_eq!(won, 1, "round {round}: {answers:?}");
        // The other one waited and was then refused by the rule; it was not turned away by a lock.
        let refused = answers.iter().any(|answer| matches!(answer, Err(CatalogError::ManualBackupActive { .. })));
        assert!(refused, "round {round}: {answers:?}");
    }
}

/// Opens a catalog; each time an image of what is on disk, as a power cut at that moment would leave it, in a folder of its
/// own. What a call has acknowledged must be in it.
fn after_a_power_cut(folder: &std::path::Path) -> impl FnMut() -> Box<dyn Catalog> {
    let (folder, mut number) = (folder.to_owned(), 0);
    move || {
        let (old, new) = (folder.join(format!("{number}.db")), folder.join(format!("{}.db", number + 1)));
        number += 1;
        for suffix in ["", "-wal"] {
            let from = format!("{}{suffix}", old.display());
            if std::fs::exists(&from).unwrap() {
                std::fs::copy(&from, format!("{}{suffix}", new.display())).unwrap();
            }
        }
        Box::new(SqliteCatalog::open(&new).unwrap())
    }
}

proptest! {
    // A failing history is printed shrunk, with the seed that made it.
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn random_histories_go_as_the_model_says(
        steps in prop::collection::vec(any::<[u8; 3]>().prop_map(Step::from_bytes), 1..80),
    ) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("catalog.db");
        let mut open = || -> Box<dyn Catalog> { Box::new(SqliteCatalog::open(&path).unwrap()) };
        let verdict = model::replay(&mut open, &steps);
        prop_assert!(verdict.is_ok(), "{}", verdict.unwrap_err());
    }

    #[test]
    fn random_histories_with_a_power_cut_after_every_few_steps_go_as_the_model_says(
        steps in prop::collection::vec(any::<[u8; 3]>().prop_map(Step::from_bytes), 1..80),
        every in 1_usize..6,
    ) {
        let folder = tempfile::tempdir().unwrap();
        let cut = |(number, step): (usize, &Step)| {
            [Some(*step), (number % every == 0).then_some(Step::Reopen)].into_iter().flatten()
        };
        let steps: Vec<Step> = steps.iter().enumerate().flat_map(cut).collect();
        let verdict = model::replay(&mut after_a_power_cut(folder.path()), &steps);
        prop_assert!(verdict.is_ok(), "{}", verdict.unwrap_err());
    }
}
