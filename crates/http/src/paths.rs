//! Every path that this server answers, and nothing else, so that a change of the public surface is a change of this
//! file. The page's files have their paths in [`crate::ui`].

/// Ask: `POST`.
pub(crate) const ASK: &str = "/ask";

/// One generation: `GET` reads it, `DELETE` stops it.
pub(crate) const GENERATION: &str = "/ask/{uuid}";

/// OpenAI's chat completions: `POST`.
pub(crate) const CHAT_COMPLETIONS: &str = "/v1/chat/completions";

/// OpenAI's responses: `POST`, and `GET` for a WebSocket.
pub(crate) const RESPONSES: &str = "/v1/responses";

/// Makes a conversation short enough to go on with: `POST`.
pub(crate) const RESPONSES_COMPACT: &str = "/v1/responses/compact";

/// A response: `GET` reads it, `DELETE` forgets it.
pub(crate) const RESPONSE: &str = "/v1/responses/{id}";

/// Stops it: `POST`.
pub(crate) const RESPONSE_CANCEL: &str = "/v1/responses/{id}/cancel";

/// What it was asked: `GET`.
pub(crate) const RESPONSE_INPUT_ITEMS: &str = "/v1/responses/{id}/input_items";

/// The models that can be asked: `GET`.
pub(crate) const MODELS: &str = "/v1/models";

/// One of them: `GET`. Names have slashes, and not every client escapes them.
pub(crate) const MODEL: &str = "/v1/models/{*name}";

/// Everything else that OpenAI's clients may look for, and do not find.
pub(crate) const OPENAI: [&str; 3] = ["/v1", "/v1/", "/v1/{*rest}"];

/// Whether the process lives: `GET`.
pub(crate) const HEALTH: &str = "/health";

/// Whether a prompt would be accepted: `GET`.
pub(crate) const READY: &str = "/ready";

/// What all of this is, for programs: `GET`.
pub(crate) const OPENAPI: &str = "/openapi.json";
