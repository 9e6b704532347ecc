//! The bytes that the floor sends: the same as the product, chunks included.

use std::{fmt::Write, time::Duration};

use anyhow::{Context, Result};
use futures::StreamExt;
use model::simulated::{Config, Simulated};
use tokenwire_core::{
    Conversation, GenerateRequest, GenerationId, Model, ModelName, model::Output, token_log::Prefix,
};

use crate::{clock::micros, plan::QUERY};

/// The words of every stream.
pub(super) struct Script {
    /// Each as it is behind the stamp, split into lines as frames are.
    words: Vec<String>,
}

impl Script {
    /// The answer of the simulated model to [`QUERY`].
    pub(super) fn new(pieces: usize) -> Result<Self> {
        let config = Config { delay: Duration::ZERO, words: Some(pieces), ..Config::default() };
        let name = ModelName::new("simulated").context("a name")?;
        let request = GenerateRequest::new(name, Conversation::of(QUERY).context("a question")?);
        let runtime = tokio::runtime::Builder::new_current_thread().build().context("a runtime")?;
        let words = runtime.block_on(async {
            let nothing = Prefix::default();
            let outputs = Simulated::new(config).generate(GenerationId::fresh(), &request, &nothing).await?;
            let texts = outputs.filter_map(async |output| match output {
                Ok(Output::Text { text, .. }) => Some(text.replace('\n', "\ndata: ")),
                _ => None,
            });
            anyhow::Ok(texts.collect().await)
        });
        Ok(Self { words: words? })
    }

    /// What comes before the first event.
    pub(super) fn head(id: &str, after: usize) -> Vec<u8> {
        let mut head = String::from(
            "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncache-control: no-cache, no-transform\r\n\
             x-accel-buffering: no\r\ntransfer-encoding: chunked\r\n\r\n",
        );
        let queued = format!("event: queued\ndata:{{\"uuid\":\"{id}\"}}\n\n");
        let begin = format!("retry: 1000\n\n{}", if after == 0 { &*queued } else { "" });
        let _ = write!(head, "{:x}\r\n{begin}\r\n", begin.len());
        head.into_bytes()
    }

    /// Appends the event at this place, from 0; whether there is another.
    pub(super) fn event(&self, place: usize, bytes: &mut Vec<u8>) -> bool {
        let id = place + 1;
        let frame = match place.checked_sub(1).map(|word| self.words.get(word)) {
            None => format!("id: {id}\nevent: started\ndata:{{\"attempt\":1}}\n\n"),
            Some(Some(word)) => format!("id: {id}\ndata: {:016}{word}\n\n", micros()),
            Some(None) => format!(
                "id: {id}\nevent: done\ndata:{{\"finish_reason\":\"stop\",\"usage\":{{\"input_tokens\":5,\"output_tokens\":{}}}}}\n\n",
                self.words.len()
            ),
        };
        bytes.extend_from_slice(format!("{:x}\r\n{frame}\r\n", frame.len()).as_bytes());
        let more = place <= self.words.len();
        if !more {
            bytes.extend_from_slice(b"0\r\n\r\n");
        }
        more
    }
}
