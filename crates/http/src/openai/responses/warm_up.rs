//! `generate: false` on a socket: a request that later ones continue, and that asks for no answer.
//!
//! No model is asked and nothing is stored. The socket checks and holds its messages, and sends a complete, empty response at
//! once. It is forgotten when the socket closes.

use tokenwire_core::{FinishReason, GenerationId, Message, Timestamp, Usage};
use uuid::Uuid;

use super::{
    encoder::Numbered,
    items,
    metadata::ResponseMetadata,
    output::Output,
    request::Create,
    response::Response,
    state::{End, State},
};
use crate::{front::problem::Problem, stream::websocket::Messages};

/// Sends its events. Returns its id, and its messages with all before.
pub(super) fn tell(
    create: Create,
    before: Vec<Message>,
) -> Result<(GenerationId, Vec<Message>, Messages), Problem> {
    let metadata = ResponseMetadata { before, store: false, ..create.metadata };
    // The same limit as for stored requests.
    metadata.to_bytes()?;
    let mut said = metadata.before.clone();
    said.extend(items::messages(&metadata.input));
    let id = GenerationId::fresh();
    let at = made_at(id);
    let mut response =
        Response { id, created_at: at, metadata, output: Output::new(id), state: State::Waiting };
    let mut events = Messages::default();
    let mut watch = Numbered { next: &mut 0, after: None, sink: &mut events };
    response.created(&mut watch);
    response.state = State::Running;
    response.tell("response.in_progress", &mut watch);
    let usage = Usage { input_tokens: 0, output_tokens: 0 };
    response.state = State::Ended { at, end: End::Finished { reason: FinishReason::Stop, usage } };
    response.tell("response.completed", &mut watch);
    Ok((id, said, events))
}

/// A new id contains its time.
fn made_at(id: GenerationId) -> Timestamp {
    let made = Uuid::from_bytes(*id.as_bytes()).get_timestamp();
    Timestamp::from_millis(made.map_or(0, |made| {
        let (seconds, nanos) = made.to_unix();
        seconds * 1000 + u64::from(nanos / 1_000_000)
    }))
}
