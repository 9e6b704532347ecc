//! One operation: what it is called, what it takes, and what it answers.

use std::collections::BTreeMap;

use axum::http::{HeaderName, StatusCode};
use serde_json::Value;
use utoipa::{
    ToSchema,
    openapi::{
        ContentBuilder, HttpMethod, Ref, RefOr, Required, Schema,
        path::{Operation, OperationBuilder, ParameterBuilder, ParameterIn},
        request_body::RequestBodyBuilder,
        response::Response,
    },
};

use super::{Answer, answer};

/// The schemas that something refers to, by name.
#[derive(Clone, Default)]
pub(crate) struct Schemas(Vec<(String, RefOr<Schema>)>);

impl Schemas {
    /// A reference to the schema of a type.
    pub(super) fn of<T: ToSchema>(&mut self) -> Ref {
        let name = T::name();
        self.0.push((name.to_string(), T::schema()));
        T::schemas(&mut self.0);
        Ref::from_schema_name(name)
    }

    pub(super) fn merge(&mut self, other: Self) {
        self.0.extend(other.0);
    }

    pub(super) fn into_named(self) -> Vec<(String, RefOr<Schema>)> {
        self.0
    }
}

/// One operation, described. Everything is Markdown where OpenAPI allows it.
pub(crate) struct Described {
    pub(super) method: HttpMethod,
    pub(super) path: &'static str,
    operation: OperationBuilder,
    answers: BTreeMap<u16, Answer>,
    schemas: Schemas,
}

impl Described {
    /// What answers this method at this path of [`crate::paths`]. Programs call it `id`, people `summary`.
    pub(crate) fn new(method: HttpMethod, path: &'static str, id: &str, summary: &str) -> Self {
        let operation = OperationBuilder::new().operation_id(Some(id)).summary(Some(summary));
        Self { method, path, operation, answers: BTreeMap::new(), schemas: Schemas::default() }
    }

    pub(crate) fn tagged(mut self, tag: &str) -> Self {
        self.operation = self.operation.tag(tag);
        self
    }

    /// What a stranger has to know before calling it.
    pub(crate) fn about(mut self, description: &str) -> Self {
        self.operation = self.operation.description(Some(description));
        self
    }

    /// A part of the path. It is always there.
    pub(crate) fn part(self, name: &str, about: &str, schema: impl Into<RefOr<Schema>>) -> Self {
        self.parameter(ParameterIn::Path, name, about, schema)
    }

    /// A parameter in the query. None is required.
    pub(crate) fn query(self, name: &str, about: &str, schema: impl Into<RefOr<Schema>>) -> Self {
        self.parameter(ParameterIn::Query, name, about, schema)
    }

    /// A header of the request. None is required.
    pub(crate) fn header(self, name: &str, about: &str, schema: impl Into<RefOr<Schema>>) -> Self {
        self.parameter(ParameterIn::Header, name, about, schema)
    }

    fn parameter(
        mut self,
        place: ParameterIn,
        name: &str,
        about: &str,
        schema: impl Into<RefOr<Schema>>,
    ) -> Self {
        let required = if place == ParameterIn::Path { Required::True } else { Required::False };
        let parameter = ParameterBuilder::new()
            .name(name)
            .parameter_in(place)
            .required(required)
            .description(Some(about))
            .schema(Some(schema));
        self.operation = self.operation.parameter(parameter);
        self
    }

    /// A body in JSON, and one that is answered well.
    pub(crate) fn body<T: ToSchema>(mut self, example: Value) -> Self {
        let schema = self.schemas.of::<T>();
        let content = ContentBuilder::new().schema(Some(schema)).example(Some(example)).build();
        let body = RequestBodyBuilder::new()
            .content("application/json", content)
            .required(Some(Required::True))
            .build();
        self.operation = self.operation.request_body(Some(body));
        self
    }

    pub(crate) fn answer(mut self, status: StatusCode, answer: Answer) -> Self {
        self.answers.insert(status.as_u16(), answer);
        self
    }

    /// Answers that errors become, told as they are told to clients. `T` is the envelope that they come in.
    pub(crate) fn refusals<T: ToSchema>(
        mut self,
        refusals: impl IntoIterator<Item = axum::response::Response>,
    ) -> Self {
        for (status, refusal) in answer::refusals::<T>(refusals) {
            self.answers.insert(status.as_u16(), refusal);
        }
        self
    }

    /// With a header that every answer has.
    pub(crate) fn always(mut self, name: &HeaderName) -> Self {
        self.answers =
            self.answers.into_iter().map(|(status, answer)| (status, answer.header(name))).collect();
        self
    }

    pub(super) fn into_parts(self) -> (Operation, Schemas) {
        let Self { mut operation, answers, mut schemas, .. } = self;
        for (status, answer) in answers {
            let (response, more): (Response, Schemas) = answer.into_parts();
            schemas.merge(more);
            operation = operation.response(status.to_string(), response);
        }
        (operation.build(), schemas)
    }
}
