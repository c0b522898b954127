//! Who may move how many bytes when: a plan of time slots, without a clock of its own.
//!
//! Each request gets the next free slot of its priority, at most [`SLOT_MS`] long, so that whoever moves large pieces
//! comes back for the next slot and the flow is steady. While both priorities want to move bytes, each has a share of the
//! rate; when that changes, slots in the future are void and asked for anew, so that a change holds at once.

use std::time::Duration;

use super::{Priority, RESTORE_PARTS, duration_of};

/// Longest slot, in milliseconds.
const SLOT_MS: u64 = 50;

/// When bytes may be moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Slot {
    /// How many: at most as many as were asked for.
    pub(super) bytes: u64,
    /// From when on, since the start of the throttle.
    pub(super) due: Duration,
    generation: u64,
}

/// The plan.
#[derive(Debug)]
pub(super) struct Bandwidth {
    bytes_per_second: Option<u64>,
    lanes: [Lane; 2],
}

/// The slots of one priority.
#[derive(Debug, Default)]
struct Lane {
    /// The end of the last slot that was given out.
    free_from: Duration,
    /// Slots of an older generation are void.
    generation: u64,
}

impl Lane {
    /// Takes back the slots that have not begun. The one that has may last another slot's length; giving out that time
    /// too would let every change through with bytes beyond the rate.
    fn void(&mut self, now: Duration) {
        let begun = now + Duration::from_millis(SLOT_MS);
        if self.free_from > begun {
            self.free_from = begun;
            self.generation += 1;
        }
    }
}

impl Bandwidth {
    pub(super) fn new(bytes_per_second: Option<u64>) -> Self {
        Self { bytes_per_second: bytes_per_second.map(|rate| rate.max(1)), lanes: Default::default() }
    }

    pub(super) fn bytes_per_second(&self) -> Option<u64> {
        self.bytes_per_second
    }

    /// Changes the rate; all slots that have not begun are void.
    pub(super) fn set(&mut self, bytes_per_second: Option<u64>, now: Duration) {
        self.bytes_per_second = bytes_per_second.map(|rate| rate.max(1));
        self.lanes.iter_mut().for_each(|lane| lane.void(now));
    }

    /// The next slot for `priority`. The flag says that slots of the other priority are void now.
    pub(super) fn reserve(&mut self, priority: Priority, bytes: u64, now: Duration) -> (Slot, bool) {
        let Some(rate) = self.bytes_per_second else {
            return (Slot { bytes, due: now, generation: self.lane(priority).generation }, false);
        };
        let shared = self.lane(priority.other()).free_from > now;
        // The first one of its priority: the other one's slots were given out for the whole rate.
        let displaced = shared && self.lane(priority).free_from <= now;
        if displaced {
            self.lane(priority.other()).void(now);
        }
        let parts = match (shared, priority) {
            (false, _) => RESTORE_PARTS + 1,
            (true, Priority::Restore) => RESTORE_PARTS,
            (true, Priority::Backup) => 1,
        };
        let rate = u128::from(rate) * u128::from(parts) / u128::from(RESTORE_PARTS + 1);
        let rate = u64::try_from(rate).unwrap_or(u64::MAX).max(1);
        let lane = self.lane(priority);
        let bytes = bytes.min((rate / (1_000 / SLOT_MS)).max(1));
        let due = lane.free_from.max(now);
        lane.free_from = due.saturating_add(duration_of(bytes, rate));
        (Slot { bytes, due, generation: lane.generation }, displaced)
    }

    /// Whether a slot is still good.
    pub(super) fn holds(&mut self, priority: Priority, slot: &Slot) -> bool {
        self.lane(priority).generation == slot.generation
    }

