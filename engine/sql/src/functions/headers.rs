//! `set_header(_headers, name, value)`: the headers with one changed.

use std::sync::Arc;

use arrow::array::{Array, AsArray, MapBuilder, StringBuilder};
use arrow::datatypes::DataType;
use datafusion::common::{Result, plan_err};
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDFImpl, Signature, Volatility,
};

use super::texts;
use crate::catalog::{entry_names, headers};

/// A map of texts with one entry set, or without it where the value is NULL.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct SetHeader {
    signature: Signature,
}

impl SetHeader {
    pub(super) fn new() -> Self {
        Self {
            signature: Signature::user_defined(Volatility::Immutable),
        }
    }
}

impl ScalarUDFImpl for SetHeader {
    fn name(&self) -> &'static str {
        "set_header"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        match types {
            [map @ DataType::Map(..), _, _] if *map == headers() => {
                Ok(vec![headers(), DataType::Utf8, DataType::Utf8])
            }
            _ => plan_err!(
                "`set_header` takes headers, a name and a value. Write set_header(_headers, 'Name', 'value')"
            ),
        }
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(headers())
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let rows = args.number_rows;
        let [maps, names, values] = args.args.as_slice() else {
            return plan_err!("`set_header` takes three arguments");
        };
        let maps = maps.to_array(rows)?;
        let maps = maps.as_map();
        let (names, values) = (texts(names, rows)?, texts(values, rows)?);
        let mut set = MapBuilder::new(
            Some(entry_names()),
            StringBuilder::new(),
            StringBuilder::new(),
        );
        for row in 0..rows {
            let name = if names.is_null(row) {
                ""
            } else {
                names.value(row)
            };
            if maps.is_valid(row) {
                let entries = maps.value(row);
                let (keys, old) = (entries.column(0).as_string::<i32>(), entries.column(1));
                let old = old.as_string::<i32>();
                for entry in 0..entries.len() {
                    if keys.value(entry) != name {
                        set.keys().append_value(keys.value(entry));
                        set.values()
                            .append_option(old.is_valid(entry).then(|| old.value(entry)));
                    }
                }
            }
            if !name.is_empty() && values.is_valid(row) {
                set.keys().append_value(name);
                set.values().append_value(values.value(row));
            }
            set.append(true)?;
        }
        Ok(ColumnarValue::Array(Arc::new(set.finish())))
    }
}
