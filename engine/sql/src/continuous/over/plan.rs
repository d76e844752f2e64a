//! Window functions as they are compiled.

use std::sync::Arc;

use arrow::datatypes::{Field, Schema, SchemaRef};
use datafusion::common::config::ConfigOptions;
use datafusion::common::{DFSchema, Result, plan_err};
use datafusion::logical_expr::Expr;
use datafusion::logical_expr::expr::{NullTreatment, WindowFunction, WindowFunctionParams};
use datafusion::logical_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion::physical_expr::window::WindowExpr;
use datafusion::physical_expr::{PhysicalExpr, PhysicalSortExpr, create_physical_expr};
use datafusion::physical_plan::windows::create_window_expr;

use super::incremental::Incremental;
use super::operator::Windows;
use super::reach::{Look, Reach};
use crate::continuous::operator::Operator;
use crate::continuous::time::Bound;
use crate::overflow::{checked, execution_props};

/// `OVER (PARTITION BY …)` as it is compiled.
#[derive(Clone, Debug)]
pub(crate) struct OverPlan {
    pub(crate) input: SchemaRef,
    /// May be empty: one partition.
    pub(crate) partition: Vec<Arc<dyn PhysicalExpr>>,
    pub(crate) windows: Vec<Window>,
    /// The orders of the windows, each once; rows are kept in the first.
    pub(crate) orders: Vec<Vec<PhysicalSortExpr>>,
    /// The columns of the input, then the windows.
    pub(crate) output: SchemaRef,
    pub(crate) config: OverConfig,
}

/// What does not follow from the functions themselves.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OverConfig {
    /// The column of the input that ends a partition, which is among those of the partition, and its bound.
    pub(crate) close: Option<(usize, Bound)>,
    /// The column of the input that comes first in the order of partitions, and its bound, when rows are never taken back:
    /// those below it are final.
    pub(crate) order: Option<(usize, Bound)>,
    /// Whether a partition is told once, when it ends.
    pub(crate) waits: bool,
    /// Nanoseconds of the wall clock after which a partition is forgotten that nothing touches.
    pub(crate) ttl: Option<i64>,
}

/// A window function.
#[derive(Clone, Debug)]
pub(crate) struct Window {
    pub(crate) function: Arc<dyn WindowExpr>,
    /// Which of the orders its rows have.
    pub(crate) order: usize,
    /// What it evaluates of each row.
    pub(crate) inputs: Vec<Arc<dyn PhysicalExpr>>,
    /// How far it looks from a row.
    pub(super) reach: Reach,
}

impl OverPlan {
    /// # Errors
    /// When the functions have different partitions, or one of them cannot be evaluated.
    pub(crate) fn new(
        functions: &[Expr],
        input: &DFSchema,
        config: OverConfig,
        options: &Arc<ConfigOptions>,
    ) -> Result<Self> {
        let compiler = Compiler { input, options };
        let mut plan = Self {
            input: Arc::clone(input.inner()),
            partition: Vec::new(),
            windows: Vec::new(),
            orders: Vec::new(),
            output: Arc::clone(input.inner()),
            config,
        };
        let mut common: Option<Vec<Expr>> = None;
        for function in functions {
            let (name, function) = named(function)?;
            let partition = &function.params.partition_by;
            match &common {
                None => {
                    plan.partition = compiler.exprs(partition)?;
                    common = Some(partition.clone());
                }
                Some(common) if same(common, partition) => {}
                Some(_) => {
                    return plan_err!(
                        "window functions have different `PARTITION BY`: put each into a query of its own"
                    );
                }
            }
            let window = compiler.window(name, &function, &mut plan)?;
            plan.windows.push(window);
        }
        if plan.orders.is_empty() {
            plan.orders.push(Vec::new());
        }
        let fields = plan.windows.iter().map(|window| window.function.field());
        let mut all: Vec<Arc<Field>> = plan.input.fields().iter().cloned().collect();
        all.extend(fields.collect::<Result<Vec<_>>>()?);
        plan.output = Arc::new(Schema::new(all));
        Ok(plan)
    }

