//! Types of the core that go to clients as they are. The core knows no OpenAPI, so these stand for them.
#![expect(dead_code, reason = "these are only shapes")]

use utoipa::ToSchema;

/// What a generation cost, in the model's own tokens.
#[derive(ToSchema)]
pub(crate) struct Tokens {
    /// Tokens of the request.
    input_tokens: u64,
    /// Tokens of the answer, over all attempts.
    output_tokens: u64,
}

/// A piece of a call. The pieces of one call have its index; together they are its id, its name and its arguments.
#[derive(ToSchema)]
pub(crate) struct ToolCallPiece {
    /// Which call of this answer, from 0.
    index: u32,
    /// The model's id of the call, in its first piece.
    #[schema(required = false, nullable = false)]
    id: Option<String>,
    /// What to call, in its first piece.
    #[schema(required = false, nullable = false)]
    name: Option<String>,
    /// A piece of the arguments: JSON once all pieces are there, if the model keeps to it.
    #[schema(required = false)]
    arguments: String,
}
