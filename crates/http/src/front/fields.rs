//! Fields of requests that several front ends take. Each type parses itself and describes itself, so that the schema and the
//! parser agree on every range.

use std::num::NonZeroU32;

use serde::{Deserialize, Deserializer, de::Error};
use serde_json::Value;
use tokenwire_core::{InvalidStopTexts, StopTexts, Temperature, TopP};
use utoipa::{
    ToSchema,
    openapi::{
        ArrayBuilder, Object, ObjectBuilder, OneOfBuilder, Ref,
        schema::{SchemaType, Type},
    },
};

/// Gives a type the schema that a function returns. The schema is inlined.
macro_rules! described {
    ($type:ty, $name:expr, $schema:expr) => {
        impl utoipa::PartialSchema for $type {
            fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::Schema> {
                utoipa::openapi::Schema::from($schema).into()
            }
        }

        impl utoipa::ToSchema for $type {
            fn name() -> std::borrow::Cow<'static, str> {
                $name.into()
            }
        }
    };
}

/// How freely to choose, from 0 to 2.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TemperatureField(pub(crate) Temperature);

impl<'de> Deserialize<'de> for TemperatureField {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Temperature::new(rounded(deserializer, 2.0)?).map(Self).map_err(Error::custom)
    }
}

described!(TemperatureField, "Temperature", number(0.0, 2.0));

/// A share of probability, from 0 to 1.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TopPField(pub(crate) TopP);

impl<'de> Deserialize<'de> for TopPField {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        TopP::new(rounded(deserializer, 1.0)?).map(Self).map_err(Error::custom)
    }
}

described!(TopPField, "TopP", number(0.0, 1.0));

/// A number as `f32`. Outside of the range it becomes NaN, which its type refuses.
#[expect(clippy::cast_possible_truncation, reason = "no option needs more than six digits")]
fn rounded<'de, D: Deserializer<'de>>(deserializer: D, most: f64) -> Result<f32, D::Error> {
    let number = f64::deserialize(deserializer)?;
    Ok(if (0.0..=most).contains(&number) { number as f32 } else { f32::NAN })
}

/// A penalty, from -2 to 2. It goes to the model as it was written.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Penalty;

impl<'de> Deserialize<'de> for Penalty {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let number = f64::deserialize(deserializer)?;
        if (-2.0..=2.0).contains(&number) {
            Ok(Self)
        } else {
            Err(Error::custom("must be a number from -2 to 2"))
        }
    }
}

described!(Penalty, "Penalty", number(-2.0, 2.0));

/// A whole number from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub(crate) struct Count(pub(crate) NonZeroU32);

described!(Count, "Count", whole(1, u32::MAX.into()));

/// A seed.
#[derive(Clone, Copy, Debug, Deserialize)]
pub(crate) struct Seed(pub(crate) u64);

described!(Seed, "Seed", whole(0, u64::MAX));

/// A seed that may be negative. Only equality matters.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SignedSeed(pub(crate) u64);

impl<'de> Deserialize<'de> for SignedSeed {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Whole;

        impl serde::de::Visitor<'_> for Whole {
            type Value = u64;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a whole number of at most 64 bits")
            }

            fn visit_u64<E>(self, number: u64) -> Result<u64, E> {
                Ok(number)
            }

            fn visit_i64<E>(self, number: i64) -> Result<u64, E> {
                Ok(number.cast_unsigned())
            }
        }

        deserializer.deserialize_i64(Whole).map(Self)
    }
}

described!(
    SignedSeed,
    "SignedSeed",
    ObjectBuilder::new()
        .schema_type(Type::Integer)
        .minimum(Some(isize::try_from(i64::MIN).unwrap_or(isize::MIN)))
        .maximum(Some(usize::try_from(u64::MAX).unwrap_or(usize::MAX)))
);

/// One text, or up to 16, before which an answer ends.
#[derive(Clone, Debug, Default)]
pub(crate) struct Stop(pub(crate) StopTexts);

