//! Models behind an OpenAI-compatible service.