    fn lane(&mut self, priority: Priority) -> &mut Lane {
        let [restore, backup] = &mut self.lanes;
        match priority {
            Priority::Restore => restore,
            Priority::Backup => backup,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    /// A mover that always wants more: the next byte it may move, and when.
    struct Mover {
        priority: Priority,
        slot: Option<Slot>,
        moved: u64,
    }

    /// Moves for `seconds` from `from`, as the async side does: every mover holds one slot and takes the next when its
    /// time has come. Answers the bytes of each, and checks the rate in every tenth of a second.
    fn run(bandwidth: &mut Bandwidth, priorities: &[Priority], from: u64, seconds: u64) -> Vec<u64> {
        let mut movers: Vec<Mover> =
            priorities.iter().map(|priority| Mover { priority: *priority, slot: None, moved: 0 }).collect();
        let rate = bandwidth.bytes_per_second().unwrap();
        let mut window = 0;
        for millisecond in from * 1_000..(from + seconds) * 1_000 {
            let now = Duration::from_millis(millisecond);
            for mover in &mut movers {
                loop {
                    let slot = match mover.slot.take().filter(|slot| bandwidth.holds(mover.priority, slot)) {
                        Some(slot) => slot,
                        None => bandwidth.reserve(mover.priority, u64::MAX, now).0,
                    };
                    if slot.due > now {
                        mover.slot = Some(slot);
                        break;
                    }
                    mover.moved += slot.bytes;
                    window += slot.bytes;
                }
            }
            if millisecond % 100 == 99 {
                // A slot of each priority may begin at the end of the window.
                assert!(window <= rate / 10 + rate / 8, "{window} bytes in a tenth of a second at {rate}");
                window = 0;
            }
        }
        movers.into_iter().map(|mover| mover.moved).collect()
    }

    fn near(found: u64, wanted: u64) -> bool {
        found.abs_diff(wanted) <= wanted / 50
    }

    #[test]
    fn the_flow_is_steady_and_as_fast_as_the_limit_however_many_share_it() {
        for movers in [1, 3, 16] {
            let mut bandwidth = Bandwidth::new(Some(50 << 20));
            let moved = run(&mut bandwidth, &vec![Priority::Backup; movers], 0, 10);
            assert!(near(moved.iter().sum(), 500 << 20), "{moved:?}");
            let (least, most) = (moved.iter().min().unwrap(), moved.iter().max().unwrap());
            assert!(most - least <= 6 << 20, "shared fairly: {moved:?}");
        }
    }

    #[test]
    fn restores_get_seven_parts_of_eight_and_backups_are_not_stopped() {
        let mut bandwidth = Bandwidth::new(Some(8_000_000));
        run(&mut bandwidth, &[Priority::Backup; 4], 0, 2);
        let moved = run(&mut bandwidth, &[Priority::Backup, Priority::Backup, Priority::Restore], 2, 10);
        assert!(near(moved[2], 70_000_000), "{moved:?}");
        assert!(near(moved[0] + moved[1], 10_000_000), "{moved:?}");
        // Alone again, backups have everything.
        let moved = run(&mut bandwidth, &[Priority::Backup], 13, 10);
        assert!(near(moved[0], 80_000_000), "{moved:?}");
    }

    #[test]
    fn a_change_holds_at_once() {
        let mut bandwidth = Bandwidth::new(Some(10));
        let now = Duration::from_secs(5);
        let slots: Vec<Slot> = (0..100).map(|_| bandwidth.reserve(Priority::Backup, 1_000, now).0).collect();
        assert!(slots[99].due > now + Duration::from_secs(9), "{:?}", slots[99]);
        bandwidth.set(Some(1_000_000), now);
        assert!(
            slots[1..].iter().all(|slot| !bandwidth.holds(Priority::Backup, slot)),
            "slots at the old rate are void"
        );
        let moved = run(&mut bandwidth, &[Priority::Backup], 5, 10);
        assert!(near(moved[0], 10_000_000), "{moved:?}");
        bandwidth.set(Some(1_000), Duration::from_secs(15));
        let moved = run(&mut bandwidth, &[Priority::Backup], 15, 10);
        assert!(near(moved[0], 10_000), "{moved:?}");
    }

    #[test]
    fn what_was_not_used_is_not_saved_up() {
        let mut bandwidth = Bandwidth::new(Some(1_000_000));
        run(&mut bandwidth, &[Priority::Backup], 0, 1);
        let moved = run(&mut bandwidth, &[Priority::Backup], 3_600, 1);
        assert!(moved[0] <= 1_100_000, "{moved:?}");
    }

    #[test]
    fn the_smallest_and_the_largest_rate_are_rates_too() {
        for rate in [0, 1, u64::MAX] {
            let mut bandwidth = Bandwidth::new(Some(rate));
            for _ in 0..3 {
                for priority in [Priority::Restore, Priority::Backup] {
                    let (slot, _) = bandwidth.reserve(priority, u64::MAX, Duration::ZERO);
                    assert!(slot.bytes > 0);
                }
            }
        }
    }
}
