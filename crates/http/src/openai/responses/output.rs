//! The output of a response: items, built from deltas, and the events about them.
//!
//! An item of text or reasoning is done when another item begins. A tool call is done only at the end, because deltas of
//! several calls may alternate. The events for a delta depend only on the deltas before it.

mod shown;

use std::collections::BTreeMap;

use serde::Serialize;
use tokenwire_core::{GenerationId, ToolCallDelta};

pub(super) use self::shown::ResponseOutputItem;
use self::shown::{
    ResponseCallDoneEvent, ResponseDeltaEvent, ResponseItemEvent, ResponseItemStatus, ResponseOutputPart,
    ResponsePartEvent, ResponsePlace, ResponseTextDoneEvent,
};
use super::{id, items};
use crate::{front::events::Events, openai::call_id::call_id};

/// About how much an item needs besides its text, in bytes.
const ITEM: usize = 128;

/// Receives the events. `()` ignores them, for callers that want only the outcome.
pub(super) trait Watch {
    fn event(&mut self, name: &'static str, what: &impl Serialize);
}

impl Watch for () {
    fn event(&mut self, _name: &'static str, _what: &impl Serialize) {}
}

/// The items so far.
#[derive(Debug)]
pub(super) struct Output {
    answer: GenerationId,
    items: Vec<Item>,
    /// The items of the calls, by the model's index.
    calls: BTreeMap<u32, usize>,
    bytes: usize,
}

#[derive(Debug)]
struct Item {
    id: String,
    status: ResponseItemStatus,
    what: What,
}

#[derive(Debug)]
enum What {
    Text { kind: Kind, text: String },
    Call { call_id: String, name: String, arguments: String },
}

/// Three kinds of text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Answer,
    Reasoning,
    /// Reasoning for a request that asks for a summary. It is sent in this form only: some clients show every form that they
    /// get.
    Summary,
}

impl Kind {
    const fn added(self) -> &'static str {
        match self {
            Self::Answer | Self::Reasoning => "response.content_part.added",
            Self::Summary => "response.reasoning_summary_part.added",
        }
    }

    const fn delta(self) -> &'static str {
        match self {
            Self::Answer => "response.output_text.delta",
            Self::Reasoning => "response.reasoning_text.delta",
            Self::Summary => "response.reasoning_summary_text.delta",
        }
    }

    const fn text_done(self) -> &'static str {
        match self {
            Self::Answer => "response.output_text.done",
            Self::Reasoning => "response.reasoning_text.done",
            Self::Summary => "response.reasoning_summary_text.done",
        }
    }

    const fn part_done(self) -> &'static str {
        match self {
            Self::Answer | Self::Reasoning => "response.content_part.done",
            Self::Summary => "response.reasoning_summary_part.done",
        }
    }

    /// Only text of the answer has this field. It is always empty: probabilities are not stored.
    fn logprobs(self) -> Option<[(); 0]> {
        (self == Self::Answer).then_some([])
    }

    const fn part(self, text: &str) -> ResponseOutputPart<'_> {
        match self {
            Self::Answer => ResponseOutputPart::Answer { text, annotations: [], logprobs: [] },
            Self::Reasoning => ResponseOutputPart::Reasoning { text },
            Self::Summary => ResponseOutputPart::Summary { text },
        }
    }

    /// Where the only part of an item is.
    const fn within(self, item_id: &str, output_index: usize) -> ResponsePlace<'_> {
        let (content_index, summary_index) = match self {
            Self::Answer | Self::Reasoning => (Some(0), None),
            Self::Summary => (None, Some(0)),
        };
        ResponsePlace { item_id, output_index, content_index, summary_index }
    }
}

