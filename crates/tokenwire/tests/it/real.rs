//! A real model in the process: SmolLM2-135M-Instruct, from the file that `TOKENWIRE_TEST_MODEL` names (`dev/fetch-model.sh`
//! fetches it and says where it is).

use reqwest::StatusCode;
use serde_json::{Value, json};
use testkit::services::small_model;

use super::{
    app::{App, http},
    reader::Reader,
};

const CAPITAL: &str = "What is the capital of France?";

async fn serve(args: &[&str]) -> App {
    let model = small_model();
    App::serve(&[&["--model", model.to_str().unwrap()], args].concat()).await
}

fn asking(query: &str, options: &Value) -> Reader {
    let mut body = json!({ "query": query });
    body.as_object_mut().unwrap().extend(options.as_object().unwrap().clone());
    Reader::sending(body)
}

#[tokio::test]
async fn a_real_model_knows_the_capital_of_france() {
    // As ./up.sh --real says it.
    let app = serve(&["--default-system", "Answer in English.", "--default-temperature", "0"]).await;
    let mut reader = asking(CAPITAL, &json!({ "max_tokens": 40 }));
    assert_eq!(reader.read_to_the_end(&app).await, "done");
    assert!(reader.text.contains("Paris"), "{}", reader.text);
    assert!(reader.pieces > 3, "it is streamed, not sent at once");
    let listed: Value = http().get(app.url("/v1/models")).send().await.unwrap().json().await.unwrap();
    assert_eq!(listed["data"][0]["id"], "SmolLM2-135M-Instruct.Q4_1");
}

#[tokio::test]
async fn kill_9_in_mid_answer_goes_on_to_the_very_text_at_any_temperature() {
    let mut app = serve(&["--model-slots", "2"]).await;
    for options in [json!({ "temperature": 0 }), json!({ "temperature": 0.8, "seed": 7 })] {
        let mut options = options;
        options["max_tokens"] = json!(60);
        let query = "Tell me a story about a lighthouse.";
        let mut undisturbed = asking(query, &options);
        assert_eq!(undisturbed.read_to_the_end(&app).await, "done");
        let mut reader = asking(query, &options);
        for pieces in [8, 30] {
            reader.read_pieces(&app, pieces).await;
            app.kill();
            app.start_again().await;
        }
        assert_eq!(reader.read_to_the_end(&app).await, "done");
        assert_eq!(reader.text, undisturbed.text, "{options}");
        assert_eq!(reader.ending(), undisturbed.ending(), "what it cost is counted over all attempts");
        assert_eq!(reader.attempts().len(), 3);
        assert!(reader.events.iter().all(|(name, _)| name != "rewind"));
    }
}

#[tokio::test]
async fn a_conversation_that_cannot_fit_is_refused_with_both_numbers() {
    let app = serve(&["--model-context", "256"]).await;
    let body = json!({ "query": "many words ".repeat(300) });
    let refused = http().post(app.url("/ask")).json(&body).send().await.unwrap();
    assert_eq!(refused.status(), StatusCode::UNPROCESSABLE_ENTITY);
    let told: Value = refused.json().await.unwrap();
    let message = told["error"]["message"].as_str().unwrap();
    assert!(message.contains("256"), "{message}");
    assert_eq!(told["error"]["type"], "rejected");
}
