//! When partitions end, and when rows are forgotten that no later row can reach.

use arrow::array::AsArray;
use arrow::datatypes::TimestampNanosecondType;
use datafusion::common::{Result, exec_datafusion_err};

use super::evaluate::Evaluator;
use super::lines::{Line, Lines};
use super::plan::OverPlan;
use super::reach::{Keep, Look};
use super::store::Store;
use crate::continuous::operator::Step;
use crate::continuous::parts::times;
use crate::continuous::time::{Bound, Marks};

/// How many rows are looked at, at once, whether they are to be forgotten.
const BLOCK: usize = 256;

/// What time does to partitions.
#[derive(Clone, Copy, Debug)]
pub(super) enum Ends {
    /// A column ends them whole.
    Whole(usize, Bound),
    /// They are in order of this column, and rows are kept as long as later ones look at them.
    Rows(usize, Bound, Keep),
    Never,
}

impl Ends {
    pub(super) fn of(plan: &OverPlan, look: &Look) -> Self {
        match (plan.config.close, plan.config.order, look.keep()) {
            (Some((column, bound)), ..) => Self::Whole(column, bound),
            (None, Some((column, bound)), Some(keep)) => Self::Rows(column, bound, keep),
            (None, ..) => Self::Never,
        }
    }

    /// The column that says whether a row is late.
    pub(super) fn late(&self) -> Option<(usize, Bound)> {
        match self {
            Self::Whole(column, bound) | Self::Rows(column, bound, _) => Some((*column, *bound)),
            Self::Never => None,
        }
    }

    /// Says when there is something to do for partitions, which depends on nothing but their rows.
    pub(super) fn set(
        &self,
        store: &mut Store,
        evaluator: &Evaluator,
        slots: &[usize],
    ) -> Result<()> {
        let there = |slot: &&usize| !store.lines(**slot).is_empty();
        let slots: Vec<usize> = slots.iter().filter(there).copied().collect();
        match self {
            Self::Whole(column, _) => {
                let first = slots
                    .iter()
                    .filter_map(|slot| store.lines(*slot).get(Lines::START));
                let ends = times(&evaluator.batch(first.map(Line::row))?, *column)?;
                for (row, slot) in slots.iter().enumerate() {
                    store.table_mut().set_end(*slot, Some(ends.value(row)));
                }
            }
            Self::Rows(_, _, keep) => {
                let mut orders = Vec::new();
                let mut long = Vec::new();
                for slot in &slots {
                    let lines = store.lines(*slot);
                    let last = lines.get(lines.forward(Lines::START, keep.rows));
                    let both = lines.get(Lines::START).zip(last);
                    orders.extend(
                        both.iter()
                            .flat_map(|(one, other)| [one.order(), other.order()]),
                    );
                    long.push(both.is_some());
                }
                let times = order_times(evaluator, orders.into_iter())?;
                let mut pairs = times.chunks_exact(2);
                for (slot, long) in slots.iter().zip(long) {
                    let pair = if long { pairs.next() } else { None };
                    let end = pair.map(|pair| pair[1].max(pair[0].saturating_add(keep.span)));
                    store.table_mut().set_end(*slot, end);
                }
            }
            Self::Never => {}
        }
        Ok(())
    }

    /// Forgets what time has come for; answers the partitions of which some is left.
    pub(super) fn reach(
        &self,
        store: &mut Store,
        evaluator: &Evaluator,
        after: Marks,
        step: &mut Step<'_>,
    ) -> Result<Vec<usize>> {
        let Some((_, bound)) = self.late() else {
            return Ok(Vec::new());
        };
        let floor = after.floor(bound);
        let ended = store.table_mut().ended(floor);
        let Self::Rows(_, _, keep) = self else {
            for slot in ended {
                store.forget(slot, step);
            }
            return Ok(Vec::new());
        };
        for slot in &ended {
            cut(store, evaluator, *slot, (*keep, floor))?;
        }
        self.set(store, evaluator, &ended)?;
        Ok(ended)
    }
}

/// Forgets rows from the front that no row from `floor` on looks at.
fn cut(
    store: &mut Store,
    evaluator: &Evaluator,
    slot: usize,
    (keep, floor): (Keep, i64),
) -> Result<()> {
    loop {
        let lines = store.lines(slot);
        let last = lines.forward(Lines::START, keep.rows.saturating_add(BLOCK));
        let orders = lines.between(Lines::START, last).map(Line::order);
        let times = order_times(evaluator, orders)?;
        let pairs = times.iter().zip(times.iter().skip(keep.rows));
        let out =
            |(time, last): &(&i64, &i64)| **last < floor && time.saturating_add(keep.span) < floor;
        let count = pairs.take_while(out).count();
        store.cut(slot, count);
        if count < BLOCK {
            return Ok(());
        }
    }
}

/// The times by which rows are in order.
fn order_times<'a>(
    evaluator: &Evaluator,
    orders: impl Iterator<Item = &'a [u8]>,
) -> Result<Vec<i64>> {
    let columns = evaluator.order_columns(orders)?;
    let times = columns
        .first()
        .and_then(|column| column.as_primitive_opt::<TimestampNanosecondType>());
    let times = times.ok_or_else(|| exec_datafusion_err!("rows are not in order of time"))?;
    Ok((0..times.len()).map(|row| times.value(row)).collect())
}
