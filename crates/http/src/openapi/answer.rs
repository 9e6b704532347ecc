//! One answer of an operation: what it means, its body, its headers, and where to go from it.

use std::collections::BTreeMap;

use axum::{
    body::HttpBody as _,
    http::{HeaderName, StatusCode},
    response::Response as HttpResponse,
};
use futures::FutureExt as _;
use http_body_util::BodyExt as _;
use serde_json::Value;
use utoipa::{
    ToSchema,
    openapi::{
        ContentBuilder, HeaderBuilder, Ref, RefOr, Schema,
        example::ExampleBuilder,
        header::Header,
        link::Link,
        response::{Response, ResponseBuilder},
    },
};

use super::{
    EventKind, events,
    operation::Schemas,
    schemas::{constant, object, text, text_like, whole_number},
};

const JSON: &str = "application/json";

pub(crate) struct Answer {
    response: ResponseBuilder,
    schemas: Schemas,
}

impl Answer {
    pub(crate) fn new(description: impl Into<String>) -> Self {
        Self { response: ResponseBuilder::new().description(description), schemas: Schemas::default() }
    }

    /// With a body of this type in JSON.
    pub(crate) fn json<T: ToSchema>(mut self) -> Self {
        let schema = self.schemas.of::<T>();
        self.with_json(schema)
    }

    /// With some object in JSON.
    pub(crate) fn json_object(self) -> Self {
        self.with_json(object())
    }

    fn with_json(mut self, schema: impl Into<RefOr<Schema>>) -> Self {
        self.response = self.response.content(JSON, ContentBuilder::new().schema(Some(schema)).build());
        self
    }

    /// With a stream of these events as body.
    pub(crate) fn events(mut self, about: &str, kinds: impl IntoIterator<Item = EventKind>) -> Self {
        let (content, schemas) = events::stream(about, kinds);
        self.schemas.merge(schemas);
        self.response = self.response.content("text/event-stream", content);
        self
    }

    /// With a header that is described in [`described`].
    pub(crate) fn header(mut self, name: &HeaderName) -> Self {
        if let Some((written, header)) = described(name) {
            self.response = self.response.header(written, header);
        }
        self
    }

    /// The operation that can be called next, with this parameter taken from this expression of the answer or its request.
    pub(crate) fn leads_to(mut self, operation: &str, parameter: &str, expression: &str) -> Self {
        let link = Link::builder().operation_id(operation).parameter(parameter, expression).build();
        self.response = self.response.link(operation, link);
        self
    }

    pub(super) fn into_parts(self) -> (Response, Schemas) {
        (self.response.build(), self.schemas)
    }
}

/// The headers of answers, as they are usually written.
fn described(name: &HeaderName) -> Option<(&'static str, Header)> {
    let (written, about, schema) = match name.as_str() {
        "location" => (
            "Location",
            "Where the generation can be read: `/ask/{uuid}`.",
            text_like("^/ask/[0-9a-f-]{36}$"),
        ),
        "retry-after" => {
            ("Retry-After", "After how many seconds to ask again.", whole_number(0, u64::from(u32::MAX)))
        }
        "x-should-retry" => (
            "x-should-retry",
            "`false` where the same request can have no other answer; OpenAI's SDKs do not repeat it then.",
            constant("false"),
        ),
        "x-request-id" => (
            "x-request-id",
            "The name of this call, under which the server logs it.",
            text_like("^req_[0-9a-f]{32}$"),
        ),
        "preference-applied" => (
            "Preference-Applied",
            "How long it would have waited at most: `wait=` and seconds. Where that was wished for.",
            text_like("^wait=[0-9]+$"),
        ),
        "etag" => ("ETag", "What to send as `If-None-Match` the next time.", text()),
        "cache-control" => ("Cache-Control", "Whether the answer may be kept.", text()),
        _ => return None,
    };
    Some((written, HeaderBuilder::new().description(Some(about)).schema(Some(schema)).build()))
}

/// Answers that are refusals, by status: what each says, as it says it.
pub(super) fn refusals<T: ToSchema>(
    refusals: impl IntoIterator<Item = HttpResponse>,
) -> BTreeMap<StatusCode, Answer> {
    let mut told: BTreeMap<StatusCode, Vec<Told>> = BTreeMap::new();
    for refusal in refusals {
        told.entry(refusal.status()).or_default().push(Told::read(refusal));
    }
    told.into_iter().map(|(status, told)| (status, refused::<T>(&told))).collect()
}

/// One refusal, as a client sees it.
struct Told {
    name: String,
    headers: Vec<HeaderName>,
    body: Value,
}

impl Told {
    fn read(response: HttpResponse) -> Self {
        let (head, body) = response.into_parts();
        debug_assert!(body.size_hint().exact().is_some(), "a refusal is no stream");
        let body = body.collect().now_or_never().and_then(Result::ok).unwrap_or_default().to_bytes();
        let body: Value = serde_json::from_slice(&body).unwrap_or_default();
        let of = |name: &str| body.pointer(name).and_then(Value::as_str).map(str::to_owned);
        let name = of("/error/code").or_else(|| of("/error/type")).unwrap_or_default();
        Self { name, headers: head.headers.keys().cloned().collect(), body }
    }

    fn message(&self) -> &str {
        self.body.pointer("/error/message").and_then(Value::as_str).unwrap_or_default()
    }
}

fn refused<T: ToSchema>(told: &[Told]) -> Answer {
    let lines: Vec<_> = told.iter().map(|told| format!("- `{}`: {}", told.name, told.message())).collect();
    let mut answer = Answer::new(lines.join("\n"));
    let schema: Ref = answer.schemas.of::<T>();
    // Several may have one name: a number tells them apart.
    let examples = told.iter().enumerate().map(|(index, told)| {
        let name = format!("{}_{}", told.name, index + 1);
        (name, ExampleBuilder::new().value(Some(told.body.clone())).build())
    });
    let content = ContentBuilder::new().schema(Some(schema)).examples_from_iter(examples).build();
    answer.response = answer.response.content(JSON, content);
    for name in told.iter().flat_map(|told| &told.headers) {
        answer = answer.header(name);
    }
    answer
}
