//! How fast a model file is on this machine: `cargo run --release -p model --features gguf --example gguf_speed FILE.gguf`
//!
//! One stream with one thread and with two, eight at once, and the time to the first piece. On an idle machine: another
//! busy core costs more than its share.
#![expect(clippy::print_stdout, reason = "the figures are what it is for")]

use std::{
    error::Error,
    num::NonZeroU16,
    time::{Duration, Instant},
};

use futures::{StreamExt, future::join_all};
use model::gguf::{Config, Gguf};
use tokenwire_core::{
    Conversation, GenerateRequest, GenerationId, Model, ModelName, Temperature, model::Output,
    token_log::Prefix,
};

const TOKENS: u32 = 96;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let file = std::env::args().nth(1).ok_or("give the path of a GGUF file")?;
    for threads in [1, 2] {
        let (threads, slots) = (NonZeroU16::new(threads), NonZeroU16::MIN.saturating_add(7));
        let began = Instant::now();
        let model = Gguf::load(Config { threads, slots, ..Config::new(&file) })?;
        println!("{} threads: loaded in {:.2?}", threads.map_or(0, NonZeroU16::get), began.elapsed());
        measure("one stream", &model, 1).await?;
        measure("one stream again", &model, 1).await?;
        measure("eight at once", &model, 8).await?;
    }
    Ok(())
}

/// So many answers at once.
async fn measure(what: &str, model: &Gguf, count: usize) -> Result<(), Box<dyn Error>> {
    let began = Instant::now();
    let runs = join_all((0..count).map(|seed| run(model, seed))).await;
    let mut tokens = 0.0;
    let mut first = Vec::new();
    let mut steps = Duration::ZERO;
    for run in runs {
        let run = run?;
        tokens += f64::from(run.tokens);
        steps = steps.max(run.speaking);
        first.push(run.first);
    }
    first.sort();
    let rate = |time: Duration| tokens / time.as_secs_f64();
    println!(
        "  {what}: {:.1} tokens/s after the first piece, {:.1} tokens/s in all; first piece after {:.0?} to {:.0?}",
        rate(steps),
        rate(began.elapsed()),
        first.first().copied().unwrap_or_default(),
        first.last().copied().unwrap_or_default(),
    );
    Ok(())
}

struct Run {
    tokens: u32,
    first: Duration,
    /// From the first piece to the last.
    speaking: Duration,
}

async fn run(model: &Gguf, seed: usize) -> Result<Run, Box<dyn Error>> {
    let prompt = format!("Tell me a long story about lighthouse number {seed}.");
    let mut request = GenerateRequest::new(ModelName::new("measured")?, Conversation::of(prompt)?);
    request.sampling.temperature = Some(Temperature::new(0.8)?);
    request.sampling.seed = Some(seed as u64);
    request.sampling.max_tokens = TOKENS.try_into().ok();
    let began = Instant::now();
    let mut stream = model.generate(GenerationId::fresh(), &request, &Prefix::default()).await?;
    let mut first = None;
    while let Some(output) = stream.next().await {
        match output? {
            Output::Text { .. } => _ = first.get_or_insert(began.elapsed()),
            Output::Finished { usage, .. } => {
                let first = first.unwrap_or_default();
                return Ok(Run {
                    tokens: u32::try_from(usage.output_tokens)?,
                    first,
                    speaking: began.elapsed().saturating_sub(first),
                });
            }
            _ => {}
        }
    }
    Err("the model stopped before the end of its answer".into())
}
