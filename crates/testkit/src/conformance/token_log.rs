//! The promises of [`TokenLog`].

mod attempting;
mod audience;
mod cancelling;
mod creating;
mod dropping;
mod fencing;
mod following;
mod keeping;
mod reading;
mod remembering;
mod removing;
mod writing;

use std::{any::Any, fmt, num::NonZeroUsize, sync::Arc, time::Duration};

use bytes::Bytes;
use futures::future::BoxFuture;
use tokenwire_core::{
    Attempt, Caller, CallerName, Clock, Entry, Epoch, Event, Failure, Fingerprint, FinishReason,
    GenerationId, LogError, LogWriter, Seq, SystemClock, TextSoFar, Timestamp, TokenId, TokenLog, Usage,
    token_log::{Created, OnDisconnect, Page, StreamSpec},
};

pub use self::{
    attempting::*, audience::*, cancelling::*, creating::*, dropping::*, fencing::*, following::*,
    keeping::*, reading::*, remembering::*, removing::*, writing::*,
};

/// Makes a test of every promise of [`TokenLog`]: `token_log_conformance!(real redis);` calls `redis()` for the fixture of
/// each. See [`crate::conformance`] for `real` and `paused`.
#[macro_export]
macro_rules! token_log_conformance {
    ($time:ident $fixture:ident) => {
        $crate::__cases! { $time $fixture in $crate::conformance::token_log {
            creating_twice_is_creating_once
            of_many_that_create_at_once_one_is_new
            an_unknown_stream_is_not_found
            a_removed_stream_can_be_created_again
            the_phase_follows_the_stream
            a_working_log_is_ready
            entries_are_numbered_from_one_without_a_gap
            an_empty_batch_appends_nothing
            what_is_submitted_is_there_once_it_is_settled
            nothing_follows_a_seal
            text_comes_back_exactly
            every_event_comes_back_exactly
            two_streams_never_see_each_other
            attempts_count_up
            the_newest_writer_fences_the_older_ones
            an_owner_is_heard_of_until_it_falls_silent
            one_of_many_workers_takes_a_stream_over
            writers_that_race_never_interleave
            a_new_attempt_starts_with_what_readers_saw
            a_dropped_append_is_there_wholly_or_not_at_all
            a_batch_that_is_appended_again_is_there_once
            equal_batches_in_a_row_are_all_there
            a_seal_after_a_dropped_append_is_the_end
            a_submitted_batch_whose_writer_is_gone_is_there_wholly_or_not_at_all
            a_dropped_opening_does_no_harm
            reading_from_every_cursor_gives_the_rest
            a_cursor_beyond_the_end_finds_nothing
            a_cancellation_reaches_the_writer_that_is_open
            a_cancellation_waits_for_a_writer
            cancelling_twice_is_cancelling_once
            cancelling_a_sealed_stream_changes_nothing
            only_an_absent_audience_cancels
            an_append_wakes_listeners
            readers_who_join_at_any_moment_see_the_log_once_and_in_order
            losing_every_hint_loses_no_entry
            everything_is_still_there_after_a_reopen
            what_a_stream_was_created_with_is_there_in_every_phase
            metadata_may_be_empty
            the_largest_metadata_comes_back_exactly
            the_first_metadata_stays
            metadata_goes_with_its_stream
            the_caller_of_a_stream_is_kept
            a_removed_stream_is_not_written_again
            a_writer_of_a_removed_stream_leaves_the_next_one_alone
            an_id_that_was_removed_twice_stays_removed
            a_removal_in_the_midst_of_appends_is_the_end
            a_removed_stream_stays_removed_after_a_reopen
            a_removal_wakes_listeners
            a_writer_says_which_stream_of_an_id_it_writes
            pages_and_hints_say_which_stream_of_an_id_they_are_of
            a_reader_is_never_given_the_next_stream_of_its_id
            what_the_attempts_came_to_is_there_for_the_next_one
            what_the_attempts_came_to_is_there_after_a_reopen
            an_older_writer_notes_nothing
            a_writer_that_was_released_is_silent_at_once
            listeners_are_woken_when_the_model_is_waited_for
            the_request_of_a_stream_is_there_until_its_seal
            of_many_that_claim_a_job_one_stores_it
        }}
    };
}

/// A log to be tested, and what belongs to it. Ids are fresh in each case, so cases may share a server.
pub struct Fixture {
    log: Arc<dyn TokenLog>,
    elsewhere: Arc<dyn TokenLog>,
    reopen: Option<Reopen>,
    /// Dropped after the logs.
    kept: Vec<Box<dyn Any + Send>>,
}

type Reopen = Box<dyn FnMut() -> BoxFuture<'static, Arc<dyn TokenLog>> + Send>;

impl Fixture {
    /// Tests this log.
    pub fn new(log: Arc<dyn TokenLog>) -> Self {
        Self { elsewhere: Arc::clone(&log), log, reopen: None, kept: Vec::new() }
    }

