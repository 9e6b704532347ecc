//! `tokenwire api`: the page and the API alone, on RabbitMQ and Redis.

use std::process::ExitCode;

use crate::{
    compose::{Ports, names, run_http, run_metrics},
    lifecycle::Lifecycle,
    settings::Api,
};

pub(crate) async fn run(settings: Api) -> anyhow::Result<ExitCode> {
    let mut lifecycle = Lifecycle::new()?;
    run_metrics(settings.metrics, &mut lifecycle).await?;
    let ports = Ports::cluster(settings.cluster)?;
    run_http(settings.http, &settings.generations, names(&settings.models), &ports, &mut lifecycle).await?;
    Ok(lifecycle.run(settings.generations.drain).await)
}
