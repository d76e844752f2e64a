//! `apply`: checks the files here, so that mistakes show without a server, then sends them.

use serde_json::{Map, Value};

use crate::args::ApplyArgs;
use crate::bundle::Bundle;
use crate::console::Console;
use crate::error::CliError;
use crate::table::{Table, cell, field};

use super::Session;

mod would;

pub(super) async fn apply(args: &ApplyArgs, session: Session<'_, '_>) -> Result<(), CliError> {
    let Session {
        client,
        format,
        console,
    } = session;
    let mut body = Bundle::read(&args.files, console)?.to_json();
    body["dry_run"] = args.dry_run.into();
    if let Some(from) = &args.from {
        body["history"] = from.as_str().into();
    }
    console.progress("applying …")?;
    let answer = client.post(&["apply"], &body).await;
    console.progress_done()?;
    let answer = answer?;
    if console.structured(format, &answer)? {
        return Ok(());
    }
    show(&answer, args.dry_run, console)
}

/// What was created, changed or left alone.
pub(super) fn show(
    answer: &Value,
    dry_run: bool,
    console: &mut Console<'_>,
) -> Result<(), CliError> {
    let empty = Vec::new();
    let changes = answer
        .get("changes")
        .and_then(Value::as_array)
        .unwrap_or(&empty);
    let mut columns = vec!["action", "kind", "name"];
    if changes.iter().any(|change| !change["version"].is_null()) {
        columns.push("version");
    }
    let mut table = Table::new(columns.iter().copied());
    for change in changes.iter().filter_map(Value::as_object) {
        table.row(columns.iter().map(|name| field(change, name)).collect());
    }
    console.text(&table.draw())?;
    for change in changes.iter().filter_map(Value::as_object) {
        let lines = change
            .get("diff")
            .and_then(Value::as_array)
            .unwrap_or(&empty);
        let note = change.get("note").and_then(Value::as_str);
        if !lines.is_empty() || note.is_some() {
            console.line(&format!(
                "\n{} {}",
                field(change, "kind"),
                field(change, "name")
            ))?;
        }
        for line in lines {
            console.line(&format!("  {}", difference(line)))?;
        }
        if let Some(note) = note {
            console.line(&format!("  {note}"))?;
        }
    }
    for change in changes.iter().filter_map(Value::as_object) {
        if let Some(would) = change.get("would").filter(|would| would.is_object()) {
            would::show(&field(change, "name"), would, console)?;
        }
    }
    if dry_run {
        console.line("\nnothing was applied (--dry-run)")?;
    }
    Ok(())
}

/// A line of text, or `{path, from, to}`.
fn difference(line: &Value) -> String {
    let Some(object) = line.as_object() else {
        return cell(line).unwrap_or_default();
    };
    let side = |object: &Map<String, Value>, name: &str| match object.get(name) {
        None | Some(Value::Null) => "(nothing)".to_owned(),
        Some(value) => cell(value).unwrap_or_else(|| value.to_string()),
    };
    format!(
        "{}: {} -> {}",
        field(object, "path"),
        side(object, "from"),
        side(object, "to")
    )
}
