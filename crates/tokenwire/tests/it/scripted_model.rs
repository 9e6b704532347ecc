//! A model that answers from a script: everything that a model may do, as readers of `/ask` see it.

use reqwest::StatusCode;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::{
    app::{App, http},
    reader::Reader,
};

/// The product with a catalogue of one model, which plays this script.
async fn playing(script: &str) -> (App, TempDir) {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("script.toml"), script).unwrap();
    let models = dir.path().join("models.toml");
    std::fs::write(&models, "[models.demo]\nkind = \"scripted\"\npath = \"script.toml\"\n").unwrap();
    let app = App::serve(&["--models", models.to_str().unwrap()]).await;
    (app, dir)
}

const EXAMPLE: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/scripted.toml"));

/// What the frames of this name say, since the answer last started over.
fn since_the_rewind<'a>(reader: &'a Reader, name: &str) -> Vec<&'a Value> {
    let rewound = reader.events.iter().rposition(|(name, _)| name == "rewind").unwrap_or(0);
    reader.events.iter().skip(rewound).filter(|(found, _)| found == name).map(|(_, data)| data).collect()
}

/// These fields of these frames, put together.
fn joined(frames: &[&Value], field: &str) -> String {
    frames.iter().filter_map(|data| data[field].as_str()).collect()
}

#[tokio::test]
async fn reasoning_and_tool_calls_are_frames_of_their_own() {
    let (app, _dir) = playing(EXAMPLE).await;
    let mut reader = Reader::new("What is the weather in Paris?");
    assert_eq!(reader.read_to_the_end(&app).await, "done");
    assert_eq!(reader.text, "");
    let reasoning = since_the_rewind(&reader, "reasoning");
    assert!(reasoning.len() > 5, "it is streamed, not sent at once");
    assert_eq!(
        joined(&reasoning, "text"),
        "They want to know the weather in Paris. There is a tool for that."
    );
    let call = since_the_rewind(&reader, "tool_call");
    assert_eq!(call[0]["name"], "get_weather");
    assert_eq!(call[0]["id"], format!("call_{}_0", reader.id));
    assert!(call.len() > 2 && call.iter().all(|piece| piece["index"] == 0), "{call:?}");
    assert_eq!(joined(&call, "arguments"), r#"{"city":"Paris","unit":"celsius"}"#);
    assert_eq!(reader.ending().unwrap().1["finish_reason"], "tool_calls");
    assert_eq!(reader.ending().unwrap().1["usage"]["input_tokens"], 12);
}

#[tokio::test]
async fn errors_of_the_script_are_those_of_a_model() {
    let (app, _dir) = playing(EXAMPLE).await;
    let mut refused = Reader::new("Refuse.");
    assert_eq!(refused.read_to_the_end(&app).await, "error");
    let told = json!({ "type": "rejected", "message": "this model does not answer that" });
    assert_eq!(refused.ending().unwrap().1, told);
    let mut stumbles = Reader::new("Stumble.");
    assert_eq!(stumbles.read_to_the_end(&app).await, "done");
    assert_eq!(stumbles.text, "I was just about to say that it does not matter.");
    assert_eq!(stumbles.attempts().len(), 2);
}

#[tokio::test]
async fn what_the_script_does_not_answer_is_refused_before_it_is_accepted() {
    let (app, _dir) = playing("[[answer]]\nprompt = \"a\"\nsay = [{ text = \"b\" }]\n").await;
    let refused = http().post(app.url("/ask")).json(&json!({ "query": "c" })).send().await.unwrap();
    assert_eq!(refused.status(), StatusCode::UNPROCESSABLE_ENTITY);
    let told: Value = refused.json().await.unwrap();
    assert_eq!(told["error"]["message"], "the script of this model has no answer to that");
}

#[tokio::test]
async fn kill_9_in_mid_text_goes_on_to_the_very_text_of_the_script() {
    let (mut app, _dir) = playing(EXAMPLE).await;
    let mut undisturbed = Reader::new("Tell me a story.");
    assert_eq!(undisturbed.read_to_the_end(&app).await, "done");
    let mut reader = Reader::new("Tell me a story.");
    for pieces in [8, 25] {
        reader.read_pieces(&app, pieces).await;
        app.kill();
        app.start_again().await;
    }
    assert_eq!(reader.read_to_the_end(&app).await, "done");
    assert_eq!(reader.text, undisturbed.text);
    assert_eq!(reader.ending(), undisturbed.ending(), "what it cost is counted over all attempts");
    assert_eq!(reader.attempts().len(), 3);
    assert!(reader.events.iter().all(|(name, _)| name != "rewind"));
}

#[tokio::test]
async fn kill_9_after_reasoning_starts_over_and_says_so() {
    let text = "word ".repeat(200);
    let script = format!(
        "pace = \"10ms\"\n[[answer]]\nsay = [{{ reasoning = \"Hm, well.\" }}, {{ text = \"{text}\" }}]\n"
    );
    let (mut app, _dir) = playing(&script).await;
    let mut reader = Reader::asking(&app, "Speak.", 20).await;
    app.kill();
    app.start_again().await;
    assert_eq!(reader.read_to_the_end(&app).await, "done");
    assert_eq!(reader.text, text);
    assert_eq!(joined(&since_the_rewind(&reader, "reasoning"), "text"), "Hm, well.");
    assert_eq!(reader.events.iter().filter(|(name, _)| name == "rewind").count(), 1);
}
