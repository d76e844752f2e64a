//! `function logs`: what a function wrote for the person who looks after it.

use std::collections::VecDeque;

use clap::ValueEnum;
use serde_json::{Map, Value};

use crate::args::{Format, Level, LogsArgs};
use crate::client::Lines;
use crate::console::Console;
use crate::error::CliError;
use crate::table::{field, one_line};
use crate::yaml::to_yaml;

use super::super::Session;

/// The stream that lines of all functions go to.
const STATION: &str = "function-logs";

pub(super) async fn logs(args: &LogsArgs, session: Session<'_, '_>) -> Result<(), CliError> {
    let subject = format!("$MS.LOG.function.{}", args.name);
    let mut query = vec![("subject", subject), ("follow", args.follow.to_string())];
    // The API counts from the oldest, before lines are left out here; what is wanted is the newest.
    let limit = match args.limit {
        Some(limit) if args.follow && args.level == Level::Debug => Some(limit),
        _ if args.follow => None,
        _ => Some(u64::from(u32::MAX)),
    };
    query.extend(limit.map(|limit| ("limit", limit.to_string())));
    let Session {
        client,
        format,
        console,
    } = session;
    let path = ["stations", STATION, "messages"];
    let lines = match client.lines(&path, &query).await {
        // The stream comes with its first line.
        Err(CliError::Server { status: 404, .. }) => return none(format, console),
        lines => lines?,
    };
    if args.follow {
        follow(args, lines, format, console).await
    } else {
        newest(args, lines, format, console).await
    }
}

/// Each line as it comes.
async fn follow(
    args: &LogsArgs,
    mut lines: Lines,
    format: Format,
    console: &mut Console<'_>,
) -> Result<(), CliError> {
    let mut left = args.limit.unwrap_or(u64::MAX);
    while left > 0 {
        let Some(line) = lines.next().await? else {
            break;
        };
        if level(&line) >= args.level {
            show(&line, format, console)?;
            // Each line is seen at once, also in a pipe.
            console.out.flush()?;
            left -= 1;
        }
    }
    Ok(())
}

/// What there is, or the newest of it.
async fn newest(
    args: &LogsArgs,
    mut lines: Lines,
    format: Format,
    console: &mut Console<'_>,
) -> Result<(), CliError> {
    let limit = args
        .limit
        .map(|limit| usize::try_from(limit).unwrap_or(usize::MAX));
    let mut kept = VecDeque::new();
    let mut any = false;
    while let Some(line) = lines.next().await? {
        if level(&line) < args.level {
            continue;
        }
        any = true;
        match limit {
            None => show(&line, format, console)?,
            Some(limit) => {
                if kept.len() == limit {
                    kept.pop_front();
                }
                kept.push_back(line);
            }
        }
    }
    for line in &kept {
        show(line, format, console)?;
    }
    if any { Ok(()) } else { none(format, console) }
}

fn none(format: Format, console: &mut Console<'_>) -> Result<(), CliError> {
    match format {
        Format::Table => console.line("no lines yet"),
        Format::Json | Format::Yaml => Ok(()),
    }
}

/// How much a line matters; one that does not say it is for information.
fn level(line: &Value) -> Level {
    let word = line["headers"]["Ms-Level"].as_str().unwrap_or_default();
    Level::from_str(word, true).unwrap_or(Level::Info)
}

fn show(line: &Value, format: Format, console: &mut Console<'_>) -> Result<(), CliError> {
    match format {
        Format::Json => console.line(&line.to_string()),
        Format::Yaml => console.text(&format!("---\n{}", to_yaml(line))),
        Format::Table => console.line(&in_words(line)),
    }
}

/// `time  level  version  text`.
fn in_words(line: &Value) -> String {
    let empty = Map::new();
    let fields = line.as_object().unwrap_or(&empty);
    let headers = fields.get("headers").and_then(Value::as_object);
    let headers = headers.unwrap_or(&empty);
    let text = match fields.get("payload") {
        Some(Value::String(text)) => one_line(text),
        Some(other) => other.to_string(),
        None => field(fields, "payload_base64"),
    };
    format!(
        "{}  {:<5}  v{}  {text}",
        field(fields, "time"),
        field(headers, "Ms-Level"),
        field(headers, "Ms-Version"),
    )
}
