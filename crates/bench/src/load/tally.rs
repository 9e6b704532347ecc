//! Counts, times and errors of one run.

use std::time::Duration;

use anyhow::{Context, Result};
use hdrhistogram::Histogram;
use memchr::{memchr, memmem};
use serde::{Deserialize, Serialize};

/// How many errors are told in full.
const TOLD: usize = 10;

/// The longest time that is told apart: an hour, in microseconds.
const LONGEST: u64 = 3_600_000_000;

#[derive(Debug)]
pub(crate) struct Tally {
    pub(crate) counts: Counts,
    /// Only while it is measured: what came before is another load.
    latency: Option<Histogram<u64>>,
    first_token: Histogram<u64>,
    /// From a question to the whole of its answer, where it comes in one.
    answers: Option<Histogram<u64>>,
    /// The first head.
    head: Option<Vec<u8>>,
    /// The first answer that came in one, head and body: what the floor is to say.
    pub(crate) sample: Option<Vec<u8>>,
    /// The ids in answers that came in one.
    pub(crate) ids: Vec<String>,
    errors: Vec<String>,
    errors_in_all: u64,
}

/// What has come so far.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counts {
    pub(crate) events: u64,
    /// Those of them that are text.
    pub(crate) pieces: u64,
    pub(crate) bytes: u64,
    pub(crate) reads: u64,
    pub(crate) answers: u64,
}

/// Times of many, in microseconds.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Times {
    pub(crate) count: u64,
    pub(crate) p50: u64,
    pub(crate) p90: u64,
    pub(crate) p99: u64,
    pub(crate) max: u64,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Errors {
    pub(crate) count: u64,
    /// The first ones.
    pub(crate) told: Vec<String>,
}

impl Tally {
    pub(crate) fn new() -> Result<Self> {
        Ok(Self {
            counts: Counts::default(),
            latency: None,
            first_token: histogram()?,
            answers: None,
            head: None,
            sample: None,
            ids: Vec::new(),
            errors: Vec::new(),
            errors_in_all: 0,
        })
    }

    /// From now on it counts for latencies.
    pub(crate) fn begin(&mut self) -> Result<()> {
        self.latency = Some(histogram()?);
        self.answers = Some(histogram()?);
        Ok(())
    }

    /// The latencies since [`Self::begin`], of pieces and of answers that came in one.
    pub(crate) fn end(&mut self) -> (Option<Times>, Option<Times>) {
        (self.latency.take().as_ref().and_then(times), self.answers.take().as_ref().and_then(times))
    }

    pub(crate) fn read(&mut self, bytes: usize) {
        self.counts.reads += 1;
        self.counts.bytes += bytes as u64;
    }

    /// A piece, so long after it was made; none where that is not to be counted.
    pub(crate) fn piece(&mut self, after: Option<u64>) {
        self.counts.events += 1;
        self.counts.pieces += 1;
        if let Some((after, latency)) = after.zip(self.latency.as_mut()) {
            latency.saturating_record(after);
        }
    }

    pub(crate) fn entry(&mut self) {
        self.counts.events += 1;
    }

    pub(crate) fn first_token(&mut self, after: u64) {
        self.first_token.saturating_record(after);
    }

    pub(crate) fn head(&mut self, head: &[u8]) {
        self.head.get_or_insert_with(|| head.to_vec());
    }

    pub(crate) fn whole(&mut self, after: u64, body: &[u8]) {
        self.counts.answers += 1;
        self.ids.extend(id_in(body));
        if self.sample.is_none() {
            self.sample = Some([self.head.as_deref().unwrap_or_default(), body].concat());
        }
        if let Some(answers) = &mut self.answers {
            answers.saturating_record(after);
        }
    }

    pub(crate) fn error(&mut self, what: &str) {
        self.errors_in_all += 1;
        if self.errors.len() < TOLD {
            self.errors.push(what.to_owned());
        }
    }

    pub(crate) fn errors(&self) -> Errors {
        Errors { count: self.errors_in_all, told: self.errors.clone() }
    }

    pub(crate) fn first_tokens(&self) -> Option<Times> {
        times(&self.first_token)
    }
}

impl Times {
    pub(crate) fn of(all: &[Duration]) -> Option<Self> {
        let mut histogram = histogram().ok()?;
        for time in all {
            histogram.saturating_record(u64::try_from(time.as_micros()).unwrap_or(LONGEST));
        }
        times(&histogram)
    }
}

/// The first id in a JSON object.
fn id_in(body: &[u8]) -> Option<String> {
    const ID: &[u8] = b"\"id\":\"";
    let id = body.get(memmem::find(body, ID)? + ID.len()..)?;
    Some(String::from_utf8_lossy(id.get(..memchr(b'"', id)?)?).into_owned())
}

/// Exact to a tenth of a percent.
fn histogram() -> Result<Histogram<u64>> {
    Histogram::new_with_max(LONGEST, 3).context("a histogram")
}

fn times(histogram: &Histogram<u64>) -> Option<Times> {
    (!histogram.is_empty()).then(|| Times {
        count: histogram.len(),
        p50: histogram.value_at_quantile(0.5),
        p90: histogram.value_at_quantile(0.9),
        p99: histogram.value_at_quantile(0.99),
        max: histogram.max(),
    })
}
