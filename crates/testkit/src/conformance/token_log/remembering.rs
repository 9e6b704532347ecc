//! What a stream was created with can be read again.

use bytes::Bytes;
use futures::future::join_all;

use super::{
    Caller, CallerName, Created, Duration, Fixture, GenerationId, OnDisconnect, StreamSpec, Timestamp,
    assert_not_found, delta, finished, spec,
};

fn with_metadata(metadata: impl Into<Bytes>) -> StreamSpec {
    StreamSpec { metadata: metadata.into(), ..spec(1) }
}

/// Every field, by way of the other process: before the run, during it, after the seal.
pub async fn what_a_stream_was_created_with_is_there_in_every_phase(fixture: Fixture) {
    let at = Timestamp::from_millis;
    let grace = Duration::from_secs(3600);
    for on_disconnect in [OnDisconnect::Detached, OnDisconnect::CancelAfter(grace)] {
        let id = GenerationId::fresh();
        let spec = StreamSpec {
            on_disconnect,
            created_at: at(1_700_000_000_001),
            start_by: at(1_700_000_060_002),
            end_by: at(1_700_000_660_003),
            ..with_metadata("what was asked")
        };
        fixture.log.create(id, &spec).await.unwrap();
        assert_eq!(fixture.elsewhere.spec(id).await.unwrap(), spec);
        let mut writer = fixture.log.open_writer(id).await.unwrap();
        assert_eq!(fixture.elsewhere.spec(id).await.unwrap(), spec);
        writer.append(&[delta("text")]).await.unwrap();
        let mut writer = fixture.log.open_writer(id).await.unwrap();
        fixture.log.cancel(id).await.unwrap();
        assert_eq!(fixture.elsewhere.spec(id).await.unwrap(), spec);
        writer.seal(&finished()).await.unwrap();
        assert_eq!(fixture.elsewhere.spec(id).await.unwrap(), spec);
    }
}

/// A stream need not have metadata.
pub async fn metadata_may_be_empty(fixture: Fixture) {
    let id = fixture.stream().await;
    let metadata = |spec: StreamSpec| spec.metadata;
    assert_eq!(fixture.elsewhere.spec(id).await.map(metadata).unwrap(), Bytes::new());
    fixture.log.open_writer(id).await.unwrap().seal(&finished()).await.unwrap();
    assert_eq!(fixture.elsewhere.spec(id).await.map(metadata).unwrap(), Bytes::new());
}

/// Metadata hold any bytes, up to a mebibyte. Large ones neither delay nor mix up the text of other streams.
pub async fn the_largest_metadata_comes_back_exactly(fixture: Fixture) {
    let mut created = Vec::new();
    for first in [0, 10, 200] {
        let bytes = (0..=u8::MAX).cycle().skip(first).take(StreamSpec::MAX_METADATA_BYTES);
        let spec = with_metadata(bytes.collect::<Vec<_>>());
        let id = GenerationId::fresh();
        fixture.log.create(id, &spec).await.unwrap();
        fixture.log.open_writer(id).await.unwrap().append(&[delta("text")]).await.unwrap();
        created.push((id, spec));
    }
    let fixture = fixture.reopen().await;
    for (id, spec) in created {
        // Not `assert_eq`: the difference would be too long to print.
        assert!(fixture.elsewhere.spec(id).await.unwrap().metadata == spec.metadata);
        assert_eq!(fixture.events(id).await, [delta("text")]);
    }
}

/// A request that is repeated finds what the first one left, though the same request may come with another metadata.
pub async fn the_first_metadata_stays(fixture: Fixture) {
    let id = GenerationId::fresh();
    let first = with_metadata("first");
    fixture.log.create(id, &first).await.unwrap();
    for metadata in ["second", ""] {
        let again = fixture.elsewhere.create(id, &with_metadata(metadata)).await.unwrap();
        assert_eq!(again, Created::Existing(first.fingerprint));
        assert_eq!(fixture.log.spec(id).await.unwrap(), first);
    }
    let without = fixture.stream().await;
    fixture.log.create(without, &with_metadata("late")).await.unwrap();
    assert_eq!(fixture.log.spec(without).await.unwrap().metadata, Bytes::new());

    let id = GenerationId::fresh();
    let specs = ["a", "b", "c", "d"].map(with_metadata);
    let logs = [&fixture.log, &fixture.elsewhere];
    let created = join_all(specs.iter().zip(logs.iter().cycle()).map(|(spec, log)| log.create(id, spec)));
    let created: Vec<_> = created.await.into_iter().map(Result::unwrap).collect();
    let new = created.iter().position(|&created| created == Created::New).unwrap();
    assert_eq!(fixture.log.spec(id).await.unwrap(), specs[new]);
}

/// Metadata is forgotten with its stream, and the next stream of that id has its own.
pub async fn metadata_goes_with_its_stream(fixture: Fixture) {
    let id = GenerationId::fresh();
    assert_not_found(fixture.log.spec(id).await, id);
    fixture.log.create(id, &with_metadata("old")).await.unwrap();
    fixture.log.remove(id).await.unwrap();
    assert_not_found(fixture.elsewhere.spec(id).await, id);
    fixture.log.create(id, &with_metadata("new")).await.unwrap();
    let writer = fixture.log.open_writer(id).await.unwrap();
    assert_eq!(fixture.elsewhere.spec(id).await.unwrap().metadata, "new");
    fixture.log.remove(id).await.unwrap();
    drop(writer);
    assert_not_found(fixture.elsewhere.spec(id).await, id);
    fixture.log.create(id, &spec(1)).await.unwrap();
    assert_eq!(fixture.elsewhere.spec(id).await.unwrap().metadata, Bytes::new());
}

/// A stream keeps its first caller in every phase and after a reopen. An anonymous caller stays anonymous.
pub async fn the_caller_of_a_stream_is_kept(fixture: Fixture) {
    let name = |name: &str| Caller::Named(CallerName::new(name).unwrap());
    let longest = "x".repeat(CallerName::MAX_BYTES);
    let mut created = Vec::new();
    for caller in [Caller::Anonymous, name("team/blue"), name(&longest)] {
        let id = GenerationId::fresh();
        let spec = StreamSpec { caller, ..with_metadata("what was asked") };
        assert_eq!(fixture.log.create(id, &spec).await.unwrap(), Created::New);
        let again = StreamSpec { caller: name("another"), ..spec.clone() };
        assert_eq!(fixture.log.create(id, &again).await.unwrap(), Created::Existing(spec.fingerprint));
        assert_eq!(fixture.elsewhere.spec(id).await.unwrap(), spec);
        fixture.log.open_writer(id).await.unwrap().append(&[delta("text")]).await.unwrap();
        assert_eq!(fixture.elsewhere.spec(id).await.unwrap(), spec);
        created.push((id, spec));
    }
    let fixture = fixture.reopen().await;
    for (id, spec) in created {
        assert_eq!(fixture.elsewhere.spec(id).await.unwrap(), spec);
        fixture.log.open_writer(id).await.unwrap().seal(&finished()).await.unwrap();
        assert_eq!(fixture.elsewhere.spec(id).await.unwrap(), spec);
    }
}
