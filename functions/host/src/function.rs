//! A loaded function: its pool of instances, and how the message that makes a guest fail is told from the others.
//!
//! A call carries a chunk of the batch. When it fails, the chunk's messages are called again one by one in a fresh
//! instance and those that fail alone are the culprits. One by one and not by halves: a call with one message costs
//! about a microsecond, a failed one costs a whole time-out or a fresh instance, and halving brings about
//! log2(chunk) failures for each culprit where this brings about one.
//!
//! When nobody is to blame the chunk was too much as a whole (time, memory or output), and the next ones are smaller.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use millstream_function_api::{
    Fault, FaultCode, Function, FunctionMessage, FunctionOutcome, Limits,
};
use millstream_types::format_duration;

use crate::abi::{self, Message, Outcome};
use crate::fault;
use crate::instance::{Instance, Recipe};

/// Most messages of one call: by then the cost of the call itself does not show any more.
const MAX_CHUNK: usize = 256;
/// Part of a guest's memory that a chunk may take; it needs room to work and to answer.
const CHUNK_MEMORY_SHARE: u64 = 4;
/// Failed calls may take this many time-outs for one batch; after that the rest of the batch is not tried. Without
/// it a guest that always loops would hold its thread for the time-out times the batch.
const PATIENCE: u32 = 16;

/// Failed calls may spend this many times `wait` waiting for other hosts for one batch, for the same reason.
const WAITS: u32 = 4;
/// Bytes that may come out of one batch, whatever its messages may each: it becomes one entry of the log.
const MAX_BATCH_OUTPUT: usize = 128 << 20;
/// Batches after a time-out that run at the lowest priority.
const SLOW_BATCHES: usize = 64;
/// The lowest priority there is.
#[cfg(target_os = "linux")]
const LOWEST: i32 = 19;

type Answer = Result<FunctionOutcome, Fault>;

/// A function with its instances.
pub(crate) struct WasmFunction {
    recipe: Recipe,
    idle: Mutex<Vec<Instance>>,
    /// Messages of the next call, 1 to `MAX_CHUNK`.
    chunk: AtomicUsize,
    /// Memory of the largest instance so far.
    memory: AtomicU64,
    /// Batches that run at the lowest priority: more than none since one of its messages ran out of time.
    slow: AtomicUsize,
}

impl fmt::Debug for WasmFunction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WasmFunction")
            .field("manifest", &self.recipe.manifest)
            .finish_non_exhaustive()
    }
}

impl WasmFunction {
    pub(crate) fn new(recipe: Recipe, first: Instance) -> Self {
        let memory = AtomicU64::new(first.memory());
        Self {
            recipe,
            idle: Mutex::new(vec![first]),
            chunk: AtomicUsize::new(MAX_CHUNK),
            memory,
            slow: AtomicUsize::new(0),
        }
    }

    fn limits(&self) -> &Limits {
        &self.recipe.manifest.limits
    }

    fn idle_instance(&self) -> Option<Instance> {
        self.idle
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .pop()
    }

    fn put_back(&self, instance: Instance) {
        self.memory.fetch_max(instance.memory(), Ordering::Relaxed);
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < self.recipe.shared.options.idle_instances.max(1) {
            idle.push(instance);
        }
    }

    /// How many messages the next call carries: at least one, however large it is.
    fn chunk_len(&self, rest: &[FunctionMessage<'_>]) -> usize {
        let most = usize::try_from(self.limits().memory / CHUNK_MEMORY_SHARE).unwrap_or(usize::MAX);
        let mut bytes = 0usize;
        let fits = rest
            .iter()
            .take(self.chunk.load(Ordering::Relaxed))
            .take_while(|message| {
                bytes = bytes.saturating_add(abi::guest_bytes(message));
                bytes <= most
            })
            .count();
        fits.max(1)
    }
}

impl Function for WasmFunction {
    fn name(&self) -> &str {
        &self.recipe.manifest.name
    }

    fn process(&self, batch: &[FunctionMessage<'_>]) -> Vec<Answer> {
        if self.slow.load(Ordering::Relaxed) == 0 {
            return self.run(batch);
        }
        // It takes all the time it is given, so it gets what others leave. A thread cannot have its priority back where it
        // has no privileges, so it is a thread of its own; beside a time-out its start costs nothing.
        std::thread::scope(|scope| {
            let lowered = scope.spawn(|| {
                #[cfg(target_os = "linux")]
                let _lower = rustix::process::nice(LOWEST);
                self.run(batch)
            });
            // The engine's panics are caught where it is called.
            lowered.join().unwrap_or_else(|_| self.lost(batch))
        })
    }

    fn memory(&self) -> u64 {
        self.memory.load(Ordering::Relaxed)
    }
}

impl WasmFunction {
    fn run(&self, batch: &[FunctionMessage<'_>]) -> Vec<Answer> {
        let mut run = Run {
            function: self,
            instance: self.idle_instance(),
            left: self.limits().timeout.saturating_mul(PATIENCE),
            waits: self.limits().wait.saturating_mul(WAITS),
            output: 0,
            answers: Vec::with_capacity(batch.len()),
        };
        let mut rest = batch;
        while !rest.is_empty() {
            let (chunk, later) = rest.split_at(self.chunk_len(rest));
            run.chunk(chunk);
            rest = later;
        }
        if let Some(instance) = run.instance.take() {
            self.put_back(instance);
        }
        let timed_out = run
            .answers
            .iter()
            .any(|answer| matches!(answer, Err(fault) if fault.code == FaultCode::Timeout));
        if timed_out {
            self.slow.store(SLOW_BATCHES, Ordering::Relaxed);
        } else if self.slow.load(Ordering::Relaxed) > 0 {
            // Another batch may have been quicker to count it down; then there is nothing left to do.
            let _done = self
                .slow
                .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| {
                    left.checked_sub(1)
                });
        }
        run.answers
    }

