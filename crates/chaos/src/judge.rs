//! Checks what readers saw against the promises of `docs/http.md`.
//!
//! After all faults, one more reader reads each generation. What it sees must be whole (I1), and must be the text of the
//! model without faults. Every other reader must have seen the same (`testkit::history`).

use std::collections::BTreeSet;

use futures::StreamExt;
use model::{Simulated, simulated};
use serde_json::Value;
use testkit::{client::Frame, history::History};
use tokenwire_core::{
    Conversation, GenerateRequest, Model, ModelName, Seq, model::Output, token_log::Prefix,
};

use crate::{
    generation::Generation,
    plan::{Asker, Asks, WORDS},
    reader::{Ending, Record},
};

/// Counts of one reader, or of all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) pieces: usize,
    pub(crate) lost: usize,
    pub(crate) repeated: usize,
    pub(crate) reordered: usize,
}

/// How a generation ended, and what is wrong with it.
#[derive(Debug)]
pub(crate) struct GenerationReport {
    pub(crate) ending: String,
    /// It broke I11: it ended neither as done, nor by a cancel that was sent, nor by a rejection that its prompt asks for.
    pub(crate) is_foreign: bool,
    pub(crate) attempts: usize,
    pub(crate) faults: Vec<String>,
}

/// Compares the ids that a reader saw with those it should see: all ids after its first cursor, once, in order.
pub(crate) fn count(joined_after: u64, ids: impl IntoIterator<Item = u64>) -> Counts {
    let (mut counts, mut seen, mut top) = (Counts::default(), BTreeSet::new(), joined_after);
    for id in ids {
        counts.pieces += 1;
        if id <= joined_after || !seen.insert(id) {
            counts.repeated += 1;
        } else if id < top {
            counts.reordered += 1;
        }
        top = top.max(id);
    }
    counts.lost = usize::try_from(top - joined_after).unwrap_or(usize::MAX).saturating_sub(seen.len());
    counts
}

/// The text of the simulated model without faults.
pub(crate) async fn undisturbed(generation: &Generation) -> String {
    let config = simulated::Config {
        delay: std::time::Duration::ZERO,
        words: Some(WORDS),
        ..simulated::Config::default()
    };
    let request = GenerateRequest::new(
        ModelName::new("simulated").expect("a plain name"),
        Conversation::of(generation.prompt.query.clone()).expect("a short question"),
    );
    let nothing = Prefix::default();
    let outputs = Simulated::new(config).generate(generation.id, &request, &nothing).await;
    let outputs = outputs.expect("a prefix of nothing is no trouble");
    outputs
        .filter_map(async |output| match output {
            Ok(Output::Text { text, .. }) => Some(text),
            _ => None,
        })
        .collect()
        .await
}

/// Judges a generation by what an undisturbed reader saw of it at the end, and by what the others saw before.
pub(crate) fn judge(
    generation: &Generation,
    log: &Record,
    others: &[Record],
    undisturbed: &str,
) -> GenerationReport {
    let mut faults = Vec::new();
    let counts = count(log.joined_after, ids(log));
    if counts != (Counts { pieces: log.seen.len(), ..Counts::default() }) {
        faults.push(format!("the log is not 1..=n: {counts:?}"));
    }
    let attempts = attempts(log);
    if log.seen.iter().any(|frame| frame.event == "rewind") {
        faults.push("a model that continues exactly was started over".into());
    }
    let last = log.seen.last();
    let Ended { ending, is_foreign, wrong } = match last {
        Some(last) => ending(generation, last, attempts),
        None => Ended { ending: "nothing".into(), is_foreign: false, wrong: None },
    };
    faults.extend(wrong);
    let text: String =
        log.seen.iter().filter(|frame| frame.event == "message").map(|frame| frame.data.as_str()).collect();
    let is_right = if ending == "done" { text == undisturbed } else { undisturbed.starts_with(&text) };
    if !is_right {
        let same = text.bytes().zip(undisturbed.bytes()).take_while(|(said, meant)| said == meant).count();
        faults.push(format!(
            "the text is not the model's: {} bytes, {} undisturbed, equal up to byte {same}",
            text.len(),
            undisturbed.len()
        ));
    }
    faults.extend(others.iter().flat_map(|reader| disagreements(log, reader)));
    GenerationReport { ending, is_foreign, attempts, faults }
}

