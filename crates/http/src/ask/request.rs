//! The body of `POST /ask`: becomes a request of the core. Every mistake names its field.

use serde::Deserialize;
use tokenwire_core::{Conversation, GenerateRequest, GenerationId, Message, Sampling, catalogue::ModelNames};
use utoipa::{
    PartialSchema, ToSchema,
    openapi::{AllOfBuilder, ArrayBuilder, ObjectBuilder, OneOfBuilder, Ref, RefOr, Schema, schema::Type},
};

use crate::front::{
    app::resolve_model,
    fields::{Count, Seed, Stop, TemperatureField, TopPField},
    json::{self, Fields},
    problem::Problem,
};

/// A question, and the id that the client chose for it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Ask {
    pub(super) id: Option<GenerationId>,
    pub(super) request: GenerateRequest,
}

/// A question, and how to answer it. Options go to the model. Other fields are ignored.
#[derive(Debug, Deserialize, ToSchema)]
pub(super) struct AskFields {
    /// The prompt: not blank, and at most 256 KiB of UTF-8. Either this or `messages`.
    #[schema(pattern = r"\S", max_length = 262_144, example = "Hello world")]
    query: Option<String>,
    /// The conversation so far. The last message is the user's. All messages together: at most 256 KiB of UTF-8.
    #[schema(min_items = 1, max_items = 1024)]
    messages: Option<Vec<AskMessage>>,
    /// The id of the generation, chosen by the client. It makes the call safe to repeat.
    #[schema(format = "uuid")]
    uuid: Option<String>,
    /// A model that `GET /v1/models` lists. Default: the first of them.
    model: Option<String>,
    /// 0 always takes the likeliest token.
    #[schema(inline)]
    temperature: Option<TemperatureField>,
    /// Choose among the likeliest tokens that add up to this share.
    #[schema(inline)]
    top_p: Option<TopPField>,
    /// Choose among this many of the likeliest tokens.
    #[schema(inline)]
    top_k: Option<Count>,
    /// The same seed and question give the same answer, where the model can promise it. Default: follows from the `uuid`.
    #[schema(inline)]
    seed: Option<Seed>,
    /// End after this many tokens, with `finish_reason` `length`.
    #[schema(inline)]
    max_tokens: Option<Count>,
    #[schema(inline)]
    stop: Option<Stop>,
}

/// One message of a conversation.
#[derive(Debug, Deserialize, ToSchema)]
struct AskMessage {
    role: AskRole,
    content: String,
}

/// The author of a message.
#[derive(Clone, Copy, Debug, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum AskRole {
    System,
    User,
    Assistant,
}

/// The body of `POST /ask`: the fields, and either a prompt or messages.
pub(super) struct AskRequest;

impl PartialSchema for AskRequest {
    fn schema() -> RefOr<Schema> {
        let query = ObjectBuilder::new().schema_type(Type::String);
        let messages = ArrayBuilder::new().items(Ref::from_schema_name(AskMessage::name()));
        let one = OneOfBuilder::new()
            .item(ObjectBuilder::new().property("query", query).required("query"))
            .item(ObjectBuilder::new().property("messages", messages).required("messages"));
        let fields = Ref::from_schema_name(AskFields::name());
        Schema::from(AllOfBuilder::new().item(fields).item(one)).into()
    }
}

impl ToSchema for AskRequest {
    fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
        schemas.push((AskFields::name().into_owned(), AskFields::schema()));
        AskFields::schemas(schemas);
    }
}

impl Ask {
    pub(super) fn of(fields: &Fields, models: &ModelNames) -> Result<Self, Problem> {
        let AskFields { query, messages, uuid, model, temperature, top_p, top_k, seed, max_tokens, stop } =
            json::read(fields)?;
        let conversation = conversation(query, messages)?;
        let invalid = |error| Problem::invalid_field("uuid", format!("is {error}"));
        let id = uuid.map(|id| id.parse().map_err(invalid)).transpose()?;
        let model = resolve_model(model.as_deref(), models)?;
        let sampling = Sampling {
            temperature: temperature.map(|TemperatureField(temperature)| temperature),
            top_p: top_p.map(|TopPField(top_p)| top_p),
            top_k: top_k.map(|Count(top_k)| top_k),
            seed: seed.map(|Seed(seed)| seed),
            max_tokens: max_tokens.map(|Count(most)| most),
            stop: stop.unwrap_or_default().0,
        };
        Ok(Self { id, request: GenerateRequest { sampling, ..GenerateRequest::new(model, conversation) } })
    }
}

