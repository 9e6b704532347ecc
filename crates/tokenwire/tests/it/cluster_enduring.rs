//! What an operator's week does to `tokenwire api` and `tokenwire worker`, at their default settings.

use std::time::Duration;

use futures::future::join_all;
use reqwest::StatusCode;
use serde_json::json;
use tokio::{
    join,
    time::{Instant, sleep},
};

use super::{
    app::{App, http},
    cluster::Cluster,
    embedded::undisturbed,
    reader::Reader,
};

/// Answers of some seconds, in workers that do not wait for their end when they stop.
const LONG: [&str; 6] = ["--simulated-words", "500", "--simulated-delay", "10ms", "--drain", "0s"];

async fn worker(cluster: &Cluster, region: &str) -> App {
    App::role("worker", &LONG, &cluster.env(region)).await
}

/// Stores a prompt and does not wait for its answer.
async fn post(api: &App, query: &str) -> Reader {
    let reader = Reader::new(query);
    let body = json!({ "query": query, "uuid": reader.id.to_string() });
    let accepted = http().post(api.url("/ask")).json(&body).send().await.unwrap();
    assert_eq!(accepted.status(), StatusCode::OK);
    reader.another()
}

async fn whole(reader: &mut Reader, api: &App, query: &str) {
    assert_eq!(reader.read_to_the_end(api).await, "done", "{query}");
    assert_eq!(reader.text, undisturbed(query, 500).await);
}

#[tokio::test]
async fn three_rolling_restarts_within_one_answer_lose_nothing() {
    let cluster = Cluster::start().await;
    let (api, one, two, three) =
        join!(cluster.api(), worker(&cluster, "A"), worker(&cluster, "B"), worker(&cluster, "C"));
    let mut workers = [one, two, three];
    let queries: Vec<_> = (0..10).map(|number| format!("story {number}")).collect();
    let mut readers = join_all(queries.iter().map(|query| Reader::asking(&api, query, 3))).await;
    for _ in 0..3 {
        for worker in &mut workers {
            assert_eq!(worker.stop(), 0);
            worker.start_again().await;
        }
    }
    join_all(readers.iter_mut().zip(&queries).map(|(reader, query)| whole(reader, &api, query))).await;
}

/// Longer than a broker's limit of deliveries lasted when each return of a job counted.
#[tokio::test]
async fn redis_away_for_a_minute_ends_no_answer() {
    let cluster = Cluster::start().await;
    let (api, mut one, _two) = join!(cluster.api(), worker(&cluster, "A"), worker(&cluster, "B"));
    let queries = ["one story", "another story", "a third story", "a fourth story"];
    let mut readers = join_all(queries.iter().map(|query| Reader::asking(&api, query, 3))).await;
    cluster.redis.stop().await;
    one.kill();
    sleep(Duration::from_secs(50)).await;
    cluster.redis.restart().await;
    join_all(readers.iter_mut().zip(queries).map(|(reader, query)| whole(reader, &api, query))).await;
}

#[tokio::test]
async fn a_purged_queue_costs_a_prompt_that_waits_some_seconds() {
    let cluster = Cluster::start().await;
    let api = cluster.api().await;
    let queries = ["one story", "another story"];
    let mut readers = [post(&api, queries[0]).await, post(&api, queries[1]).await];
    cluster.rabbitmq().purge(&cluster.queue).await;
    let _worker = worker(&cluster, "A").await;
    // The first one is not even read meanwhile: the replica that accepted it looks after it.
    let reading = async {
        sleep(Duration::from_secs(25)).await;
        whole(&mut readers[0], &api, queries[0]).await;
        whole(&mut readers[1], &api, queries[1]).await;
    };
    reading.await;
}

#[tokio::test]
async fn a_deleted_queue_costs_a_prompt_that_waits_some_seconds() {
    let cluster = Cluster::start().await;
    let api = cluster.api().await;
    let mut reader = post(&api, "a story").await;
    cluster.rabbitmq().delete(&cluster.queue).await;
    let _worker = worker(&cluster, "A").await;
    whole(&mut reader, &api, "a story").await;
}

#[tokio::test]
async fn connections_that_the_broker_closes_take_no_slot_and_lose_nothing() {
    let cluster = Cluster::start_with_own_broker().await;
    let (api, _worker) = join!(cluster.api(), worker(&cluster, "A"));
    let queries: Vec<_> = (0..7).map(|number| format!("story {number}")).collect();
    let mut readers = join_all(queries.iter().map(|query| Reader::asking(&api, query, 3))).await;
    cluster.rabbitmq().close_connections().await;
    // Eight slots, seven of which are taken: what is delivered again does not take the last one.
    let began = Instant::now();
    let mut short = Reader::asking(&api, "a short question", 1).await;
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
    join_all(readers.iter_mut().zip(&queries).map(|(reader, query)| whole(reader, &api, query))).await;
    whole(&mut short, &api, "a short question").await;
    cluster.queue_is_empty().await;
}

/// The default of a new ACL user: keys and no channels.
#[tokio::test]
async fn a_redis_user_without_channels_is_not_ready_and_refuses_nothing_that_it_accepted() {
    let cluster = Cluster::start().await;
    let rules = "~tokenwire:* +@all -@admin -@dangerous resetchannels";
    let url = cluster.redis.url_of_user("tw", rules).await;
    let mut env = cluster.env("A");
    env.retain(|(name, _)| !name.starts_with("REDIS"));
    env.push(("REDIS_URL", url));
    let api = App::role_unready("api", &[], &env).await;
    let ready = http().get(api.url("/ready")).send().await.unwrap();
    assert_eq!(ready.status(), StatusCode::SERVICE_UNAVAILABLE);
    let reasons = ready.text().await.unwrap();
    assert!(reasons.contains("channel"), "{reasons}");
    // A prompt is accepted with its stream, also without wake-ups.
    let body = json!({ "query": "a story", "uuid": "0192f0c1-2d3e-7a4b-8c5d-6e7f8091a2b3" });
    let answer = http().post(api.url("/ask")).json(&body).send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
}

#[tokio::test]
async fn the_same_id_posted_again_while_it_waits_does_not_fill_the_queue() {
    let cluster = Cluster::start().await;
    let api = cluster.api().await;
    let reader = post(&api, "a story").await;
    let body = json!({ "query": "a story", "uuid": reader.id.to_string() });
    for _ in 0..2 {
        let again = (0..6).map(|_| http().post(api.url("/ask")).json(&body).send());
        for answer in join_all(again).await {
            assert_eq!(answer.unwrap().status(), StatusCode::OK);
        }
    }
    let listed = cluster.rabbitmq().control(&["list_queues", "name", "messages"]).await;
    let count = listed.lines().find_map(|line| line.strip_prefix(&format!("{}\t", cluster.queue)));
    let count: usize = count.unwrap().trim().parse().unwrap();
    assert!(count <= 2, "{count} jobs for one prompt");
}

/// A Redis Cluster or a Sentinel is refused in one sentence, and nothing runs.
#[tokio::test]
async fn a_redis_cluster_is_refused_at_the_start() {
    let cluster = Cluster::start().await;
    let node = testkit::services::Redis::start_cluster_node().await;
    let mut env = cluster.env("A");
    env.retain(|(name, _)| !name.starts_with("REDIS"));
    env.push(("REDIS_URL", node.url()));
    let mut worker = App::role_unready("worker", &[], &env).await;
    assert_ne!(worker.wait(), 0);
}
