//! Whose the bytes of a vault are: a region's cost of a day, shared out among the backups that it holds.
//!
//! Contract: pure. Shares of a day add up to what the vault held that day, no more and no less, as long as there is any
//! backup in it. A backup bears what it added; what deleted backups of its cluster added and what is still there, because
//! later ones use it, is borne by the cluster's backups in proportion to their sizes; whatever else is there (indexes, what a
//! prune has yet to remove) by all backups of the region in proportion to their sizes.

use std::collections::BTreeMap;

use longshore_model::{BackupId, ClusterId, Timestamp};
use serde::{Deserialize, Serialize};

use super::DAY_MS;

/// What a backup has in the vault of a region, as it was measured when it came there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StoredPart {
    /// Bytes that it added to the vault.
    pub bytes: u64,
    /// When.
    pub since: Timestamp,
    /// When it was withdrawn from there, if that was before the backup went.
    #[serde(default)]
    pub until: Option<Timestamp>,
    /// What moving it there cost, in millionths of the currency unit.
    pub transfer_micros: u64,
}

/// A backup in a vault.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Kept {
    pub(super) backup: BackupId,
    pub(super) cluster: ClusterId,
    /// Bytes that it added.
    pub(super) added: u64,
    /// Bytes of its files.
    pub(super) size: u64,
    /// The first day on which it was there.
    pub(super) first: i64,
    /// The last one; `None` while it is.
    pub(super) last: Option<i64>,
}

/// The day, counted from 1970 in UTC, that a time is in.
pub(super) fn day_of(time: Timestamp) -> i64 {
    time.as_millis().div_euclid(DAY_MS)
}

/// Bytes by backup, given by its place in `kept`; they add up to `held` unless no backup is there on that day.
pub(super) fn share_out(kept: &[Kept], day: i64, held: u64) -> Vec<(usize, u128)> {
    let there: Vec<usize> =
        (0..kept.len()).filter(|place| kept.get(*place).is_some_and(|one| is_there(one, day))).collect();
    let one = |place: &usize| kept.get(*place);
    let held = u128::from(held);
    let added: u128 = there.iter().filter_map(one).map(|one| u128::from(one.added)).sum();
    let mut bytes: BTreeMap<usize, u128> = BTreeMap::new();
    // More than there is can have been added where a prune rewrote packs.
    let own = added.min(held);
    give(&mut bytes, own, there.iter().filter_map(|place| Some((*place, u128::from(one(place)?.added)))));
    let mut rest = held - own;
    let mut left: BTreeMap<&ClusterId, u128> = BTreeMap::new();
    for gone in kept.iter().filter(|one| one.last.is_some_and(|last| last < day)) {
        if there.iter().filter_map(one).any(|one| one.cluster == gone.cluster) {
            *left.entry(&gone.cluster).or_default() += u128::from(gone.added);
        }
    }
    let all_left: u128 = left.values().sum();
    let of_gone = rest.min(all_left);
    for (cluster, added) in left {
        let amount = of_gone * added / all_left.max(1);
        let of_cluster =
            there.iter().filter_map(|place| Some((*place, one(place)?))).filter(|(_, one)| one.cluster == *cluster);
        rest -= give(&mut bytes, amount, of_cluster.map(|(place, one)| (place, u128::from(one.size.max(1)))));
    }
    give(&mut bytes, rest, there.iter().filter_map(|place| Some((*place, u128::from(one(place)?.size.max(1))))));
    bytes.into_iter().collect()
}

fn is_there(one: &Kept, day: i64) -> bool {
    one.first <= day && one.last.is_none_or(|last| last >= day)
}

/// Gives an amount to all in proportion to their weights, to the last byte; how much was given.
fn give(bytes: &mut BTreeMap<usize, u128>, amount: u128, weights: impl Iterator<Item = (usize, u128)>) -> u128 {
    let weights: Vec<(usize, u128)> = weights.collect();
    let all: u128 = weights.iter().map(|(_, weight)| weight).sum();
    if all == 0 || amount == 0 {
        return 0;
    }
    let (mut before, mut given) = (0, 0);
    for (place, weight) in weights {
        before += weight;
        // By running sums, so that what is cut off at one is not lost but goes to a later one.
        let until_here = amount * before / all;
        *bytes.entry(place).or_default() += until_here - given;
        given = until_here;
    }
    given
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    fn kept(number: u8, cluster: &str, added: u64, size: u64, days: (i64, Option<i64>)) -> Kept {
        let (first, last) = days;
        Kept {
            backup: BackupId::from_random([number; 10]),
            cluster: cluster.parse().unwrap(),
            added,
            size,
            first,
            last,
        }
    }

    #[test]
    fn a_backup_bears_what_it_added_and_its_share_of_what_earlier_ones_left() {
        let first = kept(1, "in01-a", 100, 100, (1, Some(3)));
        let second = kept(2, "in01-a", 10, 110, (2, None));
        let other = kept(3, "in01-b", 50, 50, (2, None));
        let all = [first, second, other];
        assert_eq!(share_out(&all, 1, 100), [(0, 100)]);
        assert_eq!(share_out(&all, 2, 160), [(0, 100), (1, 10), (2, 50)]);
        assert_eq!(share_out(&all, 3, 160), [(0, 100), (1, 10), (2, 50)], "a day that began counts whole");
        // The first one is gone and its bytes are not: the second one uses them, and the other cluster does not.
        assert_eq!(share_out(&all, 4, 160), [(1, 110), (2, 50)]);
        // Half of them were pruned.
        assert_eq!(share_out(&all, 4, 110), [(1, 60), (2, 50)]);
        // More than anybody added is everybody's, by size.
        assert_eq!(share_out(&all, 4, 176), [(1, 121), (2, 55)]);
        // Less than was added: all in proportion.
        assert_eq!(share_out(&all, 4, 30), [(1, 5), (2, 25)]);
        assert_eq!(share_out(&all, 0, 7), [], "nobody was there");
    }

    proptest! {
        #[test]
        fn shares_add_up_to_what_is_held(
            held in 0..10_000_u64,
            day in 0..6_i64,
            rows in prop::collection::vec((0..3_u8, 0..500_u64, 0..500_u64, 0..6_i64, prop::option::of(0..6_i64)), 0..8),
        ) {
            let names = ["in01-a", "in01-b", "in01-c"];
            let all: Vec<Kept> = (0_u8..)
                .zip(rows)
                .map(|(number, (cluster, added, size, first, more))| {
                    kept(number, names[usize::from(cluster)], added, size, (first, more.map(|more| first + more)))
                })
                .collect();
            let shares = share_out(&all, day, held);
            let anybody = all.iter().any(|one| is_there(one, day));
            let sum: u128 = shares.iter().map(|(_, bytes)| bytes).sum();
            prop_assert_eq!(sum, if anybody { u128::from(held) } else { 0 });
            prop_assert!(shares.iter().all(|(place, _)| is_there(&all[*place], day)));
        }
    }
}
