//! The command line, and every setting's one definition: flag, environment name, default and manual entry. `docs/config.md`
//! and `--help` are generated from here.
//!
//! Values are kept as text: [`crate::settings`] turns them into settings and explains everything that is wrong with them
//! at once.

pub(crate) mod client;

use clap::{Args, Parser, Subcommand};
use tokenwire_core::GenerationId;

/// Streams answers of language models, and never loses one.
#[derive(Debug, Parser)]
#[command(version, max_term_width = 100, disable_help_subcommand = true)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
    #[command(flatten)]
    pub(crate) logs: Logs,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Runs everything in one process: the page, the API and a worker. Stores data on disk, or in RabbitMQ and Redis if one of
    /// their settings is given.
    Serve(Box<Serve>),
    /// Runs the page and the API on RabbitMQ and Redis. Start as many as you need.
    Api(Box<Api>),
    /// Runs a worker on RabbitMQ and Redis. Start as many as you need.
    Worker(Box<Work>),
    /// Asks a running server and prints the answer as it comes.
    ///
    /// Resumes when the connection breaks or the server restarts. Ctrl-C stops the generation. Exit codes: 0 whole answer, 1
    /// refused request or other error, 2 wrong usage, 3 the generation failed, 4 it took too long, 5 no worker started it in
    /// time, 6 another client stopped it, 7 server unreachable, 130 stopped by Ctrl-C.
    Ask(client::Ask),
    /// Holds a conversation with a running server, in the terminal.
    ///
    /// Each line is one message; the model sees the whole conversation. Ctrl-C stops an answer and keeps its text so far.
    /// Ctrl-D or /quit ends. /help lists all commands. If standard input is a pipe, the first incomplete answer ends the
    /// conversation with the exit code of `ask`.
    Chat(client::Chat),
    /// Lists the models of a running server and marks the default one.
    Models(client::Models),
    /// Shows what is stored of one generation: attempts, entries, times and sizes.
    ///
    /// Reads the data directory of `serve`, or Redis, also while a server uses it. Changes nothing. Exit codes: 0 found, 1 not
    /// found or not readable.
    Inspect(Box<Inspect>),
    /// Checks and documents the settings.
    #[command(subcommand)]
    Config(Config),
    /// Prints the OpenAPI document that a server has at /openapi.json.
    Openapi,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Config {
    /// Checks the settings of `serve`, `api` or `worker` and lists every problem.
    Check(Box<Check>),
    /// Prints the reference of all settings as Markdown.
    Docs,
}

#[derive(Debug, Args)]
pub(crate) struct Serve {
    #[command(flatten)]
    pub(crate) http: Http,
    #[command(flatten)]
    pub(crate) generations: Generations,
    #[command(flatten)]
    pub(crate) worker: Worker,
    #[command(flatten)]
    pub(crate) models: Catalogue,
    #[command(flatten)]
    pub(crate) simulated: Simulated,
    #[command(flatten)]
    pub(crate) embedded: Embedded,
    #[command(flatten)]
    pub(crate) metrics: Metrics,
    #[command(flatten)]
    pub(crate) cluster: Cluster,
}

#[derive(Debug, Args)]
pub(crate) struct Api {
    #[command(flatten)]
    pub(crate) http: Http,
    #[command(flatten)]
    pub(crate) generations: Generations,
    #[command(flatten)]
    pub(crate) models: Catalogue,
    #[command(flatten)]
    pub(crate) metrics: Metrics,
    #[command(flatten)]
    pub(crate) cluster: Cluster,
}

#[derive(Debug, Args)]
pub(crate) struct Work {
    #[command(flatten)]
    pub(crate) generations: Generations,
    #[command(flatten)]
    pub(crate) worker: Worker,
    #[command(flatten)]
    pub(crate) models: Catalogue,
    #[command(flatten)]
    pub(crate) simulated: Simulated,
    #[command(flatten)]
    pub(crate) metrics: Metrics,
    #[command(flatten)]
    pub(crate) cluster: Cluster,
}

