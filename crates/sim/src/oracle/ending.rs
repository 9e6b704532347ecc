//! Whether a generation ended as it should have: by itself unless there was a reason, and at once when there was one.

use std::time::Duration;

use tokenwire_core::{CancelCause, Event, Failure, Seq};

use super::Faults;
use crate::record::{Rule, Stream};

/// What a model may still say after the stop was acknowledged: the piece that is on its tongue.
const LAST_WORD: Duration = Duration::from_secs(1);

/// How many appends with text may follow the one that finds the audience gone: what was said while that was on its way.
const LAST_APPENDS: usize = 2;

pub(super) fn faults(stored: &[(Seq, Event)], stream: &Stream, attempts: u32) -> Faults {
    let mut faults = Faults::new();
    faults.extend(spoken_after_stop(stream));
    faults.extend(written_for_nobody(stream));
    let Some((_, Event::Failed { failure })) = stored.last() else { return faults };
    let what = format!("ended in {failure:?}");
    match failure {
        Failure::Cancelled { cause: CancelCause::Requested } if stream.cancelled.is_none() => {
            faults.push((Rule::Stop, what));
        }
        Failure::Cancelled { cause: CancelCause::Abandoned } if stream.found_alone.is_none() => {
            faults.push((Rule::Audience, what));
        }
        Failure::Exhausted { .. } if stream.opens.len() < attempts as usize => {
            faults.push((Rule::I4, format!("{what} after {} openings", stream.opens.len())));
        }
        // Nothing here takes as long as it may, and no queue loses a job.
        Failure::TimedOut | Failure::Lost | Failure::Rejected { .. } => faults.push((Rule::I10, what)),
        Failure::Expired if stream.accepted => {
            faults.push((Rule::I10, what));
        }
        Failure::Expired | Failure::Exhausted { .. } | Failure::Cancelled { .. } => {}
    }
    faults
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
