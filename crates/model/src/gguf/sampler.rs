//! Chooses the next token from the model's numbers.
//!
//! A choice depends only on the numbers, the options, the seed and the position of the token in the answer. There is no random
//! generator whose state could be lost. So an answer that is taken over continues with the same choices as an undisturbed run.
//! The order of every sum is fixed.
//!
//! The order of the options is that of most servers: temperature, then `top_k`, then `top_p`.

use std::{cmp::Ordering, collections::BinaryHeap};

use tokenwire_core::{GenerationId, Sampling, Temperature, TopP};

/// The defaults, which are those of most local servers.
mod default {
    pub(super) const TEMPERATURE: f32 = 0.8;
    pub(super) const TOP_K: u32 = 40;
    pub(super) const TOP_P: f32 = 0.95;
}

/// The options of one generation.
#[derive(Clone, Debug)]
pub(super) struct Sampler {
    temperature: f64,
    top_k: usize,
    top_p: f64,
    seed: u64,
}

impl Sampler {
    /// Temperature 0.8, `top_k` 40 and `top_p` 0.95 unless the request says otherwise. Without a seed the choices follow
    /// from the id, which a second attempt has too.
    pub(super) fn new(sampling: &Sampling, id: GenerationId) -> Self {
        let top_k = sampling.top_k.map_or(default::TOP_K, std::num::NonZeroU32::get);
        Self {
            temperature: f64::from(sampling.temperature.map_or(default::TEMPERATURE, Temperature::get)),
            top_k: usize::try_from(top_k).unwrap_or(usize::MAX),
            top_p: f64::from(sampling.top_p.map_or(default::TOP_P, TopP::get)),
            seed: sampling.seed.unwrap_or_else(|| seed_of(id)),
        }
    }

    /// The token at this position of the answer, given the model's number for every token of its vocabulary. `None` when
    /// none of them is a finite number: the model is broken.
    pub(super) fn choose(&self, logits: &[f32], position: u64) -> Option<u32> {
        if self.temperature == 0.0 {
            return best(logits, 1).first().map(|likeliest| likeliest.token);
        }
        let candidates = best(logits, self.top_k);
        let first = f64::from(candidates.first()?.logit);
        let weight = |candidate: &Candidate| ((f64::from(candidate.logit) - first) / self.temperature).exp();
        let weights: Vec<f64> = candidates.iter().map(weight).collect();
        let all: f64 = weights.iter().sum();

        // As many as it takes to reach top_p, and always the first.
        let (mut kept, mut count) = (0.0, 0);
        for weight in &weights {
            kept += weight;
            count += 1;
            if kept >= self.top_p * all {
                break;
            }
        }
        let mut left = uniform(self.seed, position) * kept;
        for (candidate, weight) in candidates.iter().zip(&weights).take(count) {
            left -= weight;
            if left < 0.0 {
                return Some(candidate.token);
            }
        }
        // Rounding may leave a little.
        candidates.get(count.saturating_sub(1)).map(|last| last.token)
    }
}

#[derive(Clone, Copy, Debug)]
struct Candidate {
    logit: f32,
    token: u32,
}

/// Better tokens are smaller: the likelier ones, and among equals the lower number. The order is total, so that a selection
/// has only one result.
impl Ord for Candidate {
    fn cmp(&self, other: &Self) -> Ordering {
        other.logit.total_cmp(&self.logit).then(self.token.cmp(&other.token))
    }
}

