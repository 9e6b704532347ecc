//! To the last bit: answers would show a difference only once in many thousand tokens.

use std::sync::Arc;

use llama_cpp_2::model::params::LlamaModelParams;
use testkit::gguf::{TinyLlama, Weights};

use super::*;
use crate::gguf::load::backend;

/// Lengths of prompts: before, at and beyond 256 and 512, where llama.cpp's memory grows and its kernels may change.
const PROMPTS: [usize; 6] = [3, 40, 250, 300, 505, 600];

/// Steps after each.
const STEPS: usize = 20;

fn model(weights: Weights) -> Arc<LlamaModel> {
    let file = TinyLlama::default().weights(weights).file();
    let params = LlamaModelParams::default();
    let load = || LlamaModel::load_from_file(backend().unwrap(), file.path(), &params);
    Arc::new(llama_log::explained(load).unwrap())
}

fn llama(model: &LlamaModel, threads: u16) -> Llama<'_> {
    let slots = u16::try_from(PROMPTS.len()).unwrap();
    let tokens = NonZeroU32::new(u32::from(slots) * 1024).unwrap();
    Llama::new(backend().unwrap(), model, Size { slots, tokens, threads }).unwrap()
}

/// Any token, the same for the same place of the same sequence.
fn token(sequence: usize, at: usize) -> u32 {
    u32::try_from((sequence * 31 + at * 7) % 260 + 3).unwrap()
}

fn read(llama: &mut Llama<'_>, slot: usize, sequence: usize) -> Vec<f32> {
    let prompt: Vec<_> = (0..PROMPTS[sequence]).map(|at| token(sequence, at)).collect();
    let mut logits = Vec::new();
    for (index, chunk) in prompt.chunks(CHUNK).enumerate() {
        let at = index * CHUNK;
        let is_last = at + chunk.len() == prompt.len();
        if let Some(numbers) = llama.read(slot, at, chunk, is_last).unwrap() {
            logits = numbers.to_vec();
        }
    }
    logits
}

fn row(slot: usize, sequence: usize, step: usize) -> Row {
    let at = PROMPTS[sequence] + step;
    Row { slot, at, token: token(sequence, at) }
}

/// The numbers of every step of a sequence that has the model to itself.
fn alone(llama: &mut Llama<'_>, slot: usize, sequence: usize) -> Vec<Vec<f32>> {
    let mut numbers = vec![read(llama, slot, sequence)];
    for step in 0..STEPS {
        let row = row(slot, sequence, step);
        llama.step(&[row], &mut |_, logits| numbers.push(logits.to_vec())).unwrap();
    }
    llama.forget(slot).unwrap();
    numbers
}

/// The same for all sequences at once.
fn together(llama: &mut Llama<'_>) -> Vec<Vec<Vec<f32>>> {
    let sequences = 0..PROMPTS.len();
    let mut numbers: Vec<_> =
        sequences.clone().map(|sequence| vec![read(llama, sequence, sequence)]).collect();
    for step in 0..STEPS {
        let rows: Vec<_> = sequences.clone().map(|sequence| row(sequence, sequence, step)).collect();
        llama.step(&rows, &mut |slot, logits| numbers[slot].push(logits.to_vec())).unwrap();
    }
    for slot in sequences {
        llama.forget(slot).unwrap();
    }
    numbers
}

fn assert_company_changes_no_bit(weights: Weights, steps: Steps) {
    let model = model(weights);
    let mut llama = llama(&model, 1);
    assert_eq!(llama.steps, steps);
    let together = together(&mut llama);
    for (sequence, together) in together.iter().enumerate() {
        assert!(alone(&mut llama, sequence, sequence) == *together, "a prompt of {}", PROMPTS[sequence]);
    }
}

#[test]
fn company_changes_no_bit() {
    assert_company_changes_no_bit(Weights::Q8_0, Steps::Together);
}

/// For whole floats llama.cpp has one kernel for a row and another for several: the probe sees that.
#[test]
fn company_changes_no_bit_where_kernels_differ() {
    assert_company_changes_no_bit(Weights::F32, Steps::Alone);
}

/// One sequence only: threads wait for each other, which takes long on a busy machine.
#[test]
fn slots_threads_and_what_was_there_before_change_no_bit() {
    let model = model(Weights::Q8_0);
    let (mut one, mut two) = (llama(&model, 1), llama(&model, 2));
    let (sequence, longer) = (4, 5);
    alone(&mut two, 2, longer);
    assert!(alone(&mut two, 2, sequence) == alone(&mut one, 0, sequence));
}
