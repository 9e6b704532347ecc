//! The model port ([`tokenwire_core::Model`]) and its implementations.

mod defaults;
mod words;

#[cfg(feature = "gguf")]
pub mod gguf;
pub mod scripted;
pub mod simulated;
pub mod sse;
pub mod upstream;

pub use defaults::Defaults;
#[cfg(feature = "gguf")]
pub use gguf::Gguf;
pub use scripted::Scripted;
pub use simulated::Simulated;
pub use upstream::Upstream;
