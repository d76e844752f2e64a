//! Values in words, short enough for a log line.

use serde_json::Value;

/// Longest rendering of a value, in characters.
const MAX_SHOWN: usize = 64;

/// `null`, `integer 5`, `string "abc"`, `array of 3 items`, `object with 2 properties`.
pub(crate) fn describe(value: &Value) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::Bool(value) => format!("boolean {value}"),
        Value::Number(number) if number.is_f64() => format!("number {number}"),
        Value::Number(number) => format!("integer {number}"),
        Value::String(_) => format!("string {}", shown(value)),
        Value::Array(items) => format!("array of {}", counted(items.len(), "item", "items")),
        Value::Object(members) => {
            format!(
                "object with {}",
                counted(members.len(), "property", "properties")
            )
        }
    }
}

/// The value as JSON, cut after 64 characters.
pub(crate) fn shown(value: &Value) -> String {
    // A string may be megabytes long: cut it before it is quoted.
    let text = match value {
        Value::String(text) => Value::from(cut(text, MAX_SHOWN)).to_string(),
        _ => value.to_string(),
    };
    cut(&text, MAX_SHOWN + 2)
}

/// `1 item`, `2 items`.
pub(crate) fn counted(count: usize, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}

/// At most `max` characters of `text`, with `…` where something is missing.
pub(crate) fn cut(text: &str, max: usize) -> String {
    match text.char_indices().nth(max) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// `a`, `a or b`, `a, b or c`, with `…` after the sixth.
pub(crate) fn either(words: &[String]) -> String {
    match words {
        [] => "nothing".to_owned(),
        [one] => one.clone(),
        [first @ .., last] if words.len() <= 6 => format!("{} or {last}", first.join(", ")),
        _ => format!("{}, …", words[..6].join(", ")),
    }
}
