//! A language model that fits into a test: a llama of two layers with random weights, as a GGUF file of 100 KB.
//!
//! What it says is noise without an end (special tokens are unlikely), but it follows from the seed, and every part of a real file is there: a byte-level tokenizer
//! with some merges, tokens that are half a character, special tokens, a chat template, quantised weights. Two models of
//! different seeds share their vocabulary: what a replaced model file looks like.

use std::{io::Write, path::Path};

use tempfile::NamedTempFile;

/// Begins a message, in the vocabulary of [`TinyLlama`]; a control token.
pub const IM_START: &str = "<|im_start|>";

/// Ends a message and an answer; a control token.
pub const IM_END: &str = "<|im_end|>";

/// Special tokens, by their ids.
const SPECIAL: [&str; 3] = ["<|endoftext|>", IM_START, IM_END];

/// Pairs that the tokenizer joins, in GPT-2's spelling of bytes (`Ġ` is a space, `ðŁ` half an emoji).
const MERGES: [&str; 14] =
    ["t h", "th e", "Ġ the", "i n", "in g", "e r", "Ġ a", "Ġ s", "o n", "a n", "an d", "Ã ©", "ð Ł", "l l"];

const WIDTH: u32 = 64;
const FEED_FORWARD: u32 = 128;
const HEADS: u32 = 4;
const KV_HEADS: u32 = 2;
const LAYERS: u32 = 2;

const TEMPLATE: &str = "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] \
                        + '<|im_end|>\\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}\
                        {% endif %}";

/// The model, before it is written.
#[derive(Clone, Debug)]
pub struct TinyLlama {
    seed: u64,
    context: u32,
    template: Option<String>,
    weights: Weights,
}

/// How weights are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weights {
    /// 8 bits each in blocks of 32.
    Q8_0,
    /// Whole floats: llama.cpp has other kernels for a row alone than for rows together.
    F32,
}

impl Default for TinyLlama {
    fn default() -> Self {
        Self { seed: 1, context: 2048, template: Some(TEMPLATE.to_owned()), weights: Weights::Q8_0 }
    }
}

impl TinyLlama {
    /// Other weights, and so other answers.
    #[must_use]
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// How many tokens it says it was trained for. 2048 unless told.
    #[must_use]
    pub fn context(mut self, tokens: u32) -> Self {
        self.context = tokens;
        self
    }

    /// Another chat template, or none.
    #[must_use]
    pub fn template(mut self, template: Option<&str>) -> Self {
        self.template = template.map(ToOwned::to_owned);
        self
    }

    /// Weights stored like this. [`Weights::Q8_0`] unless told.
    #[must_use]
    pub fn weights(mut self, weights: Weights) -> Self {
        self.weights = weights;
        self
    }

    /// The model as a file that goes with the value.
    pub fn file(&self) -> NamedTempFile {
        let mut file = tempfile::Builder::new().suffix(".gguf").tempfile().unwrap();
        file.write_all(&self.bytes()).unwrap();
        file.flush().unwrap();
        file
    }

    /// Writes the model to a file.
    pub fn write(&self, path: &Path) {
        std::fs::write(path, self.bytes()).unwrap();
    }

    fn bytes(&self) -> Vec<u8> {
        let tokens = tokens();
        let tensors = self.tensors(u32::try_from(tokens.len()).unwrap());
        let mut file = Writer::default();
        file.bytes.extend_from_slice(b"GGUF");
        file.u32(3);
        file.u64(tensors.len() as u64);
        let keys = self.metadata(&tokens);
        file.u64(keys.len() as u64);
        for (key, value) in keys {
            file.text(key);
            file.value(&value);
        }
        let mut offset = 0;
        for tensor in &tensors {
            file.text(&tensor.name);
            file.u32(u32::try_from(tensor.shape.len()).unwrap());
            for &length in &tensor.shape {
                file.u64(u64::from(length));
            }
            file.u32(tensor.kind);
            file.u64(offset);
            offset += padded(tensor.data.len()) as u64;
        }
        file.pad();
        for tensor in &tensors {
            file.bytes.extend_from_slice(&tensor.data);
            file.pad();
        }
        file.bytes
    }