/// How many attempts there were, up to the last one that had something to say: an attempt may end before that.
fn attempts(log: &Record) -> usize {
    let started = log.seen.iter().filter(|frame| frame.event == "started");
    let number = |frame: &Frame| {
        let data: Value = serde_json::from_str(&frame.data).ok()?;
        usize::try_from(data.get("attempt")?.as_u64()?).ok()
    };
    started.filter_map(number).max().unwrap_or_default()
}

/// What the last event says.
struct Ended {
    ending: String,
    is_foreign: bool,
    wrong: Option<String>,
}

/// What the last event says, and what is wrong with that.
fn ending(generation: &Generation, last: &Frame, attempts: usize) -> Ended {
    let data: Value = serde_json::from_str(&last.data).unwrap_or_default();
    let field = |name: &str| data.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    match last.event.as_str() {
        "done" => {
            let said = data.pointer("/usage/output_tokens").and_then(Value::as_u64);
            // An upstream counts what its last call said.
            let is_right = match generation.prompt.asks {
                Asks::Upstream if attempts > 1 => said.is_some_and(|said| said <= WORDS as u64),
                Asks::Simulated | Asks::Upstream => said == Some(WORDS as u64),
                Asks::Refused => false,
            };
            let wrong = (!is_right).then(|| format!("done after {said:?} words, and not {WORDS}"));
            Ended { ending: "done".into(), is_foreign: false, wrong }
        }
        "cancelled" => {
            let cause = field("cause");
            let is_right = match cause.as_str() {
                "requested" => generation.is_stopped(),
                "abandoned" => matches!(generation.prompt.asker, Asker::Leaves { .. }),
                _ => false,
            };
            let ending = format!("cancelled, {cause}");
            let wrong = (!is_right).then(|| format!("{ending}, though no client asked for it"));
            Ended { ending, is_foreign: !is_right, wrong }
        }
        "message" | "started" => Ended { ending: "unfinished".into(), is_foreign: false, wrong: None },
        other => {
            let kind = field("type");
            let ending = format!("{other}, {kind}");
            let is_right = generation.prompt.asks == Asks::Refused && kind == "rejected";
            let wrong = (!is_right).then(|| format!("{ending}: {}", field("message")));
            Ended { ending, is_foreign: !is_right, wrong }
        }
    }
}

/// Where a reader differs from the log. One that left, or hangs, must have seen the beginning of what it came for.
fn disagreements(log: &Record, reader: &Record) -> Vec<String> {
    let history = History::default();
    history.joined(&reader.name, Seq::new(reader.joined_after));
    for frame in &reader.seen {
        history.saw(&reader.name, Seq::new(frame.id.unwrap_or_default()), frame.clone());
    }
    let cursor = history.cursor(&reader.name).get();
    let to_the_end = reader.ending == Ending::Told;
    let truth: Vec<_> = log
        .seen
        .iter()
        .filter_map(|frame| Some((Seq::new(frame.id?), frame.clone())))
        .filter(|(seq, _)| to_the_end || seq.get() <= cursor)
        .collect();
    history.faults(&truth)
}

