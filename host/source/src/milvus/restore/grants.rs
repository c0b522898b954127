//! What roles may do after a restore in which collections got other names.
//!
//! Contract: whoever could do something with a collection can do it with that collection where it is restored, and a restore
//! gives nobody more than that. So a grant on one collection goes with it to its new name, and of one on all collections of a
//! database those that left the database get their own. What is granted on a database as a whole, and on collections that are
//! not restored, stays as it was, because another database may hold what these roles never saw.

use std::collections::BTreeSet;

use longshore_model::{CollectionMapping, CollectionName};

use crate::TargetPlan;
use crate::milvus::kept::KeptGrant;

/// The object of grants on collections.
const COLLECTION: &str = "Collection";
/// All of them, or all databases.
const ALL: &str = "*";

/// The grants to make, in order, each once, and what somebody has to know, in sentences.
pub(super) fn moved(grants: &[KeptGrant], plan: &TargetPlan) -> (Vec<KeptGrant>, Vec<String>) {
    let mut moved = Vec::with_capacity(grants.len());
    let mut left: BTreeSet<(&str, &str)> = BTreeSet::new();
    let renamed: Vec<&CollectionMapping> = plan.collections.iter().map(|one| &one.mapping).collect();
    for grant in grants {
        let (is_whole, is_everywhere) = (grant.object_name == ALL, grant.db_name == ALL);
        let is_meant = |name: &CollectionName| {
            (is_everywhere || name.database == grant.db_name) && (is_whole || name.collection == grant.object_name)
        };
        let restored: Vec<&CollectionMapping> = renamed.iter().copied().filter(|one| is_meant(&one.from)).collect();
        // One on a single collection moves with it; any other one holds for more than what is restored.
        let stays = is_whole || is_everywhere || grant.object != COLLECTION || restored.is_empty();
        if stays {
            moved.push(grant.clone());
        }
        for CollectionMapping { from, to, .. } in restored {
            if grant.object == COLLECTION && !(stays && is_meant(to)) {
                let (db_name, object_name) = (to.database.clone(), to.collection.clone());
                moved.push(KeptGrant { db_name, object_name, ..grant.clone() });
            }
            if is_whole && !is_everywhere && from.database != to.database {
                left.insert((&from.database, &to.database));
            }
        }
    }
    moved.sort_unstable_by(|one, other| one.key().cmp(&other.key()));
    moved.dedup();
    let say = |(from, to): (&str, &str)| {
        format!(
            "what roles may do in all of database {from} they may do there and not in {to}, but with the collections that were restored into it"
        )
    };
    (moved, left.into_iter().map(say).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::testing::plan;

    fn grant(object: &str, db_name: &str, object_name: &str) -> KeptGrant {
        let (role, privilege) = ("looks".to_owned(), "Query".to_owned());
        let (object, db_name, object_name) = (object.to_owned(), db_name.to_owned(), object_name.to_owned());
        KeptGrant { role, object, object_name, privilege, db_name }
    }

    /// Database and object of the grants that come of one.
    fn after(one: KeptGrant, mappings: &[(&str, &str)]) -> (Vec<String>, usize) {
        let (grants, notes) = moved(&[one.clone(), one], &plan(mappings, false));
        let shown = grants.iter().map(|grant| format!("{}.{}", grant.db_name, grant.object_name));
        (shown.collect(), notes.len())
    }

    fn are(names: &[&str], notes: usize) -> (Vec<String>, usize) {
        (names.iter().map(|name| (*name).to_owned()).collect(), notes)
    }

    #[test]
    fn a_grant_on_a_collection_goes_with_it() {
        let one = || grant(COLLECTION, "d", "a");
        assert_eq!(after(one(), &[("d.a", "d.a")]), are(&["d.a"], 0));
        assert_eq!(after(one(), &[("d.a", "e.b")]), are(&["e.b"], 0));
        assert_eq!(after(one(), &[("d.a", "d.b"), ("d.a", "d.c")]), are(&["d.b", "d.c"], 0));
        assert_eq!(after(one(), &[("e.a", "e.b")]), are(&["d.a"], 0), "the one of another database");
        assert_eq!(after(one(), &[("d.b", "d.c")]), are(&["d.a"], 0), "it is not restored");
    }

    #[test]
    fn a_grant_on_all_collections_of_a_database_gives_nothing_in_another_but_what_came_from_it() {
        let all = || grant(COLLECTION, "d", "*");
        assert_eq!(after(all(), &[("d.a", "d.b")]), are(&["d.*"], 0));
        assert_eq!(after(all(), &[("d.a", "e.a"), ("f.b", "e.b")]), are(&["d.*", "e.a"], 1));
        assert_eq!(after(grant("Global", "d", "*"), &[("d.a", "e.a")]), are(&["d.*"], 1));
    }

    #[test]
    fn a_grant_in_all_databases_stays_and_follows_another_name() {
        let all = || grant(COLLECTION, "*", "a");
        assert_eq!(after(all(), &[("d.a", "e.a")]), are(&["*.a"], 0));
        assert_eq!(after(all(), &[("d.a", "e.b")]), are(&["*.a", "e.b"], 0));
        assert_eq!(after(grant(COLLECTION, "*", "*"), &[("d.a", "e.b")]), are(&["*.*"], 0));
        assert_eq!(after(grant("User", "*", "a"), &[("d.a", "e.b")]), are(&["*.a"], 0));
    }
}
