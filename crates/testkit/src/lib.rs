//! What tests of Tokenwire share: the conformance suite of each port, real servers as children, a proxy that misbehaves,
//! clocks that tests own, and a checker of what readers saw.
//!
//! It knows the ports in `core` and nothing else of the workspace: adapters depend on it, never the other way round. All
//! of it panics by design; a server that is not installed is a failure that says what to install, never a skipped test.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests may, and all of this is for tests")]

pub mod client;
pub mod clock;
pub mod conformance;
pub mod gguf;
pub mod history;
pub mod proxy;
pub mod services;
pub mod wrapped;
