//! `apply`: checks the files here, so that mistakes show without a server, then sends them.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use millstream_spec::{Parsed, Problem, SourceFile, attachments, parse, variable_names};
use serde_json::{Map, Value, json};

use crate::args::ApplyArgs;
use crate::console::Console;
use crate::error::CliError;
use crate::table::{Table, cell, field};

use super::Session;

/// Largest attachment: the server takes 128 MiB in one request, in base64.
const MAX_ATTACHMENT: u64 = 64 << 20;

pub(super) async fn apply(args: &ApplyArgs, session: Session<'_, '_>) -> Result<(), CliError> {
    let Session {
        client,
        format,
        console,
    } = session;
    let files = read_files(args, console)?;
    let parsed = parse(&files, console.variables);
    let attachments = read_attachments(&parsed);
    let (attachments, problems) = attachments;
    let problems: Vec<Problem> = parsed.problems.into_iter().chain(problems).collect();
    if !problems.is_empty() {
        return Err(CliError::Problems(problems));
    }
    let variables: BTreeMap<String, String> = variable_names(&files)
        .into_iter()
        .filter_map(|name| Some((name.clone(), (console.variables)(&name)?)))
        .collect();
    let body = json!({
        "dry_run": args.dry_run,
        "files": files,
        "attachments": attachments,
        "variables": variables,
    });
    console.progress("applying …")?;
    let answer = client.post(&["apply"], &body).await;
    console.progress_done()?;
    let answer = answer?;
    if console.structured(format, &answer)? {
        return Ok(());
    }
    show(&answer, args.dry_run, console)
}

fn read_files(args: &ApplyArgs, console: &mut Console<'_>) -> Result<Vec<SourceFile>, CliError> {
    let mut files = Vec::new();
    for path in &args.files {
        let name = path.to_string_lossy().into_owned();
        let text = if name == "-" {
            let mut text = String::new();
            console.input.read_to_string(&mut text).map(|_| text)
        } else {
            fs::read_to_string(path)
        };
        let text = text.map_err(|source| CliError::Read {
            path: path.clone(),
            source,
        })?;
        files.push(SourceFile { name, text });
    }
    Ok(files)
}

/// The files the station files refer to, in base64; a missing one is a problem where it is named.
fn read_attachments(parsed: &Parsed) -> (BTreeMap<String, String>, Vec<Problem>) {
    let mut found = BTreeMap::new();
    let mut problems = Vec::new();
    for attachment in attachments(&parsed.documents) {
        if found.contains_key(&attachment.key) {
            continue;
        }
        match read_attachment(Path::new(&attachment.key)) {
            Ok(bytes) => {
                found.insert(attachment.key, STANDARD.encode(bytes));
            }
            Err(error) => {
                let message = format!("cannot read `{}`: {error}", attachment.key);
                let problem = attachment.at.problem(message);
                problems.push(problem.with_hint("paths are relative to the station file's folder"));
            }
        }
    }
    (found, problems)
}

fn read_attachment(path: &Path) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    fs::File::open(path)?
        .take(MAX_ATTACHMENT + 1)
        .read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_ATTACHMENT {
        let message = format!("it is larger than {MAX_ATTACHMENT} bytes");
        return Err(std::io::Error::new(
            std::io::ErrorKind::FileTooLarge,
            message,
        ));
    }
    Ok(bytes)
}

fn show(answer: &Value, dry_run: bool, console: &mut Console<'_>) -> Result<(), CliError> {
    let empty = Vec::new();
    let changes = answer
        .get("changes")
        .and_then(Value::as_array)
        .unwrap_or(&empty);
    let mut table = Table::new(["action", "kind", "name"]);
    for change in changes.iter().filter_map(Value::as_object) {
        table.row(
            ["action", "kind", "name"]
                .map(|name| field(change, name))
                .into(),
        );
    }
    console.text(&table.draw())?;
    for change in changes.iter().filter_map(Value::as_object) {
        let lines = change
            .get("diff")
            .and_then(Value::as_array)
            .unwrap_or(&empty);
        if !lines.is_empty() {
            console.line(&format!(
                "\n{} {}",
                field(change, "kind"),
                field(change, "name")
            ))?;
        }
        for line in lines {
            console.line(&format!("  {}", difference(line)))?;
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
