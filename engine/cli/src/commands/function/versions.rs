//! `function versions`, `promote`, `stop` and `rollback`.

use serde_json::{Map, Value, json};

use crate::args::SwitchArgs;
use crate::console::Console;
use crate::error::CliError;
use crate::table::{Table, field};
use crate::yaml::to_yaml;

use super::super::Session;
use super::caller;

/// Digits of a digest that tell versions apart.
const DIGITS: usize = 12;

pub(super) async fn versions(name: &str, session: Session<'_, '_>) -> Result<(), CliError> {
    let path = ["functions", name, "versions"];
    let answer = session.client.get(&path, &[]).await?;
    if session.console.structured(session.format, &answer)? {
        return Ok(());
    }
    in_words(&answer, session.console)
}

fn in_words(answer: &Value, console: &mut Console<'_>) -> Result<(), CliError> {
    let list = |name: &str| {
        answer[name]
            .as_array()
            .map(Vec::as_slice)
            .unwrap_or_default()
    };
    let columns = [
        "version", "state", "created", "by", "bytes", "digest", "why",
    ];
    let mut table = Table::new(columns);
    for version in list("versions").iter().filter_map(Value::as_object) {
        let cell = |name: &str| match name {
            "digest" => field(version, name).chars().take(DIGITS).collect(),
            _ => field(version, name),
        };
        table.row(columns.map(cell).into());
    }
    console.text(&table.draw())?;
    if answer["trial"].is_object() {
        console.line("\ntrial:")?;
        for line in to_yaml(&answer["trial"]).lines() {
            console.line(&format!("  {line}"))?;
        }
    }
    if !list("events").is_empty() {
        console.line("")?;
        let columns = ["time", "by", "what", "why"];
        let mut table = Table::new(columns);
        for event in list("events").iter().filter_map(Value::as_object) {
            table.row(columns.map(|name| field(event, name)).into());
        }
        console.text(&table.draw())?;
    }
    Ok(())
}

/// `promote`, `stop` or `rollback`.
pub(super) async fn switch(
    action: &str,
    args: &SwitchArgs,
    to: Option<u64>,
    session: Session<'_, '_>,
) -> Result<(), CliError> {
    let console = session.console;
    let mut body = json!({ "by": caller(console) });
    if let Some(why) = &args.why {
        body["why"] = why.as_str().into();
    }
    if let Some(to) = to {
        body["to"] = to.into();
    }
    let path = ["functions", &args.name, action];
    let answer = session.client.post(&path, &body).await?;
    if console.structured(session.format, &answer)? {
        return Ok(());
    }
    let empty = Map::new();
    let fields = answer.as_object().unwrap_or(&empty);
    let [version, before] = ["version", "before"].map(|name| field(fields, name));
    let name = &args.name;
    console.line(&match (action, before.as_str()) {
        ("stop", _) => format!("the trial is over; version {version} of `{name}` runs"),
        (_, "") => format!("version {version} of `{name}` runs"),
        (_, before) => format!("version {version} of `{name}` runs, in place of version {before}"),
    })
}
