//! One stream, one writer: the newest (I3, I4).

use tokenwire_core::token_log::{Attempts, Ownership, Prefix, WRITER_TIMEOUT};
use tokio::{task::JoinSet, time::sleep};

use super::{
    Arc, Attempt, Event, Fixture, LogError, Seq, TextSoFar, TokenId, assert_fenced, assert_numbered, delta,
    finished, started, token,
};

/// I4: for every opener, also for one that does not write.
pub async fn attempts_count_up(fixture: Fixture) {
    let id = fixture.stream().await;
    let logs = [&fixture.log, &fixture.elsewhere];
    for (number, log) in (1..=6).zip(logs.iter().cycle()) {
        let mut writer = log.open_writer(id).await.unwrap();
        assert_eq!(writer.attempt(), Attempt::new(number));
        if number % 3 == 0 {
            writer.append(&[delta("text")]).await.unwrap();
        }
    }
}

/// I3: from the moment another one opens, an older writer can do nothing, not even end the stream.
pub async fn the_newest_writer_fences_the_older_ones(fixture: Fixture) {
    let (id, mut first) = fixture.writing().await;
    first.append(&[delta("first")]).await.unwrap();
    let mut second = fixture.elsewhere.open_writer(id).await.unwrap();
    assert_fenced(first.append(&[delta("late")]).await);
    assert_fenced(first.append(&[]).await);
    assert_fenced(first.seal(&finished()).await);
    let mut third = fixture.log.open_writer(id).await.unwrap();
    assert_fenced(second.append(&[delta("late")]).await);
    third.append(&[delta("third")]).await.unwrap();
    assert_fenced(first.append(&[delta("late")]).await);
    assert_fenced(second.seal(&finished()).await);
    third.seal(&finished()).await.unwrap();
    assert_eq!(fixture.events(id).await, [delta("first"), delta("third"), finished()]);
    // Fenced and sealed are both true now, and both mean: stop.
    let late = first.append(&[delta("late")]).await;
    assert!(matches!(late, Err(LogError::Fenced | LogError::Sealed)), "{late:?}");
}

/// The holder of the job of a stream can tell whether its owner lives: it is heard of with its opening and with every
/// append, empty ones too, and then falls silent. One that is fenced is not heard of any more.
pub async fn an_owner_is_heard_of_until_it_falls_silent(fixture: Fixture) {
    let id = fixture.stream().await;
    assert!(!fixture.page(id, Seq::START, 1).await.phase.has_owner(), "it was not opened");
    let mut owner = fixture.log.open_writer(id).await.unwrap();
    assert!(fixture.page(id, Seq::START, 1).await.phase.has_owner());
    for batch in [&[delta("text")][..], &[]] {
        sleep(WRITER_TIMEOUT * 3 / 5).await;
        owner.append(batch).await.unwrap();
    }
    assert!(fixture.page(id, Seq::START, 1).await.phase.has_owner());
    sleep(WRITER_TIMEOUT).await;
    assert!(!fixture.page(id, Seq::START, 1).await.phase.has_owner());

    let next = fixture.elsewhere.open_writer(id).await.unwrap();
    sleep(WRITER_TIMEOUT).await;
    assert_fenced(owner.append(&[]).await);
    assert!(!fixture.page(id, Seq::START, 1).await.phase.has_owner());
    drop(next);
}

/// I3: a stream that has an owner is not taken from it, and of many workers that ask for a free one, one gets it.
pub async fn one_of_many_workers_takes_a_stream_over(fixture: Fixture) {
    const WORKERS: usize = 8;
    let id = fixture.stream().await;
    for round in 1..=2 {
        let mut asking = JoinSet::new();
        for log in [&fixture.log, &fixture.elsewhere].into_iter().cycle().take(WORKERS) {
            let log = Arc::clone(log);
            asking.spawn(async move { log.take_over(id).await });
        }
        let mut owners = Vec::new();
        for taken in asking.join_all().await {
            match taken {
                Ok(writer) => owners.push(writer),
                Err(error) => assert!(matches!(error, LogError::Fenced), "{error:?}"),
            }
        }
        assert_eq!(owners.len(), 1, "in round {round}");
        let mut owner = owners.pop().unwrap();
        assert_eq!(owner.attempt(), Attempt::new(round));
        owner.append(&[delta("text")]).await.unwrap();
        if round == 1 {
            sleep(WRITER_TIMEOUT * 6 / 5).await;
        } else {
            owner.record_attempts(Attempts::default(), Ownership::Released).await.unwrap();
        }
    }
    let mut third = fixture.elsewhere.take_over(id).await.expect("its owner has released it");
    third.seal(&finished()).await.unwrap();
    let sealed = fixture.log.take_over(id).await;
    assert!(matches!(sealed, Err(LogError::Sealed)), "{sealed:?}");
}

