//! The product, assembled: which adapters stand behind the ports, and what each role runs.

use std::{io, net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use anyhow::{Context, bail};
use job_queue::{memory::MemoryQueue, rabbitmq::RabbitMq};
use journal::DirLock;
use metrics_exporter_prometheus::PrometheusBuilder;
use model::{Scripted, Simulated, Upstream};
use token_log::{memory::MemoryLog, redis::Redis};
use tokenwire_core::{
    Catalogue, Clock, Generations, JobQueue, Model, SteadyClock, TokenLog, Worker, catalogue::ModelNames,
};
use tokio::net::{TcpListener, TcpSocket};

use crate::{
    lifecycle::Lifecycle,
    settings::{self, Kind, Offered, Setting, Store},
};

/// How often the embedded store deletes expired streams and frees disk space.
const SWEEP_EVERY: Duration = Duration::from_secs(60);

/// How often the recorder folds the samples of its histograms; between two folds it keeps every one.
const UPKEEP_EVERY: Duration = Duration::from_secs(5);

/// The adapters behind the ports.
pub(crate) struct Ports {
    log: Arc<dyn TokenLog>,
    queue: Arc<dyn JobQueue>,
    clock: Arc<dyn Clock>,
    /// Of the data directory, if there is one. Released when everything has ended.
    _lock: Option<DirLock>,
}

impl Ports {
    /// Opens the store; its own tasks run as parts of the process.
    pub(crate) async fn open(
        store: Store,
        generations: &settings::Generations,
        lifecycle: &mut Lifecycle,
    ) -> anyhow::Result<Self> {
        match store {
            Store::Memory => {
                let clock: Arc<dyn Clock> = Arc::new(SteadyClock::default());
                let log = Arc::new(MemoryLog::new(Arc::clone(&clock), generations.retention));
                Ok(Self { log, queue: Arc::new(MemoryQueue::default()), clock, _lock: None })
            }
            Store::Embedded { dir, sync } => embedded(dir, sync, generations, lifecycle).await,
            Store::Cluster(cluster) => Self::cluster(*cluster).await,
        }
    }

    /// Connects to Redis and RabbitMQ, whenever they can be reached. A Redis that Tokenwire cannot work with is refused, where
    /// it can be reached now.
    pub(crate) async fn cluster(cluster: settings::Cluster) -> anyhow::Result<Self> {
        let clock: Arc<dyn Clock> = Arc::new(SteadyClock::default());
        let log = Redis::new(&cluster.redis, Arc::clone(&clock))
            .with_context(|| Setting::named("redis_url").to_string())?;
        log.check_mode().await?;
        let log = Arc::new(log);
        let queue = Arc::new(RabbitMq::new(cluster.rabbitmq));
        Ok(Self { log, queue, clock, _lock: None })
    }
}

async fn embedded(
    dir: PathBuf,
    sync: journal::Sync,
    generations: &settings::Generations,
    lifecycle: &mut Lifecycle,
) -> anyhow::Result<Ports> {
    let clock: Arc<dyn Clock> = Arc::new(SteadyClock::default());
    let lock = DirLock::take(&dir)?;
    let log_config =
        token_log::embedded::Config { sync, retention: generations.retention, ..Default::default() };
    let queue_config = job_queue::embedded::Config { sync, ..Default::default() };
    let (log, queue) = {
        let clock = Arc::clone(&clock);
        // Opening reads everything once.
        let opening = tokio::task::spawn_blocking(move || {
            let log = token_log::embedded::Embedded::open(&dir.join("log"), log_config, clock)
                .with_context(|| format!("opening the token log in {}", dir.display()))?;
            let queue = job_queue::embedded::Embedded::open(&dir.join("queue"), queue_config)
                .with_context(|| format!("opening the job queue in {}", dir.display()))?;
            anyhow::Ok((Arc::new(log), Arc::new(queue)))
        });
        opening.await.context("opening the data directory")??
    };
    let (soft, poisoned) = (
        lifecycle.soft.clone(),
        futures::future::select(Box::pin(log.poisoned()), Box::pin(queue.poisoned())),
    );
    lifecycle.spawn("the watch over the disk", async move {
        tokio::select! {
            () = soft.cancelled() => Ok(()),
            _ = poisoned => bail!("the data directory cannot be written any more; stored data is kept"),
        }
    });
    let (soft, streams, jobs) = (lifecycle.soft.clone(), Arc::clone(&log), Arc::clone(&queue));
    lifecycle.spawn("the sweep of the data directory", async move {
        while tokio::time::timeout(SWEEP_EVERY, soft.cancelled()).await.is_err() {
            streams.sweep().await;
            jobs.sweep().await;
        }
        Ok(())
    });
    Ok(Ports { log, queue, clock, _lock: Some(lock) })
}

/// The names of the models, for callers.
pub(crate) fn names(models: &settings::Models) -> ModelNames {
    ModelNames::new(models.default.clone(), models.all.keys().cloned())
}

/// The models. Loading a GGUF file takes seconds.
pub(crate) async fn load(models: settings::Models) -> anyhow::Result<Catalogue> {
    let mut catalogue = Catalogue::default();
    for (name, Offered { kind, defaults }) in models.all {
        let model: Arc<dyn Model> = match kind {
            Kind::Simulated(config) => Arc::new(Simulated::new(config)),
            Kind::Scripted(path) => {
                Arc::new(Scripted::load(path).with_context(|| format!("the model {name}"))?)
            }
            Kind::Upstream(config) => {
                Arc::new(Upstream::new(config).with_context(|| format!("the model {name}"))?)
            }
            #[cfg(feature = "gguf")]
            Kind::Gguf(gguf) => in_process(&name, gguf.into()).await?,
            // The settings have refused it already.
            #[cfg(not(feature = "gguf"))]
            Kind::Gguf(gguf) => {
                bail!("the model {name} ({}) needs a build with --features gguf", gguf.path.display())
            }
        };
        catalogue = catalogue.with(name, defaults.of(model));
    }
    Ok(catalogue)
}

#[cfg(feature = "gguf")]
async fn in_process(
    name: &tokenwire_core::ModelName,
    config: model::gguf::Config,
) -> anyhow::Result<Arc<dyn Model>> {
    tracing::info!(model = %name, path = %config.path.display(), "loading a model");
    let loading = tokio::task::spawn_blocking(move || model::Gguf::load(config));
    let loaded = loading.await.context("loading a model")?;
    Ok(Arc::new(loaded.with_context(|| format!("the model {name}"))?))
}

/// Takes the address of the page and the API. The first thing that a process does: one that cannot have its address must
/// not have begun anything. Clients that connect already wait until [`run_http`] answers them.
pub(crate) fn bind(http: &settings::Http) -> anyhow::Result<TcpListener> {
    listen(http.listen, http.front.max_connections).with_context(|| format!("listening on {}", http.listen))
}

/// Serves the page and the API.
pub(crate) fn run_http(
    listener: TcpListener,
    http: settings::Http,
    generations: &settings::Generations,
    models: ModelNames,
    ports: &Ports,
    lifecycle: &mut Lifecycle,
) -> anyhow::Result<()> {
    let address = listener.local_addr().context("reading the listen address")?;
    let front = Generations::new(
        Arc::clone(&ports.log),
        Arc::clone(&ports.queue),
        Arc::clone(&ports.clock),
        models,
        generations.limits,
    )
    .with_waiting_at_most(http.max_waiting);
    tracing::info!(%address, "listening on http://{address}");
    let (soft, hard) = (lifecycle.soft.clone(), lifecycle.hard.clone());
    let (watching, until) = (front.clone(), soft.clone());
    lifecycle.spawn("the watch over accepted generations", async move {
        watching.keep_watch(until).await;
        Ok(())
    });
    lifecycle.spawn("the HTTP server", async move {
        tokenwire_http::serve(listener, front, http.front, soft, hard).await;
        Ok(())
    });
    Ok(())
}

/// Listens with room for all clients to come back at once, as they do after a restart: one that finds the backlog full
/// hears nothing, and tries again after a second. The system has a limit of its own (`net.core.somaxconn`).
fn listen(address: SocketAddr, backlog: usize) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    // A restart need not wait until the connections of the last run are forgotten.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(i32::try_from(backlog).map_or(i32::MAX.cast_unsigned(), i32::cast_unsigned))
}

