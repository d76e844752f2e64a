//! Deployed functions that SQL calls: one call for a batch, a value or an error for each row.

use std::fmt;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{DataType, Field, FieldRef, Int64Type, Schema};
use arrow::record_batch::{RecordBatch, RecordBatchOptions};
use bytes::Bytes;
use datafusion::common::{DataFusionError, Result, exec_datafusion_err, plan_err};
use datafusion::logical_expr::{
    ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
    Volatility,
};
use millstream_pipeline::{Column, ColumnKind, Rejection, RowFunction};

use super::Remembered;
use crate::catalog::{data_type, json};
use crate::cell::{Cell, nested};
use crate::lower::Output;
use crate::print::Printer;
use crate::program::Refusal;

/// A function that statements may call by its name. Equal arguments within a batch are one call, so that its answer should
/// depend on nothing else.
#[derive(Clone, Debug)]
pub struct SqlFunction {
    /// What statements call it: the function's name, or that with `_` for `-`.
    pub name: String,
    /// Its arguments, in order; they become an object with these members.
    pub arguments: Vec<Column>,
    /// What it answers.
    pub returns: ColumnKind,
    /// Which version of it: what is kept of its answers is of this one.
    pub version: u64,
    /// Who runs it.
    pub run: Arc<dyn RowFunction>,
}

/// The deployed functions around a statement.
#[derive(Clone, Debug, Default)]
pub struct SqlFunctions {
    /// Those that it may call; of those that the text has not the name of none is needed.
    pub each: Vec<SqlFunction>,
    /// The names of more of them, of which the text has none: what a name may be meant to be.
    pub more: Vec<String>,
    /// The names of those that say nothing of SQL.
    pub not_for_sql: Vec<String>,
    /// The names of those that may not be called here because they reach outside.
    pub reaching_outside: Vec<String>,
}

/// No deployed functions.
pub(crate) static NONE_DEPLOYED: SqlFunctions = SqlFunctions {
    each: Vec::new(),
    more: Vec::new(),
    not_for_sql: Vec::new(),
    reaching_outside: Vec::new(),
};

impl SqlFunction {
    /// As the planner knows it.
    pub(crate) fn udf(&self) -> Arc<ScalarUDF> {
        let output = |column: &Column| {
            Output::member(
                &column.name,
                data_type(&column.kind),
                column.kind == ColumnKind::Json,
            )
        };
        let outputs: Vec<Output> = self.arguments.iter().map(output).collect();
        let fields = self
            .arguments
            .iter()
            .map(|column| Field::new(&column.name, data_type(&column.kind), true));
        Arc::new(ScalarUDF::from(Deployed {
            function: self.clone(),
            printer: Arc::new(Printer::new(&outputs)),
            schema: Arc::new(Schema::new(fields.collect::<Vec<_>>())),
            // A pure function of one version, but one whose time may run out: it is called for rows, never while a statement is
            // planned, and where the statement says so.
            signature: Signature::user_defined(Volatility::Volatile),
            numbered: false,
        }))
    }

    /// How it is called, for an error text.
    fn form(&self) -> String {
        let arguments = self.arguments.iter();
        let arguments = arguments.map(|column| format!("{} {}", column.name, column.kind));
        format!(
            "{}({})",
            self.name,
            arguments.collect::<Vec<_>>().join(", ")
        )
    }
}

/// A function as the planner knows it.
#[derive(Clone, Debug)]
pub(super) struct Deployed {
    function: SqlFunction,
    printer: Arc<Printer>,
    schema: Arc<Schema>,
    signature: Signature,
    /// Whether the sequence of the row's message comes behind the arguments, for errors.
    numbered: bool,
}

impl PartialEq for Deployed {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.function.run, &other.function.run) && self.numbered == other.numbered
    }
}

impl Eq for Deployed {}

impl std::hash::Hash for Deployed {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.function.name.hash(state);
    }
}

impl ScalarUDFImpl for Deployed {
    fn name(&self) -> &str {
        &self.function.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        let wanted = &self.function.arguments;
        let (types, sequence) = match types {
            [types @ .., sequence] if self.numbered => (types, Some(sequence)),
            types => (types, None),
        };
        if types.len() != wanted.len() {
            return plan_err!(
                "`{}` takes {} arguments, not {}. Call it as {}",
                self.function.name,
                wanted.len(),
                types.len(),
                self.function.form()
            );
        }
        let each = wanted.iter().zip(types).map(|(column, found)| {
            let wanted = data_type(&column.kind);
            if fits(&column.kind, &wanted, found) {
                return Ok(wanted);
            }
            plan_err!(
                "argument `{}` of `{}` is {}, not {found}. Write CAST(… AS …) around it",
                column.name,
                self.function.name,
                column.kind
            )
        });
        each.chain(sequence.cloned().map(Ok)).collect()
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(data_type(&self.function.returns))
    }

