//! `tokenwire worker`: a worker alone, on RabbitMQ and Redis.

use std::process::ExitCode;

use crate::{
    compose::{Ports, load, run_metrics, run_worker},
    descriptors,
    lifecycle::Lifecycle,
    settings::Work,
};

pub(crate) async fn run(settings: Work) -> anyhow::Result<ExitCode> {
    descriptors::raise();
    let mut lifecycle = Lifecycle::new()?;
    run_metrics(settings.metrics, &mut lifecycle).await?;
    let models = load(settings.models).await?;
    let ports = Ports::cluster(settings.cluster).await?;
    run_worker(settings.worker, models, &ports, &mut lifecycle);
    Ok(lifecycle.run(settings.generations.drain).await)
}
