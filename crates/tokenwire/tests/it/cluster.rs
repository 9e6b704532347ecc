//! `tokenwire api` and `tokenwire worker` on a real Redis and a real RabbitMQ.

use std::{sync::Arc, time::Duration};

use futures::future::join_all;
use job_queue::rabbitmq::{self, Address};
use nix::sys::signal::Signal;
use reqwest::StatusCode;
use serde_json::{Value, json};
use testkit::services::{AppendOnly, RabbitMq, Redis, free_port};
use token_log::redis;
use tokenwire_core::{
    Conversation, GenerateRequest, GenerationId, Job, JobQueue, ModelName, SystemClock, TokenLog,
};
use tokio::{
    join,
    time::{sleep, timeout},
};

use super::{
    app::{App, PATIENCE, http},
    embedded::undisturbed,
    reader::Reader,
};

const LONG: [&str; 4] = ["--simulated-words", "200", "--simulated-delay", "10ms"];

/// A Redis of its own, so that it can be hurt, and either a RabbitMQ of its own or the one that all tests share.
pub(crate) struct Cluster {
    pub(crate) redis: Redis,
    rabbitmq: Broker,
    pub(crate) queue: String,
}

enum Broker {
    Own(RabbitMq),
    Shared(&'static RabbitMq),
}

impl Cluster {
    /// On the shared RabbitMQ, with a queue of its own.
    pub(crate) async fn start() -> Self {
        let (redis, rabbitmq) = join!(Redis::start(AppendOnly::Yes), RabbitMq::shared());
        Self { redis, rabbitmq: Broker::Shared(rabbitmq), queue: format!("q{}", free_port()) }
    }

    /// With a Redis that keeps nothing over a restart.
    async fn start_on_sand() -> Self {
        let (redis, rabbitmq) = join!(Redis::start(AppendOnly::No), RabbitMq::shared());
        Self { redis, rabbitmq: Broker::Shared(rabbitmq), queue: format!("q{}", free_port()) }
    }

    /// On a RabbitMQ that may be hurt.
    pub(crate) async fn start_with_own_broker() -> Self {
        let (redis, rabbitmq) = join!(Redis::start(AppendOnly::Yes), RabbitMq::start());
        Self { redis, rabbitmq: Broker::Own(rabbitmq), queue: "llm_queue".into() }
    }

    pub(crate) fn rabbitmq(&self) -> &RabbitMq {
        match &self.rabbitmq {
            Broker::Own(rabbitmq) => rabbitmq,
            Broker::Shared(rabbitmq) => rabbitmq,
        }
    }

    /// The demonstration's own names.
    pub(crate) fn env(&self, region: &str) -> Vec<(&'static str, String)> {
        vec![
            ("REDIS_HOST", "127.0.0.1".into()),
            ("REDIS_PORT", self.redis.port().to_string()),
            ("RABBITMQ_HOST", "127.0.0.1".into()),
            ("RABBITMQ_PORT", self.rabbitmq().port().to_string()),
            ("TOKENWIRE_QUEUE", self.queue.clone()),
            ("REGION", region.into()),
        ]
    }

    /// The job of a generation a second time, as a broker that lost a confirmation makes it.
    async fn publish_again(&self, id: GenerationId, query: &str) {
        let address = Address::new("127.0.0.1", self.rabbitmq().port(), "guest", "guest");
        let model = ModelName::new("simulated").unwrap();
        let config = rabbitmq::Config {
            queue: self.queue.parse().unwrap(),
            ..rabbitmq::Config::new(address, model.clone())
        };
        let request = GenerateRequest::new(model, Conversation::of(query).unwrap());
        let log = redis::Config { url: self.redis.url(), ..redis::Config::default() };
        let log = redis::Redis::new(&log, Arc::new(SystemClock)).unwrap();
        let epoch = log.spec(id).await.unwrap().epoch();
        let job = Job { id, request: Some(request), epoch: Some(epoch) };
        let queue = rabbitmq::RabbitMq::new(config);
        queue.enqueue(&job).await.unwrap();
        queue.close().await;
    }

    /// Waits until no job is queued or held by anybody.
    pub(crate) async fn queue_is_empty(&self) {
        let empty = format!("{}\t0", self.queue);
        let emptied = async {
            while !self.rabbitmq().control(&["list_queues", "name", "messages"]).await.contains(&empty) {}
        };
        timeout(PATIENCE, emptied).await.expect("every job is settled");
    }

