//! A message's subject, headers and key from a row.

use arrow::array::{Array, AsArray};
use arrow::datatypes::DataType;
use bytes::Bytes;
use millstream_pipeline::block;
use millstream_types::check_subject;

/// A text; nothing for null.
pub(super) fn text(array: &dyn Array, row: usize) -> Option<String> {
    if array.is_null(row) {
        return None;
    }
    let text = match array.data_type() {
        DataType::Utf8 => array.as_string::<i32>().value(row),
        DataType::LargeUtf8 => array.as_string::<i64>().value(row),
        DataType::Utf8View => array.as_string_view().value(row),
        _ => return None,
    };
    Some(text.to_owned())
}

/// A literal subject.
pub(super) fn subject(array: &dyn Array, row: usize) -> Result<Bytes, String> {
    let Some(text) = text(array, row) else {
        return Err("`_subject` is NULL".to_owned());
    };
    check_subject(text.as_bytes()).map_err(|why| format!("`_subject` is `{text}`: {why}"))?;
    Ok(Bytes::from(text))
}

/// A block of headers; those whose value is null are left out.
pub(super) fn headers(array: &dyn Array, row: usize) -> Result<Bytes, String> {
    let Some(map) = array.as_map_opt().filter(|map| map.is_valid(row)) else {
        return Ok(Bytes::new());
    };
    let entries = map.value(row);
    let (names, values) = (entries.column(0), entries.column(1));
    let pairs = (0..entries.len()).filter_map(|entry| {
        let name = text(names.as_ref(), entry).unwrap_or_default();
        Some((name, text(values.as_ref(), entry)?))
    });
    let pairs: Vec<(String, String)> = pairs.collect();
    if pairs.is_empty() {
        return Ok(Bytes::new());
    }
    let each = pairs
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()));
    block(each).map_err(|why| format!("`_headers` has {why}"))
}
