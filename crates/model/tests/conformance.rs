//! Every model keeps every promise of the port.

use std::{sync::Arc, time::Duration};

use model::simulated::{Config, Simulated};
use testkit::conformance::model::Fixture;
use tokenwire_core::{Conversation, GenerateRequest, ModelName};

fn fixture(config: Config) -> Fixture {
    let model = ModelName::new("simulated").expect("a plain name");
    let prompt = Conversation::of("Three\nlines é🦀\n of text").expect("some text");
    Fixture::new(Arc::new(Simulated::new(config)), GenerateRequest::new(model, prompt))
}

async fn echo() -> Fixture {
    fixture(Config::default())
}

testkit::model_conformance!(paused echo);

async fn filler() -> Fixture {
    fixture(Config { words: Some(80), delay: Duration::ZERO, ..Config::default() })
}

testkit::model_conformance!(paused filler);
