//! What upstreams are counted by: name, unit and meaning side by side. Models are labels, ids never.

use ::metrics::{Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram};
use tokenwire_core::{ModelName, Usage};
use tokio::time::Instant;

use super::config::Price;

const ANSWERS: &str = "tokenwire_upstream_answers_total";
const RETRIES: &str = "tokenwire_upstream_retries_total";
const FIRST_BYTE: &str = "tokenwire_upstream_first_byte_seconds";
const TOKENS: &str = "tokenwire_upstream_tokens_total";
const AWAY: &str = "tokenwire_upstream_away";
const COST: &str = "tokenwire_upstream_cost_millionths_total";

/// Tells the recorder of this process what they mean.
pub fn describe() {
    describe_counter!(
        ANSWERS,
        Unit::Count,
        "Answers that upstreams were asked for, by model and outcome: finished, stopped (by us), busy, absent (not reached, \
         or not up), held_back (not asked, because every replica is busy or absent), failed, broken_off (after its first \
         byte), rejected, refused (our key, quota or URL)"
    );
    describe_counter!(RETRIES, Unit::Count, "Requests that were tried again before the first byte, by model");
    describe_gauge!(
        AWAY,
        Unit::Count,
        "1 from when every replica of an upstream is busy or absent until one answers again, else 0, by model. Prompts for \
         it wait, and only one at a time is sent to see whether a replica is back"
    );
    describe_histogram!(
        FIRST_BYTE,
        Unit::Seconds,
        "From a request to the first byte of its answer, retries included, by model"
    );
    describe_counter!(TOKENS, Unit::Count, "Tokens that upstreams charged for, by model and kind");
    describe_counter!(
        COST,
        Unit::Count,
        "What whole answers cost where a price is configured, in millionths of its currency, by model"
    );
}

/// Every replica of the model's upstream is busy or absent, or one answers again.
pub(super) fn away(model: &ModelName, is_away: bool) {
    gauge!(AWAY, "model" => model.to_string()).set(f64::from(u8::from(is_away)));
}

/// One answer that was asked for. Counted when it is dropped, as what became of it.
#[derive(Debug)]
pub(super) struct Asked {
    model: ModelName,
    asked_at: Instant,
    outcome: &'static str,
}

impl Asked {
    pub(super) fn now(model: &ModelName) -> Self {
        // Whoever drops an answer before it has another outcome has stopped it.
        Self { model: model.clone(), asked_at: Instant::now(), outcome: "stopped" }
    }

    /// Which model.
    pub(super) fn model(&self) -> &ModelName {
        &self.model
    }

    pub(super) fn again(&self) {
        counter!(RETRIES, "model" => self.model.to_string()).increment(1);
    }

    pub(super) fn first_byte(&self) {
        histogram!(FIRST_BYTE, "model" => self.model.to_string()).record(self.asked_at.elapsed());
    }

    pub(super) fn failed(&mut self, outcome: &'static str) {
        self.outcome = outcome;
    }

    pub(super) fn finished(&mut self, usage: Usage, price: Option<Price>) {
        self.outcome = "finished";
        let Usage { input_tokens, output_tokens } = usage;
        counter!(TOKENS, "model" => self.model.to_string(), "kind" => "input").increment(input_tokens);
        counter!(TOKENS, "model" => self.model.to_string(), "kind" => "output").increment(output_tokens);
        if let Some(price) = price {
            counter!(COST, "model" => self.model.to_string()).increment(cost(usage, price));
        }
    }
}

impl Drop for Asked {
    fn drop(&mut self) {
        counter!(ANSWERS, "model" => self.model.to_string(), "outcome" => self.outcome).increment(1);
    }
}

/// In millionths of the price's currency: a price per million tokens is the millionths that one costs.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "tokens of one answer are far below 2^52, a negative price counts as none, and millionths may be rounded"
)]
fn cost(usage: Usage, price: Price) -> u64 {
    (usage.input_tokens as f64 * price.input + usage.output_tokens as f64 * price.output).round() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_costs_its_tokens() {
        let usage = Usage { input_tokens: 2000, output_tokens: 300 };
        assert_eq!(cost(usage, Price { input: 0.15, output: 0.6 }), 480);
        assert_eq!(cost(usage, Price { input: -1.0, output: 0.0 }), 0);
    }
}
