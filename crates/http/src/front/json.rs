//! JSON requests: parses bytes into a type, and reports every mistake with the path of its field.
//!
//! A body is parsed into a [`Value`] first. [`Node`], a deserializer that knows its path, then reads the type. Its messages
//! are plain and never quote a value, which may be private. A field that is `null` counts as absent.

use std::fmt;

use axum::{
    body::Body,
    http::{HeaderMap, Request, header},
};
use serde::{
    Deserialize, Deserializer,
    de::{
        self, DeserializeOwned, DeserializeSeed, IntoDeserializer, MapAccess, SeqAccess, Unexpected, Visitor,
    },
    forward_to_deserialize_any,
};
use serde_json::{Map, Number, Value};

use super::{limits::Limits, problem::Problem};

/// The fields of an object.
pub(crate) type Fields = Map<String, Value>;

/// The body of a request, if it is declared as JSON, is small enough, and arrives in time.
pub(crate) async fn body(limits: &Limits, request: Request<Body>) -> Result<Fields, Problem> {
    check_content_type(request.headers())?;
    object(&limits.read(request.into_body()).await?)
}

/// Whether the body is declared as JSON. Parameters such as a charset are ignored: JSON is UTF-8.
pub(crate) fn check_content_type(headers: &HeaderMap) -> Result<(), Problem> {
    let declared =
        headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let essence = declared.split(';').next().unwrap_or_default().trim();
    if essence.eq_ignore_ascii_case("application/json") { Ok(()) } else { Err(Problem::not_declared_json()) }
}

/// The bytes of an object.
pub(crate) fn object(body: &[u8]) -> Result<Fields, Problem> {
    match serde_json::from_slice(body).map_err(|error| Problem::not_json(&error))? {
        Value::Object(fields) => Ok(fields),
        _ => Err(Problem::not_an_object()),
    }
}

/// An object as a type.
pub(crate) fn read<T: DeserializeOwned>(fields: &Fields) -> Result<T, Problem> {
    T::deserialize(Node::Object(fields)).map_err(|mistake| mistake.at(""))
}

/// Reads a value inside a request as a type. Mistakes have the whole path.
pub(crate) fn read_at<T: DeserializeOwned>(place: &str, value: &Value) -> Result<T, Problem> {
    T::deserialize(Node::of(value)).map_err(|mistake| mistake.at(place))
}

/// The tag of an object inside a request, such as its `type`.
pub(crate) fn tag_at<'a>(place: &str, value: &'a Value, field: &str) -> Result<Option<&'a str>, Problem> {
    let Value::Object(fields) = value else {
        return Err(Problem::invalid_field(place, format!("must be an object, not {}", type_name(value))));
    };
    match non_null(fields, field) {
        None => Ok(None),
        Some(Value::String(word)) => Ok(Some(word)),
        Some(other) => {
            let what = format!("must be a text, not {}", type_name(other));
            Err(Problem::invalid_field(format!("{place}.{field}"), what))
        }
    }
}

/// A field that is present and not null.
pub(crate) fn non_null<'a>(fields: &'a Fields, field: &str) -> Option<&'a Value> {
    fields.get(field).filter(|value| !value.is_null())
}

/// The type of a value, in words.
pub(crate) fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

/// What is wrong, and the path to it, innermost part first.
#[derive(Debug)]
struct Mistake {
    path: Vec<String>,
    what: String,
}

impl Mistake {
    fn inside(mut self, part: impl Into<String>) -> Self {
        self.path.push(part.into());
        self
    }

    fn at(self, place: &str) -> Problem {
        let mut path = place.to_owned();
        for part in self.path.iter().rev() {
            if !path.is_empty() && !part.starts_with('[') {
                path.push('.');
            }
            path.push_str(part);
        }
        Problem::invalid_field(path, self.what)
    }
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)
    }
}

impl std::error::Error for Mistake {}

