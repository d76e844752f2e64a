//! Joins against a nested loop over everything that came.

mod cases;
mod lookups;
mod model;
mod properties;
