//! Bodies that are streams of Server-Sent Events. OpenAPI 3.1 has no word for those: to it the body is a text. What the
//! events say is in the extension `x-events` of the body, a list of `{"event", "description", "data"}`, with the schema of
//! their data.

use serde_json::{Value, json};
use utoipa::{
    ToSchema,
    openapi::{
        AllOfBuilder, Content, ContentBuilder, ObjectBuilder, RefOr, Schema, extensions::ExtensionsBuilder,
    },
};

use super::{
    operation::Schemas,
    schemas::{constant, text, whole_number},
};

/// One kind of event.
pub(crate) struct EventKind {
    /// `None`: an event without a name, which readers call `message`.
    name: Option<&'static str>,
    about: &'static str,
    data: RefOr<Schema>,
    schemas: Schemas,
}

impl EventKind {
    /// An event of this name, with JSON of this type.
    pub(crate) fn named<T: ToSchema>(name: &'static str, about: &'static str) -> Self {
        Self { name: Some(name), ..Self::unnamed::<T>(about) }
    }

    /// An event without a name, with JSON of this type.
    pub(crate) fn unnamed<T: ToSchema>(about: &'static str) -> Self {
        let mut schemas = Schemas::default();
        let data = schemas.of::<T>().into();
        Self { name: None, about, data, schemas }
    }

    /// An event of this name, whose data has its name and its number beside this type.
    pub(crate) fn numbered<T: ToSchema>(name: &'static str, about: &'static str) -> Self {
        let mut kind = Self::named::<T>(name, about);
        let numbered = ObjectBuilder::new()
            .property("type", constant(name))
            .required("type")
            .property("sequence_number", whole_number(0, u64::MAX))
            .required("sequence_number");
        kind.data = AllOfBuilder::new().item(numbered).item(kind.data).into();
        kind
    }

    #[cfg(test)]
    pub(crate) fn name(&self) -> Option<&'static str> {
        self.name
    }

    /// An event without a name, whose data is a text.
    pub(crate) fn text(about: &'static str) -> Self {
        Self { name: None, about, data: text().into(), schemas: Schemas::default() }
    }

    fn shown(&self) -> Value {
        json!({"event": self.name.unwrap_or("message"), "description": self.about, "data": self.data})
    }
}

pub(super) fn stream(about: &str, kinds: impl IntoIterator<Item = EventKind>) -> (Content, Schemas) {
    let mut all = Schemas::default();
    let mut shown = Vec::new();
    for kind in kinds {
        shown.push(kind.shown());
        all.merge(kind.schemas);
    }
    let extensions = ExtensionsBuilder::new().add("x-events", shown).build();
    let schema = ObjectBuilder::from(text()).description(Some(about)).build();
    (ContentBuilder::new().schema(Some(schema)).extensions(Some(extensions)).build(), all)
}
