//! The stage that runs a function, and the versions of it: the one that runs, and one that is tried beside it.

mod metrics;
mod rows;
mod stage;
mod trial;

pub use metrics::{FunctionMetrics, FunctionSnapshot, VersionMetrics};
pub use rows::{DeployedRows, RowFunction};
pub use stage::{FunctionStage, FunctionVersion, seen};
pub use trial::{
    Difference, Shadows, Share, Trial, TrialMode, TrialReport, TrialRules, TrialTable,
};
