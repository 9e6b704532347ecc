//! Whether a generation ended as it should have: by itself unless there was a reason of its own (I11), and at once when
//! there was one.

use std::{collections::BTreeSet, time::Duration};

use tokenwire_core::{Attempt, CancelCause, Event, Failure, Seq, TextSoFar};

use super::{Case, Faults};
use crate::{
    plan::{Nature, Plan},
    record::{Death, Facts, Opened, Rule, Stream},
};

/// How many of its attempts a suspect makes alone in its process, the last.
const ALONE: usize = 2;

/// What a model may still say after the stop was acknowledged: the piece that is on its tongue.
const LAST_WORD: Duration = Duration::from_secs(1);

/// How many appends with text may follow the one that finds the audience gone: what was said while that was on its way.
const LAST_APPENDS: usize = 2;

/// How long after its own deadlines a reader may end a stream that has no worker.
const GIVEN_UP_AFTER: Duration = Duration::from_secs(60);

pub(super) struct Ending<'a> {
    pub(super) case: &'a Case<'a>,
    pub(super) stored: &'a [(Seq, Event)],
    pub(super) stream: &'a Stream,
    pub(super) facts: &'a Facts,
    pub(super) plan: &'a Plan,
    /// Whether a call to the log may take longer than an owner may be silent.
    pub(super) log_is_slow: bool,
}

