//! What the editor is told of statements: whether one is whole, and how a word may go on.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustyline::Context;
use rustyline::completion::Completer;
use rustyline::highlight::Highlighter;
use rustyline::hint::Hinter;
use rustyline::validate::{ValidationContext, ValidationResult, Validator};
use serde_json::Value;
use tokio::runtime::Handle;
use tokio::time::timeout;

use super::body;
use super::prompt::metadata;
use crate::client::Client;
use crate::commands::ended_with;
use crate::error::CliError;

/// How long somebody who presses Tab waits for the server.
const PATIENCE: Duration = Duration::from_secs(2);

/// What messages have besides their payload.
pub(super) const METADATA: [(&str, &str); 4] = [
    ("_subject", "string"),
    ("_time", "timestamp"),
    ("_headers", "json"),
    ("_sequence", "int64"),
];

const COMMANDS: [&str; 6] = ["\\d", "\\dt", "\\timing", "\\x", "\\?", "\\q"];

const KEYWORDS: &[&str] = &[
    "ALL",
    "AND",
    "ANY",
    "AS",
    "ASC",
    "AVG",
    "BETWEEN",
    "BY",
    "CASE",
    "CAST",
    "COALESCE",
    "COUNT",
    "CROSS",
    "CURRENT_DATE",
    "CURRENT_TIMESTAMP",
    "DATE_TRUNC",
    "DESC",
    "DISTINCT",
    "ELSE",
    "END",
    "EXCEPT",
    "EXCLUDE",
    "EXISTS",
    "EXPLAIN",
    "EXTRACT",
    "FALSE",
    "FILTER",
    "FIRST",
    "FROM",
    "FULL",
    "GROUP",
    "HAVING",
    "ILIKE",
    "IN",
    "INNER",
    "INTERSECT",
    "INTERVAL",
    "IS",
    "JOIN",
    "LAST",
    "LEFT",
    "LIKE",
    "LIMIT",
    "MAX",
    "MIN",
    "NOT",
    "NULL",
    "NULLS",
    "OFFSET",
    "ON",
    "OR",
    "ORDER",
    "OUTER",
    "OVER",
    "PARTITION",
    "RIGHT",
    "ROW_NUMBER",
    "SELECT",
    "SUM",
    "THEN",
    "TIMESTAMP",
    "TRUE",
    "UNION",
    "USING",
    "VALUES",
    "WHEN",
    "WHERE",
    "WITH",
];

/// Whether text is inside of something that a `;` does not end.
fn scan(text: &str, mut at_end: impl FnMut(usize)) -> bool {
    let mut rest = text.char_indices().peekable();
    while let Some((at, sign)) = rest.next() {
        match sign {
            '\'' | '"' if rest.by_ref().all(|(_, other)| other != sign) => return false,
            '-' if rest.next_if(|(_, next)| *next == '-').is_some() => {
                let _line = rest.by_ref().find(|(_, next)| *next == '\n');
            }
            '/' if rest.next_if(|(_, next)| *next == '*').is_some() => {
                let mut before = ' ';
                let closed = rest.by_ref().any(|(_, next)| {
                    let closed = before == '*' && next == '/';
                    before = next;
                    closed
                });
                if !closed {
                    return false;
                }
            }
            ';' => at_end(at),
            _ => {}
        }
    }
    true
}

/// Whether nothing more has to be typed: a command of the prompt, or statements up to a `;`.
fn is_whole(text: &str) -> bool {
    let trimmed = text.trim();
    if trimmed.is_empty() || trimmed.starts_with('\\') || matches!(trimmed, "exit" | "quit") {
        return true;
    }
    let mut last = None;
    let closed = scan(text, |at| last = Some(at));
    closed
        && last.is_some_and(|at| {
            let behind = text[at + 1..].trim();
            behind.is_empty() || behind.starts_with("--")
        })
}

/// The statements of a text, each without its `;`.
pub(super) fn statements(text: &str) -> Vec<&str> {
    let mut ends = Vec::new();
    scan(text, |at| ends.push(at));
    ends.push(text.len());
    let mut from = 0;
    let mut found = Vec::new();
    for end in ends {
        let own = text[from..end].trim();
        if !own.is_empty() && !own.lines().all(|line| line.trim_start().starts_with("--")) {
            found.push(own);
        }
        from = (end + 1).min(text.len());
    }
    found
}

/// What is known of the server's tables: asked for when it is needed, kept until a statement ran.
#[derive(Clone)]
pub(super) struct Known {
    client: Client,
    handle: Handle,
    kept: Arc<Mutex<Kept>>,
}

