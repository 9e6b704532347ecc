//! A job that waits for its retry waits at the broker.

use std::time::Instant;

use job_queue::message;
use lapin::{
    options::{BasicAckOptions, BasicGetOptions},
    types::AMQPValue,
};

use super::*;

/// Much less than the waits that the jobs of these tests are given.
const AT_ONCE: Duration = Duration::from_secs(20);

#[tokio::test]
async fn two_retries_of_a_busy_model_hold_up_no_other_model() {
    let url = services::RabbitMq::shared().await.url();
    let queue = RabbitMq::new(Config { prefetch: NonZeroU16::new(2).unwrap(), ..config(&url, "busy") });
    for n in 0..2 {
        queue.enqueue(&job(&format!("to the busy model {n}"))).await.unwrap();
        lease(&queue).await.retry(Duration::from_secs(60)).await.unwrap();
    }
    let other = job("to another model");
    queue.enqueue(&other).await.unwrap();
    let lease = timeout(AT_ONCE, queue.lease()).await.expect("nothing is in its way").unwrap();
    assert_eq!(*lease.job(), other);
}

#[tokio::test]
async fn a_job_that_waits_for_its_retry_outlives_its_worker() {
    let (first, second) = (shared("outlived").await, shared("outlived").await);
    let job = job("hello");
    first.enqueue(&job).await.unwrap();
    let asked = Instant::now();
    lease(&first).await.retry(Duration::from_secs(1)).await.unwrap();
    first.close().await;
    assert_eq!(*lease(&second).await.job(), job);
    assert!(asked.elapsed() >= Duration::from_secs(1));
}

#[tokio::test]
async fn a_job_that_waits_for_its_retry_outlives_a_killed_broker() {
    let broker = to_hurt().await;
    let first = RabbitMq::new(config(&broker.url(), "survives"));
    let (job, marker) = (job("hello"), job("marker"));
    first.enqueue(&job).await.unwrap();
    let held = lease(&first).await;
    write_down_new_queues(&broker).await;
    let (asked, after) = (Instant::now(), Duration::from_secs(10));
    held.retry(after).await.unwrap();
    // AMQP confirms no acknowledgement. What is stored after the end of its connection is stored after it.
    first.close().await;
    let second = RabbitMq::new(config(&broker.url(), "survives"));
    second.enqueue(&marker).await.unwrap();
    broker.kill().await;
    broker.restart().await;

    let stored = lease(&second).await;
    assert_eq!(*stored.job(), marker, "the job waits");
    stored.ack().await.unwrap();
    let back = lease(&second).await;
    assert_eq!(*back.job(), job);
    assert!(asked.elapsed() >= after, "{:?}", asked.elapsed());
    back.ack().await.unwrap();
    let (_connection, channel) = operator(&broker.url()).await;
    eventually("no copy is left", || async { depth(&channel, "survives").await == 0 }).await;
}

/// A worker that stops drops the leases of answers that have begun: they must not wait behind prompts that have not.
#[tokio::test]
async fn a_dropped_lease_comes_back_before_the_jobs_behind_it_and_a_retried_one_after_them() {
    let url = services::RabbitMq::shared().await.url();
    let queue = RabbitMq::new(Config { prefetch: NonZeroU16::MIN, ..config(&url, "in_front") });
    let jobs = [job("first"), job("second"), job("third")];
    for job in &jobs {
        queue.enqueue(job).await.unwrap();
    }
    let first = lease(&queue).await;
    assert_eq!(*first.job(), jobs[0]);
    drop(first);
    let again = lease(&queue).await;
    assert_eq!(*again.job(), jobs[0]);
    again.retry(Duration::ZERO).await.unwrap();
    for expected in [1, 2, 0] {
        let lease = lease(&queue).await;
        assert_eq!(*lease.job(), jobs[expected]);
        lease.ack().await.unwrap();
    }
}

#[tokio::test]
async fn a_wait_between_two_steps_takes_several() {
    let queue = shared("steps").await;
    queue.enqueue(&job("hello")).await.unwrap();
    let (asked, after) = (Instant::now(), Duration::from_millis(1300));
    lease(&queue).await.retry(after).await.unwrap();
    let _back = lease(&queue).await;
    assert!(asked.elapsed() >= after, "{:?}", asked.elapsed());
}

