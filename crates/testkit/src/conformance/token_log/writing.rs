//! What is appended is what is read.

use tokenwire_core::CancelCause;

use super::{
    Attempt, Event, Failure, FinishReason, Fixture, GenerationId, Seq, TextSoFar, TokenId, Usage,
    assert_fenced, assert_numbered, assert_sealed, delta, finished, spec, started,
};

/// I1: batches of any size make the entries 1..=n, and an append returns the last of its own.
pub async fn entries_are_numbered_from_one_without_a_gap(fixture: Fixture) {
    let (id, mut writer) = fixture.writing().await;
    let mut appended = Vec::new();
    for size in [1, 2, 3, 50, 1, 600] {
        let batch: Vec<_> = (0..size).map(|n| delta(&format!("{size}.{n} "))).collect();
        let seq = writer.append(&batch).await.unwrap();
        appended.extend(batch);
        assert_eq!(seq.get(), appended.len() as u64);
        // I2: durable, and so visible to all readers, when it returns.
        assert_eq!(fixture.page(id, Seq::START, 1).await.last_seq, seq);
    }
    let last = writer.seal(&finished()).await.unwrap();
    appended.push(finished());
    assert_eq!(last.get(), appended.len() as u64);

    let entries = fixture.entries(id).await;
    assert_numbered(&entries);
    assert_eq!(entries.into_iter().map(|entry| entry.event).collect::<Vec<_>>(), appended);
}

/// An empty batch is a look at fence and cancellation, nothing more.
pub async fn an_empty_batch_appends_nothing(fixture: Fixture) {
    let (id, mut writer) = fixture.writing().await;
    assert_eq!(writer.append(&[]).await.unwrap(), Seq::START);
    writer.append(&[delta("one"), delta("two")]).await.unwrap();
    assert_eq!(writer.append(&[]).await.unwrap(), Seq::new(2));
    assert_eq!(fixture.events(id).await, [delta("one"), delta("two")]);
    assert_eq!(writer.cancellation().cause(), None);
}

/// A batch that is submitted is in the stream once it is settled, also when it equals the one before; and an empty one is a
/// look at the fence.
pub async fn what_is_submitted_is_there_once_it_is_settled(fixture: Fixture) {
    let (id, mut writer) = fixture.writing().await;
    writer.settle().await.unwrap();
    for n in 1..=5 {
        writer.submit(&[delta("ha")]).await.unwrap();
        writer.settle().await.unwrap();
        assert_eq!(fixture.page(id, Seq::START, 1).await.last_seq, Seq::new(n));
        writer.settle().await.unwrap();
        writer.submit(&[]).await.unwrap();
        writer.settle().await.unwrap();
    }
    assert_eq!(writer.append(&[]).await.unwrap(), Seq::new(5));
    let mut newer = fixture.log.open_writer(id).await.unwrap();
    let late = async {
        writer.submit(&[delta("late")]).await?;
        writer.settle().await
    };
    assert_fenced(late.await);
    newer.submit(&[delta("and")]).await.unwrap();
    newer.settle().await.unwrap();
    newer.seal(&finished()).await.unwrap();
    assert_eq!(fixture.events(id).await, [vec![delta("ha"); 5], vec![delta("and"), finished()]].concat());
}

/// I1: a sealed stream takes nothing from anybody.
pub async fn nothing_follows_a_seal(fixture: Fixture) {
    let (id, mut writer) = fixture.writing().await;
    writer.append(&[delta("text")]).await.unwrap();
    let failed = Event::Failed { failure: Failure::Cancelled { cause: CancelCause::Requested } };
    assert_eq!(writer.seal(&failed).await.unwrap(), Seq::new(2));

    assert_sealed(writer.append(&[delta("late")]).await);
    assert_sealed(writer.append(&[]).await);
    assert_sealed(writer.seal(&failed).await);
    assert_sealed(writer.seal(&finished()).await);
    assert_sealed(fixture.log.open_writer(id).await);
    assert_sealed(fixture.elsewhere.open_writer(id).await);
    assert_eq!(fixture.events(id).await, [delta("text"), failed]);
}

