//! Results as they come.

use serde_json::{Map, Value};

use super::super::How;
use super::super::shown::{in_words, plain};
use crate::args::Format;
use crate::console::Console;
use crate::error::CliError;
use crate::yaml::to_yaml;

/// Rows that are drawn at once, at most.
const BLOCK: usize = 1000;

/// The column that says how a result changes, and the one of its subject.
const OP: &str = "op";
const SUBJECT: &str = "_subject";

/// Results in the form asked for.
pub(super) struct Rows {
    csv: bool,
    format: Format,
    /// The columns of the results.
    names: Vec<String>,
    changes: bool,
    subjects: bool,
    /// Rows of a table that are still to be drawn, and the widths of those that were.
    waiting: Vec<Vec<String>>,
    widths: Vec<usize>,
    /// All that came.
    pub(super) count: u64,
}

impl Rows {
    pub(super) fn new(how: &How) -> Self {
        Self {
            csv: how.csv,
            format: how.format,
            names: Vec::new(),
            changes: false,
            subjects: false,
            waiting: Vec::new(),
            widths: Vec::new(),
            count: 0,
        }
    }

    /// What the answer says of its rows.
    pub(super) fn head(&mut self, head: &Value) {
        let columns = head["columns"].as_array().into_iter().flatten();
        let name = |column: &Value| column["name"].as_str().unwrap_or_default().to_owned();
        self.names = columns.map(name).collect();
        self.changes = head["updating"] == true;
        self.subjects = head["subjects"] == true;
    }

    pub(super) fn waits(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// A result that changes, as `{"op", "before", "after"}`.
    pub(super) fn change(
        &mut self,
        mut change: Map<String, Value>,
        subject: &Value,
        console: &mut Console<'_>,
    ) -> Result<(), CliError> {
        if !self.csv && self.format != Format::Table {
            return self.object(change, subject, console);
        }
        let op = change[OP].as_str().unwrap_or_default().to_owned();
        let side = if op == "delete" { "before" } else { "after" };
        match change.remove(side) {
            Some(Value::Object(row)) => self.row(&op, row, subject, console),
            _ => Ok(()),
        }
    }

    /// A result.
    pub(super) fn row(
        &mut self,
        op: &str,
        row: Map<String, Value>,
        subject: &Value,
        console: &mut Console<'_>,
    ) -> Result<(), CliError> {
        if !self.csv && self.format != Format::Table {
            return self.object(row, subject, console);
        }
        self.count += 1;
        let shown = if self.csv { plain } else { in_words };
        let mut cells = Vec::with_capacity(self.names.len() + 2);
        cells.extend(self.changes.then(|| op.to_owned()));
        let values = self.names.iter().map(|name| row.get(name));
        cells.extend(values.map(|value| shown(value.unwrap_or(&Value::Null))));
        cells.extend(self.subjects.then(|| shown(subject)));
        self.waiting.push(cells);
        match self.waiting.len() >= BLOCK {
            true => self.flush(console),
            false => Ok(()),
        }
    }

    fn object(
        &mut self,
        mut row: Map<String, Value>,
        subject: &Value,
        console: &mut Console<'_>,
    ) -> Result<(), CliError> {
        self.count += 1;
        if self.subjects {
            row.insert(SUBJECT.to_owned(), subject.clone());
        }
        match self.format {
            Format::Yaml => console.text(&format!("---\n{}", to_yaml(&row.into()))),
            _ => console.line(&Value::from(row).to_string()),
        }
    }

    fn header(&self) -> Vec<String> {
        let names = self.names.iter().map(String::as_str);
        let names = self.changes.then_some(OP).into_iter().chain(names);
        let names = names.chain(self.subjects.then_some(SUBJECT));
        names.map(str::to_owned).collect()
    }

    /// Shows what waits, below the names of the columns the first time.
    pub(super) fn flush(&mut self, console: &mut Console<'_>) -> Result<(), CliError> {
        if self.waiting.is_empty() {
            return Ok(());
        }
        console.progress_done()?;
        let mut rows = std::mem::take(&mut self.waiting);
        if self.widths.is_empty() {
            rows.insert(0, self.header());
        }
        self.widths.resize(rows[0].len(), 0);
        for row in &rows {
            for (cell, width) in row.iter().zip(&mut self.widths) {
                *width = cell.chars().count().max(*width);
            }
        }
        if self.csv {
            let mut writer = csv::Writer::from_writer(&mut *console.out);
            for row in &rows {
                writer.write_record(row).map_err(std::io::Error::other)?;
            }
            writer.flush()?;
            return Ok(());
        }
        for row in &rows {
            let cells = row.iter().zip(&self.widths);
            let padded: Vec<String> = cells
                .map(|(cell, width)| format!("{cell:<width$}"))
                .collect();
            console.line(padded.join("  ").trim_end())?;
        }
        Ok(console.out.flush()?)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::super::How;
    use super::Rows;
    use crate::args::Format;
    use crate::console::Console;

    fn shown(csv: bool, format: Format, updating: bool, lines: &[Value]) -> String {
        let how = How {
            csv,
            format,
            expanded: false,
            timeout: None,
        };
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let mut input: &[u8] = b"";
        let mut console = Console {
            out: &mut out,
            err: &mut err,
            input: &mut input,
            terminal: false,
            typed: false,
            variables: &|_| None,
        };
        let mut rows = Rows::new(&how);
        rows.head(
            &json!({ "columns": [{ "name": "a" }, { "name": "n" }], "updating": updating,
            "subjects": updating }),
        );
        for line in lines {
            let Value::Object(object) = line.clone() else {
                panic!("an object");
            };
            let subject = json!("out.x");
            match updating {
                true => rows.change(object, &subject, &mut console),
                false => rows.row("", object, &subject, &mut console),
            }
            .expect("shown");
            rows.flush(&mut console).expect("shown");
        }
        assert_eq!(rows.count, lines.len() as u64);
        String::from_utf8(out).expect("text")
    }

    #[test]
    fn rows_come_one_after_the_other_below_one_header() {
        let lines = [
            json!({ "a": "long one", "n": 1 }),
            json!({ "a": null, "n": 22 }),
        ];
        let table = shown(false, Format::Table, false, &lines);
        assert_eq!(table, "a         n\nlong one  1\nNULL      22\n");
        let csv = shown(true, Format::Table, false, &lines);
        assert_eq!(csv, "a,n\nlong one,1\n,22\n");
        let json = shown(false, Format::Json, false, &lines);
        assert_eq!(
            json,
            "{\"a\":\"long one\",\"n\":1}\n{\"a\":null,\"n\":22}\n"
        );
    }

    #[test]
    fn updates_and_deletes_are_marked() {
        let lines = [
            json!({ "op": "insert", "before": null, "after": { "a": "x", "n": 1 } }),
            json!({ "op": "update", "before": { "a": "x", "n": 1 }, "after": { "a": "x", "n": 2 } }),
            json!({ "op": "delete", "before": { "a": "x", "n": 2 }, "after": null }),
        ];
        let table = shown(false, Format::Table, true, &lines);
        assert_eq!(
            table,
            "op      a  n  _subject\ninsert  x  1  out.x\nupdate  x  2  out.x\ndelete  x  2  out.x\n"
        );
        let yaml = shown(false, Format::Yaml, true, &lines[2..]);
        assert!(yaml.contains("op: delete"), "{yaml}");
    }
}
