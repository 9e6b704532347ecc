use std::{
    sync::{
        Mutex,
        atomic::AtomicBool,
        mpsc::{Receiver as StdReceiver, Sender as StdSender, channel as std_channel},
    },
    thread::JoinHandle,
    time::Duration,
};

use tokenwire_core::{
    FinishReason, GenerationId, Sampling, StopTexts,
    model::{ModelError, Output},
    token_log::Prefix,
};
use tokio::sync::mpsc;

use super::*;
use crate::gguf::{
    generation::{OUTPUTS, Task},
    sampler::Sampler,
    text::Transcript,
};

/// How long a test waits for what must happen.
const TEST_TIMEOUT: Duration = Duration::from_secs(60);

/// What the model was made to do.
#[derive(Clone, Debug, PartialEq, Eq)]
enum EngineCall {
    Read { slot: usize, at: usize, tokens: usize },
    Step { slots: Vec<usize> },
    Forget { slot: usize },
}

/// What a call should come to.
#[derive(Clone, Copy, Debug)]
enum Go {
    On,
    Fail,
    Panic,
}

/// Says the alphabet over and over, without its last letter; every read and step waits until it may go on.
struct Toy {
    calls: StdSender<EngineCall>,
    go: Arc<Mutex<StdReceiver<Go>>>,
    logits: Vec<f32>,
}

impl Toy {
    fn wait(&self, call: EngineCall) -> Result<(), BoxError> {
        self.calls.send(call).unwrap();
        match self.go.lock().unwrap_or_else(std::sync::PoisonError::into_inner).recv() {
            Ok(Go::Fail) => Err("it was told to fail".into()),
            Ok(Go::Panic) => panic!("it was told to panic"),
            Ok(Go::On) | Err(_) => Ok(()),
        }
    }
}

fn logits_after(at: usize) -> Vec<f32> {
    let mut logits = vec![0.0; 26];
    logits[at % 25] = 1.0;
    logits
}

impl Compute for Toy {
    fn read(
        &mut self,
        slot: usize,
        at: usize,
        tokens: &[u32],
        is_last: bool,
    ) -> Result<Option<&[f32]>, BoxError> {
        self.wait(EngineCall::Read { slot, at, tokens: tokens.len() })?;
        self.logits = logits_after(at + tokens.len());
        Ok(is_last.then_some(self.logits.as_slice()))
    }

    fn step(&mut self, rows: &[Row], hear: &mut dyn FnMut(usize, &[f32])) -> Result<(), BoxError> {
        self.wait(EngineCall::Step { slots: rows.iter().map(|row| row.slot).collect() })?;
        for row in rows {
            hear(row.slot, &logits_after(row.at + 1));
        }
        Ok(())
    }

    fn forget(&mut self, slot: usize) -> Result<(), BoxError> {
        self.calls.send(EngineCall::Forget { slot }).unwrap();
        Ok(())
    }
}

struct Letters;

impl Vocabulary for Letters {
    fn bytes(&self, token: u32) -> Vec<u8> {
        vec![b'a' + u8::try_from(token).unwrap()]
    }

    fn ends(&self, token: u32) -> bool {
        token == 25
    }
}

/// An engine on its thread, in the hands of a test.
struct Bench {
    inbox: Option<mpsc::Sender<Generation>>,
    calls: StdReceiver<EngineCall>,
    go: Option<StdSender<Go>>,
    can_be_built: Arc<AtomicBool>,
    busy: Arc<AtomicUsize>,
    thread: Option<JoinHandle<()>>,
}

impl Bench {
    fn new(slots: usize) -> Self {
        let (inbox, generations) = mpsc::channel(LINE);
        let (said, calls) = std_channel();
        let (go, gone) = std_channel();
        let gone = Arc::new(Mutex::new(gone));
        let (can_be_built, busy) = (Arc::new(AtomicBool::new(true)), Arc::new(AtomicUsize::new(0)));
        let engine = Engine::new(generations, slots, Arc::new(Letters), Arc::clone(&busy));
        let builds = Arc::clone(&can_be_built);
        let build = move || {
            let built = builds.load(Ordering::SeqCst);
            let toy = || Toy { calls: said.clone(), go: Arc::clone(&gone), logits: Vec::new() };
            built.then(toy).ok_or_else(|| "there is no memory".into())
        };
        let thread = thread::spawn(move || engine.run(build, |built| built.unwrap()));
        Self { inbox: Some(inbox), calls, go: Some(go), can_be_built, busy, thread: Some(thread) }
    }

