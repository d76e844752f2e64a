//! From the planner's logical plan to operators.

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;

use arrow::datatypes::{Field, Schema, SchemaRef};
use datafusion::common::tree_node::{Transformed, TreeNode as _};
use datafusion::common::{Column, DFSchema, DFSchemaRef, Result, ScalarValue, plan_err};
use datafusion::logical_expr::{
    BinaryExpr, Expr, LogicalPlan, Operator as Sign, TableScan, Unnest as UnnestNode,
};
use datafusion::physical_expr::PhysicalExpr;
use millstream_pipeline::FlowTable;
use millstream_spec::{Emit, Late};

use super::aggregate::Emission;
use super::map::{Change, Map, Unnest};
use super::names::{Names, Table};
use super::operator::Operator;
use super::source::{EventTime, SourcePlan};
use super::sugar;
use super::time::{Bound, Clock};
use super::windows::{self, Known};
use crate::catalog::{Source, timestamp};
use crate::functions::deployed_calls;
use crate::lower::physical;

mod grouped;
mod joined;
mod ranked;

/// How far messages may be out of order unless it is declared.
const LAG: i64 = 5_000_000_000;
/// When a source is idle unless it is declared.
const IDLE: i64 = 30_000_000_000;

/// A column that is none any more.
const NOWHERE: usize = usize::MAX;

/// Makes an operator without state.
type Make = Arc<dyn Fn() -> Result<Box<dyn Operator>> + Send + Sync>;

/// A node of the dataflow.
pub(crate) enum Node {
    Source(SourcePlan),
    Operator {
        inputs: Vec<usize>,
        make: Make,
        /// What it does, for people.
        text: String,
    },
}

impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Source(plan) => f.debug_tuple("Source").field(plan).finish(),
            Self::Operator { inputs, text, .. } => f
                .debug_struct("Operator")
                .field("inputs", inputs)
                .field("text", text)
                .finish_non_exhaustive(),
        }
    }
}

/// The rows of a part of the plan.
#[derive(Clone, Debug)]
pub(crate) struct Built {
    node: usize,
    /// What is done to each row of the node.
    changes: Vec<Change>,
    /// What is known of each column.
    pub(crate) known: Vec<Option<Known>>,
    /// Whether rows are taken back.
    pub(crate) updating: bool,
    /// The columns that tell rows apart, where that is known; [`NOWHERE`]: one that is not among the columns.
    pub(crate) unique: Option<Vec<usize>>,
}

impl Built {
    /// The bound of a column that is a time.
    fn bound(&self, column: usize) -> Option<Bound> {
        match self.known.get(column)? {
            Some(Known::Time(bound)) => Some(*bound),
            _ => None,
        }
    }
}

/// A deployed function that is called, and a node: it is called in that node or in one behind it.
pub(crate) type Call = (usize, String);

/// Makes nodes of a logical plan.
pub(crate) struct Planner<'a> {
    pub(crate) names: &'a Names<'a>,
    /// The columns that windows name as event times, by table.
    pub(crate) times: &'a std::collections::BTreeMap<String, String>,
    pub(crate) emit: Emit,
    /// Whether it was asked for results at once.
    pub(crate) at_once: bool,
    pub(crate) late: Late,
    /// Nanoseconds.
    pub(crate) ttl: Option<i64>,
    pub(crate) nodes: Vec<Node>,
    pub(crate) sources: Vec<FlowTable>,
    pub(crate) calls: Vec<Call>,
    /// Parts of the plan that were made, which are made once.
    known: Vec<(LogicalPlan, Built)>,
    /// Windows that are told once and cannot wait for late rows: those of ranks and `OVER`.
    pub(crate) graceless: bool,
    /// Groups and joins that wait for late rows.
    pub(crate) graceful: bool,
    /// Nodes whose rows come when their windows close.
    closers: HashSet<usize>,
}

impl<'a> Planner<'a> {
    pub(crate) fn new(
        names: &'a Names<'a>,
        times: &'a std::collections::BTreeMap<String, String>,
        (emit, at_once, late): (Emit, bool, Late),
        ttl: Option<i64>,
    ) -> Self {
        Self {
            names,
            times,
            emit,
            at_once,
            late,
            ttl,
            nodes: Vec::new(),
            sources: Vec::new(),
            calls: Vec::new(),
            known: Vec::new(),
            graceless: false,
            graceful: false,
            closers: HashSet::new(),
        }
    }

