//! The model port ([`tokenwire_core::Model`]): things that generate.

mod defaults;

#[cfg(feature = "gguf")]
pub mod gguf;
pub mod simulated;
pub mod upstream;

pub use defaults::Defaults;
#[cfg(feature = "gguf")]
pub use gguf::Gguf;
pub use simulated::Simulated;
pub use upstream::Upstream;
