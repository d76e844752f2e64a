//! One row to many: a row for each element of its lists, within bounds.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, ListArray, UInt32Array};
use arrow::compute::{cast, take};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::record_batch::{RecordBatch, RecordBatchOptions};
use datafusion::common::{Result, exec_err, plan_err};
use datafusion::logical_expr::Unnest;

/// Most rows that one message becomes.
const MAX_ROWS: usize = 10_000;
/// Rows and bytes that a batch becomes at a time; one above it is run in parts, down to one message.
const MAX_BATCH: usize = 64 * 1024;
const MAX_BYTES: usize = 64 << 20;

/// Lists that are taken apart side by side; the shorter ones end in nulls. A row whose lists are all empty or null is gone.
#[derive(Debug)]
pub(crate) struct Spread {
    /// For each column of the answer the column it comes from, and whether that is a list to take apart.
    columns: Vec<(usize, bool)>,
    schema: SchemaRef,
}

impl Spread {
    pub(crate) fn new(unnest: &Unnest) -> Result<Self> {
        if !unnest.struct_type_columns.is_empty() {
            return plan_err!("`unnest` takes a list, not an object. Name its members: a.b");
        }
        if unnest
            .list_type_columns
            .iter()
            .any(|(_, list)| list.depth != 1)
        {
            return plan_err!(
                "`unnest` within `unnest` makes no messages. Write FROM message, UNNEST(a) AS b, UNNEST(b) AS c"
            );
        }
        let list = |from: &usize| {
            unnest
                .list_type_columns
                .iter()
                .any(|(list, _)| list == from)
        };
        let columns = unnest.dependency_indices.iter();
        let fields = unnest.schema.fields().iter();
        let fields = fields.map(|field| Field::new(field.name(), field.data_type().clone(), true));
        Ok(Self {
            columns: columns.map(|from| (*from, list(from))).collect(),
            schema: Arc::new(Schema::new(fields.collect::<Vec<_>>())),
        })
    }

    /// The rows that a batch becomes, and which of the old ones each was.
    ///
    /// # Errors
    /// More than a message, or a batch, may become.
    pub(crate) fn run(&self, batch: &RecordBatch) -> Result<(RecordBatch, Vec<usize>)> {
        let lists = self.columns.iter().map(|(from, is_list)| match is_list {
            true => list(batch.column(*from)).map(Some),
            false => Ok(None),
        });
        let lists = lists.collect::<Result<Vec<_>>>()?;
        let counts = self.counts(batch, &lists)?;
        let rows: Vec<usize> = counts
            .iter()
            .enumerate()
            .flat_map(|(row, count)| std::iter::repeat_n(row, *count))
            .collect();
        let number = |of: usize| u32::try_from(of).unwrap_or(u32::MAX);
        let repeated = UInt32Array::from_iter_values(rows.iter().map(|row| number(*row)));
        let columns = self
            .columns
            .iter()
            .zip(&lists)
            .map(|((from, _), list)| match list {
                None => Ok(take(batch.column(*from), &repeated, None)?),
                Some(list) => {
                    let elements = counts.iter().enumerate().flat_map(|(row, count)| {
                        let start = usize::try_from(list.value_offsets()[row]).unwrap_or(0);
                        let length = length(list, row);
                        (0..*count).map(move |at| (at < length).then_some(number(start + at)))
                    });
                    let elements: UInt32Array = elements.collect();
                    Ok(take(list.values(), &elements, None)?)
                }
            });
        let columns = columns.collect::<Result<Vec<ArrayRef>>>()?;
        let options = RecordBatchOptions::new().with_row_count(Some(rows.len()));
        let batch = RecordBatch::try_new_with_options(Arc::clone(&self.schema), columns, &options)?;
        Ok((batch, rows))
    }

    /// How many rows each row becomes.
    fn counts(&self, batch: &RecordBatch, lists: &[Option<ListArray>]) -> Result<Vec<usize>> {
        let longest = |row| lists.iter().flatten().map(|list| length(list, row)).max();
        let (mut rows, mut bytes) = (0_usize, 0_usize);
        let mut counts = Vec::with_capacity(batch.num_rows());
        for row in 0..batch.num_rows() {
            let count = longest(row).unwrap_or(0);
            if count > MAX_ROWS {
                return exec_err!(
                    "`unnest` makes {count} messages of one, at most {MAX_ROWS} are allowed"
                );
            }
            rows += count;
            let carried = self.columns.iter().filter(|(_, is_list)| !is_list);
            let size: usize = carried
                .map(|(from, _)| size(batch.column(*from), row))
                .sum();
            bytes = bytes.saturating_add(size.saturating_mul(count));
            counts.push(count);
        }
        if batch.num_rows() > 1 && rows > MAX_BATCH {
            return exec_err!("`unnest` makes {rows} messages of a batch");
        }
        if bytes > MAX_BYTES {
            return exec_err!(
                "`unnest` copies {bytes} bytes into its messages, at most {MAX_BYTES} are allowed"
            );
        }
        Ok(counts)
    }
}

fn list(array: &ArrayRef) -> Result<ListArray> {
    let list = match array.data_type() {
        DataType::List(_) => Arc::clone(array),
        DataType::LargeList(of) | DataType::FixedSizeList(of, _) => {
            cast(array, &DataType::List(Arc::clone(of)))?
        }
        other => return exec_err!("`unnest` of {other}"),
    };
    Ok(list.as_list::<i32>().clone())
}

fn length(list: &ListArray, row: usize) -> usize {
    if list.is_null(row) {
        return 0;
    }
    usize::try_from(list.value_length(row)).unwrap_or(0)
}

/// Bytes of a value, roughly.
fn size(array: &ArrayRef, row: usize) -> usize {
    let range = |offsets: &[i32]| {
        let at = |index: usize| {
            offsets
                .get(index)
                .map_or(0, |at| usize::try_from(*at).unwrap_or(0))
        };
        at(row)..at(row + 1)
    };
    match array.data_type() {
        DataType::Utf8 => range(array.as_string::<i32>().value_offsets()).len(),
        DataType::Utf8View => array.as_string_view().value(row).len(),
        DataType::List(_) => {
            let list = array.as_list::<i32>();
            range(list.value_offsets())
                .map(|element| size(list.values(), element))
                .sum()
        }
        DataType::Map(..) => {
            let map = array.as_map();
            let entry = |entry| size(map.keys(), entry) + size(map.values(), entry);
            range(map.value_offsets()).map(entry).sum()
        }
        DataType::Struct(_) => array
            .as_struct()
            .columns()
            .iter()
            .map(|part| size(part, row))
            .sum(),
        _ => 16,
    }
}
