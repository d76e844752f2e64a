//! Deployed functions that SQL calls: one call for a batch, a value or an error for each row.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use arrow::array::ArrayRef;
use arrow::datatypes::{DataType, Field, FieldRef, Schema};
use arrow::record_batch::{RecordBatch, RecordBatchOptions};
use bytes::Bytes;
use datafusion::common::{DataFusionError, Result, exec_datafusion_err, plan_err};
use datafusion::logical_expr::{
    ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
    Volatility,
};
use millstream_pipeline::{Column, ColumnKind, Rejection, RowFunction};

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
    /// Who runs it.
    pub run: Arc<dyn RowFunction>,
}

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
            printer: Printer::new(&outputs),
            schema: Arc::new(Schema::new(fields.collect::<Vec<_>>())),
            signature: Signature::user_defined(Volatility::Volatile),
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

#[derive(Debug)]
struct Deployed {
    function: SqlFunction,
    printer: Printer,
    schema: Arc<Schema>,
    signature: Signature,
}

impl PartialEq for Deployed {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.function.run, &other.function.run)
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
        each.collect()
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
        let answers = Remembered::answers(&*self.function.run, &arguments)?;
        let cells = answers.iter().map(|answer| match answer {
            Ok(None) => Ok(Cell::Null),
            Ok(Some(value)) => self.cell(value),
            Err(why) => Err(external(why)),
        });
        let cells = cells.collect::<Result<Vec<_>>>()?;
        let array = nested::array(&self.function.returns, &cells.iter().collect::<Vec<_>>())?;
        Ok(ColumnarValue::Array(array))
    }
}

impl Deployed {
    /// The arguments of each row as a JSON object.
    fn arguments(&self, args: &ScalarFunctionArgs) -> Result<Vec<Bytes>> {
        let rows = args.number_rows;
        let arrays = args.args.iter().map(|argument| argument.to_array(rows));
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

    fn cell(&self, value: &[u8]) -> Result<Cell<'static>> {
        let wrong = |why: String| {
            let reason = format!("`{}` answers {why}", self.function.name);
            external(&Rejection::new(&self.function.name, "bad_output", &reason))
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

/// What a function said of the arguments of a batch, so that a batch which is run in parts asks once.
#[derive(Debug)]
pub(crate) struct Remembered(());

type Answer = std::result::Result<Option<Bytes>, Rejection>;

thread_local! {
    /// `None` outside of batches. Keyed by who runs the function, and the arguments.
    static ANSWERS: RefCell<Option<HashMap<(usize, Bytes), Answer>>> = const { RefCell::new(None) };
}

impl Remembered {
    /// Until this is dropped, on this thread.
    pub(crate) fn for_batch() -> Self {
        ANSWERS.set(Some(HashMap::new()));
        Self(())
    }

    fn answers(run: &dyn RowFunction, arguments: &[Bytes]) -> Result<Vec<Answer>> {
        let who = std::ptr::from_ref(run).cast::<()>().addr();
        let mut known = ANSWERS.take();
        let batch = known.is_some();
        let mut own = known.take().unwrap_or_default();
        let mut asked = Vec::new();
        for argument in arguments {
            let key = (who, argument.clone());
            if let std::collections::hash_map::Entry::Vacant(vacant) = own.entry(key) {
                vacant.insert(Ok(None));
                asked.push(argument.clone());
            }
        }
        if !asked.is_empty() {
            let answers = run.call(asked.clone());
            if answers.len() != asked.len() {
                return Err(exec_datafusion_err!(
                    "function answers {} of {} rows",
                    answers.len(),
                    asked.len()
                ));
            }
            own.extend(
                asked
                    .into_iter()
                    .map(|argument| (who, argument))
                    .zip(answers),
            );
        }
        let missing = || Ok(None);
        let each = arguments.iter().map(|argument| {
            own.get(&(who, argument.clone()))
                .cloned()
                .unwrap_or_else(missing)
        });
        let answers = each.collect();
        if batch {
            ANSWERS.set(Some(own));
        }
        Ok(answers)
    }
}

impl Drop for Remembered {
    fn drop(&mut self) {
        ANSWERS.set(None);
    }
}

/// A function's rejection on its way through the planner's errors.
#[derive(Debug)]
struct Rejected {
    code: String,
    reason: String,
}

impl fmt::Display for Rejected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.reason)
    }
}

impl std::error::Error for Rejected {}

fn external(why: &Rejection) -> DataFusionError {
    DataFusionError::External(Box::new(Rejected {
        code: why.code.clone(),
        reason: format!("{}: {}", why.stage, why.reason),
    }))
}

/// The refusal of a row that a function rejected.
pub(crate) fn refusal_of(error: &DataFusionError) -> Option<Refusal> {
    let DataFusionError::External(error) = error.find_root() else {
        return None;
    };
    let rejected = error.downcast_ref::<Rejected>()?;
    Some(Refusal::new(
        rejected.code.clone(),
        rejected.reason.clone(),
        None,
    ))
}
