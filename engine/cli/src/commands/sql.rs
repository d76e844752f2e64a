//! `sql`: questions to what is stored.

use serde_json::{Map, Value, json};

use crate::args::{Format, SqlArgs};
use crate::client::Client;
use crate::console::Console;
use crate::error::CliError;
use crate::table::{Table, cell};
use crate::yaml::to_yaml;

use super::{Session, ended_with};

/// Rows that are drawn at once: their widths have to be known.
const BLOCK: usize = 1000;

/// The columns of an `EXPLAIN`.
const PLAN: [&str; 2] = ["plan_type", "plan"];

pub(super) async fn sql(args: &SqlArgs, session: Session<'_, '_>) -> Result<(), CliError> {
    let Session {
        client,
        format,
        console,
    } = session;
    if !args.command.is_empty() {
        for statement in &args.command {
            ask(args, statement, &client, format, console).await?;
        }
        return Ok(());
    }
    while let Some(statement) = next_statement(console)? {
        let asked = ask(args, &statement, &client, format, console).await;
        match asked {
            // Who types goes on.
            Err(error) if console.typed => console.complain(format, &error),
            asked => asked?,
        }
        console.out.flush()?;
    }
    Ok(())
}

/// The next statement of standard input: lines up to one that ends with `;`, or to the end.
fn next_statement(console: &mut Console<'_>) -> Result<Option<String>, CliError> {
    let mut statement = String::new();
    loop {
        if console.typed {
            console.progress(if statement.is_empty() {
                "sql> "
            } else {
                "  -> "
            })?;
        }
        let before = statement.len();
        let read = console.input.read_line(&mut statement)?;
        let blank = statement.trim().is_empty();
        match statement[before..].trim() {
            "exit" | "quit" | "\\q" if before == 0 => return Ok(None),
            _ if read == 0 && blank => {
                console.progress_done()?;
                return Ok(None);
            }
            line if read == 0 || line.ends_with(';') && !blank => return Ok(Some(statement)),
            _ if blank => statement.clear(),
            _ => {}
        }
    }
}

async fn ask(
    args: &SqlArgs,
    statement: &str,
    client: &Client,
    format: Format,
    console: &mut Console<'_>,
) -> Result<(), CliError> {
    let mut body = json!({ "sql": statement });
    if let Some(seconds) = args.timeout {
        body["timeout"] = seconds.into();
    }
    let mut lines = client.post_lines(&["query"], &body).await?;
    let mut shown = Shown::new(args.csv, format);
    while let Some(mut line) = lines.next().await? {
        if let Some(columns) = line["columns"].as_array() {
            let name = |column: &Value| column["name"].as_str().unwrap_or_default().to_owned();
            shown.header(columns.iter().map(name).collect())?;
        } else if let Some(Value::Object(row)) = line.get_mut("row").map(Value::take) {
            shown.row(row, console)?;
        } else if let Some(seen) = line["progress"]["records"].as_u64() {
            console.progress(&format!("{seen} records read"))?;
        } else if let Some(end) = line.get("end") {
            console.progress_done()?;
            shown.finish(console)?;
            return summary(end, shown.is_table(), console);
        } else {
            console.progress_done()?;
            shown.finish(console)?;
            return Err(ended_with(line));
        }
    }
    Err(ended_with(Value::Null))
}

/// What people want to know besides the rows.
fn summary(end: &Value, table: bool, console: &mut Console<'_>) -> Result<(), CliError> {
    let count = |name: &str| end[name].as_u64().unwrap_or(0);
    if let Some(skipped) = end["skipped"].as_u64() {
        let first = end["first_skipped"].as_str().unwrap_or_default();
        writeln!(
            console.err,
            "warning: {skipped} of {} records are left out, the first because of this: {first}",
            count("records")
        )?;
    }
    if table {
        let rows = count("rows");
        let plural = if rows == 1 { "" } else { "s" };
        writeln!(
            console.err,
            "({rows} row{plural}, {} records read)",
            count("records")
        )?;
    }
    Ok(())
}

/// Rows in the form asked for.
enum Shown {
    Table {
        names: Vec<String>,
        rows: Table,
        waiting: usize,
    },
    Csv(Box<csv::Writer<Vec<u8>>>, Vec<String>),
    Json,
    Yaml,
}

impl Shown {
    fn new(csv: bool, format: Format) -> Self {
        match format {
            _ if csv => Self::Csv(Box::new(csv::Writer::from_writer(Vec::new())), Vec::new()),
            Format::Json => Self::Json,
            Format::Yaml => Self::Yaml,
            Format::Table => Self::Table {
                names: Vec::new(),
                rows: Table::default(),
                waiting: 0,
            },
        }
    }

    fn is_table(&self) -> bool {
        matches!(self, Self::Table { .. })
    }

    fn header(&mut self, columns: Vec<String>) -> Result<(), CliError> {
        match self {
            Self::Table { names, rows, .. } => {
                rows.row(columns.clone());
                *names = columns;
            }
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

    fn row(
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
    fn finish(&mut self, console: &mut Console<'_>) -> Result<(), CliError> {
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
            Self::Json | Self::Yaml => Ok(()),
        }
    }
}

/// A value on one line of a table; what is not known is told apart from an empty text.
fn in_words(value: &Value) -> String {
    match value {
        Value::Null => "NULL".to_owned(),
        Value::Object(_) | Value::Array(_) => value.to_string(),
        other => cell(other).unwrap_or_default(),
    }
}

/// A value between commas; what is not known is empty.
fn plain(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}
