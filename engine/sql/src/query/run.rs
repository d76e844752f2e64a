//! Plans a question, watches it while it runs, and tells its rows.

use std::future::poll_fn;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use arrow::datatypes::{Field, Schema, SchemaRef};
use arrow::record_batch::RecordBatch;
use datafusion::common::DataFusionError;
use datafusion::execution::session_state::SessionState;
use datafusion::physical_plan::{ExecutionPlan, execute_stream};
use datafusion::sql::sqlparser::ast::Statement;
use futures_util::StreamExt as _;
use tokio::runtime::Runtime;
use tokio::time::{Instant, sleep_until};

use super::cells::{self, CellKind, Cells};
use super::pace::Pace;
use super::parquet::File;
use super::plan::Planner;
use super::question::{self, Form, Parameter, Question};
use super::star;
use super::{Event, Limits, Looked, QueryError, Tables};
use crate::catalog::is_json;
use crate::error::{Place, SqlError};
use crate::functions::Remembered;
use crate::lower::Output;
use crate::parse;
use crate::print::{Printer, check_printable, kind_of};

/// Stack of a query's thread: planning recurses over the statement with frames of many kilobytes.
const STACK: usize = 64 * 1024 * 1024;
/// Between two reports of how far it is.
const REPORT: Duration = Duration::from_millis(500);
/// Bytes of printed rows that are told at once.
const PIECE: usize = 64 * 1024;

/// Runs a question on a thread of its own. `tell` hears of everything in the order of [`Event`], and ends the query by saying
/// false; it may block, which makes the query wait.
///
/// # Errors
/// When there is no thread to be had.
pub fn start<Q, F>(
    question: Q,
    tables: Arc<dyn Tables>,
    limits: Limits,
    mut tell: F,
) -> io::Result<()>
where
    Q: Into<Question>,
    F: FnMut(Event) -> bool + Send + 'static,
{
    let Question {
        text,
        parameters,
        form,
    } = question.into();
    on_a_thread(move || {
        let ended = guarded(|| {
            let planner = Planner::new(text, tables, limits)?;
            let mut query = Query { planner, rows: 0 };
            query.run(&parameters, form, &mut tell)
        });
        // Whether anybody still listens no longer matters.
        let _gone = tell(Event::End(ended));
    })
}

/// What a statement would answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Described {
    /// The kinds of `$1`, `$2`, …
    pub parameters: Vec<CellKind>,
    /// The columns.
    pub columns: Vec<(String, CellKind)>,
}

/// Says of a statement, on a thread of its own, what it needs and answers. Kinds of parameters that are not known are found by how
/// they are used; text where that does not tell.
///
/// # Errors
/// When there is no thread to be had.
pub fn describe<F>(
    text: String,
    parameters: Vec<Option<CellKind>>,
    tables: Arc<dyn Tables>,
    limits: Limits,
    tell: F,
) -> io::Result<()>
where
    F: FnOnce(Result<Described, QueryError>) + Send + 'static,
{
    on_a_thread(move || {
        tell(guarded(|| {
            described(&Planner::new(text, tables, limits)?, parameters)
        }));
    })
}

/// Runs something on a thread of its own that gives way to everything else.
///
/// # Errors
/// When there is no thread to be had.
pub fn on_a_thread(run: impl FnOnce() + Send + 'static) -> io::Result<()> {
    let run = move || {
        give_way();
        run();
    };
    let thread = std::thread::Builder::new().name("query".to_owned());
    thread.stack_size(STACK).spawn(run).map(drop)
}

fn guarded<T>(run: impl FnOnce() -> Result<T, QueryError>) -> Result<T, QueryError> {
    catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|_| {
        let why = "query failed inside the engine: write it in another way and report it";
        Err(QueryError::Failed(why.to_owned()))
    })
}

/// Lets everything else go first. A low priority would not do: a thread that wakes waits for the slice of the one that runs
/// unless that one is idle by its policy, and publishing is made of threads that wake.
fn give_way() {
    // Only Linux has this for a single thread. Where it is not to be had, the query runs all the same.
    #[cfg(target_os = "linux")]
    {
        use thread_priority::unix::{
            NormalThreadSchedulePolicy, ThreadSchedulePolicy, set_thread_priority_and_policy,
            thread_native_id,
        };
        let policy = ThreadSchedulePolicy::Normal(NormalThreadSchedulePolicy::Idle);
        let lowest = thread_priority::ThreadPriority::Min;
        let _idle = set_thread_priority_and_policy(thread_native_id(), lowest, policy);
    }
}

