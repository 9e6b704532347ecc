//! What `POST /v1/completions` takes: a body to a request that core knows, and how its answer is to be shown.

use serde::{Deserialize, Deserializer, de::Error};
use serde_json::{Map, Value, json};
use tokenwire_core::{Conversation, GenerateRequest, Sampling, catalogue::ModelNames};
use utoipa::{
    ToSchema,
    openapi::{ArrayBuilder, ObjectBuilder, OneOfBuilder, schema::Type},
};

use crate::{
    front::{
        app::resolve_model,
        fields::{Count, Penalty, SignedSeed, Stop, TemperatureField, TopPField, described, only},
        json::{self, Fields, non_null},
        problem::Problem,
    },
    openai::parameters::{self, One, Shown, StreamOptions},
};

/// What is asked, and how the answer is to be shown.
#[derive(Debug)]
pub(super) struct Prompt {
    pub(super) request: GenerateRequest,
    pub(super) shown: Shown,
}

/// A text, or a list of one text.
#[derive(Debug)]
struct PromptText(String);

impl<'de> Deserialize<'de> for PromptText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Value::deserialize(deserializer)? {
            Value::String(text) => Ok(Self(text)),
            Value::Array(mut prompts) => match (prompts.pop(), prompts.is_empty()) {
                (Some(Value::String(text)), true) => Ok(Self(text)),
                (Some(Value::String(_)), false) => {
                    Err(Error::custom("has several prompts: ask once for each"))
                }
                (None, _) => Err(Error::custom("has no prompt: send a text")),
                (Some(_), _) => Err(Error::custom("must be a text: token ids are not taken")),
            },
            _ => Err(Error::custom("must be a text")),
        }
    }
}

described!(PromptText, "CompletionPrompt", {
    let text = || ObjectBuilder::new().schema_type(Type::String).pattern(Some(r"\S"));
    let one = ArrayBuilder::new().items(text()).min_items(Some(1)).max_items(Some(1));
    OneOfBuilder::new().item(text()).item(one)
});

only!(
    /// The prompt is not repeated in the answer.
    NoEcho,
    json!(false),
    "is not done here: leave it out, or send false"
);

/// What to continue, and how. A parameter that is not named here goes to the model, which does it or refuses it by its name.
#[derive(Deserialize, ToSchema)]
pub(super) struct CompletionRequest {
    /// The prompt, not blank and at most 256 KiB of UTF-8: a text, or a list of one text.
    #[schema(required, nullable = false)]
    prompt: Option<PromptText>,
    /// One of those that `GET /v1/models` lists. Default: the first of them.
    model: Option<String>,
    /// Whether to answer with events.
    stream: Option<bool>,
    /// Only with `stream`.
    stream_options: Option<StreamOptions>,
    /// 0 always takes the likeliest token.
    #[schema(inline)]
    temperature: Option<TemperatureField>,
    /// Choose among the likeliest tokens that add up to this share.
    #[schema(inline)]
    top_p: Option<TopPField>,
    /// Choose among this many of the likeliest tokens. Not OpenAI's.
    #[schema(inline)]
    top_k: Option<Count>,
    /// The same seed and request give the same answer, where the model can promise it.
    #[schema(inline)]
    seed: Option<SignedSeed>,
    /// End after this many tokens, with `finish_reason` `length`. Default: the model's own, not OpenAI's 16.
    #[schema(inline)]
    max_tokens: Option<Count>,
    #[schema(inline)]
    stop: Option<Stop>,
    /// One answer to a request.
    #[serde(rename = "n")]
    #[schema(inline)]
    _n: Option<One>,
    /// One answer to a request.
    #[serde(rename = "best_of")]
    #[schema(inline)]
    _best_of: Option<One>,
    /// The prompt is not repeated in the answer.
    #[serde(rename = "echo")]
    #[schema(inline)]
    _echo: Option<NoEcho>,
    /// Handed to the model.
    #[serde(rename = "frequency_penalty")]
    #[schema(inline)]
    _frequency_penalty: Option<Penalty>,
    /// Handed to the model.
    #[serde(rename = "presence_penalty")]
    #[schema(inline)]
    _presence_penalty: Option<Penalty>,
    /// What to add to the likelihood of tokens, by their numbers. Handed to the model.
    #[serde(rename = "logit_bias")]
    _logit_bias: Option<Map<String, Value>>,
}

