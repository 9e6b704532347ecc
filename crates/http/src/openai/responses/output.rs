//! What a response says: items, made of the pieces that come, and the events in which a stream tells of them.
//!
//! An item of text or of reasoning is done when something else begins; a call of a tool only at the end, because pieces
//! of several calls may alternate. What one piece becomes depends on the pieces before it and on nothing else.

use std::collections::BTreeMap;

use serde::Serialize;
use tokenwire_core::{GenerationId, ToolCallDelta};
use utoipa::ToSchema;

use super::{super::answer::call_id, id, items};
use crate::openapi::{
    EventKind,
    schemas::{self, is},
};

/// About what an item costs beside its text, in bytes: its id, and its place.
const ITEM: usize = 128;

/// Who is told what happens. Whoever only wants the outcome listens with `()`.
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
    /// Where the calls are, by the model's index. As many as the model makes calls.
    calls: BTreeMap<u32, usize>,
    bytes: usize,
}

#[derive(Debug)]
struct Item {
    id: String,
    status: Status,
    what: What,
}

/// How far an item has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = ResponseItemStatus)]
#[serde(rename_all = "snake_case")]
pub(super) enum Status {
    InProgress,
    Completed,
    Incomplete,
}

#[derive(Debug)]
enum What {
    Text { kind: Kind, text: String },
    Call { call_id: String, name: String, arguments: String },
}

/// Two kinds of text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Answer,
    Reasoning,
}

impl Kind {
    const fn delta(self) -> &'static str {
        match self {
            Self::Answer => "response.output_text.delta",
            Self::Reasoning => "response.reasoning_text.delta",
        }
    }

    const fn done(self) -> &'static str {
        match self {
            Self::Answer => "response.output_text.done",
            Self::Reasoning => "response.reasoning_text.done",
        }
    }

    /// Only answers could have probabilities; none are kept.
    fn logprobs(self) -> Option<[(); 0]> {
        (self == Self::Answer).then_some([])
    }

    const fn part(self, text: &str) -> Part<'_> {
        match self {
            Self::Answer => Part::OutputText { text, annotations: [], logprobs: [] },
            Self::Reasoning => Part::ReasoningText { text },
        }
    }
}

/// What is told to a [`Watch`], for those who read it.
pub(super) fn events() -> Vec<EventKind> {
    vec![
        EventKind::numbered::<OfItem<'_>>("response.output_item.added", "Something new begins."),
        EventKind::numbered::<OfPart<'_>>("response.content_part.added", "A text begins."),
        EventKind::numbered::<Delta<'_>>(
            Kind::Answer.delta(),
            "A piece of the answer: join them with nothing between.",
        ),
        EventKind::numbered::<TextDone<'_>>(Kind::Answer.done(), "A text of the answer, whole."),
        EventKind::numbered::<Delta<'_>>(Kind::Reasoning.delta(), "A piece of what the model thinks."),
        EventKind::numbered::<TextDone<'_>>(Kind::Reasoning.done(), "What the model thought, whole."),
        EventKind::numbered::<OfPart<'_>>("response.content_part.done", "A text is whole."),
        EventKind::numbered::<Delta<'_>>(
            "response.function_call_arguments.delta",
            "A piece of the arguments of a call.",
        ),
        EventKind::numbered::<CallDone<'_>>(
            "response.function_call_arguments.done",
            "The arguments of a call, whole.",
        ),
        EventKind::numbered::<OfItem<'_>>("response.output_item.done", "An item is whole."),
    ]
}

impl Output {
    pub(super) fn new(answer: GenerationId) -> Self {
        Self { answer, items: Vec::new(), calls: BTreeMap::new(), bytes: 0 }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// About how much memory is held.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Every item, as the resource shows it.
    pub(super) fn shown(&self) -> Vec<impl Serialize + '_> {
        self.items.iter().map(|item| item.shown(true)).collect()
    }