#[derive(Default)]
struct Kept {
    tables: Option<Vec<String>>,
    functions: Option<Vec<String>>,
    columns: HashMap<String, Vec<String>>,
}

impl Known {
    pub(super) fn new(client: Client, handle: Handle) -> Self {
        Self {
            client,
            handle,
            kept: Arc::default(),
        }
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        // What is in there is whole whoever panicked.
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn forget(&self) {
        *self.kept() = Kept::default();
    }

    /// The columns and rows of an answer.
    async fn ask(&self, sql: &str) -> Result<(Vec<Value>, Vec<Value>), CliError> {
        let mut lines = self.client.post_lines(&["query"], &body(sql, None)).await?;
        let (mut columns, mut rows) = (Vec::new(), Vec::new());
        while let Some(mut line) = lines.next().await? {
            if let Some(Value::Array(found)) = line.get_mut("columns").map(Value::take) {
                columns = found;
            } else if let Some(row) = line.get_mut("row").map(Value::take) {
                rows.push(row);
            } else if line.get("error").is_some() {
                return Err(ended_with(line));
            }
        }
        Ok((columns, rows))
    }

    /// The columns of a table, those of every message last.
    pub(super) async fn columns(&self, table: &str) -> Result<Vec<Value>, CliError> {
        let all: Vec<&str> = METADATA.iter().map(|(name, _)| *name).collect();
        let (mut columns, _) = self.ask(&format!("SELECT * FROM {table} LIMIT 0")).await?;
        let stored = format!("SELECT {} FROM {table} LIMIT 0", all.join(", "));
        let shown = |name: &str| columns.iter().any(|column| column["name"] == name);
        if !shown("_sequence") && self.ask(&stored).await.is_ok() {
            columns.extend(metadata());
        }
        Ok(columns)
    }

    /// Names as they are written in a statement; none where the server does not answer in time.
    fn tables(&self) -> Vec<String> {
        if let Some(tables) = &self.kept().tables {
            return tables.clone();
        }
        let asked = self.ask("SELECT \"group\", name FROM system.tables ORDER BY name");
        let found = self.handle.block_on(timeout(PATIENCE, asked));
        let Ok(Ok((_, rows))) = found else {
            return Vec::new();
        };
        let name = |row: &Value| {
            let name = written(row["name"].as_str()?);
            let group = row["group"].as_str()?;
            Some(if group == "stations" {
                name
            } else {
                format!("{group}.{name}")
            })
        };
        let tables: Vec<String> = rows.iter().filter_map(name).collect();
        self.kept().tables = Some(tables.clone());
        tables
    }

    /// Deployed functions as a call of them begins.
    fn functions(&self) -> Vec<String> {
        if let Some(functions) = &self.kept().functions {
            return functions.clone();
        }
        let asked =
            self.ask("SELECT sql FROM system.functions WHERE sql IS NOT NULL ORDER BY name");
        let found = self.handle.block_on(timeout(PATIENCE, asked));
        let Ok(Ok((_, rows))) = found else {
            return Vec::new();
        };
        let name = |row: &Value| {
            let (name, _) = row["sql"].as_str()?.split_once('(')?;
            Some(format!("{name}("))
        };
        let functions: Vec<String> = rows.iter().filter_map(name).collect();
        self.kept().functions = Some(functions.clone());
        functions
    }

    fn columns_of(&self, table: &str) -> Vec<String> {
        if let Some(columns) = self.kept().columns.get(table) {
            return columns.clone();
        }
        let found = self.handle.block_on(timeout(PATIENCE, self.columns(table)));
        let Ok(Ok(columns)) = found else {
            return Vec::new();
        };
        let name = |column: &Value| Some(written(column["name"].as_str()?));
        let columns: Vec<String> = columns.iter().filter_map(name).collect();
        self.kept()
            .columns
            .insert(table.to_owned(), columns.clone());
        columns
    }
}

/// A name in quotes where it needs them.
fn written(name: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let first = name
        .chars()
        .next()
        .is_some_and(|c| c.is_ascii_alphabetic() || c == '_');
    if first && name.chars().all(plain) && !KEYWORDS.contains(&name.to_ascii_uppercase().as_str()) {
        name.to_owned()
    } else {
        format!("\"{}\"", name.replace('"', "\"\""))
    }
}

/// What the editor asks.
pub(super) struct Helper {
    known: Known,
}

impl Helper {
    pub(super) fn new(known: Known) -> Self {
        Self { known }
    }
}

/// Words of a statement, table names with their dots.
fn words(text: &str) -> impl Iterator<Item = &str> {
    let part = |c: char| !(c.is_alphanumeric() || "_.\"-$".contains(c));
    text.split(part).filter(|word| !word.is_empty())
}

/// Where the word begins that ends at a place.
fn begin(line: &str) -> usize {
    let part = |c: char| c.is_alphanumeric() || "_.\"\\$".contains(c);
    line.char_indices()
        .rev()
        .take_while(|(_, c)| part(*c))
        .last()
        .map_or(line.len(), |(at, _)| at)
}

impl Helper {
    fn candidates(&self, text: &str, before: &str, word: &str) -> Vec<String> {
        if word.starts_with('\\') {
            let own = COMMANDS.iter().filter(|own| own.starts_with(word));
            return own.map(|own| (*own).to_owned()).collect();
        }
        let small = word.to_lowercase();
        let goes_on = |name: &String| name.to_lowercase().starts_with(&small);
        let last = words(before).last().map(str::to_ascii_uppercase);
        let tables = self.known.tables();
        let is_table = matches!(last.as_deref(), Some("FROM" | "JOIN" | "\\D" | "D" | "DT"));
        if is_table {
            return tables.into_iter().filter(goes_on).collect();
        }
        let mentioned = tables
            .iter()
            .filter(|table| words(text).any(|word| word == table.as_str()));
        let columns: Vec<String> = mentioned
            .flat_map(|table| self.known.columns_of(table))
            .collect();
        // `f.` goes on with a column, whatever `f` is.
        if let Some((front, part)) = word.rsplit_once('.')
            && front != "system"
        {
            let part = part.to_lowercase();
            let mut found: Vec<String> = columns
                .into_iter()
                .filter(|column| column.to_lowercase().starts_with(&part))
                .map(|column| format!("{front}.{column}"))
                .collect();
            found.dedup();
            return found;
        }
        let is_small = word.chars().any(char::is_lowercase);
        let keyword = |word: &&str| {
            if is_small {
                word.to_lowercase()
            } else {
                (*word).to_owned()
            }
        };
        let keywords = KEYWORDS.iter().map(keyword).filter(|_| !word.is_empty());
        let mut found: Vec<String> = columns
            .into_iter()
            .chain(tables)
            .chain(self.known.functions())
            .chain(keywords)
            .filter(goes_on)
            .collect();
        let mut seen = std::collections::HashSet::new();
        found.retain(|name| seen.insert(name.clone()));
        found
    }
}

impl Completer for Helper {
    type Candidate = String;

