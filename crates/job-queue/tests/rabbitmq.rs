//! What the conformance suite cannot ask of every queue: a real broker that is hurt.
#![expect(clippy::unwrap_used, reason = "a failed step of a test's own is a failed test")]

use std::{collections::HashSet, num::NonZeroU16, ops::Deref, panic::AssertUnwindSafe, time::Duration};

use futures::{FutureExt, future::join_all};
use job_queue::rabbitmq::{Address, Config, RabbitMq};
use lapin::{
    BasicProperties, Channel, Connection, ConnectionProperties,
    options::{BasicPublishOptions, QueueDeclareOptions, QueueDeleteOptions},
    types::FieldTable,
};
use testkit::services;
use tokenwire_core::{
    Conversation, Epoch, GenerateRequest, GenerationId, Job, JobQueue, Lease, ModelName, QueueError,
};
use tokio::{
    sync::{Mutex, MutexGuard},
    time::timeout,
};

#[path = "rabbitmq/retries.rs"]
mod retries;

/// More than anything here takes on a busy machine; where it runs out, something hangs.
const SOON: Duration = Duration::from_secs(60);

fn job(prompt: &str) -> Job {
    let request =
        GenerateRequest::new(ModelName::new("simulated").unwrap(), Conversation::of(prompt).unwrap());
    let (request, epoch) = (Some(request), Some(Epoch::new(1_763_800_000_123)));
    Job { id: GenerationId::fresh(), request, epoch }
}

fn config(url: &str, queue: &str) -> Config {
    let address: Address = url.parse().unwrap();
    Config { queue: queue.parse().unwrap(), ..Config::new(address, ModelName::new("simulated").unwrap()) }
}

/// A queue of the test's own on the shared broker.
async fn shared(queue: &str) -> RabbitMq {
    RabbitMq::new(config(&services::RabbitMq::shared().await.url(), queue))
}

/// A second broker, for one test at a time to hurt. It is given back unharmed; that of a failed test is replaced.
async fn to_hurt() -> ToHurt {
    static BROKER: Mutex<Option<services::RabbitMq>> = Mutex::const_new(None);
    let mut broker = BROKER.lock().await;
    if broker.is_none() {
        *broker = Some(services::RabbitMq::start().await);
    }
    ToHurt(broker)
}