pub(crate) fn ids(record: &Record) -> impl Iterator<Item = u64> {
    record.seen.iter().filter_map(|frame| frame.id)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::plan;

    fn frame(id: u64, event: &str, data: &str) -> Frame {
        Frame { id: Some(id), event: event.into(), data: data.into() }
    }

    fn record(seen: Vec<Frame>) -> Record {
        Record {
            name: "A".into(),
            joined_after: 0,
            seen,
            connections: 1,
            longest_stall: Duration::ZERO,
            longest_calm_stall: Duration::ZERO,
            ending: Ending::Told,
            trail: Vec::new(),
        }
    }

    fn whole() -> Vec<Frame> {
        vec![
            frame(1, "started", "{\"attempt\":1}"),
            frame(2, "message", "one"),
            frame(3, "message", " two"),
            frame(4, "done", "{\"usage\":{\"output_tokens\":250}}"),
        ]
    }

    fn generation(asks: Asks) -> Generation {
        Generation::new(plan::Prompt {
            at: Duration::ZERO,
            query: "a question".into(),
            asks,
            repeats: 0,
            asker: Asker::Stays,
            others: Vec::new(),
            seed: 0,
        })
    }

    fn faults(log: Vec<Frame>, reader: Vec<Frame>) -> String {
        judge(&generation(Asks::Simulated), &record(log), &[record(reader)], "one two").faults.join("; ")
    }

    /// A log whose last entry is this.
    fn ended(event: &str, data: &str) -> Vec<Frame> {
        let mut frames = whole();
        frames[3] = frame(4, event, data);
        frames
    }

    #[test]
    fn everything_that_a_reader_misses_is_counted() {
        let counts = |pieces, lost, repeated, reordered| Counts { pieces, lost, repeated, reordered };
        assert_eq!(count(0, [1, 2, 3]), counts(3, 0, 0, 0));
        assert_eq!(count(2, [3, 4]), counts(2, 0, 0, 0));
        assert_eq!(count(0, [1, 3]), counts(2, 1, 0, 0));
        assert_eq!(count(0, [1, 2, 2]), counts(3, 0, 1, 0));
        assert_eq!(count(2, [2, 3]), counts(2, 0, 1, 0));
        assert_eq!(count(0, [1, 3, 2]), counts(3, 0, 0, 1));
    }

    #[test]
    fn a_whole_answer_is_right_and_every_fault_is_found() {
        assert_eq!(faults(whole(), whole()), "");
        let without = |index| {
            let mut frames = whole();
            frames.remove(index);
            frames
        };
        assert!(faults(without(1), whole()).contains("not 1..=n"));
        assert!(faults(whole(), without(1)).contains("saw 3 after 1, and not 2"));
        assert!(faults(whole(), without(3)).contains("saw nothing after 3; the end is 4"));
        let mut other = whole();
        other[1].data = "won".into();
        assert!(faults(other.clone(), other.clone()).contains("the text is not the model's"));
        assert!(faults(whole(), other).contains("where the log has"));
        let mut rewound = whole();
        rewound[0].event = "rewind".into();
        assert!(faults(rewound.clone(), rewound).contains("started over"));
    }

    #[test]
    fn an_answer_must_end_as_its_clients_want() {
        let ended = |event: &str, data: &str| faults(ended(event, data), ended(event, data));
        assert!(ended("error", "{\"type\":\"exhausted\"}").contains("error, exhausted"));
        assert!(ended("cancelled", "{\"cause\":\"requested\"}").contains("no client asked for it"));
        assert!(ended("cancelled", "{\"cause\":\"abandoned\"}").contains("no client asked for it"));
        assert!(ended("done", "{\"usage\":{\"output_tokens\":249}}").contains("done after Some(249) words"));
    }

    #[test]
    fn an_ending_that_is_not_of_the_generations_own_is_counted() {
        let is_foreign = |asks, event: &str, data: &str| {
            let log = record(ended(event, data));
            judge(&generation(asks), &log, &[], "one two").is_foreign
        };
        for event in ["error", "timeout", "expired"] {
            assert!(is_foreign(Asks::Simulated, event, "{\"type\":\"exhausted\"}"), "{event}");
        }
        assert!(is_foreign(Asks::Upstream, "error", "{\"type\":\"rejected\"}"));
        assert!(!is_foreign(Asks::Refused, "error", "{\"type\":\"rejected\"}"));
        assert!(is_foreign(Asks::Simulated, "cancelled", "{\"cause\":\"abandoned\"}"));
        assert!(!is_foreign(Asks::Simulated, "done", "{\"usage\":{\"output_tokens\":250}}"));
        assert!(!is_foreign(Asks::Simulated, "message", "one"));
    }

    #[test]
    fn an_upstream_counts_the_words_of_its_last_call() {
        let mut frames = ended("done", "{\"usage\":{\"output_tokens\":249}}");
        let wrong = |frames: &[Frame]| {
            let log = record(frames.to_vec());
            judge(&generation(Asks::Upstream), &log, &[], "one two").faults
        };
        assert_eq!(wrong(&frames).len(), 1);
        frames[2] = frame(3, "started", "{\"attempt\":2}");
        frames[1].data = "one two".into();
        assert_eq!(wrong(&frames), Vec::<String>::new());
    }
}
