//! A removed stream is gone, also for a writer that comes back late.

use futures::future::{join, select};
use tokenwire_core::{Follower, follow::FollowError, token_log::Hint};

use super::{
    Arc, Created, Duration, Fixture, GenerationId, LogError, LogWriter, NonZeroUsize, Seq, StreamSpec,
    SystemClock, assert_not_found, delta, finished, spec,
};

/// More than any wake-up takes, on a machine however busy.
const TIMEOUT: Duration = Duration::from_secs(60);

/// Of another request, created some time after all others.
fn next(request: u8) -> StreamSpec {
    let StreamSpec { created_at, start_by, end_by, .. } = spec(request);
    let later = |at: tokenwire_core::Timestamp| at.after(Duration::from_secs(request.into()));
    StreamSpec {
        created_at: later(created_at),
        start_by: later(start_by),
        end_by: later(end_by),
        ..spec(request)
    }
}

async fn assert_gone(fixture: &Fixture, id: GenerationId) {
    for log in [&fixture.log, &fixture.elsewhere] {
        assert_not_found(log.read(id, Seq::START, NonZeroUsize::MIN).await, id);
        assert_not_found(log.spec(id).await, id);
        assert_not_found(log.cancel(id).await, id);
        log.touch_presence(id).await.unwrap();
        assert_not_found(log.open_writer(id).await, id);
    }
}

/// A writer that comes back gets an error from every call.
async fn comes_back(writer: &mut dyn LogWriter, id: GenerationId) {
    assert_not_found(writer.append(&[]).await, id);
    assert_not_found(writer.append(&[delta("late")]).await, id);
    assert_not_found(writer.append(&[delta("later")]).await, id);
    assert_not_found(writer.seal(&finished()).await, id);
}

/// Neither by a writer that was frozen or cut off meanwhile, nor by one that is opened to continue it.
pub async fn a_removed_stream_is_not_written_again(fixture: Fixture) {
    let (id, mut older) = fixture.writing().await;
    older.append(&[delta("one")]).await.unwrap();
    let mut owner = fixture.log.open_writer(id).await.unwrap();
    owner.append(&[delta("two"), delta("three")]).await.unwrap();
    fixture.elsewhere.cancel(id).await.unwrap();
    fixture.elsewhere.remove(id).await.unwrap();
    assert_gone(&fixture, id).await;
    for _ in 0..2 {
        comes_back(&mut *owner, id).await;
        comes_back(&mut *older, id).await;
    }
    assert_gone(&fixture, id).await;

    let (silent, mut writer) = fixture.writing().await;
    fixture.elsewhere.remove(silent).await.unwrap();
    comes_back(&mut *writer, silent).await;
    assert_gone(&fixture, silent).await;
}

/// The id is free: what comes under it next is another stream, whose entries, attempts and requests to stop are its own.
pub async fn a_writer_of_a_removed_stream_leaves_the_next_one_alone(fixture: Fixture) {
    let (id, _) = fixture.writing().await;
    // A higher attempt than any of the next stream.
    let mut old = fixture.log.open_writer(id).await.unwrap();
    old.append(&[delta("old")]).await.unwrap();
    fixture.log.cancel(id).await.unwrap();
    fixture.elsewhere.remove(id).await.unwrap();
    assert_eq!(fixture.elsewhere.create(id, &next(2)).await.unwrap(), Created::New);
    comes_back(&mut *old, id).await;

    let mut new = fixture.elsewhere.open_writer(id).await.unwrap();
    assert_eq!(new.cancellation().cause(), None);
    new.append(&[delta("new")]).await.unwrap();
    let _third = fixture.elsewhere.open_writer(id).await.unwrap();
    let mut newest = fixture.elsewhere.open_writer(id).await.unwrap();
    for late in [old.append(&[]).await, old.append(&[delta("old")]).await, old.seal(&finished()).await] {
        // Another attempt owns it: both are true, and both mean that this one is to stop.
        assert!(matches!(late, Err(LogError::NotFound(_) | LogError::Fenced)), "{late:?}");
    }
    newest.seal(&finished()).await.unwrap();
    assert_eq!(fixture.events(id).await, [delta("new"), finished()]);
}

/// Whichever of its streams still has a writer.
pub async fn an_id_that_was_removed_twice_stays_removed(fixture: Fixture) {
    let (id, mut first) = fixture.writing().await;
    first.append(&[delta("first")]).await.unwrap();
    fixture.log.remove(id).await.unwrap();
    fixture.log.create(id, &next(2)).await.unwrap();
    let mut second = fixture.log.open_writer(id).await.unwrap();
    second.append(&[delta("second")]).await.unwrap();
    fixture.elsewhere.remove(id).await.unwrap();
    comes_back(&mut *first, id).await;
    comes_back(&mut *second, id).await;
    assert_gone(&fixture, id).await;

    fixture.log.create(id, &next(3)).await.unwrap();
    fixture.log.remove(id).await.unwrap();
    comes_back(&mut *first, id).await;
    assert_gone(&fixture, id).await;
}

/// At any moment: an append either happened before and is removed, or is refused.
pub async fn a_removal_in_the_midst_of_appends_is_the_end(fixture: Fixture) {
    for round in 0..40 {
        let (id, mut writer) = fixture.writing().await;
        let write = async {
            loop {
                match writer.append(&[delta("on and on")]).await {
                    Ok(_) => tokio::task::yield_now().await,
                    Err(error) => return error,
                }
            }
        };
        let remove = async {
            for _ in 0..round {
                tokio::task::yield_now().await;
            }
            fixture.elsewhere.remove(id).await.unwrap();
        };
        let (error, ()) = join(write, remove).await;
        assert!(matches!(error, LogError::NotFound(gone) if gone == id), "{error:?}");
        comes_back(&mut *writer, id).await;
        assert_gone(&fixture, id).await;

        // Nor does one that was dropped on its way arrive later. Its writer may still hear that it had happened before.
        let (id, mut writer) = fixture.writing().await;
        let batch = [delta("dropped")];
        select(writer.append(&batch), std::pin::pin!(tokio::task::yield_now())).await;
        fixture.elsewhere.remove(id).await.unwrap();
        let again = writer.append(&batch).await;
        assert!(matches!(again, Ok(_) | Err(LogError::NotFound(_))), "{again:?}");
        comes_back(&mut *writer, id).await;
        assert_gone(&fixture, id).await;
    }
}