/// Serves the metrics of this process, if an address is set.
pub(crate) async fn run_metrics(listen: Option<SocketAddr>, lifecycle: &mut Lifecycle) -> anyhow::Result<()> {
    let Some(listen) = listen else { return Ok(()) };
    let recorder = PrometheusBuilder::new().build_recorder();
    let handle = recorder.handle();
    metrics::set_global_recorder(recorder).context("installing the metrics recorder")?;
    tokenwire_core::metrics::describe();
    tokenwire_http::metrics::describe();
    job_queue::metrics::describe();
    model::upstream::metrics::describe();
    let listener =
        TcpListener::bind(listen).await.with_context(|| format!("listening on {listen} for metrics"))?;
    let (soft, hard, upkeep) = (lifecycle.soft.clone(), lifecycle.hard.clone(), handle.clone());
    lifecycle.spawn("the metrics server", async move {
        tokenwire_http::serve_operators(listener, move || handle.render(), soft, hard).await;
        Ok(())
    });
    let soft = lifecycle.soft.clone();
    lifecycle.spawn("the upkeep of the metrics", async move {
        while tokio::time::timeout(UPKEEP_EVERY, soft.cancelled()).await.is_err() {
            upkeep.run_upkeep();
        }
        Ok(())
    });
    Ok(())
}

/// Runs jobs.
pub(crate) fn run_worker(
    worker: settings::Worker,
    models: Catalogue,
    ports: &Ports,
    lifecycle: &mut Lifecycle,
) {
    tracing::info!(slots = worker.config.slots, region = worker.config.region, "worker started");
    let worker = Worker::new(
        Arc::clone(&ports.log),
        Arc::clone(&ports.queue),
        models,
        Arc::clone(&ports.clock),
        worker.config,
    );
    let (soft, hard) = (lifecycle.soft.clone(), lifecycle.hard.clone());
    lifecycle.spawn("the worker", async move {
        worker.run(soft, hard).await;
        Ok(())
    });
}
