//! What is stored comes out, as it was and in order.

use tokio::time::{sleep, timeout};

use super::{Duration, Fixture, JobQueue, TIMEOUT, assert_nothing_to_lease, job, lease};

/// Whatever the prompt; and the time to the millisecond.
pub async fn a_job_comes_out_as_it_went_in(fixture: Fixture) {
    let long = "äöü \n".repeat(32 * 1024);
    // In JSON six times as long: more than a client of a broker keeps room for.
    let longest = "\u{1}".repeat(256 * 1024);
    let short = ["hello", " two\r\nlines\n", "\0 \u{1} \u{feff} \u{2028}", "\"{}\\ 👩‍👩‍👧‍👦"];
    for prompt in short.into_iter().chain([&*long, &*longest]) {
        let job = job(prompt);
        fixture.queue.enqueue(&job).await.unwrap();
        let lease = lease(&*fixture.elsewhere).await;
        assert!(*lease.job() == job, "a job with {prompt:.20?} has changed");
        lease.ack().await.unwrap();
    }
}

/// One worker sees the jobs as they arrived.
pub async fn jobs_come_in_order_of_arrival(fixture: Fixture) {
    let jobs = fixture.store(&["a", "b", "c", "d", "e", "f"]).await;
    for job in jobs {
        let lease = lease(&*fixture.queue).await;
        assert_eq!(*lease.job(), job);
        lease.ack().await.unwrap();
    }
}

/// The queue does not know what a generation is; the log tells the second one that all is done (I5).
pub async fn a_job_that_is_stored_twice_comes_twice(fixture: Fixture) {
    let job = job("again");
    for _ in 0..2 {
        fixture.queue.enqueue(&job).await.unwrap();
    }
    for _ in 0..2 {
        let lease = lease(&*fixture.queue).await;
        assert_eq!(*lease.job(), job);
        lease.ack().await.unwrap();
    }
    assert_nothing_to_lease(&*fixture.queue).await;
}

/// From any instance.
pub async fn waiting_ends_when_a_job_arrives(fixture: Fixture) {
    for store in [&fixture.queue, &fixture.elsewhere] {
        let job = job("late");
        let (lease, ()) = futures::join!(timeout(TIMEOUT, fixture.queue.lease()), async {
            sleep(Duration::from_millis(100)).await;
            store.enqueue(&job).await.unwrap();
        });
        let lease = lease.expect("a job wakes who waits for one").unwrap();
        assert_eq!(*lease.job(), job);
        lease.ack().await.unwrap();
    }
}

/// A queue that works says so.
pub async fn a_working_queue_is_ready(fixture: Fixture) {
    fixture.queue.ready().await.unwrap();
    fixture.elsewhere.ready().await.unwrap();
}

/// At once on the instance that stored it, so that it does not accept more than may wait. On others after a while.
pub async fn what_waits_is_counted_until_it_is_leased(fixture: Fixture) {
    fixture.store(&["a", "b", "c"]).await;
    assert!(fixture.queue.waiting() >= 3, "{} of 3 are counted", fixture.queue.waiting());
    for queue in [&fixture.queue, &fixture.elsewhere] {
        comes_to_count(&**queue, 3).await;
    }
    for _ in 0..3 {
        lease(&*fixture.elsewhere).await.ack().await.unwrap();
    }
    for queue in [&fixture.queue, &fixture.elsewhere] {
        comes_to_count(&**queue, 0).await;
    }
}

/// A restart forgets no job that waits.
pub async fn what_waits_is_counted_after_a_reopen(fixture: Fixture) {
    fixture.store(&["done", "left", "left"]).await;
    lease(&*fixture.queue).await.ack().await.unwrap();
    let fixture = fixture.reopen().await;
    comes_to_count(&*fixture.queue, 2).await;
}

async fn comes_to_count(queue: &dyn JobQueue, expected: usize) {
    let counted = async {
        while queue.waiting() != expected {
            sleep(Duration::from_millis(20)).await;
        }
    };
    let in_time = timeout(TIMEOUT, counted).await.is_ok();
    assert!(in_time, "{} wait, and not {expected}", queue.waiting());
}

/// I9: what was stored and not acknowledged: waiting, leased, or to be retried.
pub async fn jobs_are_still_there_after_a_reopen(fixture: Fixture) {
    let jobs = fixture.store(&["done", "leased", "retried", "waiting"]).await;
    lease(&*fixture.queue).await.ack().await.unwrap();
    let leased = lease(&*fixture.queue).await;
    lease(&*fixture.queue).await.retry(Duration::from_millis(50)).await.unwrap();
    drop(leased);

    let fixture = fixture.reopen().await;
    let mut left = Vec::new();
    for _ in 0..3 {
        let lease = lease(&*fixture.queue).await;
        left.push(lease.job().request.as_ref().unwrap().conversation.prompt().to_owned());
        assert!(jobs.contains(lease.job()));
        lease.ack().await.unwrap();
    }
    left.sort();
    assert_eq!(left, ["leased", "retried", "waiting"]);
    let fixture = fixture.reopen().await;
    assert_nothing_to_lease(&*fixture.queue).await;
}