impl de::Error for Mistake {
    fn custom<T: fmt::Display>(what: T) -> Self {
        Self { path: Vec::new(), what: what.to_string() }
    }

    fn invalid_type(found: Unexpected<'_>, expected: &dyn de::Expected) -> Self {
        let expected = expected.to_string();
        let expected = in_words(&expected);
        let found = match found {
            Unexpected::Bool(_) => "a boolean",
            // A number, but not of the expected kind.
            Unexpected::Unsigned(_) | Unexpected::Signed(_) | Unexpected::Float(_)
                if expected.contains("number") =>
            {
                return Self::custom(format_args!("must be {expected}"));
            }
            Unexpected::Unsigned(_) | Unexpected::Signed(_) | Unexpected::Float(_) => "a number",
            Unexpected::Char(_) | Unexpected::Str(_) | Unexpected::Bytes(_) => "a text",
            Unexpected::Seq => "a list",
            Unexpected::Unit | Unexpected::Option => "null",
            _ => "an object",
        };
        Self::custom(format_args!("must be {expected}, not {found}"))
    }

    fn invalid_value(_found: Unexpected<'_>, expected: &dyn de::Expected) -> Self {
        Self::custom(format_args!("must be {}", in_words(&expected.to_string())))
    }

    fn unknown_variant(_variant: &str, expected: &'static [&'static str]) -> Self {
        let words = match expected {
            [words @ .., last] if !words.is_empty() => format!("{} or {last}", words.join(", ")),
            words => words.concat(),
        };
        Self::custom(format_args!("must be {words}"))
    }

    fn unknown_field(field: &str, _expected: &'static [&'static str]) -> Self {
        Self::custom("is not taken here: leave it out").inside(field)
    }

    fn missing_field(field: &'static str) -> Self {
        Self::custom("is missing").inside(field)
    }
}

/// serde's description of an expected type, in words for a caller.
fn in_words(expected: &str) -> &str {
    match expected {
        "a string" => "a text",
        "a boolean" => "true or false",
        "a sequence" => "a list",
        "f32" | "f64" => "a number",
        "u64" => "a whole number from 0 to 18446744073709551615",
        "u32" => "a whole number from 0 to 4294967295",
        "a nonzero u32" => "a whole number from 1 to 4294967295",
        "a map" => "an object",
        expected if expected.starts_with("struct ") => "an object",
        expected => expected,
    }
}

