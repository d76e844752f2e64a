//! Rows in the form that was asked for.

use serde_json::{Map, Value};

use super::How;
use crate::args::Format;
use crate::console::Console;
use crate::error::CliError;
use crate::table::{Table, cell};
use crate::yaml::to_yaml;

/// Rows that are drawn at once: their widths have to be known.
const BLOCK: usize = 1000;

/// The columns of an `EXPLAIN`.
const PLAN: [&str; 2] = ["plan_type", "plan"];

/// Rows in the form asked for.
pub(super) enum Shown {
    Table {
        names: Vec<String>,
        rows: Table,
        waiting: usize,
    },
    /// A line per value.
    Expanded {
        names: Vec<String>,
        records: u64,
    },
    Csv(Box<csv::Writer<Vec<u8>>>, Vec<String>),
    Json,
    Yaml,
}

impl Shown {
    pub(super) fn new(how: &How) -> Self {
        match how.format {
            _ if how.csv => Self::Csv(Box::new(csv::Writer::from_writer(Vec::new())), Vec::new()),
            Format::Json => Self::Json,
            Format::Table if how.expanded => Self::Expanded {
                names: Vec::new(),
                records: 0,
            },
            Format::Yaml => Self::Yaml,
            Format::Table => Self::Table {
                names: Vec::new(),
                rows: Table::default(),
                waiting: 0,
            },
        }
    }

    pub(super) fn is_table(&self) -> bool {
        matches!(self, Self::Table { .. } | Self::Expanded { .. })
    }

    pub(super) fn header(&mut self, columns: Vec<String>) -> Result<(), CliError> {
        match self {
            Self::Table { names, rows, .. } => {
                rows.row(columns.clone());
                *names = columns;
            }
            Self::Expanded { names, .. } => *names = columns,
            Self::Csv(writer, names) => {
                writer
                    .write_record(&columns)
                    .map_err(std::io::Error::other)?;
                *names = columns;
            }
            Self::Json | Self::Yaml => {}
        }
        Ok(())
    }

    pub(super) fn row(
        &mut self,
        mut row: Map<String, Value>,
        console: &mut Console<'_>,
    ) -> Result<(), CliError> {
        match self {
            // Plans are trees of several lines.
            Self::Table { names, .. } if *names == PLAN => {
                let text = |name: &str| row[name].as_str().unwrap_or_default();
                console.text(&format!(
                    "{}:\n{}\n",
                    text(PLAN[0]),
                    text(PLAN[1]).trim_end()
                ))?;
            }
            Self::Table {
                names,
                rows,
                waiting,
            } => {
                rows.row(names.iter().map(|name| in_words(&row[name])).collect());
                *waiting += 1;
                if *waiting == BLOCK {
                    console.progress_done()?;
                    console.text(&rows.draw())?;
                    *rows = Table::default();
                    rows.row(names.clone());
                    *waiting = 0;
                }
            }
            Self::Expanded { names, records } => {
                *records += 1;
                console.text(&record(*records, names, &row))?;
            }
            Self::Csv(writer, names) => {
                let cells = names.iter().map(|name| plain(&row[name]));
                writer.write_record(cells).map_err(std::io::Error::other)?;
                if writer.get_ref().len() > 1 << 16 {
                    self.finish(console)?;
                }
            }
            Self::Json => console.line(&Value::from(std::mem::take(&mut row)).to_string())?,
            Self::Yaml => console.text(&format!("---\n{}", to_yaml(&row.into())))?,
        }
        Ok(())
    }

    /// Shows what waits.
    pub(super) fn finish(&mut self, console: &mut Console<'_>) -> Result<(), CliError> {
        match self {
            Self::Table { names, .. } if names.is_empty() || *names == PLAN => Ok(()),
            Self::Table { rows, .. } => console.text(&rows.draw()),
            Self::Csv(writer, _) => {
                writer.flush()?;
                let done =
                    std::mem::replace(writer, Box::new(csv::Writer::from_writer(Vec::new())));
                let bytes = done.into_inner().map_err(|error| error.into_error())?;
                console.out.write_all(&bytes)?;
                Ok(())
            }
            Self::Json | Self::Yaml | Self::Expanded { .. } => Ok(()),
        }
    }
}

/// A row with a line per value.
fn record(number: u64, names: &[String], row: &Map<String, Value>) -> String {
    let width = names.iter().map(|name| name.chars().count()).max();
    let width = width.unwrap_or(0);
    let mut text = format!("-[ record {number} ]-\n");
    for name in names {
        let value = row.get(name).unwrap_or(&Value::Null);
        text.push_str(&format!("{name:<width$} | {}\n", in_words(value)));
    }
    text
}

/// A value on one line of a table; what is not known is told apart from an empty text.
pub(super) fn in_words(value: &Value) -> String {
    match value {
        Value::Null => "NULL".to_owned(),
        Value::Object(_) | Value::Array(_) => value.to_string(),
        other => cell(other).unwrap_or_default(),
    }
}

/// A value between commas; what is not known is empty.
pub(super) fn plain(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}
