//! The prompt: lines are edited, earlier ones are remembered in a file, and Ctrl-C ends what runs and not the program.

use std::path::PathBuf;
use std::time::Instant;

use rustyline::config::{Behavior, CompletionType};
use rustyline::error::ReadlineError;
use rustyline::history::FileHistory;
use rustyline::{Config, Editor};
use serde_json::Value;
use tokio::runtime::Handle;
use tokio::task::block_in_place;

use super::helper::{Helper, Known, METADATA, statements};
use super::{How, ask};
use crate::args::Format;
use crate::client::Client;
use crate::console::Console;
use crate::error::CliError;
use crate::table::Table;

/// Statements that are remembered.
const REMEMBERED: usize = 5000;

const HELP: &str = "\
Statements end with `;` and may take several lines. Tab completes words, tables and columns; Ctrl-R searches earlier statements;
Ctrl-C ends the statement that runs, or forgets the one that is typed.
  \\d            tables
  \\d TABLE      columns of a table
  \\timing       show how long statements take, or no longer
  \\x            show rows with a line per value, or no longer
  \\?            this text
  \\q            end, as Ctrl-D does
";

type Line = Editor<Helper, FileHistory>;

/// Asks until there is nothing more to ask.
pub(super) async fn run(
    how: How,
    client: &Client,
    console: &mut Console<'_>,
) -> Result<(), CliError> {
    let mut prompt = Prompt {
        how,
        client,
        timing: false,
        known: Known::new(client.clone(), Handle::current()),
    };
    let file = history(console.variables);
    let mut editor = editor(&prompt.known, file.as_ref())?;
    writeln!(console.err, "Type `\\?` for help, `\\q` to end.")?;
    loop {
        console.out.flush()?;
        console.err.flush()?;
        // The terminal is waited for where waiting holds nobody up.
        let text = match block_in_place(|| editor.readline("sql> ")) {
            Ok(text) => text,
            Err(ReadlineError::Interrupted) => continue,
            Err(ReadlineError::Eof) => return Ok(()),
            Err(ReadlineError::Io(error)) => return Err(error.into()),
            Err(error) => return Err(std::io::Error::other(error.to_string()).into()),
        };
        remember(&mut editor, file.as_ref(), &text);
        match text.trim() {
            "" => {}
            "exit" | "quit" | "\\q" | "exit;" | "quit;" => return Ok(()),
            own if own.starts_with('\\') => prompt.own(own, console).await?,
            _ => {
                for statement in statements(&text) {
                    prompt.ask(statement, console).await?;
                }
            }
        }
    }
}

/// The file of earlier statements, by the rules of the desktop.
fn history(variables: &(dyn Fn(&str) -> Option<String> + Sync)) -> Option<PathBuf> {
    let set = |name: &str| variables(name).filter(|value| !value.is_empty());
    let state = set("XDG_STATE_HOME").map(PathBuf::from);
    let state = state.or_else(|| Some(PathBuf::from(set("HOME")?).join(".local/state")))?;
    Some(state.join("millstream").join("sql_history"))
}

fn editor(known: &Known, file: Option<&PathBuf>) -> Result<Line, CliError> {
    let config = Config::builder()
        .auto_add_history(false)
        .behavior(Behavior::Stdio)
        .completion_type(CompletionType::List)
        .history_ignore_dups(true)
        .and_then(|config| config.max_history_size(REMEMBERED));
    let failed = |error: ReadlineError| std::io::Error::other(error.to_string());
    let config = config.map_err(failed)?.build();
    let mut editor = Line::with_config(config).map_err(failed)?;
    editor.set_helper(Some(Helper::new(known.clone())));
    if let Some(file) = file {
        // The first time there is none.
        let _none = editor.load_history(file);
    }
    Ok(editor)
}

/// Earlier statements are a comfort: a disk that refuses them does not stop anybody.
fn remember(editor: &mut Line, file: Option<&PathBuf>, text: &str) {
    if text.trim().is_empty() || !editor.add_history_entry(text).unwrap_or(false) {
        return;
    }
    if let Some(file) = file {
        if let Some(folder) = file.parent() {
            let _refused = std::fs::create_dir_all(folder);
        }
        let _refused = editor.append_history(file);
    }
}

struct Prompt<'a> {
    how: How,
    client: &'a Client,
    timing: bool,
    known: Known,
}

impl Prompt<'_> {
    /// Runs a statement; what goes wrong is shown, and typing goes on.
    async fn ask(&mut self, statement: &str, console: &mut Console<'_>) -> Result<(), CliError> {
        let begun = Instant::now();
        let asked = tokio::select! {
            asked = ask(&self.how, statement, self.client, console) => Some(asked),
            // From the first time on the signal no longer ends the program.
            _ = tokio::signal::ctrl_c() => None,
        };
        match asked {
            Some(Ok(())) => {}
            Some(Err(error)) => console.complain(self.how.format, &error),
            None => {
                // The answer was dropped, by which the server knows.
                console.progress_done()?;
                writeln!(console.err, "cancelled")?;
            }
        }
        if self.timing {
            let took = begun.elapsed();
            writeln!(console.err, "time: {:.1} ms", took.as_secs_f64() * 1000.0)?;
        }
        // What was just made or dropped shall be known.
        self.known.forget();
        Ok(())
    }

    /// A command of the prompt's own.
    async fn own(&mut self, command: &str, console: &mut Console<'_>) -> Result<(), CliError> {
        let command = command.trim_end_matches(';');
        let (word, rest) = command
            .split_once(char::is_whitespace)
            .unwrap_or((command, ""));
        let on = |on: bool| if on { "on" } else { "off" };
        match (word, rest.trim()) {
            ("\\?" | "\\h", _) => console.text(HELP)?,
            ("\\timing", _) => {
                self.timing = !self.timing;
                writeln!(console.err, "timing is {}", on(self.timing))?;
            }
            ("\\x", _) => {
                self.how.expanded = !self.how.expanded;
                writeln!(console.err, "a line per value is {}", on(self.how.expanded))?;
            }
            ("\\d" | "\\dt", "") => {
                let sql = "SELECT \"group\", t.name, s.messages, s.last_ts FROM system.tables t \
                           LEFT JOIN system.streams s ON s.name = t.name AND \"group\" = 'stations' ORDER BY 1, 2";
                self.ask(sql, console).await?;
            }
            ("\\d" | "\\dt", table) => self.columns(table, console).await?,
            _ => writeln!(
                console.err,
                "there is no command `{word}`: `\\?` lists what there is"
            )?,
        }
        Ok(())
    }

    async fn columns(&self, table: &str, console: &mut Console<'_>) -> Result<(), CliError> {
        match self.known.columns(table).await {
            Ok(columns) => {
                let mut shown = Table::new(["column", "type"]);
                for column in columns {
                    let text = |name: &str| column[name].as_str().unwrap_or_default().to_owned();
                    shown.row(vec![text("name"), text("type")]);
                }
                console.text(&shown.draw())?;
            }
            Err(error) => console.complain(Format::Table, &error),
        }
        Ok(())
    }
}

/// The columns of messages besides those of their payload, as the server lists columns.
pub(super) fn metadata() -> Vec<Value> {
    let column = |(name, kind): (&str, &str)| serde_json::json!({ "name": name, "type": kind });
    METADATA.into_iter().map(column).collect()
}
