//! The unsettled jobs in memory: their positions in the journal, and when they can be leased.
//!
//! Jobs wait in the order of their tickets, so a returned job comes first. A leased job does not wait, but stays here until
//! it is settled.

use std::{
    collections::{BTreeMap, BTreeSet},
    pin::pin,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use journal::Position;
use tokio::{
    sync::Notify,
    time::{Instant, sleep_until},
};

use super::records::Ticket;

#[derive(Debug, Default)]
pub(super) struct Pending {
    state: Mutex<State>,
    /// Every change wakes all waiting callers: they are few, and each may wait for another time.
    changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    living: BTreeMap<Ticket, Position>,
    waiting: Waiting,
}

#[derive(Debug, Default)]
struct Waiting {
    now: BTreeSet<Ticket>,
    later: BTreeSet<(Instant, Ticket)>,
}

impl Pending {
    /// The jobs that are not leased.
    pub(super) fn new(living: BTreeMap<Ticket, Position>) -> Self {
        let waiting = Waiting { now: living.keys().copied().collect(), ..Waiting::default() };
        Self { state: Mutex::new(State { living, waiting }), changed: Notify::new() }
    }

    pub(super) fn stored(&self, ticket: Ticket, at: Position) {
        {
            let mut state = self.lock();
            state.living.insert(ticket, at);
            state.waiting.now.insert(ticket);
        }
        self.changed.notify_waiters();
    }

    /// Sets the new position of a job. False if it was settled meanwhile.
    pub(super) fn moved(&self, ticket: Ticket, at: Position) -> bool {
        let mut state = self.lock();
        let place = state.living.get_mut(&ticket);
        let lives = place.is_some();
        if let Some(place) = place {
            *place = at;
        }
        lives
    }

    pub(super) fn settled(&self, ticket: Ticket) {
        self.lock().living.remove(&ticket);
    }

    /// Returns a taken job, to be leased after this time.
    pub(super) fn give_back(&self, ticket: Ticket, after: Duration) {
        {
            let waiting = &mut self.lock().waiting;
            match Instant::now().checked_add(after) {
                _ if after.is_zero() => drop(waiting.now.insert(ticket)),
                Some(due) => drop(waiting.later.insert((due, ticket))),
                // An overflow: not before the process starts again.
                None => {}
            }
        }
        self.changed.notify_waiters();
    }

    /// Waits for the next job and takes it. Dropping the future takes none.
    pub(super) async fn take<T>(&self, taken: impl Fn(Ticket, Position) -> T) -> T {
        loop {
            let mut changed = pin!(self.changed.notified());
            // Listen first, look second, so that no change is missed.
            changed.as_mut().enable();
            let due = {
                let mut state = self.lock();
                match state.take() {
                    Ok((ticket, at)) => return taken(ticket, at),
                    Err(due) => due,
                }
            };
            match due {
                Some(due) => tokio::select! {
                    () = changed => {}
                    () = sleep_until(due) => {}
                },
                None => changed.await,
            }
        }
    }

    /// The number of jobs that wait, including retries that are not due.
    pub(super) fn waiting(&self) -> usize {
        let waiting = &self.lock().waiting;
        waiting.now.len() + waiting.later.len()
    }

    /// The position of a job, if it is not settled.
    pub(super) fn place(&self, ticket: Ticket) -> Option<Position> {
        self.lock().living.get(&ticket).copied()
    }

    /// The unsettled jobs in a segment.
    pub(super) fn in_segment(&self, segment: u64) -> Vec<(Ticket, Position)> {
        let state = self.lock();
        let jobs = state.living.iter().filter(|(_, at)| at.segment == segment);
        jobs.map(|(ticket, at)| (*ticket, *at)).collect()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it holds the lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// The next job, or when to look again.
    fn take(&mut self) -> Result<(Ticket, Position), Option<Instant>> {
        let now = Instant::now();
        loop {
            let waiting = &mut self.waiting;
            while let Some((due, _)) = waiting.later.first()
                && *due <= now
                && let Some((_, ticket)) = waiting.later.pop_first()
            {
                waiting.now.insert(ticket);
            }
            let Some(ticket) = waiting.now.pop_first() else {
                return Err(waiting.later.first().map(|(due, _)| *due));
            };
            if let Some(at) = self.living.get(&ticket) {
                return Ok((ticket, *at));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::future::{Either, select};

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn with(tickets: impl IntoIterator<Item = u64>) -> Pending {
        let at = Position { segment: 1, offset: 32, length: 1 };
        Pending::new(tickets.into_iter().map(|ticket| (Ticket(ticket), at)).collect())
    }

    async fn take(pending: &Pending) -> u64 {
        pending.take(|ticket, _| ticket.0).await
    }

    #[tokio::test(start_paused = true)]
    async fn a_job_that_is_put_off_is_taken_then_and_not_before() {
        let pending = with([1, 2]);
        let began = Instant::now();
        assert_eq!(take(&pending).await, 1);
        pending.give_back(Ticket(1), 5 * SECOND);
        assert_eq!(take(&pending).await, 2);
        assert_eq!(take(&pending).await, 1);
        assert_eq!(began.elapsed(), 5 * SECOND);
    }

    #[tokio::test(start_paused = true)]
    async fn a_waiter_gets_an_earlier_time_even_when_another_waiter_is_dropped() {
        let pending = with([1, 2]);
        assert_eq!((take(&pending).await, take(&pending).await), (1, 2));
        let began = Instant::now();
        pending.give_back(Ticket(1), 60 * SECOND);
        let (one, mut other) = (Box::pin(take(&pending)), Box::pin(take(&pending)));
        let Either::Right(((), one)) = select(one, Box::pin(tokio::time::sleep(SECOND))).await else {
            panic!("nothing is due")
        };
        assert!(futures::poll!(&mut other).is_pending());
        pending.give_back(Ticket(2), 4 * SECOND);
        drop(one);
        assert_eq!(other.await, 2);
        assert_eq!(began.elapsed(), 5 * SECOND);
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_settled_while_it_waited_is_not_taken() {
        let pending = with([1, 2, 3]);
        pending.settled(Ticket(2));
        assert!(!pending.moved(Ticket(2), Position { segment: 2, offset: 32, length: 1 }));
        assert_eq!((take(&pending).await, take(&pending).await), (1, 3));
    }

    #[tokio::test(start_paused = true)]
    async fn a_job_that_is_put_off_for_longer_than_time_lasts_stays_away() {
        let pending = with([1]);
        assert_eq!(take(&pending).await, 1);
        pending.give_back(Ticket(1), Duration::MAX);
        assert!(tokio::time::timeout(1_000_000 * SECOND, take(&pending)).await.is_err());
    }
}
