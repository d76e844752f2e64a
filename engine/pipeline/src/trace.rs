//! What a pipeline did with one message, for whoever asked for it by the header `Nats-Trace-Dest` (NATS ADR-41).

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use millstream_types::{HeaderBlock, Needle, check_subject};
use serde::Serialize;

use crate::Verdict;

const DESTINATION: &str = "Nats-Trace-Dest";
static DESTINATION_NEEDLE: Needle = Needle::new(DESTINATION.as_bytes());
/// Steps that are kept: a message may become many, and each of them passes the stages.
const MAX_STEPS: usize = 256;

/// One stage's decision about a message, or about one that was made from it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Step {
    /// The stage's label.
    pub stage: String,
    /// The version of the function that decided, when it was one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<u64>,
    /// `keep`, `replace`, `emit`, `drop`, `retry` or `reject`.
    pub outcome: &'static str,
    /// The rejection's code.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// How long the stage took for the batch that the message was in, in nanoseconds.
    pub batch_ns: u64,
    /// How many messages that batch had.
    pub batch: usize,
}

/// The trace of one message, shared by all that is made from it.
#[derive(Debug)]
pub struct Trace {
    destination: Bytes,
    inside: Mutex<Inside>,
}

#[derive(Debug, Default)]
struct Inside {
    steps: Vec<Step>,
    /// Which version decides in the stage that runs now.
    version: Option<u64>,
}

impl Trace {
    /// A trace, when a message's headers ask for one.
    #[must_use]
    pub fn asked(headers: &[u8]) -> Option<Arc<Self>> {
        if headers.is_empty() || !DESTINATION_NEEDLE.is_in(headers) {
            return None;
        }
        let destination = HeaderBlock::new(headers).get(DESTINATION)?;
        check_subject(destination).ok()?;
        Some(Arc::new(Self {
            destination: Bytes::copy_from_slice(destination),
            inside: Mutex::default(),
        }))
    }

    fn inside(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The subject that the trace goes to.
    #[must_use]
    pub fn destination(&self) -> &Bytes {
        &self.destination
    }

    /// What was decided so far, in order.
    #[must_use]
    pub fn steps(&self) -> Vec<Step> {
        self.inside().steps.clone()
    }

    pub(crate) fn decided_by(&self, version: u64) {
        self.inside().version = Some(version);
    }

    pub(crate) fn note(&self, stage: &str, verdict: &Verdict, batch: usize, took: Duration) {
        let mut inside = self.inside();
        let version = inside.version.take();
        if inside.steps.len() == MAX_STEPS {
            return;
        }
        let (outcome, code) = match verdict {
            Verdict::Keep => ("keep", None),
            Verdict::Replace(_) => ("replace", None),
            Verdict::Emit(_) => ("emit", None),
            Verdict::Drop => ("drop", None),
            Verdict::Retry(_) => ("retry", None),
            Verdict::Reject(why) => ("reject", Some(why.code.clone())),
        };
        inside.steps.push(Step {
            stage: stage.to_owned(),
            version,
            outcome,
            code,
            batch_ns: u64::try_from(took.as_nanos()).unwrap_or(u64::MAX),
            batch,
        });
    }
}

/// Two traces are the same when they are one.
impl PartialEq for Trace {
    fn eq(&self, other: &Self) -> bool {
        std::ptr::eq(self, other)
    }
}
