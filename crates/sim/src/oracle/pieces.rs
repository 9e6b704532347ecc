//! Who said every piece, and whether none is missing, repeated, or mixed with another's.

use std::collections::BTreeSet;

use tokenwire_core::{Attempt, Event, Seq, TextSoFar, TokenId, model::Continuation};

use super::{Case, Faults};
use crate::{
    plan::name_of,
    record::{Rule, Stream},
};

/// Reads a stream from its beginning.
struct Fold<'a> {
    stream: &'a Stream,
    faults: Faults,
    attempt: Option<Attempt>,
    /// The text that a reader shows.
    text: String,
    /// The text when the attempt began.
    kept: String,
    /// Which asking of the model the attempt's pieces are from, and how many there were.
    asking: Option<(usize, usize)>,
    askings: BTreeSet<usize>,
}

pub(super) fn faults(case: &Case<'_>, stored: &[(Seq, Event)], stream: &Stream, words: usize) -> Faults {
    let mut fold = Fold {
        stream,
        faults: Faults::new(),
        attempt: None,
        text: String::new(),
        kept: String::new(),
        asking: None,
        askings: BTreeSet::new(),
    };
    for (seq, event) in stored {
        match event {
            Event::Started { attempt, text, .. } => fold.started(*seq, *attempt, *text),
            Event::Delta { text, tokens } => fold.piece(*seq, text, tokens),
            Event::Finished { .. } => fold.finished(case, words),
            Event::Reasoning { .. } | Event::ToolCall(_) => fold.unasked(*seq),
            Event::Failed { .. } => {}
        }
    }
    fold.faults
}

impl Fold<'_> {
    fn fault(&mut self, rule: Rule, what: String) {
        self.faults.push((rule, what));
    }

    fn started(&mut self, seq: Seq, attempt: Attempt, text: TextSoFar) {
        if self.attempt.is_some_and(|before| before >= attempt) {
            self.fault(
                Rule::I4,
                format!("starts attempt {attempt} at {seq}, after another of that number or more"),
            );
        }
        self.attempt = Some(attempt);
        self.asking = None;
        if text == TextSoFar::Superseded {
            self.text.clear();
        }
        self.kept = self.text.clone();
    }

    fn piece(&mut self, seq: Seq, text: &str, tokens: &[TokenId]) {
        let &[TokenId(asking), TokenId(piece)] = tokens else {
            return self.fault(Rule::I7, format!("has a piece at {seq} that no model said"));
        };
        let (asking, piece) = (asking as usize, piece as usize);
        if self.attempt.is_none() {
            self.fault(Rule::I1, format!("has text at {seq}, before any attempt"));
        }
        let said = match self.asking {
            Some((current, said)) if current == asking => said,
            Some((current, _)) => {
                let what = format!("mixes what askings {current} and {asking} said at {seq}");
                return self.fault(Rule::I3, what);
            }
            None => {
                self.begun(seq, asking);
                0
            }
        };
        if piece != said {
            self.fault(
                Rule::I1,
                format!("has piece {piece} of asking {asking} at {seq}, and not piece {said}"),
            );
        }
        self.asking = Some((asking, piece + 1));
        self.text.push_str(text);
    }

    fn unasked(&mut self, seq: Seq) {
        self.fault(Rule::I7, format!("has a piece at {seq} that no model said"));
    }

    /// The first piece of an attempt.
    fn begun(&mut self, seq: Seq, asking: usize) {
        if !self.askings.insert(asking) {
            self.fault(Rule::I3, format!("comes back to asking {asking} at {seq}"));
        }
        let told = self.stream.asked.get(asking).map(|asked| asked.so_far.as_str());
        if told != Some(self.kept.as_str()) {
            let what = format!("goes on from {:?} at {seq}, where the model was told {told:?}", self.kept);
            self.fault(Rule::Continuation, what);
        }
    }

    /// The whole answer, to its exact end.
    fn finished(&mut self, case: &Case<'_>, words: usize) {
        let model = &case.wanted.request.model;
        if *model == name_of(Continuation::Exact) {
            if self.text != case.undisturbed {
                let what = format!("says {:?}, undisturbed it is {:?}", self.text, case.undisturbed);
                self.fault(Rule::Continuation, what);
            }
            return;
        }
        let said = self.text.split_whitespace().count();
        if said != words {
            self.fault(Rule::Continuation, format!("ends after {said} words of {words}"));
        }
        // No model of this kind goes on from another's text: what is shown is of one asking.
        if *model == name_of(Continuation::Unsupported) && !self.kept.is_empty() {
            self.fault(Rule::Continuation, "goes on from a text that its model cannot go on from".into());
        }
    }
}
