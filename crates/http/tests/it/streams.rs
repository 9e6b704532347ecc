//! What happens to an open stream: silence, a drain, a log that is gone, a reader that leaves.

use std::{sync::Arc, time::Duration};

use axum::http::StatusCode;
use tokenwire_core::{
    TextSoFar, Timestamp,
    token_log::{Attempts, Ownership},
};
use tokenwire_http::Config;
use tokio::time::Instant;

use crate::{
    stores::{Plug, Unattended},
    support::{Stage, delta, piece, started, text},
};

#[tokio::test(start_paused = true)]
async fn silence_is_filled_with_comments() {
    let stage = Stage::new();
    let id = stage.queued().await;
    let mut body = stage.get(&format!("/ask/{id}"), &[]).await.into_body();
    piece(&mut body).await.unwrap().unwrap();
    for _ in 0..3 {
        let before = Instant::now();
        assert_eq!(piece(&mut body).await.unwrap().unwrap(), ":\n\n");
        assert_eq!(before.elapsed(), Duration::from_secs(10));
    }
    stage.write(id, &[started(1, TextSoFar::Kept)]).await;
    assert!(piece(&mut body).await.unwrap().unwrap().starts_with("id: 1\nevent: started\n"));
}

/// A busy model, or one that cannot be reached: readers learn why nothing comes.
#[tokio::test(start_paused = true)]
async fn a_reader_is_told_that_the_model_is_waited_for() {
    let stage = Stage::new();
    let id = stage.written(&[started(1, TextSoFar::Kept)]).await;
    let mut body = stage.get(&format!("/ask/{id}"), &[]).await.into_body();
    while !piece(&mut body).await.unwrap().unwrap().contains("event: started") {}
    let mut writer = stage.log.open_writer(id).await.unwrap();
    let until = Timestamp::from_millis(1_763_800_000_123);
    let attempts = Attempts { waiting_until: Some(until), ..Attempts::default() };
    writer.record_attempts(attempts, Ownership::Released).await.unwrap();
    let told = "event: waiting_for_model\ndata:{\"until\":1763800000123}\n\n";
    assert_eq!(piece(&mut body).await.unwrap().unwrap(), told);
    assert_eq!(piece(&mut body).await.unwrap().unwrap(), ":\n\n", "once");
    let late =
        piece(&mut stage.get(&format!("/ask/{id}"), &[("last-event-id", "1")]).await.into_body()).await;
    assert!(late.unwrap().unwrap().starts_with("retry: "), "it is no entry");
}

#[tokio::test]
async fn a_drain_aborts_streams_and_never_ends_them_politely() {
    let stage = Stage::new();
    let id = stage.written(&[started(1, TextSoFar::Kept), delta("Hi")]).await;
    let mut body = stage.get(&format!("/ask/{id}"), &[]).await.into_body();
    piece(&mut body).await.unwrap().unwrap();
    piece(&mut body).await.unwrap().unwrap();
    stage.drain.cancel();
    piece(&mut body).await.unwrap().unwrap_err();
}

#[tokio::test]
async fn a_reader_who_comes_while_draining_is_cut_rather_than_refused() {
    // An EventSource gives up for good on a 503; it reconnects after a cut.
    let stage = Stage::new();
    let id = stage.queued().await;
    stage.drain.cancel();
    let response = stage.get(&format!("/ask/{id}"), &[]).await;
    assert_eq!(response.status(), StatusCode::OK);
    let mut body = response.into_body();
    assert!(piece(&mut body).await.unwrap().unwrap().starts_with("retry: 1000\n\n"));
    piece(&mut body).await.unwrap().unwrap_err();
}

