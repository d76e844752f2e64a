//! The first rows of partitions, and functions over their neighbours.

use super::*;

use datafusion::logical_expr::expr::WindowFunction;
use datafusion::logical_expr::utils::split_conjunction;
use datafusion::logical_expr::{Filter, Limit, Sort, SortExpr, Window, WindowFunctionDefinition};
use datafusion::physical_expr::PhysicalSortExpr;

use crate::continuous::over::{OverConfig, OverPlan};
use crate::continuous::rank::{RankFunction, RankPlan};

/// Most rows of a partition that are kept in order.
const MOST: u64 = 100_000;

impl Planner<'_> {
    /// A filter over a rank that leaves the first rows; `None` when it is another.
    pub(super) fn ranked(&mut self, filter: &Filter) -> Result<Option<Built>> {
        let LogicalPlan::Window(window) = &*filter.input else {
            return Ok(None);
        };
        let [expr] = window.window_expr.as_slice() else {
            return Ok(None);
        };
        let Some((function, call)) = rank(expr) else {
            return Ok(None);
        };
        let columns = window.input.schema().fields().len();
        let name = window.schema.field(columns).name();
        let mut limit: Option<u64> = None;
        let mut rest = Vec::new();
        for part in split_conjunction(&filter.predicate) {
            match most(part, name) {
                Some(most) => limit = Some(limit.map_or(most, |known| known.min(most))),
                None => rest.push(part.clone()),
            }
        }
        let Some(limit) = limit else {
            return Ok(None);
        };
        let mut built = self.first(window, call, (function, 0, limit))?;
        for part in rest {
            self.steady(&part, &built)?;
            let predicate = self.physical(&part, &window.schema)?;
            built.changes.push(Change::Filter(predicate));
        }
        Ok(Some(built))
    }

    fn first(
        &mut self,
        window: &Window,
        call: &WindowFunction,
        (function, skip, limit): (RankFunction, u64, u64),
    ) -> Result<Built> {
        if limit > MOST {
            return plan_err!(
                "at most {MOST} rows of a partition are kept in order, and this asks for {limit}"
            );
        }
        let input = self.build(&window.input)?;
        let schema = window.input.schema();
        let partition = call.params.partition_by.clone();
        let order = self.order(&call.params.order_by, schema)?;
        self.rank(
            input,
            schema,
            (partition, order),
            (function, skip, limit),
            Some(&window.schema),
        )
    }

    fn rank(
        &mut self,
        input: Built,
        schema: &DFSchema,
        (partition, order): (Vec<Expr>, Vec<PhysicalSortExpr>),
        (function, skip, limit): (RankFunction, u64, u64),
        numbered: Option<&DFSchemaRef>,
    ) -> Result<Built> {
        let close = self.closing(&input, &partition, schema);
        self.graceless |= close.is_some();
        let waits = close.is_some() && self.emit == Emit::WindowClose && !input.updating;
        let mut known = vec![None; input.known.len()];
        if let Some((column, bound)) = close {
            known[column] = Some(Known::Time(bound));
        }
        if numbered.is_some() {
            known.push(None);
        }
        let plan = RankPlan {
            input: loose(schema),
            updating: input.updating,
            partition: partition
                .iter()
                .map(|expr| self.physical(expr, schema))
                .collect::<Result<_>>()?,
            order,
            function,
            skip,
            limit,
            numbered: numbered.is_some(),
            output: numbered.map_or_else(|| loose(schema), |schema| loose(schema)),
            close,
            waits,
            ttl: self.ttl.filter(|_| close.is_none()),
        };
        let text = format!(
            "rows {} to {} of each partition by {}, {function:?} by {}",
            skip + 1,
            skip.saturating_add(limit),
            listed(&partition),
            listed(&plan.order)
        );
        let unique = apart(
            &partition,
            schema,
            (limit, numbered.map(|_| known.len() - 1)),
        );
        let from = self.node(&input);
        let node = self.add(vec![from], text, Arc::new(move || plan.operator()));
        if waits {
            self.closers.insert(node);
        }
        Ok(Built {
            node,
            changes: Vec::new(),
            known,
            unique,
            updating: !waits,
        })
    }

    /// The column of a partition that ends it.
    fn closing(
        &self,
        input: &Built,
        partition: &[Expr],
        schema: &DFSchema,
    ) -> Option<(usize, Bound)> {
        let bounds = partition.iter().filter_map(|expr| {
            let Expr::Column(column) = expr else {
                return None;
            };
            let column = schema.index_of_column(column).ok()?;
            let bound = input.bound(column)?;
            // Time on the wall goes on without messages, and these operators wait for one.
            (bound.clock == Clock::Event).then_some((column, bound))
        });
        bounds.max_by_key(|(_, bound)| bound.offset)
    }

    fn order(&self, order: &[SortExpr], schema: &DFSchema) -> Result<Vec<PhysicalSortExpr>> {
        let physical = order.iter().map(|sort| {
            let options = arrow::compute::SortOptions {
                descending: !sort.asc,
                nulls_first: sort.nulls_first,
            };
            Ok(PhysicalSortExpr::new(
                self.physical(&sort.expr, schema)?,
                options,
            ))
        });
        physical.collect()
    }

    pub(super) fn over(&mut self, window: &Window) -> Result<Built> {
        let input = self.build(&window.input)?;
        let schema = window.input.schema();
        let partition = window.window_expr.first().and_then(call);
        let partition = partition.map_or(&[][..], |call| &call.params.partition_by);
        let close = self.closing(&input, partition, schema);
        self.graceless |= close.is_some();
        let waits = close.is_some() && self.emit == Emit::WindowClose && !input.updating;
        let mut known = vec![None; window.schema.fields().len()];
        if let Some((column, bound)) = close {
            known[column] = Some(Known::Time(bound));
        }
        // Late rows that are waited for come below what else is final.
        let final_below = !input.updating && !matches!(self.late, Late::UpdateWithin(_));
        let first = window.window_expr.first().and_then(call);
        let first = first.and_then(|call| call.params.order_by.first());
        let order = first.filter(|_| final_below && close.is_none());
        let config = OverConfig {
            close,
            order: order.and_then(|sort| growing(&input, sort, schema)),
            waits,
            ttl: self.ttl.filter(|_| close.is_none()),
        };
        let options = self.names.config();
        let mut plan = OverPlan::new(&window.window_expr, schema, config, options)?;
        (plan.input, plan.output) = (loose(schema), loose(&window.schema));
        let told: Vec<String> = window.window_expr.iter().map(ToString::to_string).collect();
        let mut text = told.join(", ");
        if plan.is_incremental() {
            text.push_str(", row by row");
        }
        let from = self.node(&input);
        let node = self.add(vec![from], text, Arc::new(move || plan.operator()));
        if waits {
            self.closers.insert(node);
        }
        Ok(Built {
            node,
            changes: Vec::new(),
            known,
            unique: None,
            updating: !waits,
        })
    }

    pub(super) fn limit(&mut self, limit: &Limit) -> Result<Built> {
        let skip = limit.skip.as_ref().map_or(Some(0), |skip| number(skip));
        let fetch = limit.fetch.as_ref().and_then(|fetch| number(fetch));
        let (Some(skip), Some(fetch)) = (skip, fetch) else {
            return plan_err!("LIMIT and OFFSET of a flow are constants");
        };
        let LogicalPlan::Sort(sort) = &*limit.input else {
            return plan_err!("LIMIT of a flow needs an ORDER BY that says which rows");
        };
        self.first_of_all(sort, skip, fetch)
    }

    pub(super) fn sort(&mut self, sort: &Sort) -> Result<Built> {
        match sort.fetch {
            Some(fetch) => self.first_of_all(sort, 0, fetch as u64),
            None => plan_err!("rows of a flow come when they come; ORDER BY needs a LIMIT"),
        }
    }

    fn first_of_all(&mut self, sort: &Sort, skip: u64, limit: u64) -> Result<Built> {
        if skip.saturating_add(limit) > MOST {
            return plan_err!("at most {MOST} rows are kept in order, and this asks for {limit}");
        }
        let input = self.build(&sort.input)?;
        let schema = sort.input.schema();
        let order = self.order(&sort.expr, schema)?;
        self.rank(
            input,
            schema,
            (Vec::new(), order),
            (RankFunction::RowNumber, skip, limit),
            None,
        )
    }
}

