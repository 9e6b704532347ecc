//! Keeps llama.cpp's log while it loads a model: its functions report only that something failed, its log says why.
//!
//! The rest of the time its lines are tracing events of the target `llama-cpp-2`.

use std::sync::{Arc, Mutex, Once, PoisonError};

use llama_cpp_2::{LogOptions, send_logs_to_tracing};
use tokenwire_core::{BoxError, explain};
use tracing::{
    Event, Level, Metadata, Subscriber,
    field::{Field, Visit},
    span,
};

/// Runs a llama.cpp call that logs many lines. An error contains what it logged.
pub(super) fn explained<T, E>(work: impl FnOnce() -> Result<T, E>) -> Result<T, BoxError>
where
    E: Into<BoxError>,
{
    static REDIRECT: Once = Once::new();
    REDIRECT.call_once(|| send_logs_to_tracing(LogOptions::default()));

    let lines = Lines::default();
    let done = tracing::subscriber::with_default(lines.clone(), work);
    done.map_err(|error| {
        let lines = lines.take();
        if lines.is_empty() { explain(&*error.into()).into() } else { lines.join("; ").into() }
    })
}

/// Errors that were logged.
#[derive(Clone, Debug, Default)]
struct Lines(Arc<Mutex<Vec<String>>>);

impl Lines {
    fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Subscriber for Lines {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() == Level::ERROR && metadata.is_event()
    }

    fn event(&self, event: &Event<'_>) {
        event.record(&mut Message(self));
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}

/// Keeps the message of an event.
struct Message<'a>(&'a Lines);

impl Visit for Message<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        if field.name() == "message" {
            let line = format!("{value:?}");
            let line = line.trim_matches('"').trim().to_owned();
            self.0.0.lock().unwrap_or_else(PoisonError::into_inner).push(line);
        }
    }
}
