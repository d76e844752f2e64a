//! `sql --preview`: what would come out of a query that never ends.

use std::time::Duration;

use millstream_types::format_bytes;
use serde_json::{Map, Value, json};

use self::rows::Rows;
use super::{How, body, point};
use crate::args::{Format, SqlArgs};
use crate::client::{Client, Lines};
use crate::console::Console;
use crate::error::CliError;
use crate::table::one_line;

use super::super::ended_with;

mod rows;

/// Rows are shown together when no more come for so long: their widths differ less then.
const QUIET: Duration = Duration::from_millis(50);

pub(super) async fn preview(
    query: &str,
    args: &SqlArgs,
    how: &How,
    client: &Client,
    console: &mut Console<'_>,
) -> Result<(), CliError> {
    let mut text = query.to_owned();
    if query == "-" {
        text.clear();
        console.input.read_to_string(&mut text)?;
    }
    let mut body = body(&text, how.timeout);
    body["preview"] = json!({ "from": args.from, "follow": args.follow, "limit": args.limit });
    let seen = async {
        let lines = client.post_lines(&["query"], &body).await?;
        let live = args.follow || args.from.is_none();
        looked(lines, how, live, console).await
    };
    let seen = seen.await;
    if let Err(error) = &seen
        && how.format == Format::Table
    {
        point(&text, error, console)?;
    }
    seen
}

/// Shows what comes until it ends, or Ctrl-C does.
async fn looked(
    mut lines: Lines,
    how: &How,
    live: bool,
    console: &mut Console<'_>,
) -> Result<(), CliError> {
    let mut rows = Rows::new(how);
    let mut last = Value::Null;
    let interrupt = tokio::signal::ctrl_c();
    tokio::pin!(interrupt);
    loop {
        let next = tokio::select! {
            next = lines.next() => next,
            _ = &mut interrupt => {
                // The answer is dropped, by which the server knows.
                console.progress_done()?;
                rows.flush(console)?;
                return summary(&last, Some(rows.count), console);
            }
            () = tokio::time::sleep(QUIET), if rows.waits() => {
                rows.flush(console)?;
                continue;
            }
        };
        let Some(mut line) = next? else {
            rows.flush(console)?;
            return Err(ended_with(Value::Null));
        };
        if let Some(Value::Object(row)) = line.get_mut("row").map(Value::take) {
            rows.row("", row, &line["subject"], console)?;
        } else if let Some(Value::Object(change)) = line.get_mut("change").map(Value::take) {
            rows.change(change, &line["subject"], console)?;
        } else if line["columns"].is_array() {
            rows.head(&line);
            begins(&line, live, console)?;
        } else if line["progress"].is_object() {
            last = line["progress"].take();
            rows.flush(console)?;
            console.progress(&numbers(&last, rows.count))?;
        } else if line["end"].is_object() {
            rows.flush(console)?;
            console.progress_done()?;
            return summary(&line["end"], None, console);
        } else if let Some((what, message)) = refused(&line) {
            rows.flush(console)?;
            console.progress_done()?;
            writeln!(console.err, "{what}: {}", in_words(message))?;
        } else {
            rows.flush(console)?;
            console.progress_done()?;
            return Err(ended_with(line));
        }
        console.out.flush()?;
    }
}

fn refused(line: &Value) -> Option<(&'static str, &Map<String, Value>)> {
    let of = |what: &'static str| Some((what, line[what].as_object()?));
    of("late").or_else(|| of("rejected"))
}

/// A message that is no part of the result.
pub(in super::super) fn in_words(message: &Map<String, Value>) -> String {
    let text = |name: &str| {
        one_line(
            message
                .get(name)
                .and_then(Value::as_str)
                .unwrap_or_default(),
        )
    };
    let what = match message.get("sequence").and_then(Value::as_u64) {
        Some(sequence) => format!("message {sequence} of {}", text("station")),
        None => "a row".to_owned(),
    };
    format!("{what}, {}: {}", text("reason"), text("payload"))
}

fn begins(head: &Value, live: bool, console: &mut Console<'_>) -> Result<(), CliError> {
    let mut count = 0;
    let mut names = Vec::new();
    for source in head["sources"].as_array().into_iter().flatten() {
        count += source["lag_messages"].as_u64().unwrap_or(0);
        names.push(source["station"].as_str().unwrap_or_default().to_owned());
    }
    let names = names.join(", ");
    let ends = if live { "; Ctrl-C ends it" } else { "" };
    writeln!(
        console.err,
        "reading {names}: {count} messages are stored for it{ends}"
    )?;
    Ok(())
}

/// How far it is.
fn numbers(seen: &Value, results: u64) -> String {
    let count = |name: &str| seen[name].as_u64().unwrap_or(0);
    let mut text = format!("{} messages read", count("messages"));
    let left = count("left");
    if left > 0 {
        text.push_str(&format!(", {left} left"));
    }
    text.push_str(&format!(", {results} results"));
    if count("updates") + count("deletes") > 0 {
        let [inserts, updates, deletes] = ["inserts", "updates", "deletes"].map(count);
        text.push_str(&format!(
            " ({inserts} inserts, {updates} updates, {deletes} deletes)"
        ));
    }
    text.push_str(&format!(
        ", {} late, {} rejected",
        count("late"),
        count("rejected")
    ));
    if let Some(watermark) = seen["watermark"].as_str() {
        text.push_str(&format!(", watermark {watermark}"));
    }
    text.push_str(&format!(
        ", state {} entries, {}",
        count("state_rows"),
        format_bytes(count("state_bytes"))
    ));
    text
}

/// What people want to know at the end. `shown`: it was ended from here.
fn summary(end: &Value, shown: Option<u64>, console: &mut Console<'_>) -> Result<(), CliError> {
    let count = |name: &str| end[name].as_u64().unwrap_or(0);
    let results = shown.unwrap_or_else(|| count("results"));
    let seconds = end["seconds"].as_f64().unwrap_or(0.0);
    writeln!(console.err, "({} in {seconds:.1} s)", numbers(end, results))?;
    if end["ended"] == "deadline" {
        writeln!(
            console.err,
            "note: its time is over; `--timeout` gives it up to an hour"
        )?;
    }
    if end["ended"] == "history" && end["updates"].is_null() && count("state_rows") > 0 {
        writeln!(
            console.err,
            "note: {} entries of state wait for more messages: windows are told when the watermark has passed their end",
            count("state_rows")
        )?;
    }
    Ok(())
}