/// I3 under a race: each writer appends as fast as it can until it is fenced, while the next ones open. In the stream the
/// attempts are runs, in order, and each holds exactly what its writer was told is stored.
pub async fn writers_that_race_never_interleave(fixture: Fixture) {
    const WRITERS: u32 = 8;
    let id = fixture.stream().await;
    let mut writers = JoinSet::new();
    for number in 1..=WRITERS {
        let log = Arc::clone(if number % 2 == 0 { &fixture.elsewhere } else { &fixture.log });
        let mut writer = log.open_writer(id).await.unwrap();
        writers.spawn(async move {
            let mut stored: u32 = 0;
            loop {
                let batch = [token("a", number), token("b", number)];
                match writer.append(&batch).await {
                    Ok(_) => stored += 2,
                    Err(LogError::Fenced) => return (writer.attempt(), stored),
                    Err(error) => panic!("{error:?}"),
                }
                assert!(stored < 100_000, "attempt {number} was never fenced");
                if number == WRITERS && stored >= 20 {
                    return (writer.attempt(), stored);
                }
                tokio::task::yield_now().await;
            }
        });
        // The next one opens once this one has begun. It yields and does not sleep: paused time stands still while writers
        // are busy.
        let opened_at = fixture.page(id, Seq::START, 1).await.last_seq;
        let mut looks = 0;
        while number < WRITERS && fixture.page(id, Seq::START, 1).await.last_seq < opened_at.plus(6) {
            tokio::task::yield_now().await;
            looks += 1;
            assert!(looks < 100_000, "attempt {number} appends nothing");
        }
    }
    let told: std::collections::BTreeMap<_, _> = writers.join_all().await.into_iter().collect();
    let entries = fixture.entries(id).await;
    assert_numbered(&entries);
    let by: Vec<_> = entries
        .iter()
        .map(|entry| match &entry.event {
            Event::Delta { tokens, .. } => tokens[0].0,
            other => panic!("{other:?}"),
        })
        .collect();
    assert!(by.is_sorted(), "an older writer appended after a newer one: {by:?}");
    for (attempt, stored) in told {
        let found = by.iter().filter(|&&number| number == attempt.get()).count();
        assert_eq!(found, stored as usize, "attempt {attempt} holds what its writer was told");
    }
}

/// The prefix of each attempt is the fold over what any reader has seen so far.
pub async fn a_new_attempt_starts_with_what_readers_saw(fixture: Fixture) {
    let id = fixture.stream().await;
    let batches: [&[Event]; 6] = [
        &[started(1, TextSoFar::Kept)],
        &[token("Hel", 1), token("lo", 2)],
        &[started(3, TextSoFar::Kept), delta(" you")],
        &[started(4, TextSoFar::Superseded), token("Good", 7)],
        &[],
        &[started(6, TextSoFar::Kept), token(" day", 8)],
    ];
    let mut texts = Vec::new();
    for batch in batches {
        let mut writer = fixture.log.open_writer(id).await.unwrap();
        let entries = fixture.entries(id).await;
        let mut seen = Prefix::default();
        for entry in &entries {
            seen.push(entry);
        }
        assert_eq!(*writer.so_far(), seen);
        assert_eq!(seen.started_at, entries.first().map(|entry| entry.at), "the first attempt's time stays");
        texts.push(seen.text);
        if !batch.is_empty() {
            writer.append(batch).await.unwrap();
        }
    }
    assert_eq!(texts, ["", "", "Hello", "Hello you", "Good", "Good"]);
    let writer = fixture.log.open_writer(id).await.unwrap();
    assert_eq!(
        (writer.so_far().text.as_str(), &*writer.so_far().tokens),
        ("Good day", &[TokenId(7), TokenId(8)][..])
    );
}
