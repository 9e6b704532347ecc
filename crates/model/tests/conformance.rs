//! Every model keeps every promise of the port.

use std::{sync::Arc, time::Duration};

use model::{
    Scripted,
    scripted::Script,
    simulated::{Config, Simulated},
};
use testkit::conformance::model::Fixture;
use tokenwire_core::{Conversation, GenerateRequest, ModelName};

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