    fn metadata(&self, tokens: &[String]) -> Vec<(&'static str, Value)> {
        // Of the GGUF specification: 1 is normal, 3 is control.
        let kinds = (0..tokens.len()).map(|id| if id < SPECIAL.len() { 3 } else { 1 }).collect();
        let merges = MERGES.iter().map(ToString::to_string).collect();
        let text = |text: &str| Value::Text(text.to_owned());
        let mut keys = vec![
            ("general.architecture", text("llama")),
            ("general.name", text("tiny")),
            ("general.file_type", Value::U32(7)),
            ("llama.block_count", Value::U32(LAYERS)),
            ("llama.context_length", Value::U32(self.context)),
            ("llama.embedding_length", Value::U32(WIDTH)),
            ("llama.feed_forward_length", Value::U32(FEED_FORWARD)),
            ("llama.attention.head_count", Value::U32(HEADS)),
            ("llama.attention.head_count_kv", Value::U32(KV_HEADS)),
            ("llama.attention.layer_norm_rms_epsilon", Value::F32(1e-5)),
            ("llama.rope.dimension_count", Value::U32(WIDTH / HEADS)),
            ("tokenizer.ggml.model", text("gpt2")),
            ("tokenizer.ggml.pre", text("gpt-2")),
            ("tokenizer.ggml.tokens", Value::Texts(tokens.to_vec())),
            ("tokenizer.ggml.token_type", Value::I32s(kinds)),
            ("tokenizer.ggml.merges", Value::Texts(merges)),
            ("tokenizer.ggml.bos_token_id", Value::U32(1)),
            ("tokenizer.ggml.eos_token_id", Value::U32(2)),
            ("tokenizer.ggml.add_bos_token", Value::Bool(false)),
        ];
        keys.extend(self.template.as_deref().map(|template| ("tokenizer.chat_template", text(template))));
        keys
    }

    fn tensors(&self, vocabulary: u32) -> Vec<Tensor> {
        let mut noise = Noise(self.seed);
        let mut matrix = |name: String, shape: [u32; 2], scale: i8| match self.weights {
            Weights::Q8_0 => Tensor::q8_0(name, shape, scale, &mut noise),
            Weights::F32 => Tensor::f32(name, shape, scale, &mut noise),
        };
        let (width, kv_width) = (WIDTH, WIDTH / HEADS * KV_HEADS);
        // Exponents of two that keep activations near 1 and the last layer's choices wide open, but not even.
        let mut tensors = vec![
            matrix("token_embd.weight".into(), [width, vocabulary], -7),
            matrix("output.weight".into(), [width, vocabulary], -8).without_rows(SPECIAL.len()),
            Tensor::ones("output_norm.weight".into(), width),
        ];
        for layer in 0..LAYERS {
            let name = |part: &str| format!("blk.{layer}.{part}.weight");
            tensors.extend([
                Tensor::ones(name("attn_norm"), width),
                matrix(name("attn_q"), [width, width], -8),
                matrix(name("attn_k"), [width, kv_width], -8),
                matrix(name("attn_v"), [width, kv_width], -8),
                matrix(name("attn_output"), [width, width], -8),
                Tensor::ones(name("ffn_norm"), width),
                matrix(name("ffn_gate"), [width, FEED_FORWARD], -8),
                matrix(name("ffn_up"), [width, FEED_FORWARD], -8),
                matrix(name("ffn_down"), [FEED_FORWARD, width], -8),
            ]);
        }
        tensors
    }
}

/// Special tokens, every byte, and what the merges make.
fn tokens() -> Vec<String> {
    let special = SPECIAL.iter().map(ToString::to_string);
    let bytes = (0..=u8::MAX).map(|byte| spelled(byte).to_string());
    special.chain(bytes).chain(MERGES.iter().map(|merge| merge.replace(' ', ""))).collect()
}

/// A byte in GPT-2's spelling: itself where it is a visible character of Latin-1, else the next free one from U+0100.
fn spelled(byte: u8) -> char {
    let visible = |byte: u8| matches!(byte, b'!'..=b'~' | 0xA1..=0xAC | 0xAE..);
    if visible(byte) {
        return char::from(byte);
    }
    let hidden_before = (0..byte).filter(|&byte| !visible(byte)).count();
    char::from_u32(0x100 + u32::try_from(hidden_before).unwrap()).unwrap()
}

