//! A job is one worker's until it is settled.

use std::collections::{HashMap, HashSet};

use futures::future::join_all;
use rand::RngExt;
use tokio::{task::JoinSet, time::timeout};

use super::{Arc, Duration, Fixture, GLIMPSE, TIMEOUT, assert_nothing_to_lease, job, lease};

/// While a lease lives, no other worker gets its job, here or elsewhere; other jobs are to be had.
pub async fn a_leased_job_belongs_to_one_worker(fixture: Fixture) {
    let jobs = fixture.store(&["one"]).await;
    let first = lease(&*fixture.queue).await;
    assert_eq!(*first.job(), jobs[0]);
    assert_nothing_to_lease(&*fixture.queue).await;
    assert_nothing_to_lease(&*fixture.elsewhere).await;
    let jobs = fixture.store(&["two"]).await;
    let second = lease(&*fixture.elsewhere).await;
    assert_eq!(*second.job(), jobs[0]);
    first.ack().await.unwrap();
    second.ack().await.unwrap();
}

/// It is done, from every view of the queue.
pub async fn an_acknowledged_job_never_comes_back(fixture: Fixture) {
    fixture.store(&["one", "two"]).await;
    for _ in 0..2 {
        lease(&*fixture.queue).await.ack().await.unwrap();
    }
    assert_nothing_to_lease(&*fixture.queue).await;
    assert_nothing_to_lease(&*fixture.elsewhere).await;
    let fixture = fixture.reopen().await;
    assert_nothing_to_lease(&*fixture.queue).await;
}

/// At once, to any caller, many times. A broker's own limit on deliveries is higher.
pub async fn a_dropped_lease_gives_its_job_back(fixture: Fixture) {
    let jobs = fixture.store(&["unlucky"]).await;
    for _ in 0..4 {
        let dropped = lease(&*fixture.queue).await;
        assert_eq!(*dropped.job(), jobs[0]);
        drop(dropped);
    }
    let kept = lease(&*fixture.queue).await;
    assert_eq!(*kept.job(), jobs[0]);
    kept.ack().await.unwrap();
    assert_nothing_to_lease(&*fixture.queue).await;
}

/// Workers may stop waiting at any moment, for example for a drain. No job is lost with them.
pub async fn a_dropped_wait_loses_no_job(fixture: Fixture) {
    const JOBS: usize = 60;
    let jobs: Vec<_> = (0..JOBS).map(|n| job(&format!("job {n}"))).collect();
    let store = async {
        for job in &jobs {
            fixture.queue.enqueue(job).await.unwrap();
            tokio::time::sleep(Duration::from_micros(rand::rng().random_range(0..3_000))).await;
        }
    };
    let impatient = async {
        let mut done = Vec::new();
        for _ in 0..JOBS * 3 {
            let moment = Duration::from_micros(rand::rng().random_range(0..2_000));
            if let Ok(lease) = timeout(moment, fixture.queue.lease()).await {
                let lease = lease.unwrap();
                done.push(lease.job().id);
                lease.ack().await.unwrap();
            }
        }
        done
    };
    let ((), mut done) = futures::join!(store, impatient);
    while done.len() < JOBS {
        let lease = lease(&*fixture.queue).await;
        done.push(lease.job().id);
        lease.ack().await.unwrap();
    }
    assert_eq!(done.iter().collect::<HashSet<_>>().len(), JOBS, "each once");
    assert_nothing_to_lease(&*fixture.queue).await;
}

/// Many store, many work, here and elsewhere; each job is done once.
pub async fn workers_do_every_job_once_when_nothing_fails(fixture: Fixture) {
    const STORES: usize = 4;
    const JOBS: usize = 25;
    let queues = [Arc::clone(&fixture.queue), Arc::clone(&fixture.elsewhere)];
    let mut workers = JoinSet::new();
    for worker in 0..6 {
        let queue = Arc::clone(&queues[worker % 2]);
        workers.spawn(async move {
            let mut done = Vec::new();
            // A worker that has waited this long in vain stops; busy ones go on.
            while let Ok(lease) = timeout(Duration::from_secs(2), queue.lease()).await {
                let lease = lease.unwrap();
                done.push(lease.job().id);
                tokio::task::yield_now().await;
                lease.ack().await.unwrap();
            }
            done
        });
    }
    let stored = join_all((0..STORES).map(|store| {
        let queue = &queues[store % 2];
        async move {
            let jobs: Vec<_> = (0..JOBS).map(|n| job(&format!("{store}.{n}"))).collect();
            for job in &jobs {
                queue.enqueue(job).await.unwrap();
            }
            jobs.into_iter().map(|job| job.id)
        }
    }))
    .await;
    let mut times: HashMap<_, usize> = stored.into_iter().flatten().map(|id| (id, 0)).collect();
    for id in workers.join_all().await.into_iter().flatten() {
        *times.get_mut(&id).expect("a job that was stored") += 1;
    }
    // Should a queue have paused for longer than its workers waited, the rest is still there.
    for _ in 0..times.values().filter(|&&times| times == 0).count() {
        let lease = lease(&*fixture.queue).await;
        *times.get_mut(&lease.job().id).expect("a job that was stored") += 1;
        lease.ack().await.unwrap();
    }
    assert_eq!(times.len(), STORES * JOBS);
    assert!(times.values().all(|&times| times == 1), "{times:?}");
}

/// Waiting for one takes no job of the living.
pub async fn a_queue_that_gives_up_on_nothing_has_no_dead_letters(fixture: Fixture) {
    fixture.store(&["alive"]).await;
    let dead = timeout(GLIMPSE, fixture.queue.dead_letter()).await;
    assert!(dead.is_err(), "{dead:?}");
    timeout(TIMEOUT, fixture.queue.lease()).await.expect("it is alive").unwrap().ack().await.unwrap();
}
