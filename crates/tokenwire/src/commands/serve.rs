//! `tokenwire serve`: API and worker in one process.

use std::process::ExitCode;

use crate::{
    compose::{Ports, bind, load, names, run_http, run_metrics, run_worker},
    descriptors,
    lifecycle::Lifecycle,
    settings::Serve,
};

pub(crate) async fn run(mut settings: Serve) -> anyhow::Result<ExitCode> {
    descriptors::raise();
    let mut lifecycle = Lifecycle::new()?;
    // Each generation of an upstream is a connection to it.
    let upstreams = if settings.models.has_upstream() { settings.worker.config.slots } else { 0 };
    descriptors::fit(&mut settings.http.front, upstreams);
    // The steps that may fail come first: a start that fails leaves nothing behind, and has leased nothing.
    let listener = bind(&settings.http)?;
    run_metrics(settings.metrics, &mut lifecycle).await?;
    let names = names(&settings.models);
    let models = load(settings.models).await?;
    let ports = Ports::open(settings.store, &settings.generations, &mut lifecycle).await?;
    let checked = names.checked_by(models.clone());
    run_http(listener, settings.http, &settings.generations, checked, &ports, &mut lifecycle)?;
    run_worker(settings.worker, models, &ports, &mut lifecycle);
    Ok(lifecycle.run(settings.generations.drain).await)
}
