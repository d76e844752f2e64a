//! `schema get`, `list`, `versions`, `diff`.

use std::path::Path;

use reqwest::Method;
use serde_json::{Value, json};

use super::named;
use crate::args::{SchemaFile, SchemaFormat};
use crate::error::CliError;
use crate::table::{Table, field};

use super::super::Session;

pub(super) async fn by_id(id: u32, session: Session<'_, '_>) -> Result<(), CliError> {
    let path = ["schemas", "ids", &id.to_string()];
    let answer = session
        .client
        .registry(Method::GET, &path, &[], None)
        .await?;
    show(&answer, session)
}

pub(super) async fn version(text: &str, session: Session<'_, '_>) -> Result<(), CliError> {
    let (subject, version) = named(text)?;
    let version = version.map_or_else(|| "latest".to_owned(), |version| version.to_string());
    let path = ["subjects", subject, "versions", &version];
    let answer = session
        .client
        .registry(Method::GET, &path, &[], None)
        .await?;
    show(&answer, session)
}

/// The text alone, so that it can go into a file; JSON is laid out.
fn show(answer: &Value, session: Session<'_, '_>) -> Result<(), CliError> {
    if session.console.structured(session.format, answer)? {
        return Ok(());
    }
    let text = answer
        .get("schema")
        .and_then(Value::as_str)
        .unwrap_or_default();
    session.console.text(&laid_out(text))
}

/// A schema's text as people read it, with a line end.
pub(super) fn laid_out(text: &str) -> String {
    match serde_json::from_str::<Value>(text) {
        Ok(json) => format!("{json:#}\n"),
        Err(_) => format!("{}\n", text.trim_end()),
    }
}

fn format(answer: &Value) -> String {
    let word = answer.get("schemaType").and_then(Value::as_str);
    word.unwrap_or("AVRO").to_lowercase()
}

pub(super) async fn list(session: Session<'_, '_>) -> Result<(), CliError> {
    let query = [("latestOnly", "true".to_owned())];
    let answer = session
        .client
        .registry(Method::GET, &["schemas"], &query, None)
        .await?;
    if session.console.structured(session.format, &answer)? {
        return Ok(());
    }
    let items = answer.as_array().map(Vec::as_slice).unwrap_or_default();
    if items.is_empty() {
        return session
            .console
            .line("no schemas; `millstream schema register` adds one");
    }
    let mut table = Table::new(["subject", "version", "id", "format", "refers to"]);
    for item in items {
        let Value::Object(fields) = item else {
            continue;
        };
        let references = fields.get("references").and_then(Value::as_array);
        let references: Vec<String> = references
            .into_iter()
            .flatten()
            .filter_map(Value::as_object)
            .map(|one| format!("{}:{}", field(one, "subject"), field(one, "version")))
            .collect();
        table.row(vec![
            field(fields, "subject"),
            field(fields, "version"),
            field(fields, "id"),
            format(item),
            references.join(", "),
        ]);
    }
    session.console.text(&table.draw())
}

pub(super) async fn versions(subject: &str, session: Session<'_, '_>) -> Result<(), CliError> {
    let client = &session.client;
    let path = ["subjects", subject, "versions"];
    let numbers = client.registry(Method::GET, &path, &[], None).await?;
    let mut items = Vec::new();
    for number in numbers.as_array().into_iter().flatten() {
        let path = ["subjects", subject, "versions", &number.to_string()];
        let found = client.registry(Method::GET, &path, &[], None).await;
        match found {
            Ok(found) => items.push(found),
            // Deleted since.
            Err(CliError::Server { status: 404, .. }) => {}
            Err(error) => return Err(error),
        }
    }
    if session
        .console
        .structured(session.format, &json!({ "items": items }))?
    {
        return Ok(());
    }
    let mut table = Table::new(["version", "id", "format", "bytes", "guid"]);
    for item in &items {
        let Value::Object(fields) = item else {
            continue;
        };
        let bytes = fields
            .get("schema")
            .and_then(Value::as_str)
            .map_or(0, str::len);
        table.row(vec![
            field(fields, "version"),
            field(fields, "id"),
            format(item),
            bytes.to_string(),
            field(fields, "guid"),
        ]);
    }
    session.console.text(&table.draw())
}

/// A file when there is one of that name, else a subject.
fn side(
    text: &str,
    format: Option<SchemaFormat>,
    session: &mut Session<'_, '_>,
) -> Result<Value, CliError> {
    let path = Path::new(text);
    let ends = SchemaFormat::of_ending(path).is_some();
    if text == "-" || ends || path.is_file() {
        let file = SchemaFile {
            file: path.to_owned(),
            format,
            references: Vec::new(),
        };
        let (schema, format) = super::read_file(&file, session)?;
        return Ok(json!({ "schema": schema, "format": format.as_str() }));
    }
    let (subject, version) = named(text)?;
    Ok(json!({ "subject": subject, "version": version }))
}

pub(super) async fn diff(
    old: &str,
    new: &str,
    format: Option<SchemaFormat>,
    mut session: Session<'_, '_>,
) -> Result<(), CliError> {
    let old = side(old, format, &mut session)?;
    let new = side(new, format, &mut session)?;
    let body = json!({ "old": old, "new": new });
    let answer = session.client.post(&["schema-diff"], &body).await?;
    if session.console.structured(session.format, &answer)? {
        return Ok(());
    }
    let lines = answer.get("lines").and_then(Value::as_array);
    let lines: Vec<&str> = lines
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    if lines.is_empty() {
        return session.console.line("no differences");
    }
    lines
        .into_iter()
        .try_for_each(|line| session.console.line(line))
}
