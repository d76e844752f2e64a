//! Queries that never end: the engine of flows that are declared as SQL.
//!
//! Rows come and go ([`Dataflow`] says how it is driven): each operator takes the changes of its inputs and says how its own
//! rows change, batch by batch, as in differential dataflow (McSherry et al., CIDR 2013) and DBSP (Budiu et al., VLDB 2023). The
//! result at any moment is what the same query would answer over all that was read, but for what watermarks and time to live
//! leave out. State is in memory, and every change of it is told to who runs the flow.
//!
//! The way through the files: `text` (window functions and clauses to plain SQL), `names` (what may be named), `plan` (to
//! operators), `flow` (a step); `source`, `map`, `aggregate`, `join`, `rank`, `over`, `session`, `sink` (the operators), and
//! `delta`, `time`, `operator`, `windows` (what they share).

mod aggregate;
mod declare;
mod delta;
mod flow;
mod join;
mod map;
mod names;
mod operator;
mod over;
mod parts;
mod plan;
mod rank;
mod session;
mod sink;
mod source;
#[cfg(test)]
mod tests;
mod text;
mod time;
mod windows;

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::AtomicI64;

use datafusion::common::{DataFusionError, SchemaError};
use datafusion::logical_expr::LogicalPlan;
use datafusion::optimizer::analyzer::Analyzer;
use datafusion::optimizer::{Optimizer, OptimizerContext};
use datafusion::sql::planner::SqlToRel;
use datafusion::sql::sqlparser::ast::{SelectItem, SetExpr, Statement};
use millstream_pipeline::{Column, Dataflow, FlowTable};
use millstream_spec::{Emit, Late, QuerySpec, Results};
use millstream_types::nearest;

pub use self::declare::declared;
use self::flow::{Flow, Plan};
use self::names::Names;
use self::plan::{Node, Planner};
use self::sink::Sink;
use crate::catalog::{Catalog, METADATA, is_json};
use crate::compile::on_big_stack;
use crate::error::{Place, SqlError};
use crate::lower::Output;
use crate::print::{check_printable, kind_of};
use crate::{locate, parse};

/// Bytes of state that a query may hold unless it is declared.
const STATE: u64 = 1 << 30;
/// Rules of the optimizer that a flow is better without: more state for the same answer, or plans that hide where time is.
const NO_RULES: [&str; 3] = [
    "single_distinct_aggregation_to_group_by",
    "extract_leaf_expressions",
    "push_down_leaf_projections",
];

/// What a query may read.
pub trait Stations: Sync {
    /// The columns of a station or stream; `None`: there is none of this name.
    ///
    /// # Errors
    /// Why it cannot be read.
    fn columns(&self, name: &str) -> Result<Option<Vec<Column>>, String>;

    /// All of them.
    fn names(&self) -> Vec<String>;

    /// The subjects that one stores.
    fn subjects(&self, name: &str) -> Vec<String>;
}

/// A query that is compiled.
#[derive(Debug)]
pub struct Compiled {
    plan: Arc<Plan>,
    columns: Vec<Column>,
    explain: String,
    /// How results are written that change.
    results: Option<Results>,
    layout: u64,
    late: Late,
}

impl Compiled {
    /// One without state.
    #[must_use]
    pub fn start(&self) -> Box<dyn Dataflow> {
        let flow = Flow::new(Arc::clone(&self.plan));
        Box::new(flow.expect("invariant: compiling made one"))
    }

    /// What it reads.
    #[must_use]
    pub fn sources(&self) -> &[FlowTable] {
        &self.plan.sources
    }

    /// The columns of its results.
    #[must_use]
    pub fn columns(&self) -> &[Column] {
        &self.columns
    }

    /// Its operators, for people.
    #[must_use]
    pub fn explain(&self) -> &str {
        &self.explain
    }

    /// Whether its results change.
    #[must_use]
    pub fn is_updating(&self) -> bool {
        self.results.is_some()
    }

    /// How they are written then.
    #[must_use]
    pub fn results(&self) -> Option<Results> {
        self.results
    }

    /// The station that gets late messages, which the text or the specification names.
    #[must_use]
    pub fn side_output(&self) -> Option<&str> {
        match &self.late {
            Late::SideOutput(station) => Some(station),
            Late::Drop | Late::UpdateWithin(_) => None,
        }
    }

    /// What its state looks like: that of a query with the same layout serves.
    #[must_use]
    pub fn layout(&self) -> u64 {
        self.layout
    }
}

/// Compiles a query against what there is.
///
/// # Errors
/// What is wrong with it, where, and what to do about it.
pub fn compile(spec: &QuerySpec, stations: &dyn Stations) -> Result<Compiled, SqlError> {
    on_big_stack(|| compiled(spec, stations))
}

