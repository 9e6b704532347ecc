//! A request, as bytes.

use std::fmt::{Display, Write};

/// A request. Without [`Self::closing`], its connection can be used again.
#[derive(Clone, Debug)]
#[must_use]
pub struct Request {
    head: String,
    body: String,
}

impl Request {
    fn new(method: &str, path: &str) -> Self {
        Self { head: format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\n"), body: String::new() }
    }

    pub fn get(path: &str) -> Self {
        Self::new("GET", path)
    }

    pub fn delete(path: &str) -> Self {
        Self::new("DELETE", path)
    }

    /// Sends JSON.
    pub fn post(path: &str, body: impl Display) -> Self {
        let request = Self { body: body.to_string(), ..Self::new("POST", path) };
        let length = request.body.len();
        request.with("Content-Type", "application/json").with("Content-Length", length)
    }

    /// Reads a stream on after the entry with this id. 0 reads from the start.
    pub fn after(self, cursor: u64) -> Self {
        if cursor == 0 { self } else { self.with("Last-Event-ID", cursor) }
    }

    pub(super) fn closing(self) -> Self {
        self.with("Connection", "close")
    }

    fn with(mut self, name: &str, value: impl Display) -> Self {
        write!(self.head, "{name}: {value}\r\n").expect("a string takes everything");
        self
    }

    pub fn to_bytes(&self) -> Vec<u8> {
        format!("{}\r\n{}", self.head, self.body).into_bytes()
    }
}
