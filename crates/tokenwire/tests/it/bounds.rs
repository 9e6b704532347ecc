//! What the program does at its limits: it says no, early, and goes on with what it has.

use std::time::Duration;

use reqwest::{Response, StatusCode, header::RETRY_AFTER};
use serde_json::{Value, json};
use testkit::services::free_port;
use tokenwire_core::GenerationId;
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
    app.says("open-file limit 160 allows").await;
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
    assert!(!app.output().contains("open-file limit"), "it allows what is configured");
}

async fn ask(app: &App, id: GenerationId) -> Response {
    let body = json!({ "query": "for ever", "uuid": id.to_string() });
    let answer = http().post(app.url("/ask")).json(&body).send();
    timeout(PATIENCE, answer).await.expect("an answer").unwrap()
}

#[tokio::test]
async fn prompts_beyond_those_that_may_wait_are_refused_while_running_ones_go_on() {
    let metrics = format!("127.0.0.1:{}", free_port());
    let bounds = ["--slots", "1", "--max-waiting", "2", "--metrics-listen", &metrics];
    let app = App::serve(&[&ENDLESS[..], &bounds].concat()).await;
    let mut running = Reader::asking(&app, "for ever", 1).await;
    let waiting = [GenerationId::fresh(), GenerationId::fresh()];
    let mut open = Vec::new();
    for id in waiting {
        open.push(ask(&app, id).await);
    }
    assert!(open.iter().all(|answer| answer.status() == StatusCode::OK));

    let shed = GenerationId::fresh();
    let refused = ask(&app, shed).await;
    assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(refused.headers()[RETRY_AFTER], "2");
    let body: Value = refused.json().await.unwrap();
    assert_eq!(body["error"]["type"], "overloaded");
    let lookup = http().get(app.url(&format!("/ask/{shed}"))).send().await.unwrap();
    assert_eq!(lookup.status(), StatusCode::NOT_FOUND, "a refused prompt leaves nothing behind");
    let counted = http().get(format!("http://{metrics}/metrics")).send().await.unwrap().text().await.unwrap();
    assert!(counted.contains("tokenwire_generations_shed_total 1\n"), "{counted}");
    assert_eq!(ask(&app, waiting[0]).await.status(), StatusCode::OK, "an accepted prompt attaches");
    let before = running.pieces;
    running.read_pieces(&app, before + 20).await;

    for id in [running.id, waiting[0], waiting[1]] {
        http().delete(app.url(&format!("/ask/{id}"))).send().await.unwrap();
    }
    let accepted = async {
        while ask(&app, shed).await.status() != StatusCode::OK {
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(PATIENCE, accepted).await.expect("room again");
}
