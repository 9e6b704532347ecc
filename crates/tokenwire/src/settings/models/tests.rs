use clap::Parser;

use super::*;
use crate::cli::{Cli, Command};

/// Reads the settings of models from a command line of `serve`.
fn read(used: Use, args: &[&str]) -> Result<Models, String> {
    let cli = Cli::try_parse_from(["tokenwire", "serve"].iter().chain(args)).unwrap();
    let Command::Serve(serve) = cli.command else { panic!("serve was asked for") };
    let mut problems = Problems::default();
    let models = models(&serve.models, simulated::Config::default(), used, &mut problems);
    problems.finish(|| models).map_err(|problems| problems.to_string())
}

/// Reads a catalogue.
fn file(used: Use, toml: &str) -> Result<Models, String> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("models.toml");
    std::fs::write(&path, toml).unwrap();
    let read = read(used, &["--models", path.to_str().unwrap()]);
    read.map_err(|problems| problems.replace(path.to_str().unwrap(), "FILE"))
}

fn all(models: &Models) -> Vec<&str> {
    models.all.keys().map(ModelName::as_str).collect()
}

fn upstream<'a>(models: &'a Models, name: &str) -> &'a upstream::Config {
    match &models.all[&ModelName::new(name).unwrap()].kind {
        Kind::Upstream(config) => config,
        other => panic!("{other:?} is no upstream"),
    }
}

#[test]
fn without_a_word_there_is_the_simulated_model() {
    let models = read(Use::Run, &[]).unwrap();
    assert_eq!((models.default.as_str(), all(&models)), ("simulated", vec!["simulated"]));
}

#[test]
fn a_simulated_model_is_set_up_for_load_in_a_file() {
    let text = r#"
        [models.load]
        kind = "simulated"
        delay = "50ms"
        words = 300
        stamped = true
    "#;
    let models = file(Use::Run, text).unwrap();
    let Kind::Simulated(config) = &models.all[&models.default].kind else { panic!("it is simulated") };
    let expected = simulated::Config {
        delay: Duration::from_millis(50),
        words: Some(300),
        stamped: true,
        ..simulated::Config::default()
    };
    assert_eq!(*config, expected);
}

#[test]
fn an_upstream_needs_its_address_only() {
    let models = read(Use::Run, &["--upstream", "http://127.0.0.1:8080/v1, http://10.0.0.2/v1"]).unwrap();
    assert_eq!((models.default.as_str(), all(&models)), ("upstream", vec!["upstream"]));
    assert_eq!(upstream(&models, "upstream").base_urls.len(), 2);
    let models = read(Use::Run, &["--upstream", "http://h/v1", "--upstream-model", "org/Large-70B"]).unwrap();
    assert_eq!(
        (models.default.as_str(), &*upstream(&models, "org/Large-70B").model),
        ("org/Large-70B", "org/Large-70B")
    );
}

#[test]
fn a_file_says_what_stands_behind_each_name() {
    let models = file(
        Use::Name,
        r#"
        default = "small"
        [models.small]
        kind = "gguf"
        path = "weights/small.gguf"
        slots = 2
        [models.small.defaults]
        system = "Be brief."
        temperature = 0.2
        [models."org/large"]
        kind = "upstream"
        base_url = "https://example.org/v1"
        model = "large"
        key_env = "NOT_NEEDED_BY_WHO_ONLY_NAMES_IT"
        continuation = "continue_final_message"
        idle_timeout = "90s"
        price_per_million_tokens = { input = 0.5, output = 1 }
        [models.simulated]
        kind = "simulated"
        delay = "1ms"
        "#,
    )
    .unwrap();
    assert_eq!(models.default.as_str(), "small");
    assert_eq!(all(&models), ["org/large", "simulated", "small"]);
    let Kind::Gguf(small) = &models.all[&models.default].kind else { panic!("it is a GGUF") };
    assert!(small.path.is_absolute() && small.path.ends_with("weights/small.gguf"));
    assert_eq!((small.slots.map(NonZeroU16::get), small.threads, small.context), (Some(2), None, None));
    let defaults = &models.all[&models.default].defaults;
    assert_eq!(defaults.system.as_deref(), Some("Be brief."));
    assert_eq!(defaults.sampling.temperature, Temperature::new(0.2).ok());
    let large = upstream(&models, "org/large");
    assert_eq!(large.continuation, upstream::ContinuationMode::ContinueFinalMessage);
    assert_eq!((large.idle_timeout, large.retries), (Duration::from_secs(90), 2));
}

