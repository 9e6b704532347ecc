//! Descriptions of streams of Server-Sent Events.
//!
//! OpenAPI 3.1 has one schema for a body and none for the items of a stream. Here the body's schema is that of each event, as
//! an object with `event`, `data`, `id` and `retry` (`itemSchema` in OpenAPI 3.2). JSON data is a text with a
//! `contentSchema`.

use serde_json::json;
use utoipa::{
    ToSchema,
    openapi::{AllOfBuilder, ObjectBuilder, OneOfBuilder, Ref, RefOr, Schema, schema::Type},
};

use super::fields::{one_of, whole};

/// The name that readers give an event without one.
const UNNAMED: &str = "message";

/// The events of a stream, as a schema.
pub(crate) struct Events {
    schema: OneOfBuilder,
    schemas: Vec<(String, RefOr<Schema>)>,
    /// The names of all events, in the order of their descriptions.
    names: Vec<&'static str>,
}

impl Events {
    /// No events yet. `about` describes the whole stream.
    pub(crate) fn new(about: &str) -> Self {
        Self { schema: OneOfBuilder::new().description(Some(about)), schemas: Vec::new(), names: Vec::new() }
    }

    /// An event of this name, with JSON of this type.
    pub(crate) fn named<T: ToSchema>(mut self, name: &'static str, about: &str) -> Self {
        let data = json_of(self.schema_of::<T>());
        self.event(name, about, data)
    }

    /// An event without a name, with JSON of this type.
    pub(crate) fn unnamed<T: ToSchema>(self, about: &str) -> Self {
        self.named::<T>(UNNAMED, about)
    }

    /// An event of this name. Its data has the fields of this type, the name, and a number.
    pub(crate) fn numbered<T: ToSchema>(mut self, name: &'static str, about: &str) -> Self {
        let numbered = ObjectBuilder::new()
            .property("type", one_of([json!(name)]))
            .required("type")
            .property("sequence_number", whole(0, u64::MAX))
            .required("sequence_number");
        let data = json_of(Schema::from(AllOfBuilder::new().item(numbered).item(self.schema_of::<T>())));
        self.event(name, about, data)
    }

    /// An event without a name, whose data is some text.
    pub(crate) fn text(self, about: &str) -> Self {
        self.event(UNNAMED, about, ObjectBuilder::new().schema_type(Type::String))
    }

    /// An event without a name, whose data is this text.
    pub(crate) fn literal(self, text: &str, about: &str) -> Self {
        self.event(UNNAMED, about, ObjectBuilder::new().schema_type(Type::String).enum_values(Some([text])))
    }

    fn event(mut self, name: &'static str, about: &str, data: ObjectBuilder) -> Self {
        let event = ObjectBuilder::new()
            .description(Some(about))
            .property("event", one_of([json!(name)]))
            .required("event")
            .property("data", data)
            .required("data")
            .property("id", ObjectBuilder::new().schema_type(Type::String))
            .property("retry", whole(0, u32::MAX.into()));
        self.schema = self.schema.item(event);
        self.names.push(name);
        self
    }

    fn schema_of<T: ToSchema>(&mut self) -> Ref {
        self.schemas.push((T::name().into_owned(), T::schema()));
        T::schemas(&mut self.schemas);
        Ref::from_schema_name(T::name())
    }

    pub(crate) fn schema(self) -> RefOr<Schema> {
        Schema::from(self.schema).into()
    }

    pub(crate) fn schemas(self) -> Vec<(String, RefOr<Schema>)> {
        self.schemas
    }

    #[cfg(test)]
    pub(crate) fn names(self) -> std::collections::BTreeSet<&'static str> {
        self.names.into_iter().filter(|name| *name != UNNAMED).collect()
    }
}

fn json_of(schema: impl Into<RefOr<Schema>>) -> ObjectBuilder {
    let text = ObjectBuilder::new().schema_type(Type::String).content_media_type("application/json");
    text.content_schema(Some(schema.into()))
}

/// Makes a type that stands for a stream of these events in descriptions.
macro_rules! event_stream {
    ($(#[$about:meta])* $name:ident, $events:expr) => {
        $(#[$about])*
        pub(crate) struct $name;

        impl utoipa::PartialSchema for $name {
            fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::Schema> {
                $events.schema()
            }
        }

        impl utoipa::ToSchema for $name {
            fn schemas(schemas: &mut Vec<(String, utoipa::openapi::RefOr<utoipa::openapi::Schema>)>) {
                schemas.extend($events.schemas());
            }
        }
    };
}

pub(crate) use event_stream;
