//! Groups and sessions.

use super::*;

use datafusion::logical_expr::Aggregate as AggregateNode;
use datafusion::logical_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion::physical_expr::aggregate::LoweredAggregateBuilder;

use crate::continuous::aggregate::{Aggregate, AggregatePlan};
use crate::continuous::session::SessionPlan;
use crate::overflow::{checked, execution_props};

/// The keys that end a group, all of one clock; nothing is known of others behind it.
fn closing(bounds: &mut [Option<Known>]) -> Vec<(usize, Bound)> {
    let mut close: Vec<(usize, Bound)> = Vec::new();
    for (at, known) in bounds.iter_mut().enumerate() {
        match known {
            Some(Known::Time(bound))
                if close
                    .first()
                    .is_none_or(|(_, first)| first.clock == bound.clock) =>
            {
                close.push((at, *bound));
            }
            _ => *known = None,
        }
    }
    close
}

/// What a `GROUP BY` does, for people.
fn told(node: &AggregateNode, keys: &[Expr], emission: Emission) -> String {
    let listed = |exprs: &[Expr]| {
        let texts: Vec<String> = exprs.iter().map(ToString::to_string).collect();
        texts.join(", ")
    };
    let when = match emission {
        Emission::Close => "on window close",
        Emission::CloseThenUpdate(_) => "on window close and late updates",
        Emission::Update => "on update",
    };
    let aggregates = listed(&node.aggr_expr);
    format!("aggregate {aggregates} by {}, {when}", listed(keys))
}

