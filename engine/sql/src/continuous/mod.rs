//! Queries that never end: the engine of flows that are declared as SQL.
//!
//! Rows come and go ([`Dataflow`] says how it is driven): each operator takes the changes of its inputs and says how its own
//! rows change, batch by batch, as in differential dataflow (McSherry et al., CIDR 2013) and DBSP (Budiu et al., VLDB 2023). The
//! result at any moment is what the same query would answer over all that was read, but for what watermarks and time to live
//! leave out. State is in memory, what has no room there on local disk, and every change of it is told to who runs the flow.
//!
//! The way through the files: `text` and `sugar` (window functions and clauses to plain SQL), `names` (what may be named), `plan` (to
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
#[cfg(test)]
mod previews;
mod rank;
mod session;
mod shown;
mod sink;
mod source;
mod sugar;
#[cfg(test)]
mod tests;
mod text;
mod time;
mod windows;

use std::fmt::Write as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicI64;
use std::time::Duration;

use datafusion::common::{DataFusionError, SchemaError};
use datafusion::logical_expr::LogicalPlan;
use datafusion::optimizer::analyzer::Analyzer;
use datafusion::optimizer::{Optimizer, OptimizerContext};
use datafusion::sql::planner::SqlToRel;
use datafusion::sql::sqlparser::ast::{SelectItem, SetExpr, Statement};
use millstream_pipeline::{Column, Dataflow, FlowTable};
use millstream_spec::{Emit, Late, QuerySpec, Results};
use millstream_types::nearest;

pub use self::declare::{Declared, Previewed, declared, previewed};
use self::flow::{Flow, Plan};
use self::names::Names;
use self::plan::{Built, Call, Node, Planner};
use self::shown::explain;
use self::sink::Sink;
use crate::catalog::{Catalog, METADATA, is_json};
use crate::compile::on_big_stack;
use crate::error::{Place, SqlError};
use crate::functions::{Provider, Sources as _, SqlFunction, SqlFunctions};
use crate::lower::Output;
use crate::print::{check_printable, kind_of};
use crate::{locate, parse};

/// Bytes of state that a query may have unless it is declared.
const STATE: u64 = 16 << 30;
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

    /// The deployed functions that a text may call: pure ones, for what they said is not asked again.
    ///
    /// # Errors
    /// Why one of them cannot be run.
    fn functions(&self, text: &str) -> Result<SqlFunctions, String> {
        let _none_are_named = text;
        Ok(SqlFunctions::default())
    }
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
    /// Where state goes that has no room in memory.
    folder: Option<PathBuf>,
}

impl Compiled {
    /// One without state.
    #[must_use]
    pub fn start(&self) -> Box<dyn Dataflow> {
        let flow = Flow::new(Arc::clone(&self.plan));
        let mut flow = flow.expect("invariant: compiling made one");
        if let Some(folder) = &self.folder {
            flow.spill_to(folder);
        }
        Box::new(flow)
    }

