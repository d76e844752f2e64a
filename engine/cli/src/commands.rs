//! One file a command.

mod apply;
mod bench;
mod dead_letters;
mod flow;
mod function;
mod journal;
mod publish;
mod schema;
mod sql;
mod tail;
mod things;

use serde_json::Value;

use crate::args::{Command, Connection, Format};
use crate::client::Client;
use crate::console::Console;
use crate::error::{CliError, exit};

/// What every command needs.
struct Session<'s, 'c> {
    client: Client,
    format: Format,
    console: &'s mut Console<'c>,
}

/// Carries a command out and returns the process's exit status (see [`exit`]).
pub async fn run(connection: &Connection, command: &Command, console: &mut Console<'_>) -> i32 {
    let format = connection.output;
    let result = match Client::new(&connection.server) {
        Ok(client) => {
            dispatch(
                command,
                Session {
                    client,
                    format,
                    console: &mut *console,
                },
            )
            .await
        }
        Err(error) => Err(error),
    };
    finish(format, result, console)
}

/// Shows what a check of a log's files found, as `journal verify --online` does; returns the exit status.
pub fn verified(connection: &Connection, report: &Value, console: &mut Console<'_>) -> i32 {
    let format = connection.output;
    let result = journal::show(report, format, console);
    finish(format, result, console)
}

/// Shows what the tests of a function came to: `{"function", "passed", "failed", "tests": [{"name", "ok", "ms",
/// "problems"}]}`; returns the exit status, 1 when one failed.
pub fn tested(connection: &Connection, report: &Value, console: &mut Console<'_>) -> i32 {
    let format = connection.output;
    let result = function::tested(report, format, console);
    finish(format, result, console)
}

/// Says why a command ended that the server's program carries out itself; returns the exit status.
pub fn refused(connection: &Connection, error: CliError, console: &mut Console<'_>) -> i32 {
    finish(connection.output, Err(error), console)
}

fn finish(format: Format, result: Result<(), CliError>, console: &mut Console<'_>) -> i32 {
    // What is still buffered must come before the error text, and a full disk must not pass as done.
    let result = result.and_then(|()| Ok(console.out.flush()?));
    match result {
        Ok(()) => exit::DONE,
        Err(error) => {
            let status = error.exit_status();
            if status != exit::DONE {
                console.complain(format, &error);
            }
            status
        }
    }
}

async fn dispatch(command: &Command, session: Session<'_, '_>) -> Result<(), CliError> {
    match command {
        Command::Apply(args) => apply::apply(args, session).await,
        Command::Get { kind, name } => things::get(*kind, name.as_deref(), session).await,
        Command::Describe { kind, name } => things::describe(*kind, name, session).await,
        Command::Delete { kind, name } => things::delete(*kind, name, session).await,
        Command::Publish(args) => publish::publish(args, session).await,
        Command::Tail(args) => tail::tail(args, session).await,
        Command::Status => things::status(session).await,
        Command::Schema(command) => schema::schema(command, session).await,
        Command::Sql(args) => sql::sql(args, session).await,
        Command::Flow(command) => flow::flow(command, session).await,
        Command::Function(command) => function::function(command, session).await,
        Command::Bench(args) => bench::bench(args, session).await,
        Command::DeadLetters(command) => dead_letters::dead_letters(command, session).await,
        Command::Journal(command) => journal::journal(command, session).await,
    }
}

/// What the last line of an answer in lines says went wrong.
fn ended_with(last: Value) -> CliError {
    let text = |name: &str| last.get(name).and_then(Value::as_str).map(str::to_owned);
    let status = match last["code"].as_u64() {
        Some(11) => 404,
        Some(10 | 12..=14) => 422,
        _ => 500,
    };
    CliError::Server {
        status,
        error: text("error").unwrap_or_else(|| "the answer ended early".to_owned()),
        hint: text("hint").unwrap_or_default(),
        body: last,
    }
}
