//! `tokenwire serve`: API and worker in one process.

use std::process::ExitCode;

use crate::{
    compose::{Ports, load, names, run_http, run_metrics, run_worker},
    descriptors,
    lifecycle::Lifecycle,
    settings::Serve,
};

pub(crate) async fn run(mut settings: Serve) -> anyhow::Result<ExitCode> {
    descriptors::raise();
    let mut lifecycle = Lifecycle::new()?;
    run_metrics(settings.metrics, &mut lifecycle).await?;
    let ports = Ports::open(settings.store, &settings.generations, &mut lifecycle).await?;
    let names = names(&settings.models);
    // Each generation of an upstream is a connection to it.
    let upstreams = if settings.models.has_upstream() { settings.worker.config.slots } else { 0 };
    let models = load(settings.models).await?;
    descriptors::fit(&mut settings.http.front, upstreams);
    run_worker(settings.worker, models.clone(), &ports, &mut lifecycle);
    run_http(settings.http, &settings.generations, names.checked_by(models), &ports, &mut lifecycle).await?;
    Ok(lifecycle.run(settings.generations.drain).await)
}