    /// The columns that say when the windows of these rows close, with what is known of them; none when rows come otherwise.
    pub(crate) fn closes(&self, built: &Built) -> Vec<(usize, i64)> {
        if !self.closers.contains(&built.node) || built.updating {
            return Vec::new();
        }
        let times = (0..built.known.len()).filter_map(|at| Some((at, built.bound(at)?)));
        let event = times.filter(|(_, bound)| bound.clock == Clock::Event);
        event.map(|(at, bound)| (at, bound.offset)).collect()
    }

    /// Makes the nodes of a plan and answers the last of them.
    ///
    /// # Errors
    /// What cannot be done continuously.
    pub(crate) fn whole(&mut self, plan: &LogicalPlan) -> Result<(usize, Built)> {
        let built = self.build(plan)?;
        let node = self.node(&built);
        Ok((node, built))
    }

    fn build(&mut self, plan: &LogicalPlan) -> Result<Built> {
        if let Some((_, built)) = self.known.iter().find(|(known, _)| known == plan) {
            return Ok(built.clone());
        }
        let built = self.made(plan)?;
        self.note(plan, &built)?;
        self.known.push((plan.clone(), built.clone()));
        Ok(built)
    }

    /// Keeps where deployed functions are called.
    fn note(&mut self, plan: &LogicalPlan, built: &Built) -> Result<()> {
        let (mut names, mut inputs) = (Vec::new(), Vec::new());
        // Some operators are more than one part of the plan.
        let mut parts = vec![plan];
        while let Some(part) = parts.pop() {
            names.extend(part.expressions().iter().flat_map(deployed_calls));
            for input in part.inputs() {
                match self.known.iter().find(|(known, _)| known == input) {
                    Some((_, known)) => inputs.push(known),
                    None => parts.push(input),
                }
            }
        }
        let Some(first) = names.first() else {
            return Ok(());
        };
        if inputs.iter().any(|input| input.updating) {
            return taken_back(first);
        }
        // What changes rows one by one is evaluated in a node that is made later.
        let node = match inputs.iter().all(|input| input.node == built.node) {
            true => built.node + 1,
            false => built.node,
        };
        self.calls
            .extend(names.into_iter().map(|name| (node, name)));
        Ok(())
    }

    fn made(&mut self, plan: &LogicalPlan) -> Result<Built> {
        match plan {
            LogicalPlan::TableScan(scan) => self.scan(scan),
            LogicalPlan::SubqueryAlias(alias) => self.build(&alias.input),
            LogicalPlan::Projection(projection) => {
                let input = self.build(&projection.input)?;
                let (input, exprs, schema) =
                    self.with_sessions(input, &projection.expr, projection.input.schema())?;
                self.project(input, &exprs, &schema, &projection.schema)
            }
            LogicalPlan::Filter(filter) => {
                if let Some(ranked) = self.ranked(filter)? {
                    return Ok(ranked);
                }
                let mut built = self.build(&filter.input)?;
                self.steady(&filter.predicate, &built)?;
                let predicate = self.physical(&filter.predicate, filter.input.schema())?;
                built.changes.push(Change::Filter(predicate));
                Ok(built)
            }
            LogicalPlan::Unnest(unnest) => self.unnest(unnest),
            LogicalPlan::Aggregate(aggregate) => self.aggregate(aggregate),
            LogicalPlan::Join(join) => self.join(join),
            LogicalPlan::Window(window) => self.over(window),
            LogicalPlan::Limit(limit) => self.limit(limit),
            LogicalPlan::Sort(sort) => self.sort(sort),
            LogicalPlan::Union(union) => self.union(&union.inputs),
            LogicalPlan::EmptyRelation(empty) if !empty.produce_one_row => self.union(&[]),
            LogicalPlan::RecursiveQuery(_) => {
                plan_err!("a recursive query has no end; write it without WITH RECURSIVE")
            }
            LogicalPlan::EmptyRelation(_) | LogicalPlan::Values(_) => plan_err!(
                "a flow reads stations; constant rows belong into one, or into a bucket that is a `table` of the query"
            ),
            other => plan_err!("`{}` cannot be used in a flow", other.display()),
        }
    }

    /// The node whose rows these are.
    fn node(&mut self, built: &Built) -> usize {
        if built.changes.is_empty() {
            return built.node;
        }
        let changes = built.changes.clone();
        let text = changes.iter().map(told).collect::<Vec<_>>().join(", ");
        let make = move || Ok(Box::new(Map::new(changes.clone())) as Box<dyn Operator>);
        self.add(vec![built.node], text, Arc::new(make))
    }

    fn add(&mut self, inputs: Vec<usize>, text: String, make: Make) -> usize {
        self.nodes.push(Node::Operator { inputs, make, text });
        self.nodes.len() - 1
    }

