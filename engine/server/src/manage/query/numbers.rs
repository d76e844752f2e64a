//! What `/metrics` shows, a row per number.

use serde_json::{Map, Value, json};

use super::super::Manager;

pub(super) fn rows(manager: &Manager) -> Vec<Value> {
    let text = manager.metrics.text(manager);
    text.lines().filter_map(row).collect()
}

/// `name{label="value",…} number`; comments are none.
fn row(line: &str) -> Option<Value> {
    if line.starts_with('#') {
        return None;
    }
    let (series, number) = line.rsplit_once(' ')?;
    let (name, labels) = match series.split_once('{') {
        Some((name, rest)) => (name, labels(rest.strip_suffix('}')?)?),
        None => (series, Map::new()),
    };
    let value: f64 = number.parse().ok()?;
    Some(json!({ "name": name, "labels": labels, "value": value }))
}

/// Values are in quotes, in which `\\`, `\"` and `\n` stand for what they would end.
fn labels(text: &str) -> Option<Map<String, Value>> {
    let mut labels = Map::new();
    let mut rest = text;
    while !rest.is_empty() {
        let (name, behind) = rest.split_once("=\"")?;
        let mut value = String::new();
        let mut chars = behind.char_indices();
        let end = loop {
            match chars.next()? {
                (at, '"') => break at + 1,
                (_, '\\') => match chars.next()?.1 {
                    'n' => value.push('\n'),
                    other => value.push(other),
                },
                (_, plain) => value.push(plain),
            }
        };
        labels.insert(name.to_owned(), value.into());
        rest = behind[end..].trim_start_matches(',');
    }
    Some(labels)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_become_rows() {
        for (line, want) in [
            ("# HELP a b", None),
            (
                "a_total 3",
                Some(json!({ "name": "a_total", "labels": {}, "value": 3.0 })),
            ),
            (
                r#"b{x="1, \"2\"",y="a\nb}"} 0.5"#,
                Some(
                    json!({ "name": "b", "labels": { "x": "1, \"2\"", "y": "a\nb}" }, "value": 0.5 }),
                ),
            ),
            ("b{x=\"1} 0.5", None),
        ] {
            assert_eq!(row(line), want, "{line}");
        }
    }
}
