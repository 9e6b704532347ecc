//! The metrics of upstreams: name, unit and description. Models are labels, ids never.

use ::metrics::{Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram};
use tokenwire_core::{ModelName, Usage};
use tokio::time::Instant;

use super::config::Price;

const RESPONSES: &str = "tokenwire_upstream_responses_total";
const RETRIES: &str = "tokenwire_upstream_retries_total";
const FIRST_BYTE: &str = "tokenwire_upstream_time_to_first_byte_seconds";
const TOKENS: &str = "tokenwire_upstream_tokens_total";
const UNAVAILABLE: &str = "tokenwire_upstream_unavailable";
const COST: &str = "tokenwire_upstream_cost_millionths_total";

/// Registers the descriptions with the recorder of this process.
pub fn describe() {
    describe_counter!(
        RESPONSES,
        Unit::Count,
        "Responses requested from upstreams, by model and outcome: finished, stopped (by Tokenwire), busy, absent (cannot \
         be reached), held_back (not sent, because every replica is busy or absent), failed, broken_off (after its first \
         byte), rejected, refused (Tokenwire's key, quota or URL)"
    );
    describe_counter!(
        RETRIES,
        Unit::Count,
        "Requests sent again before the first byte of a response, by model"
    );
    describe_gauge!(
        UNAVAILABLE,
        Unit::Count,
        "1 while every replica of an upstream is busy or absent, else 0, by model. Its prompts wait, and one request at a \
         time tests a replica"
    );
    describe_histogram!(
        FIRST_BYTE,
        Unit::Seconds,
        "Time from a request to the first byte of its response, retries included, by model"
    );
    describe_counter!(
        TOKENS,
        Unit::Count,
        "Tokens that upstreams charged for, by model and kind: input, output"
    );
    describe_counter!(
        COST,
        Unit::Count,
        "Cost of finished responses in millionths of the configured price's currency, by model"
    );
}

/// Every replica of the model's upstream is busy or absent, or one answers again.
pub(super) fn away(model: &ModelName, is_away: bool) {
    gauge!(UNAVAILABLE, "model" => model.to_string()).set(f64::from(u8::from(is_away)));
}

/// One requested response. Its drop counts it with its outcome.
#[derive(Debug)]
pub(super) struct Asked {
    model: ModelName,
    asked_at: Instant,
    outcome: &'static str,
}

impl Asked {
    pub(super) fn now(model: &ModelName) -> Self {
        // A response that is dropped without another outcome was stopped.
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
        counter!(RESPONSES, "model" => self.model.to_string(), "outcome" => self.outcome).increment(1);
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
