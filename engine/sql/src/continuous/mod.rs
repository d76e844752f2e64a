//! Queries that never end: the engine of flows that are declared as SQL.
#![allow(dead_code, reason = "taken away with the last operator of this folder")]

mod delta;
mod join;
mod operator;
mod over;
mod parts;
mod rank;
mod session;
mod time;
