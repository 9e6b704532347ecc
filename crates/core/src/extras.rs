//! Fields that only some models understand, such as tools, response formats and penalties. Kept as the caller wrote them.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// Extra fields of a request, by their names in OpenAI's chat completions: `tools`, `tool_choice`, `response_format` and so on.
/// A model must reject a request with a field that it does not support ([`crate::model::Model::check`]), unless the field
/// cannot change its answer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Extras(Map<String, Value>);

impl Extras {
    /// These fields.
    pub fn new(fields: Map<String, Value>) -> Self {
        Self(fields)
    }

    /// Each field, sorted by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value))
    }

    /// The names alone.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// Whether there is no field.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