fn compiled(spec: &QuerySpec, stations: &dyn Stations) -> Result<Compiled, SqlError> {
    let read = text::read(&spec.sql)?;
    let emit = spec.emit.or(read.emit).unwrap_or(if read.windowed {
        Emit::WindowClose
    } else {
        Emit::Update
    });
    let at_once = spec.emit.or(read.emit) == Some(Emit::Update);
    let late = match (&spec.late, read.late.clone()) {
        (Late::Drop, Some(late)) => late,
        (late, _) => late.clone(),
    };
    let clock = Arc::new(AtomicI64::new(i64::MIN));
    let names = Names::new(spec, stations, &clock);
    let refused = |error: DataFusionError| refused(&spec.sql, &names, &error);
    let logical = logical(&read, &names).map_err(refused)?;
    let ttl = spec
        .state_ttl
        .map(|ttl| i64::try_from(ttl.as_nanos()).unwrap_or(i64::MAX));
    let mut planner = Planner::new(&names, &read.times, (emit, at_once, late.clone()), ttl);
    let (last, built) = planner.whole(&logical).map_err(refused)?;
    if matches!(late, Late::UpdateWithin(_)) && (planner.graceless || !planner.graceful) {
        return Err(SqlError::new(Place::START, "late rows can update groups of windows that are told when they close, and nothing else")
            .hint("leave `LATE UPDATE WITHIN` out, or put what is around the groups into a flow of its own"));
    }
    let closes = planner.closes(&built);
    let (nodes, sources) = (planner.nodes, planner.sources);
    if emit == Emit::WindowClose && built.updating && !matches!(late, Late::UpdateWithin(_)) {
        return Err(SqlError::new(Place::START, "results of this query change, and it is to tell them once")
            .hint("write `EMIT ON UPDATE`, or group and join by `window_start` and `window_end` of windows over event time"));
    }
    let outputs = outputs(&logical, &read, &spec.sql)?;
    let subject = subject(spec, stations, &logical)?;
    let results = match built.updating {
        true => Some(results(spec, &subject, built.unique.as_deref())?),
        false => None,
    };
    let columns = outputs.iter().map(|(_, output)| Column {
        name: output.name.clone(),
        kind: kind_of(&output.data_type, output.json),
        nullable: true,
    });
    let explain = explain(&nodes, last);
    let layout = layout(&nodes, spec, (emit, &late), built.updating);
    let columns = columns.collect();
    let plan = Arc::new(Plan {
        sink: Sink::new(&outputs, subject, results, closes),
        nodes,
        last,
        sources,
        clock,
        keeps_late: matches!(late, Late::SideOutput(_)),
        limit: spec.state_limit.unwrap_or(STATE),
    });
    Flow::new(Arc::clone(&plan)).map_err(refused)?;
    Ok(Compiled {
        plan,
        columns,
        explain,
        results,
        layout,
        late,
    })
}

/// Plans, types and simplifies a query.
fn logical(read: &text::Read, names: &Names<'_>) -> Result<LogicalPlan, DataFusionError> {
    let statement = Statement::Query(read.query.clone());
    let plan = SqlToRel::new_with_options(names, Catalog::parser_options())
        .sql_statement_to_plan(statement)?;
    let plan = Analyzer::new().execute_and_check(plan, names.config(), |_, _| {})?;
    let context = OptimizerContext::new_with_config_options(Arc::clone(names.config()))
        .without_query_execution_start_time();
    let mut rules = Optimizer::new().rules;
    // A filter behind a session chooses among its rows; before it, it would change the session.
    let stays =
        |name: &str| !(NO_RULES.contains(&name) || (read.sessions && name == "push_down_filter"));
    rules.retain(|rule| stays(rule.name()));
    Optimizer::with_rules(rules).optimize(plan, &context, |_, _| {})
}

/// The members of the results and the columns they come from. A wildcard leaves metadata out.
fn outputs(
    plan: &LogicalPlan,
    read: &text::Read,
    text: &str,
) -> Result<Vec<(usize, Output)>, SqlError> {
    let named = named(read);
    let mut outputs: Vec<(usize, Output)> = Vec::new();
    for (at, field) in plan.schema().fields().iter().enumerate() {
        let name = field.name();
        let metadata = METADATA.contains(&name.as_str());
        if metadata && named.as_ref().is_some_and(|named| !named.contains(name)) {
            continue;
        }
        let place = || parse::word(text, name);
        if let Err(why) = check_printable(field.data_type()) {
            return Err(SqlError::new(place(), format!("`{name}` is {why}")));
        }
        if outputs.iter().any(|(_, other)| other.name == *name) {
            return Err(SqlError::new(
                place(),
                format!("two columns of the result are called `{name}`"),
            )
            .hint("give one another name with `AS`"));
        }
        outputs.push((
            at,
            Output::member(name, field.data_type().clone(), is_json(field)),
        ));
    }
    if outputs.is_empty() {
        return Err(SqlError::new(Place::START, "results have no columns"));
    }
    Ok(outputs)
}

/// The names that the query gives its results one by one; `None` without a wildcard.
fn named(read: &text::Read) -> Option<Vec<String>> {
    let SetExpr::Select(select) = &*read.query.body else {
        return None;
    };
    let wild = |item: &SelectItem| {
        matches!(
            item,
            SelectItem::Wildcard(_) | SelectItem::QualifiedWildcard(..)
        )
    };
    if !select.projection.iter().any(wild) {
        return None;
    }
    let names = select.projection.iter().filter(|item| !wild(item));
    Some(
        names
            .map(|item| match item {
                SelectItem::ExprWithAlias { alias, .. } => alias.value.clone(),
                item => item.to_string(),
            })
            .collect(),
    )
}

