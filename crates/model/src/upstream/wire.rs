//! Chat completions on the wire: requests, and the parts of responses that are read.
//!
//! Reading is lenient: every field can be missing or `null`, and unknown fields are ignored.

use serde::{Deserialize, Serialize};
use tokenwire_core::{Extras, GenerateRequest, Role, Sampling, Temperature, ToolCall, TopP};

use super::config::ContinuationMode;

/// A request for a streamed answer. Options that are not set are left out, because some services refuse unknown ones.
#[derive(Debug, Serialize)]
pub(super) struct Request<'a> {
    model: &'a str,
    messages: Vec<Message<'a>>,
    stream: bool,
    stream_options: StreamOptions,
    #[serde(skip_serializing_if = "Option::is_none")]
    temperature: Option<f32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    top_p: Option<f32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    top_k: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    seed: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_tokens: Option<u32>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    stop: Vec<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    add_generation_prompt: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    continue_final_message: Option<bool>,
    #[serde(flatten)]
    extras: &'a Extras,
}

#[derive(Debug, Serialize)]
struct Message<'a> {
    role: &'static str,
    content: &'a str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tool_calls: Vec<AssistantToolCall<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_call_id: Option<&'a str>,
}

/// An earlier tool call of the model.
#[derive(Debug, Serialize)]
struct AssistantToolCall<'a> {
    id: &'a str,
    r#type: &'static str,
    function: CalledFunction<'a>,
}

#[derive(Debug, Serialize)]
struct CalledFunction<'a> {
    name: &'a str,
    arguments: &'a str,
}

impl<'a> From<&'a tokenwire_core::Message> for Message<'a> {
    fn from(message: &'a tokenwire_core::Message) -> Self {
        let call = |ToolCall { id, name, arguments }: &'a ToolCall| AssistantToolCall {
            id,
            r#type: "function",
            function: CalledFunction { name, arguments },
        };
        Self {
            role: message.role().as_str(),
            content: message.content(),
            tool_calls: message.tool_calls().iter().map(call).collect(),
            tool_call_id: match message {
                tokenwire_core::Message::Tool { tool_call_id, .. } => Some(tool_call_id),
                _ => None,
            },
        }
    }
}

#[derive(Debug, Serialize)]
struct StreamOptions {
    include_usage: bool,
}

impl<'a> Request<'a> {
    /// The request for a complete answer.
    pub(super) fn new(model: &'a str, request: &'a GenerateRequest) -> Self {
        let Sampling { temperature, top_p, top_k, seed, max_tokens, stop } = &request.sampling;
        let messages = request.conversation.messages();
        Self {
            model,
            messages: messages.iter().map(Message::from).collect(),
            stream: true,
            stream_options: StreamOptions { include_usage: true },
            temperature: temperature.map(Temperature::get),
            top_p: top_p.map(TopP::get),
            top_k: top_k.map(Into::into),
            // Services take a signed number. The conversion keeps different seeds different.
            seed: seed.map(|seed| seed & i64::MAX.cast_unsigned()),
            max_tokens: max_tokens.map(Into::into),
            stop: stop.iter().collect(),
            add_generation_prompt: None,
            continue_final_message: None,
            extras: &request.extras,
        }
    }

    /// The request to continue right after this text.
    #[must_use]
    pub(super) fn after(mut self, text: &'a str, mode: ContinuationMode) -> Self {
        let role = Role::Assistant.as_str();
        self.messages.push(Message { role, content: text, tool_calls: Vec::new(), tool_call_id: None });
        if mode == ContinuationMode::ContinueFinalMessage {
            self.add_generation_prompt = Some(false);
            self.continue_final_message = Some(true);
        }
        self
    }
}