fn runtime() -> Result<Runtime, QueryError> {
    tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .map_err(|error| QueryError::Failed(error.to_string()))
}

fn described(planner: &Planner, mut known: Vec<Option<CellKind>>) -> Result<Described, QueryError> {
    let mut statement = parse::parse_question(&planner.text)?;
    let count = question::count(&mut statement);
    known.resize(count, None);
    star::narrow(&mut statement, &planner.named);
    let runtime = runtime()?;
    let state = planner.state().map_err(|error| planner.failed(&error))?;
    let plan = |kinds: &[Option<CellKind>]| {
        let nulls: Vec<Option<Parameter>> = kinds
            .iter()
            .map(|kind| kind.clone().map(Parameter::Null))
            .collect();
        let mut statement: Statement = statement.clone();
        question::fill(&mut statement, &nulls)?;
        runtime.block_on(planner.logical(&state, statement))
    };
    // How they are used tells the kinds, unless the planner wants to know them first.
    if known.iter().any(Option::is_none)
        && let Ok(found) = plan(&known)
        && let Ok(types) = found.get_parameter_types()
    {
        for (name, data_type) in types {
            let number = name.trim_start_matches('$').parse::<usize>().ok();
            let slot = number.and_then(|number| known.get_mut(number.checked_sub(1)?));
            if let (Some(slot @ None), Some(data_type)) = (slot, data_type) {
                *slot = Some(cells::kind(&data_type, false));
            }
        }
    }
    let parameters: Vec<CellKind> = known
        .into_iter()
        .map(|kind| kind.unwrap_or(CellKind::Text))
        .collect();
    let kinds: Vec<Option<CellKind>> = parameters.iter().cloned().map(Some).collect();
    let plan = plan(&kinds)?;
    let columns = cells::kinds(plan.schema().as_arrow(), is_json);
    Ok(Described {
        parameters,
        columns,
    })
}

/// What a query waited for.
enum Step {
    Deadline,
    Report,
    Next(Option<Result<RecordBatch, DataFusionError>>),
}

struct Query {
    planner: Planner,
    rows: u64,
}

type Tell<'a> = &'a mut dyn FnMut(Event) -> bool;

impl Query {
    fn run(
        &mut self,
        parameters: &[Parameter],
        form: Form,
        tell: Tell<'_>,
    ) -> Result<Looked, QueryError> {
        let planner = &self.planner;
        let mut statement = parse::parse_question(&planner.text)?;
        let values: Vec<_> = parameters.iter().cloned().map(Some).collect();
        question::fill(&mut statement, &values)?;
        let runtime = runtime()?;
        let mut state = planner.state().map_err(|error| planner.failed(&error))?;
        // What `now()` says.
        state.mark_start_execution();
        let deadline = Instant::now() + planner.limits.time;
        let _remembered = Remembered::for_question(deadline.into_std());
        star::narrow(&mut statement, &planner.named);
        let plan = runtime.block_on(planner.physical(&state, statement))?;
        let (mut writer, head) = Writer::begin(form, plan.schema())?;
        self.tell(tell, head)?;
        self.watch(&runtime, &state, plan, (deadline, &mut writer, tell))
    }

