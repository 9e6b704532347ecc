//! Sampling options and stop texts. An option that is not set is left to the model.

use std::num::NonZeroU32;

use serde::{Deserialize, Serialize};

/// The sampling options of a request. Field names are those of the wire and of the stored job.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sampling {
    /// 0 to 2. 0 always takes the most likely token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub temperature: Option<Temperature>,
    /// 0 to 1. Samples from the most likely tokens whose probabilities add up to this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub top_p: Option<TopP>,
    /// Samples from this many of the most likely tokens.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub top_k: Option<NonZeroU32>,
    /// The same seed and request give the same answer, if the model supports it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
    /// The maximum number of tokens of the answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_tokens: Option<NonZeroU32>,
    /// The answer ends before the first of these texts.
    #[serde(default, skip_serializing_if = "StopTexts::is_empty")]
    pub stop: StopTexts,
}

impl Sampling {
    /// The options that are set, by name. Values are equal only for equal options.
    pub(crate) fn given(&self) -> Vec<(&'static str, String)> {
        let Self { temperature, top_p, top_k, seed, max_tokens, stop } = self;
        let mut given = Vec::new();
        given.extend(temperature.map(|value| ("temperature", value.get().to_bits().to_string())));
        given.extend(top_p.map(|value| ("top_p", value.get().to_bits().to_string())));
        given.extend(top_k.map(|value| ("top_k", value.to_string())));
        given.extend(seed.map(|value| ("seed", value.to_string())));
        given.extend(max_tokens.map(|value| ("max_tokens", value.to_string())));
        given.extend(stop.iter().map(|text| ("stop", text.to_owned())));
        given
    }
}

/// A temperature, 0 to 2.
pub type Temperature = UpTo<2>;

/// A cumulative probability, 0 to 1.
pub type TopP = UpTo<1>;

/// A number from 0 to `MAX`, never NaN.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(try_from = "f32", into = "f32")]
pub struct UpTo<const MAX: u16>(f32);

// Never NaN, so equality is total.
impl<const MAX: u16> Eq for UpTo<MAX> {}

impl<const MAX: u16> UpTo<MAX> {
    /// Checks and wraps a number. -0.0 is stored as 0.0.
    ///
    /// # Errors
    /// [`OutOfRange`] for anything else than 0 to `MAX`.
    pub fn new(number: f32) -> Result<Self, OutOfRange> {
        if (0.0..=f32::from(MAX)).contains(&number) {
            Ok(Self(number.abs()))
        } else {
            Err(OutOfRange { max: MAX })
        }
    }

    /// The number.
    pub const fn get(self) -> f32 {
        self.0
    }
}

impl<const MAX: u16> TryFrom<f32> for UpTo<MAX> {
    type Error = OutOfRange;
    fn try_from(number: f32) -> Result<Self, OutOfRange> {
        Self::new(number)
    }
}

impl<const MAX: u16> From<UpTo<MAX>> for f32 {
    fn from(number: UpTo<MAX>) -> Self {
        number.0
    }
}

/// The number is not in its range.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be a number from 0 to {max}")]
pub struct OutOfRange {
    max: u16,
}

/// Texts before which an answer ends, none of them empty. They are not part of the answer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<String>", into = "Vec<String>")]
pub struct StopTexts(Vec<String>);

impl StopTexts {
    /// The maximum number of texts.
    pub const MAX: usize = 16;

    /// The maximum length of a text, in bytes of UTF-8. Up to this much of an answer is held back to find one.
    pub const MAX_BYTES: usize = 256;

    /// Checks and wraps texts.
    ///
    /// # Errors
    /// [`InvalidStopTexts`] when one is empty or too long, or when there are too many.
    pub fn new(texts: Vec<String>) -> Result<Self, InvalidStopTexts> {
        let fit = texts.iter().all(|text| (1..=Self::MAX_BYTES).contains(&text.len()));
        if fit && texts.len() <= Self::MAX { Ok(Self(texts)) } else { Err(InvalidStopTexts) }
    }

    /// Each text.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }

    /// Whether there is no text.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl TryFrom<Vec<String>> for StopTexts {
    type Error = InvalidStopTexts;
    fn try_from(texts: Vec<String>) -> Result<Self, InvalidStopTexts> {
        Self::new(texts)
    }
}

impl From<StopTexts> for Vec<String> {
    fn from(texts: StopTexts) -> Self {
        texts.0
    }
}

/// The texts cannot end an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be up to {} texts of 1 to {} bytes", StopTexts::MAX, StopTexts::MAX_BYTES)]
pub struct InvalidStopTexts;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_outside_their_range_are_refused() {
        for number in [-0.1, 2.1, f32::NAN, f32::INFINITY] {
            assert!(Temperature::new(number).is_err(), "{number}");
        }
        assert_eq!(TopP::new(1.5).unwrap_err().to_string(), "must be a number from 0 to 1");
        assert_eq!(Temperature::new(-0.0), Temperature::new(0.0));
    }

    #[test]
    fn options_are_stored_as_they_were_written_and_what_is_left_out_is_not() {
        let stored = r#"{"temperature":0.8,"top_k":40,"seed":18446744073709551615,"stop":["\n\n"]}"#;
        let sampling: Sampling = serde_json::from_str(stored).unwrap();
        assert_eq!(serde_json::to_string(&sampling).unwrap(), stored);
        assert_eq!(serde_json::to_string(&Sampling::default()).unwrap(), "{}");
        for bad in [r#"{"temperature":3}"#, r#"{"top_k":0}"#, r#"{"stop":[""]}"#] {
            assert!(serde_json::from_str::<Sampling>(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn stop_texts_are_few_and_never_empty() {
        assert!(StopTexts::new(vec!["x".to_owned(); StopTexts::MAX]).is_ok());
        assert!(StopTexts::new(vec!["x".to_owned(); StopTexts::MAX + 1]).is_err());
        assert!(StopTexts::new(vec!["x".repeat(StopTexts::MAX_BYTES + 1)]).is_err());
        assert!(StopTexts::new(vec![String::new()]).is_err());
    }
}
