//! A job that could not be done now is done later.

use std::task::Poll;

use futures::poll;
use tokio::time::{Instant, timeout};

use super::{Duration, Fixture, GLIMPSE, TIMEOUT, assert_nothing_to_lease, lease};

/// And is then like any other.
pub async fn a_retried_job_comes_back_no_sooner_than_asked(fixture: Fixture) {
    let jobs = fixture.store(&["busy"]).await;
    for after in [0, 20, 500].map(Duration::from_millis) {
        let held = lease(&*fixture.queue).await;
        assert_eq!(*held.job(), jobs[0]);
        let asked = Instant::now();
        held.retry(after).await.unwrap();
        let back = lease(&*fixture.queue).await;
        assert!(asked.elapsed() >= after);
        assert_eq!(*back.job(), jobs[0]);
        drop(back);
    }
    lease(&*fixture.queue).await.ack().await.unwrap();
    assert_nothing_to_lease(&*fixture.queue).await;
}

/// However many they are: those of one busy model must not stop the others.
pub async fn jobs_that_wait_for_their_retry_hold_up_no_other(fixture: Fixture) {
    // More than a queue may lease at once.
    for _ in 0..20 {
        fixture.store(&["busy"]).await;
        lease(&*fixture.queue).await.retry(Duration::from_secs(3600)).await.unwrap();
    }
    let jobs = fixture.store(&["a", "b", "c"]).await;
    for job in jobs {
        let lease = lease(&*fixture.queue).await;
        assert_eq!(*lease.job(), job);
        lease.ack().await.unwrap();
    }
}

/// A queue that gives up on jobs counts only leases that were dropped.
pub async fn a_job_may_be_retried_any_number_of_times(fixture: Fixture) {
    let jobs = fixture.store(&["busy"]).await;
    for _ in 0..25 {
        let held = lease(&*fixture.queue).await;
        assert_eq!(*held.job(), jobs[0]);
        held.retry(Duration::ZERO).await.unwrap();
    }
    lease(&*fixture.queue).await.ack().await.unwrap();
    let dead = timeout(GLIMPSE, fixture.queue.dead_letter()).await;
    assert!(dead.is_err(), "a retry is no failure: {dead:?}");
}

/// Of several waiting callers, one may be dropped. Another one gets the job when it is due.
pub async fn a_retried_job_reaches_the_worker_who_is_left(fixture: Fixture) {
    let jobs = fixture.store(&["busy"]).await;
    let held = lease(&*fixture.queue).await;
    let mut leaves = Box::pin(fixture.queue.lease());
    let mut stays = Box::pin(fixture.queue.lease());
    assert!(poll!(&mut leaves).is_pending());
    assert!(poll!(&mut stays).is_pending());
    held.retry(Duration::from_millis(200)).await.unwrap();
    if let Poll::Ready(early) = poll!(&mut leaves) {
        panic!("sooner than asked: {early:?}");
    }
    drop(leaves);
    let lease = timeout(TIMEOUT, stays).await.expect("a job that is due is delivered").unwrap();
    assert_eq!(*lease.job(), jobs[0]);
    lease.ack().await.unwrap();
}
