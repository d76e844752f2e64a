//! How large a schema may be, decided before any of it is compiled.

use serde_json::Value;

use crate::SchemaError;

/// Longest schema text in bytes.
pub const MAX_SCHEMA_BYTES: usize = 1 << 20;
/// Deepest nesting of objects and arrays in a schema.
pub const MAX_SCHEMA_DEPTH: usize = 64;
/// Most JSON values in a schema.
pub const MAX_SCHEMA_NODES: usize = 50_000;

/// Parses a schema text within the limits.
pub(crate) fn parse(text: &str) -> Result<Value, SchemaError> {
    if text.len() > MAX_SCHEMA_BYTES {
        return Err(SchemaError::TooLarge {
            size: text.len(),
            limit: MAX_SCHEMA_BYTES,
        });
    }
    let schema: Value = serde_json::from_str(text).map_err(|error| {
        let reason = error.to_string();
        // serde_json stops at 128 levels, before it would run out of stack.
        if reason.starts_with("recursion limit") {
            return SchemaError::TooDeep {
                limit: MAX_SCHEMA_DEPTH,
            };
        }
        let reason = reason
            .split(" at line ")
            .next()
            .unwrap_or_default()
            .to_owned();
        SchemaError::Syntax {
            reason,
            line: error.line(),
            column: error.column(),
        }
    })?;
    let mut nodes = 0;
    measure(&schema, 0, &mut nodes)?;
    Ok(schema)
}

fn measure(value: &Value, depth: usize, nodes: &mut usize) -> Result<(), SchemaError> {
    *nodes += 1;
    if *nodes > MAX_SCHEMA_NODES {
        return Err(SchemaError::TooMany {
            limit: MAX_SCHEMA_NODES,
        });
    }
    if depth > MAX_SCHEMA_DEPTH {
        return Err(SchemaError::TooDeep {
            limit: MAX_SCHEMA_DEPTH,
        });
    }
    match value {
        Value::Array(items) => items
            .iter()
            .try_for_each(|item| measure(item, depth + 1, nodes)),
        Value::Object(members) => members
            .values()
            .try_for_each(|member| measure(member, depth + 1, nodes)),
        _ => Ok(()),
    }
}
