//! The model port ([`tokenwire_core::Model`]): things that generate.

pub mod simulated;

pub use simulated::Simulated;