    /// What a later request repeats to the model. Of an answer that broke off, no calls: they may not be whole.
    pub(super) fn said(&self, whole: bool) -> Vec<tokenwire_core::Message> {
        let kept = self.items.iter().filter(|item| whole || matches!(item.what, What::Text { .. }));
        let shown: Vec<_> = kept
            .map(|item| serde_json::to_value(item.shown(true)).expect("our own types have string keys"))
            .collect();
        items::messages(&shown)
    }

    /// One more piece of text.
    pub(super) fn say(&mut self, kind: Kind, piece: &str, watch: &mut impl Watch) {
        if piece.is_empty() {
            return;
        }
        self.bytes = self.bytes.saturating_add(piece.len());
        if !self.items.last().is_some_and(|item| item.takes(kind)) {
            self.close_text(Status::Completed, watch);
            let prefix = if kind == Kind::Answer { "msg" } else { "rs" };
            let index = self.add(prefix, What::Text { kind, text: String::new() }, watch);
            if let Some(item) = self.items.last() {
                watch.event("response.content_part.added", &item.in_part(index).part(kind.part("")));
            }
        }
        let index = self.items.len().saturating_sub(1);
        if let Some(Item { id, what: What::Text { text, .. }, .. }) = self.items.last_mut() {
            text.push_str(piece);
            let at = At { item_id: id, output_index: index, content_index: Some(0) };
            watch.event(kind.delta(), &Delta { at, delta: piece, logprobs: kind.logprobs() });
        }
    }

    /// One more piece of a call.
    pub(super) fn call(&mut self, piece: &ToolCallDelta, watch: &mut impl Watch) {
        let ToolCallDelta { index, id, name, arguments: more } = piece;
        self.bytes = self.bytes.saturating_add(more.len() + name.as_ref().map_or(0, String::len));
        let place = if let Some(place) = self.calls.get(index) {
            *place
        } else {
            self.close_text(Status::Completed, watch);
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
            let at = At { item_id: id, output_index: place, content_index: None };
            let delta = Delta { at, delta: more, logprobs: None };
            watch.event("response.function_call_arguments.delta", &delta);
        }
    }

    /// The model has ended. Items that are open are done now; cut short, if the answer is.
    pub(super) fn finish(&mut self, whole: bool, watch: &mut impl Watch) {
        let status = if whole { Status::Completed } else { Status::Incomplete };
        for (index, item) in self.items.iter_mut().enumerate() {
            item.close(index, status, watch);
        }
    }

    /// There will be no more. What is open stays cut short, and nobody is told that it is done.
    pub(super) fn break_off(&mut self) {
        self.finish(false, &mut ());
    }

    fn add(&mut self, prefix: &str, what: What, watch: &mut impl Watch) -> usize {
        self.bytes = self.bytes.saturating_add(ITEM);
        let index = self.items.len();
        let item = Item { id: id::output(prefix, self.answer, index), status: Status::InProgress, what };
        watch.event("response.output_item.added", &OfItem { output_index: index, item: item.shown(false) });
        self.items.push(item);
        index
    }

    fn close_text(&mut self, status: Status, watch: &mut impl Watch) {
        let index = self.items.len().saturating_sub(1);
        if let Some(item @ Item { what: What::Text { .. }, .. }) = self.items.last_mut() {
            item.close(index, status, watch);
        }
    }
}

impl Item {
    fn takes(&self, piece: Kind) -> bool {
        self.status == Status::InProgress && matches!(self.what, What::Text { kind, .. } if kind == piece)
    }