impl Planner<'_> {
    pub(super) fn aggregate(&mut self, node: &AggregateNode) -> Result<Built> {
        let input = self.build(&node.input)?;
        let schema = node.input.schema();
        let (input, exprs, schema) = self.with_sessions(input, &node.group_expr, schema)?;
        if exprs
            .iter()
            .any(|expr| matches!(expr, Expr::GroupingSet(_)))
        {
            return plan_err!(
                "GROUPING SETS, CUBE and ROLLUP are not offered in flows; write a flow for each grouping, or a UNION ALL"
            );
        }
        for expr in exprs.iter().chain(&node.aggr_expr) {
            self.steady(expr, &input)?;
        }
        let keys = exprs
            .iter()
            .map(|expr| self.physical(expr, &schema))
            .collect::<Result<Vec<_>>>()?;
        let mut bounds = exprs
            .iter()
            .map(|expr| known(expr, &schema, &input))
            .collect::<Result<Vec<_>>>()?;
        let mut close = closing(&mut bounds);
        let emission = self.emission(!close.is_empty());
        let aggregates = node
            .aggr_expr
            .iter()
            .map(|expr| self.function(expr, &schema))
            .collect::<Result<Vec<_>>>()?;
        if let Emission::CloseThenUpdate(grace) = emission {
            // They are told when event time is there, and change as long as nothing is final.
            for (at, bound) in &mut close {
                match bound.clock {
                    Clock::Event => *bound = bound.plus(grace),
                    Clock::Processing => {
                        bounds[*at] = Some(Known::Time(bound.plus(grace.saturating_neg())));
                    }
                }
            }
        }
        let plan = AggregatePlan {
            input: loose(&schema),
            updating: input.updating,
            keys,
            aggregates,
            output: loose(&node.schema),
            ttl: self.ttl.filter(|_| close.is_empty()),
            close,
            emission,
        };
        let text = told(node, &exprs, emission);
        let groups = bounds.len();
        self.graceful |= matches!(emission, Emission::CloseThenUpdate(_));
        bounds.resize(node.schema.fields().len(), None);
        let from = self.node(&input);
        let node = self.add(vec![from], text, Arc::new(move || plan.operator()));
        if emission == Emission::Close {
            self.closers.insert(node);
        }
        Ok(Built {
            node,
            changes: Vec::new(),
            known: bounds,
            unique: Some((0..groups).collect()),
            updating: emission != Emission::Close,
        })
    }

    fn function(&self, expr: &Expr, schema: &DFSchema) -> Result<Aggregate> {
        let props = execution_props(self.names.config());
        let context = PhysicalPlanningContext::default();
        let physical = loose(schema);
        let lowered =
            LoweredAggregateBuilder::new(expr, schema, &physical, &props, &context).build()?;
        let function = lowered.aggregate;
        let all = function.all_expressions();
        let check = |exprs: Vec<Arc<dyn PhysicalExpr>>| {
            let exprs = exprs.into_iter().map(|expr| checked(expr, &physical));
            exprs.collect::<Result<Vec<_>>>()
        };
        let renewed = function.with_new_expressions(check(all.args)?, check(all.order_by_exprs)?);
        let filter = lowered.filter.map(|filter| checked(filter, &physical));
        Ok(Aggregate {
            function: renewed.map_or(function, Arc::new),
            filter: filter.transpose()?,
        })
    }

    /// Puts an operator for sessions below expressions that ask for them.
    pub(super) fn with_sessions(
        &mut self,
        input: Built,
        exprs: &[Expr],
        schema: &DFSchemaRef,
    ) -> Result<(Built, Vec<Expr>, DFSchemaRef)> {
        let mut calls: HashSet<Vec<Expr>> = HashSet::new();
        for expr in exprs {
            expr.apply(|part| {
                if let Expr::ScalarFunction(call) = part
                    && [windows::SESSION_START, windows::SESSION_END].contains(&call.func.name())
                {
                    calls.insert(call.args.clone());
                }
                Ok(datafusion::common::tree_node::TreeNodeRecursion::Continue)
            })?;
        }
        let mut calls = calls.into_iter();
        let Some(args) = calls.next() else {
            return Ok((input, exprs.to_vec(), Arc::clone(schema)));
        };
        if calls.next().is_some() {
            return plan_err!(
                "two kinds of sessions in one query; put one of them into a subquery"
            );
        }
        self.sessions(input, exprs, &args, schema)
    }

    fn sessions(
        &mut self,
        input: Built,
        exprs: &[Expr],
        args: &[Expr],
        schema: &DFSchemaRef,
    ) -> Result<(Built, Vec<Expr>, DFSchemaRef)> {
        let gap = windows::lengths(windows::SESSION_START, args.get(..2).unwrap_or(args))?[0];
        let Some(Expr::Column(column)) = args.first() else {
            return plan_err!("a session is over a column of timestamps");
        };
        let time = schema.index_of_column(column)?;
        let Some(bound) = input.bound(time) else {
            return plan_err!(
                "`{}` is not the event time of its source, so a session over it would never end; declare it as `event_time`",
                column.name
            );
        };
        if bound.clock == Clock::Processing {
            return plan_err!(
                "sessions are over event time, and `{}` is the clock on the wall",
                column.name
            );
        }
        if input.updating {
            return plan_err!(
                "sessions are over rows that stay; window them before what changes them"
            );
        }
        let partition = args[2..]
            .iter()
            .map(|key| self.physical(key, schema))
            .collect::<Result<_>>()?;
        // With grace, a group behind it tells when it closes.
        let waits = self.emission(true) == Emission::Close;
        let mut fields: Vec<_> = schema
            .iter()
            .map(|(qualifier, field)| (qualifier.cloned(), Arc::clone(field)))
            .collect();
        for member in [windows::START, windows::END] {
            let field = windows::member(member).with_name(session_column(member));
            fields.push((None, Arc::new(field)));
        }
        let output = Arc::new(DFSchema::new_with_metadata(fields, Default::default())?);
        let plan = SessionPlan {
            input: loose(schema),
            partition,
            time,
            bound,
            gap,
            output: loose(&output),
            waits,
        };
        let mut known = input.known.clone();
        // A session that ends now has rows from long before.
        known.fill(None);
        known.extend([None, windows::known(windows::SESSION_END, bound, &[gap])]);
        let keys: Vec<String> = args[2..].iter().map(ToString::to_string).collect();
        let text = format!(
            "sessions of {} by {}, gap {gap}",
            keys.join(", "),
            column.name
        );
        let from = self.node(&input);
        let node = self.add(vec![from], text, Arc::new(move || plan.operator()));
        let exprs = exprs.iter().map(session_columns);
        let built = Built {
            node,
            changes: Vec::new(),
            known,
            unique: None,
            updating: !waits,
        };
        Ok((built, exprs.collect::<Result<_>>()?, output))
    }
}

/// The column that an operator for sessions adds.
fn session_column(member: &str) -> String {
    format!("millstream_session_{member}")
}

/// An expression with that operator's columns for calls.
fn session_columns(expr: &Expr) -> Result<Expr> {
    let changed = expr.clone().transform_up(|part| {
        let member = match &part {
            Expr::ScalarFunction(call) if call.func.name() == windows::SESSION_START => {
                windows::START
            }
            Expr::ScalarFunction(call) if call.func.name() == windows::SESSION_END => windows::END,
            _ => return Ok(Transformed::no(part)),
        };
        let column = Column::new_unqualified(session_column(member));
        Ok(Transformed::yes(Expr::Column(column)))
    });
    Ok(changed?.data)
}
