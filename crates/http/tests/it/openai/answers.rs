//! Whole chat completions. Their content is tested in `golden`.

use serde_json::{Value, json};
use tokenwire_core::{Event, Failure, token_log::OnDisconnect};
use tokenwire_http::Config;

use super::{CHAT, hello, id, refusal, with};
use crate::support::{Stage, delta, done};

#[tokio::test]
async fn a_failure_has_a_status_and_says_whether_to_try_again() {
    let message = || "it broke".to_owned();
    let cause = tokenwire_core::CancelCause::Requested;
    for (failure, status, code, again) in [
        (Failure::Expired, 503, "expired", true),
        (Failure::TimedOut, 504, "timeout", false),
        (Failure::Cancelled { cause }, 409, "cancelled", false),
        (Failure::Rejected { message: message() }, 400, "rejected", true),
        (Failure::Exhausted { attempts: 3, message: message() }, 500, "exhausted", false),
        (Failure::Lost, 500, "lost", true),
    ] {
        let stage = Stage::new();
        let answered = async {
            let queued = async {
                // The only generation of this stage. Its id is not known yet.
                let id = stage.accepted().await;
                stage.write(id, &[delta("half"), Event::Failed { failure: failure.clone() }]).await;
                id
            };
            let body = hello();
            tokio::join!(stage.chat(&body, &[]), queued)
        };
        let (response, written) = answered.await;
        assert_eq!(id(&response), written);
        assert_eq!(!response.headers().contains_key("x-should-retry"), again, "{failure:?}");
        let (found, error) = refusal(response).await;
        assert_eq!((found, &error["code"]), (status, &json!(code)));

        let (_, keyed) = Stage::new().told(&hello(), &[Event::Failed { failure }]).await;
        assert_eq!(keyed.headers()["x-should-retry"], "false", "the key would find the same failure");
    }
}

#[tokio::test]
async fn an_answer_beyond_all_bounds_is_refused_rather_than_collected() {
    let part = delta(&"long ".repeat(200_000));
    let (id, response) = Stage::new().told(&hello(), &[&vec![part; 9][..], &[done()]].concat()).await;
    assert_eq!(super::id(&response), id);
    assert_eq!(response.headers()["x-should-retry"], "false");
    let (status, error) = refusal(response).await;
    assert_eq!((status, &error["code"]), (500, &json!("answer_too_large")));
}

#[tokio::test]
async fn a_server_that_drains_says_so_while_nothing_was_sent() {
    let stage = Stage::new();
    let body = hello();
    let (response, id) = tokio::join!(stage.chat(&body, &[]), async {
        let id = stage.accepted().await;
        stage.drain.cancel();
        id
    });
    assert_eq!(super::id(&response), id);
    assert!(!response.headers().contains_key("x-should-retry"));
    let (status, error) = refusal(response).await;
    assert_eq!((status, &error["code"]), (503, &json!("draining")));
}

#[tokio::test]
async fn a_client_that_leaves_gives_its_place_to_the_next() {
    let stage = Stage::with(Config { max_streams: 1, ..Config::default() });
    let server = stage.serve().await;
    let post = |body: &Value| {
        let body = body.to_string();
        let head = format!(
            "POST {CHAT} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        head + &body
    };
    let mut waiting = server.connect().await;
    waiting.send(post(&hello())).await;
    stage.accepted().await;
    drop(waiting);
    server.comes_to_serve(&post(&with(&json!({"stream": true})))).await;
}

#[tokio::test]
async fn a_client_chooses_what_happens_to_an_answer_without_readers() {
    let grace = Config::default().on_disconnect;
    let detached = Config { on_disconnect: OnDisconnect::Detached, ..Config::default() };
    for (config, header, expected) in [
        (Config::default(), None, grace),
        (Config::default(), Some("detach"), OnDisconnect::Detached),
        (Config::default(), Some("cancel"), grace),
        (detached.clone(), None, OnDisconnect::Detached),
        (detached, Some("cancel"), grace),
    ] {
        let stage = Stage::with(config);
        let header = header.map(|value| ("tokenwire-on-disconnect", value));
        let response = stage.chat(&with(&json!({"stream": true})), header.as_slice()).await;
        let spec = stage.generations.spec(id(&response)).await.unwrap();
        assert_eq!(spec.on_disconnect, expected);
    }
    let refused = Stage::new().chat(&hello(), &[("tokenwire-on-disconnect", "stop")]).await;
    let (status, error) = refusal(refused).await;
    assert_eq!((status, &error["param"]), (400, &json!("Tokenwire-On-Disconnect")));
}