#[test]
fn every_mistake_in_a_file_is_told_at_once() {
    let told = file(
        Use::Run,
        r#"
        default = "gone"
        [models."a b"]
        kind = "simulated"
        [models.large]
        kind = "upstream"
        base_url = ["ftp://h", "http://h/v1"]
        model = "large"
        key_env = "TOKENWIRE_TEST_NO_SUCH_KEY"
        [models.odd]
        kind = "oracle"
        [models.simulated]
        kind = "simulated"
        delay = "soon"
        [models.played]
        kind = "scripted"
        path = "no-script.toml"
        [models.typo]
        kind = "upstream"
        base_url = "http://h/v1"
        modell = "large"
        [models.hot]
        kind = "simulated"
        defaults = { temperature = 3 }
        [models.plain]
        kind = "simulated"
        "#,
    )
    .unwrap_err();
    for expected in [
        r#"[models.a b] is "a b": a model's name is 1 to 128 letters"#,
        r#"[models.large] is "ftp://h": expected the address of an OpenAI-compatible API"#,
        "[models.large]: the environment variable TOKENWIRE_TEST_NO_SUCH_KEY is not set: put the key there",
        "[models.odd]: unknown variant `oracle`, expected one of `simulated`, `gguf`, `scripted`, `upstream`",
        "[models.simulated]: expected a duration, such as 20ms, 5s or 2m",
        "no-script.toml cannot be read: No such file",
        "[models.typo]: unknown field `modell`",
        "[models.hot], defaults: must be a number from 0 to 2",
        "the default model gone does not exist; models: plain",
    ] {
        assert!(told.contains(expected), "{expected} is not in:\n{told}");
    }
}

#[test]
fn a_file_that_is_no_toml_says_where() {
    let told = file(Use::Run, "default = small\n").unwrap_err();
    assert!(told.contains("FILE: TOML parse error at line 1, column 11"), "{told}");
    let told = read(Use::Run, &["--models", "/no/such/file.toml"]).unwrap_err();
    assert!(told.contains("/no/such/file.toml cannot be read: No such file"), "{told}");
}

#[test]
fn a_script_is_checked_by_who_plays_it() {
    let dir = tempfile::tempdir().unwrap();
    let (models, script) = (dir.path().join("models.toml"), dir.path().join("script.toml"));
    std::fs::write(&models, "[models.demo]\nkind = \"scripted\"\npath = \"script.toml\"\n").unwrap();
    std::fs::write(&script, "[[answer]]\nsay = [{ text = \"a\" }, { txet = \"b\" }]\n").unwrap();
    let args = ["--models", models.to_str().unwrap()];
    let told = read(Use::Run, &args).unwrap_err();
    let expected = "script.toml is no script: line 2, answer 1, step 2: unknown field `txet`";
    assert!(told.contains("[models.demo]: ") && told.contains(expected), "{told}");
    let named = read(Use::Name, &args).unwrap();
    assert!(matches!(&named.all[&named.default].kind, Kind::Scripted(path) if *path == script));
    std::fs::write(&script, "[[answer]]\nsay = [{ text = \"a\" }]\n").unwrap();
    assert_eq!(all(&read(Use::Run, &args).unwrap()), ["demo"]);
}

#[test]
fn several_models_need_a_default() {
    let two = "[models.a]\nkind = \"simulated\"\n[models.b]\nkind = \"simulated\"\n";
    assert!(file(Use::Run, two).unwrap_err().contains("there are several models (a, b) and no default"));
    let one = "[models.a]\nkind = \"simulated\"\n";
    assert_eq!(file(Use::Run, one).unwrap().default.as_str(), "a");
}

#[test]
fn a_gguf_file_is_named_after_itself() {
    let models = read(
        Use::Name,
        &["--model", "models/My Model.Q4_1.gguf", "--model-context", "512", "--default-temperature", "0.2"],
    )
    .unwrap();
    assert_eq!(models.default.as_str(), "My-Model.Q4_1");
    let Kind::Gguf(gguf) = &models.all[&models.default].kind else { panic!("it is a GGUF") };
    assert_eq!(
        (gguf.path.as_path(), gguf.context.map(NonZeroU32::get)),
        (Path::new("models/My Model.Q4_1.gguf"), Some(512))
    );
}

#[cfg(not(feature = "gguf"))]
#[test]
fn a_build_that_cannot_run_a_model_says_how_to_build_one_that_can() {
    let told = read(Use::Run, &["--model", "some.gguf"]).unwrap_err();
    assert!(told.contains("build with --features gguf (./up.sh --real does)"), "{told}");
}
