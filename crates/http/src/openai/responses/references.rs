//! Items that an input names by id instead of repeating them, as the AI SDK does with output of a model. Each reference is
//! replaced by its item, so later code sees only items, and a conversation can outlive the responses it names.
//!
//! Unlike `previous_response_id`, a reference may name a response that still runs: a user stopped reading and asks the next
//! question. It then means the item as of now.

use axum::http::StatusCode;
use serde_json::Value;
use tokenwire_core::{Conversation, generations::AccessError};

use super::{
    id::{self, ItemName},
    response::Response,
    stored::catch_up,
};
use crate::front::{app::App, metadata, problem::Problem};

/// Reads the streams that the input names, one after another, and holds one at a time.
pub(super) async fn resolve(app: &App, input: &mut [Value]) -> Result<(), Problem> {
    let named = input.iter().filter(|item| referred(item).is_some()).count();
    if named > Conversation::MAX_MESSAGES {
        let message = format!("input names {named} items, the limit is {}", Conversation::MAX_MESSAGES);
        return Err(Problem { message, ..Problem::invalid_field("input", "") });
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
        // The metadata would be too large. Stopping here limits the memory for repeated references.
        if bytes > metadata::MAX_BYTES {
            let message = format!("input names more than {} bytes", metadata::MAX_BYTES);
            return Err(Problem { message, ..Problem::invalid_field("input", "") });
        }
        *item = found;
    }
    Ok(())
}

pub(super) fn not_found(index: usize, name: &str) -> Problem {
    let message = format!("there is no item {name}: it never was, or is not kept any more");
    Problem::request(StatusCode::NOT_FOUND, "item_not_found", message)
        .about_field(format!("input[{index}].id"))
}

/// The name in a reference.
fn referred(item: &Value) -> Option<&str> {
    if item.get("type")? == "item_reference" { item.get("id")?.as_str() } else { None }
}

/// The response as of now. `None` if it does not exist, or this API may not show it.
async fn read(app: &App, place: &ItemName) -> Result<Option<Response>, Problem> {
    let spec = match app.generations.spec(place.generation).await {
        Ok(spec) => spec,
        Err(AccessError::NotFound(_)) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let mut response = Response::new(place.generation, &spec)?;
    if !response.metadata.store {
        return Ok(None);
    }
    catch_up(app, &mut response).await?;
    Ok(Some(response))
}

fn found(response: &Response, place: &ItemName) -> Option<Value> {
    if place.is_input {
        return response.metadata.input.get(place.index).cloned();
    }
    let shown = response.output.shown();
    shown.get(place.index).map(|item| serde_json::to_value(item).expect("our own types have string keys"))
}