impl PartialOrd for Candidate {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Candidate {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Candidate {}

/// The likeliest `count` tokens, best first.
fn best(logits: &[f32], count: usize) -> Vec<Candidate> {
    let mut best: BinaryHeap<Candidate> = BinaryHeap::new();
    let mut bar = f32::NEG_INFINITY;
    for (token, &logit) in (0..).zip(logits) {
        // Nearly all tokens end here. A token as likely as the worst one has a higher number, and so is worse.
        if logit <= bar || !logit.is_finite() {
            continue;
        }
        if best.len() == count {
            best.pop();
        }
        best.push(Candidate { logit, token });
        if best.len() == count {
            bar = best.peek().map_or(bar, |worst| worst.logit);
        }
    }
    best.into_sorted_vec()
}

/// A number from 0 up to 1 that follows from seed and position: SplitMix64's mixing, keyed by one and counted by the other.
fn uniform(seed: u64, position: u64) -> f64 {
    let bits = mix(mix(seed).wrapping_add(position.wrapping_mul(GOLDEN)));
    #[expect(clippy::cast_precision_loss, reason = "53 bits are what a double holds")]
    let fraction = (bits >> 11) as f64 / (1_u64 << 53) as f64;
    fraction
}

const GOLDEN: u64 = 0x9E37_79B9_7F4A_7C15;

fn mix(number: u64) -> u64 {
    let number = number.wrapping_add(GOLDEN);
    let number = (number ^ (number >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    number ^ (number >> 31)
}

fn seed_of(id: GenerationId) -> u64 {
    id.as_bytes().iter().fold(0, |seed, &byte| mix(seed ^ u64::from(byte)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sampler(json: &str) -> Sampler {
        Sampler::new(&serde_json::from_str(json).unwrap(), GenerationId::from_bytes([7; 16]))
    }

    fn many(sampler: &Sampler, logits: &[f32]) -> Vec<u32> {
        (0..1000).map(|position| sampler.choose(logits, position).unwrap()).collect()
    }

    #[test]
    fn temperature_zero_takes_the_likeliest_and_of_equals_the_first() {
        let greedy = sampler(r#"{"temperature":0}"#);
        assert_eq!(greedy.choose(&[0.5, 2.0, f32::NAN, 2.0, -1.0], 3), Some(1));
    }

    #[test]
    fn a_model_without_one_finite_number_is_not_sampled() {
        for options in [r#"{"temperature":0}"#, "{}"] {
            assert_eq!(sampler(options).choose(&[f32::NAN, f32::INFINITY, f32::NEG_INFINITY], 0), None);
            assert_eq!(sampler(options).choose(&[], 0), None);
        }
    }

    #[test]
    fn a_choice_follows_from_seed_and_position_alone() {
        let logits: Vec<f32> = (0..100_u8).map(|id| f32::from(id % 10)).collect();
        let first = many(&sampler(r#"{"seed":1}"#), &logits);
        assert_eq!(first, many(&sampler(r#"{"seed":1}"#), &logits));
        assert_ne!(first, many(&sampler(r#"{"seed":2}"#), &logits));
        let backwards: Vec<_> =
            (0..1000).rev().map(|at| sampler(r#"{"seed":1}"#).choose(&logits, at).unwrap()).collect();
        assert!(first.iter().eq(backwards.iter().rev()));
        assert_eq!(many(&sampler("{}"), &logits), many(&sampler("{}"), &logits), "the id is a seed too");
    }

    #[test]
    fn choices_come_as_often_as_they_are_likely() {
        // Odds of 3 to 1.
        let logits = [3_f32.ln(), 0.0];
        let ones = many(&sampler(r#"{"temperature":1,"top_p":1,"seed":5}"#), &logits).iter().sum::<u32>();
        assert!((200..300).contains(&ones), "{ones}");
        let hotter = many(&sampler(r#"{"temperature":2,"top_p":1,"seed":5}"#), &logits).iter().sum::<u32>();
        assert!(hotter > ones, "a higher temperature spreads the choice");
    }

    #[test]
    fn top_k_and_top_p_leave_the_unlikely_out() {
        let logits = [1.0, 4.0, 3.0, 4.0, 2.0];
        let chosen = |options: &str| {
            let mut chosen = many(&sampler(options), &logits);
            chosen.sort_unstable();
            chosen.dedup();
            chosen
        };
        assert_eq!(chosen(r#"{"temperature":2,"top_k":2,"top_p":1}"#), [1, 3]);
        assert_eq!(chosen(r#"{"temperature":2,"top_k":1}"#), [1]);
        assert_eq!(chosen(r#"{"temperature":1,"top_p":0}"#), [1]);
        assert_eq!(chosen(r#"{"temperature":1,"top_p":0.5}"#), [1, 3]);
        assert_eq!(chosen(r#"{"temperature":2,"top_k":100,"top_p":1}"#), [0, 1, 2, 3, 4]);
    }
}
