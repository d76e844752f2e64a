//! A version that is tried beside the one that runs: in its shadow, or with a part of the messages.
//!
//! A shadow sees what the live version sees, on a thread of its own; what it answers is compared and forgotten. It never
//! holds a message up: when it is behind, batches pass it by and are counted. A canary's answers count. A message on which
//! it fails (a trap, a time-out) goes to the live version after all, so that trying costs no message; what it rejects is
//! rejected. It is stopped when too many of its messages end badly.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::hash::{BuildHasher, Hasher as _};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use millstream_function_api::{Fault, FunctionMessage, FunctionOutcome};
use millstream_types::{format_bytes, matches};
use serde::{Deserialize, Serialize};

use super::FunctionVersion;
use super::metrics::{OUTCOMES, outcome_index};

/// Batches that wait for the shadows' thread.
const WAITING: usize = 16;
/// Differences that are kept to be looked at.
const SAMPLES: usize = 20;
/// Bytes of a payload that are shown.
const SHOWN: usize = 512;

/// Which messages a canary gets.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Share {
    /// So many of a hundred, chosen by a hash of subject and payload.
    Percent(f64),
    /// Those on these subjects.
    Subjects(String),
}

/// How a version is tried.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TrialMode {
    /// It sees everything and decides nothing.
    Shadow,
    /// It decides about a part.
    Canary(Share),
}

/// When a trial ends by itself.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct TrialRules {
    /// Messages that it must have seen before it is judged.
    pub min_messages: u64,
    /// Part of its messages that may end in a rejection or error, 0 to 1.
    pub max_error_rate: f64,
}

impl Default for TrialRules {
    fn default() -> Self {
        Self {
            min_messages: 100,
            max_error_rate: 0.05,
        }
    }
}

/// A message that two versions answered differently.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// The message's subject.
    pub subject: String,
    /// The beginning of its payload.
    pub payload: String,
    /// What the live version answers.
    pub live: String,
    /// What the tried one answers.
    pub tried: String,
}

/// What is known of a trial.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct TrialReport {
    /// Messages it decided about, or would have.
    pub messages: u64,
    /// Those it answered otherwise than the live version. Only a shadow is compared.
    pub different: u64,
    /// Those it rejected.
    pub rejected: u64,
    /// Those it failed on.
    pub errors: u64,
    /// Those that passed a shadow by, because it was behind.
    pub skipped: u64,
    /// Why it was stopped.
    pub stopped: Option<String>,
    /// Some of the differences, the newest last.
    pub samples: Vec<Difference>,
}

/// Who is told when a trial stops by itself: the function's name, the version, and why.
type OnStop = Arc<dyn Fn(&str, u64, &str) + Send + Sync>;

/// One trial, wherever its function runs.
pub struct Trial {
    /// The version that is tried.
    pub(crate) version: FunctionVersion,
    mode: TrialMode,
    rules: TrialRules,
    shadows: Shadows,
    on_stop: OnStop,
    messages: AtomicU64,
    different: AtomicU64,
    rejected: AtomicU64,
    errors: AtomicU64,
    skipped: AtomicU64,
    stopped: AtomicBool,
    told: Mutex<Told>,
}

#[derive(Default)]
struct Told {
    why: Option<String>,
    samples: VecDeque<Difference>,
}

impl fmt::Debug for Trial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Trial")
            .field("version", &self.version)
            .field("mode", &self.mode)
            .finish_non_exhaustive()
    }
}

type Answer = Result<FunctionOutcome, Fault>;

impl Trial {
    /// A trial that begins. `on_stop` is called once, on a thread that runs stages, when it stops by itself.
    #[must_use]
    pub fn new(
        version: FunctionVersion,
        mode: TrialMode,
        rules: TrialRules,
        shadows: Shadows,
        on_stop: OnStop,
    ) -> Arc<Self> {
        Arc::new(Self {
            version,
            mode,
            rules,
            shadows,
            on_stop,
            messages: AtomicU64::default(),
            different: AtomicU64::default(),
            rejected: AtomicU64::default(),
            errors: AtomicU64::default(),
            skipped: AtomicU64::default(),
            stopped: AtomicBool::default(),
            told: Mutex::default(),
        })
    }