    fn return_field_from_args(&self, _: ReturnFieldArgs<'_>) -> Result<FieldRef> {
        let field = Field::new(&self.function.name, data_type(&self.function.returns), true);
        Ok(Arc::new(match self.function.returns {
            ColumnKind::Json => json(field),
            _ => field,
        }))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let arguments = self.arguments(&args)?;
        let sequences = match args.args.get(self.function.arguments.len()) {
            Some(sequences) => Some(sequences.to_array(args.number_rows)?),
            None => None,
        };
        let answers = Remembered::answers(&*self.function.run, &arguments)?;
        let cells = answers.iter().enumerate().map(|(row, answer)| {
            let cell = match answer {
                Ok(None) => Ok(Cell::Null),
                Ok(Some(value)) => self.cell(value),
                Err(why) => Err(why.clone()),
            };
            cell.map_err(|why| {
                let sequence = sequences.as_ref().and_then(|all| number(all, row));
                DataFusionError::External(Box::new(Rejected { why, sequence }))
            })
        });
        let cells = cells.collect::<Result<Vec<_>>>()?;
        let array = nested::array(&self.function.returns, &cells.iter().collect::<Vec<_>>())?;
        Ok(ColumnarValue::Array(array))
    }
}

impl Deployed {
    /// Whether it is called as the author of a statement calls it.
    pub(super) fn takes(&self, arguments: usize) -> bool {
        !self.numbered && arguments == self.function.arguments.len()
    }

    /// The same with the sequence of the row's message behind the arguments.
    pub(super) fn numbered(&self) -> Self {
        Self {
            numbered: true,
            ..self.clone()
        }
    }

    /// The arguments of each row as a JSON object.
    fn arguments(&self, args: &ScalarFunctionArgs) -> Result<Vec<Bytes>> {
        let rows = args.number_rows;
        let own = args.args.iter().take(self.function.arguments.len());
        let arrays = own.map(|argument| argument.to_array(rows));
        let arrays: Vec<ArrayRef> = arrays.collect::<Result<_>>()?;
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        let batch = RecordBatch::try_new_with_options(Arc::clone(&self.schema), arrays, &options)?;
        let printed = self.printer.rows(&batch);
        let (mut text, mut ends) = (Vec::new(), Vec::with_capacity(rows));
        for row in 0..rows {
            printed.put(row, &mut text).map_err(|why| {
                exec_datafusion_err!("argument of `{}`: {why}", self.function.name)
            })?;
            ends.push(text.len());
        }
        let text = Bytes::from(text);
        let starts = std::iter::once(0).chain(ends.iter().copied());
        Ok(starts
            .zip(&ends)
            .map(|(start, end)| text.slice(start..*end))
            .collect())
    }

    fn cell(&self, value: &[u8]) -> std::result::Result<Cell<'static>, Rejection> {
        let wrong = |why: String| {
            let reason = format!("`{}` answers {why}", self.function.name);
            let why = Rejection::new(&self.function.name, "bad_output", &reason);
            why.of_version(self.function.version)
        };
        let value: serde_json::Value =
            serde_json::from_slice(value).map_err(|error| wrong(format!("no JSON: {error}")))?;
        let cell = nested::fit(&value, &self.function.returns);
        cell.map(Cell::into_owned)
            .map_err(|why| wrong(format!("{} where {} is declared", why.found, why.expected)))
    }
}

/// Whether a value of one type is taken for an argument of another without being asked.
fn fits(kind: &ColumnKind, wanted: &DataType, found: &DataType) -> bool {
    match kind {
        _ if found == wanted || found.is_null() => true,
        ColumnKind::Int64 => found.is_integer(),
        ColumnKind::Float64 | ColumnKind::Decimal { .. } => found.is_numeric(),
        ColumnKind::String | ColumnKind::Json => found.is_string(),
        ColumnKind::Timestamp => matches!(found, DataType::Timestamp(..)),
        _ => false,
    }
}

/// A value of a column of whole numbers.
fn number(column: &ArrayRef, row: usize) -> Option<i64> {
    let numbers = column.as_primitive_opt::<Int64Type>()?;
    numbers.is_valid(row).then(|| numbers.value(row))
}

/// A function's rejection on its way through the planner's errors.
#[derive(Debug)]
struct Rejected {
    why: Rejection,
    /// Of the row's message, where it is known.
    sequence: Option<i64>,
}

impl fmt::Display for Rejected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Rejection { stage, version, .. } = &self.why;
        let name = stage.strip_prefix("function:").unwrap_or(stage);
        write!(f, "function `{name}`")?;
        if let Some(version) = version {
            write!(f, ", version {version},")?;
        }
        match self.sequence {
            Some(sequence) => write!(f, " fails on message {sequence}")?,
            None => f.write_str(" fails on a row")?,
        }
        write!(f, " with `{}`: {}", self.why.code, self.why.reason)
    }
}

impl std::error::Error for Rejected {}

fn rejected(error: &DataFusionError) -> Option<&Rejected> {
    let DataFusionError::External(error) = error.find_root() else {
        return None;
    };
    error.downcast_ref()
}

/// The refusal of a row that a function rejected.
pub(crate) fn refusal_of(error: &DataFusionError) -> Option<Refusal> {
    let Rejected { why, .. } = rejected(error)?;
    let reason = format!("{}: {}", why.stage, why.reason);
    let refusal = Refusal::new(why.code.clone(), reason, None);
    Some(Refusal {
        version: why.version,
        ..refusal
    })
}

/// What a function rejected, for who asks a question.
pub(crate) fn told_of_rejection(error: &DataFusionError) -> Option<String> {
    rejected(error).map(ToString::to_string)
}
