//! Functions of one row that DataFusion does not have, or not bounded.

mod bounded;
mod calls;
mod deployed;
mod headers;
pub(crate) mod json;
mod known;
mod positions;
mod remembered;

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, StringArray};
use arrow::compute::cast;
use arrow::datatypes::DataType;
use datafusion::common::Result;
use datafusion::execution::SessionStateDefaults;
use datafusion::logical_expr::{ColumnarValue, ScalarUDF};

pub(crate) use calls::{deployed_calls, with_sequences};
pub(crate) use deployed::{NONE_DEPLOYED, refusal_of, told_of_rejection};
pub use deployed::{SqlFunction, SqlFunctions};
pub(crate) use known::{Functions, Provider, Sources};
pub(crate) use positions::POSITIONS;
pub(crate) use remembered::Remembered;

/// Functions that read the file being scanned, for there is none, and those that make as many values of nothing as a number
/// says: one row would take all memory there is.
const NO_FUNCTIONS: [&str; 6] = [
    "input_file_name",
    "file_row_index",
    "range",
    "generate_series",
    "array_repeat",
    "array_resize",
];

/// The functions of one row that a statement may call.
pub(crate) fn scalar_functions() -> Vec<Arc<ScalarUDF>> {
    let mut functions = SessionStateDefaults::default_scalar_functions();
    functions.retain(|function| !NO_FUNCTIONS.contains(&function.name()));
    let mut functions: Vec<_> = functions.into_iter().map(bounded::bounded).collect();
    functions.extend(json::functions());
    functions.push(Arc::new(ScalarUDF::from(headers::SetHeader::new())));
    functions
}

/// What only statements that were rewritten call.
pub(crate) fn positions() -> Arc<ScalarUDF> {
    Arc::new(ScalarUDF::from(positions::Positions::new()))
}

/// An argument as texts, one for each row.
fn texts(argument: &ColumnarValue, rows: usize) -> Result<StringArray> {
    let array = argument.to_array(rows)?;
    let array: ArrayRef = match array.data_type() {
        DataType::Utf8 => array,
        _ => cast(&array, &DataType::Utf8)?,
    };
    Ok(array.as_string::<i32>().clone())
}
