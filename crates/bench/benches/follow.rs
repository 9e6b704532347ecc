//! What a piece costs one reader, from the log to entries and from the log to bytes: a finished stream, and one that is
//! followed piece by piece. The log is in memory, and there are no sockets.

use std::{sync::Arc, time::Duration};

use axum::body::Body;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use http_body_util::BodyExt;
use job_queue::memory::MemoryQueue;
use tokenwire_core::{
    Follower, GenerationId, Generations, ModelName, Seq, SystemClock, TokenLog, catalogue::ModelNames,
    generations::Limits,
};
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

mod common;
use common::{DAY, PIECES, begin, memory, pieces, seal};

async fn finished(log: &dyn TokenLog) -> GenerationId {
    let (id, mut writer) = begin(log).await;
    writer.append(&pieces(PIECES)).await.expect("the only writer");
    seal(&mut *writer).await;
    id
}

async fn follower(log: &Arc<dyn TokenLog>, id: GenerationId) -> Follower {
    Follower::open(Arc::clone(log), Arc::new(SystemClock), id, Seq::START).await.expect("it is there")
}

/// Entries, as every front end gets them.
fn follow(criterion: &mut Criterion) {
    let runtime = Runtime::new().expect("a runtime");
    let log = memory();
    let id = runtime.block_on(finished(&*log));
    let mut group = criterion.benchmark_group("follow");
    group.throughput(Throughput::Elements(PIECES as u64));
    group.bench_function("a finished stream", |bencher| {
        bencher.to_async(&runtime).iter(async || {
            let (mut follower, mut count) = (follower(&log, id).await, 0);
            while let Some(entries) = follower.next().await.expect("memory is always there") {
                count += entries.len();
            }
            assert_eq!(count, PIECES + 2);
        });
    });
    let piece = pieces(1);
    group.bench_function("piece by piece, append included", |bencher| {
        bencher.to_async(&runtime).iter(async || {
            let (id, mut writer) = begin(&*log).await;
            let mut follower = follower(&log, id).await;
            follower.next().await.expect("memory is always there");
            for _ in 0..PIECES {
                writer.append(&piece).await.expect("the only writer");
                follower.next().await.expect("memory is always there");
            }
            log.remove(id).await.expect("it is there");
        });
    });
    group.finish();
}

/// Bytes: the same through a front end.
fn encode(criterion: &mut Criterion) {
    let runtime = Runtime::new().expect("a runtime");
    let log = memory();
    let id = runtime.block_on(finished(&*log));
    let names = ModelNames::new(ModelName::new("none").expect("a plain name"), []);
    let limits = Limits { queue_time: DAY, run_time: Duration::from_secs(300) };
    let front = Generations::new(
        Arc::clone(&log),
        Arc::new(MemoryQueue::default()),
        Arc::new(SystemClock),
        names,
        limits,
    );
    let router = tokenwire_http::router(front, &tokenwire_http::Config::default(), CancellationToken::new());
    let mut group = criterion.benchmark_group("follow and encode");
    group.throughput(Throughput::Elements(PIECES as u64));
    for (name, path) in
        [("/ask", format!("/ask/{id}")), ("/v1/responses", format!("/v1/responses/{id}?stream=true"))]
    {
        group.bench_function(name, |bencher| {
            bencher.to_async(&runtime).iter(async || {
                let request = axum::http::Request::get(&path).body(Body::empty()).expect("a request");
                let answer = router.clone().oneshot(request).await.expect("it always answers");
                let body = answer.into_body().collect().await.expect("the whole body").to_bytes();
                assert!(body.len() > PIECES * 20);
            });
        });
    }
    group.finish();
}

criterion_group!(benches, follow, encode);
criterion_main!(benches);