/// A prompt alone, or messages.
fn conversation(query: Option<String>, messages: Option<Vec<AskMessage>>) -> Result<Conversation, Problem> {
    match (query, messages) {
        (Some(query), None) => {
            Conversation::of(query).map_err(|error| Problem::invalid_field("query", error))
        }
        (None, Some(messages)) => {
            let messages = messages.into_iter().map(|AskMessage { role, content }| match role {
                AskRole::System => Message::system(content),
                AskRole::User => Message::user(content),
                AskRole::Assistant => Message::assistant(content),
            });
            Conversation::new(messages.collect()).map_err(|error| Problem::invalid_field("messages", error))
        }
        (Some(_), Some(_)) => {
            Err(Problem::invalid_field("query", "and messages are both there: send one of them"))
        }
        (None, None) => Err(Problem::invalid_field("query", "is missing: write what you want to ask")),
    }
}

#[cfg(test)]
mod tests {
    use axum::http::{HeaderMap, header};
    use proptest::prelude::*;
    use tokenwire_core::ModelName;

    use super::*;
    use crate::front::json::check_content_type;

    fn models() -> ModelNames {
        ModelNames::new(ModelName::new("simulated").unwrap(), [ModelName::new("other").unwrap()])
    }

    fn parse(body: &str) -> Result<Ask, Problem> {
        Ask::of(&json::object(body.as_bytes())?, &models())
    }

    #[test]
    fn a_question_alone_is_enough() {
        let ask = parse(r#"{"query": " Hello\nworld"}"#).unwrap();
        assert_eq!(ask.id, None);
        assert_eq!(ask.request.conversation.prompt(), " Hello\nworld");
        assert_eq!(ask.request.model.as_str(), "simulated");
    }

    #[test]
    fn messages_and_options_are_taken_as_they_are() {
        let ask = parse(
            r#"{"messages": [{"role": "system", "content": ""}, {"role": "user", "content": " a "}],
                "temperature": 0.8, "top_p": 1, "top_k": 40, "seed": 7, "max_tokens": 9, "stop": "x"}"#,
        )
        .unwrap();
        let said = ask.request.conversation.messages();
        assert_eq!(said, [Message::system(""), Message::user(" a ")]);
        let given = serde_json::to_string(&ask.request.sampling).unwrap();
        let expected = r#"{"temperature":0.8,"top_p":1.0,"top_k":40,"seed":7,"max_tokens":9,"stop":["x"]}"#;
        assert_eq!(given, expected);
    }

