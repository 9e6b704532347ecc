//! Items that an input names instead of repeating, as the AI SDK does with what a model said. Each is put in its place, so
//! that whatever comes after this knows items alone, and a conversation outlives what it names.
//!
//! Unlike `previous_response_id`, a reference may name what is still being said: a person stopped reading and asks the next
//! thing. It then means what has been said so far.

use axum::http::StatusCode;
use serde_json::Value;
use tokenwire_core::{Conversation, generations::AccessError, token_log::StreamSpec};

use super::{
    id::{self, ItemName},
    response::Response,
    stored::catch_up,
};
use crate::{app::App, openai::error::ApiError};

/// Reads as many streams as the input names in a row, and holds one at a time.
pub(super) async fn resolve(app: &App, input: &mut [Value]) -> Result<(), ApiError> {
    let named = input.iter().filter(|item| referred(item).is_some()).count();
    if named > Conversation::MAX_MESSAGES {
        let message = format!("input names {named} items, the limit is {}", Conversation::MAX_MESSAGES);
        return Err(ApiError::invalid("input".to_owned(), message));
    }
    let mut last: Option<Response> = None;
    let mut bytes = 0_usize;
    for (index, item) in input.iter_mut().enumerate() {
        let Some(name) = referred(item) else { continue };
        let missing = || not_found(index, name);
        let place = id::parse_item(name).ok_or_else(missing)?;
        let response = match last.take() {
            Some(response) if response.id == place.generation => response,
            _ => read(app, &place).await?.ok_or_else(missing)?,
        };
        let found = found(&response, &place).ok_or_else(missing)?;
        last = Some(response);
        bytes = bytes.saturating_add(found.to_string().len());
        // It could not be kept, and would be held many times over until that is found out.
        if bytes > StreamSpec::MAX_MEMO_BYTES {
            let message = format!("input names more than {} bytes", StreamSpec::MAX_MEMO_BYTES);
            return Err(ApiError::invalid("input".to_owned(), message));
        }
        *item = found;
    }
    Ok(())
}

pub(super) fn not_found(index: usize, name: &str) -> ApiError {
    let message = format!("there is no item {name}: it never was, or is not kept any more");
    let error = ApiError::invalid(format!("input[{index}].id"), message);
    error.with_status(StatusCode::NOT_FOUND).coded("item_not_found")
}

/// The name in a reference.
fn referred(item: &Value) -> Option<&str> {
    if item.get("type")? == "item_reference" { item.get("id")?.as_str() } else { None }
}

/// The response as far as it has come. `None`: it is not there, or not for this API.
async fn read(app: &App, place: &ItemName) -> Result<Option<Response>, ApiError> {
    let spec = match app.generations.spec(place.generation).await {
        Ok(spec) => spec,
        Err(AccessError::NotFound(_)) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let mut response = Response::new(place.generation, &spec)?;
    if !response.memo.store {
        return Ok(None);
    }
    catch_up(app, &mut response).await?;
    Ok(Some(response))
}

fn found(response: &Response, place: &ItemName) -> Option<Value> {
    if place.is_input {
        return response.memo.input.get(place.index).cloned();
    }
    let shown = response.output.shown();
    shown.get(place.index).map(|item| serde_json::to_value(item).expect("our own types have string keys"))
}
