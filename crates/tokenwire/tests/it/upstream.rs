//! In front of a real OpenAI-compatible server: llama.cpp's, with SmolLM2-135M-Instruct.

use std::time::Duration;

use serde_json::json;
use testkit::services::LlamaServer;
use tokio::time::sleep;

use super::{
    app::{App, http},
    reader::Reader,
};

const PREFILL: [&str; 2] = ["--upstream-continuation", "assistant_prefill"];

async fn serve(upstream: &LlamaServer, args: &[&str]) -> App {
    App::serve(&[&["--upstream", &upstream.base_url()], args].concat()).await
}

/// A question whose answer takes a while.
fn asking(max_tokens: u32) -> Reader {
    let query = "Write a very long story about a lighthouse.";
    Reader::sending(json!({ "query": query, "temperature": 0, "max_tokens": max_tokens }))
}

async fn until_busy(upstream: &LlamaServer, slots: usize) {
    let mut looks = 0;
    while upstream.busy_slots().await != slots {
        looks += 1;
        assert!(looks < 1_200, "the upstream does not have {slots} slots at work");
        sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn stopping_a_generation_frees_its_slot_at_the_upstream() {
    let upstream = LlamaServer::start(1).await;
    let app = serve(&upstream, &[]).await;
    let mut reader = asking(1_500);
    reader.read_pieces(&app, 5).await;
    until_busy(&upstream, 1).await;
    http().delete(app.url(&format!("/ask/{}", reader.id))).send().await.unwrap();
    assert_eq!(reader.read_to_the_end(&app).await, "cancelled");
    until_busy(&upstream, 0).await;
}

#[tokio::test]
async fn kill_9_in_mid_answer_goes_on_from_the_text_so_far_where_the_upstream_takes_it() {
    let upstream = LlamaServer::start(1).await;
    let mut app = serve(&upstream, &PREFILL).await;
    let mut reader = asking(120);
    reader.read_pieces(&app, 20).await;
    app.kill();
    app.start_again().await;
    assert_eq!(reader.read_to_the_end(&app).await, "done");
    assert_eq!(reader.attempts().len(), 2);
    assert!(reader.events.iter().all(|(name, _)| name != "rewind"));
}

#[tokio::test]
async fn kill_9_in_mid_answer_starts_over_and_says_so_where_it_does_not() {
    let upstream = LlamaServer::start(1).await;
    let mut app = serve(&upstream, &[]).await;
    let mut reader = asking(60);
    reader.read_pieces(&app, 20).await;
    app.kill();
    app.start_again().await;
    assert_eq!(reader.read_to_the_end(&app).await, "done");
    let rewinds = reader.events.iter().filter(|(name, _)| name == "rewind");
    assert_eq!(rewinds.count(), 1);
}

#[tokio::test]
async fn an_upstream_that_dies_in_mid_answer_costs_an_attempt_where_there_is_another() {
    let (first, second) = (LlamaServer::start(1).await, LlamaServer::start(1).await);
    let both = format!("{},{}", first.base_url(), second.base_url());
    let app = App::serve(&[&["--upstream", &both], &PREFILL[..]].concat()).await;
    let mut reader = asking(200);
    reader.read_pieces(&app, 10).await;
    // Whichever answers.
    let (busy, _idle) = if first.busy_slots().await == 1 { (first, second) } else { (second, first) };
    busy.kill();
    assert_eq!(reader.read_to_the_end(&app).await, "done");
    assert_eq!(reader.attempts().len(), 2);
}
