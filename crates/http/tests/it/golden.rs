//! Golden tests of the wire format, byte for byte, on every log. Each story is written while readers come at every moment with
//! every cursor. Each front end must write what the transcript in `tests/golden` has. A reader that was cut off always gets
//! exactly the rest (I8), for every batching of the entries, and also after the log was reopened.
//!
//! `TOKENWIRE_BLESS=1` writes the transcripts anew: see `CONTRIBUTING.md`.

mod logs;
mod readers;
mod scene;
mod stories;
mod transcripts;

use axum::http::StatusCode;
use tokenwire_core::Event;
use tokio::join;

use self::{
    logs::{Log, Place},
    readers::{Readers, Told, Wanted},
    scene::Scene,
    stories::Story,
};

/// How many entries come at once, in rotation: one by one, all together, and two uneven ways.
const RHYTHMS: [&[usize]; 4] = [&[1], &[usize::MAX], &[3, 1, 2], &[2, 4]];

macro_rules! story {
    ($story:ident on $log:ident) => {
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $story() {
            super::tell(super::Place::of(super::Log::$log).await, super::stories::$story()).await;
        }
    };
}

/// Makes a test of each story on each log.
macro_rules! stories {
    ($($story:ident)+) => {
        mod memory { $(story!($story on Memory);)+ }
        mod embedded { $(story!($story on Embedded);)+ }
        mod redis { $(story!($story on Redis);)+ }

        const STORIES: &[&str] = &[$(stringify!($story)),+];
    };
}

stories! {
    text
    lines
    nothing_said
    thoughts
    thoughts_as_summaries
    calls_of_tools
    cut_at_the_limit_of_tokens
    held_back_by_a_filter
    taken_over
    started_over
    started_over_unheard
    expired
    timed_out
    stopped
    abandoned
    rejected
    exhausted
    job_lost
}

async fn tell(mut place: Place, story: Story) {
    for rhythm in RHYTHMS {
        let (mut scene, first) = Scene::open(&place, &story).await;
        let mut readers = Readers::default();
        for (wanted, opened) in first {
            readers.read(wanted, 0, opened);
        }
        let mut written = 0;
        for batch in batches(&story.events, rhythm) {
            readers.come(&scene.front, written).await;
            readers.wait(&scene.front, written);
            scene.write(batch).await;
            written += batch.len();
        }
        let told = scene.told().await;
        transcripts::assert(&story, &told);
        readers.leave().await.check(&told);
        scene.cut_everywhere(&told).await;
        drop(scene);

        place = place.reopened();
        let (scene, _) = Scene::open(&place, &story).await;
        assert_eq!(scene.told().await, told, "after a reopen");
        scene.cut_everywhere(&told).await;
        scene.forget().await;
    }
}

/// The entries in batches: each attempt begins a new batch, and the last entry comes alone.
fn batches<'a>(mut events: &'a [Event], rhythm: &[usize]) -> Vec<&'a [Event]> {
    let mut batches = Vec::new();
    for most in rhythm.iter().cycle() {
        let Some((first, rest)) = events.split_first() else { return batches };
        let ends = |event: &Event| event.is_terminal() || matches!(event, Event::Started { .. });
        let until = rest.iter().position(ends).unwrap_or(rest.len());
        let more = if first.is_terminal() { 0 } else { until.min(most - 1) };
        let (batch, later) = events.split_at(1 + more);
        batches.push(batch);
        events = later;
    }
    batches
}

/// A stream that a log has lost ends for every reader, with every cursor. On all logs at once, because readers wait for ten
/// seconds.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_that_is_gone_ends_for_all_of_its_readers() {
    let lose = async |log: Log| {
        let (place, story) = (Place::of(log).await, stories::stream_lost());
        let (mut scene, first) = Scene::open(&place, &story).await;
        let mut readers = Readers::listening_for(stories::LAST_WORDS, 12);
        for (wanted, opened) in first {
            readers.read(wanted, 0, opened);
        }
        for (written, event) in story.events.iter().enumerate() {
            readers.come(&scene.front, written).await;
            scene.write(std::slice::from_ref(event)).await;
        }
        readers.all_have_heard().await;
        scene.forget().await;
        let satisfied = readers.leave().await;
        let [ask, chunks, events, texts] =
            [Wanted::Ask(None), Wanted::Chunks, Wanted::Events(None), Wanted::Texts]
                .map(|wanted| satisfied.first(wanted));
        let resource = scene.front.resource().await.read().await;
        let told = Told { ask, chunks, completion: None, events, resource, texts, text_completion: None };
        transcripts::assert(&story, &told);
        satisfied.check(&told);
        for opened in [scene.front.ask(None).await, scene.front.events(None).await] {
            assert_eq!(opened.read().await.status, StatusCode::NOT_FOUND);
        }
    };
    join!(lose(Log::Memory), lose(Log::Embedded), lose(Log::Redis));
}

#[test]
fn every_transcript_has_its_story() {
    let mut names: Vec<_> = STORIES.iter().map(|name| format!("{name}.txt")).collect();
    names.push("stream_lost.txt".to_owned());
    names.sort();
    assert_eq!(transcripts::files(), names);
}