/// One event of a response.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Chunk {
    pub(super) choices: Option<Vec<Choice>>,
    pub(super) usage: Option<Usage>,
    pub(super) error: Option<ErrorBody>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Choice {
    pub(super) index: Option<u32>,
    pub(super) delta: Option<Delta>,
    pub(super) finish_reason: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
pub(super) struct Delta {
    pub(super) content: Option<String>,
    /// A refusal of the model, which some services send separately. It is text of the answer.
    pub(super) refusal: Option<String>,
    pub(super) reasoning_content: Option<String>,
    /// Another name of it. Services that send both send the same text.
    pub(super) reasoning: Option<String>,
    pub(super) tool_calls: Option<Vec<ToolCallPiece>>,
}

#[derive(Debug, Deserialize)]
pub(super) struct ToolCallPiece {
    pub(super) index: Option<u32>,
    pub(super) id: Option<String>,
    pub(super) function: Option<Function>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Function {
    pub(super) name: Option<String>,
    pub(super) arguments: Option<String>,
}

#[derive(Clone, Copy, Debug, Deserialize)]
pub(super) struct Usage {
    pub(super) prompt_tokens: Option<u64>,
    pub(super) completion_tokens: Option<u64>,
}

/// An error of a service: an object or a text.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub(super) enum ErrorBody {
    Object {
        message: Option<String>,
        /// The HTTP status as a number in most services, a word in some.
        code: Option<serde_json::Value>,
    },
    Text(String),
}

impl ErrorBody {
    /// Its message, if any.
    pub(super) fn message(&self) -> Option<&str> {
        match self {
            Self::Object { message, .. } => message.as_deref(),
            Self::Text(text) => Some(text),
        }
    }

    /// Its HTTP status, if it is a number.
    pub(super) fn status(&self) -> Option<u16> {
        match self {
            Self::Object { code: Some(code), .. } => code.as_u64()?.try_into().ok(),
            Self::Object { code: None, .. } | Self::Text(_) => None,
        }
    }
}

/// The body of an error response.
#[derive(Debug, Deserialize)]
pub(super) struct Refusal {
    error: Option<ErrorBody>,
    /// Some services have no `error` object.
    message: Option<String>,
    /// Others use this name.
    detail: Option<String>,
}

impl Refusal {
    /// The error in this body, if it has a known form.
    pub(super) fn read(body: &[u8]) -> Option<ErrorBody> {
        let Self { error, message, detail } = serde_json::from_slice(body).ok()?;
        error.or_else(|| message.or(detail).map(ErrorBody::Text))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use tokenwire_core::{Conversation, Message, ModelName};

    use super::*;

    fn request(sampling: &Value) -> GenerateRequest {
        let before = vec![Message::system("Be brief."), Message::user("1"), Message::assistant("2")];
        let conversation = Conversation::after(before, "3").unwrap();
        let sampling = serde_json::from_value(sampling.clone()).unwrap();
        GenerateRequest { sampling, ..GenerateRequest::new(ModelName::new("ours").unwrap(), conversation) }
    }

    fn messages() -> Value {
        json!([
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "1"},
            {"role": "assistant", "content": "2"},
            {"role": "user", "content": "3"},
        ])
    }

    #[test]
    fn what_was_not_asked_for_is_not_sent() {
        let sent = serde_json::to_value(Request::new("theirs", &request(&json!({})))).unwrap();
        let expected = json!({
            "model": "theirs", "messages": messages(), "stream": true, "stream_options": {"include_usage": true},
        });
        assert_eq!(sent, expected);
    }

    #[test]
    fn every_option_is_passed_on() {
        let sampling = json!({"temperature": 0.5, "top_p": 0.25, "top_k": 40, "seed": 7, "max_tokens": 64, "stop": ["a", "b"]});
        let request = request(&sampling);
        let sent = serde_json::to_value(Request::new("theirs", &request)).unwrap();
        for (name, value) in sampling.as_object().unwrap() {
            assert_eq!(&sent[name], value, "{name}");
        }
        let text = serde_json::to_string(&Request::new(
            "theirs",
            &super::tests::request(&json!({"temperature": 0.8})),
        ));
        assert!(text.unwrap().contains(r#""temperature":0.8"#), "not 0.800000011920929");
    }

    #[test]
    fn a_seed_fits_a_signed_number() {
        let request = request(&json!({"seed": u64::MAX}));
        let sent = serde_json::to_value(Request::new("theirs", &request)).unwrap();
        assert_eq!(sent["seed"], i64::MAX);
    }

    #[test]
    fn the_text_so_far_is_the_last_message() {
        let request = request(&json!({}));
        let sent =
            |mode| serde_json::to_value(Request::new("theirs", &request).after(" so far\n", mode)).unwrap();
        let prefill = sent(ContinuationMode::AssistantPrefill);
        assert_eq!(prefill["messages"][4], json!({"role": "assistant", "content": " so far\n"}));
        assert_eq!(prefill.get("continue_final_message"), None);
        let continued = sent(ContinuationMode::ContinueFinalMessage);
        assert_eq!(continued["messages"], prefill["messages"]);
        assert_eq!(continued["continue_final_message"], true);
        assert_eq!(continued["add_generation_prompt"], false);
    }

    #[test]
    fn complaints_are_understood_in_every_usual_form() {
        let read = |body: Value| {
            let error_body = Refusal::read(body.to_string().as_bytes())?;
            Some((error_body.message()?.to_owned(), error_body.status()))
        };
        let no = || "no".to_owned();
        assert_eq!(
            read(json!({"error": {"message": "no", "code": 400, "type": "t"}})),
            Some((no(), Some(400)))
        );
        assert_eq!(read(json!({"error": {"message": "no", "code": "x"}})), Some((no(), None)));
        assert_eq!(read(json!({"error": {"message": "no", "code": null}})), Some((no(), None)));
        assert_eq!(read(json!({"error": "no"})), Some((no(), None)));
        assert_eq!(read(json!({"object": "error", "message": "no", "code": 400})), Some((no(), None)));
        assert_eq!(read(json!({"detail": "no"})), Some((no(), None)));
        for other in
            [json!({}), json!([]), json!("no"), json!({"error": {}}), json!({"detail": [{"loc": []}]})]
        {
            assert_eq!(read(other.clone()), None, "{other}");
        }
    }
}
