//! What a model file promises, on a tiny one: the port's conformance, that answers are exact however they are cut, and
//! that nobody disturbs anybody.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "tests may; the lints know them only by #[test]"
)]

mod exact;
mod house;
mod limits;
mod load;
mod prompts;
mod together;

use std::sync::Arc;

use testkit::conformance::model::Fixture;

use crate::house::{Ask, tiny};

async fn greedy() -> Fixture {
    fixture(&Ask::new("Once upon a time é🦀").temperature(0.0).tokens(60))
}

testkit::model_conformance!(real greedy);

async fn sampled() -> Fixture {
    fixture(&Ask::new("Once upon a time é🦀").temperature(0.8).seed(7).tokens(60))
}

testkit::model_conformance!(real sampled);

/// The seed is the id's.
async fn with_its_own_options() -> Fixture {
    fixture(&Ask::new("Hello").tokens(40))
}

testkit::model_conformance!(real with_its_own_options);

fn fixture(ask: &Ask) -> Fixture {
    let model = Arc::new(tiny());
    let running = Arc::clone(&model);
    Fixture::new(model, ask.request()).running(move || running.busy())
}
