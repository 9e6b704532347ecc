//! Futures are dropped at any await. What they began happens wholly or not at all.

use futures::future::{Either, select};
use rand::RngExt;

use super::{Duration, Event, Failure, Fixture, Seq, assert_numbered, assert_sealed, delta};

const ROUNDS: usize = 200;

/// Runs `work`, but for a random while at most. None when it was dropped before its end.
async fn for_a_moment<T>(work: impl Future<Output = T>) -> Option<T> {
    let moment = std::pin::pin!(async {
        // In real time an append takes from some microseconds to some milliseconds, and so do these.
        for _ in 0..rand::rng().random_range(0..30) {
            tokio::task::yield_now().await;
        }
        if rand::rng().random_bool(0.5) {
            tokio::time::sleep(Duration::from_micros(rand::rng().random_range(0..3_000))).await;
        }
    });
    match select(std::pin::pin!(work), moment).await {
        Either::Left((value, _)) => Some(value),
        Either::Right(_) => None,
    }
}

fn batch(round: usize) -> Vec<Event> {
    (0..3).map(|part| delta(&format!("{round}.{part} "))).collect()
}

/// I1: of a batch whose append was dropped, all is there or nothing, at its place; the next writer knows which.
pub async fn a_dropped_append_is_there_wholly_or_not_at_all(fixture: Fixture) {
    let id = fixture.stream().await;
    let mut expected = Vec::new();
    let open = async || {
        let writer = fixture.log.open_writer(id).await.unwrap();
        let events = fixture.events(id).await;
        (writer, events)
    };
    for round in 0..ROUNDS / 2 {
        let (mut writer, events) = open().await;
        assert_eq!(events, expected);
        let appended = for_a_moment(writer.append(&batch(round))).await;
        // The next opening fences a command that is still on its way.
        let (next, events) = open().await;
        let there = events.len() > expected.len();
        if there {
            expected.extend(batch(round));
        }
        assert_eq!(events, expected, "round {round}");
        assert!(there || appended.is_none(), "what was acknowledged is there");
        let text: String = events
            .iter()
            .map(|event| if let Event::Delta { text, .. } = event { text.as_str() } else { "" })
            .collect();
        assert_eq!(next.so_far().text, text);
    }
    assert_numbered(&fixture.entries(id).await);
}

/// A writer that does not know the outcome appends the same batch again, as often as it takes, and it is there once.
pub async fn a_batch_that_is_appended_again_is_there_once(fixture: Fixture) {
    let (id, mut writer) = fixture.writing().await;
    let mut expected = Vec::new();
    for round in 0..ROUNDS {
        let batch = batch(round);
        let mut last = None;
        for _ in 0..3 {
            last = for_a_moment(writer.append(&batch)).await;
            if last.is_some() {
                break;
            }
        }
        let last = match last {
            Some(last) => last.unwrap(),
            None => writer.append(&batch).await.unwrap(),
        };
        expected.extend(batch);
        assert_eq!(last.get(), expected.len() as u64, "round {round}");
    }
    assert_eq!(fixture.events(id).await, expected);
}

/// The log distinguishes a repeated append from a new one with equal content: a model may generate the same text twice.
pub async fn equal_batches_in_a_row_are_all_there(fixture: Fixture) {
    let (id, mut writer) = fixture.writing().await;
    for n in 1..=5 {
        assert_eq!(writer.append(&[delta("ha")]).await.unwrap(), Seq::new(n));
    }
    assert_eq!(fixture.events(id).await, vec![delta("ha"); 5]);
}

/// A writer whose time is up drops its append and seals. What was on its way is before the seal or nowhere, and a seal that
/// is dropped and sent again is there once.
pub async fn a_seal_after_a_dropped_append_is_the_end(fixture: Fixture) {
    let failed = Event::Failed { failure: Failure::TimedOut };
    for round in 0..ROUNDS / 4 {
        let (id, mut writer) = fixture.writing().await;
        writer.append(&[delta("first")]).await.unwrap();
        let appended = for_a_moment(writer.append(&batch(round))).await;
        let sealed = match for_a_moment(writer.seal(&failed)).await {
            Some(sealed) => sealed,
            None => writer.seal(&failed).await,
        };
        let without = vec![delta("first"), failed.clone()];
        let with = [vec![delta("first")], batch(round), vec![failed.clone()]].concat();
        let events = fixture.events(id).await;
        assert!(events == with || (events == without && appended.is_none()), "{events:?}");
        assert_eq!(sealed.unwrap().get(), events.len() as u64);
        assert_sealed(writer.seal(&failed).await);
    }
}

/// I1: a batch whose writer is gone before it was settled is there wholly or not at all.
pub async fn a_submitted_batch_whose_writer_is_gone_is_there_wholly_or_not_at_all(fixture: Fixture) {
    let id = fixture.stream().await;
    let mut expected = Vec::new();
    for round in 0..ROUNDS / 4 {
        let mut writer = fixture.log.open_writer(id).await.unwrap();
        assert_eq!(fixture.events(id).await, expected);
        let submitted = for_a_moment(writer.submit(&batch(round))).await;
        if submitted.is_some() {
            for_a_moment(writer.settle()).await;
        }
        drop(writer);
        // The next opening fences a command that is still on its way.
        drop(fixture.log.open_writer(id).await.unwrap());
        let events = fixture.events(id).await;
        if events.len() > expected.len() {
            expected.extend(batch(round));
        }
        assert_eq!(events, expected, "round {round}");
    }
    assert_numbered(&fixture.entries(id).await);
}

/// An opening that is dropped may count as an attempt; the next one works all the same.
pub async fn a_dropped_opening_does_no_harm(fixture: Fixture) {
    let id = fixture.stream().await;
    let mut newest = 0;
    for round in 0..ROUNDS / 4 {
        drop(for_a_moment(fixture.log.open_writer(id)).await);
        let mut writer = fixture.log.open_writer(id).await.unwrap();
        assert!(writer.attempt().get() > newest);
        newest = writer.attempt().get();
        assert_eq!(writer.append(&[delta("text")]).await.unwrap(), Seq::new(round as u64 + 1));
    }
    assert_numbered(&fixture.entries(id).await);
}
