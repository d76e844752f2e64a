//! Joins.

use super::*;

use datafusion::common::{JoinType, NullEquality};
use datafusion::logical_expr::Join;
use datafusion::logical_expr::utils::split_conjunction;

use crate::continuous::join::{Expiry, JoinPlan, LookupPlan, SidePlan};

impl Planner<'_> {
    pub(super) fn join(&mut self, node: &Join) -> Result<Built> {
        let sides = [self.build(&node.left)?, self.build(&node.right)?];
        let schemas = [node.left.schema(), node.right.schema()];
        let on = node.on.iter().map(|(left, right)| {
            let left = self.physical(left, schemas[0])?;
            Ok((left, self.physical(right, schemas[1])?))
        });
        let on = on.collect::<Result<Vec<_>>>()?;
        let both = both(node)?;
        let filter = node.filter.as_ref();
        let filter = filter
            .map(|filter| self.physical(filter, &both))
            .transpose()?;
        let null_equals_null = node.null_equality == NullEquality::NullEqualsNull;
        let tables = [self.is_table(&sides[0]), self.is_table(&sides[1])];
        if tables == [false, true]
            && !sides[0].updating
            && matches!(node.join_type, JoinType::Inner | JoinType::Left)
        {
            let plan = LookupPlan {
                kind: node.join_type,
                on,
                null_equals_null,
                filter,
                left: loose(schemas[0]),
                right: loose(schemas[1]),
                output: loose(&node.schema),
            };
            return self.lookup(plan, sides, told(node, "lookup"));
        }
        if on.is_empty() && !self.one_row(&node.left) && !self.one_row(&node.right) {
            return plan_err!(
                "a join without an equality pairs every row with every other, for ever; add `a.x = b.y` to its condition"
            );
        }
        let expiry = [expiries(node, &sides, 0)?, expiries(node, &sides, 1)?];
        let waits = !self.at_once && expiry.iter().all(|expiry| !expiry.is_empty());
        let known = self.after_join(node, &sides, &expiry);
        let outer = !matches!(
            node.join_type,
            JoinType::Inner | JoinType::LeftSemi | JoinType::RightSemi
        );
        let updating = sides.iter().any(|side| side.updating) || (outer && !waits);
        self.graceful |= expiry.iter().any(|expiry| !expiry.is_empty());
        let bounded = expiry.iter().all(|expiry| !expiry.is_empty());
        let [left, right] = expiry;
        let side = |which: usize, expiry| SidePlan {
            schema: loose(schemas[which]),
            updating: sides[which].updating,
            expiry,
        };
        let plan = JoinPlan {
            kind: node.join_type,
            on,
            null_equals_null,
            null_aware: node.null_aware,
            filter,
            sides: [side(0, left), side(1, right)],
            output: loose(&node.schema),
            waits,
            ttl: self.ttl.filter(|_| !bounded),
        };
        let nodes = sides.iter().map(|side| self.node(side)).collect();
        let node = self.add(nodes, told(node, "join"), Arc::new(move || plan.operator()));
        Ok(Built {
            node,
            changes: Vec::new(),
            known,
            unique: None,
            updating,
        })
    }

    fn lookup(&mut self, plan: LookupPlan, sides: [Built; 2], text: String) -> Result<Built> {
        let mut known = sides[0].known.clone();
        known.resize(plan.output.fields().len(), None);
        let nodes = sides.iter().map(|side| self.node(side)).collect();
        let node = self.add(nodes, text, Arc::new(move || plan.operator()));
        Ok(Built {
            node,
            changes: Vec::new(),
            known,
            unique: None,
            updating: false,
        })
    }

    /// Whether these are the rows of a table, at most chosen and changed one by one.
    fn is_table(&self, built: &Built) -> bool {
        matches!(&self.nodes[built.node], Node::Source(plan) if plan.is_table)
    }

    /// Whether there is at most one row at a time.
    fn one_row(&self, plan: &LogicalPlan) -> bool {
        match plan {
            LogicalPlan::Aggregate(aggregate) => aggregate.group_expr.is_empty(),
            LogicalPlan::Projection(_) | LogicalPlan::SubqueryAlias(_) | LogicalPlan::Filter(_) => {
                plan.inputs().iter().all(|input| self.one_row(input))
            }
            _ => false,
        }
    }

    /// What is known of the columns behind a join: those by which rows are forgotten are never older than that.
    fn after_join(
        &self,
        node: &Join,
        sides: &[Built; 2],
        expiry: &[Vec<Expiry>; 2],
    ) -> Vec<Option<Known>> {
        let of = |which: usize| {
            let columns = 0..sides[which].known.len();
            columns.map(move |column| {
                let own = sides[which].bound(column)?;
                let kept = expiry[which]
                    .iter()
                    .find(|expiry| expiry.column == column)?;
                let same = kept.bound.clock == own.clock;
                let stored = kept.bound.offset.saturating_sub(kept.slack);
                let bound = Bound {
                    offset: own.offset.min(stored),
                    ..own
                };
                same.then_some(Known::Time(bound))
            })
        };
        let mut known: Vec<Option<Known>> = match node.join_type {
            JoinType::RightSemi | JoinType::RightAnti => of(1).collect(),
            JoinType::LeftSemi | JoinType::LeftAnti => of(0).collect(),
            _ => of(0).chain(of(1)).collect(),
        };
        // A row without a partner has no time on that side.
        let left = sides[0].known.len();
        if matches!(node.join_type, JoinType::Left | JoinType::Full) {
            known.iter_mut().skip(left).for_each(|known| *known = None);
        }
        if matches!(node.join_type, JoinType::Right | JoinType::Full) {
            known.iter_mut().take(left).for_each(|known| *known = None);
        }
        known.resize(node.schema.fields().len(), None);
        known
    }
}