#[derive(Debug, Args)]
pub(crate) struct Check {
    /// The role to check.
    #[arg(long, value_name = "ROLE", default_value = "serve")]
    pub(crate) role: Role,
    #[command(flatten)]
    pub(crate) settings: Serve,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Role {
    Serve,
    Api,
    Worker,
}

/// What the API listens on and allows.
#[derive(Debug, Args)]
#[command(next_help_heading = "HTTP")]
pub(crate) struct Http {
    /// The address and port to listen on. There are no accounts: everybody who can reach the address can use the server.
    /// [default: 127.0.0.1, and the port of API_PORT]
    #[arg(long, env = "TOKENWIRE_LISTEN", value_name = "ADDRESS:PORT")]
    pub(crate) listen: Option<String>,
    /// The port to listen on. `--listen` overrides it.
    #[arg(long, env = "API_PORT", value_name = "PORT", default_value = "8000")]
    pub(crate) port: String,
    /// Origins of other web pages that may call the API: `any`, `off`, or a comma-separated list.
    /// [default: any when listening on loopback, off otherwise]
    #[arg(long, env = "TOKENWIRE_CORS", value_name = "ORIGINS")]
    pub(crate) cors: Option<String>,
    /// Maximum number of open streams. More get 503. A lower open-file limit lowers it.
    #[arg(long, env = "TOKENWIRE_MAX_STREAMS", value_name = "COUNT", default_value = "20000")]
    pub(crate) max_streams: String,
    /// Maximum queue length. When it is reached, new prompts get 503. On RabbitMQ the count is up to one second old.
    #[arg(long, env = "TOKENWIRE_MAX_WAITING", value_name = "COUNT", default_value = "10000")]
    pub(crate) max_waiting: String,
    /// A stream without events sends a comment this often, so that proxies and clients do not close it. At most 20s.
    #[arg(long, env = "TOKENWIRE_HEARTBEAT", value_name = "DURATION", default_value = "10s")]
    pub(crate) heartbeat: String,
    /// A generation without readers is cancelled after this time. It lets a reader reload the page. 0s: as soon as the server
    /// notices, which takes some seconds.
    #[arg(long, env = "TOKENWIRE_DISCONNECT_GRACE", value_name = "DURATION", default_value = "30s")]
    pub(crate) disconnect_grace: String,
}

/// Limits of a generation.
#[derive(Debug, Args)]
#[command(next_help_heading = "Generations")]
pub(crate) struct Generations {
    /// Maximum run time of a generation, over all attempts: seconds, or a duration. Use the same value for the API and the
    /// workers.
    #[arg(long, env = "TIMEOUT_SECONDS", value_name = "SECONDS", default_value = "300")]
    pub(crate) timeout: String,
    /// Maximum time that a prompt waits for a worker. Then it expires.
    #[arg(long, env = "TOKENWIRE_QUEUE_TIME", value_name = "DURATION", default_value = "5m")]
    pub(crate) queue_time: String,
    /// How long finished answers can still be read.
    #[arg(long, env = "TOKENWIRE_RETENTION", value_name = "DURATION", default_value = "24h")]
    pub(crate) retention: String,
    /// How long running generations may go on after SIGTERM. Then their jobs return to the queue. A second signal skips the
    /// wait. [default: 2s for serve; 30s for api and worker]
    #[arg(long, env = "TOKENWIRE_DRAIN", value_name = "DURATION")]
    pub(crate) drain: Option<String>,
}

/// The worker.
#[derive(Debug, Args)]
#[command(next_help_heading = "Worker")]
pub(crate) struct Worker {
    /// Number of generations that run at once.
    #[arg(long, env = "TOKENWIRE_SLOTS", value_name = "COUNT", default_value = "8")]
    pub(crate) slots: String,
    /// A generation fails after this number of attempts in a row that called the model and added no text. Restarts, outages
    /// and busy models do not count.
    #[arg(long, env = "TOKENWIRE_ATTEMPTS", value_name = "COUNT", default_value = "5")]
    pub(crate) attempts: String,
    /// An attempt fails when the model sends nothing for this time. The next attempt then starts.
    #[arg(long, env = "TOKENWIRE_STALL_TIME", value_name = "DURATION", default_value = "2m")]
    pub(crate) stall_time: String,
    /// The location of this worker. Its logs and the `started` event show it.
    #[arg(long, env = "REGION", value_name = "NAME")]
    pub(crate) region: Option<String>,
}

/// The models. With no model configured, `simulated` is offered. Use the same settings for the API and the workers.
#[derive(Debug, Args)]
#[command(next_help_heading = "Models")]
pub(crate) struct Catalogue {
    /// A TOML file that defines models: see docs/models.md.
    #[arg(long, env = "TOKENWIRE_MODELS", value_name = "FILE")]
    pub(crate) models: Option<String>,
    /// The default model: a name, or a GGUF file to run in this process (needs a build with the feature `gguf`).
    /// [default: the default of the file, or the only model]
    #[arg(long, env = "TOKENWIRE_MODEL", value_name = "NAME or FILE.gguf")]
    pub(crate) model: Option<String>,
    /// For a GGUF file: number of generations that run at once. More wait. Memory use grows with it. [default: 4]
    #[arg(long, env = "TOKENWIRE_MODEL_SLOTS", value_name = "COUNT")]
    pub(crate) model_slots: Option<String>,
    /// For a GGUF file: number of threads. [default: number of cores - 1]
    #[arg(long, env = "TOKENWIRE_MODEL_THREADS", value_name = "COUNT")]
    pub(crate) model_threads: Option<String>,
    /// For a GGUF file: maximum number of tokens of a conversation, with its answer. Memory use grows with it.
    /// [default: 4096, or the training context of the model if that is smaller]
    #[arg(long, env = "TOKENWIRE_MODEL_CONTEXT", value_name = "TOKENS")]
    pub(crate) model_context: Option<String>,
    /// The URL of an OpenAI-compatible API: vLLM, llama.cpp, Ollama, a hosted service. Several URLs, separated by commas,
    /// share the load.
    #[arg(long, env = "TOKENWIRE_UPSTREAM", value_name = "URL")]
    pub(crate) upstream: Option<String>,
    /// The name of the model, at `--upstream` and here. [default: `default` there, `upstream` here]
    #[arg(long, env = "TOKENWIRE_UPSTREAM_MODEL", value_name = "NAME")]
    pub(crate) upstream_model: Option<String>,
    /// The environment variable with the API key for `--upstream`. [default: no key is sent]
    #[arg(long, env = "TOKENWIRE_UPSTREAM_KEY_ENV", value_name = "VARIABLE")]
    pub(crate) upstream_key_env: Option<String>,
    /// How `--upstream` continues the answer of a worker that died: `unsupported` (it restarts the answer, and clients get a
    /// `rewind` event), `assistant_prefill` (llama.cpp) or `continue_final_message` (vLLM). [default: unsupported]
    #[arg(long, env = "TOKENWIRE_UPSTREAM_CONTINUATION", value_name = "MODE")]
    pub(crate) upstream_continuation: Option<String>,
    /// For `--model FILE.gguf` or `--upstream`: the system message of conversations that have none.
    #[arg(long, env = "TOKENWIRE_DEFAULT_SYSTEM", value_name = "TEXT")]
    pub(crate) default_system: Option<String>,
    /// For `--model FILE.gguf` or `--upstream`: the temperature of requests that set none, 0 to 2.
    /// [default: the model's; 0.8 for a GGUF file]
    #[arg(long, env = "TOKENWIRE_DEFAULT_TEMPERATURE", value_name = "NUMBER")]
    pub(crate) default_temperature: Option<String>,
    /// For `--model FILE.gguf` or `--upstream`: maximum number of tokens of an answer, for requests that set none.
    /// [default: the model's; for a GGUF file, the rest of the context]
    #[arg(long, env = "TOKENWIRE_DEFAULT_MAX_TOKENS", value_name = "TOKENS")]
    pub(crate) default_max_tokens: Option<String>,
}

/// The simulated model.
#[derive(Debug, Args)]
#[command(next_help_heading = "Simulated model")]
pub(crate) struct Simulated {
    /// The time between two words.
    #[arg(long, env = "TOKENWIRE_SIMULATED_DELAY", value_name = "DURATION", default_value = "250ms")]
    pub(crate) simulated_delay: String,
    /// The time before the first word.
    #[arg(long, env = "TOKENWIRE_SIMULATED_FIRST_DELAY", value_name = "DURATION", default_value = "0s")]
    pub(crate) simulated_first_delay: String,
    /// Answer with this number of words of filler text, instead of the prompt.
    #[arg(long, env = "TOKENWIRE_SIMULATED_WORDS", value_name = "COUNT")]
    pub(crate) simulated_words: Option<String>,
    /// Inject a fault: `error:K` fails every attempt after K words, `silence:K` sends nothing more after K words.
    #[arg(long, env = "TOKENWIRE_SIMULATED_FAULT", value_name = "KIND:K")]
    pub(crate) simulated_fault: Option<String>,
}

/// The embedded queue and log. Not used if a Redis or RabbitMQ setting is given.
#[derive(Debug, Args)]
#[command(next_help_heading = "Embedded store")]
pub(crate) struct Embedded {
    /// The directory of queue and log. Only one process can use it. [default: data]
    #[arg(long, env = "TOKENWIRE_DATA_DIR", value_name = "DIRECTORY")]
    pub(crate) data_dir: Option<String>,
    /// When a write is durable: `commit` waits until the disk has the data, which then survives power loss; `os` waits until the
    /// operating system has it, which survives kill -9 only. [default: commit]
    #[arg(long, env = "TOKENWIRE_SYNC", value_name = "LEVEL")]
    pub(crate) sync: Option<String>,
    /// Keep everything in memory. The data is lost when the process ends.
    #[arg(long, env = "TOKENWIRE_EPHEMERAL", value_parser = clap::builder::BoolishValueParser::new())]
    pub(crate) ephemeral: bool,
}

/// RabbitMQ (jobs) and Redis (streams). `serve` uses both if one of these is given; `api` and `worker` always do.
#[derive(Debug, Args)]
#[command(next_help_heading = "RabbitMQ and Redis")]
pub(crate) struct Cluster {
    /// The URL of Redis 7 or newer: `redis://user:password@host:port/db`, or `rediss://` for TLS.
    #[arg(long, env = "REDIS_URL", value_name = "URL", hide_env_values = true)]
    pub(crate) redis_url: Option<String>,
    /// The host name of Redis. [default: localhost]
    #[arg(long, env = "REDIS_HOST", value_name = "HOST")]
    pub(crate) redis_host: Option<String>,
    /// The port of Redis. [default: 6379]
    #[arg(long, env = "REDIS_PORT", value_name = "PORT")]
    pub(crate) redis_port: Option<String>,
    /// The URL of RabbitMQ 3.10 or newer: `amqp://user:password@host:port/vhost`, or `amqps://` for TLS.
    #[arg(long, env = "AMQP_URL", value_name = "URL", hide_env_values = true)]
    pub(crate) amqp_url: Option<String>,
    /// The host name of RabbitMQ. [default: localhost]
    #[arg(long, env = "RABBITMQ_HOST", value_name = "HOST")]
    pub(crate) rabbitmq_host: Option<String>,
    /// The port of RabbitMQ. [default: 5672]
    #[arg(long, env = "RABBITMQ_PORT", value_name = "PORT")]
    pub(crate) rabbitmq_port: Option<String>,
    /// The user name for RabbitMQ. [default: guest]
    #[arg(long, env = "RABBITMQ_USER", value_name = "NAME")]
    pub(crate) rabbitmq_user: Option<String>,
    /// The password for RabbitMQ. [default: guest]
    #[arg(long, env = "RABBITMQ_PASS", value_name = "PASSWORD", hide_env_values = true)]
    pub(crate) rabbitmq_pass: Option<String>,
    /// The name of the job queue. Names of the delay and dead-letter queues begin with it.
    #[arg(long, env = "TOKENWIRE_QUEUE", value_name = "NAME", default_value = "llm_queue")]
    pub(crate) queue: String,
    /// The prefix of all keys and channels in Redis.
    #[arg(long, env = "TOKENWIRE_REDIS_PREFIX", value_name = "PREFIX", default_value = "tokenwire")]
    pub(crate) redis_prefix: String,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Logs")]
pub(crate) struct Logs {
    /// Log level: `error`, `warn`, `info`, `debug`, `trace`, or a filter such as `info,tokenwire_core=debug`.
    #[arg(long, env = "TOKENWIRE_LOG", value_name = "FILTER", default_value = "info", global = true)]
    pub(crate) log: String,
    /// Log format: `text` or `json`.
    #[arg(long, env = "TOKENWIRE_LOG_FORMAT", value_name = "FORMAT", default_value = "text", global = true)]
    pub(crate) log_format: LogFormat,
}

/// What operators see.
#[derive(Debug, Args)]
#[command(next_help_heading = "Metrics")]
pub(crate) struct Metrics {
    /// The address and port for `GET /metrics` in Prometheus's text format. Do not expose it to the public.
    /// [default: not served]
    #[arg(long, env = "TOKENWIRE_METRICS_LISTEN", value_name = "ADDRESS:PORT")]
    pub(crate) metrics_listen: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum LogFormat {
    Text,
    Json,
}

#[derive(Debug, Args)]
pub(crate) struct Inspect {
    /// The id of the generation: the `uuid` of `/ask`.
    #[arg(value_name = "ID")]
    pub(crate) id: GenerationId,
    /// Print the text too.
    #[arg(long)]
    pub(crate) text: bool,
    /// Print JSON, with every entry; times in milliseconds since the Unix epoch.
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) embedded: Embedded,
    #[command(flatten)]
    pub(crate) cluster: Cluster,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