enum Value {
    U32(u32),
    F32(f32),
    Bool(bool),
    Text(String),
    Texts(Vec<String>),
    I32s(Vec<i32>),
}

struct Tensor {
    name: String,
    shape: Vec<u32>,
    kind: u32,
    data: Vec<u8>,
}

impl Tensor {
    fn ones(name: String, width: u32) -> Self {
        let data = (0..width).flat_map(|_| 1_f32.to_le_bytes()).collect();
        Self { name, shape: vec![width], kind: 0, data }
    }

    /// The first rows become nothing.
    fn without_rows(mut self, rows: usize) -> Self {
        let row = self.data.len() / self.shape[1] as usize;
        self.data[..rows * row].fill(0);
        self
    }

    /// Blocks of 32: a scale as half a float, here always the power of two, then the numbers as bytes.
    fn q8_0(name: String, shape: [u32; 2], scale: i8, noise: &mut Noise) -> Self {
        let scale = u16::try_from(15 + i16::from(scale)).unwrap() << 10;
        let blocks = shape.iter().product::<u32>() / 32;
        let mut data = Vec::new();
        for _ in 0..blocks {
            data.extend(scale.to_le_bytes());
            data.extend((0..32).map(|_| noise.byte()));
        }
        Self { name, shape: shape.to_vec(), kind: 8, data }
    }

    fn f32(name: String, shape: [u32; 2], scale: i8, noise: &mut Noise) -> Self {
        let scale = 2_f32.powi(i32::from(scale));
        let numbers = shape.iter().product::<u32>();
        let number = |byte: u8| f32::from(byte.cast_signed()) * scale;
        let data = (0..numbers).flat_map(|_| number(noise.byte()).to_le_bytes()).collect();
        Self { name, shape: shape.to_vec(), kind: 0, data }
    }
}

/// The SplitMix64 sequence of a seed.
struct Noise(u64);

impl Noise {
    fn byte(&mut self) -> u8 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (mixed >> 56) as u8
    }
}

#[derive(Default)]
struct Writer {
    bytes: Vec<u8>,
}

impl Writer {
    fn u32(&mut self, number: u32) {
        self.bytes.extend(number.to_le_bytes());
    }

    fn u64(&mut self, number: u64) {
        self.bytes.extend(number.to_le_bytes());
    }

    fn text(&mut self, text: &str) {
        self.u64(text.len() as u64);
        self.bytes.extend_from_slice(text.as_bytes());
    }

    /// A value after the number of its type.
    fn value(&mut self, value: &Value) {
        match value {
            Value::U32(number) => {
                self.u32(4);
                self.u32(*number);
            }
            Value::F32(number) => {
                self.u32(6);
                self.bytes.extend(number.to_le_bytes());
            }
            Value::Bool(yes) => {
                self.u32(7);
                self.bytes.push(u8::from(*yes));
            }
            Value::Text(text) => {
                self.u32(8);
                self.text(text);
            }
            Value::Texts(texts) => {
                self.array(8, texts.len());
                for text in texts {
                    self.text(text);
                }
            }
            Value::I32s(numbers) => {
                self.array(5, numbers.len());
                for number in numbers {
                    self.bytes.extend(number.to_le_bytes());
                }
            }
        }
    }

    fn array(&mut self, of: u32, length: usize) {
        self.u32(9);
        self.u32(of);
        self.u64(length as u64);
    }

    fn pad(&mut self) {
        self.bytes.resize(padded(self.bytes.len()), 0);
    }
}

/// Tensors begin at multiples of 32.
fn padded(length: usize) -> usize {
    length.next_multiple_of(32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_spelled_as_gpt_2_does() {
        assert_eq!([b' ', b'\n', b'a', 0xC3, 0xF0, 0x9F].map(spelled), ['Ġ', 'Ċ', 'a', 'Ã', 'ð', 'Ł']);
        let mut all: Vec<_> = (0..=u8::MAX).map(spelled).collect();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), 256);
    }

    #[test]
    fn a_model_follows_from_its_seed() {
        let bytes = |seed| TinyLlama::default().seed(seed).bytes();
        assert_eq!(bytes(1), bytes(1));
        assert_ne!(bytes(1), bytes(2));
    }
}
