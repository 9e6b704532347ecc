//! What is wrong with a model file is said in a sentence.

use std::{fs, path::Path};

use model::gguf::Gguf;
use testkit::gguf::TinyLlama;

use crate::house::{Ask, config, tiny};

fn refusal(path: &Path, slots: u16, context: u32) -> String {
    let error = Gguf::load(config(path, slots, context)).unwrap_err();
    tokenwire_core::explain(&error).replace(&path.display().to_string(), "FILE")
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let refusal = refusal(Path::new("/nowhere/model.gguf"), 1, 64);
    assert_eq!(refusal, "cannot read the model file FILE: No such file or directory (os error 2)");
}

#[test]
fn a_file_of_another_kind_is_told_apart() {
    let directory = tempfile::tempdir().unwrap();
    for content in ["{\"not\": \"a model\"}", "x", ""] {
        let path = directory.path().join("model.gguf");
        fs::write(&path, content).unwrap();
        assert_eq!(refusal(&path, 1, 64), "FILE is not a GGUF file: give the .gguf file of a model");
    }
    let refusal = refusal(directory.path(), 1, 64);
    assert!(refusal.starts_with("cannot read the model file FILE: "), "{refusal}");
}

#[test]
fn a_file_that_is_cut_off_is_refused_with_llama_cpps_own_words() {
    let file = TinyLlama::default().file();
    file.as_file().set_len(20_000).unwrap();
    let refusal = refusal(file.path(), 1, 64);
    assert!(refusal.starts_with("cannot load FILE: ") && !refusal.contains("null"), "{refusal}");
}

#[test]
fn a_template_that_does_not_work_is_refused() {
    let file = TinyLlama::default().template(Some("{{ tomorrow() }}")).file();
    let refusal = refusal(file.path(), 1, 64);
    assert!(refusal.starts_with("the chat template of FILE does not work here: "), "{refusal}");
}

#[test]
fn more_slots_than_llama_cpp_has_are_refused() {
    let file = TinyLlama::default().file();
    let expected = "257 slots of 64 tokens are too many: take at most 256 slots";
    assert_eq!(refusal(file.path(), 257, 64), expected);
}

#[test]
fn more_memory_than_there_is_is_refused_with_both_numbers() {
    let file = TinyLlama::default().context(8_000_000).file();
    let refusal = refusal(file.path(), 256, 8_000_000);
    let begin = "256 slots of 8,000,000 tokens need 524,288 MB of memory, ";
    assert!(refusal.starts_with(begin) && refusal.ends_with("take fewer slots or less context"), "{refusal}");
}

#[tokio::test]
async fn a_model_that_is_dropped_can_be_loaded_again() {
    let ask = Ask::new("a").seed(1).tokens(5);
    let model = tiny();
    let mut stream = ask.begin(&model, &tokenwire_core::token_log::Prefix::default()).await;
    drop(model);
    let answer = crate::house::rest(&mut stream).await;
    drop(stream);
    assert_eq!(ask.answer(&tiny()).await, answer);
}
