//! `GROUP BY` over rows that come and go.
//!
//! What lives here: the groups and how they change in a step (`operator`), when they end (`ends`), and how each aggregate keeps
//! what it needs (`fast` for the common ones, `general` for DataFusion's own accumulators, `multiset` where rows are taken back
//! or counted once); how groups leave memory (`spill`).

mod ends;
mod fast;
mod general;
mod groups;
mod kinds;
mod multiset;
mod operator;
mod spill;
#[cfg(test)]
mod tests;

use std::fmt::Debug;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, BooleanArray};
use arrow::datatypes::SchemaRef;
use datafusion::common::Result;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::aggregate::AggregateFunctionExpr;
use millstream_pipeline::BrokenState;

use super::operator::Operator;
use super::time::Bound;

/// A `GROUP BY` as it is compiled.
#[derive(Clone, Debug)]
pub(crate) struct AggregatePlan {
    pub(crate) input: SchemaRef,
    /// Whether rows of the input are taken back.
    pub(crate) updating: bool,
    pub(crate) keys: Vec<Arc<dyn PhysicalExpr>>,
    pub(crate) aggregates: Vec<Aggregate>,
    /// The keys, then the aggregates.
    pub(crate) output: SchemaRef,
    /// The keys that end a group, among `keys`, and their bounds, all of one clock: it ends when the first of them has passed.
    pub(crate) close: Vec<(usize, Bound)>,
    pub(crate) emission: Emission,
    /// Nanoseconds of the wall clock after which a group is forgotten that nothing touches.
    pub(crate) ttl: Option<i64>,
}

/// When groups are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Emission {
    /// Once, when they end.
    Close,
    /// When they end, and again when a row comes up to so many nanoseconds behind.
    CloseThenUpdate(i64),
    /// Whenever they change.
    Update,
}

/// One aggregate of a `GROUP BY`.
#[derive(Clone, Debug)]
pub(crate) struct Aggregate {
    pub(crate) function: Arc<AggregateFunctionExpr>,
    pub(crate) filter: Option<Arc<dyn PhysicalExpr>>,
}

impl AggregatePlan {
    /// One without groups.
    ///
    /// # Errors
    /// When a type cannot be kept.
    pub(crate) fn operator(&self) -> Result<Box<dyn Operator>> {
        Ok(Box::new(operator::Aggregation::new(self.clone())?))
    }
}

/// Rows of a batch, for one aggregate.
#[derive(Clone, Copy, Debug)]
struct Rows<'a> {
    /// The group of each row.
    slots: &'a [usize],
    args: &'a [ArrayRef],
    /// Only rows for which this is true.
    mask: Option<&'a BooleanArray>,
    /// How often each row is added.
    diffs: Option<&'a [i64]>,
}

impl Rows<'_> {
    /// The rows that count, with their groups and how often they are added.
    fn each(&self) -> impl Iterator<Item = (usize, usize, i64)> + '_ {
        let passes = |row: usize| {
            self.mask
                .is_none_or(|mask| mask.is_valid(row) && mask.value(row))
        };
        let rows = self.slots.iter().enumerate();
        rows.filter(move |(row, _)| passes(*row))
            .map(|(row, slot)| (row, *slot, self.diffs.map_or(1, |diffs| diffs[row])))
    }
}

/// What one aggregate keeps of all groups, which have numbers.
trait Keeper: Send + Debug {
    /// Makes room for so many groups.
    fn grow(&mut self, slots: usize) -> Result<()>;

    /// Takes rows in.
    fn update(&mut self, rows: Rows<'_>) -> Result<()>;

    /// What the aggregate is for these groups; with `last` they are cleared next.
    fn values(&mut self, slots: &[usize], last: bool) -> Result<ArrayRef>;

    /// Appends what a group needs, without what [`Keeper::entries`] tells.
    fn save(&mut self, slot: usize, to: &mut Vec<u8>) -> Result<()>;

    /// Reads what [`Keeper::save`] wrote.
    fn load(&mut self, slot: usize, from: &mut &[u8]) -> Result<(), BrokenState>;

    /// Forgets a group.
    fn clear(&mut self, slot: usize);

    /// Bytes that it holds.
    fn bytes(&self) -> u64;

    /// Entries of groups that are kept one by one and changed since the last call; 0: gone.
    fn entries(&mut self) -> Vec<(usize, Box<[u8]>, i64)> {
        Vec::new()
    }

    /// All entries of a group.
    fn entries_of(&self, _slot: usize) -> Vec<(Box<[u8]>, i64)> {
        Vec::new()
    }

    /// Puts back an entry.
    fn load_entry(&mut self, _slot: usize, _entry: &[u8], _count: i64) -> Result<(), BrokenState> {
        Err(BrokenState("aggregate keeps no entries".to_owned()))
    }
}

/// Takes `N` bytes from the front.
fn bytes<const N: usize>(from: &mut &[u8]) -> Result<[u8; N], BrokenState> {
    let short = || BrokenState("entry of a group is too short".to_owned());
    let (first, rest) = from.split_first_chunk::<N>().ok_or_else(short)?;
    *from = rest;
    Ok(*first)
}

/// Takes a text of bytes with its length before it.
fn blob<'a>(from: &mut &'a [u8]) -> Result<&'a [u8], BrokenState> {
    let length = u32::from_be_bytes(bytes(from)?) as usize;
    let short = || BrokenState("entry of a group is too short".to_owned());
    let (first, rest) = from.split_at_checked(length).ok_or_else(short)?;
    *from = rest;
    Ok(first)
}

fn put_blob(bytes: &[u8], to: &mut Vec<u8>) {
    to.extend_from_slice(&(bytes.len() as u32).to_be_bytes());
    to.extend_from_slice(bytes);
}
