//! Cursors: a question whose rows are fetched in parts by statements, `DECLARE`, `FETCH`, `MOVE` and `CLOSE`.

use std::fmt;
use std::sync::Arc;

use futures_util::{Stream, StreamExt as _, stream};
use millstream_sql::query::CellKind;
use pgwire::api::portal::Format;
use pgwire::api::results::{QueryResponse, Response, Tag};
use pgwire::error::PgWireResult;
use pgwire::messages::data::DataRow;
use tokio::sync::{Mutex, OwnedMutexGuard};

use crate::answer::{Answer, Rows};
use crate::encode::infos;
use crate::errors::error;
use crate::session::Session;

/// An open cursor.
pub(crate) struct Cursor {
    pub(crate) columns: Vec<(String, CellKind)>,
    /// Whether it outlives its transaction.
    pub(crate) is_held: bool,
    /// `None` when there are no more.
    rows: Arc<Mutex<Option<Rows>>>,
}

impl fmt::Debug for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cursor").finish_non_exhaustive()
    }
}

/// What of a cursor a statement wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fetch {
    pub(crate) name: String,
    /// How many rows; `None` is all that are left.
    pub(crate) count: Option<usize>,
    /// Whether they are passed over.
    pub(crate) is_move: bool,
}

fn unknown(name: &str) -> pgwire::error::PgWireError {
    error("34000", format!("there is no cursor `{name}`"))
}

/// The columns of a cursor.
pub(crate) fn columns(session: &Session, name: &str) -> PgWireResult<Vec<(String, CellKind)>> {
    let cursors = session.cursors();
    let cursor = cursors.get(name).ok_or_else(|| unknown(name))?;
    Ok(cursor.columns.clone())
}

/// Whether a cursor may be made now.
pub(crate) fn may_declare(
    session: &Session,
    name: &str,
    is_held: bool,
    is_transaction: bool,
) -> PgWireResult<()> {
    if !is_held && !is_transaction {
        let why = "a cursor lives in a transaction: `BEGIN` one, or declare the cursor `WITH HOLD`";
        return Err(error("25P01", why));
    }
    if session.cursors().contains_key(name) {
        return Err(error("42P03", format!("cursor `{name}` is open already")));
    }
    Ok(())
}

/// Opens a cursor over an answer.
pub(crate) fn declare(session: &Session, name: &str, is_held: bool, answer: Answer) -> Response {
    let cursor = Cursor {
        columns: answer.columns.clone(),
        is_held,
        rows: Arc::new(Mutex::new(Some(answer.unread(&Format::UnifiedText)))),
    };
    session.cursors().insert(name.to_owned(), Arc::new(cursor));
    Response::Execution(Tag::new("DECLARE CURSOR"))
}

/// Closes one; `None` is all.
pub(crate) fn close(session: &Session, name: Option<&str>) -> PgWireResult<Response> {
    match name {
        None => session.cursors().clear(),
        Some(name) => {
            session
                .cursors()
                .remove(name)
                .ok_or_else(|| unknown(name))?;
        }
    }
    Ok(Response::Execution(Tag::new("CLOSE CURSOR")))
}

/// Closes those that end with a transaction.
pub(crate) fn end(session: &Session) {
    session.cursors().retain(|_, cursor| cursor.is_held);
}

/// The next rows of a cursor.
pub(crate) async fn fetch(
    session: &Session,
    fetch: &Fetch,
    format: &Format,
) -> PgWireResult<Response> {
    let name = &fetch.name;
    let found = session.cursors().get(name).cloned();
    let cursor = found.ok_or_else(|| unknown(name))?;
    let mut rows = Arc::clone(&cursor.rows).lock_owned().await;
    if let Some(rows) = &mut *rows
        && !fetch.is_move
    {
        rows.set_format(format);
    }
    let part = part(rows, fetch.count);
    if fetch.is_move {
        let mut part = std::pin::pin!(part);
        let mut count = 0;
        while let Some(row) = part.next().await {
            row?;
            count += 1;
        }
        return Ok(Response::Execution(Tag::new("MOVE").with_rows(count)));
    }
    let fields = Arc::new(infos(&cursor.columns, format));
    let mut response = QueryResponse::new(fields, part);
    response.set_command_tag("FETCH");
    Ok(Response::Query(response))
}

/// So many rows, as they come.
fn part(
    rows: OwnedMutexGuard<Option<Rows>>,
    count: Option<usize>,
) -> impl Stream<Item = PgWireResult<DataRow>> + Send {
    stream::unfold((rows, count), async |(mut rows, left)| {
        if left == Some(0) {
            return None;
        }
        let row = rows.as_mut()?.next().await;
        if row.is_none() {
            // What is over holds nothing.
            *rows = None;
        }
        Some((row?, (rows, left.map(|left| left - 1))))
    })
}
