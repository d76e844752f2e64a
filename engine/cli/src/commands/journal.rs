//! `journal`: the log on disk.

use serde_json::{Map, Value, json};

use crate::args::{Format, JournalCommand};
use crate::console::Console;
use crate::error::CliError;
use crate::table::{field, of_objects};

use super::Session;

pub(super) async fn journal(
    command: &JournalCommand,
    session: Session<'_, '_>,
) -> Result<(), CliError> {
    let JournalCommand::Verify(args) = command;
    if !args.online {
        // The server's program answers this one before it comes here.
        return Err(CliError::NotHere);
    }
    let path = ["journal", "verify"];
    session
        .console
        .progress("the server checks its log; this takes a second or two per GB")?;
    let report = session.client.post(&path, &json!({})).await;
    session.console.progress_done()?;
    show(&report?, session.format, session.console)
}

/// The report in the wanted form; an error when anything is damaged.
pub(super) fn show(
    report: &Value,
    format: Format,
    console: &mut Console<'_>,
) -> Result<(), CliError> {
    let clean = report.get("clean").and_then(Value::as_bool) == Some(true);
    if !console.structured(format, report)? {
        in_words(report, console)?;
    }
    if clean {
        Ok(())
    } else {
        Err(CliError::Damaged)
    }
}

fn in_words(report: &Value, console: &mut Console<'_>) -> Result<(), CliError> {
    let empty = Map::new();
    let fields = report.as_object().unwrap_or(&empty);
    let [files, frames, records, bytes] =
        ["files", "frames", "records", "bytes"].map(|name| field(fields, name));
    console.line(&format!(
        "{files} files, {frames} frames with {records} records, {bytes} bytes checked"
    ))?;
    for name in ["damage", "missing", "unreadable"] {
        let items = fields.get(name).and_then(Value::as_array);
        let Some(items) = items.filter(|items| !items.is_empty()) else {
            continue;
        };
        console.line(&format!("\n{name}:"))?;
        console.text(&of_objects(items))?;
    }
    if let Some(tail) = fields.get("tail").and_then(Value::as_object) {
        console.line(&format!(
            "what follows byte {} of `{}` is left out: a write that was cut short, or is under way",
            field(tail, "offset"),
            field(tail, "file")
        ))?;
    }
    Ok(())
}