/// The columns that tell the first rows of partitions apart; `None` when partitions are by something else than columns.
fn apart(
    partition: &[Expr],
    schema: &DFSchema,
    (limit, rank): (u64, Option<usize>),
) -> Option<Vec<usize>> {
    let column = |expr: &Expr| match expr {
        Expr::Column(column) => schema.index_of_column(column).ok(),
        _ => None,
    };
    let columns: Option<Vec<usize>> = partition.iter().map(column).collect();
    if limit == 1 {
        return columns;
    }
    let mut columns = columns?;
    columns.push(rank.unwrap_or(NOWHERE));
    Some(columns)
}

/// The column of an ascending order that is a time of the messages, and its bound.
fn growing(input: &Built, sort: &SortExpr, schema: &DFSchema) -> Option<(usize, Bound)> {
    let Expr::Column(column) = &sort.expr else {
        return None;
    };
    let column = schema.index_of_column(column).ok()?;
    let bound = input.bound(column).filter(|_| sort.asc)?;
    // Time on the wall goes on without messages, and these operators wait for one.
    (bound.clock == Clock::Event).then_some((column, bound))
}

fn listed<T: ToString>(all: &[T]) -> String {
    let texts: Vec<String> = all.iter().map(ToString::to_string).collect();
    texts.join(", ")
}

fn call(expr: &Expr) -> Option<&WindowFunction> {
    match expr {
        Expr::Alias(alias) => call(&alias.expr),
        Expr::WindowFunction(call) => Some(call),
        _ => None,
    }
}

fn rank(expr: &Expr) -> Option<(RankFunction, &WindowFunction)> {
    let call = call(expr)?;
    let WindowFunctionDefinition::WindowUDF(function) = &call.fun else {
        return None;
    };
    let function = match function.name() {
        "row_number" => RankFunction::RowNumber,
        "rank" => RankFunction::Rank,
        "dense_rank" => RankFunction::DenseRank,
        _ => return None,
    };
    Some((function, call))
}

/// The largest rank that a condition lets pass.
fn most(expr: &Expr, name: &str) -> Option<u64> {
    let Expr::BinaryExpr(BinaryExpr { left, op, right }) = expr else {
        return None;
    };
    let is_rank = |expr: &Expr| matches!(expr, Expr::Column(column) if column.name == name);
    let (op, limit) = match (is_rank(left), is_rank(right)) {
        (true, false) => (*op, number(right)?),
        (false, true) => (op.swap()?, number(left)?),
        _ => return None,
    };
    match op {
        Sign::LtEq => Some(limit),
        Sign::Lt => limit.checked_sub(1),
        Sign::Eq if limit == 1 => Some(1),
        _ => None,
    }
}