#[tokio::test]
async fn a_retry_during_an_alarm_loses_no_job() {
    let broker = to_hurt().await;
    let queue = RabbitMq::new(config(&broker.url(), "alarm"));
    let jobs = [job("first"), job("second")];
    for job in &jobs {
        queue.enqueue(job).await.unwrap();
    }
    let held = [lease(&queue).await, lease(&queue).await];
    broker.control(&["set_vm_memory_high_watermark", "0.0000001"]).await;
    eventually("jobs are refused", || async { queue.enqueue(&jobs[0]).await.is_err() }).await;
    let (asked, after) = (Instant::now(), Duration::from_secs(1));
    for lease in held {
        let error = reason(&lease.retry(after).await.unwrap_err());
        assert!(error.contains("takes no messages"), "{error}");
    }
    let ids = jobs.iter().map(|job| job.id).collect();
    let mut arrived = HashSet::new();
    while arrived != ids {
        let lease = lease(&queue).await;
        assert!(asked.elapsed() >= after, "it was held for the wait: {:?}", asked.elapsed());
        arrived.insert(lease.job().id);
        lease.ack().await.unwrap();
    }

    broker.control(&["set_vm_memory_high_watermark", "absolute", "1GB"]).await;
    eventually("it is ready", || async { queue.ready().await.is_ok() }).await;
}

#[tokio::test]
async fn retries_while_the_broker_closes_connections_lose_no_job() {
    let broker = to_hurt().await;
    let queue = RabbitMq::new(config(&broker.url(), "closing"));
    let jobs: Vec<_> = (0..50).map(|n| job(&format!("prompt {n}"))).collect();
    join_all(jobs.iter().map(async |job| queue.enqueue(job).await.unwrap())).await;
    let retrying = async {
        loop {
            // Some of these fail, with the connection under them.
            if let Ok(lease) = queue.lease().await {
                let _ = lease.retry(Duration::from_millis(1)).await;
            }
        }
    };
    let closing = async {
        for _ in 0..3 {
            broker.close_connections().await;
        }
    };
    tokio::select! {
        () = retrying => {}
        () = closing => {}
    }
    let mut left: HashSet<_> = jobs.iter().map(|job| job.id).collect();
    while !left.is_empty() {
        let lease = lease(&queue).await;
        let id = lease.job().id;
        if lease.ack().await.is_ok() {
            left.remove(&id);
        }
    }
}

#[tokio::test]
async fn a_deleted_delay_queue_loses_no_retry_and_is_declared_again() {
    let broker = services::RabbitMq::shared().await;
    let queue = shared("delays").await;
    let job = job("hello");
    queue.enqueue(&job).await.unwrap();
    let held = lease(&queue).await;
    broker.delete("delays.retry.1s").await;
    let error = reason(&held.retry(Duration::from_secs(1)).await.unwrap_err());
    assert!(error.contains("queue delays.retry.1s is gone"), "{error}");
    eventually("the delay queue is there again", || async {
        lease(&queue).await.retry(Duration::from_secs(1)).await.is_ok()
    })
    .await;
    assert_eq!(*lease(&queue).await.job(), job);
}

/// The arguments are those of the first version, word for word: they may never change.
#[tokio::test]
async fn queues_of_an_older_version_are_used_as_they_are_and_it_understands_what_is_in_them() {
    let url = services::RabbitMq::shared().await.url();
    let (_connection, channel) = operator(&url).await;
    let declare = async |name: &str, arguments: &[(&str, AMQPValue)]| {
        let mut table = FieldTable::default();
        for (name, value) in arguments {
            table.insert((*name).into(), value.clone());
        }
        channel.queue_declare(name.into(), QueueDeclareOptions::durable(), table).await.unwrap();
    };
    let text = |text: &str| AMQPValue::LongString(text.into());
    let quorum = |limit, target| {
        [
            ("x-queue-type", text("quorum")),
            ("x-delivery-limit", AMQPValue::LongLongInt(limit)),
            ("x-dead-letter-exchange", text("")),
            ("x-dead-letter-routing-key", text(target)),
            ("x-dead-letter-strategy", text("at-least-once")),
            ("x-overflow", text("reject-publish")),
        ]
    };
    declare("older.undecodable", &[("x-max-length", AMQPValue::LongInt(1000))]).await;
    declare("older.dead", &quorum(1_000_000, "older.undecodable")).await;
    declare("older", &quorum(20, "older.dead")).await;

    let queue = RabbitMq::new(config(&url, "older"));
    queue.ready().await.unwrap();
    let job = job("hello");
    queue.enqueue(&job).await.unwrap();
    lease(&queue).await.retry(Duration::from_millis(1)).await.unwrap();
    // What comes out of the delay queue is what went into the jobs queue at first.
    queue.close().await;
    let received = async {
        loop {
            if let Some(message) =
                channel.basic_get("older".into(), BasicGetOptions::default()).await.unwrap()
            {
                return message;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let message = timeout(SOON, received).await.expect("the retried job arrives");
    assert_eq!(message.data, message::encode(&job));
    assert_eq!(message.properties.message_id().as_ref().unwrap().as_str(), job.id.to_string());
    assert_eq!(message.properties.content_type().as_ref().unwrap().as_str(), "application/json");
    message.acker.ack(BasicAckOptions::default()).await.unwrap();
}
