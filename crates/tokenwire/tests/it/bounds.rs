//! What the program does at its limits: it says no, early, and goes on with what it has.

use std::time::Duration;

use reqwest::{StatusCode, header::RETRY_AFTER};
use serde_json::Value;
use tokio::time::{sleep, timeout};

use super::{
    app::{App, PATIENCE, http},
    reader::Reader,
};

const ENDLESS: [&str; 4] = ["--simulated-words", "100000", "--simulated-delay", "10ms"];

#[tokio::test]
async fn streams_beyond_the_limit_of_descriptors_are_refused_and_nothing_hangs() {
    const LIMIT: usize = 160;
    let app = App::serve_with_descriptors(LIMIT as u64, &ENDLESS).await;
    app.says("the limit of file descriptors, 160, carries").await;
    let reader = Reader::asking(&app, "for ever", 1).await;
    let stream = || http().get(app.url(&format!("/ask/{}", reader.id))).send();
    let mut open = Vec::new();
    let refused = loop {
        assert!(open.len() < LIMIT, "more streams than descriptors");
        let answer = timeout(PATIENCE, stream()).await.expect("an answer").unwrap();
        if answer.status() != StatusCode::OK {
            break answer;
        }
        open.push(answer);
    };
    assert!(open.len() > LIMIT / 4, "refused after {} streams", open.len());
    assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert!(refused.headers().contains_key(RETRY_AFTER));
    let body: Value = refused.json().await.unwrap();
    assert_eq!(body["error"]["type"], "too_many_streams");
    let health = timeout(PATIENCE, http().get(app.url("/health")).send()).await.expect("an answer").unwrap();
    assert_eq!(health.status(), StatusCode::OK, "a full server is alive, and says so");
    drop(open);
    let served = async {
        while stream().await.unwrap().status() != StatusCode::OK {
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(PATIENCE, served).await.expect("room again");
}

#[tokio::test]
async fn a_soft_limit_is_raised_without_being_asked() {
    let app = App::serve_with_descriptors(1024, &["--max-streams", "40"]).await;
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", app.pid())).unwrap();
    let files = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
    assert_eq!(files.split_whitespace().nth(3), Some("1024"), "{files}");
    assert!(!app.output().contains("file descriptors"), "it carries what is asked for");
}