struct ToHurt(MutexGuard<'static, Option<services::RabbitMq>>);

impl Deref for ToHurt {
    type Target = services::RabbitMq;

    fn deref(&self) -> &Self::Target {
        self.0.as_ref().unwrap()
    }
}

impl Drop for ToHurt {
    fn drop(&mut self) {
        // It may be frozen, or down: the next test would fail with this one.
        if std::thread::panicking() {
            *self.0 = None;
        }
    }
}

/// A broker writes down the name of a new replicated queue half a second late, and forgets it when it is killed before.
async fn write_down_new_queues(broker: &services::RabbitMq) {
    broker.control(&["eval", "[ok = dets:sync(Table) || Table <- dets:all()]."]).await;
}

/// What an operator would do by hand.
async fn operator(url: &str) -> (Connection, Channel) {
    let connection = Connection::connect(url, ConnectionProperties::default()).await.unwrap();
    let channel = connection.create_channel().await.unwrap();
    (connection, channel)
}

async fn depth(channel: &Channel, queue: &str) -> u32 {
    let passive = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
    channel.queue_declare(queue.into(), passive, FieldTable::default()).await.unwrap().message_count()
}

async fn lease(queue: &RabbitMq) -> Lease {
    timeout(SOON, queue.lease()).await.expect("a job arrives").unwrap()
}

async fn dead_letter(queue: &RabbitMq) -> Lease {
    timeout(SOON, queue.dead_letter()).await.expect("a dead letter arrives").unwrap()
}

/// Waits until the condition holds.
async fn eventually<F: Future<Output = bool>>(what: &str, condition: impl Fn() -> F) {
    let holds = async {
        while !condition().await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(SOON, holds).await.unwrap_or_else(|_| panic!("never happened: {what}"));
}

fn reason(error: &QueueError) -> String {
    tokenwire_core::explain(error)
}

#[tokio::test(flavor = "multi_thread")]
async fn more_jobs_than_a_connection_may_have_channels_are_each_stored_once() {
    let queue = shared("many").await;
    let jobs: Vec<_> = (0..3000).map(|n| job(&format!("prompt {n}"))).collect();
    join_all(jobs.iter().map(async |job| queue.enqueue(job).await.unwrap())).await;

    let mut arrived = HashSet::new();
    while arrived.len() < jobs.len() {
        let lease = lease(&queue).await;
        assert!(arrived.insert(lease.job().id), "{} came twice", lease.job().id);
        lease.ack().await.unwrap();
    }
    assert_eq!(arrived, jobs.iter().map(|job| job.id).collect());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_broker_loses_no_confirmed_job_and_workers_go_on() {
    let broker = to_hurt().await;
    let queue = RabbitMq::new(config(&broker.url(), "killed"));
    let before = job("leased before the crash");
    queue.enqueue(&before).await.unwrap();
    let held = lease(&queue).await;
    write_down_new_queues(&broker).await;

    let until_it_fails = async {
        let mut confirmed = HashSet::new();
        loop {
            let jobs: Vec<_> = (0..16).map(|n| job(&format!("prompt {n}"))).collect();
            let stored = join_all(jobs.iter().map(|job| queue.enqueue(job))).await;
            let ids = jobs.iter().map(|job| job.id);
            confirmed.extend(ids.zip(&stored).filter_map(|(id, stored)| stored.is_ok().then_some(id)));
            if stored.iter().any(Result::is_err) {
                return confirmed;
            }
        }
    };
    let crash = async {
        let (_connection, channel) = operator(&broker.url()).await;
        eventually("some jobs are stored", || async { depth(&channel, "killed").await > 100 }).await;
        broker.kill().await;
    };
    let (mut confirmed, ()) = tokio::join!(until_it_fails, crash);
    assert!(confirmed.len() > 50, "killed in the middle, after {}", confirmed.len());
    // Each connection notices by itself.
    eventually("it is not ready", || async { queue.ready().await.is_err() }).await;
    assert!(reason(&queue.ready().await.unwrap_err()).contains("127.0.0.1"));
    assert!(held.ack().await.is_err(), "a lease does not outlive its connection");

    broker.restart().await;
    eventually("the queue is ready again", || async { queue.ready().await.is_ok() }).await;
    eventually("jobs are stored again", || async { queue.enqueue(&job("after")).await.is_ok() }).await;

    confirmed.insert(before.id);
    while !confirmed.is_empty() {
        let lease = lease(&queue).await;
        confirmed.remove(&lease.job().id);
        lease.ack().await.unwrap();
    }
}

#[tokio::test]
async fn a_broker_that_is_away_at_the_start_is_explained_and_waited_for() {
    let broker = to_hurt().await;
    broker.stop().await;
    let queue = RabbitMq::new(config(&broker.url(), "away"));
    let waiting = queue.lease();
    let job = job("patience");
    let error = reason(&queue.enqueue(&job).await.unwrap_err());
    assert!(error.contains(&format!("127.0.0.1:{}", broker.port())) && error.contains("refused"), "{error}");
    assert!(!error.contains("guest"), "{error}");
    assert_eq!(reason(&queue.ready().await.unwrap_err()), error);

    let recover = async {
        broker.restart().await;
        eventually("the job is stored", || async { queue.enqueue(&job).await.is_ok() }).await;
    };
    let (lease, ()) = tokio::join!(timeout(SOON * 2, waiting), recover);
    assert_eq!(*lease.expect("the job arrives").unwrap().job(), job);
}

#[tokio::test]
async fn a_message_that_is_no_job_is_put_aside_and_harms_nobody() {
    let queue = shared("undecodable").await;
    queue.ready().await.unwrap();
    let (_connection, channel) = operator(&services::RabbitMq::shared().await.url()).await;
    let publish = async |message: &[u8]| {
        let (exchange, options) = ("".into(), BasicPublishOptions::default());
        channel
            .basic_publish(exchange, "undecodable".into(), options, message, BasicProperties::default())
            .await
            .unwrap();
    };
    publish(b"{\"uuid\": \"not json").await;
    // From a producer that knows neither versions nor models.
    publish(include_bytes!("fixtures/job.v0.json")).await;

    let lease = lease(&queue).await;
    assert_eq!(lease.job().request.as_ref().unwrap().model.as_str(), "simulated");
    lease.ack().await.unwrap();
    let nothing = queue.dead_letter();
    let aside =
        eventually("it is put aside", || async { depth(&channel, "undecodable.undecodable").await == 1 });
    tokio::select! {
        biased;
        () = aside => {}
        lease = nothing => panic!("it is no dead letter: {lease:?}"),
    }
    assert_eq!(depth(&channel, "undecodable").await, 0);
}

#[tokio::test]
async fn a_job_that_comes_back_too_often_arrives_as_a_dead_letter() {
    let url = services::RabbitMq::shared().await.url();
    let queue = RabbitMq::new(Config { delivery_limit: 2, ..config(&url, "poison") });
    let job = job("kills its worker");
    queue.enqueue(&job).await.unwrap();
    let mut deliveries = 0;
    let dead = queue.dead_letter();
    let dying = async {
        loop {
            drop(queue.lease().await);
            deliveries += 1;
        }
    };
    let dead = tokio::select! {
        dead = timeout(SOON, dead) => dead.expect("the broker gives it up").unwrap(),
        () = dying => unreachable!(),
    };
    assert_eq!(*dead.job(), job);
    drop(dead);
    let dead = dead_letter(&queue).await;
    assert_eq!(*dead.job(), job, "a dead letter comes back like a job");
    dead.ack().await.unwrap();
    assert_eq!(deliveries, 3);
}

#[tokio::test]
async fn a_queue_with_other_properties_is_explained() {
    let url = services::RabbitMq::shared().await.url();
    let (_connection, channel) = operator(&url).await;
    channel
        .queue_declare("classic".into(), QueueDeclareOptions::durable(), FieldTable::default())
        .await
        .unwrap();
    let queue = RabbitMq::new(config(&url, "classic"));
    let errors = [queue.ready().await, queue.enqueue(&job("hello")).await];
    for error in errors {
        let error = reason(&error.unwrap_err());
        for part in ["queue classic exists", "inequivalent arg", "delete it", "TOKENWIRE_QUEUE"] {
            assert!(error.contains(part), "{part:?} is missing: {error}");
        }
    }
    channel.queue_delete("classic".into(), QueueDeleteOptions::default()).await.unwrap();
    eventually("it is ready without a restart", || async { queue.ready().await.is_ok() }).await;
}

#[tokio::test]
async fn wrong_credentials_are_explained_without_showing_them() {
    let port = services::RabbitMq::shared().await.port();
    let address = Address::new("127.0.0.1", port, "guest", "s3cret");
    let queue = RabbitMq::new(Config::new(address, ModelName::new("simulated").unwrap()));
    let error = reason(&queue.ready().await.unwrap_err());
    assert!(error.contains("ACCESS_REFUSED") && !error.contains("s3cret"), "{error}");
}

#[tokio::test]
async fn a_deleted_queue_refuses_jobs_and_is_declared_again() {
    let queue = shared("deleted").await;
    let first = job("lost with the queue");
    queue.enqueue(&first).await.unwrap();
    let held = lease(&queue).await;
    let (_connection, channel) = operator(&services::RabbitMq::shared().await.url()).await;
    channel.queue_delete("deleted".into(), QueueDeleteOptions::default()).await.unwrap();

    let error = queue.enqueue(&job("no queue")).await.unwrap_err();
    assert!(reason(&error).contains("queue deleted is gone"), "{}", reason(&error));
    let second = job("to the new queue");
    eventually("jobs are stored again", || async { queue.enqueue(&second).await.is_ok() }).await;
    assert_eq!(*lease(&queue).await.job(), second);
    drop(held);
}

#[tokio::test]
async fn a_process_that_stops_leasing_gives_back_what_it_was_sent_ahead() {
    let (draining, other) = (shared("drain").await, shared("drain").await);
    let jobs: Vec<_> = (0..3).map(|n| job(&format!("prompt {n}"))).collect();
    for job in &jobs {
        draining.enqueue(job).await.unwrap();
    }
    let held = lease(&draining).await;
    let mut arrived = HashSet::from([held.job().id]);
    for _ in 1..3 {
        let lease = lease(&other).await;
        arrived.insert(lease.job().id);
        lease.ack().await.unwrap();
    }
    assert_eq!(arrived, jobs.iter().map(|job| job.id).collect(), "each job once");
    held.ack().await.expect("the lease is still good");

    other.close().await;
    let last = job("leasing again");
    draining.enqueue(&last).await.unwrap();
    assert_eq!(*lease(&draining).await.job(), last);
}

#[tokio::test]
async fn a_lease_that_nobody_waits_for_any_more_goes_to_somebody_else() {
    let queue = shared("dropped").await;
    queue.ready().await.unwrap();
    let job = job("hello");
    let arrived = async {
        loop {
            // Dropped at every moment that there is, before and after the job has come.
            if let Ok(lease) = timeout(Duration::from_millis(1), queue.lease()).await {
                return lease.unwrap();
            }
        }
    };
    let (lease, ()) = tokio::join!(timeout(SOON, arrived), async { queue.enqueue(&job).await.unwrap() });
    assert_eq!(*lease.expect("the job arrives").job(), job);
}

#[tokio::test]
async fn leasing_goes_on_after_the_queues_were_deleted_under_it() {
    let broker = services::RabbitMq::shared().await;
    let queue = shared("gone").await;
    queue.ready().await.unwrap();
    let mut waiting = Box::pin(queue.lease());
    let mut dead = Box::pin(queue.dead_letter());
    let delete = async {
        for name in ["gone", "gone.dead"] {
            broker.delete(name).await;
        }
    };
    tokio::select! {
        biased;
        lease = &mut waiting => panic!("there is no job: {lease:?}"),
        lease = &mut dead => panic!("there is no dead letter: {lease:?}"),
        () = delete => {}
    }
    let job = job("to the new queue");
    eventually("the job is stored", || async { queue.enqueue(&job).await.is_ok() }).await;
    let lease = timeout(SOON, waiting).await.expect("the job arrives").unwrap();
    assert_eq!(*lease.job(), job);
}

#[tokio::test]
async fn leasing_goes_on_after_the_queue_was_purged() {
    let broker = services::RabbitMq::shared().await;
    let queue = shared("purged").await;
    for n in 0..3 {
        queue.enqueue(&job(&format!("purged {n}"))).await.unwrap();
    }
    broker.purge("purged").await;
    let held = job("leased while the queue is purged");
    queue.enqueue(&held).await.unwrap();
    let lease_before = lease(&queue).await;
    assert_eq!(*lease_before.job(), held);
    broker.purge("purged").await;
    let after = job("after");
    queue.enqueue(&after).await.unwrap();
    assert_eq!(*lease(&queue).await.job(), after);
    lease_before.ack().await.expect("a purge takes only what waits");
}

#[tokio::test]
async fn several_dead_letters_are_out_at_once() {
    let url = services::RabbitMq::shared().await.url();
    let queue = RabbitMq::new(Config { delivery_limit: 1, ..config(&url, "graveyard") });
    let jobs: Vec<_> = (0..3).map(|n| job(&format!("prompt {n}"))).collect();
    for job in &jobs {
        queue.enqueue(job).await.unwrap();
    }
    let dying = async {
        loop {
            drop(queue.lease().await);
        }
    };
    let dead = async {
        let leases = [dead_letter(&queue).await, dead_letter(&queue).await, dead_letter(&queue).await];
        let ids: HashSet<_> = leases.iter().map(|lease| lease.job().id).collect();
        assert_eq!(ids, jobs.iter().map(|job| job.id).collect());
    };
    tokio::select! {
        () = dying => {}
        () = dead => {}
    }
}

#[tokio::test]
async fn a_closed_queue_gives_its_jobs_back_at_once() {
    let (first, second) = (shared("handover").await, shared("handover").await);
    let job = job("hello");
    first.enqueue(&job).await.unwrap();
    let _held = lease(&first).await;
    first.close().await;
    assert_eq!(*lease(&second).await.job(), job);
    assert!(first.enqueue(&job).await.is_err());
    assert!(first.lease().await.is_err());
    assert!(first.ready().await.is_err());
}

#[tokio::test]
async fn as_many_jobs_are_out_as_there_are_slots() {
    let url = services::RabbitMq::shared().await.url();
    let queue = RabbitMq::new(Config { prefetch: NonZeroU16::new(2).unwrap(), ..config(&url, "slots") });
    for n in 0..3 {
        queue.enqueue(&job(&format!("prompt {n}"))).await.unwrap();
    }
    let (first, _second) = (lease(&queue).await, lease(&queue).await);
    let mut third = Box::pin(queue.lease());
    let (_connection, channel) = operator(&url).await;
    tokio::select! {
        biased;
        lease = &mut third => panic!("one too many: {lease:?}"),
        waiting = depth(&channel, "slots") => assert_eq!(waiting, 1),
    }
    first.ack().await.unwrap();
    timeout(SOON, third).await.expect("the third job arrives").unwrap().ack().await.unwrap();
}

#[tokio::test]
async fn a_connection_that_the_broker_closes_is_made_again_and_leased_jobs_come_back() {
    let broker = to_hurt().await;
    let queue = RabbitMq::new(config(&broker.url(), "closed"));
    let job = job("hello");
    queue.enqueue(&job).await.unwrap();
    let held = lease(&queue).await;
    broker.close_connections().await;
    assert_eq!(*lease(&queue).await.job(), job);
    let error = reason(&held.ack().await.unwrap_err());
    assert!(error.contains("was lost"), "{error}");
    eventually("jobs are stored again", || async { queue.enqueue(&job).await.is_ok() }).await;
}

#[tokio::test]
async fn a_broker_without_memory_refuses_jobs_at_once_and_still_takes_acknowledgements() {
    let broker = to_hurt().await;
    // Longer than the test may take: a refusal that waits for a time-out is none.
    let patient = |queue| Config { confirm_timeout: SOON * 2, ..config(&broker.url(), queue) };
    let queue = RabbitMq::new(patient("blocked"));
    queue.enqueue(&job("before the alarm")).await.unwrap();

    broker.control(&["set_vm_memory_high_watermark", "0.0000001"]).await;
    // The broker tells a connection when it next publishes.
    eventually("jobs are refused", || async { queue.enqueue(&job("into the alarm")).await.is_err() }).await;
    for refused in [queue.enqueue(&job("during the alarm")).await, queue.ready().await] {
        let error = reason(&refused.unwrap_err());
        assert!(error.contains("takes no messages") && error.contains("memory"), "{error}");
    }
    let (_connection, channel) = operator(&broker.url()).await;
    let drained = async {
        loop {
            lease(&queue).await.ack().await.unwrap();
        }
    };
    tokio::select! {
        () = drained => {}
        () = eventually("jobs are acknowledged", || async { depth(&channel, "blocked").await == 0 }) => {}
    }

    broker.control(&["set_vm_memory_high_watermark", "absolute", "1GB"]).await;
    eventually("it is ready", || async { queue.ready().await.is_ok() }).await;
    queue.enqueue(&job("after the alarm")).await.unwrap();
}

#[tokio::test]
async fn a_broker_that_a_failed_test_left_frozen_is_replaced() {
    let failing = async {
        let broker = to_hurt().await;
        broker.pause();
        panic!("as a test does");
    };
    assert!(AssertUnwindSafe(failing).catch_unwind().await.is_err());
    let queue = RabbitMq::new(config(&to_hurt().await.url(), "replaced"));
    queue.enqueue(&job("hello")).await.unwrap();
}

#[tokio::test]
async fn a_frozen_broker_is_noticed_and_goes_on_when_it_thaws() {
    let broker = to_hurt().await;
    let hasty = Config { confirm_timeout: Duration::from_millis(500), ..config(&broker.url(), "frozen") };
    let queue = RabbitMq::new(hasty);
    let job = job("hello");
    eventually("jobs are stored", || async { queue.enqueue(&job).await.is_ok() }).await;
    broker.pause();
    let error = reason(&queue.enqueue(&job).await.unwrap_err());
    assert!(error.contains("did not confirm"), "{error}");
    eventually("it is not ready", || async { queue.ready().await.is_err() }).await;
    broker.resume();
    eventually("jobs are stored again", || async { queue.enqueue(&job).await.is_ok() }).await;
}