/// The subject of results.
fn subject(
    spec: &QuerySpec,
    stations: &dyn Stations,
    plan: &LogicalPlan,
) -> Result<Vec<sink::Part>, SqlError> {
    let wrong = |why: String| SqlError::new(Place::START, why);
    let columns: Vec<String> = plan
        .schema()
        .fields()
        .iter()
        .map(|field| field.name().clone())
        .collect();
    if let Some(template) = &spec.subject {
        return sink::parts(template, &columns).map_err(wrong);
    }
    let subjects = stations.subjects(&spec.into);
    let plain: Vec<&String> = subjects
        .iter()
        .filter(|subject| !subject.contains(['*', '>']))
        .collect();
    match plain.as_slice() {
        [one] => Ok(vec![sink::Part::Text((*one).clone())]),
        _ => Err(wrong(format!(
            "station `{}` has no single subject for the results",
            spec.into
        ))
        .hint("give the flow a `subject`, such as `totals.{carrier}`")),
    }
}

/// How results that change are written: as upserts where the subject tells rows apart.
fn results(
    spec: &QuerySpec,
    subject: &[sink::Part],
    unique: Option<&[usize]>,
) -> Result<Results, SqlError> {
    let names = |column: &usize| subject.contains(&sink::Part::Column(*column));
    let keyed = subject
        .iter()
        .any(|part| matches!(part, sink::Part::Column(_)));
    // Where nothing is known of what tells rows apart, the subject is taken at its word.
    let apart = unique.is_none_or(|unique| unique.iter().all(names));
    match spec.results {
        Some(Results::Upsert) if !apart => Err(SqlError::new(
            Place::START,
            "several rows would have the same subject, and each would replace the others",
        )
        .hint("name all columns of the `GROUP BY` in `subject`, or write `results: changelog`")),
        Some(results) => Ok(results),
        None if keyed && apart => Ok(Results::Upsert),
        None => Ok(Results::Changelog),
    }
}

/// The operators as a tree, results first.
fn explain(nodes: &[Node], last: usize) -> String {
    let mut text = String::new();
    let mut stack = vec![(last, 0)];
    while let Some((at, depth)) = stack.pop() {
        let indent = "  ".repeat(depth);
        match &nodes[at] {
            Node::Source(source) => {
                let columns: Vec<&str> = source
                    .columns
                    .iter()
                    .map(|column| column.name.as_str())
                    .collect();
                let _ = writeln!(
                    text,
                    "{indent}source {}: {}",
                    source.number,
                    columns.join(", ")
                );
            }
            Node::Operator {
                inputs, text: own, ..
            } => {
                let _ = writeln!(text, "{indent}{own}");
                stack.extend(inputs.iter().rev().map(|input| (*input, depth + 1)));
            }
        }
    }
    text
}

/// A number for what state looks like (FNV-1a over the operators): the last changes of rows have none and do not count.
fn layout(nodes: &[Node], spec: &QuerySpec, (emit, late): (Emit, &Late), updating: bool) -> u64 {
    let keeps = |node: &Node| match node {
        Node::Source(_) => true,
        Node::Operator { text, .. } => !text.starts_with("filter") && !text.starts_with("project"),
    };
    // What was told with another filter would never be taken back.
    let last = nodes.iter().rposition(|node| updating || keeps(node));
    let end = last.map_or(0, |at| at + 1);
    let text = format!(
        "1 {:?} {emit:?} {late:?} {:?} {:?}",
        &nodes[..end],
        spec.state_ttl,
        spec.sources
    );
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// The planner's error, about the text.
fn refused(text: &str, names: &Names<'_>, error: &DataFusionError) -> SqlError {
    let message = crate::compile::root_text(error);
    if let Some(name) = message
        .strip_prefix("no table `")
        .and_then(|rest| rest.strip_suffix('`'))
    {
        let all = names.table_names();
        let error = SqlError::new(
            parse::word(text, name),
            format!("there is no station `{name}`"),
        );
        return match nearest(name, all.iter().map(String::as_str)) {
            Some(near) => error.hint(format!("did you mean `{near}`?")),
            None => error,
        };
    }
    if let DataFusionError::SchemaError(schema, _) = error.find_root()
        && let SchemaError::FieldNotFound {
            field,
            valid_fields,
        } = schema.as_ref()
    {
        let at = parse::word(text, &field.name);
        let error = SqlError::new(at, format!("there is no column `{}`", field.name));
        let near = nearest(&field.name, valid_fields.iter().map(|valid| valid.name()));
        return match near {
            Some(near) => error.hint(format!("did you mean `{near}`?")),
            None => error,
        };
    }
    let guilty = message
        .split('`')
        .nth(1)
        .or_else(|| message.split('\'').nth(1));
    let at = guilty.map_or(Place::START, |name| parse::word(text, name));
    locate::worded(at, &message)
}
