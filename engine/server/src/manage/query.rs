//! `query`: questions in SQL to what is stored, and to the server about itself.

mod flows;
mod lag;
mod numbers;
mod preview;
mod stations;
mod system;

use std::sync::Arc;
use std::time::Duration;

use std::net::SocketAddr;

use bytes::Bytes;
use millstream_access::Authenticator;
use millstream_admin::{Failure, FailureCode, PARQUET, QueryRequest, Reply};
use millstream_jetstream::shown_streams;
use millstream_sql::SqlFunctions;
use millstream_sql::query::{
    Event, Form, Limits, Looked, QueryError, Question, Table, Tables, start,
};
use serde_json::{Value, json};
use tokio::sync::mpsc;

pub(super) use self::preview::{Look, start_of};
use super::{MAX_QUERIES, Manager};
use crate::compile::{Caller, Named};

/// How long a query may take when its author does not say.
const TIME: Duration = Duration::from_secs(60);
/// How long it may take at all, in seconds.
const MAX_TIME: u64 = 3600;
/// Bytes that a query may hold.
const MEMORY: usize = 256 << 20;
/// Pieces of an answer that may wait for its reader.
const WAITING: usize = 16;

/// Clients of PostgreSQL at the same time.
const POSTGRES_CLIENTS: usize = 100;

/// The groups of tables.
const STATIONS: &str = "stations";
const SYSTEM: &str = "system";

/// What a statement may name: stations and other streams, and the server's own tables.
#[derive(Debug)]
struct Known(Arc<Manager>);

impl Tables for Known {
    fn groups(&self) -> Vec<String> {
        vec![STATIONS.to_owned(), SYSTEM.to_owned()]
    }

    fn names(&self, group: &str) -> Vec<String> {
        if group == SYSTEM {
            return system::names();
        }
        let streams = shown_streams(&self.0.node);
        streams.iter().map(|cell| cell.name.clone()).collect()
    }

    fn table(&self, group: &str, name: &str) -> Result<Option<Arc<dyn Table>>, String> {
        if group == SYSTEM {
            return Ok(system::table(&self.0, name));
        }
        stations::table(&self.0, name)
    }

    fn functions(&self, text: &str) -> Result<SqlFunctions, String> {
        let named = Named::of(&self.0.node.catalog(), text, Caller::Query);
        let compiler = &self.0.compiler;
        let modules = |digest: &str| compiler.functions().module(digest);
        compiler.load(named, &modules).map(SqlFunctions::from)
    }
}

/// How clients of PostgreSQL are served: the same tables, turns and limits.
pub(crate) fn postgres(
    manager: &Arc<Manager>,
    listen: SocketAddr,
    auth: Authenticator,
) -> millstream_postgres::Options {
    millstream_postgres::Options {
        listen,
        tls: None,
        auth,
        tables: Arc::new(Known(Arc::clone(manager))),
        turns: Arc::clone(&manager.queries),
        memory: MEMORY,
        time: TIME,
        most_time: Duration::from_secs(MAX_TIME),
        connections: POSTGRES_CLIENTS,
        version: env!("CARGO_PKG_VERSION").to_owned(),
    }
}

impl Manager {
    /// Answers once it is known whether the statement can be run at all.
    pub(super) async fn query(&self, mut request: QueryRequest) -> Result<Reply, Failure> {
        if let Some(asked) = request.preview.take() {
            return self.preview(request, asked).await;
        }
        match flows::Statement::of(&request.sql) {
            None => {}
            Some(flows::Statement::Show(question)) => question.clone_into(&mut request.sql),
            Some(statement) => return self.flow_statement(statement, &request).await,
        }
        if request.parquet {
            return file(self.ask(request, Form::Parquet)?).await;
        }
        let mut heard = self.ask(request, Form::Json)?;
        let first = match heard.recv().await {
            Some(Event::End(Err(error))) => return Err(failure(&error)),
            Some(first) => first,
            None => return Err(ended()),
        };
        let (lines, receiver) = mpsc::channel(WAITING);
        tokio::spawn(async move {
            let mut next = Some(first);
            while let Some(event) = next {
                if lines.send(told(event)).await.is_err() {
                    return;
                }
                next = heard.recv().await;
            }
        });
        Ok(Reply::Lines(receiver))
    }

