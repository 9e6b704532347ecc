//! Every model keeps every promise of the port.

use std::{sync::Arc, time::Duration};

use futures::StreamExt;
use model::{
    Scripted,
    scripted::Script,
    simulated::{Config, Simulated},
};
use testkit::conformance::model::Fixture;
use tokenwire_core::{
    Conversation, GenerateRequest, GenerationId, Model, ModelName, model::Output, token_log::Prefix,
};
use tokio::time::{Instant, sleep};

fn request() -> GenerateRequest {
    let model = ModelName::new("any").expect("a plain name");
    GenerateRequest::new(model, Conversation::of("Three\nlines é🦀\n of text").expect("some text"))
}

fn fixture(config: Config) -> Fixture {
    Fixture::new(Arc::new(Simulated::new(config)), request())
}

async fn echo() -> Fixture {
    fixture(Config::default())
}

testkit::model_conformance!(paused echo);

async fn filler() -> Fixture {
    fixture(Config { words: Some(80), delay: Duration::ZERO, ..Config::default() })
}

testkit::model_conformance!(paused filler);

async fn stamped() -> Fixture {
    fixture(Config { words: Some(80), stamped: true, ..Config::default() })
}

testkit::model_conformance!(paused stamped);

/// At which times after the first one the words come, when the listener is held up for so long after the second.
async fn times(config: Config, held_up: Duration) -> Vec<Duration> {
    let model = Simulated::new(config);
    let mut answer = model
        .generate(GenerationId::from_bytes([0; 16]), &request(), &Prefix::default())
        .await
        .expect("it answers");
    let mut times = Vec::new();
    while let Some(Ok(Output::Text { .. })) = answer.next().await {
        times.push(Instant::now());
        if times.len() == 2 {
            sleep(held_up).await;
        }
    }
    let first = *times.first().expect("it says something");
    times.iter().map(|time| *time - first).collect()
}

#[tokio::test(start_paused = true)]
async fn a_late_word_keeps_its_successors_on_time_unless_it_is_too_late() {
    let config = || Config { words: Some(5), delay: Duration::from_millis(100), ..Config::default() };
    let at = |millis: [u64; 5]| millis.map(Duration::from_millis).to_vec();
    assert_eq!(times(config(), Duration::ZERO).await, at([0, 100, 200, 300, 400]));
    assert_eq!(times(config(), Duration::from_millis(150)).await, at([0, 100, 250, 300, 400]));
    assert_eq!(times(config(), Duration::from_millis(550)).await, at([0, 100, 650, 750, 850]));
}

#[tokio::test(start_paused = true)]
async fn stamped_generations_that_begin_together_speak_out_of_step() {
    let second_word = async |last_byte| {
        let model = Simulated::new(Config { words: Some(2), stamped: true, ..Config::default() });
        let id = GenerationId::from_bytes([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, last_byte, 0]);
        let answer = model.generate(id, &request(), &Prefix::default()).await.unwrap();
        let began = Instant::now();
        answer.count().await;
        began.elapsed()
    };
    assert_eq!(second_word(0).await, Duration::from_millis(250));
    assert_eq!(second_word(128).await, Duration::from_millis(375));
}

fn scripted(script: &str, sampling: &str) -> Fixture {
    let script = Script::parse(script).expect("a script");
    let sampling = serde_json::from_str(sampling).expect("some options");
    Fixture::new(Arc::new(Scripted::new(script)), GenerateRequest { sampling, ..request() })
}

async fn script() -> Fixture {
    scripted(
        r#"
        pace = "20ms"
        [[answer]]
        pattern = '(?s)lines (\w🦀).*?(\w+)$'
        finish = "length"
        usage = { output_tokens = 1000 }
        say = [
            { text = "Some $2:" },
            { wait = "2s" },
            { pieces = [" ", "$1 é", "🦀\n", "  and", " mo"] },
            { text = "re." },
        ]
        "#,
        "{}",
    )
}

testkit::model_conformance!(paused script);

async fn script_cut_short() -> Fixture {
    let text =
        r#"answer = [{ say = [{ text = "a b c d" }, { pieces = [" e é", "f g"] }, { text = " h i" }] }]"#;
    scripted(text, r#"{"max_tokens":6,"stop":["fo","éf g"]}"#)
}

testkit::model_conformance!(paused script_cut_short);