/// They have types above and do not go to the model, or change nothing.
const READ: [&str; 14] = [
    "prompt",
    "model",
    "stream",
    "stream_options",
    "temperature",
    "top_p",
    "top_k",
    "seed",
    "max_tokens",
    "stop",
    "n",
    "best_of",
    "echo",
    "user",
];

/// What cannot be done here, and what to do instead.
const REFUSED: [(&str, &str); 7] = [
    ("suffix", "is not taken: the models here continue a text, and fill no gap"),
    ("logprobs", "is not taken: answers are kept without probabilities"),
    ("messages", "is not taken: use prompt, or POST /v1/chat/completions"),
    ("tools", "is not taken: use POST /v1/chat/completions"),
    ("tool_choice", "is not taken: use POST /v1/chat/completions"),
    ("functions", "is not taken: use POST /v1/chat/completions"),
    ("function_call", "is not taken: use POST /v1/chat/completions"),
];

impl Prompt {
    pub(super) fn of(mut fields: Fields, models: &ModelNames) -> Result<Self, Problem> {
        for (name, what) in REFUSED {
            if non_null(&fields, name).is_some() {
                return Err(Problem::invalid_field(name, what));
            }
        }
        let request: CompletionRequest = json::read(&fields)?;
        let model = resolve_model(request.model.as_deref(), models)?;
        let shown = Shown::of(request.stream, request.stream_options)?;
        let missing = || Problem::invalid_field("prompt", "is missing: write what you want to ask");
        let PromptText(prompt) = request.prompt.ok_or_else(missing)?;
        let conversation =
            Conversation::of(prompt).map_err(|error| Problem::invalid_field("prompt", error))?;
        let sampling = Sampling {
            temperature: request.temperature.map(|TemperatureField(temperature)| temperature),
            top_p: request.top_p.map(|TopPField(top_p)| top_p),
            top_k: request.top_k.map(|Count(top_k)| top_k),
            seed: request.seed.map(|SignedSeed(seed)| seed),
            max_tokens: request.max_tokens.map(|Count(most)| most),
            stop: request.stop.unwrap_or_default().0,
        };
        fields.retain(|name, _| !READ.contains(&name.as_str()));
        let extras = parameters::extras(fields)?;
        Ok(Self { request: GenerateRequest { model, conversation, sampling, extras }, shown })
    }
}

#[cfg(test)]
mod tests {
    use tokenwire_core::{Message, ModelName};

    use super::*;

    fn read(body: &Value) -> Result<Prompt, Problem> {
        let models = ModelNames::new(ModelName::new("simulated").unwrap(), []);
        Prompt::of(body.as_object().unwrap().clone(), &models)
    }

    #[test]
    fn the_prompt_is_one_message_of_the_user() {
        for prompt in [json!("a"), json!(["a"])] {
            let more = json!({
                "prompt": prompt, "suffix": null, "logprobs": null, "n": 1, "best_of": 1, "echo": false, "user": "u",
                "max_tokens": 9, "min_p": 0.1,
            });
            let Prompt { request, shown } = read(&more).unwrap();
            assert_eq!(request.conversation.messages(), [Message::user("a")]);
            assert_eq!((request.sampling.max_tokens.unwrap().get(), shown), (9, Shown::Whole));
            assert_eq!(serde_json::to_value(&request.extras).unwrap(), json!({"min_p": 0.1}));
        }
    }

    #[test]
    fn what_cannot_be_done_here_is_refused_by_its_name() {
        for (more, field) in [
            (json!({"prompt": null}), "prompt"),
            (json!({"prompt": " "}), "prompt"),
            (json!({"prompt": []}), "prompt"),
            (json!({"prompt": ["a", "b"]}), "prompt"),
            (json!({"prompt": [1, 2]}), "prompt"),
            (json!({"prompt": [[1, 2]]}), "prompt"),
            (json!({"prompt": 1}), "prompt"),
            (json!({"suffix": "b"}), "suffix"),
            (json!({"logprobs": 0}), "logprobs"),
            (json!({"best_of": 2}), "best_of"),
            (json!({"n": 2}), "n"),
            (json!({"echo": true}), "echo"),
            (json!({"messages": []}), "messages"),
            (json!({"tools": []}), "tools"),
            (json!({"stream_options": {}}), "stream_options"),
        ] {
            let mut body = json!({"prompt": "a"});
            body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            let problem = read(&body).unwrap_err();
            assert_eq!(problem.field.as_deref(), Some(field), "{more}");
            assert!(problem.message.starts_with(field), "{}", problem.message);
        }
    }
}
