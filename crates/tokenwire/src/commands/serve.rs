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
    let models = load(settings.models).await?;
    // An upstream takes one for each generation.
    descriptors::fit(&mut settings.http.front, settings.worker.config.slots);
    run_worker(settings.worker, models.clone(), &ports, &mut lifecycle);
    run_http(settings.http, &settings.generations, names.checked_by(models), &ports, &mut lifecycle).await?;
    Ok(lifecycle.run(settings.generations.drain).await)
}
