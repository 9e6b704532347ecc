//! What an appended piece costs: on memory, and on the journal with and without the disk. Of one stream, one append after the
//! other: group commit, which is where many streams share a disk, is what `bench streams` measures.

use std::{hint::black_box, sync::Arc};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use token_log::embedded::{Config, Embedded};
use tokenwire_core::{SystemClock, TokenLog};
use tokio::runtime::Runtime;

mod common;
use common::{PIECES, begin, memory, pieces, seal};

fn append(criterion: &mut Criterion) {
    let runtime = Runtime::new().expect("a runtime");
    let directory = tempfile::tempdir().expect("a temporary directory");
    let embedded = |name: &str, sync| -> Arc<dyn TokenLog> {
        let config = Config { sync, ..Config::default() };
        Arc::new(Embedded::open(&directory.path().join(name), config, Arc::new(SystemClock)).expect("a log"))
    };
    let mut group = criterion.benchmark_group("append");
    group.sample_size(20).throughput(Throughput::Elements(PIECES as u64));
    for (name, log) in [
        ("memory", memory()),
        ("journal, os", embedded("os", journal::Sync::Os)),
        ("journal, commit", embedded("commit", journal::Sync::Commit)),
    ] {
        for size in [1, 10, 100] {
            let batch = pieces(size);
            group.bench_function(BenchmarkId::new(name, format!("{size} at a time")), |bencher| {
                bencher.to_async(&runtime).iter(async || {
                    let (id, mut writer) = begin(&*log).await;
                    for _ in 0..PIECES / size {
                        writer.append(black_box(&batch)).await.expect("the only writer");
                    }
                    seal(&mut *writer).await;
                    log.remove(id).await.expect("it is there");
                });
            });
        }
    }
    group.finish();
}

criterion_group!(benches, append);
criterion_main!(benches);
