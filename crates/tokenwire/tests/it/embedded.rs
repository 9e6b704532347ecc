//! `tokenwire serve`: one process, queue and log on its own disk.

use std::time::Duration;

use futures::StreamExt;
use model::{Simulated, simulated};
use nix::sys::signal::Signal;
use reqwest::StatusCode;
use serde_json::json;
use testkit::services::free_port;
use tokenwire_core::{
    Conversation, GenerateRequest, GenerationId, Model, ModelName, model::Output, token_log::Prefix,
};
use tokio::time::{sleep, timeout};

use super::{
    app::{App, PATIENCE, http, tokenwire},
    reader::Reader,
};

/// 200 words at a pace that leaves time to hurt somebody in mid-answer.
const LONG: [&str; 4] = ["--simulated-words", "200", "--simulated-delay", "10ms"];

/// What the simulated model says to a prompt, undisturbed.
pub(crate) async fn undisturbed(query: &str, words: usize) -> String {
    let pace = Duration::ZERO;
    let config = simulated::Config { delay: pace, words: Some(words), ..simulated::Config::default() };
    let request =
        GenerateRequest::new(ModelName::new("simulated").unwrap(), Conversation::of(query).unwrap());
    let (id, nothing) = (GenerationId::fresh(), Prefix::default());
    let outputs = Simulated::new(config).generate(id, &request, &nothing).await.unwrap();
    let text = outputs.filter_map(async |output| match output.unwrap() {
        Output::Text { text, .. } => Some(text),
        _ => None,
    });
    text.collect().await
}

#[tokio::test]
async fn the_demonstrations_call_is_answered_with_the_demonstrations_words() {
    let app = App::serve(&["--simulated-delay", "1ms"]).await;
    let mut reader = Reader::new("Hello world");
    assert_eq!(reader.read_to_the_end(&app).await, "done");
    let expected = format!("Hello world: This is a simulated LLM stream. Channel ID: {}", reader.id);
    assert_eq!(reader.text, expected);
    let ending = json!({ "finish_reason": "stop", "usage": { "input_tokens": 2, "output_tokens": 11 } });
    assert_eq!(reader.ending().unwrap().1, ending);
    let mut late = reader.another();
    assert_eq!(late.read_to_the_end(&app).await, "done");
    assert_eq!(late.text, reader.text);
}

#[tokio::test]
async fn kill_9_in_mid_answer_and_a_restart_lose_and_repeat_nothing() {
    let mut app = App::serve(&LONG).await;
    let mut reader = Reader::asking(&app, "a story", 40).await;
    app.kill();
    app.start_again().await;
    reader.read_pieces(&app, 90).await;
    app.kill();
    app.start_again().await;
    assert_eq!(reader.read_to_the_end(&app).await, "done");
    assert_eq!(reader.text, undisturbed("a story", 200).await);
    assert_eq!(reader.attempts().len(), 3);
    let mut late = reader.another();
    late.read_to_the_end(&app).await;
    assert_eq!(late.text, reader.text);
}

#[tokio::test]
async fn prompts_that_wait_in_the_queue_survive_kill_9() {
    let mut app =
        App::serve(&["--slots", "1", "--simulated-words", "100", "--simulated-delay", "10ms"]).await;
    let mut first = Reader::asking(&app, "the first", 5).await;
    let mut waiting = Vec::new();
    for query in ["the second", "the third"] {
        let mut reader = Reader::new(query);
        let body = json!({ "query": query, "uuid": reader.id.to_string() });
        let accepted = http().post(app.url("/ask")).json(&body).send().await.unwrap();
        assert_eq!(accepted.status(), StatusCode::OK);
        reader = reader.another();
        waiting.push((query, reader));
    }
    app.kill();
    app.start_again().await;
    assert_eq!(first.read_to_the_end(&app).await, "done");
    for (query, mut reader) in waiting {
        assert_eq!(reader.read_to_the_end(&app).await, "done");
        assert_eq!(reader.text, undisturbed(query, 100).await);
    }
}

#[tokio::test]
async fn sigterm_cuts_readers_without_a_polite_end_and_the_answer_goes_on_after_the_restart() {
    let mut app = App::serve(&LONG).await;
    let mut reader = Reader::asking(&app, "a story", 20).await;
    let url = app.url(&format!("/ask/{}", reader.id));
    let open = http().get(url).send().await.unwrap();
    assert_eq!(open.status(), StatusCode::OK);
    assert_eq!(app.stop(), 0);
    assert!(open.bytes().await.is_err(), "a stream that is cut must not look like a whole one");
    app.start_again().await;
    assert_eq!(reader.read_to_the_end(&app).await, "done");
    assert_eq!(reader.text, undisturbed("a story", 200).await);
}

