//! From the command line's text to settings that can be trusted.
//!
//! Everything that is wrong is found in one pass and explained together: what it is, what it means, what to do. Past this
//! module no setting is checked again.

mod models;
mod parse;
mod problems;
mod setting;

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    num::NonZeroU16,
    path::PathBuf,
    time::Duration,
};

use job_queue::rabbitmq;
use model::simulated;
use token_log::redis;
use tokenwire_core::{generations::Limits, token_log::OnDisconnect, worker};
use tokenwire_http::Cors;

use models::Use;
pub(crate) use models::{Kind, Models, Offered};
pub(crate) use problems::Problems;
pub(crate) use setting::Setting;
#[cfg(test)]
pub(crate) use setting::default_of;
use setting::setting;

use crate::cli;

/// The broker gives a job back to another worker when it is not acknowledged for this long (RabbitMQ's default
/// `consumer_timeout`).
const BROKER_ACK_TIMEOUT: Duration = Duration::from_secs(30 * 60);

/// Connections beside the streams: a full server still accepts a stop and answers health checks.
const OTHER_CONNECTIONS: usize = 2_000;

/// What `serve` runs on.
#[derive(Debug)]
pub(crate) struct Serve {
    /// Where to serve the metrics, if anywhere.
    pub(crate) metrics: Option<SocketAddr>,
    pub(crate) models: Models,
    pub(crate) http: Http,
    pub(crate) generations: Generations,
    pub(crate) worker: Worker,
    pub(crate) store: Store,
}

/// What `api` runs on.
#[derive(Debug)]
pub(crate) struct Api {
    /// Where to serve the metrics, if anywhere.
    pub(crate) metrics: Option<SocketAddr>,
    pub(crate) models: Models,
    pub(crate) http: Http,
    pub(crate) generations: Generations,
    pub(crate) cluster: Cluster,
}

/// What `worker` runs on.
#[derive(Debug)]
pub(crate) struct Work {
    /// Where to serve the metrics, if anywhere.
    pub(crate) metrics: Option<SocketAddr>,
    pub(crate) models: Models,
    pub(crate) generations: Generations,
    pub(crate) worker: Worker,
    pub(crate) cluster: Cluster,
}

#[derive(Debug)]
pub(crate) struct Http {
    pub(crate) listen: SocketAddr,
    /// How many prompts may wait for a worker.
    pub(crate) max_waiting: usize,
    pub(crate) front: tokenwire_http::Config,
}

#[derive(Debug)]
pub(crate) struct Generations {
    pub(crate) limits: Limits,
    pub(crate) retention: Duration,
    pub(crate) drain: Duration,
}

#[derive(Debug)]
pub(crate) struct Worker {
    /// As in `config`, and as RabbitMQ's prefetch.
    slots: NonZeroU16,
    pub(crate) config: worker::Config,
}

/// Where queue and log are.
#[derive(Debug)]
pub(crate) enum Store {
    Memory,
    Embedded { dir: PathBuf, sync: journal::Sync },
    Cluster(Box<Cluster>),
}

/// Where `inspect` looks.
#[derive(Debug)]
pub(crate) enum Place {
    /// The data directory.
    Embedded(PathBuf),
    Redis(redis::Config),
}

/// Redis and RabbitMQ, as given; the rest of their configuration follows from the role.
#[derive(Clone, Debug)]
pub(crate) struct Cluster {
    pub(crate) redis: redis::Config,
    pub(crate) rabbitmq: rabbitmq::Config,
}

impl fmt::Display for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Memory => write!(f, "keeps everything in memory"),
            Self::Embedded { dir, sync } => {
                write!(f, "keeps everything in {} (sync {sync:?})", dir.display())
            }
            Self::Cluster(_) => write!(f, "on RabbitMQ and Redis"),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Embedded(dir) => write!(f, "the data directory {}", dir.display()),
            Self::Redis(config) => write!(f, "Redis under the prefix {}", config.prefix),
        }
    }
}

impl fmt::Display for Worker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} generations at once", self.slots)
    }
}

