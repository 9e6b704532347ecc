//! The HTTP front ends: what people and programs speak to.
//!
//! A front end turns a request into a [`Submission`](tokenwire_core::generations::Submission), follows the generation's
//! stream and encodes its entries as Server-Sent Events. The log is what makes a stream durable; this crate only makes
//! sure that a reader always knows where it stands: every frame of `/ask` that stems from an entry carries its `id:`, resuming
//! is the same fold from the cursor (I8), and a stream that cannot be brought to its end here is *aborted*, never ended
//! politely, because clients take a polite end for a whole answer.
//!
//! There is no adapter here and none can be named: the crate depends on `tokenwire-core` alone. Nor is there a signal, an
//! environment variable or a flag: the caller owns the socket, the configuration and the tokens that stop it.
//!
//! ```text
//! server ── hyper ── routes (CORS) ┬─ ask ───┬─ json, limits ── Generations ── reading ┬─ sse
//!                                  ├─ openai ┘                                         └─ websocket
//!                                  └─ health, openapi, ui
//! ```

mod app;
mod ask;
mod config;
mod error;
mod etag;
mod headers;
mod health;
mod json;
mod limits;
pub mod metrics;
mod openai;
pub mod openapi;
mod operators;
mod paths;
mod reading;
mod routes;
mod server;
mod sse;
mod takeover;
mod ui;
mod websocket;

pub use config::{Config, Cors};
pub use operators::serve_operators;
pub use routes::router;
pub use server::serve;
