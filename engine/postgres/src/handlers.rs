//! The two protocols: a text with statements whose rows follow at once, and statements that are prepared, bound and executed.

use std::fmt::Debug;
use std::ops::DerefMut as _;
use std::sync::{Arc, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{Sink, SinkExt as _, StreamExt as _};
use millstream_sql::query::CellKind;
use pgwire::api::portal::{Format, Portal, PortalExecutionState};
use pgwire::api::query::{
    ExtendedQueryHandler, SimpleQueryHandler, send_describe_response, send_execution_response,
    send_partial_query_response, send_query_response, send_ready_for_query,
};
use pgwire::api::results::{DescribePortalResponse, FieldInfo, QueryResponse, Response, Tag};
use pgwire::api::stmt::QueryParser;
use pgwire::api::store::{Entry, PortalStore};
use pgwire::api::{ClientInfo, ClientPortalStore, DEFAULT_NAME, PgWireConnectionState, Type};
use pgwire::error::{PgWireError, PgWireResult};
use pgwire::messages::PgWireBackendMessage;
use pgwire::messages::copy::{CopyData, CopyDone, CopyOutResponse};
use pgwire::messages::extendedquery::{Describe, Execute, TARGET_TYPE_BYTE_PORTAL};
use pgwire::messages::response::{EmptyQueryResponse, TransactionStatus};
use pgwire::messages::simplequery::Query;

use crate::answer::{Answer, Ended, ask, described};
use crate::copy::{Copy, Form};
use crate::cursors::{self, Fetch};
use crate::encode::{infos, kind_of, text_fields, type_of};
use crate::errors::{error, warning};
use crate::lists::Bound;
use crate::local;
use crate::parameters::{self, element};
use crate::serve::Shared;
use crate::session::Session;
use crate::statements::{Kind, Local, Piece, split};
use crate::text::Text;

/// What answers a connection's messages.
#[derive(Clone)]
pub(crate) struct Handlers(pub(crate) Arc<Shared>);

/// A statement that was prepared.
#[derive(Clone, Debug)]
pub(crate) struct Prepared(Arc<Inner>);

#[derive(Debug)]
enum Inner {
    Local(Local),
    Fetch(Fetch, Vec<(String, CellKind)>),
    Question {
        way: Way,
        text: Text,
        parameters: Vec<CellKind>,
        columns: Vec<(String, CellKind)>,
    },
}

/// What becomes of a question's rows.
#[derive(Debug)]
enum Way {
    Rows,
    Copy(Copy),
    Declare { name: String, is_held: bool },
}

#[async_trait]
impl SimpleQueryHandler for Handlers {
    async fn on_query<C>(&self, client: &mut C, query: Query) -> PgWireResult<()>
    where
        C: ClientInfo + ClientPortalStore + Sink<PgWireBackendMessage> + Unpin + Send + Sync,
        C::PortalStore: PortalStore,
        C::Error: Debug,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
    {
        if !matches!(client.state(), PgWireConnectionState::ReadyForQuery) {
            return Err(PgWireError::NotReadyForQuery);
        }
        client.set_state(PgWireConnectionState::QueryInProgress);
        let session = Session::of(client);
        let pieces = split(&query.query);
        if pieces.is_empty() {
            let empty = PgWireBackendMessage::EmptyQueryResponse(EmptyQueryResponse::new());
            client.feed(empty).await?;
        }
        for piece in &pieces {
            self.answer(client, &session, &query.query, piece).await?;
        }
        client.set_state(PgWireConnectionState::ReadyForQuery);
        let status = client.transaction_status();
        send_ready_for_query(client, status).await
    }

    async fn do_query<C>(&self, _: &mut C, _: &str) -> PgWireResult<Vec<Response>>
    where
        C: ClientInfo + ClientPortalStore + Sink<PgWireBackendMessage> + Unpin + Send + Sync,
        C::PortalStore: PortalStore,
        C::Error: Debug,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
    {
        // Statements are answered one by one, above.
        Ok(Vec::new())
    }
}

impl Handlers {
    /// Answers a statement of a text.
    async fn answer<C>(
        &self,
        client: &mut C,
        session: &Arc<Session>,
        whole: &str,
        piece: &Piece,
    ) -> PgWireResult<()>
    where
        C: ClientInfo + ClientPortalStore + Sink<PgWireBackendMessage> + Unpin + Send + Sync,
        C::PortalStore: PortalStore,
        C::Error: Debug,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
    {
        let format = &Format::UnifiedText;
        match &piece.kind {
            Kind::Local(own) => {
                forget(client, session, own);
                let response = local::run(own, session)?;
                return self.respond(client, response, true).await;
            }
            Kind::Fetch(fetch) => {
                let response = cursors::fetch(session, fetch, format).await?;
                return self.respond(client, response, true).await;
            }
            Kind::Wrong(why) => return Err(error("0A000", why)),
            Kind::Declare { name, is_held } => {
                let within = client.transaction_status() != TransactionStatus::Idle;
                cursors::may_declare(session, name, *is_held, within)?;
            }
            Kind::Question | Kind::Copy(_) => {}
        }
        let text = Text::new(whole, piece.at, &piece.text, &self.0, session);
        let answer = ask(&self.0, session, &text, Vec::new()).await?;
        match &piece.kind {
            Kind::Copy(copy) => copied(client, copy, answer).await,
            Kind::Declare { name, is_held } => {
                let response = cursors::declare(session, name, *is_held, answer);
                self.respond(client, response, true).await
            }
            _ => {
                let fields = infos(&answer.columns, format);
                let (rows, ended) = answer.rows(format);
                let response = QueryResponse::new(Arc::new(fields), rows);
                send_query_response(client, response, true).await?;
                warn(client, &ended).await
            }
        }
    }

    /// Sends what a statement of the session answers.
    async fn respond<C>(
        &self,
        client: &mut C,
        response: Response,
        describe: bool,
    ) -> PgWireResult<()>
    where
        C: ClientInfo + Sink<PgWireBackendMessage> + Unpin + Send + Sync,
        C::Error: Debug,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
    {
        match response {
            Response::Query(rows) => send_query_response(client, rows, describe).await,
            Response::TransactionStart(tag) => {
                client.set_transaction_status(TransactionStatus::Transaction);
                send_execution_response(client, tag).await
            }
            Response::TransactionEnd(tag) => {
                client.set_transaction_status(TransactionStatus::Idle);
                send_execution_response(client, tag).await
            }
            Response::Execution(tag) => send_execution_response(client, tag).await,
            // There are no others.
            _ => Ok(()),
        }
    }

    async fn execute<C>(
        &self,
        client: &mut C,
        portal: &Portal<Prepared>,
        most: usize,
    ) -> PgWireResult<()>
    where
        C: ClientInfo + ClientPortalStore + Sink<PgWireBackendMessage> + Unpin + Send + Sync,
        C::PortalStore: PortalStore<Statement = Prepared>,
        C::Error: Debug,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
    {
        if let Inner::Question {
            way: Way::Copy(copy),
            text,
            parameters,
            ..
        } = &*portal.statement.statement.0
        {
            let values = bound(portal, text, parameters)?;
            let answer = ask(&self.0, &Session::of(client), text, values).await?;
            return copied(client, copy, answer).await;
        }
        let state = portal.state();
        let mut state = state.lock().await;
        if matches!(*state, PortalExecutionState::Initial) {
            match ExtendedQueryHandler::do_query(self, client, portal, most).await? {
                Response::Query(rows) => *state = PortalExecutionState::Suspended(rows),
                response => {
                    self.respond(client, response, false).await?;
                    *state = PortalExecutionState::Finished;
                    return Ok(());
                }
            }
        }
        // Rows are sent as they come, with nothing gathered in between.
        let suspended = match state.deref_mut() {
            PortalExecutionState::Suspended(rows) => {
                send_partial_query_response(client, rows, most).await?
            }
            _ => {
                let mut none = QueryResponse::new(text_fields(&[]), futures_util::stream::empty());
                send_partial_query_response(client, &mut none, most).await?
            }
        };
        if !suspended {
            *state = PortalExecutionState::Finished;
        }
        Ok(())
    }
}

/// Sends an answer as a file.
async fn copied<C>(client: &mut C, copy: &Copy, answer: Answer) -> PgWireResult<()>
where
    C: Sink<PgWireBackendMessage> + Unpin,
    C::Error: Debug,
    PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
{
    let is_binary = copy.form == Form::Binary;
    let format = if is_binary {
        Format::UnifiedBinary
    } else {
        Format::UnifiedText
    };
    let columns = answer.columns.clone();
    let names: Vec<&str> = columns.iter().map(|(name, _)| name.as_str()).collect();
    let count = i16::try_from(names.len()).unwrap_or(i16::MAX);
    let forms = vec![i16::from(is_binary); names.len()];
    let begin = CopyOutResponse::new(i8::from(is_binary), count, forms);
    client
        .feed(PgWireBackendMessage::CopyOutResponse(begin))
        .await?;
    let data = |bytes| PgWireBackendMessage::CopyData(CopyData::new(bytes));
    // Clients want the head of bytes together with what follows, and the head of a text by itself.
    let mut head = copy.head(&names);
    if !is_binary && let Some(head) = head.take() {
        client.feed(data(head)).await?;
    }
    let mut behind = |bytes: Bytes| match head.take() {
        Some(head) => Bytes::from([head, bytes].concat()),
        None => bytes,
    };
    let (rows, ended) = answer.rows(&format);
    let mut rows = std::pin::pin!(rows);
    let mut count = 0;
    while let Some(row) = rows.next().await {
        client.feed(data(behind(copy.row(&row?)))).await?;
        count += 1;
    }
    if let Some(tail) = copy.tail() {
        client.feed(data(behind(tail))).await?;
    }
    client
        .feed(PgWireBackendMessage::CopyDone(CopyDone::new()))
        .await?;
    warn(client, &ended).await?;
    send_execution_response(client, Tag::new("COPY").with_rows(count)).await
}

/// Takes prepared statements and cursors away that a statement says to forget.
fn forget<C>(client: &C, session: &Session, own: &Local)
where
    C: ClientPortalStore,
    C::PortalStore: PortalStore,
{
    match own {
        Local::Forget(Some(name), _) => client.portal_store().rm_statement(name),
        Local::Forget(None, "DISCARD ALL") => session.cursors().clear(),
        Local::End(_) => {
            client.portal_store().clear_portals();
            cursors::end(session);
        }
        _ => {}
    }
}

/// Says what was left out of an answer that is over.
async fn warn<C>(client: &mut C, ended: &Ended) -> PgWireResult<()>
where
    C: Sink<PgWireBackendMessage> + Unpin,
    PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
{
    let looked = ended.lock().unwrap_or_else(PoisonError::into_inner).take();
    let Some(looked) = looked.filter(|looked| looked.skipped > 0) else {
        return Ok(());
    };
    let why = looked.first_skipped.unwrap_or_default();
    let notice = warning(format!(
        "{} of {} records are left out, the first because of this: {why}",
        looked.skipped, looked.records
    ));
    client
        .feed(PgWireBackendMessage::NoticeResponse(notice.into()))
        .await?;
    Ok(())
}

#[async_trait]
impl QueryParser for Handlers {
    type Statement = Prepared;

    async fn parse_sql<C>(
        &self,
        client: &C,
        sql: &str,
        types: &[Option<Type>],
    ) -> PgWireResult<Option<Prepared>>
    where
        C: ClientInfo + Unpin + Send + Sync,
    {
        let mut pieces = split(sql);
        if pieces.len() > 1 {
            let why = "a prepared statement is one statement: prepare each by itself";
            return Err(error("42601", why));
        }
        let Some(piece) = pieces.pop() else {
            return Ok(None);
        };
        let session = Session::of(client);
        let way = match piece.kind {
            Kind::Local(own) => return Ok(Some(Prepared(Arc::new(Inner::Local(own))))),
            Kind::Fetch(fetch) => {
                let columns = cursors::columns(&session, &fetch.name)?;
                return Ok(Some(Prepared(Arc::new(Inner::Fetch(fetch, columns)))));
            }
            Kind::Wrong(why) => return Err(error("0A000", why)),
            Kind::Question => Way::Rows,
            Kind::Copy(copy) => Way::Copy(copy),
            Kind::Declare { name, is_held } => Way::Declare { name, is_held },
        };
        let text = Text::new(sql, piece.at, &piece.text, &self.0, &session);
        let known = types.iter().map(|of| {
            let of = of.as_ref()?;
            kind_of(&element(of).unwrap_or_else(|| of.clone()))
        });
        let found = described(&self.0, &text, known.collect()).await?;
        let own = Inner::Question {
            way,
            text,
            parameters: found.parameters,
            columns: found.columns,
        };
        Ok(Some(Prepared(Arc::new(own))))
    }

    fn get_parameter_types(&self, prepared: &Prepared) -> PgWireResult<Vec<Type>> {
        match &*prepared.0 {
            Inner::Local(_) | Inner::Fetch(..) => Ok(Vec::new()),
            Inner::Question {
                parameters, text, ..
            } => {
                let of = |(index, kind): (usize, &CellKind)| match text.has_list(index + 1) {
                    true => type_of(&CellKind::List(Box::new(kind.clone()))),
                    false => type_of(kind),
                };
                Ok(parameters.iter().enumerate().map(of).collect())
            }
        }
    }

    fn get_result_schema(
        &self,
        prepared: &Prepared,
        format: Option<&Format>,
    ) -> PgWireResult<Vec<FieldInfo>> {
        let text = Format::UnifiedText;
        match &*prepared.0 {
            Inner::Local(own) => {
                let names = local::columns(own);
                let names: Vec<&str> = names.iter().map(String::as_str).collect();
                Ok(text_fields(&names).to_vec())
            }
            Inner::Fetch(fetch, _) if fetch.is_move => Ok(Vec::new()),
            Inner::Fetch(_, columns)
            | Inner::Question {
                way: Way::Rows,
                columns,
                ..
            } => Ok(infos(columns, format.unwrap_or(&text))),
            // Rows that are not sent as such.
            Inner::Question { .. } => Ok(Vec::new()),
        }
    }
}

#[async_trait]
impl ExtendedQueryHandler for Handlers {
    type Statement = Prepared;
    type QueryParser = Self;

    fn query_parser(&self) -> Arc<Self> {
        Arc::new(self.clone())
    }

    async fn on_execute<C>(&self, client: &mut C, message: Execute) -> PgWireResult<()>
    where
        C: ClientInfo + ClientPortalStore + Sink<PgWireBackendMessage> + Unpin + Send + Sync,
        C::PortalStore: PortalStore<Statement = Prepared>,
        C::Error: Debug,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
    {
        if !matches!(client.state(), PgWireConnectionState::ReadyForQuery) {
            return Err(PgWireError::NotReadyForQuery);
        }
        client.set_state(PgWireConnectionState::QueryInProgress);
        let name = message.name.as_deref().unwrap_or(DEFAULT_NAME);
        let most = usize::try_from(message.max_rows).unwrap_or(0);
        match client.portal_store().get_portal(name) {
            Some(Entry::Value(portal)) => self.execute(client, &portal, most).await?,
            Some(Entry::Empty) => {
                let empty = PgWireBackendMessage::EmptyQueryResponse(EmptyQueryResponse::new());
                client.feed(empty).await?;
            }
            None => return Err(PgWireError::PortalNotFound(name.to_owned())),
        }
        client.set_state(PgWireConnectionState::ReadyForQuery);
        Ok(())
    }

    /// A cursor is a portal as well, with another way to open it.
    async fn on_describe<C>(&self, client: &mut C, message: Describe) -> PgWireResult<()>
    where
        C: ClientInfo + ClientPortalStore + Sink<PgWireBackendMessage> + Unpin + Send + Sync,
        C::PortalStore: PortalStore<Statement = Prepared>,
        C::Error: Debug,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
    {
        let name = message.name.as_deref().unwrap_or(DEFAULT_NAME);
        if message.target_type == TARGET_TYPE_BYTE_PORTAL
            && client.portal_store().get_portal(name).is_none()
            && let Ok(columns) = cursors::columns(&Session::of(client), name)
        {
            let fields = infos(&columns, &Format::UnifiedText);
            return send_describe_response(client, &DescribePortalResponse::new(fields)).await;
        }
        self._on_describe(client, message).await
    }

    async fn do_query<C>(
        &self,
        client: &mut C,
        portal: &Portal<Prepared>,
        _: usize,
    ) -> PgWireResult<Response>
    where
        C: ClientInfo + ClientPortalStore + Sink<PgWireBackendMessage> + Unpin + Send + Sync,
        C::PortalStore: PortalStore<Statement = Prepared>,
        C::Error: Debug,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
    {
        let session = Session::of(client);
        match &*portal.statement.statement.0 {
            Inner::Local(own) => {
                forget(client, &session, own);
                local::run(own, &session)
            }
            Inner::Fetch(fetch, _) => {
                cursors::fetch(&session, fetch, &portal.result_column_format).await
            }
            Inner::Question {
                way,
                text,
                parameters,
                ..
            } => {
                if let Way::Declare { name, is_held } = way {
                    let within = client.transaction_status() != TransactionStatus::Idle;
                    cursors::may_declare(&session, name, *is_held, within)?;
                }
                let values = bound(portal, text, parameters)?;
                let answer = ask(&self.0, &session, text, values).await?;
                if let Way::Declare { name, is_held } = way {
                    return Ok(cursors::declare(&session, name, *is_held, answer));
                }
                let fields = infos(&answer.columns, &portal.result_column_format);
                let (rows, _) = answer.rows(&portal.result_column_format);
                Ok(Response::Query(QueryResponse::new(Arc::new(fields), rows)))
            }
        }
    }
}

/// The values of a portal's parameters.
fn bound(portal: &Portal<Prepared>, text: &Text, kinds: &[CellKind]) -> PgWireResult<Vec<Bound>> {
    let given = portal.parameters.len();
    if given != kinds.len() {
        let needed = kinds.len();
        let why = format!("{given} parameters are bound, and the statement has {needed}");
        return Err(error("08P01", why));
    }
    let declared = &portal.statement.parameter_types;
    let value = |(index, (bytes, kind)): (usize, (&Option<Bytes>, &CellKind))| {
        let number = index + 1;
        let has_list = text.has_list(number);
        let declared = declared.get(index).cloned().flatten();
        // Not declared: the client goes by what it was told.
        let declared = declared.unwrap_or_else(|| match has_list {
            true => type_of(&CellKind::List(Box::new(kind.clone()))),
            false => type_of(kind),
        });
        let is_binary = match &portal.parameter_format {
            Format::Individual(codes) => codes.get(index).is_some_and(|code| *code == 1),
            all => all.is_binary(index),
        };
        let bytes = bytes.as_deref();
        let read = if has_list {
            parameters::read_list(number, bytes, is_binary, &declared, kind).map(Bound::Many)
        } else {
            parameters::read(number, bytes, is_binary, &declared, kind).map(Bound::One)
        };
        read.map_err(PgWireError::from)
    };
    let pairs = portal.parameters.iter().zip(kinds);
    pairs.enumerate().map(value).collect()
}
