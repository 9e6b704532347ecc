//! The stored form of a job: JSON, the same in the embedded queue and on a broker.
//!
//! ```json
//! {"version":1,"uuid":"0192f0c1-…","query":"Hello","model":"simulated","expires_at":1763800000.123}
//! ```
//!
//! A request that says more than a prompt is version 2, with what version 1 does not know:
//!
//! ```json
//! {"version":2,"uuid":"0192f0c1-…","query":"And of Spain?","model":"simulated","expires_at":1763800000.123,
//!  "history":[{"role":"user","content":"What is the capital of France?"},{"role":"assistant","content":"Paris."}],
//!  "sampling":{"temperature":0.8,"seed":7}}
//! ```
//!
//! A worker of the first version refuses it, rather than answering another question; `history` is what was said before
//! `query`.
//!
//! A job that does not say what to ask is version 3; the stream of its generation has the request:
//!
//! ```json
//! {"version":3,"uuid":"0192f0c1-…","expires_at":1763800000.123}
//! ```
//!
//! Workers up to tokenwire 0.1 do not read version 3, so a job whose request is known is written as version 1 or 2.
//!
//! `expires_at` is the epoch of the stream ([`Epoch`]), which is the time by which the generation has to begin, in Unix
//! seconds; fractions are allowed. What other programs put into the queue is accepted too: messages without a
//! version (the first ones had none) or without a model, and any further fields. Trace context is not here: it travels
//! in the headers of whatever carries the message. Nothing here ever quotes a message in an error: prompts are private.

use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Map, Value};
use tokenwire_core::{
    Conversation, Epoch, Extras, GenerateRequest, GenerationId, Job, Message, ModelName, Sampling,
};

/// A single prompt. A message without a version is read as this one.
const PROMPT: u64 = 1;

/// A prompt with a history or with options.
const CONVERSATION: u64 = 2;

/// No request. The stream has it.
const ID_ALONE: u64 = 3;

#[derive(Serialize)]
struct StoredJob<'a> {
    version: u64,
    uuid: String,
    query: &'a str,
    model: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at: Option<f64>,
    #[serde(flatten)]
    more: Option<Version2Fields<'a>>,
}

/// Version 3.
#[derive(Serialize)]
struct StoredId {
    version: u64,
    uuid: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at: Option<f64>,
}

/// The fields that version 2 adds.
#[derive(Serialize)]
struct Version2Fields<'a> {
    history: &'a [Message],
    /// The id of the call, if `query` is the result of a tool call.
    #[serde(skip_serializing_if = "Option::is_none")]
    answers_call: Option<&'a str>,
    sampling: &'a Sampling,
    #[serde(skip_serializing_if = "Extras::is_empty")]
    extras: &'a Extras,
}

impl Version2Fields<'_> {
    fn is_nothing(&self) -> bool {
        let Self { history, answers_call, sampling, extras } = self;
        history.is_empty() && answers_call.is_none() && **sampling == Sampling::default() && extras.is_empty()
    }
}

/// The stored form of a job. Epochs are exact for the next thirty thousand years.
pub fn encode(job: &Job) -> Vec<u8> {
    let stored = match &job.request {
        Some(request) => with_request(job, request),
        None => serde_json::to_vec(&StoredId {
            version: ID_ALONE,
            uuid: job.id.to_string(),
            expires_at: job.epoch.map(seconds),
        }),
    };
    stored.expect("text and finite numbers always have a JSON form")
}

fn with_request(job: &Job, request: &GenerateRequest) -> serde_json::Result<Vec<u8>> {
    let GenerateRequest { model, conversation, sampling, extras } = request;
    let answers_call = match conversation.last() {
        Message::Tool { tool_call_id, .. } => Some(tool_call_id.as_str()),
        _ => None,
    };
    let more = Version2Fields { history: conversation.before(), answers_call, sampling, extras };
    serde_json::to_vec(&StoredJob {
        version: if more.is_nothing() { PROMPT } else { CONVERSATION },
        uuid: job.id.to_string(),
        query: conversation.prompt(),
        model: model.as_str(),
        expires_at: job.epoch.map(seconds),
        more: (!more.is_nothing()).then_some(more),
    })
}