/// Drain time, if none is set. A single process continues its generations after the restart, so its drain is short.
const DRAIN_SERVE: Duration = Duration::from_secs(2);
const DRAIN_CLUSTER: Duration = Duration::from_secs(30);

/// Reads the settings of `serve`.
pub(crate) fn serve(cli: &cli::Serve) -> Result<Serve, Problems> {
    let mut problems = Problems::default();
    let http = http(&cli.http, &mut problems);
    let generations = generations(&cli.generations, DRAIN_SERVE, &mut problems);
    let worker = worker(&cli.worker, generations.as_ref(), &mut problems);
    let models = run_models(&cli.models, &cli.simulated, &mut problems);
    let store = store(cli, models.as_ref(), generations.as_ref(), worker.as_ref(), &mut problems);
    let metrics = metrics(&cli.metrics, &mut problems);
    problems.finish(|| {
        Some(Serve {
            metrics: metrics?,
            models: models?,
            http: http?,
            generations: generations?,
            worker: worker?,
            store: store?,
        })
    })
}

/// Reads the settings of `api`.
pub(crate) fn api(
    http_cli: &cli::Http,
    generations_cli: &cli::Generations,
    models_cli: &cli::Catalogue,
    metrics_cli: &cli::Metrics,
    cluster_cli: &cli::Cluster,
) -> Result<Api, Problems> {
    let mut problems = Problems::default();
    let http = http(http_cli, &mut problems);
    let generations = generations(generations_cli, DRAIN_CLUSTER, &mut problems);
    let models = models::models(models_cli, simulated::Config::default(), Use::Name, &mut problems);
    let cluster = cluster(cluster_cli, models.as_ref(), generations.as_ref(), None, &mut problems);
    let metrics = metrics(metrics_cli, &mut problems);
    problems.finish(|| {
        Some(Api {
            metrics: metrics?,
            models: models?,
            http: http?,
            generations: generations?,
            cluster: cluster?,
        })
    })
}

/// Reads the settings of `worker`.
pub(crate) fn work(
    generations_cli: &cli::Generations,
    worker_cli: &cli::Worker,
    models_cli: &cli::Catalogue,
    simulated_cli: &cli::Simulated,
    metrics_cli: &cli::Metrics,
    cluster_cli: &cli::Cluster,
) -> Result<Work, Problems> {
    let mut problems = Problems::default();
    let generations = generations(generations_cli, DRAIN_CLUSTER, &mut problems);
    let worker = worker(worker_cli, generations.as_ref(), &mut problems);
    let models = run_models(models_cli, simulated_cli, &mut problems);
    let cluster = cluster(cluster_cli, models.as_ref(), generations.as_ref(), worker.as_ref(), &mut problems);
    let metrics = metrics(metrics_cli, &mut problems);
    problems.finish(|| {
        Some(Work {
            metrics: metrics?,
            models: models?,
            generations: generations?,
            worker: worker?,
            cluster: cluster?,
        })
    })
}

#[expect(clippy::option_option, reason = "the outer level is a problem, the inner one is a setting left out")]
fn metrics(cli: &cli::Metrics, problems: &mut Problems) -> Option<Option<SocketAddr>> {
    problems.given(setting!(cli.metrics_listen), parse::address)
}

/// Reads the settings of `inspect`: as `serve` does, as far as they say where streams are.
pub(crate) fn inspect(cli: &cli::Inspect) -> Result<Place, Problems> {
    let mut problems = Problems::default();
    let embedded = &cli.embedded;
    let place = match choice(embedded, &cli.cluster, &mut problems) {
        Some(Choice::Embedded { dir, sync: _ }) => Some(Place::Embedded(dir)),
        Some(Choice::Cluster) => redis_place(&cli.cluster, &mut problems).map(Place::Redis),
        Some(Choice::Memory) => {
            let ephemeral = setting!(embedded.ephemeral);
            problems.push(format!(
                "{ephemeral} keeps streams in the memory of one process: `inspect` cannot read them"
            ));
            None
        }
        None => None,
    };
    problems.finish(|| place)
}