    /// Refuses what says something else each time where rows are taken back: what is taken back must be what was told.
    fn steady(&self, expr: &Expr, input: &Built) -> Result<()> {
        if !input.updating {
            return Ok(());
        }
        if let Some(name) = deployed_calls(expr).first() {
            return taken_back(name);
        }
        if expr.is_volatile() {
            return plan_err!(
                "`{expr}` says something else each time, and rows here are taken back as they were told; use it before rows are grouped or joined"
            );
        }
        Ok(())
    }

    fn physical(&self, expr: &Expr, input: &DFSchema) -> Result<Arc<dyn PhysicalExpr>> {
        physical(expr, input, self.names.config())
    }

    fn scan(&mut self, scan: &TableScan) -> Result<Built> {
        let table = self.names.table(scan.table_name.table())?;
        let mut columns: Vec<Source> = match &scan.projection {
            Some(columns) => columns
                .iter()
                .map(|column| table.columns[*column].clone())
                .collect(),
            None => table.columns.clone(),
        };
        let shown = columns.len();
        let time = self.event_time(&table, &mut columns)?;
        // While late rows change results, nothing is final so soon.
        let bound = Bound::EVENT.plus(self.grace().saturating_neg());
        let known = columns.iter().take(shown).enumerate().map(|(at, _)| {
            let is_time = time.is_some_and(|time| time.column == at);
            is_time.then_some(Known::Time(bound))
        });
        let known = known.collect();
        let flow_table = FlowTable {
            station: table.station.clone(),
            filter: table.source.filter.clone(),
            is_table: table.source.table,
        };
        let number = match self.sources.iter().position(|known| *known == flow_table) {
            Some(number) => number,
            None => {
                self.sources.push(flow_table);
                self.sources.len() - 1
            }
        };
        self.nodes.push(Node::Source(SourcePlan {
            number,
            columns,
            shown,
            time,
            is_table: table.source.table,
        }));
        let mut built = Built {
            node: self.nodes.len() - 1,
            changes: Vec::new(),
            known,
            updating: table.source.table,
            unique: None,
        };
        for filter in &scan.filters {
            let predicate = self.physical(filter, &scan.projected_schema)?;
            built.changes.push(Change::Filter(predicate));
        }
        Ok(built)
    }

    /// The event time of a source; its column is read in any case.
    fn event_time(&self, table: &Table, columns: &mut Vec<Source>) -> Result<Option<EventTime>> {
        let source = &table.source;
        let declared = source.event_time.as_ref();
        if source.table {
            return match declared {
                None => Ok(None),
                Some(_) => plan_err!(
                    "`{}` is a table, whose rows are what is now; it has no `event_time`",
                    table.name
                ),
            };
        }
        let Some(name) = declared.or_else(|| self.times.get(&table.name)) else {
            return Ok(None);
        };
        let Some(column) = table.columns.iter().find(|column| column.name == *name) else {
            if declared.is_none() {
                // A window's time may be something that a subquery makes.
                return Ok(None);
            }
            return plan_err!(
                "table `{}` has no column `{name}` to be its event time",
                table.name
            );
        };
        if column.data_type() != timestamp() {
            if declared.is_none() {
                return Ok(None);
            }
            return plan_err!(
                "column `{name}` of `{}` is no timestamp and cannot be its event time; declare it as `timestamp`",
                table.name
            );
        }
        let nanoseconds = |time: Option<std::time::Duration>, other: i64| {
            time.map_or(other, |time| {
                i64::try_from(time.as_nanos()).unwrap_or(i64::MAX)
            })
        };
        let at = columns.iter().position(|known| known.name == *name);
        let at = at.unwrap_or_else(|| {
            columns.push(column.clone());
            columns.len() - 1
        });
        Ok(Some(EventTime {
            column: at,
            lag: nanoseconds(source.watermark, LAG),
            idle: nanoseconds(source.idle, IDLE),
        }))
    }

    fn project(
        &mut self,
        mut input: Built,
        exprs: &[Expr],
        schema: &DFSchema,
        output: &DFSchema,
    ) -> Result<Built> {
        for expr in exprs {
            self.steady(expr, &input)?;
        }
        let known = exprs
            .iter()
            .map(|expr| known(expr, schema, &input))
            .collect::<Result<_>>()?;
        let physical = exprs
            .iter()
            .map(|expr| self.physical(expr, schema))
            .collect::<Result<_>>()?;
        input.changes.push(Change::Project(physical, loose(output)));
        let unique = input.unique.as_ref().map(|unique| {
            let place = |column: &usize| {
                let place = exprs
                    .iter()
                    .position(|expr| is_column(expr, schema, *column));
                place.unwrap_or(NOWHERE)
            };
            unique.iter().map(place).collect()
        });
        Ok(Built {
            known,
            unique,
            ..input
        })
    }

