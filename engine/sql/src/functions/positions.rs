//! `WITH ORDINALITY`: which element of its list one is.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Int64Builder, ListBuilder};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field};
use datafusion::common::Result;
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDFImpl, Signature, Volatility,
};

/// Its name, which no statement can write by chance.
pub(crate) const POSITIONS: &str = "_positions";

/// The numbers from 1 to the length of a list.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct Positions {
    signature: Signature,
}

impl Positions {
    pub(super) fn new() -> Self {
        Self {
            signature: Signature::any(1, Volatility::Immutable),
        }
    }
}

impl ScalarUDFImpl for Positions {
    fn name(&self) -> &str {
        POSITIONS
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::List(Arc::new(Field::new_list_field(
            DataType::Int64,
            true,
        ))))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let mut positions = ListBuilder::new(Int64Builder::new());
        for argument in args.args.iter().take(1) {
            let array = argument.to_array(args.number_rows)?;
            let lists: ArrayRef = match array.data_type() {
                DataType::List(_) => array,
                DataType::LargeList(of) | DataType::FixedSizeList(of, _) => {
                    cast(&array, &DataType::List(Arc::clone(of)))?
                }
                _ => cast(&array, &self.return_type(&[])?)?,
            };
            for list in lists.as_list::<i32>().iter() {
                let length = list.as_ref().map_or(0, |list| list.len());
                for position in 1..=i64::try_from(length).unwrap_or(i64::MAX) {
                    positions.values().append_value(position);
                }
                positions.append(list.is_some());
            }
        }
        Ok(ColumnarValue::Array(Arc::new(positions.finish())))
    }
}