/// Reads the stored form of a job. A message without a model gets `default_model`, if there is one.
///
/// # Errors
/// [`DecodeError`]: this version cannot read the message. If it names a generation, [`DecodeError::job`] is its job without
/// a request, which its stream may have. Otherwise the message is moved aside.
pub fn decode(bytes: &[u8], default_model: Option<&ModelName>) -> Result<Job, DecodeError> {
    let mut fields: Map<String, Value> = serde_json::from_slice(bytes).map_err(|_| DecodeError {
        id: None,
        epoch: None,
        fault: InvalidMessage::NotAnObject,
    })?;
    let id = fields.get("uuid").and_then(Value::as_str).and_then(|text| text.parse().ok());
    let epoch = fields.get("expires_at").and_then(Value::as_f64).map(epoch);
    job(id, epoch, &mut fields, default_model).map_err(|fault| DecodeError { id, epoch, fault })
}

fn job(
    id: Option<GenerationId>,
    epoch: Option<Epoch>,
    fields: &mut Map<String, Value>,
    default_model: Option<&ModelName>,
) -> Result<Job, InvalidMessage> {
    let version = match fields.get("version") {
        None => PROMPT,
        Some(version) => version
            .as_u64()
            .filter(|version| (PROMPT..=ID_ALONE).contains(version))
            .ok_or(InvalidMessage::Version)?,
    };
    let id = id.ok_or(InvalidMessage::Field("uuid"))?;
    if version == ID_ALONE {
        return Ok(Job { id, request: None, epoch });
    }
    let content = text(fields, "query").ok_or(InvalidMessage::Field("query"))?;
    let (mut messages, last, sampling, extras) = if version == CONVERSATION {
        let last = match optional::<String>(fields, "answers_call")? {
            Some(tool_call_id) => Message::Tool { tool_call_id, content },
            None => Message::user(content),
        };
        let extras = optional(fields, "extras")?.unwrap_or_default();
        (value::<Vec<Message>>(fields, "history")?, last, value(fields, "sampling")?, extras)
    } else {
        (Vec::new(), Message::user(content), Sampling::default(), Extras::default())
    };
    messages.push(last);
    let conversation = Conversation::new(messages).map_err(|_| InvalidMessage::Field("query"))?;
    let model = if fields.contains_key("model") {
        text(fields, "model").and_then(|name| ModelName::new(name).ok())
    } else {
        default_model.cloned()
    };
    let model = model.ok_or(InvalidMessage::Field("model"))?;
    if epoch.is_none() {
        return Err(InvalidMessage::Field("expires_at"));
    }
    let request = Some(GenerateRequest { model, conversation, sampling, extras });
    Ok(Job { id, request, epoch })
}

/// A field of version 2 that may be missing.
fn optional<T: DeserializeOwned>(
    fields: &mut Map<String, Value>,
    name: &'static str,
) -> Result<Option<T>, InvalidMessage> {
    fields.contains_key(name).then(|| value(fields, name)).transpose()
}

/// Moves a field of version 2 out of the message.
fn value<T: DeserializeOwned>(
    fields: &mut Map<String, Value>,
    name: &'static str,
) -> Result<T, InvalidMessage> {
    let value = fields.get_mut(name).map(Value::take).ok_or(InvalidMessage::Field(name))?;
    serde_json::from_value(value).map_err(|_| InvalidMessage::Field(name))
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
    reason = "seconds keep their milliseconds up to 2^50 of them, far beyond any epoch"
)]
fn seconds(epoch: Epoch) -> f64 {
    epoch.get() as f64 / 1000.0
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the cast saturates: before 1970 is long ago, beyond u64 is never, and JSON has no NaN"
)]
fn epoch(seconds: f64) -> Epoch {
    Epoch::new((seconds * 1000.0).round() as u64)
}

