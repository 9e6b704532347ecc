//! Bodies that are streams of Server-Sent Events.
//!
//! OpenAPI 3.1 has one schema for a body and no word for what it is a stream of. Here it is the schema of each event, read as
//! an object with `event`, `data`, `id` and `retry`: what OpenAPI 3.2 calls `itemSchema`, and what tools that know streams
//! take it for. Data in JSON is a text whose content has a schema (`contentSchema`).

use utoipa::{
    ToSchema,
    openapi::{
        AllOfBuilder, Content, ContentBuilder, ObjectBuilder, OneOfBuilder, RefOr, Schema, schema::Type,
    },
};

use super::{
    operation::Schemas,
    schemas::{constant, text, whole_number},
};

/// The name that readers know an event by which has none.
const UNNAMED: &str = "message";

/// One kind of event.
pub(crate) struct EventKind {
    name: Option<&'static str>,
    about: &'static str,
    data: Data,
    schemas: Schemas,
}

enum Data {
    Json(Box<RefOr<Schema>>),
    Text,
    /// Always this text.
    Literal(&'static str),
}

impl EventKind {
    /// An event of this name, with JSON of this type.
    pub(crate) fn named<T: ToSchema>(name: &'static str, about: &'static str) -> Self {
        Self { name: Some(name), ..Self::unnamed::<T>(about) }
    }

    /// An event without a name, with JSON of this type.
    pub(crate) fn unnamed<T: ToSchema>(about: &'static str) -> Self {
        let mut schemas = Schemas::default();
        let data = Data::Json(Box::new(schemas.of::<T>().into()));
        Self { name: None, about, data, schemas }
    }

    /// An event of this name, whose data has its name and its number beside this type.
    pub(crate) fn numbered<T: ToSchema>(name: &'static str, about: &'static str) -> Self {
        let mut schemas = Schemas::default();
        let numbered = ObjectBuilder::new()
            .property("type", constant(name))
            .required("type")
            .property("sequence_number", whole_number(0, u64::MAX))
            .required("sequence_number");
        let data = AllOfBuilder::new().item(numbered).item(schemas.of::<T>());
        Self { name: Some(name), about, data: Data::Json(Box::new(data.into())), schemas }
    }

    /// An event without a name, whose data is some text.
    pub(crate) fn text(about: &'static str) -> Self {
        Self { name: None, about, data: Data::Text, schemas: Schemas::default() }
    }

    /// An event without a name, whose data is this text.
    pub(crate) fn literal(text: &'static str, about: &'static str) -> Self {
        Self { name: None, about, data: Data::Literal(text), schemas: Schemas::default() }
    }

    #[cfg(test)]
    pub(crate) fn name(&self) -> Option<&'static str> {
        self.name
    }

    fn schema(self) -> ObjectBuilder {
        let data = match self.data {
            Data::Json(schema) => ObjectBuilder::new()
                .schema_type(Type::String)
                .content_media_type("application/json")
                .content_schema(Some(*schema))
                .build(),
            Data::Text => text(),
            Data::Literal(text) => constant(text),
        };
        ObjectBuilder::new()
            .schema_type(Type::Object)
            .description(Some(self.about))
            .property("event", constant(self.name.unwrap_or(UNNAMED)))
            .required("event")
            .property("data", data)
            .required("data")
            .property("id", text())
            .property("retry", whole_number(0, u64::from(u32::MAX)))
    }
}

pub(super) fn stream(about: &str, kinds: impl IntoIterator<Item = EventKind>) -> (Content, Schemas) {
    let mut all = Schemas::default();
    let mut events = OneOfBuilder::new().description(Some(about));
    for mut kind in kinds {
        all.merge(std::mem::take(&mut kind.schemas));
        events = events.item(kind.schema());
    }
    (ContentBuilder::new().schema(Some(Schema::from(events))).build(), all)
}
