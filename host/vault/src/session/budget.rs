//! The byte budget: what a session holds in memory waits here until it fits.

use std::sync::Arc;

use longshore_model::Codec;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::VaultError;

/// One permit stands for this many bytes.
const UNIT_BYTES: usize = 1024;

/// Bytes that may be held at the same time. First come, first served, so that a large piece is not starved.
#[derive(Debug)]
pub(super) struct Budget {
    permits: Arc<Semaphore>,
    /// Most that one reservation may ask for, in permits.
    most: u32,
}

/// A share of the budget; given back when dropped.
#[derive(Debug)]
pub(super) struct Reservation(Option<OwnedSemaphorePermit>);

impl Budget {
    /// A budget beside which an open pack of `pack_bytes` always fits: no reservation can ask for more than is left
    /// when everything but the open pack has been written, so waiting always ends.
    pub(super) fn new(budget_bytes: usize, pack_bytes: usize) -> Self {
        let permits = (budget_bytes / UNIT_BYTES).clamp(1, Semaphore::MAX_PERMITS);
        let most = permits.saturating_sub(units(pack_bytes)).max(1);
        Self { permits: Arc::new(Semaphore::new(permits)), most: u32::try_from(most).unwrap_or(u32::MAX) }
    }

    /// Bytes that nobody holds at this moment.
    pub(super) fn idle_bytes(&self) -> usize {
        self.permits.available_permits() * UNIT_BYTES
    }

    /// Waits until `bytes` fit.
    pub(super) async fn reserve(&self, bytes: usize) -> Result<Reservation, VaultError> {
        let wanted = u32::try_from(units(bytes)).unwrap_or(u32::MAX).min(self.most);
        match Arc::clone(&self.permits).acquire_many_owned(wanted).await {
            Ok(permit) => Ok(Reservation(Some(permit))),
            // The semaphore is never closed.
            Err(_) => Err(VaultError::SessionEnded),
        }
    }
}

impl Reservation {
    /// Gives back what is beyond `bytes`.
    pub(super) fn shrink_to(&mut self, bytes: usize) {
        if let Some(permit) = &mut self.0 {
            let surplus = permit.num_permits().saturating_sub(units(bytes));
            drop(permit.split(surplus));
        }
    }

    /// A share of it, for one of several pieces that it was made for. There is less only where a reservation was cut.
    pub(super) fn share(&mut self, bytes: usize) -> Self {
        Self(self.0.as_mut().and_then(|permit| permit.split(units(bytes).min(permit.num_permits()))))
    }
}

/// Whole units, at least one: a million empty blobs still cost something.
fn units(bytes: usize) -> usize {
    bytes.div_ceil(UNIT_BYTES).max(1)
}

/// Bytes that storing a piece takes at its worst moment: the piece, its shuffled or arranged form, its encoded form, and the two
/// that the check decodes.
pub(super) fn work_bytes(codec: Codec, plain_bytes: usize) -> usize {
    match codec {
        Codec::Store => plain_bytes,
        Codec::Lz4 | Codec::Zstd { .. } => plain_bytes.saturating_mul(3),
        Codec::ShuffleZstd { .. } | Codec::AdaptiveZstd { .. } => plain_bytes.saturating_mul(6),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[tokio::test]
    async fn what_is_given_back_can_be_had_again_and_a_request_beyond_the_budget_is_cut() {
        let budget = Budget::new(100 * UNIT_BYTES, 40 * UNIT_BYTES);
        let mut first = budget.reserve(1_000 * UNIT_BYTES).await.unwrap();
        assert_eq!(budget.permits.available_permits(), 40, "the open pack's share is never given away");
        first.shrink_to(10 * UNIT_BYTES + 1);
        assert_eq!(budget.permits.available_permits(), 89);
        first.shrink_to(50 * UNIT_BYTES);
        assert_eq!(budget.permits.available_permits(), 89, "shrinking never grows");
        let second = first.share(4 * UNIT_BYTES);
        drop(first);
        assert_eq!(budget.permits.available_permits(), 96, "what was shared is still held");
        drop(second);
        assert_eq!(budget.permits.available_permits(), 100);
        let mut small = budget.reserve(UNIT_BYTES).await.unwrap();
        let more = small.share(9 * UNIT_BYTES);
        assert_eq!(budget.permits.available_permits(), 99, "a share is never more than there was");
        drop((small, more));
        assert_eq!(budget.permits.available_permits(), 100);
    }
}
