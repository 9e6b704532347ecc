//! Every promise of the port, between two processes.

use std::sync::Arc;

use testkit::conformance::token_log::Fixture;

use crate::support::{config, open};

async fn redis() -> Fixture {
    let config = config(testkit::services::Redis::shared().await.url());
    Fixture::new(Arc::new(open(&config))).elsewhere(Arc::new(open(&config))).reopening(move || {
        let config = config.clone();
        Box::pin(async move { Arc::new(open(&config)) as _ })
    })
}

testkit::token_log_conformance!(real redis);
