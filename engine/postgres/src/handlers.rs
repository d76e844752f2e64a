//! The two protocols: a text with statements whose rows follow at once, and statements that are prepared, bound and executed.

use std::fmt::Debug;
use std::ops::DerefMut as _;
use std::sync::{Arc, PoisonError};

use async_trait::async_trait;
use futures_util::{Sink, SinkExt as _};
use millstream_sql::query::{CellKind, Parameter};
use pgwire::api::portal::{Format, Portal, PortalExecutionState};
use pgwire::api::query::{
    ExtendedQueryHandler, SimpleQueryHandler, send_execution_response, send_partial_query_response,
    send_query_response, send_ready_for_query,
};
use pgwire::api::results::{FieldInfo, QueryResponse, Response};
use pgwire::api::stmt::QueryParser;
use pgwire::api::store::{Entry, PortalStore};
use pgwire::api::{ClientInfo, ClientPortalStore, DEFAULT_NAME, PgWireConnectionState, Type};
use pgwire::error::{PgWireError, PgWireResult};
use pgwire::messages::PgWireBackendMessage;
use pgwire::messages::extendedquery::Execute;
use pgwire::messages::response::{EmptyQueryResponse, TransactionStatus};
use pgwire::messages::simplequery::Query;

use crate::answer::{Ended, Text, ask, described};
use crate::encode::{infos, kind_of, text_fields, type_of};
use crate::errors::{error, warning};
use crate::local;
use crate::parameters;
use crate::serve::Shared;
use crate::session::Session;
use crate::statements::{Kind, Local, split};

/// What answers a connection's messages.
#[derive(Clone)]
pub(crate) struct Handlers(pub(crate) Arc<Shared>);

/// A statement that was prepared.
#[derive(Clone, Debug)]
pub(crate) struct Prepared(Arc<Inner>);

#[derive(Debug)]
enum Inner {
    Local(Local),
    Question {
        text: Text,
        parameters: Vec<CellKind>,
        columns: Vec<(String, CellKind)>,
    },
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
        for piece in pieces {
            match &piece.kind {
                Kind::Local(own) => {
                    forget(client, own);
                    let response = local::run(own, &session)?;
                    self.respond(client, response, true).await?;
                }
                Kind::Question => {
                    let text = Text::new(&query.query, piece.at, &piece.text, &self.0);
                    let answer = ask(&self.0, &session, &text, Vec::new()).await?;
                    let fields = infos(&answer.columns, &Format::UnifiedText);
                    let (rows, ended) = answer.rows(&Format::UnifiedText);
                    let response = QueryResponse::new(Arc::new(fields), rows);
                    send_query_response(client, response, true).await?;
                    warn(client, &ended).await?;
                }
            }
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

/// Takes prepared statements away that a statement says to forget.
fn forget<C>(client: &C, own: &Local)
where
    C: ClientPortalStore,
    C::PortalStore: PortalStore,
{
    match own {
        Local::Forget(Some(name), _) => client.portal_store().rm_statement(name),
        Local::End(_) => client.portal_store().clear_portals(),
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
        _: &C,
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
        let own = match piece.kind {
            Kind::Local(own) => Inner::Local(own),
            Kind::Question => {
                let text = Text::new(sql, piece.at, &piece.text, &self.0);
                let known = types.iter().map(|of| of.as_ref().and_then(kind_of));
                let found = described(&self.0, &text, known.collect()).await?;
                Inner::Question {
                    text,
                    parameters: found.parameters,
                    columns: found.columns,
                }
            }
        };
        Ok(Some(Prepared(Arc::new(own))))
    }

    fn get_parameter_types(&self, prepared: &Prepared) -> PgWireResult<Vec<Type>> {
        match &*prepared.0 {
            Inner::Local(_) => Ok(Vec::new()),
            Inner::Question { parameters, .. } => Ok(parameters.iter().map(type_of).collect()),
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
            Inner::Question { columns, .. } => Ok(infos(columns, format.unwrap_or(&text))),
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
                forget(client, own);
                local::run(own, &session)
            }
            Inner::Question {
                text, parameters, ..
            } => {
                let values = bound(portal, parameters)?;
                let answer = ask(&self.0, &session, text, values).await?;
                let fields = infos(&answer.columns, &portal.result_column_format);
                let (rows, _) = answer.rows(&portal.result_column_format);
                Ok(Response::Query(QueryResponse::new(Arc::new(fields), rows)))
            }
        }
    }
}

/// The values of a portal's parameters.
fn bound(portal: &Portal<Prepared>, kinds: &[CellKind]) -> PgWireResult<Vec<Parameter>> {
    let given = portal.parameters.len();
    if given != kinds.len() {
        let needed = kinds.len();
        let why = format!("{given} parameters are bound, and the statement has {needed}");
        return Err(error("08P01", why));
    }
    let declared = &portal.statement.parameter_types;
    let value = |(index, (bytes, kind)): (usize, (&Option<bytes::Bytes>, &CellKind))| {
        let declared = declared.get(index).cloned().flatten();
        // Not declared: the client goes by what it was told.
        let declared = declared.unwrap_or_else(|| type_of(kind));
        let is_binary = match &portal.parameter_format {
            Format::Individual(codes) => codes.get(index).is_some_and(|code| *code == 1),
            all => all.is_binary(index),
        };
        let read = parameters::read(index + 1, bytes.as_deref(), is_binary, &declared, kind);
        read.map_err(PgWireError::from)
    };
    let pairs = portal.parameters.iter().zip(kinds);
    pairs.enumerate().map(value).collect()
}
