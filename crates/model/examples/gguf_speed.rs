//! How fast a model file is on this machine: `cargo run --release -p model --features gguf --example gguf_speed FILE.gguf
//! [THREADS...]`
//!
//! One stream, eight at once, and the time to the first piece; with one thread and with two unless told. On an idle machine:
//! threads wait for each other, so that a core which is busy with something else costs far more than its share.
#![expect(clippy::print_stdout, reason = "the figures are what it is for")]

use std::{error::Error, num::NonZeroU16, time::Instant};

use futures::{StreamExt, future::join_all};
use model::gguf::{Config, Gguf};
use tokenwire_core::{
    Conversation, GenerateRequest, GenerationId, Model, ModelName, Temperature, model::Output,
    token_log::Prefix,
};

const TOKENS: u32 = 128;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut given = std::env::args().skip(1);
    let file = given.next().ok_or("give the path of a GGUF file")?;
    let threads = given.map(|threads| threads.parse()).collect::<Result<Vec<NonZeroU16>, _>>()?;
    let usual = [NonZeroU16::MIN, NonZeroU16::MIN.saturating_add(1)];
    for &threads in if threads.is_empty() { usual.as_slice() } else { &threads } {
        let slots = NonZeroU16::MIN.saturating_add(7);
        let began = Instant::now();
        let model = Gguf::load(Config { threads: Some(threads), slots, ..Config::new(&file) })?;
        println!("{threads} threads: loaded in {:.2?}", began.elapsed());
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
    let runs = runs.into_iter().collect::<Result<Vec<_>, _>>()?;
    let all = f64::from(runs.iter().map(|run| run.tokens).sum::<u32>()) / began.elapsed().as_secs_f64();

    let first: Vec<_> = runs.iter().filter_map(|run| run.pieces.first().copied()).collect();
    let last = runs.iter().filter_map(|run| run.pieces.last().copied()).min();
    let (Some(&fastest), Some(&slowest), Some(last)) = (first.iter().min(), first.iter().max(), last) else {
        return Err("nothing was said".into());
    };
    // Nearly every token is a piece. The first pieces begin the time.
    let pieces = runs.iter().flat_map(|run| &run.pieces);
    let while_all_speak = u32::try_from(pieces.filter(|&&at| at > slowest && at <= last).count())?;
    let rate = f64::from(while_all_speak) / last.saturating_duration_since(slowest).as_secs_f64();
    println!(
        "  {what}: {rate:.1} tokens/s while all speak, {all:.1} with their prompts; first piece after {:.0?} to {:.0?}",
        fastest - began,
        slowest - began,
    );
    Ok(())
}

struct Run {
    tokens: u32,
    /// When they came.
    pieces: Vec<Instant>,
}

async fn run(model: &Gguf, seed: usize) -> Result<Run, Box<dyn Error>> {
    let prompt = format!("Tell me a long story about lighthouse number {seed}.");
    let mut request = GenerateRequest::new(ModelName::new("measured")?, Conversation::of(prompt)?);
    request.sampling.temperature = Some(Temperature::new(0.8)?);
    request.sampling.seed = Some(seed as u64);
    request.sampling.max_tokens = TOKENS.try_into().ok();
    let mut stream = model.generate(GenerationId::fresh(), &request, &Prefix::default()).await?;
    let mut pieces = Vec::new();
    while let Some(output) = stream.next().await {
        match output? {
            Output::Text { .. } => pieces.push(Instant::now()),
            Output::Finished { usage, .. } => {
                return Ok(Run { tokens: u32::try_from(usage.output_tokens)?, pieces });
            }
            _ => {}
        }
    }
    Err("the model stopped before the end of its answer".into())
}
