//! `sql`: questions to what is stored.

mod file;
mod helper;
mod preview;
mod prompt;
mod shown;

use serde_json::{Value, json};

pub(super) use self::preview::in_words as refused_in_words;
use self::shown::Shown;
use crate::args::{Format, SqlArgs};
use crate::client::Client;
use crate::console::Console;
use crate::error::CliError;

use super::{Session, ended_with};

/// How rows are shown.
struct How {
    csv: bool,
    format: Format,
    /// A line per value.
    expanded: bool,
    timeout: Option<u64>,
}

pub(super) async fn sql(args: &SqlArgs, session: Session<'_, '_>) -> Result<(), CliError> {
    let Session {
        client,
        format,
        console,
    } = session;
    let how = How {
        csv: args.csv,
        format,
        expanded: false,
        timeout: args.timeout,
    };
    if let Some(query) = &args.preview {
        return preview::preview(query, args, &how, &client, console).await;
    }
    if let Some(path) = &args.parquet {
        let statement = match args.command.as_slice() {
            [one] => Some(one.clone()),
            [] => next_statement(console)?,
            _ => return Err(CliError::OneStatement),
        };
        let statement = statement.unwrap_or_default();
        return file::write(path, &statement, &how, &client, console).await;
    }
    if !args.command.is_empty() {
        for statement in &args.command {
            ask(&how, statement, &client, console).await?;
        }
        return Ok(());
    }
    if console.typed {
        return prompt::run(how, &client, console).await;
    }
    while let Some(statement) = next_statement(console)? {
        ask(&how, &statement, &client, console).await?;
        console.out.flush()?;
    }
    Ok(())
}

/// The next statement of standard input: lines up to one that ends with `;`, or to the end. What declares a table goes with
/// the flow behind it.
fn next_statement(console: &mut Console<'_>) -> Result<Option<String>, CliError> {
    let mut statement = String::new();
    let mut begins = 0;
    loop {
        let before = statement.len();
        let read = console.input.read_line(&mut statement)?;
        let blank = statement.trim().is_empty();
        match statement[before..].trim() {
            "exit" | "quit" | "\\q" if before == 0 => return Ok(None),
            _ if read == 0 && blank => return Ok(None),
            line if read != 0 && line.ends_with(';') && declares_table(&statement[begins..]) => {
                begins = statement.len();
            }
            line if read == 0 || line.ends_with(';') && !blank => return Ok(Some(statement)),
            _ if blank => statement.clear(),
            _ => {}
        }
    }
}

/// Whether a statement is `CREATE TABLE …`, of which a server makes something only together with a flow.
fn declares_table(statement: &str) -> bool {
    let mut lines = statement.lines().map(str::trim);
    let first = lines.find(|line| !line.is_empty() && !line.starts_with("--"));
    let mut words = first.unwrap_or_default().split_whitespace();
    let mut is = |word: &str| {
        words
            .next()
            .is_some_and(|next| next.eq_ignore_ascii_case(word))
    };
    is("CREATE") && is("TABLE")
}

/// What the server is asked.
fn body(statement: &str, timeout: Option<u64>) -> Value {
    let mut body = json!({ "sql": statement });
    if let Some(seconds) = timeout {
        body["timeout"] = seconds.into();
    }
    body
}

async fn ask(
    how: &How,
    statement: &str,
    client: &Client,
    console: &mut Console<'_>,
) -> Result<(), CliError> {
    let asked = lines(how, statement, client, console).await;
    if let Err(error) = &asked
        && how.format == Format::Table
    {
        point(statement, error, console)?;
    }
    asked
}

/// Shows the line of a statement where an error stands, with a caret below the place.
fn point(statement: &str, error: &CliError, console: &mut Console<'_>) -> Result<(), CliError> {
    let CliError::Server { body, .. } = error else {
        return Ok(());
    };
    let number = |name: &str| usize::try_from(body[name].as_u64()?).ok()?.checked_sub(1);
    let (Some(line), Some(column)) = (number("line"), number("column")) else {
        return Ok(());
    };
    let Some(line) = statement.lines().nth(line) else {
        return Ok(());
    };
    // Tabs are as wide below as above.
    let blank = |sign: char| if sign == '\t' { '\t' } else { ' ' };
    let mut below: String = line.chars().take(column).map(blank).collect();
    below.extend(std::iter::repeat_n(
        ' ',
        column.saturating_sub(line.chars().count()),
    ));
    writeln!(console.err, "{line}\n{below}^")?;
    Ok(())
}

async fn lines(
    how: &How,
    statement: &str,
    client: &Client,
    console: &mut Console<'_>,
) -> Result<(), CliError> {
    let body = body(statement, how.timeout);
    let mut lines = client.post_lines(&["query"], &body).await?;
    let mut shown = Shown::new(how);
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
