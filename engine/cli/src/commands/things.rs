//! `get`, `describe`, `delete`, `status`.

use millstream_spec::Kind;
use millstream_types::nearest;
use serde_json::{Value, json};

use crate::error::CliError;
use crate::table::of_objects;
use crate::yaml::to_yaml;

use super::Session;

pub(super) async fn get(
    kind: Kind,
    name: Option<&str>,
    session: Session<'_, '_>,
) -> Result<(), CliError> {
    let answer = session.client.get(&[kind.plural()], &[]).await?;
    let mut items = answer
        .get("items")
        .and_then(Value::as_array)
        .cloned()
        .unwrap_or_default();
    let console = session.console;
    let Some(name) = name else {
        if !console.structured(session.format, &answer)? {
            if items.is_empty() {
                return console.line(&format!("no {}", kind.plural()));
            }
            console.text(&of_objects(&items))?;
        }
        return Ok(());
    };
    let name_of = |item: &Value| item.get("name").and_then(Value::as_str).map(str::to_owned);
    let names: Vec<String> = items.iter().filter_map(name_of).collect();
    items.retain(|item| name_of(item).as_deref() == Some(name));
    match items.first() {
        Some(item) if console.structured(session.format, item)? => Ok(()),
        Some(_) => console.text(&of_objects(&items)),
        None => Err(CliError::NotFound {
            kind: kind.as_str(),
            name: name.to_owned(),
            nearest: nearest(name, names.iter().map(String::as_str)).map(str::to_owned),
        }),
    }
}

pub(super) async fn describe(
    kind: Kind,
    name: &str,
    session: Session<'_, '_>,
) -> Result<(), CliError> {
    let answer = session.client.get(&[kind.plural(), name], &[]).await?;
    show(&answer, session)
}

pub(super) async fn delete(
    kind: Kind,
    name: &str,
    session: Session<'_, '_>,
) -> Result<(), CliError> {
    session.client.delete(&[kind.plural(), name]).await?;
    let answer = json!({ "deleted": { "kind": kind, "name": name } });
    if session.console.structured(session.format, &answer)? {
        return Ok(());
    }
    session.console.line(&format!("deleted {kind} `{name}`"))
}

pub(super) async fn status(session: Session<'_, '_>) -> Result<(), CliError> {
    let answer = session.client.get(&["status"], &[]).await?;
    show(&answer, session)
}

/// One object: as YAML for people, too.
fn show(answer: &Value, session: Session<'_, '_>) -> Result<(), CliError> {
    if session.console.structured(session.format, answer)? {
        return Ok(());
    }
    session.console.text(&to_yaml(answer))
}