#[tokio::test(start_paused = true)]
async fn a_reader_whose_stream_is_lost_learns_of_an_end() {
    let stage = Stage::new();
    let id = stage.written(&[started(1, TextSoFar::Kept), delta("half")]).await;
    let path = format!("/ask/{id}");
    let mut body = stage.get(&path, &[]).await.into_body();
    piece(&mut body).await.unwrap().unwrap();
    assert!(piece(&mut body).await.unwrap().unwrap().ends_with("id: 2\ndata: half\n\n"));
    stage.log.remove(id).await.unwrap();
    let lost_at = Instant::now();
    let end = loop {
        let piece = piece(&mut body).await.unwrap().unwrap();
        if piece != ":\n\n" {
            break piece;
        }
    };
    assert_eq!(
        end,
        "event: error\n\
         data:{\"type\":\"lost\",\"message\":\"the server lost this answer before its end: ask again\"}\n\n"
    );
    assert!(piece(&mut body).await.is_none(), "a polite end: there is nothing to resume");
    assert!(lost_at.elapsed() < Duration::from_secs(25), "within what a reader bears (I10)");
    assert_eq!(stage.get(&path, &[]).await.status(), StatusCode::NOT_FOUND);
}

#[tokio::test(start_paused = true)]
async fn a_log_that_comes_back_in_time_costs_a_reader_nothing() {
    let plug = Plug::connected();
    let stage = Stage::over(plug.clone(), Arc::new(Unattended::default()), Config::default());
    let id = stage.written(&[started(1, TextSoFar::Kept)]).await;
    let mut body = stage.get(&format!("/ask/{id}"), &[]).await.into_body();
    piece(&mut body).await.unwrap().unwrap();
    piece(&mut body).await.unwrap().unwrap();
    plug.pull();
    for _ in 0..3 {
        assert_eq!(piece(&mut body).await.unwrap().unwrap(), ":\n\n");
    }
    plug.connect();
    stage.write(id, &[delta("still here")]).await;
    assert_eq!(piece(&mut body).await.unwrap().unwrap(), "id: 2\ndata: still here\n\n");
}

#[tokio::test(start_paused = true)]
async fn a_log_that_stays_away_cuts_its_readers_off_however_many_heartbeats_they_get() {
    let plug = Plug::connected();
    let stage = Stage::over(plug.clone(), Arc::new(Unattended::default()), Config::default());
    let id = stage.written(&[started(1, TextSoFar::Kept)]).await;
    let mut body = stage.get(&format!("/ask/{id}"), &[]).await.into_body();
    piece(&mut body).await.unwrap().unwrap();
    piece(&mut body).await.unwrap().unwrap();
    plug.pull();
    let pulled_at = Instant::now();
    while let Ok(heartbeat) = piece(&mut body).await.expect("no polite end") {
        assert_eq!(heartbeat, ":\n\n");
        assert!(pulled_at.elapsed() < Duration::from_secs(120), "readers wait for ever");
    }
}

#[tokio::test]
async fn one_stream_too_many_is_told_to_come_back_until_a_reader_leaves() {
    let stage = Stage::with(Config { max_streams: 2, ..Config::default() });
    let id = stage.queued().await;
    let path = format!("/ask/{id}");
    let first = stage.get(&path, &[]).await;
    let second = stage.post(r#"{"query": "Hello"}"#).await;
    assert_eq!((first.status(), second.status()), (StatusCode::OK, StatusCode::OK));
    for refused in [stage.get(&path, &[]).await, stage.post(r#"{"query": "Hello"}"#).await] {
        assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(refused.headers()["retry-after"], "2");
        assert!(text(refused).await.contains(r#""type":"too_many_streams""#));
    }
    drop(first);
    assert_eq!(stage.get(&path, &[]).await.status(), StatusCode::OK);
}

#[tokio::test]
async fn answers_without_a_stream_give_their_permit_back() {
    let stage = Stage::with(Config { max_streams: 1, ..Config::default() });
    let unknown = format!("/ask/{}", tokenwire_core::GenerationId::fresh());
    let id = stage.queued().await;
    for _ in 0..3 {
        assert_eq!(stage.get(&unknown, &[]).await.status(), StatusCode::NOT_FOUND);
        let head = stage.call(axum::http::Method::HEAD, &format!("/ask/{id}"), &[], String::new()).await;
        assert_eq!(head.status(), StatusCode::OK);
    }
}