/// The events about items, which a [`Watch`] receives.
pub(super) fn events(events: Events) -> Events {
    events
        .numbered::<ResponseItemEvent<'_>>("response.output_item.added", "An item begins.")
        .numbered::<ResponsePartEvent<'_>>(Kind::Answer.added(), "A text begins.")
        .numbered::<ResponseDeltaEvent<'_>>(
            Kind::Answer.delta(),
            "A delta of the answer: join them with nothing between.",
        )
        .numbered::<ResponseTextDoneEvent<'_>>(Kind::Answer.text_done(), "A text of the answer, complete.")
        .numbered::<ResponseDeltaEvent<'_>>(Kind::Reasoning.delta(), "A delta of the model's reasoning.")
        .numbered::<ResponseTextDoneEvent<'_>>(
            Kind::Reasoning.text_done(),
            "The model's reasoning, complete.",
        )
        .numbered::<ResponsePartEvent<'_>>(Kind::Answer.part_done(), "A text is complete.")
        .numbered::<ResponsePartEvent<'_>>(
            Kind::Summary.added(),
            "Where a summary was asked for: the model's reasoning begins.",
        )
        .numbered::<ResponseDeltaEvent<'_>>(Kind::Summary.delta(), "A delta of it.")
        .numbered::<ResponseTextDoneEvent<'_>>(Kind::Summary.text_done(), "The model's reasoning.")
        .numbered::<ResponsePartEvent<'_>>(Kind::Summary.part_done(), "It is complete, or was cut short.")
        .numbered::<ResponseDeltaEvent<'_>>(
            "response.function_call_arguments.delta",
            "A delta of the arguments of a call.",
        )
        .numbered::<ResponseCallDoneEvent<'_>>(
            "response.function_call_arguments.done",
            "The arguments of a call, complete.",
        )
        .numbered::<ResponseItemEvent<'_>>("response.output_item.done", "An item is complete.")
}

impl Output {
    pub(super) fn new(answer: GenerationId) -> Self {
        Self { answer, items: Vec::new(), calls: BTreeMap::new(), bytes: 0 }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// About how much memory this holds.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Every item, as the resource shows it.
    pub(super) fn shown(&self) -> Vec<ResponseOutputItem<'_>> {
        self.items.iter().map(|item| item.shown(true)).collect()
    }

    /// The messages that a later request sends to the model. Without calls if the answer broke off: they may be incomplete.
    pub(super) fn said(&self, whole: bool) -> Vec<tokenwire_core::Message> {
        let kept = self.items.iter().filter(|item| whole || matches!(item.what, What::Text { .. }));
        let shown: Vec<_> = kept
            .map(|item| serde_json::to_value(item.shown(true)).expect("our own types have string keys"))
            .collect();
        items::messages(&shown)
    }

    /// Adds a delta of text.
    pub(super) fn say(&mut self, kind: Kind, piece: &str, watch: &mut impl Watch) {
        if piece.is_empty() {
            return;
        }
        self.bytes = self.bytes.saturating_add(piece.len());
        if !self.items.last().is_some_and(|item| item.takes(kind)) {
            self.close_text(ResponseItemStatus::Completed, watch);
            let prefix = if kind == Kind::Answer { "msg" } else { "rs" };
            let index = self.add(prefix, What::Text { kind, text: String::new() }, watch);
            if let Some(item) = self.items.last() {
                let at = kind.within(&item.id, index);
                watch.event(kind.added(), &ResponsePartEvent { at, part: kind.part(""), status: None });
            }
        }
        let index = self.items.len().saturating_sub(1);
        if let Some(Item { id, what: What::Text { text, .. }, .. }) = self.items.last_mut() {
            text.push_str(piece);
            let at = kind.within(id, index);
            watch.event(kind.delta(), &ResponseDeltaEvent { at, delta: piece, logprobs: kind.logprobs() });
        }
    }

    /// Adds a delta of a call.
    pub(super) fn call(&mut self, piece: &ToolCallDelta, watch: &mut impl Watch) {
        let ToolCallDelta { index, id, name, arguments: more } = piece;
        self.bytes = self.bytes.saturating_add(more.len() + name.as_ref().map_or(0, String::len));
        let place = if let Some(place) = self.calls.get(index) {
            *place
        } else {
            self.close_text(ResponseItemStatus::Completed, watch);
            let call_id = id.clone().unwrap_or_else(|| call_id(self.answer, *index));
            let name = name.clone().unwrap_or_default();
            let place = self.add("fc", What::Call { call_id, name, arguments: String::new() }, watch);
            self.calls.insert(*index, place);
            place
        };
        if let Some(Item { id, what: What::Call { arguments, .. }, .. }) = self.items.get_mut(place)
            && !more.is_empty()
        {
            arguments.push_str(more);
            let at =
                ResponsePlace { item_id: id, output_index: place, content_index: None, summary_index: None };
            let delta = ResponseDeltaEvent { at, delta: more, logprobs: None };
            watch.event("response.function_call_arguments.delta", &delta);
        }
    }

