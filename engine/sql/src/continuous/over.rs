//! Window functions: each row together with others of its partition.
//!
//! What lives here: the functions as they are compiled (`plan`) and how far each looks from its row (`reach`). Where that is
//! bounded, or little is carried from row to row (`running`), a step evaluates the rows that it touches (`incremental`): they
//! are found in `stretch`, evaluated in `again`, kept in `lines` and `store`, and forgotten by `ends`. Where it is not,
//! partitions are evaluated anew when they change (`operator`). What is evaluated, DataFusion evaluates (`evaluate`).

mod again;
mod ends;
mod evaluate;
mod incremental;
mod lines;
mod operator;
mod plan;
mod reach;
mod running;
mod store;
mod stretch;
#[cfg(test)]
mod tests;

use super::delta::Delta;

pub(crate) use plan::{OverConfig, OverPlan};

/// What a step makes.
#[derive(Default)]
struct Made {
    /// What came in this step.
    inputs: Vec<Delta>,
    /// Results that are taken back, and those that are added.
    gone: Vec<Delta>,
    come: Vec<Delta>,
}

impl Made {
    fn deltas(mut self) -> Vec<Delta> {
        self.gone.append(&mut self.come);
        self.gone
    }
}