#[tokio::test]
async fn a_second_signal_does_not_wait_for_running_work() {
    let mut app = App::serve(&[&LONG[..], &["--drain", "10m"]].concat()).await;
    let mut reader = Reader::asking(&app, "a story", 5).await;
    app.signal(Signal::SIGTERM);
    timeout(PATIENCE, async {
        while !app.output().contains("draining") {
            sleep(Duration::from_millis(10)).await;
        }
    })
    .await
    .unwrap();
    app.signal(Signal::SIGINT);
    app.wait();
    app.start_again().await;
    assert_eq!(reader.read_to_the_end(&app).await, "done");
    assert_eq!(reader.text, undisturbed("a story", 200).await);
}

#[tokio::test]
async fn stop_ends_the_stream_for_every_reader() {
    let app = App::serve(&["--simulated-words", "100000", "--simulated-delay", "5ms"]).await;
    let mut reader = Reader::asking(&app, "for ever", 5).await;
    let mut other = reader.another();
    let stop = || http().delete(app.url(&format!("/ask/{}", reader.id))).send();
    assert_eq!(stop().await.unwrap().status(), StatusCode::ACCEPTED);
    assert_eq!(reader.read_to_the_end(&app).await, "cancelled");
    assert_eq!(reader.ending().unwrap().1["cause"], "requested");
    assert_eq!(other.read_to_the_end(&app).await, "cancelled");
    let stop = || http().delete(app.url(&format!("/ask/{}", reader.id))).send();
    assert_eq!(stop().await.unwrap().status(), StatusCode::ACCEPTED, "stopping twice is stopping once");
    assert_eq!(other.text, reader.text);
}

#[tokio::test]
async fn a_generation_that_nobody_reads_is_stopped() {
    let endless = ["--simulated-words", "100000", "--simulated-delay", "5ms", "--disconnect-grace", "0s"];
    let app = App::serve(&endless).await;
    let reader = Reader::asking(&app, "for ever", 5).await;
    // Nobody reads now. Looking whether it has ended would be reading.
    timeout(PATIENCE, async {
        while !app.output().contains("cancelled") {
            sleep(Duration::from_millis(50)).await;
        }
    })
    .await
    .unwrap();
    let mut late = reader.another();
    assert_eq!(late.read_to_the_end(&app).await, "cancelled");
    assert_eq!(late.ending().unwrap().1["cause"], "abandoned");
}

#[tokio::test]
async fn a_model_that_falls_silent_times_out() {
    let app =
        App::serve(&["--simulated-delay", "1ms", "--simulated-fault", "silence:3", "--timeout", "1"]).await;
    let mut reader = Reader::new("Hello");
    assert_eq!(reader.read_to_the_end(&app).await, "timeout");
    assert_eq!(reader.text, "Hello: This is");
}

#[tokio::test]
async fn a_model_that_fails_every_time_ends_in_an_error() {
    let app =
        App::serve(&["--simulated-delay", "1ms", "--simulated-fault", "error:3", "--attempts", "2"]).await;
    let mut reader = Reader::new("Hello");
    assert_eq!(reader.read_to_the_end(&app).await, "error");
    assert_eq!(reader.text, "Hello: This is");
    let ending = &reader.ending().unwrap().1;
    assert_eq!(ending["type"], "exhausted");
    assert_eq!(reader.attempts().len(), 1, "those that said nothing more leave nothing in the stream");
}

#[tokio::test]
async fn a_prompt_that_waits_too_long_expires() {
    let app = App::serve(&[&LONG[..], &["--slots", "1", "--queue-time", "200ms"]].concat()).await;
    let mut first = Reader::asking(&app, "the first", 1).await;
    let mut second = Reader::new("the second");
    assert_eq!(second.read_to_the_end(&app).await, "expired");
    assert_eq!(second.text, "");
    assert_eq!(first.read_to_the_end(&app).await, "done");
}

