//! The contract of a stage.

use std::fmt::{self, Debug};

use millstream_function_api::FunctionMessage;

use crate::{Record, Verdict};

/// One step of a station's pipeline. Shared by all threads that run the station's batches.
pub trait Stage: Send + Sync + Debug {
    /// `kind:name`, such as `function:delay-band`: shown to users, kept in dead letters, used as a metric label.
    fn label(&self) -> &str;

    /// One verdict for each record, in the same order. A record that is wrong is that record's rejection and spoils no
    /// other. Records are handed over for the sake of [`Record::json`]; changes go into the verdict, never into the batch.
    ///
    /// A stage that panics loses the batch's verdicts, and the plan asks again for each record alone.
    fn process(&self, batch: &mut [Record]) -> Vec<Verdict>;

    /// For a stage that needs no records as long as it keeps everything.
    fn in_place(&self) -> Option<&dyn InPlace> {
        None
    }
}

/// A stage that can decide about messages where they lie, which is cheaper than to make records of them.
pub trait InPlace {
    /// Decides as [`Stage::process`] does for the messages' records, and with the same effects.
    fn look<'a>(&'a self, batch: &[FunctionMessage<'_>]) -> Look<'a>;
}

/// Makes verdicts of decisions that are known.
pub type MakeVerdicts<'a> = Box<dyn FnOnce(&[Record]) -> Vec<Verdict> + 'a>;

/// What a stage says of messages that it looked at where they lie.
pub enum Look<'a> {
    /// All of them go on as they are.
    Kept,
    /// They do not; this makes the verdicts, of the messages' records.
    Decided(MakeVerdicts<'a>),
}

impl Debug for Look<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Kept => "Kept",
            Self::Decided(_) => "Decided",
        })
    }
}
