//! `schema check` and `register --dry-run`: what would break.

use serde_json::{Map, Value, json};

use super::{read_file, references};
use crate::args::{CheckArgs, RegisterArgs, SchemaFile};
use crate::client::Lines;
use crate::console::Console;
use crate::error::CliError;
use crate::table::{Table, field, one_line};

use super::super::{Session, ended_with};

pub(super) async fn dry_run(args: &RegisterArgs, session: Session<'_, '_>) -> Result<(), CliError> {
    ask(&args.subject, &args.schema, None, session).await
}

pub(super) async fn check(args: &CheckArgs, session: Session<'_, '_>) -> Result<(), CliError> {
    let history = args.against_history.as_ref().map(|station| {
        let from = args.from.as_deref();
        let seq = from.and_then(|from| from.parse::<u64>().ok());
        let time = from.filter(|_| seq.is_none());
        let mut range = json!({ "station": station, "from_seq": seq, "limit": args.limit });
        if let Some(time) = time {
            range["from_time"] = time.into();
        }
        range
    });
    ask(&args.subject, &args.schema, history, session).await
}

async fn ask(
    subject: &str,
    file: &SchemaFile,
    history: Option<Value>,
    mut session: Session<'_, '_>,
) -> Result<(), CliError> {
    let (text, format) = read_file(file, &mut session)?;
    let mut body = json!({
        "subject": subject,
        "schema": text,
        "format": format.as_str(),
        "references": references(file),
    });
    if let Some(history) = history {
        body["against_history"] = history;
    }
    let lines = session.client.post_lines(&["schema-check"], &body).await?;
    let result = result(lines, session.console).await?;
    if !session.console.structured(session.format, &result)? {
        in_words(&result, session.console)?;
    }
    let failed = |value: &Value| value.as_u64().is_some_and(|count| count > 0);
    let breaks = result["compatible"] == Value::Bool(false)
        || result["breaks"]
            .as_array()
            .is_some_and(|list| !list.is_empty())
        || failed(&result["history"]["fail"]);
    if breaks {
        Err(CliError::Breaks)
    } else {
        Ok(())
    }
}

/// The last line of an answer; those before say how far it is.
pub(super) async fn result(mut lines: Lines, console: &mut Console<'_>) -> Result<Value, CliError> {
    let mut last = Value::Null;
    while let Some(line) = lines.next().await? {
        if let Some(seen) = line["progress"]["looked_at"].as_u64() {
            console.progress(&format!("{seen} messages looked at"))?;
        }
        last = line;
    }
    console.progress_done()?;
    if let Some(result) = last.get_mut("result") {
        return Ok(result.take());
    }
    Err(ended_with(last))
}

fn in_words(result: &Value, console: &mut Console<'_>) -> Result<(), CliError> {
    let empty = Map::new();
    let fields = result.as_object().unwrap_or(&empty);
    let list = |name: &str| {
        fields
            .get(name)
            .and_then(Value::as_array)
            .map(Vec::as_slice)
            .unwrap_or_default()
    };
    let subject = field(fields, "subject");
    let compatible = fields.get("compatible") != Some(&Value::Bool(false));
    let version = field(fields, "version");
    let verdict = if compatible {
        "compatible"
    } else {
        "not compatible"
    };
    console.line(&format!("{verdict}, as version {version} of `{subject}`"))?;
    // The text of the older version is one of them; `schema diff` shows it better.
    let messages = list("messages").iter().filter_map(Value::as_str);
    for message in messages.filter(|message| !message.starts_with("{oldSchema:")) {
        console.line(&format!("  {}", one_line(message)))?;
    }
    match field(fields, "users") {
        none if none.is_empty() => console.line("used by nobody")?,
        users => console.line(&format!("used by {users}"))?,
    }
    for broken in list("breaks").iter().filter_map(Value::as_object) {
        let [kind, name, path, reason] =
            ["kind", "name", "path", "reason"].map(|key| field(broken, key));
        console.line(&format!(
            "{kind} `{name}` would no longer work: {path}: {reason}"
        ))?;
    }
    match fields.get("history").and_then(Value::as_object) {
        Some(history) => told(history, console),
        None => Ok(()),
    }
}

fn told(history: &Map<String, Value>, console: &mut Console<'_>) -> Result<(), CliError> {
    let [station, looked_at, fit, fail] =
        ["station", "looked_at", "fit", "fail"].map(|name| field(history, name));
    console.line(&format!(
        "of {looked_at} messages of `{station}`, {fit} fit and {fail} do not"
    ))?;
    let kinds = history.get("violations").and_then(Value::as_array);
    let kinds = kinds.map(Vec::as_slice).unwrap_or_default();
    if kinds.is_empty() {
        return Ok(());
    }
    let mut table = Table::new(["count", "first seq", "path", "expected", "found"]);
    for kind in kinds.iter().filter_map(Value::as_object) {
        let names = ["count", "seq", "path", "expected", "found"];
        table.row(names.map(|name| field(kind, name)).into());
    }
    console.text(&table.draw())?;
    match history.get("others").and_then(Value::as_u64) {
        Some(others) if others > 0 => console.line(&format!("and {others} of other kinds")),
        _ => Ok(()),
    }
}
