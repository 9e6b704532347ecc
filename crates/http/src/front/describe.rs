//! Parts of the OpenAPI document that several front ends share: parameters, refusals, and response headers.

use std::collections::BTreeMap;

use serde_json::json;
use tokenwire_core::{CancelCause, FinishReason};
use utoipa::{
    ToSchema,
    openapi::{
        ContentBuilder, HeaderBuilder, ObjectBuilder, Ref, RefOr, Required, ResponseBuilder, Schema,
        header::Header,
        path::{Parameter, ParameterBuilder, ParameterIn},
        response::Response,
        schema::Type,
    },
};

use super::fields::{one_of, whole};

/// A text that matches this regular expression (ECMA-262).
pub(crate) fn text_like(pattern: &str) -> ObjectBuilder {
    ObjectBuilder::new().schema_type(Type::String).pattern(Some(pattern))
}

/// A header of a request.
pub(crate) fn header(name: &str, about: &str, schema: impl Into<RefOr<Schema>>) -> Parameter {
    parameter(ParameterIn::Header, name, about, schema)
}

/// A parameter in the query.
pub(crate) fn query(name: &str, about: &str, schema: impl Into<RefOr<Schema>>) -> Parameter {
    parameter(ParameterIn::Query, name, about, schema)
}

fn parameter(place: ParameterIn, name: &str, about: &str, schema: impl Into<RefOr<Schema>>) -> Parameter {
    let parameter = ParameterBuilder::new().name(name).parameter_in(place).required(Required::False);
    parameter.description(Some(about)).schema(Some(schema)).build()
}

/// Makes a type that stands for parameters in descriptions.
macro_rules! parameters {
    ($(#[$about:meta])* $name:ident, $($parameter:expr),+ $(,)?) => {
        $(#[$about])*
        pub(crate) struct $name;

        impl utoipa::IntoParams for $name {
            fn into_params(
                _place: impl Fn() -> Option<utoipa::openapi::path::ParameterIn>,
            ) -> Vec<utoipa::openapi::path::Parameter> {
                vec![$($parameter),+]
            }
        }
    };
}

pub(crate) use parameters;

/// Refusals with these statuses, in the envelope `T`.
pub(crate) fn refused<T: ToSchema>(statuses: &[u16]) -> BTreeMap<String, RefOr<Response>> {
    let described = statuses.iter().map(|&status| {
        let content = ContentBuilder::new().schema(Some(Ref::from_schema_name(T::name()))).build();
        let mut response =
            ResponseBuilder::new().description(about(status)).content("application/json", content);
        if status == 503 {
            response = response.header("Retry-After", retry_after());
        }
        (status.to_string(), response.build().into())
    });
    described.collect()
}

fn retry_after() -> Header {
    let about = "After how many seconds to ask again. Not where the same request has no other outcome.";
    HeaderBuilder::new().description(Some(about)).schema(Some(whole(0, u32::MAX.into()))).build()
}

/// Makes a type that stands for the refusals of an operation in descriptions.
macro_rules! refusals {
    ($name:ident: $envelope:ty, $($status:literal)+) => {
        pub(crate) struct $name;

        impl utoipa::IntoResponses for $name {
            fn responses() -> std::collections::BTreeMap<
                String,
                utoipa::openapi::RefOr<utoipa::openapi::response::Response>,
            > {
                crate::front::describe::refused::<$envelope>(&[$($status),+])
            }
        }
    };
}

pub(crate) use refusals;

fn about(status: u16) -> &'static str {
    match status {
        400 => {
            "The request is malformed, or says what cannot be done here. The message says what, and what to do."
        }
        403 => "Pages of this origin may not do this.",
        404 => "What the request names is not there: it never was, or is not kept any more.",
        408 => "The body did not arrive in time.",
        409 => "The id or key exists with another request; or the answer was stopped.",
        413 => "The body is too large.",
        415 => "The body is not declared as JSON: send `Content-Type: application/json`.",
        422 => {
            "A field is missing or wrong, or the model can never answer this. The message says which and what to do."
        }
        426 => "This is for WebSockets: send a handshake.",
        500 => "The answer failed: its attempts are used up, it was lost, or it is too large for one piece.",
        503 => {
            "Too much is waiting or open, no worker began in time, the server drains, or a store is down. Try again."
        }
        504 => "The answer took longer than it may.",
        _ => "The request is refused.",
    }
}

/// Why a model ended its answer.
pub(crate) fn finish_reason() -> utoipa::openapi::Object {
    use FinishReason::{ContentFilter, Length, Stop, ToolCalls};
    let all = [Stop, Length, ToolCalls, ContentFilter];
    // Without an arm here, a new reason does not compile. List it above too.
    for reason in all {
        match reason {
            Stop | Length | ToolCalls | ContentFilter => {}
        }
    }
    one_of(all.map(|reason| json!(reason)))
}

/// Why a model ended its answer, or null while it has not.
pub(crate) fn finish_reason_or_null() -> Schema {
    let null = ObjectBuilder::new().schema_type(Type::Null);
    utoipa::openapi::OneOfBuilder::new().item(finish_reason()).item(null).into()
}

/// Why a generation was cancelled.
pub(crate) fn cancel_cause() -> utoipa::openapi::Object {
    use CancelCause::{Abandoned, Requested};
    let all = [Requested, Abandoned];
    for cause in all {
        match cause {
            Requested | Abandoned => {}
        }
    }
    one_of(all.map(|cause| json!(cause)))
}

/// A value that is always null, because it is not stored.
pub(crate) fn null() -> utoipa::openapi::Object {
    ObjectBuilder::new().schema_type(Type::Null).description(Some("Nothing of this is kept here.")).build()
}

/// A list that is always empty, because its items are not stored.
pub(crate) fn nothing() -> utoipa::openapi::schema::Array {
    let items = ObjectBuilder::new().schema_type(Type::Object);
    utoipa::openapi::schema::ArrayBuilder::new().items(items).max_items(Some(0)).build()
}

/// A constant text.
pub(crate) fn constant(text: &str) -> utoipa::openapi::Object {
    one_of([json!(text)])
}
