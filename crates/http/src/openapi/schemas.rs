//! Schemas of single values, where no type of ours says as much.

use serde::Serialize;
use serde_json::{Value, json};
use tokenwire_core::{CancelCause, FinishReason};
use utoipa::openapi::{
    Array, ArrayBuilder, Object, ObjectBuilder, OneOfBuilder, Schema, SchemaFormat,
    schema::{AdditionalProperties, SchemaType, Type},
};

pub(crate) fn text() -> Object {
    ObjectBuilder::new().schema_type(Type::String).build()
}

/// A text that this regular expression of ECMA-262 finds itself in.
pub(crate) fn text_like(pattern: &str) -> Object {
    ObjectBuilder::new().schema_type(Type::String).pattern(Some(pattern)).build()
}

/// A text that is always the same.
pub(crate) fn constant(text: &str) -> Object {
    one_of([text])
}

/// One of these texts.
pub(crate) fn one_of<'a>(texts: impl IntoIterator<Item = &'a str>) -> Object {
    ObjectBuilder::new().schema_type(Type::String).enum_values(Some(texts)).build()
}

pub(crate) fn uuid() -> Object {
    let format = SchemaFormat::Custom("uuid".to_owned());
    ObjectBuilder::new().schema_type(Type::String).format(Some(format)).build()
}

pub(crate) fn whole_number(from: u64, to: u64) -> Object {
    let [from, to] = [from, to].map(|bound| usize::try_from(bound).unwrap_or(usize::MAX));
    ObjectBuilder::new().schema_type(Type::Integer).minimum(Some(from)).maximum(Some(to)).build()
}

/// A value in a query, where an empty one is none.
pub(crate) fn or_empty(schema: Object) -> Schema {
    OneOfBuilder::new().item(schema).item(constant("")).into()
}

pub(crate) fn object() -> Object {
    ObjectBuilder::new().schema_type(Type::Object).build()
}

/// What is always null here, because nothing of it is kept.
pub(crate) fn null() -> Object {
    ObjectBuilder::new().schema_type(Type::Null).description(Some("Nothing of this is kept here.")).build()
}

/// Why a model ended its answer.
pub(crate) fn finish_reason() -> Object {
    use FinishReason::{ContentFilter, Length, Stop, ToolCalls};
    let all = [Stop, Length, ToolCalls, ContentFilter];
    // A new one does not compile before it is described above.
    for reason in all {
        match reason {
            Stop | Length | ToolCalls | ContentFilter => {}
        }
    }
    ObjectBuilder::from(written(&all)).description(Some("Why the model ended its answer.")).build()
}

/// The same, or null while it has not.
pub(crate) fn finish_reason_or_null() -> Schema {
    OneOfBuilder::new().item(finish_reason()).item(null()).into()
}

/// Texts before which an answer ends. Their bound is one of bytes.
pub(crate) fn stop_texts() -> Schema {
    let text = || ObjectBuilder::new().schema_type(Type::String).min_length(Some(1)).max_length(Some(256));
    let several = ArrayBuilder::new().items(text()).max_items(Some(16));
    OneOfBuilder::new()
        .description(Some("One text, or up to 16, each of at most 256 bytes of UTF-8: end before the first that the model says."))
        .item(text())
        .item(several)
        .item(null())
        .into()
}

/// What would be asked for in vain.
pub(crate) fn never() -> Object {
    only(Type::Boolean, Value::Bool(false), "Not done here: `false`, or nothing.")
}

/// The models here write text and nothing else.
pub(crate) fn text_alone() -> Object {
    only(Type::Array, json!(["text"]), "The models here write text alone.")
}

/// An option of streams that would be asked for in vain.
pub(crate) fn no_obfuscation() -> Schema {
    let options = ObjectBuilder::new().property("include_obfuscation", never());
    let options = options.additional_properties(Some(AdditionalProperties::FreeForm(false)));
    OneOfBuilder::new().item(options).item(null()).into()
}

/// Inputs are never shortened.
pub(crate) fn disabled() -> Object {
    only(Type::String, json!("disabled"), "No input is shortened here.")
}

/// What may be asked of summaries of reasoning, which are its text in another form.
pub(crate) fn summaries() -> Schema {
    let wishes = one_of(["auto", "concise", "detailed"]);
    let about = "With any of these, what the model tells of its reasoning is told as a `summary`, all of it; without, as `content`.";
    OneOfBuilder::new().description(Some(about)).item(wishes).item(null()).into()
}

/// What is said of a summary of reasoning only if it is so.
pub(crate) fn cut_short() -> Object {
    ObjectBuilder::from(constant("incomplete")).description(Some("For a summary that was cut short.")).build()
}

pub(crate) fn yes() -> Object {
    ObjectBuilder::new().schema_type(Type::Boolean).enum_values(Some([true])).build()
}

/// A list of what is not kept here.
pub(crate) fn nothing() -> Array {
    let about = Some("Nothing of this is kept here.");
    ArrayBuilder::new().items(object()).max_items(Some(0)).description(about).build()
}

/// This value, or null, which is as good as nothing.
fn only(r#type: Type, value: Value, about: &str) -> Object {
    let types = SchemaType::Array(vec![r#type, Type::Null]);
    let values = Some([value, Value::Null]);
    ObjectBuilder::new().schema_type(types).enum_values(values).description(Some(about)).build()
}

/// Who told a generation to stop, where somebody did.
pub(crate) fn cancel_cause() -> Object {
    use CancelCause::{Abandoned, Requested};
    let all = [Requested, Abandoned];
    for cause in all {
        match cause {
            Requested | Abandoned => {}
        }
    }
    let about = "Who stopped it: somebody who asked for it, or nobody, because nobody was reading.";
    ObjectBuilder::from(written(&all)).description(Some(about)).build()
}

/// One of these, as they are written in JSON.
fn written<T: Serialize>(all: &[T]) -> Object {
    let all = all.iter().map(|one| serde_json::to_value(one).expect("our own types have string keys"));
    ObjectBuilder::new().schema_type(Type::String).enum_values(Some(all)).build()
}

/// Texts that are always the same, as functions: what a derived schema can refer to.
pub(crate) mod is {
    use super::{Object, constant};

    macro_rules! constants {
        ($($name:ident: $text:literal),+ $(,)?) => {
            $(pub(crate) fn $name() -> Object { constant($text) })+
        };
    }

    constants! {
        assistant: "assistant",
        compaction: "response.compaction",
        compaction_item: "compaction",
        disabled: "disabled",
        function: "function",
        function_call: "function_call",
        function_call_output: "function_call_output",
        item_reference: "item_reference",
        list: "list",
        message: "message",
        model: "model",
        not_ready: "not ready",
        ok: "ok",
        ready: "ready",
        reasoning: "reasoning",
        response: "response",
    }
}