fn http(cli: &cli::Http, problems: &mut Problems) -> Option<Http> {
    let port = problems.setting(setting!(cli.port), parse::port);
    let listen = match problems.given(setting!(cli.listen), parse::address) {
        Some(None) => port.map(|port| SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port)),
        listen => listen.flatten(),
    };
    let cors = match problems.given(setting!(cli.cors), parse::cors) {
        Some(None) => listen.map(|listen| if listen.ip().is_loopback() { Cors::Any } else { Cors::Off }),
        cors => cors.flatten(),
    };
    let max_streams = problems.setting(setting!(cli.max_streams), parse::count);
    let max_waiting = problems.setting(setting!(cli.max_waiting), parse::count);
    let heartbeat = problems.setting(setting!(cli.heartbeat), parse::positive_duration);
    let grace = problems.setting(setting!(cli.disconnect_grace), parse::duration);
    if let Some(heartbeat) = heartbeat.filter(|heartbeat| *heartbeat > Duration::from_secs(20)) {
        problems.push(format!(
            "{} is {heartbeat:?}: clients give up a silent stream after 25 s; set it to 20s or less",
            setting!(cli.heartbeat)
        ));
    }
    let front = tokenwire_http::Config {
        cors: cors?,
        max_streams: max_streams?,
        max_connections: max_streams?.saturating_add(OTHER_CONNECTIONS),
        heartbeat: heartbeat?,
        on_disconnect: OnDisconnect::CancelAfter(grace?),
        ..tokenwire_http::Config::default()
    };
    Some(Http { listen: listen?, max_waiting: max_waiting?, front })
}

fn generations(cli: &cli::Generations, drain: Duration, problems: &mut Problems) -> Option<Generations> {
    let run_time = problems.setting(setting!(cli.timeout), parse::seconds_or_duration);
    let queue_time = problems.setting(setting!(cli.queue_time), parse::positive_duration);
    let retention = problems.setting(setting!(cli.retention), parse::positive_duration);
    let drain = match problems.given(setting!(cli.drain), parse::duration) {
        Some(None) => Some(drain),
        drain => drain.flatten(),
    };
    let limits = Limits { queue_time: queue_time?, run_time: run_time? };
    Some(Generations { limits, retention: retention?, drain: drain? })
}

fn worker(cli: &cli::Worker, generations: Option<&Generations>, problems: &mut Problems) -> Option<Worker> {
    let slots = problems.setting(setting!(cli.slots), parse::slots);
    let attempts = problems.setting(setting!(cli.attempts), parse::count);
    let stall_time = problems.setting(setting!(cli.stall_time), parse::positive_duration);
    let slots = slots?;
    let config = worker::Config {
        slots: usize::from(slots.get()),
        attempts: attempts?,
        run_time: generations?.limits.run_time,
        stall_time: stall_time?,
        region: setting!(cli.region).given().map(str::to_owned),
        ..worker::Config::default()
    };
    Some(Worker { slots, config })
}

/// The models of a role that runs them.
fn run_models(
    cli: &cli::Catalogue,
    simulated_cli: &cli::Simulated,
    problems: &mut Problems,
) -> Option<Models> {
    let simulated = simulated(simulated_cli, problems);
    models::models(cli, simulated.clone().unwrap_or_default(), Use::Run, problems)
        .filter(|_| simulated.is_some())
}

fn simulated(simulated: &cli::Simulated, problems: &mut Problems) -> Option<simulated::Config> {
    let delay = problems.setting(setting!(simulated.simulated_delay), parse::duration);
    let first_delay = problems.setting(setting!(simulated.simulated_first_delay), parse::duration);
    let words = problems.given(setting!(simulated.simulated_words), parse::count);
    let fault = problems.given(setting!(simulated.simulated_fault), parse::fault);
    Some(simulated::Config {
        delay: delay?,
        first_delay: first_delay?,
        words: words?,
        fault: fault?,
        ..simulated::Config::default()
    })
}