    /// The model has ended. Open items are done now, or incomplete if the answer was cut short.
    pub(super) fn finish(&mut self, whole: bool, watch: &mut impl Watch) {
        let status = if whole { ResponseItemStatus::Completed } else { ResponseItemStatus::Incomplete };
        for (index, item) in self.items.iter_mut().enumerate() {
            item.close(index, status, watch);
        }
    }

    /// No more deltas follow. Open items stay incomplete, and no event says that they are done.
    pub(super) fn break_off(&mut self) {
        self.finish(false, &mut ());
    }

    fn add(&mut self, prefix: &str, what: What, watch: &mut impl Watch) -> usize {
        self.bytes = self.bytes.saturating_add(ITEM);
        let index = self.items.len();
        let item =
            Item { id: id::output(prefix, self.answer, index), status: ResponseItemStatus::InProgress, what };
        watch.event(
            "response.output_item.added",
            &ResponseItemEvent { output_index: index, item: item.shown(false) },
        );
        self.items.push(item);
        index
    }

    fn close_text(&mut self, status: ResponseItemStatus, watch: &mut impl Watch) {
        let index = self.items.len().saturating_sub(1);
        if let Some(item @ Item { what: What::Text { .. }, .. }) = self.items.last_mut() {
            item.close(index, status, watch);
        }
    }
}

impl Item {
    fn takes(&self, piece: Kind) -> bool {
        self.status == ResponseItemStatus::InProgress
            && matches!(self.what, What::Text { kind, .. } if kind == piece)
    }

    fn close(&mut self, output_index: usize, status: ResponseItemStatus, watch: &mut impl Watch) {
        if self.status != ResponseItemStatus::InProgress {
            return;
        }
        self.status = status;
        match &self.what {
            What::Text { kind, text } => {
                let at = kind.within(&self.id, output_index);
                watch.event(kind.text_done(), &ResponseTextDoneEvent { at, text, logprobs: kind.logprobs() });
                // The format has this field only for summaries, and only if they were cut short.
                let cut = *kind == Kind::Summary && status == ResponseItemStatus::Incomplete;
                let status = cut.then_some(status);
                watch.event(kind.part_done(), &ResponsePartEvent { at, part: kind.part(text), status });
            }
            What::Call { call_id: _, name, arguments } => {
                let at = ResponsePlace {
                    item_id: &self.id,
                    output_index,
                    content_index: None,
                    summary_index: None,
                };
                watch.event(
                    "response.function_call_arguments.done",
                    &ResponseCallDoneEvent { at, name, arguments },
                );
            }
        }
        watch.event("response.output_item.done", &ResponseItemEvent { output_index, item: self.shown(true) });
    }

    fn shown(&self, content: bool) -> ResponseOutputItem<'_> {
        let Self { id, status, what } = self;
        match what {
            What::Text { kind, text } => {
                let (status, parts) = (*status, content.then(|| kind.part(text)).into_iter().collect());
                let none = Vec::new();
                match kind {
                    Kind::Answer => {
                        ResponseOutputItem::Message { id, status, role: "assistant", content: parts }
                    }
                    Kind::Reasoning => {
                        ResponseOutputItem::Reasoning { id, status, summary: none, content: parts }
                    }
                    Kind::Summary => {
                        ResponseOutputItem::Reasoning { id, status, summary: parts, content: none }
                    }
                }
            }
            What::Call { call_id, name, arguments } => {
                ResponseOutputItem::FunctionCall { id, status: *status, call_id, name, arguments }
            }
        }
    }
}