    /// Starts a question.
    fn ask(&self, request: QueryRequest, form: Form) -> Result<mpsc::Receiver<Event>, Failure> {
        let time = time(&request, TIME.as_secs())?;
        let turn = Arc::clone(&self.queries).try_acquire_owned();
        let turn = turn.map_err(|_| {
            let error = format!("{MAX_QUERIES} queries run already");
            unavailable(error, "try again when one of them is done")
        })?;
        let me = self.me.upgrade();
        let me = me.ok_or_else(|| unavailable("server stops".to_owned(), "ask another one"))?;
        let limits = Limits {
            memory: MEMORY,
            time,
        };
        let (events, heard) = mpsc::channel(WAITING);
        let tell = move |event| {
            // Held until the query is done.
            let _turn = &turn;
            events.blocking_send(event).is_ok()
        };
        let question = Question {
            text: request.sql,
            form,
            ..Question::default()
        };
        start(question, Arc::new(Known(me)), limits, tell).map_err(|error| {
            let error = format!("no thread for the query: {error}");
            unavailable(error, "try again when there is less to do")
        })?;
        Ok(heard)
    }
}

/// How long a query may take.
fn time(request: &QueryRequest, default: u64) -> Result<Duration, Failure> {
    let seconds = request.timeout.unwrap_or(default);
    if (1..=MAX_TIME).contains(&seconds) {
        return Ok(Duration::from_secs(seconds));
    }
    let error = format!("`timeout` is {seconds} seconds");
    let hint = format!("from 1 to {MAX_TIME} seconds are possible");
    Err(Failure::new(FailureCode::BadRequest, error, hint))
}

fn unavailable(error: String, hint: &'static str) -> Failure {
    Failure::new(FailureCode::Unavailable, error, hint)
}

fn ended() -> Failure {
    unavailable("query ended".to_owned(), "see the log")
}

/// Answers with the first bytes at hand: what fails before them is told as any failure is.
async fn file(mut heard: mpsc::Receiver<Event>) -> Result<Reply, Failure> {
    let first = loop {
        match heard.recv().await {
            Some(Event::File(bytes)) => break bytes,
            Some(Event::End(Err(error))) => return Err(failure(&error)),
            Some(Event::End(Ok(_))) | None => return Err(ended()),
            Some(_) => {}
        }
    };
    let (sender, pieces) = mpsc::channel(WAITING);
    tokio::spawn(async move {
        let mut next = Ok(Bytes::from(first));
        loop {
            let failed = next.is_err();
            if sender.send(next).await.is_err() || failed {
                return;
            }
            next = loop {
                match heard.recv().await {
                    Some(Event::File(bytes)) => break Ok(bytes.into()),
                    Some(Event::End(Ok(_))) => return,
                    Some(Event::End(Err(error))) => break Err(failure(&error)),
                    None => break Err(ended()),
                    Some(_) => {}
                }
            };
        }
    });
    Ok(Reply::File {
        kind: PARQUET,
        pieces,
    })
}

/// An event as lines of the answer.
fn told(event: Event) -> Bytes {
    let value = match event {
        Event::Rows(rows) => {
            let mut lines = Vec::with_capacity(rows.len() + rows.len() / 8);
            for row in rows
                .split(|byte| *byte == b'\n')
                .filter(|row| !row.is_empty())
            {
                lines.extend_from_slice(b"{\"row\":");
                lines.extend_from_slice(row);
                lines.extend_from_slice(b"}\n");
            }
            return lines.into();
        }
        Event::Columns(columns) => {
            let column = |(name, kind)| json!({ "name": name, "type": kind });
            json!({ "columns": columns.into_iter().map(column).collect::<Vec<_>>() })
        }
        // Of other forms than this.
        Event::Kinds(_) | Event::Cells(_) | Event::File(_) => return Bytes::new(),
        Event::Progress(looked) => json!({ "progress": seen(&looked) }),
        Event::End(Ok(looked)) => json!({ "end": seen(&looked) }),
        Event::End(Err(error)) => failure(&error).body(),
    };
    format!("{value}\n").into()
}

fn seen(looked: &Looked) -> Value {
    let Looked {
        records,
        rows,
        skipped,
        first_skipped,
    } = looked;
    let mut value = json!({ "rows": rows, "records": records });
    if *skipped > 0 {
        value["skipped"] = json!(skipped);
        value["first_skipped"] = json!(first_skipped);
    }
    value
}

fn failure(error: &QueryError) -> Failure {
    let (code, hint) = match error {
        QueryError::Statement(wrong) => {
            let place = format!(
                "line {}, column {}: {}",
                wrong.line, wrong.column, wrong.message
            );
            let hint = wrong.hint.clone();
            let hint = hint.unwrap_or_else(|| "mend the statement".to_owned());
            let details = json!({ "line": wrong.line, "column": wrong.column });
            return Failure::new(FailureCode::BadRequest, place, hint).with_details(details);
        }
        QueryError::Memory(_) | QueryError::Deadline(_) => (
            FailureCode::Refused,
            "ask for less, or for longer with `timeout`",
        ),
        QueryError::Cancelled => (FailureCode::Unavailable, "ask again"),
        QueryError::Failed(_) => (
            FailureCode::Refused,
            "filter the rows out that cannot be computed, or mend the statement",
        ),
    };
    Failure::new(code, error.to_string(), hint)
}
