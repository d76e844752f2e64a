//! Statements of the session: settings, and transactions, which are nothing where everything only reads.

use std::sync::Arc;

use futures_util::stream;
use pgwire::api::results::{QueryResponse, Response, Tag};
use pgwire::error::{PgWireError, PgWireResult};

use crate::cursors;
use crate::encode::{text_fields, text_row};
use crate::errors::error;
use crate::session::Session;
use crate::startup::POSTGRES_VERSION;
use crate::statements::Local;

/// The columns of an answer, where a statement has one.
pub(crate) fn columns(local: &Local) -> Vec<String> {
    match local {
        Local::Show(name) => vec![name.clone()],
        Local::ShowAll => ["name", "setting", "description"].map(str::to_owned).into(),
        _ => Vec::new(),
    }
}

/// Carries a statement out; prepared statements are forgotten by who keeps them.
pub(crate) fn run(local: &Local, session: &Session) -> PgWireResult<Response> {
    let refused = |why: String| error("22023", why);
    match local {
        Local::Set(name, value) => {
            session.set(name, value.as_deref()).map_err(refused)?;
            let tag = if value.is_some() { "SET" } else { "RESET" };
            Ok(Response::Execution(Tag::new(tag)))
        }
        Local::ResetAll => {
            for name in session.all().keys() {
                session.set(name, None).map_err(refused)?;
            }
            Ok(Response::Execution(Tag::new("RESET")))
        }
        Local::Show(name) => {
            let value = shown(name, session)?;
            Ok(rows(columns(local), vec![vec![value]]))
        }
        Local::ShowAll => {
            let row = |(name, value)| vec![name, value, String::new()];
            Ok(rows(
                columns(local),
                session.all().into_iter().map(row).collect(),
            ))
        }
        Local::Begin => Ok(Response::TransactionStart(Tag::new("BEGIN"))),
        Local::Close(name) => cursors::close(session, name.as_deref()),
        Local::Back => Ok(Response::TransactionStart(Tag::new("ROLLBACK"))),
        Local::End(word) => Ok(Response::TransactionEnd(Tag::new(word))),
        Local::Forget(_, tag) | Local::Nothing(tag) => Ok(Response::Execution(Tag::new(tag))),
    }
}

fn shown(name: &str, session: &Session) -> Result<String, PgWireError> {
    match name.to_ascii_lowercase().as_str() {
        "server_version" => return Ok(POSTGRES_VERSION.to_owned()),
        "server_version_num" => return Ok("150000".to_owned()),
        _ => {}
    }
    session.get(name).ok_or_else(|| {
        error(
            "42704",
            format!("there is no setting `{name}`: `SHOW ALL` lists them"),
        )
    })
}

fn rows(names: Vec<String>, values: Vec<Vec<String>>) -> Response {
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let fields = text_fields(&names);
    let row = |values: Vec<String>| {
        let values: Vec<&str> = values.iter().map(String::as_str).collect();
        Ok(text_row(&values))
    };
    let rows: Vec<_> = values.into_iter().map(row).collect();
    let mut response = QueryResponse::new(Arc::clone(&fields), stream::iter(rows));
    response.set_command_tag("SHOW");
    Response::Query(response)
}