impl Ending<'_> {
    pub(super) fn faults(&self) -> Faults {
        let stream = self.stream;
        let mut faults = Faults::new();
        faults.extend(spoken_after_stop(stream));
        faults.extend(written_for_nobody(stream));
        let failure = match self.stored.last() {
            Some((_, Event::Failed { failure })) => failure,
            Some((_, Event::Finished { .. })) if self.case.wanted.nature != Nature::Ordinary => {
                faults.push((Rule::I11, "finished, which its model does not do".into()));
                return faults;
            }
            _ => return faults,
        };
        let fault = match failure {
            Failure::Cancelled { cause: CancelCause::Requested } => {
                stream.cancelled.is_none().then_some((Rule::Stop, String::new()))
            }
            Failure::Cancelled { cause: CancelCause::Abandoned } => {
                stream.found_alone.is_none().then_some((Rule::Audience, String::new()))
            }
            Failure::Rejected { .. } => {
                let is_unwelcome = self.case.wanted.nature == Nature::Unwelcome;
                (!is_unwelcome).then(|| (Rule::I11, ", and its model rejects no such prompt".into()))
            }
            Failure::Exhausted { .. } => self.exhausted(),
            Failure::Expired => {
                let is_late = self.is_past(Some(stream.created), self.plan.queue_time);
                let what = || format!(" after {:?}, and had {:?}", stream.sealed, self.plan.queue_time);
                (!is_late || self.has_begun()).then(|| (Rule::I11, what()))
            }
            Failure::TimedOut => {
                let is_late = self.is_past(stream.started, self.plan.run_time);
                let what = || format!(" at {:?}, and began at {:?}", stream.sealed, stream.started);
                (!is_late).then(|| (Rule::I11, what()))
            }
            // What was damaged is not judged here.
            Failure::Lost => {
                let whole_time = self.plan.queue_time + self.plan.run_time + GIVEN_UP_AFTER;
                let is_late = self.is_past(Some(stream.created), whole_time);
                (!is_late).then(|| (Rule::I11, ", and nothing of it was lost".into()))
            }
        };
        faults.extend(fault.map(|(rule, why)| (rule, format!("ended in {failure:?}{why}"))));
        faults
    }

    /// Whether it ended so long after that, as far as clocks agree.
    fn is_past(&self, since: Option<Duration>, time: Duration) -> bool {
        let sealed = self.stream.sealed.unwrap_or_default();
        // A millisecond: clocks round down.
        since.is_some_and(|since| sealed + self.plan.skew() + Duration::from_millis(1) >= since + time)
    }

    fn has_begun(&self) -> bool {
        self.stored.iter().any(|(_, event)| matches!(event, Event::Started { .. }))
    }

    /// So many attempts in a row asked the model and died without getting any further.
    fn exhausted(&self) -> Option<(Rule, String)> {
        let progressed = self.progressed();
        let (mut in_a_row, mut by_neighbours) = (0, 0);
        for (attempt, opened) in &self.stream.attempts {
            if progressed.contains(attempt) {
                (in_a_row, by_neighbours) = (0, 0);
            } else if let Some(cause) = self.died(opened) {
                match cause {
                    Cause::Own => in_a_row += 1,
                    Cause::Neighbour => by_neighbours += 1,
                }
            }
        }
        // All but its last two attempts are made beside others.
        let beside_others =
            if self.has_poisonous_neighbours() { self.plan.attempts as usize - ALONE } else { 0 };
        let counted = in_a_row + by_neighbours.min(beside_others);
        let what = format!(
            " after {in_a_row} attempts in a row that died, and {by_neighbours} that died of other prompts"
        );
        (counted < self.plan.attempts as usize).then_some((Rule::I11, what))
    }

    fn has_poisonous_neighbours(&self) -> bool {
        let mut others = self.plan.generations.iter().filter(|other| other.id != self.case.wanted.id);
        others.any(|other| matches!(other.nature, Nature::Poison { .. }))
    }

    /// The attempts in which the text that is kept became longer than it ever was.
    fn progressed(&self) -> BTreeSet<Attempt> {
        let (mut progressed, mut current) = (BTreeSet::new(), None);
        let (mut kept, mut best) = (0, 0);
        for (_, event) in self.stored {
            if let Event::Started { attempt, text, .. } = event {
                current = Some(*attempt);
                if *text == TextSoFar::Superseded {
                    kept = 0;
                }
            }
            kept += event.content_bytes();
            if kept > best {
                best = kept;
                progressed.extend(current);
            }
        }
        progressed
    }

    /// Whether an attempt asked its model and died of that, or while it did.
    fn died(&self, opened: &Opened) -> Option<Cause> {
        if !opened.noted || opened.is_free() {
            return None;
        }
        if opened.broke {
            return Some(Cause::Own);
        }
        let process = self.facts.workers.get(&opened.worker);
        let stood_still = process.is_some_and(|process| process.froze || process.gives_back);
        let death = process.and_then(|process| process.death);
        // Not the death of a process in which another attempt had taken its place.
        let is_its_own = |at: &Duration| opened.deposed.is_none_or(|deposed| *at <= deposed);
        match death.filter(|(at, _)| is_its_own(at)).map(|(_, death)| death) {
            // A death is one of the process in which it was, and not of one that it had left.
            Some(Death::Poisoned(of)) if of != self.case.wanted.id && !opened.released => {
                Some(Cause::Neighbour)
            }
            Some(_) => Some(Cause::Own),
            // The log was slow: it could not say any more that it ends.
            None if opened.refused => (stood_still || self.log_is_slow).then_some(Cause::Own),
            None => (opened.asked || stood_still || !self.plan.never_fails_the_log()).then_some(Cause::Own),
        }
    }
}

#[derive(Clone, Copy, Debug)]
enum Cause {
    Own,
    /// It was in a process that another prompt has killed.
    Neighbour,
}

fn spoken_after_stop(stream: &Stream) -> Option<(Rule, String)> {
    let until = stream.cancelled? + LAST_WORD;
    let spoken = stream.asked.iter().flat_map(|asked| std::iter::once(&asked.at).chain(&asked.spoken));
    let late = spoken.into_iter().find(|at| **at > until)?;
    Some((Rule::Stop, format!("was stopped before {until:?}, and its model was asked or spoke at {late:?}")))
}

fn written_for_nobody(stream: &Stream) -> Option<(Rule, String)> {
    let found = stream.found_alone?;
    let after = stream.appends.iter().filter(|(at, has_text)| *has_text && *at > found).count();
    let what = format!("was found without readers at {found:?}, and text came {after} times after that");
    (after > LAST_APPENDS).then_some((Rule::Audience, what))
}
