//! The stored form of a job: JSON, the same in the embedded queue and on a broker.
//!
//! ```json
//! {"version":1,"uuid":"0192f0c1-…","query":"Hello","model":"simulated","expires_at":1763800000.123}
//! ```
//!
//! Times are Unix seconds, fractions allowed. What other programs put into the queue is accepted too: messages without a
//! version (the first ones had none) or without a model, and any further fields. Trace context is not here: it travels
//! in the headers of whatever carries the message. Nothing here ever quotes a message in an error: prompts are private.

use serde::Serialize;
use serde_json::{Map, Value};
use tokenwire_core::{GenerateRequest, GenerationId, Job, ModelName, Prompt, Timestamp};

/// The form that [`encode`] writes. A message without a version is read as this one.
const VERSION: u64 = 1;

#[derive(Serialize)]
struct Stored<'a> {
    version: u64,
    uuid: String,
    query: &'a str,
    model: &'a str,
    expires_at: f64,
}

/// The stored form of a job. Times are exact to the millisecond for the next thirty thousand years.
pub fn encode(job: &Job) -> Vec<u8> {
    let stored = Stored {
        version: VERSION,
        uuid: job.id.to_string(),
        query: job.request.prompt.as_str(),
        model: job.request.model.as_str(),
        expires_at: seconds(job.expires_at),
    };
    serde_json::to_vec(&stored).expect("text and finite numbers always have a JSON form")
}

/// Reads the stored form of a job. A message that names no model gets `default_model`, where there is one.
///
/// # Errors
/// [`DecodeError`]: these bytes will never be a job. Put them aside for people, and let nothing else wait for them.
pub fn decode(bytes: &[u8], default_model: Option<&ModelName>) -> Result<Job, DecodeError> {
    let mut fields: Map<String, Value> =
        serde_json::from_slice(bytes).map_err(|_| DecodeError { id: None, fault: Fault::NotAnObject })?;
    let id = fields.get("uuid").and_then(Value::as_str).and_then(|text| text.parse().ok());
    job(id, &mut fields, default_model).map_err(|fault| DecodeError { id, fault })
}

fn job(
    id: Option<GenerationId>,
    fields: &mut Map<String, Value>,
    default_model: Option<&ModelName>,
) -> Result<Job, Fault> {
    match fields.get("version") {
        None => {}
        Some(version) if version.as_u64() == Some(VERSION) => {}
        Some(_) => return Err(Fault::Version),
    }
    let id = id.ok_or(Fault::Field("uuid"))?;
    let prompt =
        text(fields, "query").and_then(|query| Prompt::new(query).ok()).ok_or(Fault::Field("query"))?;
    let model = if fields.contains_key("model") {
        text(fields, "model").and_then(|name| ModelName::new(name).ok())
    } else {
        default_model.cloned()
    };
    let model = model.ok_or(Fault::Field("model"))?;
    let expires_at = fields.get("expires_at").and_then(Value::as_f64).ok_or(Fault::Field("expires_at"))?;
    Ok(Job { id, request: GenerateRequest { model, prompt }, expires_at: timestamp(expires_at) })
}

/// Moves a text out of the message: prompts can be long.
fn text(fields: &mut Map<String, Value>, name: &str) -> Option<String> {
    match fields.get_mut(name).map(Value::take) {
        Some(Value::String(text)) => Some(text),
        _ => None,
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "seconds keep their milliseconds up to 2^50 of them, far beyond any deadline"
)]
fn seconds(time: Timestamp) -> f64 {
    time.as_millis() as f64 / 1000.0
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the cast saturates: before 1970 is long ago, beyond u64 is never, and JSON has no NaN"
)]
fn timestamp(seconds: f64) -> Timestamp {
    Timestamp::from_millis((seconds * 1000.0).round() as u64)
}

/// The bytes are not the stored form of a job.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a job: {fault}")]
pub struct DecodeError {
    /// The generation that the message was about, when that much could be read: its stream can be sealed.
    pub id: Option<GenerationId>,
    /// What is wrong with it.
    pub fault: Fault,
}