    /// One without rows.
    ///
    /// # Errors
    /// When a type has no order.
    pub(crate) fn operator(&self) -> Result<Box<dyn Operator>> {
        match self.look() {
            Some(look) => Ok(Box::new(Incremental::new(self.clone(), look)?)),
            None => Ok(Box::new(Windows::new(self.clone())?)),
        }
    }

    /// Whether a step evaluates the rows that it touches, and not their whole partitions.
    pub(crate) fn is_incremental(&self) -> bool {
        self.look().is_some()
    }

    /// Partitions that are told once are evaluated once.
    pub(super) fn look(&self) -> Option<Look> {
        Look::of(self).filter(|_| !self.config.waits)
    }
}

fn named(expr: &Expr) -> Result<(String, WindowFunction)> {
    let (name, expr) = match expr {
        Expr::Alias(alias) => (alias.name.clone(), alias.expr.as_ref().clone()),
        other => (other.schema_name().to_string(), other.clone()),
    };
    match expr.unalias_nested().data {
        Expr::WindowFunction(function) => Ok((name, *function)),
        other => plan_err!("`{other}` is no window function"),
    }
}

fn same(one: &[Expr], other: &[Expr]) -> bool {
    one.iter().all(|expr| other.contains(expr)) && other.iter().all(|expr| one.contains(expr))
}

struct Compiler<'a> {
    input: &'a DFSchema,
    options: &'a Arc<ConfigOptions>,
}

impl Compiler<'_> {
    fn expr(&self, expr: &Expr) -> Result<Arc<dyn PhysicalExpr>> {
        let props = execution_props(self.options);
        let context = PhysicalPlanningContext::default();
        let made = create_physical_expr(expr, self.input, &props, &context)?;
        checked(made, self.input.inner())
    }

    fn exprs(&self, exprs: &[Expr]) -> Result<Vec<Arc<dyn PhysicalExpr>>> {
        exprs.iter().map(|expr| self.expr(expr)).collect()
    }

    fn window(
        &self,
        name: String,
        function: &WindowFunction,
        plan: &mut OverPlan,
    ) -> Result<Window> {
        self.check(function)?;
        let WindowFunctionParams {
            args,
            order_by,
            window_frame,
            filter,
            null_treatment,
            distinct,
            ..
        } = &function.params;
        let args = self.exprs(args)?;
        let filter = filter
            .as_ref()
            .map(|filter| self.expr(filter))
            .transpose()?;
        let order_by = order_by
            .iter()
            .map(|sort| {
                let options = arrow::compute::SortOptions {
                    descending: !sort.asc,
                    nulls_first: sort.nulls_first,
                };
                Ok(PhysicalSortExpr::new(self.expr(&sort.expr)?, options))
            })
            .collect::<Result<Vec<_>>>()?;
        let made = create_window_expr(
            &function.fun,
            name,
            &args,
            &plan.partition,
            &order_by,
            Arc::new(window_frame.clone()),
            Arc::clone(&plan.input),
            *null_treatment == Some(NullTreatment::IgnoreNulls),
            *distinct,
            filter.clone(),
        )?;
        // Some aggregates cannot take rows out of their frame; better now than with the first row.
        made.create_window_fn()?;
        Ok(Window {
            reach: Reach::of(function, &made, &args),
            function: made,
            order: place(&mut plan.orders, order_by),
            inputs: args.into_iter().chain(filter).collect(),
        })
    }

    /// Refuses what DataFusion refuses, such as frames that end before they begin.
    fn check(&self, function: &WindowFunction) -> Result<()> {
        datafusion::physical_planner::create_window_expr(
            &Expr::WindowFunction(Box::new(function.clone())),
            self.input,
            &execution_props(self.options),
            &PhysicalPlanningContext::default(),
        )?;
        Ok(())
    }
}

/// The number of an order among others; without one any will do.
fn place(orders: &mut Vec<Vec<PhysicalSortExpr>>, order: Vec<PhysicalSortExpr>) -> usize {
    if order.is_empty() {
        return 0;
    }
    let known = orders.iter().position(|each| *each == order);
    known.unwrap_or_else(|| {
        orders.push(order);
        orders.len() - 1
    })
}
