//! What operators share that keep rows by partition.
//!
//! What lives here: partitions, when they end and when they are forgotten (`table`), the rows of a partition in order and how
//! they are told to the log (`rows`, `store`), what is done to a batch before (`batch`: rows as bytes, late rows, rows that
//! cannot be evaluated), and what has left memory (`cold`, in a file of `scratch`).

mod batch;
mod cold;
mod rows;
mod scratch;
mod store;
mod table;
#[cfg(test)]
pub(super) mod testing;

pub(super) use batch::{Encoded, Encoder, caught, each_evaluated, in_time, times};
pub(super) use cold::{Cold, Leaving, Pair, Parcel, SOME};
pub(super) use rows::Key;
pub(super) use scratch::Scratch;
pub(super) use store::{Put, Store};
pub(super) use table::{Table, blob, number, put_blob, row_entry, row_key};
