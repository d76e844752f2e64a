//! The contract of a stage.

use std::fmt::Debug;

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
}
