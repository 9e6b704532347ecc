//! Streams come and go.

use futures::future::join_all;
use tokenwire_core::token_log::Phase;

use super::{
    Attempt, Created, Epoch, Fixture, GenerationId, NonZeroUsize, Page, Seq, StreamSpec, TextSoFar,
    Timestamp, assert_not_found, delta, finished, spec, started,
};

/// Creating twice is creating once, and tells of which request the stream is.
pub async fn creating_twice_is_creating_once(fixture: Fixture) {
    let (id, mut writer) = fixture.writing().await;
    writer.append(&[delta("kept")]).await.unwrap();
    let first = Created::Existing(spec(1).fingerprint);
    assert_eq!(fixture.elsewhere.create(id, &spec(1)).await.unwrap(), first);
    assert_eq!(fixture.elsewhere.create(id, &spec(2)).await.unwrap(), first);
    assert_eq!(fixture.events(id).await, [delta("kept")]);
    writer.seal(&finished()).await.unwrap();
    assert_eq!(fixture.log.create(id, &spec(2)).await.unwrap(), first);
}

/// I9: of two submissions of one id, one stores the job.
pub async fn of_many_that_create_at_once_one_is_new(fixture: Fixture) {
    for _ in 0..20 {
        let id = GenerationId::fresh();
        let specs: Vec<_> = (0..8).map(spec).collect();
        let logs = [&fixture.log, &fixture.elsewhere];
        let created =
            join_all(specs.iter().zip(logs.iter().cycle()).map(|(spec, log)| log.create(id, spec))).await;
        let created: Vec<_> = created.into_iter().map(Result::unwrap).collect();
        let new: Vec<_> = (0..created.len()).filter(|&index| created[index] == Created::New).collect();
        assert_eq!(new.len(), 1, "{created:?}");
        let winner = Created::Existing(specs[new[0]].fingerprint);
        assert_eq!(created.iter().filter(|&&created| created == winner).count(), 7, "{created:?}");
    }
}

/// What does not exist is not found; listening to it and attending it are harmless.
pub async fn an_unknown_stream_is_not_found(fixture: Fixture) {
    let id = GenerationId::fresh();
    assert_not_found(fixture.log.read(id, Seq::START, NonZeroUsize::MIN).await, id);
    assert_not_found(fixture.log.spec(id).await, id);
    assert_not_found(fixture.log.open_writer(id).await, id);
    assert_not_found(fixture.log.cancel(id).await, id);
    fixture.log.wakeups(id).await.unwrap();
    fixture.log.touch_presence(id).await.unwrap();
    fixture.log.remove(id).await.unwrap();
    assert_not_found(fixture.log.read(id, Seq::START, NonZeroUsize::MIN).await, id);
}

/// A removed stream is forgotten as a whole: entries, attempts and cancellation.
pub async fn a_removed_stream_can_be_created_again(fixture: Fixture) {
    let (id, mut writer) = fixture.writing().await;
    writer.append(&[delta("forgotten")]).await.unwrap();
    fixture.log.cancel(id).await.unwrap();
    fixture.log.remove(id).await.unwrap();
    fixture.log.remove(id).await.unwrap();
    assert_not_found(fixture.elsewhere.read(id, Seq::START, NonZeroUsize::MIN).await, id);
    assert_not_found(writer.append(&[delta("late")]).await, id);

    assert_eq!(fixture.log.create(id, &spec(2)).await.unwrap(), Created::New);
    let mut writer = fixture.log.open_writer(id).await.unwrap();
    assert_eq!(writer.attempt(), Attempt::new(1));
    assert_eq!(writer.so_far().text, "");
    assert_eq!(writer.append(&[delta("new")]).await.unwrap(), Seq::new(1));
    assert_eq!(writer.cancellation().cause(), None);
    assert_eq!(fixture.events(id).await, [delta("new")]);
}

/// Queued with the times of its creation, running from the first opening on, sealed by its terminal entry.
pub async fn the_phase_follows_the_stream(fixture: Fixture) {
    let id = GenerationId::fresh();
    let (created_at, start_by, end_by) = (1_700_000_000_001, 1_700_000_060_002, 1_700_000_660_003);
    let at = Timestamp::from_millis;
    let spec =
        StreamSpec { created_at: at(created_at), start_by: at(start_by), end_by: at(end_by), ..spec(1) };
    fixture.log.create(id, &spec).await.unwrap();
    let page = fixture.page(id, Seq::START, 1).await;
    let queued = Phase::Queued { created_at: at(created_at), start_by: at(start_by) };
    assert_eq!(
        page,
        Page { entries: vec![], last_seq: Seq::START, phase: queued, epoch: Epoch::of(at(start_by)) }
    );

    let mut writer = fixture.log.open_writer(id).await.unwrap();
    let running = fixture.page(id, Seq::START, 1).await.phase;
    assert!(matches!(running, Phase::Running { end_by: end, .. } if end == at(end_by)), "{running:?}");
    writer.append(&[started(1, TextSoFar::Kept)]).await.unwrap();
    let running = fixture.page(id, Seq::START, 1).await.phase;
    assert!(matches!(running, Phase::Running { end_by: end, .. } if end == at(end_by)), "{running:?}");

    writer.seal(&finished()).await.unwrap();
    let page = fixture.page(id, Seq::START, 1).await;
    assert_eq!((page.phase, page.last_seq), (Phase::Sealed, Seq::new(2)));
}

/// A log that works says so.
pub async fn a_working_log_is_ready(fixture: Fixture) {
    fixture.log.ready().await.unwrap();
    fixture.elsewhere.ready().await.unwrap();
}
