//! Schemas in words.

use std::{collections::BTreeMap, fmt::Write as _};

use serde_json::Value;

use super::{anchor, cell, fields, items, text};

const PREFIX: &str = "#/components/schemas/";

/// What a value may be, in one line.
pub(super) fn of_kind(schema: &Value) -> String {
    if let Some(name) = text(schema, "/$ref").strip_prefix(PREFIX) {
        return format!("[{name}](#{})", anchor(name));
    }
    let values = items(schema, "/enum");
    if !values.is_empty() {
        return either(values.iter().map(|value| format!("`{}`", value.to_string().trim_matches('"'))));
    }
    let alternatives = [items(schema, "/oneOf"), items(schema, "/anyOf")].concat();
    if !alternatives.is_empty() {
        return either(alternatives.iter().map(of_kind));
    }
    // What is put together from others is named by what has a name.
    if let Some(named) = items(schema, "/allOf").iter().find(|part| part.get("$ref").is_some()) {
        return of_kind(named);
    }
    match schema.get("type") {
        Some(Value::String(kind)) => plain(kind, schema),
        Some(Value::Array(kinds)) => {
            either(kinds.iter().filter_map(Value::as_str).map(|kind| plain(kind, schema)))
        }
        _ => "anything".to_owned(),
    }
}

fn plain(kind: &str, schema: &Value) -> String {
    let bound = |name: &str| schema.get(name).map(ToString::to_string);
    match kind {
        "array" => {
            let items = schema.get("items").map(of_kind).unwrap_or_default();
            match bound("maxItems").as_deref() {
                Some("0") => "empty list".to_owned(),
                _ => format!("list of {items}"),
            }
        }
        "integer" | "number" => match (bound("minimum"), bound("maximum")) {
            (Some(least), Some(most)) if least == most => least,
            (Some(least), Some(most)) => format!("{kind} from {least} to {most}"),
            (Some(least), None) => format!("{kind} from {least}"),
            _ => kind.to_owned(),
        },
        "string" => match text(schema, "/format") {
            "" => kind.to_owned(),
            format => format!("{kind} ({format})"),
        },
        _ => kind.to_owned(),
    }
}

fn either(kinds: impl Iterator<Item = String>) -> String {
    kinds.collect::<Vec<_>>().join(" or ")
}

/// One field of an object.
struct Field<'a> {
    schema: &'a Value,
    required: bool,
}

/// The named schemas of a document.
#[derive(Clone, Copy)]
pub(super) struct Schemas<'a>(pub(super) &'a Value);

impl<'a> Schemas<'a> {
    /// All that there is to say about a schema.
    pub(super) fn table(self, schema: &'a Value) -> String {
        let mut out = String::new();
        let about = text(schema, "/description").replace('\n', " ");
        if !about.is_empty() {
            let _ = write!(out, "{about}\n\n");
        }
        let alternatives = items(schema, "/oneOf");
        for (index, alternative) in alternatives.iter().enumerate() {
            let named = alternative.get("$ref").is_some() || self.fields(alternative).is_empty();
            let first = if index == 0 { "Either" } else { "Or" };
            let words = cell(text(alternative, "/description"));
            let about = if words.is_empty() { words } else { format!(" {words}") };
            let kind = if named { of_kind(alternative) } else { "an object:".to_owned() };
            let _ =
                write!(out, "{first} {kind}{}{about}\n\n", if named && !about.is_empty() { ":" } else { "" });
            if !named {
                self.rows(alternative, &mut out);
            }
        }
        if alternatives.is_empty() {
            if self.fields(schema).is_empty() {
                let _ = write!(out, "{}\n\n", of_kind(schema));
            } else {
                self.rows(schema, &mut out);
            }
        }
        out
    }

    fn rows(self, schema: &'a Value, out: &mut String) {
        out.push_str("| Field | Type | Meaning |\n|---|---|---|\n");
        let fields = self.fields(schema);
        let (required, optional): (Vec<_>, Vec<_>) = fields.iter().partition(|(_, field)| field.required);
        for (name, field) in required.into_iter().chain(optional) {
            let optional = if field.required { "" } else { ", optional" };
            let kind = of_kind(field.schema);
            let about = about(field.schema);
            let _ = writeln!(out, "| `{name}` | {kind}{optional} | {about} |");
        }
        out.push('\n');
    }

    /// The fields of an object, also of those that it is put together from.
    fn fields(self, schema: &'a Value) -> BTreeMap<&'a str, Field<'a>> {
        let schema = self.resolved(schema);
        let required = items(schema, "/required");
        let own = fields(schema, "/properties").map(|(name, schema)| {
            let required = required.iter().any(|required| required == name);
            (name, Field { schema, required })
        });
        let mut all: BTreeMap<_, _> = own.collect();
        for part in items(schema, "/allOf") {
            all.extend(self.fields(part));
        }
        all
    }

    fn resolved(self, schema: &'a Value) -> &'a Value {
        match text(schema, "/$ref").strip_prefix(PREFIX) {
            Some(name) => self.0.pointer(&format!("/components/schemas/{name}")).unwrap_or(schema),
            None => schema,
        }
    }
}

/// A field that is null or something else has its words inside.
fn about(schema: &Value) -> String {
    let inside = items(schema, "/oneOf").iter().map(|inner| text(inner, "/description"));
    let mut all = std::iter::once(text(schema, "/description")).chain(inside);
    cell(all.find(|about| !about.is_empty()).unwrap_or_default())
}