/// A value as a source of types.
#[derive(Clone, Copy)]
enum Node<'de> {
    Value(&'de Value),
    Object(&'de Fields),
}

impl<'de> Node<'de> {
    fn of(value: &'de Value) -> Self {
        match value {
            Value::Object(fields) => Self::Object(fields),
            value => Self::Value(value),
        }
    }

    fn whole<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mistake> {
        match self {
            Self::Value(Value::Number(number)) => visit_whole(number, visitor),
            node => node.deserialize_any(visitor),
        }
    }

    /// The fields that are not null.
    fn fields<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mistake> {
        match self {
            Self::Object(fields) => visitor.visit_map(Entries::of(fields, false)),
            Self::Value(_) => self.deserialize_any(visitor),
        }
    }
}

/// `1.0` is a whole number in JSON Schema.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the ranges are checked")]
fn visit_whole<'de, V: Visitor<'de>>(number: &Number, visitor: V) -> Result<V::Value, Mistake> {
    if let Some(number) = number.as_u64() {
        return visitor.visit_u64(number);
    }
    if let Some(number) = number.as_i64() {
        return visitor.visit_i64(number);
    }
    let number = number.as_f64().unwrap_or(f64::NAN);
    // Both bounds are exact: powers of two.
    if number.fract() == 0.0 && (0.0..18_446_744_073_709_551_616.0).contains(&number) {
        visitor.visit_u64(number as u64)
    } else if number.fract() == 0.0 && (-9_223_372_036_854_775_808.0..0.0).contains(&number) {
        visitor.visit_i64(number as i64)
    } else {
        Err(de::Error::invalid_type(Unexpected::Float(number), &visitor))
    }
}

impl<'de> Deserializer<'de> for Node<'de> {
    type Error = Mistake;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mistake> {
        match self {
            Self::Object(fields) | Self::Value(Value::Object(fields)) => {
                visitor.visit_map(Entries::of(fields, true))
            }
            Self::Value(Value::Null) => visitor.visit_unit(),
            Self::Value(Value::Bool(value)) => visitor.visit_bool(*value),
            Self::Value(Value::String(text)) => visitor.visit_borrowed_str(text),
            Self::Value(Value::Array(items)) => visitor.visit_seq(Items { next: 0, items }),
            Self::Value(Value::Number(number)) => match (number.as_u64(), number.as_i64(), number.as_f64()) {
                (Some(number), ..) => visitor.visit_u64(number),
                (_, Some(number), _) => visitor.visit_i64(number),
                (.., number) => visitor.visit_f64(number.unwrap_or(f64::NAN)),
            },
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mistake> {
        match self {
            Self::Value(Value::Null) => visitor.visit_none(),
            node => visitor.visit_some(node),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Mistake> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Mistake> {
        match self {
            // A derived struct would also take a list of its fields.
            Self::Value(Value::Array(_)) => Err(de::Error::invalid_type(Unexpected::Seq, &visitor)),
            node => node.fields(visitor),
        }
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Mistake> {
        match self {
            Self::Value(Value::String(word)) => visitor.visit_enum(word.as_str().into_deserializer()),
            node => node.deserialize_any(AText).and_then(|()| Err(de::Error::custom("must be a text"))),
        }
    }

    fn deserialize_u32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mistake> {
        self.whole(visitor)
    }

    fn deserialize_u64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mistake> {
        self.whole(visitor)
    }

    fn deserialize_i64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mistake> {
        self.whole(visitor)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i128 u8 u16 u128 f32 f64 char str string bytes byte_buf unit unit_struct seq tuple tuple_struct map
        identifier ignored_any
    }
}

/// Rejects every value: a text is expected.
struct AText;

impl Visitor<'_> for AText {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text")
    }
}

struct Items<'de> {
    next: usize,
    items: &'de [Value],
}

impl<'de> SeqAccess<'de> for Items<'de> {
    type Error = Mistake;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Mistake> {
        let Some(item) = self.items.get(self.next) else { return Ok(None) };
        let place = format!("[{}]", self.next);
        self.next += 1;
        seed.deserialize(Node::of(item)).map(Some).map_err(|mistake| mistake.inside(place))
    }
}

struct Entries<'de> {
    entries: serde_json::map::Iter<'de>,
    with_nulls: bool,
    value: Option<(&'de str, &'de Value)>,
}

impl<'de> Entries<'de> {
    fn of(fields: &'de Fields, with_nulls: bool) -> Self {
        Self { entries: fields.iter(), with_nulls, value: None }
    }
}

impl<'de> MapAccess<'de> for Entries<'de> {
    type Error = Mistake;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Mistake> {
        let with_nulls = self.with_nulls;
        let Some((name, value)) = self.entries.find(|(_, value)| with_nulls || !value.is_null()) else {
            return Ok(None);
        };
        self.value = Some((name, value));
        seed.deserialize(de::value::BorrowedStrDeserializer::new(name)).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Mistake> {
        let (name, value) = self.value.take().expect("a key comes before its value");
        seed.deserialize(Node::of(value)).map_err(|mistake| mistake.inside(name))
    }
}