/// What a join does, for people.
fn told(node: &Join, what: &str) -> String {
    let pairs = node
        .on
        .iter()
        .map(|(left, right)| format!("{left} = {right}"));
    let filter = node.filter.iter().map(ToString::to_string);
    let all: Vec<String> = pairs.chain(filter).collect();
    format!("{} {what} on {}", node.join_type, all.join(" and "))
}

/// The columns of both sides, as conditions see them.
fn both(node: &Join) -> Result<DFSchema> {
    node.left.schema().join(node.right.schema())
}

/// When rows of a side can find no more partners.
fn expiries(node: &Join, sides: &[Built; 2], which: usize) -> Result<Vec<Expiry>> {
    let other = 1 - which;
    let schema = |side: usize| {
        if side == 0 {
            node.left.schema()
        } else {
            node.right.schema()
        }
    };
    let mut found = Vec::new();
    let column = |expr: &Expr, side: usize| -> Option<(usize, i64)> {
        let (column, by) = shifted(expr)?;
        Some((schema(side).index_of_column(column).ok()?, by))
    };
    for (left, right) in &node.on {
        let exprs = [left, right];
        if let (Some((own, by)), Some((their, plus))) =
            (column(exprs[which], which), column(exprs[other], other))
            && let (Some(own_bound), Some(bound)) =
                (sides[which].bound(own), sides[other].bound(their))
        {
            // own + by = their + plus, and theirs never is below the floor again.
            let slack = by.saturating_sub(plus);
            found.push(Expiry {
                column: own,
                own: own_bound,
                bound,
                slack,
            });
        }
    }
    let Some(filter) = &node.filter else {
        return Ok(found);
    };
    for part in split_conjunction(filter) {
        let Expr::BinaryExpr(BinaryExpr { left, op, right }) = part else {
            continue;
        };
        // theirs + plus <= own + by
        let (small, large) = match op {
            Sign::Lt | Sign::LtEq => (left, right),
            Sign::Gt | Sign::GtEq => (right, left),
            _ => continue,
        };
        if let (Some((their, plus)), Some((own, by))) = (column(small, other), column(large, which))
            && let (Some(own_bound), Some(bound)) =
                (sides[which].bound(own), sides[other].bound(their))
        {
            let slack = by.saturating_sub(plus);
            found.push(Expiry {
                column: own,
                own: own_bound,
                bound,
                slack,
            });
        }
    }
    Ok(found)
}