    fn told(&self) -> MutexGuard<'_, Told> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is known of it now.
    #[must_use]
    pub fn report(&self) -> TrialReport {
        let of = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let told = self.told();
        TrialReport {
            messages: of(&self.messages),
            different: of(&self.different),
            rejected: of(&self.rejected),
            errors: of(&self.errors),
            skipped: of(&self.skipped),
            stopped: told.why.clone(),
            samples: told.samples.iter().cloned().collect(),
        }
    }

    /// Whether a canary decides about this message.
    pub(crate) fn takes(&self, message: &FunctionMessage<'_>) -> bool {
        if self.stopped.load(Ordering::Relaxed) {
            return false;
        }
        match &self.mode {
            TrialMode::Shadow => false,
            TrialMode::Canary(Share::Subjects(filter)) => {
                matches(filter.as_bytes(), &message.subject)
            }
            TrialMode::Canary(Share::Percent(percent)) => chance(message) < percent / 100.0,
        }
    }

    /// Counts what a canary answered.
    pub(crate) fn decided(&self, answers: &[Answer]) {
        self.count(answers);
        self.judge();
    }

    fn count(&self, answers: &[Answer]) {
        let rejected = answers
            .iter()
            .filter(|answer| matches!(answer, Ok(FunctionOutcome::Reject { .. })));
        let (rejected, errors) = (
            rejected.count(),
            answers.iter().filter(|answer| answer.is_err()).count(),
        );
        self.messages
            .fetch_add(answers.len() as u64, Ordering::Relaxed);
        self.rejected.fetch_add(rejected as u64, Ordering::Relaxed);
        self.errors.fetch_add(errors as u64, Ordering::Relaxed);
    }

    fn judge(&self) {
        let messages = self.messages.load(Ordering::Relaxed);
        let bad = self.rejected.load(Ordering::Relaxed) + self.errors.load(Ordering::Relaxed);
        #[expect(clippy::cast_precision_loss, reason = "a rate of counts needs no more")]
        let rate = bad as f64 / messages.max(1) as f64;
        if messages < self.rules.min_messages || rate <= self.rules.max_error_rate {
            return;
        }
        let why = format!(
            "{bad} of {messages} messages ended in a rejection or error, {:.1} % are allowed",
            self.rules.max_error_rate * 100.0
        );
        if !self.stopped.swap(true, Ordering::Relaxed) {
            self.told().why = Some(why.clone());
            (self.on_stop)(self.version.function.name(), self.version.number, &why);
        }
    }