    /// The same log as another process has it open: readers get this one, writers the first.
    #[must_use]
    pub fn elsewhere(mut self, log: Arc<dyn TokenLog>) -> Self {
        self.elsewhere = log;
        self
    }

    /// How to open the log again once every `Arc` of it has been dropped. Without it, a reopened log is the same one.
    #[must_use]
    pub fn reopening(
        mut self,
        reopen: impl FnMut() -> BoxFuture<'static, Arc<dyn TokenLog>> + Send + 'static,
    ) -> Self {
        self.reopen = Some(Box::new(reopen));
        self
    }

    /// Keeps something, such as a temporary directory, for as long as the test runs.
    #[must_use]
    pub fn keeping(mut self, kept: impl Any + Send) -> Self {
        self.kept.push(Box::new(kept));
        self
    }

    async fn reopen(self) -> Self {
        let Self { log, elsewhere, reopen, kept } = self;
        let Some(mut reopen) = reopen else {
            return Self { log, elsewhere, reopen, kept };
        };
        drop((log, elsewhere));
        let log = reopen().await;
        Self { elsewhere: Arc::clone(&log), log, reopen: Some(reopen), kept }
    }

    /// A new stream without readers.
    async fn stream(&self) -> GenerationId {
        let id = GenerationId::fresh();
        assert_eq!(self.log.create(id, &spec(1)).await.unwrap(), Created::New);
        id
    }

    /// A new stream and its first writer.
    async fn writing(&self) -> (GenerationId, Box<dyn LogWriter>) {
        let id = self.stream().await;
        (id, self.log.open_writer(id).await.unwrap())
    }

    /// The whole stream, in pages, by way of the other process.
    async fn entries(&self, id: GenerationId) -> Vec<Entry> {
        let mut entries = Vec::new();
        loop {
            let after = entries.last().map_or(Seq::START, |last: &Entry| last.seq);
            let page = self.page(id, after, 100).await;
            let Some(first) = page.entries.first() else {
                return entries;
            };
            assert_eq!(first.seq, after.next(), "a page begins right after its cursor");
            entries.extend(page.entries);
        }
    }

    async fn events(&self, id: GenerationId) -> Vec<Event> {
        self.entries(id).await.into_iter().map(|entry| entry.event).collect()
    }

    async fn page(&self, id: GenerationId, after: Seq, limit: usize) -> Page {
        self.elsewhere.read(id, after, NonZeroUsize::new(limit).unwrap()).await.unwrap()
    }
}

impl fmt::Debug for Fixture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fixture").field("log", &self.log).finish_non_exhaustive()
    }
}

/// A stream whose request is identified by one byte. Deadlines are far away.
fn spec(request: u8) -> StreamSpec {
    let now = SystemClock.now();
    StreamSpec {
        fingerprint: Fingerprint::from_bytes([request; 32]),
        caller: Caller::Anonymous,
        on_disconnect: OnDisconnect::Detached,
        created_at: now,
        start_by: now.after(Duration::from_secs(3600)),
        end_by: now.after(Duration::from_secs(7200)),
        metadata: Bytes::new(),
        request: Bytes::new(),
    }
}

fn started(attempt: u32, text: TextSoFar) -> Event {
    Event::Started { attempt: Attempt::new(attempt), text, region: None }
}

fn delta(text: &str) -> Event {
    Event::Delta { text: text.to_owned(), tokens: Vec::new() }
}

/// A delta with one token.
fn token(text: &str, token: u32) -> Event {
    Event::Delta { text: text.to_owned(), tokens: vec![TokenId(token)] }
}

fn finished() -> Event {
    Event::Finished { reason: FinishReason::Stop, usage: Usage { input_tokens: 3, output_tokens: 5 } }
}

/// I1, for a stream that may go on.
fn assert_numbered(entries: &[Entry]) {
    let numbers: Vec<_> = entries.iter().map(|entry| entry.seq.get()).collect();
    assert_eq!(numbers, (1..=entries.len() as u64).collect::<Vec<_>>());
    let terminal = entries.iter().position(|entry| entry.event.is_terminal());
    assert!(terminal.is_none_or(|index| index + 1 == entries.len()), "nothing follows a terminal event");
}

#[track_caller]
#[expect(clippy::needless_pass_by_value, reason = "asserts on a result where it is made")]
fn assert_fenced<T: fmt::Debug>(result: Result<T, LogError>) {
    assert!(matches!(result, Err(LogError::Fenced)), "{result:?}");
}

#[track_caller]
#[expect(clippy::needless_pass_by_value, reason = "asserts on a result where it is made")]
fn assert_sealed<T: fmt::Debug>(result: Result<T, LogError>) {
    assert!(matches!(result, Err(LogError::Sealed)), "{result:?}");
}

#[track_caller]
#[expect(clippy::needless_pass_by_value, reason = "asserts on a result where it is made")]
fn assert_not_found<T: fmt::Debug>(result: Result<T, LogError>, id: GenerationId) {
    assert!(matches!(result, Err(LogError::NotFound(missing)) if missing == id), "{result:?}");
}
