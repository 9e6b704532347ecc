//! The transcripts as files.

use std::{fmt::Write as _, fs, path::PathBuf};

use super::{readers::Told, stories::Story};

fn directory() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

/// The names of all files, sorted.
pub(crate) fn files() -> Vec<String> {
    let entries = fs::read_dir(directory()).unwrap();
    let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// Compares with the transcript of the story. A test that writes its transcript fails too, so that no run passes that was only
/// compared with itself.
#[track_caller]
pub(crate) fn assert(story: &Story, told: &Told) {
    let path = directory().join(story.name).with_extension("txt");
    let told = transcript(story, told);
    if std::env::var_os("TOKENWIRE_BLESS").is_some() {
        fs::create_dir_all(directory()).unwrap();
        fs::write(&path, told).unwrap();
        panic!("wrote {}: look at the difference, and test again without TOKENWIRE_BLESS", path.display());
    }
    let golden = fs::read_to_string(&path).unwrap_or_default();
    let same = golden.lines().zip(told.lines()).take_while(|(golden, told)| golden == told).count();
    assert!(
        golden == told,
        "{} differs from line {} on:\n{}\n",
        path.display(),
        same + 1,
        told.lines().skip(same).take(3).collect::<Vec<_>>().join("\n"),
    );
}

/// The entries, and what becomes of them at each front end.
fn transcript(story: &Story, told: &Told) -> String {
    let mut text = String::from("# The log\n\n");
    for (event, seq) in story.events.iter().zip(1..) {
        writeln!(text, "{seq} {}", serde_json::to_string(event).unwrap()).unwrap();
    }
    let Told { ask, chunks, completion, events, resource, texts, text_completion } = told;
    for exchange in
        [ask, chunks].into_iter().chain(completion).chain([events, resource, texts]).chain(text_completion)
    {
        let (asked, status, headers) = (&exchange.asked, exchange.status, &exchange.headers);
        // With a line break of our own at its end, which the body may not have.
        write!(text, "\n# {asked}\n\n{status}\n{headers}\n{}\n", exchange.body).unwrap();
    }
    text
}