    /// Lets a shadow look at what the live version answered.
    pub(crate) fn look(self: &Arc<Self>, messages: &[FunctionMessage<'_>], answers: &[Answer]) {
        if self.mode != TrialMode::Shadow || self.stopped.load(Ordering::Relaxed) {
            return;
        }
        let count = messages.len() as u64;
        let job = Job {
            trial: Arc::clone(self),
            messages: messages.iter().map(FunctionMessage::to_owned).collect(),
            answers: answers.to_vec(),
        };
        if !self.shadows.offer(job) {
            self.skipped.fetch_add(count, Ordering::Relaxed);
        }
    }

    fn compare(&self, job: &Job) {
        let tried = self.version.process(&job.messages);
        self.count(&tried);
        let each = job.messages.iter().zip(job.answers.iter().zip(&tried));
        for (message, (live, tried)) in each {
            if live == tried {
                continue;
            }
            self.different.fetch_add(1, Ordering::Relaxed);
            let mut told = self.told();
            if told.samples.len() == SAMPLES {
                told.samples.pop_front();
            }
            told.samples
                .push_back(Difference::new(message, live, tried));
        }
    }
}

impl Difference {
    /// The message with what both versions answered, as people read it.
    #[must_use]
    pub fn new(message: &FunctionMessage<'_>, live: &Answer, tried: &Answer) -> Self {
        Self {
            subject: String::from_utf8_lossy(&message.subject).into_owned(),
            payload: excerpt(&message.payload),
            live: shown(live),
            tried: shown(tried),
        }
    }
}

/// An answer in one line.
fn shown(answer: &Answer) -> String {
    let name = OUTCOMES[outcome_index(answer)];
    match answer {
        Ok(FunctionOutcome::Replace(output)) => format!("{name} {}", excerpt(&output.payload)),
        Ok(FunctionOutcome::Emit(outputs)) => {
            let each = outputs.iter().map(|output| excerpt(&output.payload));
            format!("{name} {}", each.collect::<Vec<_>>().join(" | "))
        }
        Ok(FunctionOutcome::Reject { code, reason, .. }) => format!("{name} {code}: {reason}"),
        Err(fault) => format!("{name} {fault}"),
        Ok(_) => name.to_owned(),
    }
}

/// The beginning of a payload as text.
pub(crate) fn excerpt(payload: &[u8]) -> String {
    let cut = &payload[..payload.len().min(SHOWN)];
    let mut text = String::from_utf8_lossy(cut).into_owned();
    if cut.len() < payload.len() {
        text.push_str(&format!("… ({})", format_bytes(payload.len() as u64)));
    }
    text
}

/// A number from 0 to 1 that is the same for the same message.
fn chance(message: &FunctionMessage<'_>) -> f64 {
    let mut hasher = foldhash::quality::FixedState::default().build_hasher();
    hasher.write(&message.subject);
    hasher.write(&message.payload);
    #[expect(clippy::cast_precision_loss, reason = "a share needs no more")]
    let chance = hasher.finish() as f64 / u64::MAX as f64;
    chance
}

struct Job {
    trial: Arc<Trial>,
    messages: Vec<FunctionMessage<'static>>,
    answers: Vec<Answer>,
}

/// The thread that shadows run on. Cheap to clone; ends with the last clone.
#[derive(Clone)]
pub struct Shadows(SyncSender<Job>);

impl fmt::Debug for Shadows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Shadows")
    }
}

impl Shadows {
    /// Starts the thread.
    ///
    /// # Errors
    /// When there are too many threads.
    pub fn start() -> std::io::Result<Self> {
        let (sender, jobs): (_, Receiver<Job>) = sync_channel(WAITING);
        std::thread::Builder::new()
            .name("function-shadow".to_owned())
            .spawn(move || {
                for job in jobs {
                    job.trial.compare(&job);
                }
            })?;
        Ok(Self(sender))
    }

    fn offer(&self, job: Job) -> bool {
        match self.0.try_send(job) {
            Ok(()) => true,
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => false,
        }
    }
}

/// The trials that run, by function and version: the same one for every place its function runs in, and the same one when
/// a plan is compiled anew. Each lives as long as a plan has it.
#[derive(Debug, Default)]
pub struct TrialTable(Mutex<BTreeMap<(String, u64), Weak<Trial>>>);

impl TrialTable {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<(String, u64), Weak<Trial>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The trial of a version, if it runs.
    #[must_use]
    pub fn get(&self, function: &str, version: u64) -> Option<Arc<Trial>> {
        self.lock().get(&(function.to_owned(), version))?.upgrade()
    }

    /// The trial of a version as it runs, or a new one.
    ///
    /// # Errors
    /// Those of `make`.
    pub fn get_or_start<E>(
        &self,
        function: &str,
        version: u64,
        mode: &TrialMode,
        make: impl FnOnce() -> Result<Arc<Trial>, E>,
    ) -> Result<Arc<Trial>, E> {
        if let Some(trial) = self.get(function, version)
            && trial.mode == *mode
        {
            return Ok(trial);
        }
        let trial = make()?;
        let mut trials = self.lock();
        trials.retain(|_, trial| trial.strong_count() > 0);
        trials.insert((function.to_owned(), version), Arc::downgrade(&trial));
        Ok(trial)
    }
}
