//! The HTTP front ends: what people and programs speak to.
//!
//! A front end turns a request into a [`Submission`](tokenwire_core::generations::Submission), follows the generation's
//! stream and encodes its entries as Server-Sent Events. The log makes a stream durable; this crate makes sure that a reader
//! always knows where it stands. Every frame of `/ask` that stems from an entry carries its `id:`, and resuming is the same
//! fold from the cursor (I8). A stream that cannot be brought to its end here is *aborted*, never ended in order, because
//! clients take an orderly end for a complete answer.
//!
//! There is no adapter here and none can be named: the crate depends on `tokenwire-core` alone. Nor is there a signal, an
//! environment variable or a flag: the caller owns the socket, the configuration and the tokens that stop it.
//!
//! ```text
//! server/    the accept loop, connections and how they close; knows a Router and stream::upgrade
//! stream/    one reader of one stream, and its way to a socket; knows the core
//! front/     what front ends share: limits, JSON, problems, idempotency, metadata
//! ask/  openai/{chat,responses,models}/  ops/{health,metrics,openapi}  ui/      the front ends
//! routes.rs  the only file that names the front ends
//! ```
//!
//! No front end imports another, and `server`, `stream` and `front` import none of them: `crates/testkit/tests/arrows`
//! checks this. How to add one: `CONTRIBUTING.md`.

mod ask;
mod config;
mod front;
pub mod metrics;
mod openai;
mod ops;
mod routes;
mod server;
mod stream;
mod ui;

pub use config::{Config, Cors};
pub use routes::{document as openapi_document, router, serve, serve_operators};
