//! Lists, structs, maps and dictionaries as JSON.

use arrow::array::{Array, AsArray};
use arrow::datatypes::DataType;

use super::{Writer, put, writer as value_writer};
use crate::catalog::is_json;

/// A writer for values that hold values.
pub(super) fn writer<'a>(array: &'a dyn Array) -> Writer<'a> {
    match array.data_type() {
        DataType::List(of) => {
            let list = array.as_list::<i32>();
            let offsets = list.value_offsets();
            elements((list.values().as_ref(), is_json(of)), move |row| {
                (offsets[row] as usize, offsets[row + 1] as usize)
            })
        }
        DataType::LargeList(of) => {
            let list = array.as_list::<i64>();
            let offsets = list.value_offsets();
            elements((list.values().as_ref(), is_json(of)), move |row| {
                (offsets[row] as usize, offsets[row + 1] as usize)
            })
        }
        DataType::FixedSizeList(of, size) => {
            let list = array.as_fixed_size_list();
            let size = usize::try_from(*size).unwrap_or(0);
            elements((list.values().as_ref(), is_json(of)), move |row| {
                (row * size, (row + 1) * size)
            })
        }
        DataType::Map(..) => map(array),
        DataType::Struct(_) => object(array),
        other => unreachable!("invariant: the compiler refuses {other}"),
    }
}

fn elements<'a>(
    (values, json): (&'a dyn Array, bool),
    range: impl Fn(usize) -> (usize, usize) + 'a,
) -> Writer<'a> {
    let write = value_writer(values, json);
    Box::new(move |row, out| {
        let (start, end) = range(row);
        out.push(b'[');
        for index in start..end {
            if index > start {
                out.push(b',');
            }
            write(index, out)?;
        }
        out.push(b']');
        Ok(())
    })
}

fn map(array: &dyn Array) -> Writer<'_> {
    let map = array.as_map();
    let json = match map.entries().fields().last() {
        Some(value) => is_json(value),
        None => false,
    };
    let name = value_writer(map.keys().as_ref(), false);
    let write = value_writer(map.values().as_ref(), json);
    let offsets = map.value_offsets();
    Box::new(move |row, out| {
        let (start, end) = (offsets[row] as usize, offsets[row + 1] as usize);
        out.push(b'{');
        for index in start..end {
            if index > start {
                out.push(b',');
            }
            name(index, out)?;
            out.push(b':');
            write(index, out)?;
        }
        out.push(b'}');
        Ok(())
    })
}

fn object(array: &dyn Array) -> Writer<'_> {
    let fields = array.as_struct();
    let members: Vec<_> = fields
        .fields()
        .iter()
        .zip(fields.columns())
        .map(|(field, column)| {
            let mut name = Vec::new();
            put(field.name(), &mut name);
            name.push(b':');
            (name, value_writer(column.as_ref(), is_json(field)))
        })
        .collect();
    Box::new(move |row, out| {
        out.push(b'{');
        for (index, (name, write)) in members.iter().enumerate() {
            if index > 0 {
                out.push(b',');
            }
            out.extend_from_slice(name);
            write(row, out)?;
        }
        out.push(b'}');
        Ok(())
    })
}

/// Values that are numbers into a table of values.
pub(super) fn dictionary(array: &dyn Array) -> Writer<'_> {
    let dictionary = array.as_any_dictionary();
    let keys = dictionary.normalized_keys();
    let write = value_writer(dictionary.values().as_ref(), false);
    Box::new(move |row, out| write(keys[row], out))
}