    /// Asks for an answer of so many letters to a prompt of so many tokens.
    fn ask(&self, prompt: usize, letters: usize) -> Reader {
        let (sender, outputs) = mpsc::channel(OUTPUTS);
        let sampling: Sampling = serde_json::from_str(r#"{"temperature":0}"#).unwrap();
        let task = Task {
            prompt: vec![0; prompt],
            limit: letters,
            sampler: Sampler::new(&sampling, GenerationId::from_bytes([7; 16])),
            transcript: Transcript::new(&StopTexts::default()),
            outputs: sender,
        };
        let generation = Generation::new(task, &Prefix::default());
        self.inbox.as_ref().unwrap().try_send(generation).unwrap();
        self.wake();
        Reader { outputs }
    }

    fn wake(&self) {
        self.thread.as_ref().unwrap().thread().unpark();
    }

    /// What the model is made to do next; reads and steps wait for [`Self::go`] then.
    fn next(&self) -> EngineCall {
        self.calls.recv_timeout(TEST_TIMEOUT).expect("the engine does something")
    }

    fn go(&self, go: Go) {
        self.go.as_ref().unwrap().send(go).unwrap();
    }

    /// The next so many things that the model is made to do, done.
    fn turns(&self, count: usize) -> Vec<EngineCall> {
        let done = (0..count).map(|_| {
            let call = self.next();
            if !matches!(call, EngineCall::Forget { .. }) {
                self.go(Go::On);
            }
            call
        });
        done.collect()
    }

    /// Lets the model work as it likes, from now on.
    fn free(&mut self) {
        self.go = None;
    }
}

impl Drop for Bench {
    /// An engine ends when its inbox is closed.
    fn drop(&mut self) {
        self.inbox = None;
        self.go = None;
        self.wake();
        let ended = self.thread.take().unwrap().join();
        assert!(ended.is_ok() || thread::panicking());
    }
}

struct Reader {
    outputs: mpsc::Receiver<Result<Output, ModelError>>,
}

impl Reader {
    /// The rest of the answer.
    fn rest(&mut self, bench: &Bench) -> Result<(String, FinishReason), String> {
        let mut said = String::new();
        loop {
            let output = self.outputs.blocking_recv().expect("an answer ends with its finish or its failure");
            bench.wake();
            match output {
                Ok(Output::Text { text, .. }) => said += &text,
                Ok(Output::Finished { reason, .. }) => return Ok((said, reason)),
                Ok(_) => {}
                Err(error) => return Err(explain(&error)),
            }
        }
    }
}

fn read(slot: usize, at: usize, tokens: usize) -> EngineCall {
    EngineCall::Read { slot, at, tokens }
}

fn step(slots: &[usize]) -> EngineCall {
    EngineCall::Step { slots: slots.to_vec() }
}

#[test]
fn a_prompt_is_read_in_chunks_and_its_answer_is_taken_step_by_step() {
    let bench = Bench::new(2);
    let mut reader = bench.ask(CHUNK + 5, 3);
    let calls = bench.turns(5);
    let forget = EngineCall::Forget { slot: 0 };
    assert_eq!(calls, [read(0, 0, CHUNK), read(0, CHUNK, 5), step(&[0]), step(&[0]), forget]);
    assert_eq!(reader.rest(&bench), Ok(("mno".to_owned(), FinishReason::Length)));
}

#[test]
fn a_long_prompt_costs_the_others_one_chunk_per_token() {
    let bench = Bench::new(2);
    let _first = bench.ask(1, 60);
    assert_eq!(bench.turns(2), [read(0, 0, 1), step(&[0])]);
    let second = bench.ask(CHUNK * 4, 60);
    // One more step may be under way already.
    let calls = bench.turns(9);
    let begin = calls.iter().position(|call| *call == read(1, 0, CHUNK)).unwrap();
    assert_eq!(
        calls[begin..begin + 6],
        [
            read(1, 0, CHUNK),
            step(&[0]),
            read(1, CHUNK, CHUNK),
            step(&[0]),
            read(1, CHUNK * 2, CHUNK),
            step(&[0])
        ]
    );
    drop(second);
}

#[test]
fn prompts_are_read_in_turn() {
    let bench = Bench::new(3);
    let _occupied = bench.ask(1, 60);
    bench.turns(2);
    let _long = bench.ask(CHUNK * 9, 1);
    let _short = bench.ask(CHUNK, 1);
    let calls = bench.turns(20);
    let at = |wanted: EngineCall| calls.iter().position(|call| *call == wanted).unwrap();
    assert!(at(read(2, 0, CHUNK)) < at(read(1, CHUNK * 2, CHUNK)), "{calls:?}");
}

#[test]
fn more_generations_than_slots_wait_for_the_first_that_is_free() {
    let mut bench = Bench::new(2);
    let mut readers: Vec<_> = (1..=5).map(|letters| bench.ask(letters, letters)).collect();
    bench.free();
    for (letters, reader) in (1..).zip(&mut readers) {
        let (text, reason) = reader.rest(&bench).unwrap();
        assert_eq!((text.len(), reason), (letters, FinishReason::Length));
    }
}

#[test]
fn an_abandoned_generation_leaves_its_slot_before_another_step() {
    let bench = Bench::new(1);
    let reader = bench.ask(1, 60);
    let waiting = bench.ask(7, 60);
    assert_eq!(bench.turns(1), [read(0, 0, 1)]);
    // A step is under way, and waits.
    assert_eq!(bench.next(), step(&[0]));
    drop(reader);
    bench.go(Go::On);
    assert_eq!(bench.turns(2), [EngineCall::Forget { slot: 0 }, read(0, 0, 7)]);
    drop(waiting);
}

#[test]
fn a_generation_that_was_abandoned_in_line_never_takes_a_slot() {
    let mut bench = Bench::new(1);
    let mut first = bench.ask(1, 2);
    let waiting = bench.ask(7, 60);
    assert_eq!(bench.next(), read(0, 0, 1));
    drop(waiting);
    bench.go(Go::On);
    bench.free();
    first.rest(&bench).unwrap();
    let mut last = bench.ask(3, 1);
    last.rest(&bench).unwrap();
    let reads: Vec<_> =
        bench.calls.try_iter().filter(|call| matches!(call, EngineCall::Read { .. })).collect();
    assert_eq!(reads, [read(0, 0, 3)]);
}

#[test]
fn a_reader_that_takes_nothing_delays_no_other() {
    let mut bench = Bench::new(2);
    bench.free();
    let mut lazy = bench.ask(1, OUTPUTS * 3);
    let mut eager = bench.ask(1, OUTPUTS * 3);
    let (text, _) = eager.rest(&bench).unwrap();
    assert_eq!(text.len(), OUTPUTS * 3);
    let (text, reason) = lazy.rest(&bench).unwrap();
    assert_eq!((text.len(), reason), (OUTPUTS * 3, FinishReason::Length));
}

#[test]
fn a_step_that_fails_fails_what_runs_and_the_others_go_on() {
    for (go, why) in [(Go::Fail, "it was told to fail"), (Go::Panic, "it panicked: it was told to panic")] {
        let mut bench = Bench::new(1);
        let (mut running, mut waiting) = (bench.ask(1, 5), bench.ask(1, 5));
        bench.turns(2);
        assert_eq!(bench.next(), step(&[0]));
        bench.go(go);
        assert_eq!(running.rest(&bench), Err(format!("the model failed: {why}")));
        bench.free();
        assert_eq!(waiting.rest(&bench).unwrap().0.len(), 5);
    }
}

#[test]
fn a_model_that_cannot_be_built_again_says_so_until_it_can() {
    let mut bench = Bench::new(1);
    let (mut running, mut waiting) = (bench.ask(1, 5), bench.ask(1, 5));
    assert_eq!(bench.next(), read(0, 0, 1));
    bench.can_be_built.store(false, Ordering::SeqCst);
    bench.go(Go::Fail);
    assert!(running.rest(&bench).is_err());
    for _ in 0..3 {
        assert_eq!(waiting.rest(&bench), Err("the model cannot be reached: there is no memory".to_owned()));
        waiting = bench.ask(1, 5);
    }
    assert!(waiting.rest(&bench).is_err());
    bench.can_be_built.store(true, Ordering::SeqCst);
    bench.free();
    assert_eq!(bench.ask(1, 5).rest(&bench).unwrap().0.len(), 5);
}

#[test]
fn a_model_knows_how_many_it_is_busy_with() {
    let bench = Bench::new(1);
    let readers = [bench.ask(1, 60), bench.ask(1, 60)];
    bench.turns(2);
    assert_eq!(bench.next(), step(&[0]));
    assert_eq!(bench.busy.load(Ordering::Relaxed), 2);
    drop(readers);
    bench.go(Go::On);
    assert_eq!(bench.next(), EngineCall::Forget { slot: 0 });
    let mut next = bench.ask(1, 1);
    assert_eq!(bench.turns(2), [read(0, 0, 1), EngineCall::Forget { slot: 0 }]);
    next.rest(&bench).unwrap();
}