    fn in_part(&self, output_index: usize) -> At<'_> {
        At { item_id: &self.id, output_index, content_index: Some(0) }
    }

    fn close(&mut self, output_index: usize, status: Status, watch: &mut impl Watch) {
        if self.status != Status::InProgress {
            return;
        }
        self.status = status;
        match &self.what {
            What::Text { kind, text } => {
                let at = self.in_part(output_index);
                watch.event(kind.done(), &TextDone { at, text, logprobs: kind.logprobs() });
                watch.event("response.content_part.done", &at.part(kind.part(text)));
            }
            What::Call { call_id: _, name, arguments } => {
                let at = At { item_id: &self.id, output_index, content_index: None };
                watch.event("response.function_call_arguments.done", &CallDone { at, name, arguments });
            }
        }
        watch.event("response.output_item.done", &OfItem { output_index, item: self.shown(true) });
    }

    fn shown(&self, content: bool) -> Shown<'_> {
        let Self { id, status, what } = self;
        match what {
            What::Text { kind, text } => {
                let content = content.then(|| kind.part(text)).into_iter().collect();
                match kind {
                    Kind::Answer => Shown::Message { id, status: *status, role: "assistant", content },
                    Kind::Reasoning => Shown::Reasoning { id, status: *status, summary: [], content },
                }
            }
            What::Call { call_id, name, arguments } => {
                Shown::FunctionCall { id, status: *status, call_id, name, arguments }
            }
        }
    }
}

/// An item, as the events and the resource show it.
#[derive(Serialize, ToSchema)]
#[schema(as = ResponseOutputItem)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum Shown<'a> {
    /// Text of the answer.
    Message {
        id: &'a str,
        status: Status,
        #[schema(schema_with = is::assistant)]
        role: &'static str,
        content: Vec<Part<'a>>,
    },
    /// What the model thought before it answered, where it tells.
    Reasoning {
        id: &'a str,
        status: Status,
        #[schema(schema_with = schemas::nothing)]
        summary: [(); 0],
        content: Vec<Part<'a>>,
    },
    /// A call that the model wants made.
    FunctionCall { id: &'a str, status: Status, call_id: &'a str, name: &'a str, arguments: &'a str },
}

/// A part of an item.
#[derive(Serialize, ToSchema)]
#[schema(as = ResponseOutputPart)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum Part<'a> {
    OutputText {
        text: &'a str,
        #[schema(schema_with = schemas::nothing)]
        annotations: [(); 0],
        #[schema(schema_with = schemas::nothing)]
        logprobs: [(); 0],
    },
    ReasoningText {
        text: &'a str,
    },
}

/// Where in the output.
#[derive(Clone, Copy, Serialize, ToSchema)]
#[schema(as = ResponsePlace)]
struct At<'a> {
    item_id: &'a str,
    output_index: usize,
    /// Which part of the item, if it has parts.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    content_index: Option<usize>,
}

impl<'a> At<'a> {
    fn part(self, part: Part<'a>) -> OfPart<'a> {
        OfPart { at: self, part }
    }
}

/// What an event about an item says.
#[derive(Serialize, ToSchema)]
#[schema(as = ResponseItemEvent)]
struct OfItem<'a> {
    output_index: usize,
    item: Shown<'a>,
}

/// What an event about a part of an item says.
#[derive(Serialize, ToSchema)]
#[schema(as = ResponsePartEvent)]
struct OfPart<'a> {
    #[serde(flatten)]
    at: At<'a>,
    part: Part<'a>,
}

/// What an event about a new piece says.
#[derive(Serialize, ToSchema)]
#[schema(as = ResponseDeltaEvent)]
struct Delta<'a> {
    #[serde(flatten)]
    at: At<'a>,
    delta: &'a str,
    /// For text of the answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(schema_with = schemas::nothing, required = false)]
    logprobs: Option<[(); 0]>,
}

/// What an event says that ends a text.
#[derive(Serialize, ToSchema)]
#[schema(as = ResponseTextDoneEvent)]
struct TextDone<'a> {
    #[serde(flatten)]
    at: At<'a>,
    text: &'a str,
    /// For text of the answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(schema_with = schemas::nothing, required = false)]
    logprobs: Option<[(); 0]>,
}

/// What an event says that ends the arguments of a call.
#[derive(Serialize, ToSchema)]
#[schema(as = ResponseCallDoneEvent)]
struct CallDone<'a> {
    #[serde(flatten)]
    at: At<'a>,
    name: &'a str,
    arguments: &'a str,
}
