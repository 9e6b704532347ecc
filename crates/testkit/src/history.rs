//! Records what each reader of a stream saw, and compares it with the log.
//!
//! A reader has one cursor and may use several connections. The test decides what a reader sees: events of the log, or the
//! text of frames on the wire.

use std::{
    collections::BTreeMap,
    fmt::Debug,
    sync::{Mutex, MutexGuard},
};

use tokenwire_core::{Entry, Seq};

/// The record of a test: what each reader saw, in order. Shared by reference.
#[derive(Debug)]
pub struct History<T> {
    readers: Mutex<BTreeMap<String, Reader<T>>>,
}

#[derive(Debug)]
struct Reader<T> {
    joined_after: Seq,
    seen: Vec<(Seq, T)>,
}

impl<T> Default for History<T> {
    fn default() -> Self {
        Self { readers: Mutex::default() }
    }
}

impl<T: Clone + Debug + PartialEq> History<T> {
    /// A reader begins at a cursor. Not needed for one that begins at the start.
    pub fn joined(&self, reader: &str, after: Seq) {
        self.lock().insert(reader.to_owned(), Reader { joined_after: after, seen: Vec::new() });
    }

    /// A reader sees one entry.
    pub fn saw(&self, reader: &str, seq: Seq, what: T) {
        let mut readers = self.lock();
        let reader = readers
            .entry(reader.to_owned())
            .or_insert_with(|| Reader { joined_after: Seq::START, seen: Vec::new() });
        reader.seen.push((seq, what));
    }

    /// The last entry that a reader saw: where it resumes.
    pub fn cursor(&self, reader: &str) -> Seq {
        self.lock()
            .get(reader)
            .map_or(Seq::START, |reader| reader.seen.last().map_or(reader.joined_after, |(seq, _)| *seq))
    }

    /// Every way in which a reader's view differs from the log, as a sentence. Empty when each reader saw every entry
    /// after its first cursor, once and in order, to the end.
    pub fn faults(&self, log: &[(Seq, T)]) -> Vec<String> {
        let readers = self.lock();
        readers
            .iter()
            .filter_map(|(name, reader)| Some(format!("reader {name} {}", reader.fault(log)?)))
            .collect()
    }

    /// Fails the test unless every reader, at least one, saw what the log holds.
    ///
    /// # Panics
    /// With every fault.
    #[track_caller]
    pub fn assert_equals(&self, log: &[(Seq, T)]) {
        assert!(!self.lock().is_empty(), "no reader saw anything");
        let faults = self.faults(log);
        assert!(faults.is_empty(), "{}", faults.join("\n"));
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Reader<T>>> {
        self.readers.lock().expect("nothing panics while it holds the lock")
    }
}

impl<T: Debug + PartialEq> Reader<T> {
    fn fault(&self, log: &[(Seq, T)]) -> Option<String> {
        let mut cursor = self.joined_after;
        for (seq, what) in &self.seen {
            let expected = log.iter().find(|(seq, _)| *seq > cursor);
            match expected {
                _ if *seq <= cursor => return Some(format!("saw {seq} again, or late, after {cursor}")),
                None => return Some(format!("saw {seq} after the end: {what:?}")),
                Some((next, _)) if seq != next => {
                    return Some(format!("saw {seq} after {cursor}, and not {next}"));
                }
                Some((_, truth)) if what != truth => {
                    return Some(format!("saw {what:?} at {seq}, where the log has {truth:?}"));
                }
                Some(_) => cursor = *seq,
            }
        }
        let end = log.last().map_or(Seq::START, |(seq, _)| *seq);
        (cursor < end).then(|| format!("saw nothing after {cursor}; the end is {end}"))
    }
}

/// Fails the test unless the entries are a whole stream: 1..=n without a gap, exactly one terminal, the last (I1).
///
/// # Panics
/// With the first fault.
#[track_caller]
pub fn assert_whole(entries: &[Entry]) {
    for (index, entry) in entries.iter().enumerate() {
        assert_eq!(entry.seq, Seq::START.plus(index + 1), "a gap, or an entry twice");
        let is_last = index + 1 == entries.len();
        assert_eq!(entry.event.is_terminal(), is_last, "entry {}: {:?}", entry.seq, entry.event);
    }
    assert!(!entries.is_empty(), "a stream without its end");
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: [(Seq, &str); 4] =
        [(Seq::new(1), "one"), (Seq::new(2), "two"), (Seq::new(3), "three"), (Seq::new(4), "end")];

    fn history(seen: &[(u64, &'static str)]) -> History<&'static str> {
        let history = History::default();
        for &(seq, what) in seen {
            history.saw("A", Seq::new(seq), what);
        }
        history
    }

    #[test]
    fn a_reader_who_saw_the_log_has_no_fault_wherever_it_joined() {
        let history = history(&[(1, "one"), (2, "two"), (3, "three"), (4, "end")]);
        history.joined("B", Seq::new(3));
        assert_eq!(history.cursor("B"), Seq::new(3));
        history.saw("B", Seq::new(4), "end");
        history.joined("C", Seq::new(4));
        history.assert_equals(&LOG);
    }

    #[test]
    fn every_fault_of_a_reader_is_found() {
        for (seen, fault) in [
            (&[(1, "one"), (3, "three")][..], "reader A saw 3 after 1, and not 2"),
            (&[(1, "one"), (1, "one")], "reader A saw 1 again, or late, after 1"),
            (&[(1, "one"), (2, "too")], "reader A saw \"too\" at 2, where the log has \"two\""),
            (&[(1, "one"), (2, "two")], "reader A saw nothing after 2; the end is 4"),
            (
                &[(1, "one"), (2, "two"), (3, "three"), (4, "end"), (5, "more")],
                "reader A saw 5 after the end: \"more\"",
            ),
        ] {
            assert_eq!(history(seen).faults(&LOG), [fault]);
        }
    }

    #[test]
    #[should_panic(expected = "no reader saw anything")]
    fn a_test_without_readers_fails() {
        history(&[]).assert_equals(&LOG);
    }
}
