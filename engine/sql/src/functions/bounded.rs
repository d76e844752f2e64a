//! Functions whose answer, or whose work, is far larger than what they are given: within bounds, or the row's error.

use std::sync::Arc;

use arrow::array::{Array, AsArray, StringArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, FieldRef, Int64Type};
use datafusion::common::{Result, exec_err};
use datafusion::logical_expr::{
    ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
};

use super::texts;

/// Most bytes that such a function makes of a batch; a batch above it is run in parts, down to one message.
const MAX_BYTES: u64 = 16 << 20;
/// Most pairs of letters that are compared.
const MAX_PAIRS: u64 = 64 << 20;

/// What bounds a function.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Bound {
    /// The text, as often as the number says.
    Times,
    /// As many letters as the number says.
    Length,
    /// The replacement, for each place where the second text stands.
    Replaced,
    /// The replacement, for each letter.
    ReplacedAll,
    /// One text's letters with each of the other's.
    Pairs,
}

/// The function itself, or within bounds.
pub(super) fn bounded(function: Arc<ScalarUDF>) -> Arc<ScalarUDF> {
    let bound = match function.name() {
        "repeat" => Bound::Times,
        "lpad" | "rpad" => Bound::Length,
        "replace" => Bound::Replaced,
        "regexp_replace" => Bound::ReplacedAll,
        "levenshtein" => Bound::Pairs,
        _ => return function,
    };
    Arc::new(ScalarUDF::from(Bounded { function, bound }))
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Bounded {
    function: Arc<ScalarUDF>,
    bound: Bound,
}

impl Bounded {
    fn check(&self, args: &ScalarFunctionArgs) -> Result<()> {
        let rows = args.number_rows;
        let arguments = args.args.as_slice();
        let (Some(first), Some(second)) = (arguments.first(), arguments.get(1)) else {
            return Ok(());
        };
        let (size, most) = match self.bound {
            Bound::Times => {
                let texts = texts(first, rows)?;
                let each = numbers(second, rows)?;
                (sum(rows, |row| length(&texts, row) * each(row)), MAX_BYTES)
            }
            Bound::Length => {
                let each = numbers(second, rows)?;
                // UTF-8 has at most four bytes for a letter.
                (sum(rows, |row| each(row).saturating_mul(4)), MAX_BYTES)
            }
            Bound::Replaced => {
                let (texts, parts) = (texts(first, rows)?, texts(second, rows)?);
                let by = arguments
                    .get(2)
                    .map(|by| super::texts(by, rows))
                    .transpose()?;
                let count = |row: usize| {
                    if texts.is_null(row) || parts.is_null(row) {
                        return 0;
                    }
                    texts.value(row).matches(parts.value(row)).count() as u64
                };
                let by = |row| by.as_ref().map_or(0, |by| length(by, row));
                (sum(rows, |row| by(row) * count(row)), MAX_BYTES)
            }
            Bound::ReplacedAll => {
                let texts = texts(first, rows)?;
                let by = arguments
                    .get(2)
                    .map(|by| super::texts(by, rows))
                    .transpose()?;
                let by = |row| by.as_ref().map_or(0, |by| length(by, row));
                (
                    sum(rows, |row| by(row) * (length(&texts, row) + 1)),
                    MAX_BYTES << 2,
                )
            }
            Bound::Pairs => {
                let (one, other) = (texts(first, rows)?, texts(second, rows)?);
                (
                    sum(rows, |row| length(&one, row) * length(&other, row)),
                    MAX_PAIRS,
                )
            }
        };
        if size > most {
            return exec_err!(
                "`{}` would work on {size} bytes here, at most {most} are allowed",
                self.function.name()
            );
        }
        Ok(())
    }
}

fn length(texts: &StringArray, row: usize) -> u64 {
    if texts.is_null(row) {
        return 0;
    }
    u64::try_from(texts.value_length(row)).unwrap_or(0)
}

fn sum(rows: usize, of: impl Fn(usize) -> u64) -> u64 {
    (0..rows).map(of).fold(0, u64::saturating_add)
}

fn numbers(argument: &ColumnarValue, rows: usize) -> Result<impl Fn(usize) -> u64> {
    let array = cast(&argument.to_array(rows)?, &DataType::Int64)?;
    let array = array.as_primitive::<Int64Type>().clone();
    Ok(move |row: usize| {
        let number = array.is_valid(row).then(|| array.value(row));
        // Beyond what fits the bound by far, so that products do not overflow.
        let number = number.and_then(|number| u64::try_from(number).ok());
        number.unwrap_or(0).min(u64::from(u32::MAX))
    })
}

impl ScalarUDFImpl for Bounded {
    fn name(&self) -> &str {
        self.function.name()
    }

    fn aliases(&self) -> &[String] {
        self.function.aliases()
    }

    fn signature(&self) -> &Signature {
        self.function.signature()
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        self.function.return_type(types)
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs<'_>) -> Result<FieldRef> {
        self.function.return_field_from_args(args)
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        self.function.coerce_types(types)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        self.check(&args)?;
        self.function.invoke_with_args(args)
    }
}
