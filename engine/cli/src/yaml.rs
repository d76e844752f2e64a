//! JSON values as YAML that reads back to the same values.

use serde_json::{Map, Value};

#[cfg(test)]
mod tests;

/// The value as a YAML document, ending with a line end.
pub(crate) fn to_yaml(value: &Value) -> String {
    let mut out = String::new();
    match value {
        Value::Object(map) if !map.is_empty() => object(map, 0, &mut out),
        Value::Array(items) if !items.is_empty() => array(items, 0, &mut out),
        single => {
            out.push_str(&scalar(single));
            out.push('\n');
        }
    }
    out
}

fn object(map: &Map<String, Value>, indent: usize, out: &mut String) {
    for (index, (key, value)) in map.iter().enumerate() {
        // The first key of an object in a list stands behind its dash.
        if index > 0 || out.is_empty() || out.ends_with('\n') {
            out.push_str(&" ".repeat(indent));
        }
        out.push_str(&word(key));
        out.push(':');
        match value {
            Value::Object(inner) if !inner.is_empty() => {
                out.push('\n');
                object(inner, indent + 2, out);
            }
            Value::Array(items) if !items.is_empty() => {
                out.push('\n');
                array(items, indent + 2, out);
            }
            Value::String(text) if is_block(text) => block(text, indent + 2, out),
            single => {
                out.push(' ');
                out.push_str(&scalar(single));
                out.push('\n');
            }
        }
    }
}

fn array(items: &[Value], indent: usize, out: &mut String) {
    for item in items {
        out.push_str(&" ".repeat(indent));
        out.push_str("- ");
        match item {
            Value::Object(inner) if !inner.is_empty() => object(inner, indent + 2, out),
            Value::Array(inner) if !inner.is_empty() => {
                out.truncate(out.len() - 1);
                out.push('\n');
                array(inner, indent + 2, out);
            }
            single => {
                out.push_str(&scalar(single));
                out.push('\n');
            }
        }
    }
}

/// Several lines that need no escapes are shown as they are, below a `|`.
fn is_block(text: &str) -> bool {
    text.ends_with('\n')
        && text.trim_end_matches('\n').contains('\n')
        && !text.ends_with("\n\n")
        && !text.starts_with([' ', '\n'])
        && text
            .chars()
            .all(|c| c == '\n' || (!c.is_control() && c != '\u{feff}' && !is_break(c)))
        && text
            .lines()
            .all(|line| line.is_empty() || !line.trim().is_empty())
}

fn block(text: &str, indent: usize, out: &mut String) {
    out.push_str(" |\n");
    for line in text.lines() {
        if !line.is_empty() {
            out.push_str(&" ".repeat(indent));
            out.push_str(line);
        }
        out.push('\n');
    }
}

fn scalar(value: &Value) -> String {
    match value {
        Value::String(text) => word(text),
        Value::Object(_) => "{}".to_owned(),
        Value::Array(_) => "[]".to_owned(),
        other => other.to_string(),
    }
}

/// A text without quotes where no reader could take it for something else, otherwise in JSON's
/// quotes, which YAML shares.
pub(crate) fn word(text: &str) -> String {
    let first = text
        .chars()
        .next()
        .is_some_and(|c| c.is_ascii_alphabetic() || matches!(c, '_' | '/'));
    let rest = text.chars().all(|c| {
        c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | '/' | ' ' | '>' | '(' | ')')
    });
    let words = ["true", "false", "null", "yes", "no", "on", "off", "y", "n"];
    let reserved = words.contains(&text.to_ascii_lowercase().as_str());
    if first && rest && !reserved && !text.ends_with(' ') {
        return text.to_owned();
    }
    let quoted = Value::String(text.to_owned()).to_string();
    // JSON leaves these as they are; YAML does not.
    quoted
        .chars()
        .map(|c| {
            if must_escape(c) {
                format!("\\u{:04x}", u32::from(c))
            } else {
                c.to_string()
            }
        })
        .collect()
}

fn must_escape(c: char) -> bool {
    c == '\u{feff}'
        || c == '\u{7f}'
        || is_break(c)
        || ('\u{80}'..='\u{9f}').contains(&c)
        || matches!(c, '\u{fffe}' | '\u{ffff}')
}

fn is_break(c: char) -> bool {
    matches!(c, '\u{85}' | '\u{2028}' | '\u{2029}')
}