/// The message is not the stored form of a job.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a job: {fault}")]
pub struct DecodeError {
    /// The id of the generation, if it could be read.
    pub id: Option<GenerationId>,
    /// The epoch of the stream, if it could be read.
    pub epoch: Option<Epoch>,
    /// What is wrong.
    pub fault: InvalidMessage,
}

impl DecodeError {
    /// The job without a request, if the message names a generation.
    pub fn job(&self) -> Option<Job> {
        Some(Job { id: self.id?, request: None, epoch: self.epoch })
    }
}

/// What is wrong with a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidMessage {
    /// It is not JSON, or JSON of another kind.
    #[error("it is not a JSON object")]
    NotAnObject,
    /// A newer version or another program wrote it.
    #[error("its version is not one up to {ID_ALONE}: upgrade the workers before the servers")]
    Version,
    /// A field is missing or invalid.
    #[error("its field {0} is missing or invalid")]
    Field(&'static str),
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use proptest::prelude::*;
    use tokenwire_core::{StopTexts, Temperature, ToolCall, TopP};

    use super::*;

    const ID: &str = "0192f0c1-2d3e-7a4b-8c5d-6e7f8091a2b3";

    fn model(name: &str) -> ModelName {
        ModelName::new(name).unwrap()
    }

    fn job(model_name: &str, prompt: &str, millis: u64) -> Job {
        Job {
            id: ID.parse().unwrap(),
            request: Some(GenerateRequest::new(model(model_name), Conversation::of(prompt).unwrap())),
            epoch: Some(Epoch::new(millis)),
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
    fn version_2_is_written_and_read_like_this_for_ever() {
        let stored = include_bytes!("../tests/fixtures/job.v2.json").trim_ascii_end();
        let mut job = job("org/model-1", "And of \"Spain\"?", 1_763_800_000_123);
        let before = vec![
            Message::system("Be brief."),
            Message::user("What is the capital of France?"),
            Message::assistant("Paris.\n👋"),
        ];
        let request = job.request.as_mut().unwrap();
        request.conversation = Conversation::after(before, "And of \"Spain\"?").unwrap();
        request.sampling = Sampling {
            temperature: Some(Temperature::new(0.8).unwrap()),
            top_p: Some(TopP::new(0.95).unwrap()),
            top_k: NonZeroU32::new(40),
            seed: Some(u64::MAX),
            max_tokens: NonZeroU32::new(64),
            stop: StopTexts::new(vec!["\n\n".into()]).unwrap(),
        };
        assert_eq!(decode(stored, None), Ok(job.clone()));
        assert_eq!(encode(&job), stored);
    }

    #[test]
    fn version_3_is_written_and_read_like_this_for_ever() {
        let stored = format!(r#"{{"version":3,"uuid":"{ID}","expires_at":1763800000.123}}"#);
        let job = Job { request: None, ..job("m", "q", 1_763_800_000_123) };
        assert_eq!(decode(stored.as_bytes(), None), Ok(job.clone()));
        assert_eq!(encode(&job), stored.as_bytes());
    }

    #[test]
    fn what_is_known_of_a_job_that_cannot_be_read_is_its_generation_and_its_time() {
        let stored = format!(r#"{{"version":9,"uuid":"{ID}","expires_at":1763800000.123,"what":"ever"}}"#);
        let error = decode(stored.as_bytes(), None).unwrap_err();
        assert_eq!(error.job(), Some(Job { request: None, ..job("m", "q", 1_763_800_000_123) }));
        assert_eq!(decode(b"{}", None).unwrap_err().job(), None);
    }

    #[test]
    fn a_message_of_the_first_producers_has_no_version_and_no_model() {
        let stored = include_bytes!("../tests/fixtures/job.v0.json");
        let fallback = model("simulated");
        assert_eq!(decode(stored, Some(&fallback)), Ok(job("simulated", "Hello world", 1_763_800_000_000)));
        let error = decode(stored, None).unwrap_err();
        let epoch = Some(Epoch::new(1_763_800_000_000));
        assert_eq!(
            error,
            DecodeError { id: Some(ID.parse().unwrap()), epoch, fault: InvalidMessage::Field("model") }
        );
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
            (String::new(), None, InvalidMessage::NotAnObject),
            ("[1]".into(), None, InvalidMessage::NotAnObject),
            ("{\"uuid\":".into(), None, InvalidMessage::NotAnObject),
            (r#"{"query":"q","expires_at":1}"#.into(), None, InvalidMessage::Field("uuid")),
            (with(r#""query":"q","expires_at":1,"version":4"#), known, InvalidMessage::Version),
            (with(r#""query":"q","expires_at":1,"version":2"#), known, InvalidMessage::Field("history")),
            (
                with(
                    r#""query":"q","version":2,"history":[{"role":"robot","content":"secret"}],"sampling":{}"#,
                ),
                known,
                InvalidMessage::Field("history"),
            ),
            (
                with(r#""query":"q","version":2,"history":[],"sampling":{"temperature":9}"#),
                known,
                InvalidMessage::Field("sampling"),
            ),
            (with(r#""query":"q","expires_at":1,"version":"1""#), known, InvalidMessage::Version),
            (with(r#""query":" ","expires_at":1"#), known, InvalidMessage::Field("query")),
            (with(r#""query":{"secret":1},"expires_at":1"#), known, InvalidMessage::Field("query")),
            (with(r#""query":"q","expires_at":1,"model":null"#), known, InvalidMessage::Field("model")),
            (with(r#""query":"q","expires_at":1,"model":"a b""#), known, InvalidMessage::Field("model")),
            (with(r#""query":"q""#), known, InvalidMessage::Field("expires_at")),
            (with(r#""query":"q","expires_at":"soon""#), known, InvalidMessage::Field("expires_at")),
        ] {
            let error = decode(stored.as_bytes(), Some(&model("m"))).unwrap_err();
            assert_eq!((error.id, error.fault), (id, fault), "{stored}");
            assert!(!error.to_string().contains("secret"));
        }
    }

    #[test]
    fn deadlines_before_1970_and_beyond_all_time_saturate() {
        let at = |seconds: &str| {
            let stored = format!(r#"{{"uuid":"{ID}","query":"q","model":"m","expires_at":{seconds}}}"#);
            decode(stored.as_bytes(), None).unwrap().epoch.unwrap().get()
        };
        assert_eq!((at("-1"), at("1e300"), at("1763800000")), (0, u64::MAX, 1_763_800_000_000));
    }

    proptest! {
        #[test]
        fn every_job_comes_back_as_it_went(
            id: [u8; 16],
            model in "[A-Za-z0-9._:/-]{1,128}",
            prompt in "(?s).{0,200}[^\\s].{0,200}",
            history in proptest::collection::vec((0..4_usize, "(?s).{0,20}"), 0..4),
            answers: bool,
            format: Option<bool>,
            temperature in proptest::option::of(0_f32..=2.0),
            seed: Option<u64>,
            millis in 0..1_u64 << 50,
        ) {
            let call = |name: &str| ToolCall { id: "1".into(), name: name.into(), arguments: "{}".into() };
            let history = history.into_iter().map(|(role, content)| match role {
                0 => Message::system(content),
                1 => Message::user(content),
                2 => Message::Assistant { tool_calls: vec![call(&content)], content },
                _ => Message::Tool { tool_call_id: "1".into(), content },
            });
            let mut messages: Vec<_> = history.collect();
            messages.push(if answers {
                Message::Tool { tool_call_id: "call".into(), content: prompt }
            } else {
                Message::user(prompt)
            });
            let format = format.map(|strict| ("response_format".to_owned(), strict.into()));
            let temperature = temperature.map(|number| Temperature::new(number).unwrap());
            let job = Job {
                id: GenerationId::from_bytes(id),
                request: Some(GenerateRequest {
                    model: ModelName::new(model).unwrap(),
                    conversation: Conversation::new(messages).unwrap(),
                    extras: Extras::new(format.into_iter().collect()),
                    sampling: Sampling { temperature, seed, ..Sampling::default() },
                }),
                epoch: Some(Epoch::new(millis)),
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