    pub(crate) async fn api(&self) -> App {
        App::role("api", &[], &self.env("")).await
    }

    async fn worker(&self, region: &str) -> App {
        App::role("worker", &LONG, &self.env(region)).await
    }
}

#[tokio::test]
async fn two_replicas_and_two_workers_answer_as_one() {
    let cluster = Cluster::start().await;
    let (one, other, east) = join!(cluster.api(), cluster.api(), cluster.worker("EAST-1"));
    let mut reader = Reader::asking(&one, "a story", 20).await;
    assert_eq!(reader.attempts(), [&json!({ "attempt": 1, "region": "EAST-1" })]);
    let mut elsewhere = reader.another();
    assert_eq!(elsewhere.read_to_the_end(&other).await, "done");
    assert_eq!(reader.read_to_the_end(&other).await, "done");
    assert_eq!(reader.text, undisturbed("a story", 200).await);
    assert_eq!(elsewhere.text, reader.text);
    assert!(east.output().contains("EAST-1"), "a worker logs its region");
}

#[tokio::test]
async fn kill_9_of_the_worker_hands_the_answer_to_the_other_one() {
    let cluster = Cluster::start().await;
    let (api, mut east) = join!(cluster.api(), cluster.worker("EAST-1"));
    let mut reader = Reader::asking(&api, "a story", 30).await;
    let _west = cluster.worker("WEST-1").await;
    east.kill();
    assert_eq!(reader.read_to_the_end(&api).await, "done");
    assert_eq!(reader.text, undisturbed("a story", 200).await);
    let regions: Vec<_> = reader.attempts().iter().map(|started| started["region"].clone()).collect();
    assert_eq!(regions, ["EAST-1", "WEST-1"]);
}

#[tokio::test]
async fn a_frozen_worker_is_replaced_and_stops_when_it_wakes_up() {
    let cluster = Cluster::start().await;
    let (api, east) = join!(cluster.api(), cluster.worker("EAST-1"));
    let mut reader = Reader::asking(&api, "a story", 30).await;
    let west = cluster.worker("WEST-1").await;
    east.signal(Signal::SIGSTOP);
    assert_eq!(reader.read_to_the_end(&api).await, "done");
    assert_eq!(reader.text, undisturbed("a story", 200).await);
    let regions: Vec<_> = reader.attempts().iter().map(|started| started["region"].clone()).collect();
    assert_eq!(regions, ["EAST-1", "WEST-1"]);
    east.signal(Signal::SIGCONT);
    timeout(PATIENCE, async {
        while !east.output().contains("a newer attempt owns the stream")
            && !east.output().contains("could not settle")
        {
            sleep(Duration::from_millis(20)).await;
        }
    })
    .await
    .expect("it notices, and stops its model");
    // Both are whole: they answer the next prompts.
    let mut next = Reader::new("another story");
    assert_eq!(next.read_to_the_end(&api).await, "done");
    assert_eq!(next.text, undisturbed("another story", 200).await);
    drop(west);
}

/// With the same key, so that both responses have one id: whoever writes the first one must not bring it back, nor disturb the
/// second one.
#[tokio::test]
async fn a_response_that_is_deleted_while_its_worker_is_frozen_stays_deleted() {
    let cluster = Cluster::start().await;
    let (api, other, east) = join!(cluster.api(), cluster.api(), cluster.worker("EAST-1"));
    let create = async || {
        let body = json!({ "model": "simulated", "input": "a story", "background": true });
        let call = http().post(api.url("/v1/responses")).header("idempotency-key", "a-story").json(&body);
        let created: Value = call.send().await.unwrap().json().await.unwrap();
        created["id"].as_str().unwrap().to_owned()
    };
    let id = create().await;
    let path = format!("/v1/responses/{id}");
    let delete = async || http().delete(api.url(&path)).send().await.unwrap().status();
    let is_gone = async || {
        let shown = [&api, &other].map(|app| http().get(app.url(&path)).send());
        join_all(shown).await.into_iter().all(|shown| shown.unwrap().status() == StatusCode::NOT_FOUND)
    };
    let mut first = Reader::new("a story").another();
    first.id = id.strip_prefix("resp_").unwrap().parse().unwrap();
    let mut second = first.another();
    first.read_pieces(&api, 30).await;
    east.signal(Signal::SIGSTOP);
    assert_eq!(delete().await, StatusCode::OK);
    assert!(is_gone().await);

    let west = cluster.worker("WEST-1").await;
    assert_eq!(create().await, id);
    assert_eq!(second.read_to_the_end(&other).await, "done");
    assert_eq!(second.text, undisturbed("a story", 200).await);
    assert_eq!(second.attempts(), [&json!({ "attempt": 1, "region": "WEST-1" })]);
    assert_eq!(delete().await, StatusCode::OK);

    east.signal(Signal::SIGCONT);
    east.says("dropped a job whose stream is gone").await;
    assert!(is_gone().await);
    cluster.queue_is_empty().await;
    drop(west);
    let mut next = Reader::new("another story");
    assert_eq!(next.read_to_the_end(&api).await, "done");
    assert_eq!(next.text, undisturbed("another story", 200).await);
    assert!(is_gone().await);
}

#[tokio::test]
async fn a_prompt_queued_twice_does_not_depose_the_worker_that_runs_it() {
    let cluster = Cluster::start().await;
    let (api, _east, _west) = join!(cluster.api(), cluster.worker("EAST-1"), cluster.worker("WEST-1"));
    let mut reader = Reader::asking(&api, "a story", 20).await;
    cluster.publish_again(reader.id, "a story").await;
    assert_eq!(reader.read_to_the_end(&api).await, "done");
    assert_eq!(reader.text, undisturbed("a story", 200).await);
    assert_eq!(reader.attempts().len(), 1);
}

#[tokio::test]
async fn kill_9_of_the_api_costs_its_readers_a_reconnect_to_another_one() {
    let cluster = Cluster::start().await;
    let (mut one, other, _worker) = join!(cluster.api(), cluster.api(), cluster.worker("EAST-1"));
    let mut reader = Reader::asking(&one, "a story", 30).await;
    one.kill();
    assert_eq!(reader.read_to_the_end(&other).await, "done");
    assert_eq!(reader.text, undisturbed("a story", 200).await);
    assert_eq!(reader.attempts().len(), 1, "the generation never noticed");
}

#[tokio::test]
async fn stop_reaches_the_worker_through_any_replica() {
    let cluster = Cluster::start().await;
    let (one, other, _worker) = join!(cluster.api(), cluster.api(), cluster.worker("EAST-1"));
    let mut reader = Reader::asking(&one, "a story", 5).await;
    let stop = http().delete(other.url(&format!("/ask/{}", reader.id))).send().await.unwrap();
    assert_eq!(stop.status(), StatusCode::ACCEPTED);
    assert_eq!(reader.read_to_the_end(&one).await, "cancelled");
    assert!(reader.pieces < 200);
}

#[tokio::test]
async fn a_reader_at_any_replica_keeps_a_generation_alive_and_none_stops_it() {
    let cluster = Cluster::start().await;
    let mut env = cluster.env("");
    env.push(("TOKENWIRE_DISCONNECT_GRACE", "0s".into()));
    let endless = ["--simulated-words", "1000000", "--simulated-delay", "5ms"];
    let east = cluster.env("EAST-1");
    let (one, other, worker) = join!(
        App::role("api", &[], &env),
        App::role("api", &[], &env),
        App::role("worker", &endless, &east),
    );
    let mut reader = Reader::asking(&one, "for ever", 5).await;
    let mut elsewhere = reader.another();
    // Longer than an audience is remembered: 7 s at the model's pace.
    elsewhere.read_pieces(&other, 1400).await;
    assert!(!worker.output().contains("cancelled"));
    worker.says("cancelled").await;
    assert_eq!(reader.read_to_the_end(&other).await, "cancelled");
    assert_eq!(reader.ending().unwrap().1["cause"], "abandoned");
}

#[tokio::test]
async fn a_restart_of_redis_in_mid_answer_leaves_no_reader_hanging() {
    let cluster = Cluster::start().await;
    let (api, _worker) = join!(cluster.api(), cluster.worker("EAST-1"));
    let mut reader = Reader::asking(&api, "a story", 30).await;
    cluster.redis.kill().await;
    sleep(Duration::from_millis(300)).await;
    cluster.redis.restart().await;
    assert_eq!(reader.read_to_the_end(&api).await, "done");
    assert_eq!(reader.text, undisturbed("a story", 200).await);
}

#[tokio::test]
async fn redis_back_empty_in_mid_answer_costs_readers_nothing() {
    let cluster = Cluster::start_on_sand().await;
    let (api, _worker) = join!(cluster.api(), cluster.worker("EAST-1"));
    let mut reader = Reader::asking(&api, "a story", 30).await;
    let url = api.url(&format!("/ask/{}", reader.id));
    let open = http().get(&url).send().await.unwrap();
    assert_eq!(open.status(), StatusCode::OK);
    cluster.redis.kill().await;
    cluster.redis.restart().await;
    let seen = timeout(PATIENCE, open.text()).await.unwrap().unwrap();
    let stored = http().get(&url).send().await.unwrap().text().await.unwrap();
    assert_eq!(seen, stored, "one connection to the end, and what it brought is what is there");
    assert_eq!(reader.read_to_the_end(&api).await, "done");
    assert_eq!(reader.text, undisturbed("a story", 200).await);
    assert_eq!(reader.attempts().len(), 1, "the generation went on");
}

#[tokio::test]
async fn redis_back_empty_and_the_worker_gone_too_ends_with_an_error_and_never_a_hang() {
    let cluster = Cluster::start_on_sand().await;
    let (api, mut worker) = join!(cluster.api(), cluster.worker("EAST-1"));
    let reader = Reader::asking(&api, "a story", 30).await;
    let url = api.url(&format!("/ask/{}", reader.id));
    let open = http().get(&url).send().await.unwrap();
    assert_eq!(open.status(), StatusCode::OK);
    worker.kill();
    cluster.redis.kill().await;
    cluster.redis.restart().await;
    let seen = timeout(PATIENCE, open.text()).await.unwrap().expect("a polite end");
    let end = seen.rsplit("\n\n").nth(1).unwrap();
    assert!(end.starts_with("event: error\ndata:{\"type\":\"lost\""), "{seen}");
    assert_eq!(http().get(&url).send().await.unwrap().status(), StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn without_redis_prompts_are_refused_and_later_taken_again() {
    let cluster = Cluster::start().await;
    let (api, _worker) = join!(cluster.api(), cluster.worker("EAST-1"));
    cluster.redis.kill().await;
    let mut reader = Reader::new("a story");
    let body = json!({ "query": "a story", "uuid": reader.id.to_string() });
    let refused = http().post(api.url("/ask")).json(&body).send().await.unwrap();
    assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert!(refused.headers().contains_key("retry-after"));
    assert_eq!(http().get(api.url("/ready")).send().await.unwrap().status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(http().get(api.url("/health")).send().await.unwrap().status(), StatusCode::OK);
    cluster.redis.restart().await;
    assert_eq!(reader.read_to_the_end(&api).await, "done");
    assert_eq!(reader.text, undisturbed("a story", 200).await);
}

#[tokio::test]
async fn a_restart_of_rabbitmq_loses_no_accepted_prompt_and_touches_no_running_one() {
    let cluster = Cluster::start_with_own_broker().await;
    let (api, mut worker) = join!(cluster.api(), cluster.worker("EAST-1"));
    // A first answer, so that the queue is not brand-new: RabbitMQ confirms messages to a quorum queue up to half a second
    // before the existence of the queue itself survives kill -9.
    assert_eq!(Reader::new("the first").read_to_the_end(&api).await, "done");
    assert_eq!(worker.stop(), 0);
    // Accepted while no worker is there: it waits in the broker.
    let waiting = Reader::new("waiting");
    let body = json!({ "query": "waiting", "uuid": waiting.id.to_string() });
    let accepted = http().post(api.url("/ask")).json(&body).send().await.unwrap();
    assert_eq!(accepted.status(), StatusCode::OK);
    cluster.rabbitmq().kill().await;
    cluster.rabbitmq().restart().await;
    let _worker = cluster.worker("EAST-1").await;
    let mut waiting = waiting.another();
    waiting.read_pieces(&api, 30).await;
    cluster.rabbitmq().kill().await;
    assert_eq!(waiting.read_to_the_end(&api).await, "done", "a running generation does not need the broker");
    assert_eq!(waiting.text, undisturbed("waiting", 200).await);

    let mut refused = Reader::new("refused at first");
    let body = json!({ "query": "refused at first", "uuid": refused.id.to_string() });
    let answer = http().post(api.url("/ask")).json(&body).send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert!(answer.headers().contains_key("retry-after"));
    cluster.rabbitmq().restart().await;
    assert_eq!(refused.read_to_the_end(&api).await, "done");
    assert_eq!(refused.text, undisturbed("refused at first", 200).await);
}
