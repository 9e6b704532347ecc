//! OpenAI's paths as OpenAPI tells of them: chat completions and models here, responses beside their own code.

mod chat_body;

use std::iter;

use axum::{
    http::{HeaderName, StatusCode, header},
    response::IntoResponse,
};
use serde_json::json;
use tokenwire_core::{CancelCause, Failure, GenerationId, ModelName, catalogue::ModelNames};
use utoipa::openapi::HttpMethod;

pub(super) use self::chat_body::Mode;
use super::{
    chat::{self, Completion, events, too_large},
    error::{ErrorEnvelope, OpenAiError},
    models, responses,
};
use crate::{
    front::{app::resolve_model, problem::Problem},
    openapi::{Answer, Described, examples, schemas},
    paths,
};

pub(crate) fn operations() -> Vec<Described> {
    let mut operations = vec![create(), list(), retrieve()];
    operations.extend(responses::operations());
    // The layer around all of these paths.
    let id = HeaderName::from_static("x-request-id");
    operations.into_iter().map(|operation| operation.always(&id)).collect()
}

fn create() -> Described {
    let answer = Answer::new("The answer, once it is whole; or with `stream` its events.")
        .json::<Completion>()
        .events(
            "The role first, then pieces of the answer, then why it ended, then `[DONE]`. A failure after the first byte is an \
             object with an `error`, and no `[DONE]` follows it. A body that ends with neither was cut. There are no ids and no \
             resuming: read the answer at the address in `Location` then. Comments (`:`) fill silence.",
            events(),
        )
        .header(&header::LOCATION);
    about_asking(Described::new(
        HttpMethod::Post,
        paths::CHAT_COMPLETIONS,
        "createChatCompletion",
        "Ask a model as OpenAI's chat completions do",
    ))
    .tagged("Chat Completions")
    .about(
        "`null` is as good as nothing. No parameter is ignored that would change the answer: it is honoured, handed to the \
         model, or refused. The generation can be read at the address in `Location`, and as a response under its id.",
    )
    .body::<chat_body::Body>(json!({"messages": [{"role": "user", "content": "Hello world"}]}))
    .answer(StatusCode::OK, answer)
    .refusals::<ErrorEnvelope<'static>>(
        of_bodies()
            .chain(of_asking("n", "must be 1: ask once for each answer"))
            .chain(of_answers(too_large()))
            .chain([Problem::draining(chat::DRAINING).about_generation(nobody())])
            .map(|problem| OpenAiError::from(problem).into_response()),
    )
}

fn list() -> Described {
    Described::new(HttpMethod::Get, paths::MODELS, "listModels", "List the models")
        .tagged("Models")
        .about("Every model that can be asked, the default one first.")
        .answer(StatusCode::OK, Answer::new("The models.").json::<models::List>())
}

fn retrieve() -> Described {
    Described::new(HttpMethod::Get, paths::MODEL, "retrieveModel", "Look up a model")
        .tagged("Models")
        .about("One model. Names may have slashes, escaped or not.")
        .part("name", "The name of the model.", schemas::text())
        .answer(StatusCode::OK, Answer::new("The model.").json::<models::Model>())
        .refusals::<ErrorEnvelope<'static>>(
            unknown_model().map(|problem| OpenAiError::from(problem).into_response()),
        )
}

/// The headers of a call that begins a generation.
pub(super) fn about_asking(described: Described) -> Described {
    described
        .header(
            "Idempotency-Key",
            "Makes the call safe to repeat: the same key with the same request finds the same answer, with another request it \
             is a 409. Whoever sends the key reads the answer, so it should be random.",
            schemas::text_like("^[!-~]{1,255}$"),
        )
        .header(
            "Tokenwire-On-Disconnect",
            "What becomes of the generation once nobody reads it: it is stopped after the grace time, or goes on to its end.",
            schemas::one_of(["cancel", "detach"]),
        )
}

/// What can be wrong with any body.
pub(super) fn of_bodies() -> impl Iterator<Item = Problem> {
    examples::of_bodies().chain([Problem::not_an_object()])
}

/// Why a request that begins a generation may be refused, a field that is wrong among them.
pub(super) fn of_asking(field: &str, what: &str) -> impl Iterator<Item = Problem> {
    let refused = [
        Problem::invalid_field(field, what),
        Problem::conflict(nobody()),
        examples::unavailable(),
        Problem::too_many_streams(),
        Problem::overloaded(),
    ];
    refused.into_iter().chain(unknown_model())
}

/// How an answer that somebody waits for may fail.
pub(super) fn of_answers(too_large: Problem) -> impl Iterator<Item = Problem> {
    let failures = [
        Failure::Rejected { message: "the model can never answer this".to_owned() },
        Failure::Cancelled { cause: CancelCause::Requested },
        Failure::Exhausted { attempts: 3, message: "the model failed again and again".to_owned() },
        Failure::Expired,
        Failure::TimedOut,
    ];
    let failures = failures.map(|failure| Problem::from(&failure));
    failures
        .into_iter()
        .chain([Problem::stream_lost(), too_large])
        .map(|error| error.about_generation(nobody()))
}

fn unknown_model() -> impl Iterator<Item = Problem> {
    let there = ModelNames::new(ModelName::new("simulated").expect("a name"), iter::empty());
    resolve_model(Some("unknown"), &there).err().into_iter()
}

pub(super) fn nobody() -> GenerationId {
    "0192f0c1-2d3e-7a4b-8c5d-6e7f8091a2b3".parse().expect("a UUID")
}

#[cfg(test)]
mod tests {
    use super::{super::chat::ChatRequest, *};
    use crate::openapi::properties;

    #[test]
    fn every_parameter_that_the_parser_knows_is_described() {
        let described = properties::<chat_body::Body>();
        for name in super::super::parameters::known() {
            assert!(described.contains(name), "{name}");
        }
    }

    #[test]
    fn every_parameter_that_is_described_is_known_or_refused_by_its_name_where_it_is_no_list_of_numbers() {
        let models = ModelNames::new(ModelName::new("simulated").unwrap(), iter::empty());
        let known: Vec<_> = super::super::parameters::known().collect();
        for name in properties::<chat_body::Body>() {
            let mut body = json!({"messages": [{"role": "user", "content": "a"}]});
            body[&name] = json!([5]);
            let answer = ChatRequest::parse(body.to_string().as_bytes(), &models);
            let refused =
                answer.is_err_and(|error| error.field.is_some_and(|field| field.starts_with(&name)));
            assert!(refused || known.contains(&name.as_str()), "{name} means nothing to the parser");
        }
    }
}