/// Also when the log was closed in between, and whatever came under the id later.
pub async fn a_removed_stream_stays_removed_after_a_reopen(fixture: Fixture) {
    let (gone, mut writer) = fixture.writing().await;
    writer.append(&[delta("old")]).await.unwrap();
    fixture.log.remove(gone).await.unwrap();
    assert_not_found(writer.append(&[delta("late")]).await, gone);
    let (again, mut other) = fixture.writing().await;
    other.append(&[delta("old")]).await.unwrap();
    fixture.log.remove(again).await.unwrap();
    fixture.log.create(again, &next(2)).await.unwrap();
    assert!(other.append(&[delta("late")]).await.is_err());
    let mut new = fixture.log.open_writer(again).await.unwrap();
    new.append(&[delta("new")]).await.unwrap();
    drop((writer, other, new));

    let fixture = fixture.reopen().await;
    assert_gone(&fixture, gone).await;
    assert_eq!(fixture.events(again).await, [delta("new")]);
}

/// So that a reader learns of the loss at once, and not at its next recheck.
pub async fn a_removal_wakes_listeners(fixture: Fixture) {
    let (id, mut writer) = fixture.writing().await;
    writer.append(&[delta("text")]).await.unwrap();
    let mut wakeups = fixture.elsewhere.wakeups(id).await.unwrap();
    fixture.log.remove(id).await.unwrap();
    loop {
        let hint = tokio::time::timeout(TIMEOUT, wakeups.next()).await.expect("a removal is announced");
        if matches!(hint, Hint::Look)
            && fixture.elsewhere.read(id, Seq::START, NonZeroUsize::MIN).await.is_err()
        {
            break;
        }
    }
    assert_gone(&fixture, id).await;
}

/// The holder of a job can tell whether the job belongs to this stream.
pub async fn a_writer_says_which_stream_of_an_id_it_writes(fixture: Fixture) {
    let id = GenerationId::fresh();
    for spec in [next(1), next(2)] {
        fixture.log.create(id, &spec).await.unwrap();
        for log in [&fixture.log, &fixture.elsewhere] {
            assert_eq!(log.open_writer(id).await.unwrap().epoch(), spec.epoch());
        }
        fixture.elsewhere.remove(id).await.unwrap();
    }
}

/// In every phase, so that a reader of one of them notices the next.
pub async fn pages_and_hints_say_which_stream_of_an_id_they_are_of(fixture: Fixture) {
    let id = GenerationId::fresh();
    let mut wakeups = fixture.elsewhere.wakeups(id).await.unwrap();
    for spec in [next(1), next(2)] {
        let epoch = spec.epoch();
        let page = async || fixture.page(id, Seq::START, 1).await.epoch;
        fixture.log.create(id, &spec).await.unwrap();
        assert_eq!(page().await, epoch);
        let mut writer = fixture.log.open_writer(id).await.unwrap();
        assert_eq!(page().await, epoch);
        writer.append(&[delta("text")]).await.unwrap();
        writer.seal(&finished()).await.unwrap();
        assert_eq!(page().await, epoch);
        let announced = async {
            loop {
                if let Hint::Appended { epoch: of, entries } = wakeups.next().await {
                    assert_eq!(of, epoch);
                    if entries.iter().any(|entry| entry.event.is_terminal()) {
                        break;
                    }
                }
            }
        };
        tokio::time::timeout(TIMEOUT, announced).await.expect("an append is announced");
        fixture.elsewhere.remove(id).await.unwrap();
    }
}

/// Whenever they look: while it is removed, after the next stream has grown past what they have seen, and after its end.
/// They have read one entry, so the next one of each stream would look right.
pub async fn a_reader_is_never_given_the_next_stream_of_its_id(fixture: Fixture) {
    for (appends, seals, waits) in [0, 1, 3, 30]
        .into_iter()
        .flat_map(|appends| [(appends, false, false), (appends, true, false), (appends, true, true)])
    {
        let (id, mut old) = fixture.writing().await;
        old.append(&[delta("old")]).await.unwrap();
        let log = Arc::clone(&fixture.elsewhere);
        let mut reader = Follower::open(log, Arc::new(SystemClock), id, Seq::START).await.unwrap();
        assert_eq!(reader.next().await.unwrap().unwrap()[0].event, delta("old"));
        let replace = async {
            fixture.log.remove(id).await.unwrap();
            fixture.log.create(id, &next(2)).await.unwrap();
            let mut new = fixture.log.open_writer(id).await.unwrap();
            for _ in 0..appends {
                new.append(&[delta("new")]).await.unwrap();
            }
            if seals {
                new.seal(&finished()).await.unwrap();
            }
        };
        let end = if waits {
            // It waits for the next entry meanwhile.
            join(reader.next(), replace).await.0
        } else {
            // It lags behind: what was announced meanwhile comes all at once.
            replace.await;
            reader.next().await
        };
        assert!(matches!(end, Err(FollowError::Lost(lost)) if lost == id), "{end:?}");
        let end = reader.next().await;
        assert!(matches!(end, Err(FollowError::Lost(_))), "nor later: {end:?}");
    }
}