impl<'de> Deserialize<'de> for Stop {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let texts = match Value::deserialize(deserializer)? {
            Value::String(text) => vec![text],
            Value::Array(texts) => {
                let texts = texts.into_iter().map(|text| text.as_str().map(str::to_owned));
                texts.collect::<Option<_>>().ok_or_else(|| Error::custom(InvalidStopTexts))?
            }
            _ => return Err(Error::custom(InvalidStopTexts)),
        };
        StopTexts::new(texts).map(Self).map_err(Error::custom)
    }
}

described!(Stop, "StopTexts", {
    let most = Some(StopTexts::MAX_BYTES);
    let text = || ObjectBuilder::new().schema_type(Type::String).min_length(Some(1)).max_length(most);
    let several = ArrayBuilder::new().items(text()).max_items(Some(StopTexts::MAX));
    OneOfBuilder::new()
        .description(Some("One text, or up to 16, each of at most 256 bytes of UTF-8. The answer ends before the first of them."))
        .item(text())
        .item(several)
});

fn number(from: f64, to: f64) -> ObjectBuilder {
    ObjectBuilder::new().schema_type(Type::Number).minimum(Some(from)).maximum(Some(to))
}

/// A schema of whole numbers.
pub(crate) fn whole(from: u64, to: u64) -> ObjectBuilder {
    let [from, to] = [from, to].map(|bound| usize::try_from(bound).unwrap_or(usize::MAX));
    ObjectBuilder::new().schema_type(Type::Integer).minimum(Some(from)).maximum(Some(to))
}

/// A schema of these values.
pub(crate) fn one_of(values: impl IntoIterator<Item = Value>) -> Object {
    ObjectBuilder::new().schema_type(SchemaType::AnyValue).enum_values(Some(values)).build()
}

/// A text, or a list of at least one of these.
pub(crate) fn text_or<T: ToSchema>() -> OneOfBuilder {
    let list = ArrayBuilder::new().items(Ref::from_schema_name(T::name())).min_items(Some(1));
    OneOfBuilder::new().item(ObjectBuilder::new().schema_type(Type::String)).item(list)
}

/// Declares a type that is a text or a list. The items are parsed later, one by one, by their `type`.
macro_rules! text_or_list {
    ($(#[$about:meta])* $name:ident, $item:ty) => {
        $(#[$about])*
        #[derive(Debug, serde::Deserialize)]
        pub(super) struct $name(pub(super) crate::front::json::TextOr<serde_json::Value>);

        impl utoipa::PartialSchema for $name {
            fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::Schema> {
                utoipa::openapi::Schema::from(crate::front::fields::text_or::<$item>()).into()
            }
        }

        impl utoipa::ToSchema for $name {
            fn schemas(schemas: &mut Vec<(String, utoipa::openapi::RefOr<utoipa::openapi::Schema>)>) {
                let name = <$item as utoipa::ToSchema>::name().into_owned();
                schemas.push((name, <$item as utoipa::PartialSchema>::schema()));
                <$item as utoipa::ToSchema>::schemas(schemas);
            }
        }
    };
}

/// Declares a type with one allowed value, for optional fields.
macro_rules! only {
    ($(#[$about:meta])* $name:ident, $value:expr, $what:literal) => {
        $(#[$about])*
        #[derive(Clone, Copy, Debug)]
        pub(crate) struct $name;

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let value = serde_json::Value::deserialize(deserializer)?;
                // 1.0 is 1 in JSON Schema.
                let same_number = value.as_f64().is_some_and(|number| $value.as_f64() == Some(number));
                if same_number || value == $value { Ok(Self) } else { Err(serde::de::Error::custom($what)) }
            }
        }

        crate::front::fields::described!($name, stringify!($name), crate::front::fields::one_of([$value]));
    };
}

pub(crate) use {described, only, text_or_list};