/// Line ends, control characters and everything else that some format would like to change.
pub async fn text_comes_back_exactly(fixture: Fixture) {
    let (id, mut writer) = fixture.writing().await;
    let long = "0123456789 äöü \n".repeat(300 * 1024 / 18);
    let texts = [
        "",
        " ",
        "\n",
        "\r",
        "\r\n\r\n",
        "data: not a frame\n\n",
        "\0",
        "a\0b",
        "\u{1}\u{7f}\u{85}\u{2028}\u{feff}",
        "\"quoted\" \\u0041 \\",
        "👩‍👩‍👧‍👦 e\u{301} ﷽ 𝕏",
        "\u{10ffff}",
        &long,
    ];
    let batch: Vec<_> = texts.iter().map(|text| delta(text)).collect();
    writer.append(&batch[..5]).await.unwrap();
    writer.append(&batch[5..]).await.unwrap();
    assert!(fixture.events(id).await == batch, "every text is as it was");
    let next = fixture.log.open_writer(id).await.unwrap();
    assert!(next.so_far().text == texts.concat(), "and so is their sum");
}

/// Each kind of event, with everything that it can carry.
pub async fn every_event_comes_back_exactly(fixture: Fixture) {
    let region = Some("EAST-1".to_owned());
    let events = [
        Event::Started { attempt: Attempt::new(1), text: TextSoFar::Superseded, region },
        started(u32::MAX, TextSoFar::Kept),
        Event::Delta { text: "ab".to_owned(), tokens: vec![TokenId(0), TokenId(u32::MAX)] },
        Event::Delta { text: String::new(), tokens: vec![TokenId(7)] },
    ];
    let usage = Usage { input_tokens: u64::MAX, output_tokens: 0 };
    let endings = [
        Event::Finished { reason: FinishReason::Length, usage },
        Event::Failed { failure: Failure::Expired },
        Event::Failed { failure: Failure::TimedOut },
        Event::Failed { failure: Failure::Cancelled { cause: CancelCause::Abandoned } },
        Event::Failed { failure: Failure::Rejected { message: "too long\n".to_owned() } },
        Event::Failed { failure: Failure::Exhausted { attempts: 3, message: "broke".to_owned() } },
        Event::Failed { failure: Failure::Lost },
    ];
    for ending in endings {
        let (id, mut writer) = fixture.writing().await;
        writer.append(&events).await.unwrap();
        writer.seal(&ending).await.unwrap();
        let first = fixture.entries(id).await;
        let read: Vec<_> = first.iter().map(|entry| entry.event.clone()).collect();
        assert_eq!(read, [events.as_slice(), &[ending]].concat());
        assert_eq!(fixture.entries(id).await, first, "times included, every reader sees the same");
    }
}

/// However close their ids.
pub async fn two_streams_never_see_each_other(fixture: Fixture) {
    let (one, mut first) = fixture.writing().await;
    let mut bytes = *one.as_bytes();
    bytes[15] ^= 1;
    let two = GenerationId::from_bytes(bytes);
    fixture.log.create(two, &spec(2)).await.unwrap();
    let mut second = fixture.log.open_writer(two).await.unwrap();
    for n in 0..20 {
        let (to_one, to_two) = ([delta(&format!("one {n}"))], [delta(&format!("two {n}"))]);
        let (left, right) = futures::join!(first.append(&to_one), second.append(&to_two));
        assert_eq!((left.unwrap().get(), right.unwrap().get()), (n + 1, n + 1));
    }
    fixture.log.cancel(two).await.unwrap();
    first.append(&[]).await.unwrap();
    assert_eq!(first.cancellation().cause(), None);
    second.seal(&finished()).await.unwrap();
    first.append(&[delta("one 20")]).await.unwrap();

    let expected = |name: &str, n: u32| (0..n).map(|n| delta(&format!("{name} {n}"))).collect::<Vec<_>>();
    assert_eq!(fixture.events(one).await, expected("one", 21));
    assert_eq!(fixture.events(two).await, [expected("two", 20), vec![finished()]].concat());
}