    fn unnest(&mut self, unnest: &UnnestNode) -> Result<Built> {
        let mut input = self.build(&unnest.input)?;
        let [(column, list)] = unnest.list_type_columns.as_slice() else {
            return plan_err!(
                "one list becomes rows at a time; unnest others in a query around it"
            );
        };
        if list.depth != 1 || !unnest.struct_type_columns.is_empty() {
            return plan_err!("lists of lists and structs become rows one level at a time");
        }
        let from = unnest.dependency_indices.clone();
        input.changes.push(Change::Unnest(Unnest {
            column: *column,
            preserve_nulls: unnest.options.preserve_nulls()
                && !is_windows(input.known.get(*column)),
            from: from.clone(),
            schema: loose(&unnest.schema),
        }));
        let known = from.iter().map(|from| input.known[*from]).collect();
        Ok(Built {
            known,
            unique: None,
            ..input
        })
    }

    fn union(&mut self, inputs: &[Arc<LogicalPlan>]) -> Result<Built> {
        let built = inputs
            .iter()
            .map(|input| self.build(input))
            .collect::<Result<Vec<_>>>()?;
        let nodes = built.iter().map(|built| self.node(built)).collect();
        let columns = built.first().map_or(0, |first| first.known.len());
        let known = (0..columns).map(|column| {
            let bounds: Option<Vec<Bound>> =
                built.iter().map(|built| built.bound(column)).collect();
            let bounds = bounds?;
            let first = bounds.first()?;
            let same = bounds.iter().all(|bound| bound.clock == first.clock);
            let least = bounds.iter().min_by_key(|bound| bound.offset)?;
            same.then_some(Known::Time(*least))
        });
        let known = known.collect();
        let make = || Ok(Box::new(Map::new(Vec::new())) as Box<dyn Operator>);
        let node = self.add(nodes, "all rows of".to_owned(), Arc::new(make));
        Ok(Built {
            node,
            changes: Vec::new(),
            known,
            updating: built.iter().any(|built| built.updating),
            unique: None,
        })
    }

    /// Nanoseconds that late rows change results after they were told when windows closed.
    fn grace(&self) -> i64 {
        match (&self.late, self.emit) {
            (Late::UpdateWithin(grace), Emit::WindowClose) => {
                i64::try_from(grace.as_nanos()).unwrap_or(i64::MAX)
            }
            _ => 0,
        }
    }

    /// When groups with this bound are told.
    fn emission(&self, bounded: bool) -> Emission {
        match (&self.late, self.emit) {
            (_, Emit::Update) => Emission::Update,
            _ if !bounded => Emission::Update,
            (Late::UpdateWithin(_), Emit::WindowClose) => Emission::CloseThenUpdate(self.grace()),
            (_, Emit::WindowClose) => Emission::Close,
        }
    }
}

/// Refuses a deployed function over rows that are taken back. It is the same of one version, but its time may run out when it is
/// asked again, and what was told would stay.
fn taken_back(name: &str) -> Result<()> {
    plan_err!(
        "`{name}` may have no answer when it is asked again, and rows here are taken back as they were told. Call it before rows are grouped or joined, or in a flow of its own that reads the results"
    )
}

/// Whether an expression is a column as it is.
fn is_column(expr: &Expr, schema: &DFSchema, at: usize) -> bool {
    match expr {
        Expr::Alias(alias) => is_column(&alias.expr, schema, at),
        Expr::Column(column) => schema
            .index_of_column(column)
            .is_ok_and(|index| index == at),
        _ => false,
    }
}

fn is_windows(known: Option<&Option<Known>>) -> bool {
    matches!(known, Some(Some(Known::Windows { .. })))
}

/// Columns as a plan has them; functions may deliver null where planning saw none, so the schema promises nothing.
fn loose(schema: &DFSchema) -> SchemaRef {
    let fields = schema.fields().iter().map(|field| {
        Field::new(field.name(), field.data_type().clone(), true)
            .with_metadata(field.metadata().clone())
    });
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}

