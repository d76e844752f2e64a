//! Where results go: a table for people, in Markdown so that it can be pasted, or a JSON object per line; and back.

use std::fs::File;
use std::io::Write as _;
use std::path::Path;

use anyhow::{Context, Result};
use clap::ValueEnum;
use serde_json::{Map, Value, json};

use crate::stats::{say, short};

/// How results look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    /// Markdown tables.
    Table,
    /// One object per line; `table` names its table.
    Json,
}

/// Takes rows as they come. Rows of one table that follow each other have the same columns.
#[derive(Debug)]
pub(crate) struct Sink {
    output: Output,
    file: Option<File>,
    header: Vec<String>,
}

impl Sink {
    pub(crate) fn new(output: Output) -> Self {
        Self {
            output,
            file: None,
            header: Vec::new(),
        }
    }

    /// Also appends every row as JSON to this file.
    pub(crate) fn also(&mut self, path: &Path) -> Result<()> {
        let file = File::options().create(true).append(true).open(path);
        self.file = Some(file.with_context(|| format!("`{}`", path.display()))?);
        Ok(())
    }

    /// One row: an object of columns.
    pub(crate) fn row(&mut self, table: &str, columns: Value) -> Result<()> {
        let mut line = Map::new();
        line.insert("table".to_owned(), table.into());
        if let Value::Object(columns) = columns {
            line.extend(columns);
        }
        if let Some(file) = &mut self.file {
            writeln!(file, "{}", Value::Object(line.clone()))?;
        }
        match self.output {
            Output::Json => say(&Value::Object(line).to_string()),
            Output::Table => say(&self.markdown(&line)),
        }
        Ok(())
    }

    fn markdown(&mut self, line: &Map<String, Value>) -> String {
        let columns = || line.iter().filter(|(name, _)| *name != "table");
        let mut header: Vec<String> = vec![line["table"].as_str().unwrap_or("").to_owned()];
        header.extend(columns().map(|(name, _)| name.clone()));
        let join = |cells: Vec<String>| format!("| {} |", cells.join(" | "));
        let mut text = String::new();
        if header != self.header {
            let rule = vec!["---".to_owned(); header.len() - 1];
            text = format!(
                "\n**{}**\n\n{}\n{}\n",
                header[0],
                join(header[1..].to_vec()),
                join(rule).replace(' ', "")
            );
            self.header = header;
        }
        text + &join(columns().map(|(_, value)| cell(value)).collect())
    }
}

/// A value as people read it.
fn cell(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Number(number) => {
            let figure = number.as_f64().unwrap_or(0.0);
            match figure.abs() {
                size if size >= 10_000.0 => short(figure),
                // Two digits behind the point of hundreds of microseconds are noise.
                size if size >= 100.0 => format!("{figure:.0}"),
                _ if number.is_f64() => format!("{figure:.2}"),
                _ => number.to_string(),
            }
        }
        Value::Null => "-".to_owned(),
        other => other.to_string(),
    }
}

/// Three digits behind the point are more than any of this is worth.
pub(crate) fn round(figure: f64) -> Value {
    json!((figure * 1000.0).round() / 1000.0)
}

/// Median and the lowest and highest, as two columns' values.
pub(crate) fn ratio(figures: Vec<f64>) -> (Value, Value) {
    let (median, low, high) = crate::stats::spread(figures);
    (round(median), format!("{low:.2}-{high:.2}").into())
}

/// Writes the tables of a file of JSON lines.
pub(crate) fn rebuild(path: &Path) -> Result<()> {
    let text = std::fs::read_to_string(path)
        .with_context(|| format!("cannot read `{}`", path.display()))?;
    let mut sink = Sink::new(Output::Table);
    for line in text.lines().filter(|line| !line.trim().is_empty()) {
        let line: Map<String, Value> =
            serde_json::from_str(line).with_context(|| format!("`{line}` is not a result"))?;
        if line.contains_key("table") {
            say(&sink.markdown(&line));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{Output, Sink};

    #[test]
    fn a_table_has_one_header() {
        let mut sink = Sink::new(Output::Table);
        let mut line = |value: serde_json::Value| sink.markdown(value.as_object().expect("object"));
        let first = line(json!({ "table": "t", "case": "a", "rate": 1_234_567.0, "n": 3 }));
        assert_eq!(
            first,
            "\n**t**\n\n| case | rate | n |\n|---|---|---|\n| a | 1.23 M | 3 |"
        );
        let second = line(json!({ "table": "t", "case": "b", "rate": 0.5, "n": null }));
        assert_eq!(second, "| b | 0.50 | - |");
        let other = line(json!({ "table": "u", "case": "b" }));
        assert!(other.starts_with("\n**u**"), "{other}");
    }
}
