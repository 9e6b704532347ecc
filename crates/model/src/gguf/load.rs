//! Opens a model file, with an error that says what is wrong with it.

use std::{
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
    sync::{Arc, LazyLock},
};

use llama_cpp_2::{
    llama_backend::LlamaBackend,
    model::{LlamaModel, params::LlamaModelParams},
};
use tokenwire_core::BoxError;

use super::{
    config::Config, grouped, llama::Size, llama_log, template::ChatTemplate, vocabulary::Vocabulary,
};

/// Why a model file cannot be run here.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// It is not there, or may not be read.
    #[error("cannot read the model file {path}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is some other file.
    #[error("{path} is not a GGUF file: give the .gguf file of a model")]
    NotGguf {
        /// The file.
        path: PathBuf,
    },
    /// This build needs more of a processor than is there.
    #[error("this processor has no {missing}: build for it, or run the model elsewhere behind an upstream")]
    Processor {
        /// The instructions it lacks.
        missing: &'static str,
    },
    /// llama.cpp cannot make a model of it.
    #[error("cannot load {path}")]
    Refused {
        /// The file.
        path: PathBuf,
        /// What llama.cpp says.
        source: BoxError,
    },
    /// Conversations cannot be put into its words.
    #[error("the chat template of {path} does not work here: {reason}")]
    Template {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// It would not fit.
    #[error(
        "{slots} slots of {} tokens need {} MB of memory, {} MB are free: take fewer slots or less context",
        grouped(u64::from(*context)),
        grouped(needed / 1_000_000),
        grouped(free / 1_000_000)
    )]
    Memory {
        /// Slots asked for.
        slots: u16,
        /// Tokens of each.
        context: u32,
        /// Bytes.
        needed: u64,
        /// Bytes.
        free: u64,
    },
    /// More than llama.cpp can count.
    #[error("{slots} slots of {context} tokens are too many: take at most {} slots", Config::MAX_SLOTS)]
    TooLarge {
        /// Slots asked for.
        slots: u16,
        /// Tokens of each.
        context: u32,
    },
    /// The operating system gives no thread.
    #[error("cannot start the thread of the model")]
    Thread(#[source] io::Error),
}

/// A model file, opened.
#[derive(Debug)]
pub(super) struct Loaded {
    pub(super) model: Arc<LlamaModel>,
    pub(super) vocabulary: Vocabulary,
    pub(super) template: ChatTemplate,
    /// How many tokens a slot has.
    pub(super) context: u32,
    pub(super) size: Size,
}

/// llama.cpp, set up once for the process.
pub(super) fn backend() -> Result<&'static LlamaBackend, BoxError> {
    static BACKEND: LazyLock<Result<LlamaBackend, String>> =
        LazyLock::new(|| llama_log::explained(LlamaBackend::init).map_err(|error| error.to_string()));
    BACKEND.as_ref().map_err(|error| error.as_str().into())
}

/// Opens the file and sees that everything fits. The memory of the slots is not taken yet.
pub(super) fn load(config: &Config) -> Result<Loaded, LoadError> {
    let path = &config.path;
    check_processor()?;
    check_file(path)?;
    let refused = |source| LoadError::Refused { path: path.clone(), source };
    let backend = backend().map_err(refused)?;
    let params = LlamaModelParams::default().with_n_gpu_layers(0);
    let model =
        llama_log::explained(|| LlamaModel::load_from_file(backend, path, &params)).map_err(refused)?;
    let model = Arc::new(model);

    let vocabulary = Vocabulary::new(Arc::clone(&model));
    if vocabulary.is_empty() {
        return Err(refused("it has no vocabulary: it is not a whole model".into()));
    }
    let source = model.chat_template(None).ok();
    let source = source.as_ref().map(|source| source.as_c_str().to_string_lossy());
    if source.is_none() {
        tracing::warn!(path = %path.display(), "the model file has no chat template; using ChatML");
    }
    let template = ChatTemplate::new(source.as_deref(), vocabulary.ends_spelled(), vocabulary.special())
        .map_err(|reason| LoadError::Template { path: path.clone(), reason })?;

    let (slots, context) = (config.slots.get(), config.context.get().min(model.n_ctx_train().max(1)));
    let tokens = u32::from(slots).checked_mul(context).and_then(std::num::NonZeroU32::new);
    let tokens = tokens.filter(|tokens| slots <= Config::MAX_SLOTS && i32::try_from(tokens.get()).is_ok());
    let tokens = tokens.ok_or(LoadError::TooLarge { slots, context })?;
    check_memory(&model, slots, context)?;
    let size = Size { slots, tokens, threads: config.threads().get() };
    Ok(Loaded { model, vocabulary, template, context, size })
}

/// Without these llama.cpp dies on its first instruction: it is built with them.
fn check_processor() -> Result<(), LoadError> {
    #[cfg(target_arch = "x86_64")]
    for (missing, there) in [
        ("AVX2", std::arch::is_x86_feature_detected!("avx2")),
        ("FMA", std::arch::is_x86_feature_detected!("fma")),
        ("F16C", std::arch::is_x86_feature_detected!("f16c")),
        ("BMI2", std::arch::is_x86_feature_detected!("bmi2")),
    ] {
        if !there {
            return Err(LoadError::Processor { missing });
        }
    }
    Ok(())
}

fn check_file(path: &Path) -> Result<(), LoadError> {
    let mut begin = [0; 4];
    let read = File::open(path).and_then(|mut file| file.read_exact(&mut begin));
    match read {
        Ok(()) if &begin == b"GGUF" => Ok(()),
        Ok(()) => Err(LoadError::NotGguf { path: path.to_owned() }),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
            Err(LoadError::NotGguf { path: path.to_owned() })
        }
        Err(source) => Err(LoadError::Unreadable { path: path.to_owned(), source }),
    }
}

/// Keys and values of every layer, two bytes each, are what the slots take. Weights are mapped, not copied.
fn check_memory(model: &LlamaModel, slots: u16, context: u32) -> Result<(), LoadError> {
    if model.is_recurrent() || model.is_hybrid() {
        return Ok(()); // They need far less, and only they know how much.
    }
    let width = u64::try_from(model.n_embd()).unwrap_or_default() / u64::from(model.n_head().max(1));
    let token = 4 * width * u64::from(model.n_head_kv()) * u64::from(model.n_layer());
    let needed = token * u64::from(slots) * u64::from(context);
    match free_memory() {
        Some(free) if needed > free => Err(LoadError::Memory { slots, context, needed, free }),
        _ => Ok(()),
    }
}

/// The memory that the kernel reports as usable without swapping, if it reports it.
fn free_memory() -> Option<u64> {
    let info = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = info.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kilobytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kilobytes * 1024)
}