#[tokio::test]
async fn a_full_disk_refuses_prompts_holds_running_answers_and_loses_nothing() {
    const DISK: u64 = 32 * 1024;
    // The text alone is more than the disk holds, in however few entries it is written.
    let text = undisturbed("a long story", 8_000).await;
    assert!(text.len() as u64 > DISK, "{} bytes", text.len());
    let long = ["--simulated-words", "8000", "--simulated-delay", "1ms"];
    let mut app = App::serve_on_a_small_disk(DISK, &long).await;
    let mut reader = Reader::asking(&app, "a long story", 20).await;
    timeout(PATIENCE, async {
        while !app.output().contains("could not write to the journal") {
            sleep(Duration::from_millis(20)).await;
        }
    })
    .await
    .expect("the disk is full at some time");
    // What did not fit was a batch of pieces; a prompt is small, and the first few may.
    let refused = timeout(PATIENCE, async {
        loop {
            let asked =
                http().post(app.url("/ask")).json(&json!({ "query": "another" })).send().await.unwrap();
            if asked.status() != StatusCode::OK {
                return asked;
            }
        }
    })
    .await
    .expect("the last bytes are used up at some time");
    assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert!(refused.headers().contains_key("retry-after"));
    let ready = http().get(app.url("/ready")).send().await.unwrap();
    assert_eq!(ready.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert!(ready.text().await.unwrap().contains("no space"), "it says why");
    app.make_room();
    assert_eq!(reader.read_to_the_end(&app).await, "done");
    assert_eq!(reader.text, text);
    assert_eq!(reader.attempts().len(), 1);
    app.kill();
    app.start_again().await;
    let mut late = reader.another();
    late.read_to_the_end(&app).await;
    assert_eq!(late.text, reader.text);
}

#[tokio::test]
async fn an_id_names_one_request() {
    let app = App::serve(&["--simulated-delay", "1ms"]).await;
    let mut reader = Reader::new("Hello");
    reader.read_to_the_end(&app).await;
    let client = http();
    let post = |query| {
        client.post(app.url("/ask")).json(&json!({ "query": query, "uuid": reader.id.to_string() })).send()
    };
    let same = post("Hello").await.unwrap();
    assert_eq!(same.status(), StatusCode::OK);
    assert!(same.text().await.unwrap().contains("event: done"));
    let other = post("Goodbye").await.unwrap();
    assert_eq!(other.status(), StatusCode::CONFLICT);
}

#[tokio::test]
async fn a_second_process_on_the_same_data_is_refused_with_a_reason() {
    let app = App::serve(&[]).await;
    let args = ["serve", "--listen", "127.0.0.1:0"].map(str::to_owned);
    let second = tokenwire(&[], &args).current_dir(app.dir()).output().unwrap();
    assert!(!second.status.success());
    let said = String::from_utf8_lossy(&second.stderr).into_owned();
    assert!(said.contains("data") && said.contains("another"), "{said}");
}

#[tokio::test]
async fn everything_works_in_memory_too() {
    let app = App::serve(&["--ephemeral", "--simulated-words", "50", "--simulated-delay", "1ms"]).await;
    let mut reader = Reader::new("Hello");
    assert_eq!(reader.read_to_the_end(&app).await, "done");
    assert_eq!(reader.text, undisturbed("Hello", 50).await);
    assert!(!app.dir().join("data").exists());
}

#[tokio::test]
async fn operators_see_what_a_process_has_counted() {
    let port = free_port();
    let listen = format!("127.0.0.1:{port}");
    let app = App::serve(&["--simulated-delay", "1ms", "--metrics-listen", &listen]).await;
    assert_eq!(Reader::new("Hello").read_to_the_end(&app).await, "done");
    let metrics = http().get(format!("http://{listen}/metrics")).send().await.unwrap();
    assert_eq!(metrics.headers()["content-type"], "text/plain; version=0.0.4; charset=utf-8");
    let text = metrics.text().await.unwrap();
    for line in [
        r#"tokenwire_generations_accepted_total{model="simulated"} 1"#,
        r#"tokenwire_generations_ended_total{outcome="finished"} 1"#,
        "tokenwire_generations_running 0",
        "tokenwire_streams_opened_total 1",
        "# HELP tokenwire_time_to_first_delta_seconds",
    ] {
        assert!(text.contains(line), "{line} is missing in:\n{text}");
    }
    let public = http().get(app.url("/metrics")).send().await.unwrap();
    assert_eq!(public.status(), StatusCode::NOT_FOUND, "not for everybody");
}