    fn lost(&self, batch: &[FunctionMessage<'_>]) -> Vec<Answer> {
        let fault = || Fault {
            code: FaultCode::Trap,
            reason: "the thread that ran it failed; this is a bug of the server".to_owned(),
        };
        batch.iter().map(|_| Err(fault())).collect()
    }
}

/// The work on one batch.
struct Run<'a> {
    function: &'a WasmFunction,
    instance: Option<Instance>,
    /// Processor time that failed calls may still take.
    left: Duration,
    /// Time that failed calls may still spend waiting for other hosts.
    waits: Duration,
    /// Bytes that came out so far.
    output: usize,
    answers: Vec<Answer>,
}

impl Run<'_> {
    fn chunk(&mut self, chunk: &[FunctionMessage<'_>]) {
        let messages: Vec<Message<'_>> = chunk.iter().map(Message::from).collect();
        let fault = match self.call(&messages) {
            Ok(outcomes) => {
                self.answer(outcomes);
                self.grow(chunk.len());
                return;
            }
            Err(fault) => fault,
        };
        if let [_] = chunk {
            self.answers.push(Err(fault));
            return;
        }
        let mut blameless = true;
        for message in &messages {
            match self.call(std::slice::from_ref(message)) {
                Ok(outcomes) => self.answer(outcomes),
                Err(fault) => {
                    blameless = false;
                    self.answers.push(Err(fault));
                }
            }
        }
        if blameless {
            self.function
                .chunk
                .store((chunk.len() / 2).max(1), Ordering::Relaxed);
        }
    }

    /// One call that answers each message, or the reason why it does not; the instance is gone then.
    fn call(&mut self, messages: &[Message<'_>]) -> Result<Vec<Outcome>, Fault> {
        if self.left.is_zero() || self.waits.is_zero() {
            return Err(self.not_tried());
        }
        let recipe = &self.function.recipe;
        let mut instance = match self.instance.take() {
            Some(instance) => instance,
            None => self.start()?,
        };
        let began = Instant::now();
        // A guest cannot make the engine panic unless the engine has a bug; that bug should cost one message.
        let result = catch_unwind(AssertUnwindSafe(|| instance.call(recipe, messages)));
        let result = result.unwrap_or_else(|_| {
            let reason = "the engine failed while it ran; this is a bug of the server".to_owned();
            Err(Fault {
                code: FaultCode::Trap,
                reason,
            })
        });
        let result = result.and_then(|outcomes| counted(outcomes, messages.len()));
        if result.is_ok() {
            instance.commit();
            self.instance = Some(instance);
        } else {
            let elapsed = began.elapsed();
            let used = instance.used();
            self.waits = self
                .waits
                .saturating_sub(elapsed.saturating_sub(used.unwrap_or_default()));
            self.charge(used.unwrap_or_else(|| elapsed.min(recipe.shared.ticker.period())));
        }
        result
    }

    fn start(&mut self) -> Result<Instance, Fault> {
        let began = Instant::now();
        Instance::start(&self.function.recipe).map_err(|error| {
            self.charge(began.elapsed());
            let reason = format!("no fresh instance can be started: {error}");
            Fault {
                code: FaultCode::Trap,
                reason,
            }
        })
    }

    fn charge(&mut self, time: Duration) {
        self.left = self.left.saturating_sub(time);
    }

    fn answer(&mut self, outcomes: Vec<Outcome>) {
        let limits = self.function.limits();
        let output = &mut self.output;
        self.answers.extend(outcomes.into_iter().map(|outcome| {
            if let Outcome::Keep = outcome {
                return Ok(FunctionOutcome::Keep);
            }
            let bytes = outcome.bytes();
            if *output + bytes > MAX_BATCH_OUTPUT {
                return Err(fault::batch_output(MAX_BATCH_OUTPUT));
            }
            *output += bytes;
            outcome.checked(limits)
        }));
    }

    /// Back towards full chunks, slowly: a chunk that was too large has cost a time-out.
    fn grow(&self, done: usize) {
        let chunk = &self.function.chunk;
        let now = chunk.load(Ordering::Relaxed);
        if now < MAX_CHUNK && done >= now {
            chunk.store(now + 1, Ordering::Relaxed);
        }
    }

    fn not_tried(&self) -> Fault {
        let limits = self.function.limits();
        let all = match self.left.is_zero() {
            true => limits.timeout.saturating_mul(PATIENCE),
            false => limits.wait.saturating_mul(WAITS),
        };
        let reason = format!(
            "not tried: messages before it in its batch failed and took {}",
            format_duration(all)
        );
        Fault {
            code: FaultCode::Timeout,
            reason,
        }
    }
}

fn counted(outcomes: Vec<Outcome>, messages: usize) -> Result<Vec<Outcome>, Fault> {
    if outcomes.len() == messages {
        return Ok(outcomes);
    }
    let reason = format!(
        "answered {} outcomes for {messages} messages",
        outcomes.len()
    );
    Err(Fault {
        code: FaultCode::WrongCount,
        reason,
    })
}
