//! What functions said of a batch's rows, so that they are asked once.

use std::cell::RefCell;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::time::{Duration, Instant};

use bytes::Bytes;
use datafusion::common::{Result, exec_datafusion_err};
use millstream_pipeline::{Rejection, RowFunction};

/// What a function said of the arguments of a batch, so that a batch which is run in parts asks once.
#[derive(Debug)]
pub(crate) struct Remembered(());

type Answer = std::result::Result<Option<Bytes>, Rejection>;

/// Answers that are remembered, and their bytes; with more, all are forgotten.
const MOST_ANSWERS: usize = 64 * 1024;
const MOST_BYTES: usize = 64 << 20;
/// Rows that are asked first where there is a deadline, and the time after which the rows asked next are no more than those.
const FIRST: usize = 64;
const PAUSE: Duration = Duration::from_millis(50);

#[derive(Default)]
struct Memory {
    /// By who runs the function, and the arguments.
    answers: HashMap<(usize, Bytes), Answer>,
    bytes: usize,
    /// When there is no more use in asking. What is rejected ends it all then.
    deadline: Option<Instant>,
}

thread_local! {
    /// `None` outside of batches.
    static MEMORY: RefCell<Option<Memory>> = const { RefCell::new(None) };
}

impl Remembered {
    /// Until this is dropped, on this thread.
    pub(crate) fn for_batch() -> Self {
        MEMORY.set(Some(Memory::default()));
        Self(())
    }

    /// The same for the batches of a question that ends at a deadline, and with the first error.
    pub(crate) fn for_question(deadline: Instant) -> Self {
        MEMORY.set(Some(Memory {
            deadline: Some(deadline),
            ..Memory::default()
        }));
        Self(())
    }

    /// Forgets the batch before.
    pub(crate) fn next_batch() {
        MEMORY.with_borrow_mut(|memory| {
            if let Some(memory) = memory {
                memory.forget();
            }
        });
    }

    pub(super) fn answers(run: &dyn RowFunction, arguments: &[Bytes]) -> Result<Vec<Answer>> {
        let known = MEMORY.take();
        let batch = known.is_some();
        let mut memory = known.unwrap_or_default();
        let answers = memory.ask(run, arguments);
        if answers.is_err() {
            memory.forget();
        }
        if batch {
            MEMORY.set(Some(memory));
        }
        answers
    }
}

impl Drop for Remembered {
    fn drop(&mut self) {
        MEMORY.set(None);
    }
}

impl Memory {
    fn forget(&mut self) {
        self.answers.clear();
        self.bytes = 0;
    }

    /// An answer for each of the arguments. Where there is a deadline, those behind the first error are none.
    fn ask(&mut self, run: &dyn RowFunction, arguments: &[Bytes]) -> Result<Vec<Answer>> {
        if self.answers.len() > MOST_ANSWERS || self.bytes > MOST_BYTES {
            self.forget();
        }
        let who = std::ptr::from_ref(run).cast::<()>().addr();
        let mut asked = Vec::new();
        for argument in arguments {
            let key = (who, argument.clone());
            if let Entry::Vacant(vacant) = self.answers.entry(key) {
                vacant.insert(Ok(None));
                asked.push(argument.clone());
            }
        }
        let mut most = self.deadline.map_or(usize::MAX, |_| FIRST);
        let mut rest = asked.as_slice();
        while !rest.is_empty() {
            let (piece, later) = rest.split_at(most.min(rest.len()));
            let begun = Instant::now();
            if self.deadline.is_some_and(|deadline| deadline <= begun) {
                return Err(exec_datafusion_err!("time is over"));
            }
            let answers = run.call(piece.to_vec());
            if answers.len() != piece.len() {
                let (some, all) = (answers.len(), piece.len());
                return Err(exec_datafusion_err!(
                    "function answers {some} of {all} rows"
                ));
            }
            let failed = answers.iter().any(Result::is_err);
            for (argument, answer) in piece.iter().zip(answers) {
                let value = answer.as_ref().ok().and_then(Option::as_ref);
                self.bytes += argument.len() + value.map_or(0, Bytes::len);
                self.answers.insert((who, argument.clone()), answer);
            }
            if self.deadline.is_some() && failed {
                break;
            }
            let quick = begun.elapsed() < PAUSE;
            most = if quick { most.saturating_mul(2) } else { FIRST };
            rest = later;
        }
        let each = arguments.iter().map(|argument| {
            let answer = self.answers.get(&(who, argument.clone()));
            answer.cloned().unwrap_or(Ok(None))
        });
        Ok(each.collect())
    }
}
