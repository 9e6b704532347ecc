//! Retention, full disks and broken ones.

use std::{
    fs,
    os::unix::fs::FileExt,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
};

use tokenwire_core::{LogError, Timestamp};

use super::*;

/// A clock that a test moves.
#[derive(Debug)]
struct Hands(AtomicU64);

impl Hands {
    fn at(time: Timestamp) -> Arc<Self> {
        Arc::new(Self(AtomicU64::new(time.as_millis())))
    }

    fn advance(&self, by: Duration) {
        self.0.fetch_add(u64::try_from(by.as_millis()).unwrap(), Ordering::SeqCst);
    }
}

impl Clock for Hands {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.0.load(Ordering::SeqCst))
    }
}

fn bytes_in(dir: &Path) -> u64 {
    fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().metadata().unwrap().len()).sum()
}

async fn generate(log: &Embedded, pieces: usize) -> GenerationId {
    let (id, mut writer) = writing(log).await;
    writer.append(&[started()]).await.unwrap();
    for _ in 0..pieces {
        writer.append(&[delta("some text that takes space")]).await.unwrap();
    }
    writer.seal(&finished()).await.unwrap();
    id
}

fn is_not_found<T>(result: &Result<T, LogError>) -> bool {
    matches!(result, Err(LogError::NotFound(_)))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sealed_stream_is_forgotten_after_its_retention_and_its_space_is_given_back() {
    let dir = TempDir::new().unwrap();
    let clock = Hands::at(SystemClock.now());
    let log = Embedded::open(dir.path(), SMALL, Arc::clone(&clock) as _).unwrap();
    let old = generate(&log, 100).await;
    let full = bytes_in(dir.path());
    clock.advance(SMALL.retention / 2);
    let young = generate(&log, 100).await;

    log.sweep().await;
    assert_eq!(entries(&log, old).await.len(), 102, "its time is not over");
    clock.advance(SMALL.retention / 2);
    log.sweep().await;
    assert!(is_not_found(&log.read(old, Seq::START, 1.try_into().unwrap()).await));
    assert!(is_not_found(&log.spec(old).await));
    assert_eq!(entries(&log, young).await.len(), 102);
    assert!(bytes_in(dir.path()) < full + full / 4, "only the younger one takes space");

    // What shares a segment with a younger stream stays forgotten.
    drop(log);
    let log = Embedded::open(dir.path(), SMALL, Arc::clone(&clock) as _).unwrap();
    assert!(is_not_found(&log.read(old, Seq::START, 1.try_into().unwrap()).await));
    assert_eq!(entries(&log, young).await.len(), 102);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_that_never_ended_is_forgotten_too_and_its_writer_told() {
    let dir = TempDir::new().unwrap();
    let clock = Hands::at(SystemClock.now());
    let log = Embedded::open(dir.path(), SMALL, Arc::clone(&clock) as _).unwrap();
    let (id, mut writer) = writing(&log).await;
    clock.advance(SMALL.retention);
    log.sweep().await;
    assert_eq!(entries(&log, id).await, [], "its end lies ahead");
    clock.advance(Duration::from_secs(121));
    log.sweep().await;
    assert!(is_not_found(&writer.append(&[delta("late")]).await));

    // Its id is free, and the new stream is the one that comes back.
    log.create(id, &StreamSpec { end_by: clock.now().after(Duration::from_secs(9)), ..spec() })
        .await
        .unwrap();
    let mut newer = log.open_writer(id).await.unwrap();
    newer.append(&[delta("new")]).await.unwrap();
    assert!(is_not_found(&writer.append(&[delta("late")]).await));
    drop((log, writer, newer));
    let log = Embedded::open(dir.path(), SMALL, clock).unwrap();
    assert_eq!(entries(&log, id).await[0].event, delta("new"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn metadata_lives_as_long_as_its_stream_on_the_disk_and_takes_no_space_after_it() {
    let dir = TempDir::new().unwrap();
    let clock = Hands::at(SystemClock.now());
    let log = Embedded::open(dir.path(), SMALL, Arc::clone(&clock) as _).unwrap();
    let large = StreamSpec { metadata: vec![0xa5; StreamSpec::MAX_METADATA_BYTES].into(), ..spec() };
    let (old, young) = (GenerationId::fresh(), GenerationId::fresh());
    for id in [old, young] {
        log.create(id, &large).await.unwrap();
        generate(&log, 100).await;
        if id == old {
            log.open_writer(id).await.unwrap().seal(&finished()).await.unwrap();
            clock.advance(SMALL.retention / 2);
        }
    }
    let mut writer = log.open_writer(young).await.unwrap();
    writer.append(&[started()]).await.unwrap();
    writer.seal(&finished()).await.unwrap();
    let full = bytes_in(dir.path());
    assert!(log.shared.index.all().iter().all(|stream| stream.spec.metadata.is_empty()), "none in memory");

    clock.advance(SMALL.retention / 2);
    log.sweep().await;
    assert!(is_not_found(&log.spec(old).await));
    assert!(log.spec(young).await.unwrap() == large);
    assert!(
        bytes_in(dir.path()) < full - StreamSpec::MAX_METADATA_BYTES as u64,
        "the older metadata is given back"
    );

    drop((log, writer));
    let log = Embedded::open(dir.path(), SMALL, Arc::clone(&clock) as _).unwrap();
    assert!(log.spec(young).await.unwrap() == large, "and the younger one is still there after a restart");
    assert!(log.shared.index.all().iter().all(|stream| stream.spec.metadata.is_empty()), "none in memory");
    clock.advance(SMALL.retention);
    log.sweep().await;
    assert!(is_not_found(&log.spec(young).await));
    assert!(bytes_in(dir.path()) < 100_000);
}

/// A disk that fails on request.
#[derive(Debug, Default)]
struct FaultyDisk {
    full: AtomicBool,
    broken: AtomicBool,
}

impl Medium for FaultyDisk {
    fn write_all_at(&self, file: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
        if self.full.load(Ordering::SeqCst) {
            Err(io::ErrorKind::StorageFull.into())
        } else {
            file.write_all_at(bytes, offset)
        }
    }

    fn flush(&self, file: &File) -> io::Result<()> {
        if self.broken.load(Ordering::SeqCst) {
            Err(io::Error::other("torn cable"))
        } else {
            file.sync_data()
        }
    }
}

fn is_unavailable<T>(result: &Result<T, LogError>) -> bool {
    matches!(result, Err(LogError::Unavailable(_)))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_holds_a_stream_up_and_breaks_nothing() {
    let dir = TempDir::new().unwrap();
    let disk = Arc::new(FaultyDisk::default());
    let log = Embedded::open_on(Arc::clone(&disk) as _, dir.path(), SMALL, Arc::new(SystemClock)).unwrap();
    let (id, mut writer) = writing(&log).await;
    writer.append(&[started()]).await.unwrap();
    log.ready().await.unwrap();

    disk.full.store(true, Ordering::SeqCst);
    assert!(is_unavailable(&writer.append(&[delta("a"), delta("b")]).await));
    assert!(is_unavailable(&log.ready().await));
    assert!(is_unavailable(&log.open_writer(id).await));
    let fresh = GenerationId::fresh();
    assert!(is_unavailable(&log.create(fresh, &spec()).await));
    assert!(is_not_found(&log.open_writer(fresh).await));

    disk.full.store(false, Ordering::SeqCst);
    assert_eq!(writer.append(&[delta("a"), delta("b")]).await.unwrap(), Seq::new(3));
    writer.seal(&finished()).await.unwrap();
    log.create(fresh, &spec()).await.unwrap();
    log.ready().await.unwrap();
    drop((log, writer));
    let log = open(dir.path());
    assert_eq!(entries(&log, id).await.len(), 4);
    assert_eq!(entries(&log, fresh).await, []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_that_cannot_flush_is_reported_and_nothing_undurable_is_shown() {
    let dir = TempDir::new().unwrap();
    let disk = Arc::new(FaultyDisk::default());
    let config = Config { sync: Sync::Commit, ..SMALL };
    let log = Embedded::open_on(Arc::clone(&disk) as _, dir.path(), config, Arc::new(SystemClock)).unwrap();
    let (id, mut writer) = writing(&log).await;
    writer.append(&[started()]).await.unwrap();
    disk.broken.store(true, Ordering::SeqCst);
    assert!(is_unavailable(&writer.append(&[delta("a")]).await));
    tokio::time::timeout(Duration::from_secs(10), log.poisoned()).await.unwrap();
    disk.broken.store(false, Ordering::SeqCst);
    assert!(is_unavailable(&writer.append(&[delta("a")]).await));
    assert!(is_unavailable(&log.ready().await));
    assert_eq!(entries(&log, id).await.len(), 1, "I2");
}
