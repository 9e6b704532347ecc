//! The command line, and every setting's one definition: flag, environment name, default and manual entry. `docs/config.md`
//! and `--help` are generated from here.
//!
//! Values are kept as text: [`crate::settings`] turns them into settings and explains everything that is wrong with them
//! at once.

pub(crate) mod client;

use clap::{Args, Parser, Subcommand};
use tokenwire_core::GenerationId;

/// Streams the answers of language models to people, and never loses one.
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
    /// Everything in one process: the page, the API and a worker. Embedded and durable on disk by default; on RabbitMQ and
    /// Redis when one of their settings is given.
    Serve(Box<Serve>),
    /// The page and the API, on RabbitMQ and Redis. Run as many as you like.
    Api(Box<Api>),
    /// A worker, on RabbitMQ and Redis. Run as many as you like.
    Worker(Box<Work>),
    /// Asks a running server and streams the answer to standard output.
    ///
    /// Resumes by itself when the connection or the server goes away. Ctrl-C stops the generation. Exit codes: 0 the
    /// whole answer, 1 a bad request or another error, 2 bad usage, 3 the generation failed, 4 it took too long, 5 no
    /// worker began in time, 6 somebody else stopped it, 7 the server cannot be reached, 130 stopped by Ctrl-C.
    Ask(client::Ask),
    /// A conversation with a running server, in the terminal.
    ///
    /// Each line is a turn, and the model is told what was said before. Ctrl-C stops an answer and keeps what came of it;
    /// Ctrl-D or /quit ends; /help lists the other commands. With piped standard input, the first answer that is not whole
    /// ends the conversation, with the exit code that `ask` would have.
    Chat(client::Chat),
    /// Lists the models of a running server, the default one marked.
    Models(client::Models),
    /// Shows what is stored of one generation: attempts, entries, times and sizes.
    ///
    /// Reads the data directory of `serve`, or Redis, whether or not a server uses it now, and changes nothing. Exit codes: 0
    /// it is there, 1 it is not, or cannot be read.
    Inspect(Box<Inspect>),
    /// Explains and documents the settings.
    #[command(subcommand)]
    Config(Config),
    /// Prints the OpenAPI document that a server has at /openapi.json.
    Openapi {
        #[command(subcommand)]
        what: Option<Openapi>,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum Openapi {
    /// Prints it as Markdown instead: docs/api.md.
    Docs,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Config {
    /// Checks the settings that `serve`, `api` or `worker` would use, and explains every problem at once.
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
    /// The role whose settings to check.
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
    /// The address and port to listen on. With an address that is not loopback, whoever reaches it may ask.
    /// [default: 127.0.0.1, and the port of API_PORT]
    #[arg(long, env = "TOKENWIRE_LISTEN", value_name = "ADDRESS:PORT")]
    pub(crate) listen: Option<String>,
    /// The port to listen on, where `--listen` is not given.
    #[arg(long, env = "API_PORT", value_name = "PORT", default_value = "8000")]
    pub(crate) port: String,
    /// Which other web pages may call the API: `any`, `off`, or a comma-separated list of origins.
    /// [default: any when listening on loopback, off otherwise]
    #[arg(long, env = "TOKENWIRE_CORS", value_name = "ORIGINS")]
    pub(crate) cors: Option<String>,
    /// How many answers may be streamed at once, where the limit of file descriptors carries as many; more are answered with
    /// 503.
    #[arg(long, env = "TOKENWIRE_MAX_STREAMS", value_name = "COUNT", default_value = "20000")]
    pub(crate) max_streams: String,
    /// How many prompts may wait for a worker, all together; more are answered with 503 until some have begun. Beyond what the
    /// workers begin within the queue time, prompts only wait to expire. On RabbitMQ the count is about a second old.
    #[arg(long, env = "TOKENWIRE_MAX_WAITING", value_name = "COUNT", default_value = "10000")]
    pub(crate) max_waiting: String,
    /// How often a silent stream sends a comment, so that proxies and readers know it is alive.
    #[arg(long, env = "TOKENWIRE_HEARTBEAT", value_name = "DURATION", default_value = "10s")]
    pub(crate) heartbeat: String,
    /// How long a generation goes on once its last reader has gone; room for a reload. 0s stops it as soon as that is
    /// noticed, which takes some seconds.
    #[arg(long, env = "TOKENWIRE_DISCONNECT_GRACE", value_name = "DURATION", default_value = "30s")]
    pub(crate) disconnect_grace: String,
}

/// What a generation may take.
#[derive(Debug, Args)]
#[command(next_help_heading = "Generations")]
pub(crate) struct Generations {
    /// How long a generation may run, over all attempts: seconds, or a duration. Give the API and the workers the same.
    #[arg(long, env = "TIMEOUT_SECONDS", value_name = "SECONDS", default_value = "300")]
    pub(crate) timeout: String,
    /// How long a prompt may wait for a worker before it expires.
    #[arg(long, env = "TOKENWIRE_QUEUE_TIME", value_name = "DURATION", default_value = "5m")]
    pub(crate) queue_time: String,
    /// How long streams are kept after their end; so long they can be read and resumed.
    #[arg(long, env = "TOKENWIRE_RETENTION", value_name = "DURATION", default_value = "24h")]
    pub(crate) retention: String,
    /// How long running work may go on after SIGTERM before it is given back. A second signal does not wait.
    /// [default: 2s for serve, which goes on with it after its restart; 30s for api and worker]
    #[arg(long, env = "TOKENWIRE_DRAIN", value_name = "DURATION")]
    pub(crate) drain: Option<String>,
}

/// How the worker works.
#[derive(Debug, Args)]
#[command(next_help_heading = "Worker")]
pub(crate) struct Worker {
    /// How many generations run at once.
    #[arg(long, env = "TOKENWIRE_SLOTS", value_name = "COUNT", default_value = "8")]
    pub(crate) slots: String,
    /// How many attempts in a row may ask the model and end without getting any further before a generation fails. Restarts,
    /// outages and busy models are not counted.
    #[arg(long, env = "TOKENWIRE_ATTEMPTS", value_name = "COUNT", default_value = "5")]
    pub(crate) attempts: String,
    /// How long a model may say nothing before the attempt counts as failed and the next one begins.
    #[arg(long, env = "TOKENWIRE_STALL_TIME", value_name = "DURATION", default_value = "2m")]
    pub(crate) stall_time: String,
    /// Where this worker stands; shown in its logs and in the `started` event.
    #[arg(long, env = "REGION", value_name = "NAME")]
    pub(crate) region: Option<String>,
}

/// Which models there are. Where none of these is given there is one, `simulated`; otherwise exactly those that are named.
/// Give the API and the workers the same.
#[derive(Debug, Args)]
#[command(next_help_heading = "Models")]
pub(crate) struct Catalogue {
    /// A TOML file that names models and says what stands behind them: see docs/models.md.
    #[arg(long, env = "TOKENWIRE_MODELS", value_name = "FILE")]
    pub(crate) models: Option<String>,
    /// The model that answers when a request names none: a name, or a GGUF file that this process then runs (in a build
    /// with the feature `gguf`). [default: the one in the file, or the only one]
    #[arg(long, env = "TOKENWIRE_MODEL", value_name = "NAME or FILE.gguf")]
    pub(crate) model: Option<String>,
    /// With a GGUF file: how many generations it runs at once; more wait for their turn. Memory grows with it.
    /// [default: 4]
    #[arg(long, env = "TOKENWIRE_MODEL_SLOTS", value_name = "COUNT")]
    pub(crate) model_slots: Option<String>,
    /// With a GGUF file: how many threads compute. [default: one fewer than there are cores]
    #[arg(long, env = "TOKENWIRE_MODEL_THREADS", value_name = "COUNT")]
    pub(crate) model_threads: Option<String>,
    /// With a GGUF file: how many tokens a conversation may have, its answer included. Memory grows with it.
    /// [default: 4096, or what the model was trained for if that is less]
    #[arg(long, env = "TOKENWIRE_MODEL_CONTEXT", value_name = "TOKENS")]
    pub(crate) model_context: Option<String>,
    /// The address of an OpenAI-compatible API that generates: vLLM, llama.cpp, Ollama, a hosted service. Several
    /// addresses, separated by commas, share the load.
    #[arg(long, env = "TOKENWIRE_UPSTREAM", value_name = "URL")]
    pub(crate) upstream: Option<String>,
    /// What the model of `--upstream` is called there, and here. [default: `default` there, `upstream` here]
    #[arg(long, env = "TOKENWIRE_UPSTREAM_MODEL", value_name = "NAME")]
    pub(crate) upstream_model: Option<String>,
    /// The environment variable that holds the key for `--upstream`. [default: no key is sent]
    #[arg(long, env = "TOKENWIRE_UPSTREAM_KEY_ENV", value_name = "VARIABLE")]
    pub(crate) upstream_key_env: Option<String>,
    /// How `--upstream` goes on with the answer of a worker that died: `unsupported` (it starts over, and readers are told),
    /// `assistant_prefill` (llama.cpp) or `continue_final_message` (vLLM). [default: unsupported]
    #[arg(long, env = "TOKENWIRE_UPSTREAM_CONTINUATION", value_name = "MODE")]
    pub(crate) upstream_continuation: Option<String>,
    /// With `--model FILE.gguf` or `--upstream`: the system message of conversations that do not begin with one.
    #[arg(long, env = "TOKENWIRE_DEFAULT_SYSTEM", value_name = "TEXT")]
    pub(crate) default_system: Option<String>,
    /// With `--model FILE.gguf` or `--upstream`: the temperature of requests that do not say one, 0 to 2.
    /// [default: the model's; 0.8 for a GGUF file]
    #[arg(long, env = "TOKENWIRE_DEFAULT_TEMPERATURE", value_name = "NUMBER")]
    pub(crate) default_temperature: Option<String>,
    /// With `--model FILE.gguf` or `--upstream`: end an answer after so many tokens, where the request does not say.
    /// [default: the model's; for a GGUF file, what is left of the context]
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
    /// Answer with this many words of filler text, instead of repeating the prompt.
    #[arg(long, env = "TOKENWIRE_SIMULATED_WORDS", value_name = "COUNT")]
    pub(crate) simulated_words: Option<String>,
    /// Break on purpose: `error:K` fails after K words in every attempt, `silence:K` says nothing more after K words.
    #[arg(long, env = "TOKENWIRE_SIMULATED_FAULT", value_name = "KIND:K")]
    pub(crate) simulated_fault: Option<String>,
}

/// The embedded queue and log; used unless a Redis or RabbitMQ setting is given.
#[derive(Debug, Args)]
#[command(next_help_heading = "Embedded store")]
pub(crate) struct Embedded {
    /// Where queue and log are kept. One process at a time. [default: data]
    #[arg(long, env = "TOKENWIRE_DATA_DIR", value_name = "DIRECTORY")]
    pub(crate) data_dir: Option<String>,
    /// What survives what: `commit` returns once the data is on the disk and survives power loss; `os` once the operating
    /// system has it, and survives kill -9. [default: commit]
    #[arg(long, env = "TOKENWIRE_SYNC", value_name = "LEVEL")]
    pub(crate) sync: Option<String>,
    /// Keep everything in memory, and lose it at the end.
    #[arg(long, env = "TOKENWIRE_EPHEMERAL", value_parser = clap::builder::BoolishValueParser::new())]
    pub(crate) ephemeral: bool,
}

/// RabbitMQ (jobs) and Redis (streams). `serve` uses both when one of these is given; `api` and `worker` always do.
#[derive(Debug, Args)]
#[command(next_help_heading = "RabbitMQ and Redis")]
pub(crate) struct Cluster {
    /// The whole address of Redis 7 or newer: `redis://user:password@host:port/db`, or `rediss://` for TLS.
    #[arg(long, env = "REDIS_URL", value_name = "URL", hide_env_values = true)]
    pub(crate) redis_url: Option<String>,
    /// The host of Redis. [default: localhost]
    #[arg(long, env = "REDIS_HOST", value_name = "HOST")]
    pub(crate) redis_host: Option<String>,
    /// The port of Redis. [default: 6379]
    #[arg(long, env = "REDIS_PORT", value_name = "PORT")]
    pub(crate) redis_port: Option<String>,
    /// The whole address of RabbitMQ 3.10 or newer: `amqp://user:password@host:port/vhost`, or `amqps://` for TLS.
    #[arg(long, env = "AMQP_URL", value_name = "URL", hide_env_values = true)]
    pub(crate) amqp_url: Option<String>,
    /// The host of RabbitMQ. [default: localhost]
    #[arg(long, env = "RABBITMQ_HOST", value_name = "HOST")]
    pub(crate) rabbitmq_host: Option<String>,
    /// The port of RabbitMQ. [default: 5672]
    #[arg(long, env = "RABBITMQ_PORT", value_name = "PORT")]
    pub(crate) rabbitmq_port: Option<String>,
    /// The user at RabbitMQ. [default: guest]
    #[arg(long, env = "RABBITMQ_USER", value_name = "NAME")]
    pub(crate) rabbitmq_user: Option<String>,
    /// The password at RabbitMQ. [default: guest]
    #[arg(long, env = "RABBITMQ_PASS", value_name = "PASSWORD", hide_env_values = true)]
    pub(crate) rabbitmq_pass: Option<String>,
    /// The name of the job queue, and the beginning of the names of its delay and dead-letter queues.
    #[arg(long, env = "TOKENWIRE_QUEUE", value_name = "NAME", default_value = "llm_queue")]
    pub(crate) queue: String,
    /// How all keys and channels in Redis begin.
    #[arg(long, env = "TOKENWIRE_REDIS_PREFIX", value_name = "PREFIX", default_value = "tokenwire")]
    pub(crate) redis_prefix: String,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Logs")]
pub(crate) struct Logs {
    /// What to log: `error`, `warn`, `info`, `debug`, `trace`, or a filter such as `info,tokenwire_core=debug`.
    #[arg(long, env = "TOKENWIRE_LOG", value_name = "FILTER", default_value = "info", global = true)]
    pub(crate) log: String,
    /// How log lines look: `text` or `json`.
    #[arg(long, env = "TOKENWIRE_LOG_FORMAT", value_name = "FORMAT", default_value = "text", global = true)]
    pub(crate) log_format: LogFormat,
}

/// What operators see.
#[derive(Debug, Args)]
#[command(next_help_heading = "Metrics")]
pub(crate) struct Metrics {
    /// The address and port on which to serve `GET /metrics` in Prometheus's text format. Not for the public.
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
    /// Show the text too.
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
