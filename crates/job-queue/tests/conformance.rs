//! Every adapter keeps every promise of the port.

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};

use job_queue::{
    embedded::{Config, Embedded},
    memory::MemoryQueue,
    rabbitmq::{Config as BrokerConfig, RabbitMq},
};
use testkit::{conformance::job_queue::Fixture, services};
use tokenwire_core::{JobQueue, ModelName};

async fn memory() -> Fixture {
    Fixture::new(Arc::new(MemoryQueue::default()))
}

testkit::job_queue_conformance!(paused memory);

async fn embedded() -> Fixture {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let path = dir.path().to_owned();
    Fixture::new(open(&path))
        .reopening(move || {
            let queue = open(&path);
            Box::pin(async { queue })
        })
        .keeping(dir)
}

fn open(dir: &Path) -> Arc<dyn JobQueue> {
    // Small segments, so that every promise is kept across some.
    let config = Config { segment_bytes: 1024, ..Config::default() };
    Arc::new(Embedded::open(dir, config).expect("an empty or whole queue opens"))
}

testkit::job_queue_conformance!(real embedded);

async fn rabbitmq() -> Fixture {
    static FIXTURES: AtomicU32 = AtomicU32::new(0);
    let name = format!("conformance.{}", FIXTURES.fetch_add(1, Ordering::Relaxed));
    let broker = services::RabbitMq::shared().await;
    let open = move || -> Arc<dyn JobQueue> {
        let address = broker.url().parse().expect("the address of a broker");
        let model = ModelName::new("simulated").expect("a plain name");
        let queue = name.parse().expect("a plain name");
        Arc::new(RabbitMq::new(BrokerConfig { queue, ..BrokerConfig::new(address, model) }))
    };
    Fixture::new(open()).elsewhere(open()).reopening(move || {
        let queue = open();
        Box::pin(async { queue })
    })
}

testkit::job_queue_conformance!(real rabbitmq);
