//! The model port ([`tokenwire_core::Model`]): things that generate.

#[cfg(feature = "gguf")]
pub mod gguf;
pub mod simulated;
pub mod upstream;

pub use simulated::Simulated;