    /// The same, with a folder on local disk for state that has no room in memory. Without one the query stands still then.
    #[must_use]
    pub fn spilling_to(self, folder: PathBuf) -> Self {
        Self {
            folder: Some(folder),
            ..self
        }
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

    /// How results that change are written; `None`: they do not change, and are told once.
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

    /// How long late rows change results that were told; `None`: not at all.
    #[must_use]
    pub fn grace(&self) -> Option<Duration> {
        match &self.late {
            Late::UpdateWithin(grace) => Some(*grace),
            Late::Drop | Late::SideOutput(_) => None,
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
    on_big_stack(|| compiled(spec, stations, false))
}

/// Compiles a query whose results are shown and not stored. It needs no `into`: then all rows have subjects of their own, made
/// of what tells them apart. Results that change come as changes, whatever the query says of that, and late messages are told
/// even if nobody is to get them.
///
/// # Errors
/// What is wrong with it, where, and what to do about it.
pub fn preview(spec: &QuerySpec, stations: &dyn Stations) -> Result<Compiled, SqlError> {
    on_big_stack(|| compiled(spec, stations, true))
}

fn compiled(
    spec: &QuerySpec,
    stations: &dyn Stations,
    previews: bool,
) -> Result<Compiled, SqlError> {
    let times = |table: &str| spec.sources.get(table)?.event_time.clone();
    let read = text::read(&spec.sql, &times)?;
    let (emit, at_once, late) = clauses(spec, &read);
    let clock = Arc::new(AtomicI64::new(i64::MIN));
    let deployed = stations.functions(&spec.sql);
    let deployed = deployed.map_err(|why| SqlError::new(Place::START, why))?;
    let names = Names::new(spec, stations, &clock, &deployed);
    names.functions().check_names(&spec.sql)?;
    let refused = |error: DataFusionError| refused(&spec.sql, &names, &error);
    let logical = logical(&read, &names).map_err(refused)?;
    let nanos = |ttl: Duration| i64::try_from(ttl.as_nanos()).unwrap_or(i64::MAX);
    let ttl = spec.state_ttl.map(nanos);
    let mut planner = Planner::new(&names, &read.times, (emit, at_once, late.clone()), ttl);
    let (last, built) = planner.whole(&logical).map_err(refused)?;
    fits(
        emit,
        &late,
        (planner.graceful && !planner.graceless, built.updating),
    )?;
    let closes = planner.closes(&built);
    let (nodes, sources, calls) = (planner.nodes, planner.sources, planner.calls);
    let outputs = outputs(&logical, &read, &spec.sql)?;
    let (subject, results) = destination(spec, stations, &logical, &built)?;
    let column = |(_, output): &(usize, Output)| Column {
        name: output.name.clone(),
        kind: kind_of(&output.data_type, output.json),
        nullable: true,
    };
    let columns = outputs.iter().map(column).collect();
    let mut explain = explain((&nodes, last), &sources, spec, results);
    let layout = layout(
        (&nodes, &calls, &deployed.each),
        spec,
        (emit, &late),
        built.updating,
    );
    let plan = Arc::new(Plan {
        sink: Sink::new(
            &outputs,
            subject,
            results.map(|own| if previews { Results::Changelog } else { own }),
            closes,
        ),
        nodes,
        last,
        sources,
        clock,
        keeps_late: previews || matches!(late, Late::SideOutput(_)),
        limit: spec.state_limit.unwrap_or(STATE),
        memory: spec.memory_limit,
    });
    for name in Flow::new(Arc::clone(&plan)).map_err(refused)?.staying() {
        let _ = writeln!(explain, "{name} keeps its state in memory");
    }
    Ok(Compiled {
        plan,
        columns,
        explain,
        results,
        layout,
        late,
        folder: None,
    })
}

/// When results are told, whether the query says that they are told at once, and what becomes of late messages.
fn clauses(spec: &QuerySpec, read: &text::Read) -> (Emit, bool, Late) {
    let said = spec.emit.or(read.emit);
    let usual = if read.windowed {
        Emit::WindowClose
    } else {
        Emit::Update
    };
    let unsaid = spec.late == Late::Drop;
    let late = read.late.clone().filter(|_| unsaid);
    let late = late.unwrap_or_else(|| spec.late.clone());
    (said.unwrap_or(usual), said == Some(Emit::Update), late)
}

/// Whether a query's results can be told when they are to be told.
fn fits(emit: Emit, late: &Late, (graceful, updating): (bool, bool)) -> Result<(), SqlError> {
    let within = matches!(late, Late::UpdateWithin(_));
    if within && !graceful {
        return Err(SqlError::new(Place::START, "late rows can update groups of windows, also of sessions, that are told when they close, and joins of windows, and nothing else")
            .hint("leave `LATE UPDATE WITHIN` out, or put ranks and `OVER` around the groups into a flow of its own"));
    }
    if emit == Emit::WindowClose && updating && !within {
        return Err(SqlError::new(Place::START, "results of this query change, and it is to tell them once")
            .hint("write `EMIT ON UPDATE`, or group and join by `window_start` and `window_end` of windows over event time"));
    }
    Ok(())
}

/// Plans, types and simplifies a query.
fn logical(read: &text::Read, names: &Names<'_>) -> Result<LogicalPlan, DataFusionError> {
    let statement = Statement::Query(read.query.clone());
    let plan = SqlToRel::new_with_options(&Provider(names), Catalog::parser_options())
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

/// The subject of results, and how those that change are written.
fn destination(
    spec: &QuerySpec,
    stations: &dyn Stations,
    plan: &LogicalPlan,
    built: &Built,
) -> Result<(Vec<sink::Part>, Option<Results>), SqlError> {
    if spec.into.is_empty() {
        // They go nowhere: what tells rows apart pairs what is taken back with what comes instead.
        let all = plan.schema().fields().len();
        let unique = built.unique.clone();
        let unique = unique.filter(|unique| unique.iter().all(|column| *column < all));
        let columns = unique.unwrap_or_else(|| (0..all).collect());
        let parts = columns
            .into_iter()
            .flat_map(|column| [sink::Part::Column(column), sink::Part::Text(".".to_owned())]);
        return Ok((
            parts.collect(),
            built.updating.then_some(Results::Changelog),
        ));
    }
    let subject = subject(spec, stations, plan)?;
    let results = match built.updating {
        true => Some(results(spec, &subject, built.unique.as_deref())?),
        false => None,
    };
    Ok((subject, results))
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

/// A number for what state looks like (FNV-1a over the operators, and the versions of the functions that they call): the last
/// changes of rows have none and do not count.
fn layout(
    (nodes, calls, functions): (&[Node], &[Call], &[SqlFunction]),
    spec: &QuerySpec,
    (emit, late): (Emit, &Late),
    updating: bool,
) -> u64 {
    let keeps = |node: &Node| match node {
        Node::Source(_) => true,
        Node::Operator { text, .. } => !text.starts_with("filter") && !text.starts_with("project"),
    };
    // What was told with another filter would never be taken back.
    let last = nodes.iter().rposition(|node| updating || keeps(node));
    let end = last.map_or(0, |at| at + 1);
    let mut text = format!(
        "1 {:?} {emit:?} {late:?} {:?} {:?}",
        &nodes[..end],
        spec.state_ttl,
        spec.sources
    );
    for SqlFunction { name, version, .. } in functions {
        if calls.iter().any(|(node, own)| *node < end && own == name) {
            let _ = write!(text, " {name} {version}");
        }
    }
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
    if let Some(error) = names.functions().missing(text, &message) {
        return error;
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
    locate::worded(parse::guilty(text, &message), &message)
}