fn store(
    cli: &cli::Serve,
    models: Option<&Models>,
    generations: Option<&Generations>,
    worker: Option<&Worker>,
    problems: &mut Problems,
) -> Option<Store> {
    match choice(&cli.embedded, &cli.cluster, problems)? {
        Choice::Memory => Some(Store::Memory),
        Choice::Embedded { dir, sync } => Some(Store::Embedded { dir, sync }),
        Choice::Cluster => cluster(&cli.cluster, models, generations, worker, problems)
            .map(|cluster| Store::Cluster(Box::new(cluster))),
    }
}

/// Which store the settings choose.
enum Choice {
    Memory,
    Embedded { dir: PathBuf, sync: journal::Sync },
    Cluster,
}

fn choice(embedded: &cli::Embedded, cluster: &cli::Cluster, problems: &mut Problems) -> Option<Choice> {
    let of_cluster = of_cluster(cluster);
    let (data_dir, sync, ephemeral) =
        (setting!(embedded.data_dir), setting!(embedded.sync), setting!(embedded.ephemeral));
    let level = problems.setting(sync, parse::sync);
    let of_embedded = [data_dir, sync].into_iter().filter(|setting| setting.given().is_some());
    if embedded.ephemeral {
        for setting in of_embedded.chain(of_cluster.iter().copied()) {
            problems.push(format!("{setting} and {ephemeral} exclude each other: remove one"));
        }
        return Some(Choice::Memory);
    }
    let Some(chooses) = of_cluster.first() else {
        return Some(Choice::Embedded { dir: PathBuf::from(data_dir.or_default()), sync: level? });
    };
    for setting in of_embedded {
        problems.push(format!(
            "{setting} is for the embedded store, but {chooses} chooses Redis and RabbitMQ: remove one"
        ));
    }
    Some(Choice::Cluster)
}

/// The Redis and RabbitMQ settings that are given; any of them chooses both.
fn of_cluster(cli: &cli::Cluster) -> Vec<Setting<'_>> {
    let settings = [
        setting!(cli.redis_url),
        setting!(cli.redis_host),
        setting!(cli.redis_port),
        setting!(cli.amqp_url),
        setting!(cli.rabbitmq_host),
        setting!(cli.rabbitmq_port),
        setting!(cli.rabbitmq_user),
        setting!(cli.rabbitmq_pass),
    ];
    settings.into_iter().filter(|setting| setting.given().is_some()).collect()
}

fn cluster(
    cli: &cli::Cluster,
    models: Option<&Models>,
    generations: Option<&Generations>,
    worker: Option<&Worker>,
    problems: &mut Problems,
) -> Option<Cluster> {
    let redis = redis_place(cli, problems);
    let address = parse::amqp_address(cli, problems);
    let queue = problems.setting(setting!(cli.queue), parse::queue_name);
    if let Some(run_time) = generations.map(|generations| generations.limits.run_time)
        && run_time >= BROKER_ACK_TIMEOUT
    {
        problems.push(format!(
            "{} is {run_time:?}, but RabbitMQ takes a job away from its worker after {BROKER_ACK_TIMEOUT:?} \
             (its consumer_timeout): use a shorter time",
            Setting::named("timeout")
        ));
    }
    let retention = generations?.retention;
    let redis = redis::Config { retention, ..redis? };
    let mut rabbitmq =
        rabbitmq::Config { queue: queue?, ..rabbitmq::Config::new(address?, models?.default.clone()) };
    if let Some(worker) = worker {
        rabbitmq.prefetch = worker.slots;
    }
    Some(Cluster { redis, rabbitmq })
}

/// Where in Redis streams are.
fn redis_place(cli: &cli::Cluster, problems: &mut Problems) -> Option<redis::Config> {
    let url = parse::redis_url(cli, problems);
    let prefix = problems.setting(setting!(cli.redis_prefix), parse::prefix);
    Some(redis::Config { url: url?, prefix: prefix?, ..redis::Config::default() })
}