    fn watch(
        &mut self,
        runtime: &Runtime,
        state: &SessionState,
        plan: Arc<dyn ExecutionPlan>,
        (deadline, writer, tell): (Instant, &mut Writer, Tell<'_>),
    ) -> Result<Looked, QueryError> {
        // Some operators start tasks at once.
        let stream = runtime.block_on(async { execute_stream(plan, state.task_ctx()) });
        let mut stream = stream.map_err(|error| self.planner.failed(&error))?;
        let mut report = Instant::now() + REPORT;
        let mut pace = Pace::default();
        loop {
            let step = runtime.block_on(async {
                tokio::select! {
                    biased;
                    () = sleep_until(deadline) => Step::Deadline,
                    () = sleep_until(report) => Step::Report,
                    next = poll_fn(|context| pace.poll(context, |context| stream.poll_next_unpin(context))) => Step::Next(next),
                }
            });
            let watch = &self.planner.watch;
            // Told outside of the runtime and of a turn, for it may block.
            pace.leave();
            match step {
                Step::Deadline => return Err(QueryError::Deadline(self.planner.limits.time)),
                Step::Report => {
                    report = Instant::now() + REPORT;
                    self.tell(tell, Event::Progress(watch.looked(self.rows)))?;
                }
                Step::Next(None) => {
                    if let Some(last) = writer.finish()? {
                        self.tell(tell, last)?;
                    }
                    return Ok(self.planner.watch.looked(self.rows));
                }
                // A function that was asked for too long says so by an error of its own.
                Step::Next(Some(Err(_))) if deadline <= Instant::now() => {
                    return Err(QueryError::Deadline(self.planner.limits.time));
                }
                Step::Next(Some(Err(error))) => return Err(self.planner.failed(&error)),
                Step::Next(Some(Ok(batch))) => {
                    self.rows += batch.num_rows() as u64;
                    writer.rows(&batch, &mut |event| self.tell(tell, event))?;
                }
            }
        }
    }

    fn tell(&self, tell: Tell<'_>, event: Event) -> Result<(), QueryError> {
        if tell(event) {
            return Ok(());
        }
        self.planner.watch.stop();
        Err(QueryError::Cancelled)
    }
}

/// Rows in the form that was asked for.
enum Writer {
    Json(Printer),
    /// Whether each column's text is JSON.
    Cells(Vec<bool>),
    Parquet(Box<File>),
}

impl Writer {
    /// With what is told before any row.
    fn begin(form: Form, schema: SchemaRef) -> Result<(Self, Event), QueryError> {
        let words = |outputs: &[Output]| {
            let word = |output: &Output| {
                let kind = kind_of(&output.data_type, output.json).as_str();
                (output.name.clone(), kind)
            };
            Event::Columns(outputs.iter().map(word).collect())
        };
        match form {
            Form::Json => {
                let outputs = outputs(&schema)?;
                let told = words(&outputs);
                Ok((Self::Json(Printer::new(&outputs)), told))
            }
            Form::Cells => {
                let nested = |field: &&Arc<Field>| field.data_type().is_nested();
                for field in schema.fields().iter().filter(nested) {
                    printable(field)?;
                }
                let json = schema.fields().iter().map(|field| is_json(field));
                let told = Event::Kinds(cells::kinds(&schema, is_json));
                Ok((Self::Cells(json.collect()), told))
            }
            Form::Parquet => {
                let told = words(&all_outputs(&schema));
                let file = File::begin(Arc::clone(&schema)).map_err(failed)?;
                Ok((Self::Parquet(Box::new(file)), told))
            }
        }
    }

    fn rows(
        &mut self,
        batch: &RecordBatch,
        tell: &mut dyn FnMut(Event) -> Result<(), QueryError>,
    ) -> Result<(), QueryError> {
        match self {
            Self::Json(printer) => print(printer, batch, tell),
            Self::Cells(json) => tell(Event::Cells(Cells::new(batch, json).map_err(failed)?)),
            Self::Parquet(file) => {
                let bytes = file.rows(batch).map_err(failed)?;
                if bytes.is_empty() {
                    return Ok(());
                }
                tell(Event::File(bytes))
            }
        }
    }

    fn finish(&mut self) -> Result<Option<Event>, QueryError> {
        match self {
            Self::Parquet(file) => Ok(Some(Event::File(file.finish().map_err(failed)?))),
            Self::Json(_) | Self::Cells(_) => Ok(None),
        }
    }
}

fn failed(error: impl std::fmt::Display) -> QueryError {
    QueryError::Failed(parse::lower_first(&error.to_string()))
}

fn print(
    printer: &Printer,
    batch: &RecordBatch,
    tell: &mut dyn FnMut(Event) -> Result<(), QueryError>,
) -> Result<(), QueryError> {
    let rows = printer.rows(batch);
    let mut text = Vec::new();
    for row in 0..batch.num_rows() {
        rows.put(row, &mut text).map_err(QueryError::Failed)?;
        text.push(b'\n');
        if text.len() >= PIECE || row + 1 == batch.num_rows() {
            tell(Event::Rows(std::mem::take(&mut text)))?;
        }
    }
    Ok(())
}

fn printable(field: &Field) -> Result<(), QueryError> {
    check_printable(field.data_type()).map_err(|why| {
        let why = format!("column `{}` is {why}", field.name());
        QueryError::Statement(SqlError::new(Place::START, why))
    })
}

/// The columns of an answer, each of which JSON can hold.
fn outputs(schema: &Schema) -> Result<Vec<Output>, QueryError> {
    for field in schema.fields() {
        printable(field)?;
    }
    Ok(all_outputs(schema))
}

fn all_outputs(schema: &Schema) -> Vec<Output> {
    let output = |field: &Arc<Field>| Output {
        nullable: field.is_nullable(),
        ..Output::member(field.name(), field.data_type().clone(), is_json(field))
    };
    schema.fields().iter().map(output).collect()
}
