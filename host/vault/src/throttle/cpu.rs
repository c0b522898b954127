//! Permits for CPU work, shared by all jobs of a host; restores are served first.
//!
//! A lowered limit takes nothing away: threads at work finish their piece, and no more are let in until there is room.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

use super::{Priority, RESTORE_PARTS};

/// The right to use one thread; given back when dropped.
#[derive(Debug)]
pub struct CpuPermit {
    threads: Option<Arc<CpuThreads>>,
}

impl Drop for CpuPermit {
    fn drop(&mut self) {
        if let Some(threads) = self.threads.take() {
            threads.release();
        }
    }
}

/// See the module.
#[derive(Debug)]
pub(super) struct CpuThreads {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    limit: Option<usize>,
    /// Threads the machine has. Asked once: the standard library reads a dozen files for the answer.
    machine: usize,
    used: usize,
    waiting: [VecDeque<oneshot::Sender<CpuPermit>>; 2],
    /// Restores served since a backup was.
    in_a_row: u64,
}

impl State {
    fn most(&self) -> usize {
        self.limit.unwrap_or(self.machine).max(1)
    }

    /// Whoever is served next. Every so often it is a backup, so that none waits for ever.
    fn next(&mut self) -> Option<oneshot::Sender<CpuPermit>> {
        let backups_wait = self.waiting.get(Priority::Backup.place()).is_some_and(|waiting| !waiting.is_empty());
        let first = if backups_wait && self.in_a_row >= RESTORE_PARTS { Priority::Backup } else { Priority::Restore };
        for priority in [first, first.other()] {
            let found = self.waiting.get_mut(priority.place()).and_then(VecDeque::pop_front);
            if found.is_some() {
                self.in_a_row = if priority == Priority::Restore { self.in_a_row.saturating_add(1) } else { 0 };
                return found;
            }
        }
        None
    }
}

impl CpuThreads {
    pub(super) fn new(limit: Option<usize>) -> Self {
        let machine = std::thread::available_parallelism().map_or(2, usize::from);
        Self { state: Mutex::new(State { limit, machine, ..State::default() }) }
    }

    pub(super) fn limit(&self) -> Option<usize> {
        self.lock().limit
    }

    pub(super) fn waiting(&self, priority: Priority) -> usize {
        self.lock().waiting.get(priority.place()).map_or(0, VecDeque::len)
    }

    pub(super) fn set(self: &Arc<Self>, limit: Option<usize>) {
        self.lock().limit = limit;
        self.serve();
    }

    pub(super) async fn acquire(self: &Arc<Self>, priority: Priority) -> CpuPermit {
        let receiver = {
            let mut state = self.lock();
            if state.used < state.most() && state.waiting.iter().all(VecDeque::is_empty) {
                state.used += 1;
                return CpuPermit { threads: Some(Arc::clone(self)) };
            }
            let (sender, receiver) = oneshot::channel();
            if let Some(waiting) = state.waiting.get_mut(priority.place()) {
                waiting.push_back(sender);
            }
            receiver
        };
        self.serve();
        // The sender stays in the queue until it is served.
        receiver.await.unwrap_or(CpuPermit { threads: None })
    }

    fn release(self: &Arc<Self>) {
        {
            let mut state = self.lock();
            state.used = state.used.saturating_sub(1);
        }
        self.serve();
    }

    /// Lets in whoever waits while there is room. A permit for somebody who is gone comes back here, so nothing is
    /// handed over while the state is locked.
    fn serve(self: &Arc<Self>) {
        loop {
            let sender = {
                let mut state = self.lock();
                if state.used >= state.most() {
                    return;
                }
                let Some(sender) = state.next() else { return };
                if sender.is_closed() {
                    continue;
                }
                state.used += 1;
                sender
            };
            drop(sender.send(CpuPermit { threads: Some(Arc::clone(self)) }));
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use futures::FutureExt;
    use std::pin::Pin;

    type Waiting = Pin<Box<dyn Future<Output = CpuPermit>>>;

    /// Asks for a permit and waits in the queue.
    fn ask(threads: &Arc<CpuThreads>, priority: Priority) -> Waiting {
        let threads = Arc::clone(threads);
        let mut waiting: Waiting = Box::pin(async move { threads.acquire(priority).await });
        assert!(waiting.as_mut().now_or_never().is_none(), "there is no room");
        waiting
    }

    fn served(waiting: &mut Waiting) -> Option<CpuPermit> {
        waiting.as_mut().now_or_never()
    }

    #[tokio::test]
    async fn a_raised_limit_lets_more_in_and_a_lowered_one_waits_for_those_at_work() {
        let threads = Arc::new(CpuThreads::new(Some(1)));
        let first = threads.acquire(Priority::Backup).await;
        let mut second = ask(&threads, Priority::Backup);
        threads.set(Some(2));
        let second = served(&mut second).expect("there is room now");
        threads.set(Some(1));
        let mut third = ask(&threads, Priority::Backup);
        drop(first);
        assert!(served(&mut third).is_none(), "one is still at work, and one is the limit");
        drop(second);
        assert!(served(&mut third).is_some());
    }

    #[tokio::test]
    async fn restores_are_served_first_and_backups_in_the_end() {
        let threads = Arc::new(CpuThreads::new(Some(1)));
        let mut held = Some(threads.acquire(Priority::Backup).await);
        let mut queue: Vec<(Priority, Waiting)> = Vec::new();
        for _ in 0..20 {
            queue.push((Priority::Backup, ask(&threads, Priority::Backup)));
        }
        for _ in 0..20 {
            queue.push((Priority::Restore, ask(&threads, Priority::Restore)));
        }
        let mut order = Vec::new();
        while !queue.is_empty() {
            drop(held.take());
            let place = queue.iter_mut().position(|(_, waiting)| {
                held = served(waiting);
                held.is_some()
            });
            order.push(queue.remove(place.expect("somebody is served")).0);
        }
        let backups: Vec<usize> = (0..40).filter(|place| order[*place] == Priority::Backup).collect();
        assert_eq!(backups[..3], [7, 15, 22], "one backup after seven restores, then all that are left");
    }

    #[tokio::test]
    async fn a_permit_of_somebody_who_is_gone_goes_to_the_next() {
        let threads = Arc::new(CpuThreads::new(Some(1)));
        let first = threads.acquire(Priority::Backup).await;
        let (gone, mut served_late, mut next) =
            (ask(&threads, Priority::Backup), ask(&threads, Priority::Backup), ask(&threads, Priority::Backup));
        drop(gone);
        drop(first);
        // Served, but dropped before it was looked at.
        drop(std::mem::replace(&mut served_late, Box::pin(std::future::pending())));
        assert!(served(&mut next).is_some());
    }
}