/// What is wrong with a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// It is not JSON, or JSON of another kind.
    #[error("it is not a JSON object")]
    NotAnObject,
    /// It was written by a newer version, or by something else.
    #[error("its version is not {VERSION}: upgrade the workers before the servers")]
    Version,
    /// A field is missing or does not hold what it should.
    #[error("its field {0} is missing or invalid")]
    Field(&'static str),
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ID: &str = "0192f0c1-2d3e-7a4b-8c5d-6e7f8091a2b3";

    fn model(name: &str) -> ModelName {
        ModelName::new(name).unwrap()
    }

    fn job(model_name: &str, prompt: &str, millis: u64) -> Job {
        Job {
            id: ID.parse().unwrap(),
            request: GenerateRequest { model: model(model_name), prompt: Prompt::new(prompt).unwrap() },
            expires_at: Timestamp::from_millis(millis),
        }
    }

    #[test]
    fn version_1_is_written_and_read_like_this_for_ever() {
        let stored = include_bytes!("../tests/fixtures/job.v1.json").trim_ascii_end();
        let job = job("org/model-1", "Say \"hello\",\nplease 👋", 1_763_800_000_123);
        assert_eq!(decode(stored, None), Ok(job.clone()));
        assert_eq!(encode(&job), stored);
    }

    #[test]
    fn a_message_of_the_first_producers_has_no_version_and_no_model() {
        let stored = include_bytes!("../tests/fixtures/job.v0.json");
        let fallback = model("simulated");
        assert_eq!(decode(stored, Some(&fallback)), Ok(job("simulated", "Hello world", 1_763_800_000_000)));
        let error = decode(stored, None).unwrap_err();
        assert_eq!(error, DecodeError { id: Some(ID.parse().unwrap()), fault: Fault::Field("model") });
    }

    #[test]
    fn a_message_may_carry_more_than_we_know() {
        let stored = format!(
            r#"{{"uuid":"{ID}","query":"q","model":"m","expires_at":1.5,"tags":[{{}}],"priority":9}}"#
        );
        assert_eq!(decode(stored.as_bytes(), None), Ok(job("m", "q", 1500)));
    }

    #[test]
    fn what_cannot_be_a_job_says_why_and_names_its_generation_where_it_can() {
        let with = |fields: &str| format!(r#"{{"uuid":"{ID}",{fields}}}"#);
        let known = Some(ID.parse().unwrap());
        for (stored, id, fault) in [
            (String::new(), None, Fault::NotAnObject),
            ("[1]".into(), None, Fault::NotAnObject),
            ("{\"uuid\":".into(), None, Fault::NotAnObject),
            (r#"{"query":"q","expires_at":1}"#.into(), None, Fault::Field("uuid")),
            (with(r#""query":"q","expires_at":1,"version":2"#), known, Fault::Version),
            (with(r#""query":"q","expires_at":1,"version":"1""#), known, Fault::Version),
            (with(r#""query":" ","expires_at":1"#), known, Fault::Field("query")),
            (with(r#""query":{"secret":1},"expires_at":1"#), known, Fault::Field("query")),
            (with(r#""query":"q","expires_at":1,"model":null"#), known, Fault::Field("model")),
            (with(r#""query":"q","expires_at":1,"model":"a b""#), known, Fault::Field("model")),
            (with(r#""query":"q""#), known, Fault::Field("expires_at")),
            (with(r#""query":"q","expires_at":"soon""#), known, Fault::Field("expires_at")),
        ] {
            let error = decode(stored.as_bytes(), Some(&model("m"))).unwrap_err();
            assert_eq!(error, DecodeError { id, fault }, "{stored}");
            assert!(!error.to_string().contains("secret"));
        }
    }

    #[test]
    fn deadlines_before_1970_and_beyond_all_time_saturate() {
        let at = |seconds: &str| {
            let stored = format!(r#"{{"uuid":"{ID}","query":"q","model":"m","expires_at":{seconds}}}"#);
            decode(stored.as_bytes(), None).unwrap().expires_at.as_millis()
        };
        assert_eq!((at("-1"), at("1e300"), at("1763800000")), (0, u64::MAX, 1_763_800_000_000));
    }

    proptest! {
        #[test]
        fn every_job_comes_back_as_it_went(
            id: [u8; 16],
            model in "[A-Za-z0-9._:/-]{1,128}",
            prompt in "(?s).{0,200}[^\\s].{0,200}",
            millis in 0..1_u64 << 50,
        ) {
            let job = Job {
                id: GenerationId::from_bytes(id),
                request: GenerateRequest { model: ModelName::new(model).unwrap(), prompt: Prompt::new(prompt).unwrap() },
                expires_at: Timestamp::from_millis(millis),
            };
            prop_assert_eq!(decode(&encode(&job), None), Ok(job));
        }

        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>) {
            let _ = decode(&bytes, None);
        }

        #[test]
        fn no_damage_to_a_message_makes_it_panic(at in 0..200_usize, byte: u8, cut in 0..200_usize) {
            let mut stored = encode(&job("m", "some prompt, long enough to be hit", 1_763_800_000_123));
            if let Some(hit) = stored.get_mut(at) {
                *hit = byte;
            }
            stored.truncate(stored.len().saturating_sub(cut % 7));
            let _ = decode(&stored, None);
        }
    }
}