    fn complete(
        &self,
        line: &str,
        at: usize,
        _: &Context<'_>,
    ) -> rustyline::Result<(usize, Vec<String>)> {
        let typed = &line[..at];
        let begin = begin(typed);
        Ok((
            begin,
            self.candidates(line, &typed[..begin], &typed[begin..]),
        ))
    }
}

impl Validator for Helper {
    fn validate(&self, context: &mut ValidationContext<'_>) -> rustyline::Result<ValidationResult> {
        if is_whole(context.input()) {
            return Ok(ValidationResult::Valid(None));
        }
        Ok(ValidationResult::Incomplete)
    }
}

impl Hinter for Helper {
    type Hint = String;
}

impl Highlighter for Helper {}

impl rustyline::Helper for Helper {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_statement_is_whole_with_its_semicolon() {
        for (text, want) in [
            ("", true),
            ("\\d flights", true),
            ("exit", true),
            ("SELECT 1", false),
            ("SELECT 1;", true),
            ("SELECT 1 ; -- done", true),
            ("SELECT ';", false),
            ("SELECT ';'", false),
            ("SELECT 'it''s;' AS a;", true),
            ("SELECT 1 /* ; ", false),
            ("SELECT 1 /* ; */;", true),
            ("SELECT 1; SELECT 2", false),
            ("SELECT 1 -- ;", false),
        ] {
            assert_eq!(is_whole(text), want, "{text}");
        }
        assert_eq!(
            statements("SELECT ';' AS a ;; -- no\n; SELECT 2"),
            ["SELECT ';' AS a", "SELECT 2"]
        );
    }

    #[test]
    fn names_are_written_so_that_they_can_be_read() {
        assert_eq!(written("dep_delay"), "dep_delay");
        assert_eq!(written("orders-eu"), "\"orders-eu\"");
        assert_eq!(written("group"), "\"group\"");
        assert_eq!(written("1a"), "\"1a\"");
        assert_eq!(begin("SELECT a.b"), 7);
        assert_eq!(begin("SELECT count(de"), 13);
    }
}
