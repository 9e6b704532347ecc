//! `tokenwire api`: the page and the API alone, on RabbitMQ and Redis.

use std::process::ExitCode;

use crate::{
    compose::{Ports, bind, names, run_http, run_metrics},
    descriptors,
    lifecycle::Lifecycle,
    settings::Api,
};

pub(crate) async fn run(mut settings: Api) -> anyhow::Result<ExitCode> {
    descriptors::raise();
    let mut lifecycle = Lifecycle::new()?;
    descriptors::fit(&mut settings.http.front, 0);
    let listener = bind(&settings.http)?;
    run_metrics(settings.metrics, &mut lifecycle).await?;
    let ports = Ports::cluster(settings.cluster).await?;
    run_http(
        listener,
        settings.http,
        &settings.generations,
        names(&settings.models),
        &ports,
        &mut lifecycle,
    )?;
    Ok(lifecycle.run(settings.generations.drain).await)
}