/// One text, or a list.
#[derive(Clone, Debug)]
pub(crate) enum TextOr<T> {
    Text(String),
    List(Vec<T>),
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for TextOr<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TextOrVisitor<T>(std::marker::PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for TextOrVisitor<T> {
            type Value = TextOr<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text or a list")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<TextOr<T>, E> {
                Ok(TextOr::Text(text.to_owned()))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<TextOr<T>, A::Error> {
                let mut list = Vec::new();
                while let Some(item) = items.next_element()? {
                    list.push(item);
                }
                Ok(TextOr::List(list))
            }
        }

        deserializer.deserialize_any(TextOrVisitor(std::marker::PhantomData))
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use serde_json::json;

    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Outer {
        inner: Vec<Inner>,
        count: Option<NonZeroU32>,
        any: Option<Value>,
    }

    #[derive(Debug, Deserialize)]
    struct Inner {
        text: TextOr<String>,
        role: Option<Role>,
        number: Option<f32>,
        flag: Option<bool>,
    }

    #[derive(Debug, Deserialize)]
    #[serde(rename_all = "lowercase")]
    enum Role {
        System,
        User,
    }

    fn outer(value: &Value) -> Result<Outer, Problem> {
        read(value.as_object().unwrap())
    }

    #[test]
    fn a_field_that_is_null_is_absent_and_nulls_inside_of_any_value_stay() {
        let outer = outer(&json!({
            "count": null, "more": null, "any": {"a": null},
            "inner": [{"text": "a", "role": "user", "number": 1, "flag": true}, {"text": ["b"], "role": null}],
        }))
        .unwrap();
        assert_eq!((outer.count, outer.any), (None, Some(json!({"a": null}))));
        let [
            Inner { text: TextOr::Text(a), role: Some(Role::User), number: Some(_), flag: Some(true) },
            second,
        ] = &outer.inner[..]
        else {
            panic!("{:?}", outer.inner)
        };
        assert_eq!(a, "a");
        assert!(matches!(&second.text, TextOr::List(texts) if texts == &["b"]));
        assert!(!matches!(second.role, Some(Role::System)));
    }

    #[test]
    fn a_whole_number_may_be_written_with_a_point() {
        for (number, expected) in
            [(json!(1.0), Some(1)), (json!(1.5), None), (json!(4_294_967_296_u64), None), (json!(0), None)]
        {
            let read = outer(&json!({"inner": [], "count": number}));
            assert_eq!(read.ok().and_then(|outer| outer.count).map(NonZeroU32::get), expected);
        }
    }

    #[test]
    fn every_mistake_is_told_by_its_path_in_plain_words() {
        let inner = |inner: Value| json!({ "inner": [{"text": "a"}, inner] });
        for (value, message) in [
            (json!({}), "inner is missing"),
            (json!({"inner": {}}), "inner must be a list, not an object"),
            (json!({"inner": [], "other": 1}), "other is not taken here: leave it out"),
            (json!({"inner": [], "count": 0}), "count must be a whole number from 1 to 4294967295"),
            (
                json!({"inner": [], "count": "secret"}),
                "count must be a whole number from 1 to 4294967295, not a text",
            ),
            (inner(json!("secret")), "inner[1] must be an object, not a text"),
            (inner(json!(["secret"])), "inner[1] must be an object, not a list"),
            (inner(json!({})), "inner[1].text is missing"),
            (inner(json!({"text": 7})), "inner[1].text must be a text or a list, not a number"),
            (inner(json!({"text": ["a", 7]})), "inner[1].text[1] must be a text, not a number"),
            (inner(json!({"text": "", "role": "secret"})), "inner[1].role must be system or user"),
            (inner(json!({"text": "", "role": {}})), "inner[1].role must be a text, not an object"),
            (inner(json!({"text": "", "number": "secret"})), "inner[1].number must be a number, not a text"),
            (inner(json!({"text": "", "flag": "yes"})), "inner[1].flag must be true or false, not a text"),
        ] {
            let problem = outer(&value).unwrap_err();
            assert_eq!(problem.message, message);
            assert!(message.starts_with(&problem.field.unwrap()), "{message}");
        }
    }
}
