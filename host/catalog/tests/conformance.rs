//! The SQLite catalog against the public suite, and against its model over random histories.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use longshore_catalog::conformance::{self, Step, model};
use longshore_catalog::{Catalog, SqliteCatalog};
use proptest::prelude::*;

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
}
