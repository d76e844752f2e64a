//! Window functions: each row together with others of its partition.
//!
//! What lives here: the functions as they are compiled (`plan`), DataFusion's own evaluation of a whole partition (`evaluate`),
//! and partitions that are evaluated anew when they change (`operator`).

mod evaluate;
mod operator;
mod plan;
#[cfg(test)]
mod tests;

pub(crate) use plan::{OverConfig, OverPlan};
