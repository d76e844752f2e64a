//! How many schemas apply to one value in a chain, each reached from the one before.
//!
//! The validator recurses once for each link of such a chain (`$ref`, `allOf`, `not` …) and once for each level of the
//! document, so the stack it needs is the longest chain times the depth of the document. Documents are bounded by the JSON
//! parser (128 levels); this bounds the chains. A reference that leads back to itself without going deeper into the document
//! says nothing and counts as an endless chain.

use std::collections::HashMap;

use serde_json::Value;

use super::documents::Documents;
use super::references::Index;
use crate::SchemaError;

/// Longest chain allowed. Measured: twice as much times 127 levels of document fits a 2 MiB stack in an unoptimised build.
const MAX_CHAIN: usize = 32;

/// Refuses a schema with a chain longer than [`MAX_CHAIN`].
pub(super) fn check(documents: &Documents) -> Result<(), SchemaError> {
    let index = Index::new(documents);
    let mut known = HashMap::new();
    documents
        .all()
        .try_for_each(|(name, document)| check_all(&index, document, name.to_owned(), &mut known))
}

/// Chain lengths by the address of the schema's value, which stays put while the document is borrowed.
type Known = HashMap<*const Value, usize>;

fn check_all<'a>(
    index: &Index<'a>,
    value: &'a Value,
    path: String,
    known: &mut Known,
) -> Result<(), SchemaError> {
    if chain(index, value, 0, known).is_none() {
        let path = if path.is_empty() {
            "/".to_owned()
        } else {
            path
        };
        return Err(SchemaError::TooEntangled {
            path,
            limit: MAX_CHAIN,
        });
    }
    match value {
        Value::Object(members) => members.iter().try_for_each(|(name, member)| {
            let name = name.replace('~', "~0").replace('/', "~1");
            check_all(index, member, format!("{path}/{name}"), known)
        }),
        Value::Array(items) => items
            .iter()
            .enumerate()
            .try_for_each(|(at, item)| check_all(index, item, format!("{path}/{at}"), known)),
        _ => Ok(()),
    }
}

/// Links in the longest chain that starts at `schema`; `None` when there are too many.
fn chain<'a>(
    index: &Index<'a>,
    schema: &'a Value,
    above: usize,
    known: &mut Known,
) -> Option<usize> {
    let Value::Object(keywords) = schema else {
        return Some(0);
    };
    if let Some(length) = known.get(&std::ptr::from_ref(schema)) {
        return (above + length <= MAX_CHAIN).then_some(*length);
    }
    if above > MAX_CHAIN {
        return None;
    }
    let mut longest = 0;
    for (keyword, inner) in keywords {
        for next in index.next(keyword, inner) {
            longest = longest.max(chain(index, next, above + 1, known)? + 1);
        }
    }
    known.insert(schema, longest);
    Some(longest)
}
