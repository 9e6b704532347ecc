//! What is asked, and over which connections.

use model::upstream::{Config, Key};
use serde_json::json;
use tokenwire_core::{
    Conversation, GenerateRequest, GenerationId, Message, Model, ModelName, token_log::Prefix,
};

use super::fake::*;

#[tokio::test]
async fn the_whole_conversation_is_asked_with_its_options_and_the_key() {
    let fake = Fake::replying([Reply::answer(["a"])]).await;
    let key = Some(Key::new("sk-secret").unwrap());
    let upstream = upstream(Config { key, ..fake.config() });
    let before = vec![Message::system("Be brief.")];
    let conversation = Conversation::after(before, "Hello").unwrap();
    let sampling = json!({"temperature": 0.5, "top_k": 40, "seed": 7, "max_tokens": 64, "stop": ["\n\n"]});
    let request = GenerateRequest {
        sampling: serde_json::from_value(sampling).unwrap(),
        ..GenerateRequest::new(ModelName::new("ours").unwrap(), conversation)
    };
    read(upstream.generate(GenerationId::fresh(), &request, &Prefix::default()).await.unwrap())
        .await
        .end
        .unwrap();
    let seen = fake.seen();
    assert_eq!(
        seen[0].body,
        json!({
            "model": "theirs",
            "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hello"}],
            "stream": true,
            "stream_options": {"include_usage": true},
            "temperature": 0.5, "top_k": 40, "seed": 7, "max_tokens": 64, "stop": ["\n\n"],
        })
    );
    let head = seen[0].head.to_ascii_lowercase();
    assert!(head.starts_with("post /v1/chat/completions http/1.1\r\n"), "{head}");
    for line in
        ["authorization: bearer sk-secret", "content-type: application/json", "accept: text/event-stream"]
    {
        assert!(head.contains(&format!("\r\n{line}\r\n")), "{head}");
    }
}

#[tokio::test]
async fn without_a_key_nothing_is_claimed() {
    let fake = Fake::replying([Reply::answer(["a"])]).await;
    answer(&upstream(fake.config())).await.end.unwrap();
    assert!(!fake.seen()[0].head.to_ascii_lowercase().contains("authorization"));
}

#[tokio::test]
async fn connections_are_kept_for_the_next_request() {
    let fake = Fake::replying([Reply::answer(["a", "b"])]).await;
    let upstream = upstream(fake.config());
    for _ in 0..5 {
        answer(&upstream).await.end.unwrap();
    }
    assert_eq!(fake.connections(), 1);
}

#[tokio::test]
async fn a_kept_connection_that_is_closed_under_a_request_costs_no_try() {
    let said = Reply::answer(["a"]);
    let fake = Fake::replying([said.clone(), Reply::silence().close(), said, Reply::silence().close()]).await;
    let upstream = upstream(Config { retries: 0, ..fake.config() });
    for _ in 0..2 {
        answer(&upstream).await.end.unwrap();
    }
    assert!(answer(&upstream).await.wait().is_some(), "twice in a row: it is not up");
    assert_eq!(fake.seen().len(), 5);
}

#[tokio::test]
async fn an_upstream_that_closes_after_each_answer_is_asked_on_a_new_connection() {
    // As llama.cpp does. Without retries, a request that meets the old connection would fail.
    let fake = Fake::replying([Reply::answer(["a", "b"]).close()]).await;
    let upstream = upstream(Config { retries: 0, ..fake.config() });
    for _ in 0..50 {
        answer(&upstream).await.end.unwrap();
    }
    assert_eq!(fake.connections(), 50);
}

#[tokio::test]
async fn a_redirect_is_not_followed_with_prompt_and_key() {
    let other = Fake::replying([Reply::answer(["a"])]).await;
    for status in ["301 Moved Permanently", "307 Temporary Redirect"] {
        let location = format!("location: http://127.0.0.1:{}/v1/chat/completions\r\n", other.port());
        let fake = Fake::replying([Reply::status(status, &location, "")]).await;
        let answer = answer(&upstream(fake.config())).await;
        assert!(answer.is_unavailable() && answer.failure().contains(&status[..3]), "{}", answer.failure());
        assert_eq!(fake.seen().len(), 1);
    }
    assert_eq!(other.connections(), 0);
}