/// What is known of an expression over rows.
fn known(expr: &Expr, schema: &DFSchema, input: &Built) -> Result<Option<Known>> {
    Ok(match expr {
        Expr::Alias(alias) => known(&alias.expr, schema, input)?,
        Expr::Column(column) => input.known[schema.index_of_column(column)?],
        Expr::ScalarFunction(call) => {
            let name = call.func.name();
            match name {
                windows::CLOCK => Some(Known::PROCESSING),
                "get_field" => match (known(&call.args[0], schema, input)?, call.args.get(1)) {
                    (Some(Known::Windows { start, end }), Some(Expr::Literal(member, _))) => {
                        let member = member.try_as_str().flatten();
                        let starts = [windows::START, sugar::MEMBERS[0]];
                        let bound = match member.is_some_and(|name| starts.contains(&name)) {
                            true => start,
                            false => end,
                        };
                        Some(Known::Time(bound))
                    }
                    _ => None,
                },
                "named_struct" => window(&call.args, schema, input)?,
                windows::TUMBLE_START
                | windows::TUMBLE_END
                | windows::HOP_WINDOWS
                | windows::CUMULATE_WINDOWS => {
                    let lengths = windows::lengths(name, &call.args)?;
                    match call.args.first().map(|time| known(time, schema, input)) {
                        Some(Ok(Some(Known::Time(time)))) => windows::known(name, time, &lengths),
                        Some(Err(error)) => return Err(error),
                        _ => None,
                    }
                }
                _ => None,
            }
        }
        Expr::BinaryExpr(BinaryExpr { left, op, right }) => {
            let (Some(Known::Time(bound)), Some(length)) =
                (known(left, schema, input)?, constant(right))
            else {
                return Ok(None);
            };
            match op {
                Sign::Plus => Some(Known::Time(bound.plus(length))),
                Sign::Minus => Some(Known::Time(bound.plus(-length))),
                _ => None,
            }
        }
        _ => None,
    })
}

/// What is known of a window that is made of its start and end.
fn window(args: &[Expr], schema: &DFSchema, input: &Built) -> Result<Option<Known>> {
    let [first, start, second, end] = args else {
        return Ok(None);
    };
    let is = |expr: &Expr, name: &str| match expr {
        Expr::Literal(value, _) => value.try_as_str().flatten() == Some(name),
        _ => false,
    };
    if !is(first, sugar::MEMBERS[0]) || !is(second, sugar::MEMBERS[1]) {
        return Ok(None);
    }
    let bounds = (known(start, schema, input)?, known(end, schema, input)?);
    Ok(match bounds {
        (Some(Known::Time(start)), Some(Known::Time(end))) => Some(Known::Windows { start, end }),
        _ => None,
    })
}

/// The nanoseconds of an interval that is a constant.
fn constant(expr: &Expr) -> Option<i64> {
    match expr {
        Expr::Literal(value, _) => windows::nanoseconds(value).ok(),
        _ => None,
    }
}

/// A column and the length that is added to it: `ts - INTERVAL '4' MINUTE`.
fn shifted(expr: &Expr) -> Option<(&Column, i64)> {
    match expr {
        Expr::Column(column) => Some((column, 0)),
        Expr::Alias(alias) => shifted(&alias.expr),
        Expr::BinaryExpr(BinaryExpr { left, op, right }) => {
            let (column, by) = shifted(left)?;
            let length = constant(right)?;
            match op {
                Sign::Plus => Some((column, by.checked_add(length)?)),
                Sign::Minus => Some((column, by.checked_sub(length)?)),
                _ => None,
            }
        }
        _ => None,
    }
}

/// What a change does, for people.
fn told(change: &Change) -> String {
    match change {
        Change::Filter(predicate) => format!("filter {predicate}"),
        Change::Project(exprs, schema) => {
            let columns = exprs.iter().zip(schema.fields()).map(|(expr, field)| {
                let (expr, name) = (expr.to_string(), field.name());
                if expr.split('@').next() == Some(name) {
                    name.clone()
                } else {
                    format!("{expr} as {name}")
                }
            });
            format!("project {}", columns.collect::<Vec<_>>().join(", "))
        }
        Change::Unnest(unnest) => format!("rows of the list in column {}", unnest.column),
    }
}

/// The whole number that an expression is, such as a LIMIT.
fn number(expr: &Expr) -> Option<u64> {
    match expr {
        Expr::Literal(ScalarValue::UInt64(Some(number)), _) => Some(*number),
        Expr::Literal(ScalarValue::Int64(Some(number)), _) => u64::try_from(*number).ok(),
        Expr::Literal(ScalarValue::Int32(Some(number)), _) => u64::try_from(*number).ok(),
        Expr::Cast(cast) => number(&cast.expr),
        _ => None,
    }
}