    #[test]
    fn one_message_asks_the_same_as_a_query() {
        let message = parse(r#"{"messages": [{"role": "user", "content": "a"}]}"#).unwrap();
        assert_eq!(message, parse(r#"{"query": "a"}"#).unwrap());
    }

    #[test]
    fn null_is_as_good_as_nothing_and_unknown_fields_are_ignored() {
        let ask =
            parse(r#"{"query": "a", "uuid": null, "model": null, "stop": null, "colour": 0.5}"#).unwrap();
        assert_eq!(ask, parse(r#"{"query": "a"}"#).unwrap());
    }

    #[test]
    fn every_mistake_names_its_field_and_what_to_do() {
        for (body, field, message) in [
            (r"{}", "query", "query is missing: write what you want to ask"),
            (r#"{"query": null}"#, "query", "query is missing: write what you want to ask"),
            (r#"{"query": " \n"}"#, "query", "query is empty: write what you want to ask"),
            (r#"{"query": 5}"#, "query", "query must be a text, not a number"),
            (r#"{"query": ["a"]}"#, "query", "query must be a text, not a list"),
            (r#"{"messages": []}"#, "messages", "messages is empty: write what you want to ask"),
            (r#"{"messages": "a"}"#, "messages", "messages must be a list, not a text"),
            (
                r#"{"query": "a", "messages": []}"#,
                "query",
                "query and messages are both there: send one of them",
            ),
            (r#"{"messages": ["a"]}"#, "messages[0]", "messages[0] must be an object, not a text"),
            (
                r#"{"messages": [{"role": "user", "content": "a"}, {"role": "robot", "content": "a"}]}"#,
                "messages[1].role",
                "messages[1].role must be system, user or assistant",
            ),
            (r#"{"messages": [{"role": "user"}]}"#, "messages[0].content", "messages[0].content is missing"),
            (
                r#"{"messages": [{"role": "user", "content": [{"type": "text"}]}]}"#,
                "messages[0].content",
                "messages[0].content must be a text, not a list",
            ),
            (
                r#"{"messages": [{"role": "assistant", "content": "a"}]}"#,
                "messages",
                "messages must end with a message of the user, or the result of a tool: that is what is answered",
            ),
            (
                r#"{"query": "a", "temperature": 2.5}"#,
                "temperature",
                "temperature must be a number from 0 to 2",
            ),
            (r#"{"query": "a", "top_p": "1"}"#, "top_p", "top_p must be a number, not a text"),
            (r#"{"query": "a", "top_k": 0}"#, "top_k", "top_k must be a whole number from 1 to 4294967295"),
            (
                r#"{"query": "a", "seed": -1}"#,
                "seed",
                "seed must be a whole number from 0 to 18446744073709551615",
            ),
            (
                r#"{"query": "a", "max_tokens": 4294967296}"#,
                "max_tokens",
                "max_tokens must be a whole number from 1 to 4294967295",
            ),
            (r#"{"query": "a", "stop": [1]}"#, "stop", "stop must be up to 16 texts of 1 to 256 bytes"),
            (r#"{"query": "a", "stop": ""}"#, "stop", "stop must be up to 16 texts of 1 to 256 bytes"),
            (r#"{"query": "a", "uuid": true}"#, "uuid", "uuid must be a text, not a boolean"),
            (
                r#"{"query": "a", "uuid": "42"}"#,
                "uuid",
                "uuid is not a UUID: write it like 0192f0c1-2d3e-7a4b-8c5d-6e7f8091a2b3",
            ),
            (r#"{"query": "a", "model": {}}"#, "model", "model must be a text, not an object"),
            (
                r#"{"query": "a", "model": "gpt"}"#,
                "model",
                "model is not one of those that exist: other, simulated",
            ),
            (
                r#"{"query": "a", "model": "\n"}"#,
                "model",
                "model is not one of those that exist: other, simulated",
            ),
        ] {
            match parse(body) {
                Err(problem) => {
                    assert_eq!((problem.field.as_deref(), &*problem.message), (Some(field), message));
                }
                Ok(ask) => panic!("{body}: {ask:?}"),
            }
        }
    }

    #[test]
    fn json_that_is_no_object_and_bytes_that_are_no_json_are_told_apart() {
        for body in ["5", "null", "[]", r#""query""#] {
            assert_eq!(parse(body).unwrap_err().code, "invalid_body", "{body}");
        }
        let deep = "[".repeat(100_000);
        for body in ["", "{", "{'query': 'a'}", r#"{"query": "a"} x"#, r#"{"query": "\ud800"}"#, &deep] {
            assert_eq!(parse(body).unwrap_err().code, "invalid_json", "{body:.20}");
        }
        assert_eq!(json::object(b"{\"query\": \"\xff\"}").unwrap_err().code, "invalid_json");
    }

    #[test]
    fn json_may_be_declared_with_parameters_and_in_any_case() {
        let check = |value: &str| {
            check_content_type(&[(header::CONTENT_TYPE, value.parse().unwrap())].into_iter().collect())
        };
        for good in ["application/json", "Application/JSON; charset=utf-8", "application/json;x"] {
            assert!(check(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            "text/plain",
            "application/jsonp",
            "application/x-www-form-urlencoded",
            "text/plain; application/json",
        ] {
            assert!(check(bad).is_err(), "{bad}");
        }
        assert!(check_content_type(&HeaderMap::new()).is_err());
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_parser_panic(bytes: Vec<u8>) {
            let _ = json::object(&bytes).and_then(|fields| Ask::of(&fields, &models()));
        }

        #[test]
        fn no_fields_make_the_parser_panic(query in ".*", uuid in ".*", model in ".*") {
            let body = serde_json::json!({"query": query, "uuid": uuid, "model": model}).to_string();
            let _ = parse(&body);
        }
    }
}
