//! Finds what is wrong with each generation: compares its stream with the ledger, its readers with its stream, and its end
//! with its request.

mod ending;
mod pieces;

use testkit::history::History;
use tokenwire_core::{Event, Seq, token_log::OnDisconnect};

use crate::{
    plan::{Manner, Plan, Reading, Wanted},
    record::{Facts, Record, Rule, Stream},
};

/// What the oracle knows of a run as a whole.
pub(crate) struct Oracle<'a> {
    pub(crate) record: &'a Record,
    pub(crate) plan: &'a Plan,
    pub(crate) log_is_slow: bool,
}

/// One generation, as it was left.
pub(crate) struct Case<'a> {
    pub(crate) wanted: &'a Wanted,
    /// None: the log has no such stream.
    pub(crate) stored: Option<Vec<(Seq, Event)>>,
    /// What an undisturbed run of the exact model would have said.
    pub(crate) undisturbed: String,
    pub(crate) readers: Vec<(&'a Reading, &'a History<Event>)>,
}

type Faults = Vec<(Rule, String)>;

impl Oracle<'_> {
    pub(crate) fn judge(&self, case: &Case<'_>) {
        let faults = {
            let facts = self.record.facts();
            match facts.streams.get(&case.wanted.id) {
                Some(stream) => self.faults(case, stream, &facts),
                None => Faults::new(),
            }
        };
        for (rule, what) in faults {
            self.record.violation_of(case.wanted.id, rule, what);
        }
    }

    fn faults(&self, case: &Case<'_>, stream: &Stream, facts: &Facts) -> Faults {
        if stream.damaged.is_some() {
            // All readers have left, and the log may have forgotten it.
            return readers(case, &stream.entries, |_| Manner::Leaves);
        }
        let Some(stored) = &case.stored else {
            let lost = (Rule::I9, "was accepted, and there is no such stream".to_owned());
            return stream.accepted.then_some(lost).into_iter().collect();
        };
        let mut faults = Faults::new();
        faults.extend(against_ledger(stored, &stream.entries));
        faults.extend(is_whole(case, stored, stream));
        faults.extend(readers(case, stored, |reader| reader.manner));
        faults.extend(pieces::faults(case, stored, stream, self.plan.words));
        faults.extend(
            ending::Ending { case, stored, stream, facts, plan: self.plan, log_is_slow: self.log_is_slow }
                .faults(),
        );
        faults
    }
}

/// I2: what the log acknowledged is what it has.
fn against_ledger(stored: &[(Seq, Event)], acknowledged: &[(Seq, Event)]) -> Option<(Rule, String)> {
    let end = stored.len().max(acknowledged.len());
    let at = (0..end).find(|&at| stored.get(at) != acknowledged.get(at))?;
    let what = format!("has {:?}, and acknowledged {:?}", stored.get(at), acknowledged.get(at));
    Some((Rule::I2, what))
}

/// I1, and I10 for what was accepted.
fn is_whole(case: &Case<'_>, stored: &[(Seq, Event)], stream: &Stream) -> Faults {
    let mut faults = Faults::new();
    for (index, (seq, event)) in stored.iter().enumerate() {
        if *seq != Seq::START.plus(index + 1) {
            faults.push((Rule::I1, format!("has {seq} at place {}", index + 1)));
        }
        if event.is_terminal() && index + 1 != stored.len() {
            faults.push((Rule::I1, format!("goes on after its end at {seq}")));
        }
    }
    let has_ended = stored.last().is_some_and(|(_, event)| event.is_terminal());
    // A generation whose job was lost after its last reader left is not looked at: it would only be cancelled.
    let is_detached = stream.on_disconnect == Some(OnDisconnect::Detached);
    let is_read = case.readers.iter().any(|(reader, _)| reader.manner == Manner::Stays);
    let is_forgotten = stream.jobs_lost > 0 && !stream.has_jobs_left() && !is_detached && !is_read;
    if !has_ended && stream.accepted && !is_forgotten {
        faults.push((Rule::I10, "was accepted, and has no end".into()));
    }
    faults
}

/// I7: a reader that stays sees everything after its first cursor. One that leaves sees everything up to its last cursor.
fn readers(case: &Case<'_>, stored: &[(Seq, Event)], manner: impl Fn(&Reading) -> Manner) -> Faults {
    let faults = case.readers.iter().flat_map(|(reader, history)| match manner(reader) {
        Manner::Stays => history.faults(stored),
        Manner::Leaves => {
            let cursor = history.cursor(&reader.name);
            let until: Vec<_> = stored.iter().filter(|(seq, _)| *seq <= cursor).cloned().collect();
            history.faults(&until)
        }
    });
    faults.map(|fault| (Rule::I7, fault)).collect()
}
