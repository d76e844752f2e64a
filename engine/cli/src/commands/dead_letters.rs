//! `dead-letters`: what was rejected and why, and what to do with it.

use serde_json::{Value, json};

use crate::args::DeadLettersCommand;
use crate::client::Client;
use crate::console::Console;
use crate::error::CliError;
use crate::table::{Table, field};
use crate::yaml::to_yaml;

use super::Session;

/// Most dead letters that `--all` takes in one go.
const ALL: u64 = 100_000;
/// Refusals shown one by one; the rest is counted.
const MAX_SHOWN: u64 = 10;

pub(super) async fn dead_letters(
    command: &DeadLettersCommand,
    session: Session<'_, '_>,
) -> Result<(), CliError> {
    match command {
        DeadLettersCommand::List { station, limit } => list(station, *limit, session).await,
        DeadLettersCommand::Show { station, id } => show(station, *id, session).await,
        DeadLettersCommand::Resend { station, id, .. } => {
            many(Action::Resend, station, *id, session).await
        }
        DeadLettersCommand::Drop { station, id, .. } => {
            many(Action::Drop, station, *id, session).await
        }
    }
}

async fn fetch(client: &Client, station: &str, limit: u64) -> Result<Value, CliError> {
    client
        .get(
            &["stations", station, "dead-letters"],
            &[("limit", limit.to_string())],
        )
        .await
}

fn items(answer: &Value) -> &[Value] {
    answer
        .get("items")
        .and_then(Value::as_array)
        .map_or(&[], Vec::as_slice)
}

async fn list(station: &str, limit: u64, session: Session<'_, '_>) -> Result<(), CliError> {
    let Session {
        client,
        format,
        console,
    } = session;
    let answer = fetch(&client, station, limit).await?;
    if console.structured(format, &answer)? {
        return Ok(());
    }
    if items(&answer).is_empty() {
        return console.line(&format!("no dead letters of `{station}`"));
    }
    let columns = ["id", "time", "subject", "stage", "code", "reason"];
    let mut table = Table::new(columns);
    for letter in items(&answer).iter().filter_map(Value::as_object) {
        table.row(columns.map(|name| field(letter, name)).into());
    }
    console.text(&table.draw())?;
    let (shown, total) = (
        items(&answer).len() as u64,
        answer.get("total").and_then(Value::as_u64),
    );
    match total {
        Some(total) if total > shown => {
            console.line(&format!("{shown} of {total}; `--limit N` shows more"))
        }
        _ => Ok(()),
    }
}

async fn show(station: &str, id: u64, session: Session<'_, '_>) -> Result<(), CliError> {
    let id = id.to_string();
    let answer = session
        .client
        .get(&["stations", station, "dead-letters", &id], &[])
        .await?;
    if session.console.structured(session.format, &answer)? {
        return Ok(());
    }
    session.console.text(&to_yaml(&answer))
}

#[derive(Clone, Copy)]
enum Action {
    Resend,
    Drop,
}

impl Action {
    const fn done(self) -> &'static str {
        match self {
            Self::Resend => "resent",
            Self::Drop => "dropped",
        }
    }

    async fn carry_out(self, client: &Client, station: &str, id: u64) -> Result<Value, CliError> {
        let id = id.to_string();
        let path = ["stations", station, "dead-letters", &id];
        match self {
            Self::Resend => {
                client
                    .post(&[&path[..], &["resend"]].concat(), &json!({}))
                    .await
            }
            Self::Drop => client.delete(&path).await,
        }
    }
}

/// One, or without an id all there are now: a message that is rejected again comes back as a new
/// dead letter, which must not be taken again.
async fn many(
    action: Action,
    station: &str,
    id: Option<u64>,
    session: Session<'_, '_>,
) -> Result<(), CliError> {
    let Session {
        client,
        format,
        console,
    } = session;
    if let Some(id) = id {
        let answer = action.carry_out(&client, station, id).await?;
        let answer = if answer.is_null() {
            json!({ action.done(): [id] })
        } else {
            answer
        };
        if console.structured(format, &answer)? {
            return Ok(());
        }
        return console.line(&format!("{} {id}", action.done()));
    }
    let answer = fetch(&client, station, ALL).await?;
    let ids = items(&answer)
        .iter()
        .filter_map(|letter| letter.get("id")?.as_u64());
    let (mut done, mut refused) = (Vec::new(), 0);
    for id in ids {
        match action.carry_out(&client, station, id).await {
            Ok(_) => done.push(id),
            // Someone else was faster.
            Err(CliError::Server { status: 404, .. }) => {}
            Err(CliError::Server {
                status: 400..=499,
                error,
                ..
            }) => {
                refused += 1;
                complain(id, refused, &error, console)?;
            }
            Err(error) => return Err(error),
        }
        console.progress(&format!(
            "{} {}, {refused} refused",
            done.len(),
            action.done()
        ))?;
    }
    console.progress_done()?;
    let all = done.len() as u64 + refused;
    if !console.structured(format, &json!({ action.done(): done, "refused": refused }))? {
        console.line(&format!("{} {}", done.len(), action.done()))?;
    }
    if refused > 0 {
        Err(CliError::Some { refused, all })
    } else {
        Ok(())
    }
}

fn complain(id: u64, refused: u64, error: &str, console: &mut Console<'_>) -> Result<(), CliError> {
    if refused <= MAX_SHOWN {
        console.progress_done()?;
        writeln!(console.err, "{id}: {error}")?;
    }
    Ok(())
}
