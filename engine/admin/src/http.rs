//! The HTTP listener: management under `/api/v1`, monitoring pages, metrics.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{DefaultBodyLimit, Path, Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use bytes::Bytes;
use millstream_access::Authenticator;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use thiserror::Error;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tracing::{error, info};

use crate::failure::{Failure, FailureCode};
use crate::guard;
use crate::nats::read;
use crate::openapi;
use crate::operation::{
    InferRequest, Management, MessagesRequest, MonitorQuery, Operation, PARQUET, QueryRequest,
    Reply,
};
use crate::schema_registry;

/// Largest request body: station files with their components, in base64.
const MAX_BODY: usize = 128 * 1024 * 1024;

/// Where to listen, and whom to let manage.
#[derive(Clone, Debug)]
pub struct Options {
    /// Host and port; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Who may use `/api/v1`: the same users or token as NATS clients. Monitoring pages are open, as nats-server's are.
    pub auth: Authenticator,
}

/// Why the listener does not start.
#[derive(Debug, Error)]
pub enum StartError {
    /// The address cannot be bound.
    #[error("cannot listen for HTTP on {listen}: {source}; choose another port with `-m`")]
    Bind {
        /// Which address.
        listen: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
}

/// The running listener; cheap to clone.
#[derive(Clone, Debug)]
pub struct Admin {
    address: SocketAddr,
    stop: Arc<watch::Sender<bool>>,
}

type Shared = State<Arc<dyn Management>>;

impl Admin {
    /// Binds and serves.
    ///
    /// # Errors
    /// When the address cannot be bound.
    pub async fn start(
        options: Options,
        management: Arc<dyn Management>,
    ) -> Result<Self, StartError> {
        let app = routes(management, options.auth);
        let admin = Self::serve(options.listen, app).await?;
        info!(target: "nats", "Starting http monitor on {}", admin.address);
        Ok(admin)
    }

    /// Binds and serves the schema registry's interface alone, where its clients look for it.
    ///
    /// # Errors
    /// When the address cannot be bound.
    pub async fn start_registry(
        options: Options,
        management: Arc<dyn Management>,
    ) -> Result<Self, StartError> {
        let app = schema_registry::own_port(management, options.auth);
        let admin = Self::serve(options.listen, app).await?;
        info!(target: "nats", "Starting schema registry on {}", admin.address);
        Ok(admin)
    }

    async fn serve(listen: SocketAddr, app: Router) -> Result<Self, StartError> {
        let bind = |source| StartError::Bind { listen, source };
        let listener = TcpListener::bind(listen).await.map_err(bind)?;
        let address = listener.local_addr().map_err(bind)?;
        let (stop, mut stopped) = watch::channel(false);
        tokio::spawn(async move {
            let ended = async move {
                // An error means that the sender is gone: time to stop as well.
                let _gone = stopped.wait_for(|stop| *stop).await;
            };
            if let Err(error) = axum::serve(listener, app)
                .with_graceful_shutdown(ended)
                .await
            {
                error!(target: "nats", "HTTP listener ended: {error}");
            }
        });
        Ok(Self {
            address,
            stop: Arc::new(stop),
        })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Stops accepting; requests under way end by themselves.
    pub fn stop(&self) {
        self.stop.send_replace(true);
    }
}

fn routes(management: Arc<dyn Management>, auth: Authenticator) -> Router {
    let api = Router::new()
        .route("/status", get(status))
        .route("/journal/verify", post(verify_journal))
        .route("/apply", post(apply))
        .route("/publish", post(publish))
        .route("/query", post(query))
        .route("/schema-diff", post(schema_diff))
        .route("/schema-check", post(schema_check))
        .route("/functions-dry-run", post(function_dry_run))
        .route("/functions/{name}/versions", get(function_versions))
        .route("/functions/{name}/promote", post(promote))
        .route("/functions/{name}/rollback", post(rollback))
        .route("/functions/{name}/stop", post(stop_trial))
        .route("/flows/{name}/pause", post(pause_flow))
        .route("/flows/{name}/resume", post(resume_flow))
        .route("/flows/{name}/restart", post(restart_flow))
        .route("/flows/{name}/rerun", post(rerun_flow))
        .route("/flows/{name}/cancel", post(cancel_flow))
        .route("/stations/{name}/infer", get(schema_infer))
        .route("/stations/{name}/messages", get(messages))
        .route("/stations/{name}/dead-letters", get(dead_letters))
        .route(
            "/stations/{name}/dead-letters/{id}",
            get(dead_letter).delete(drop_letter),
        )
        .route("/stations/{name}/dead-letters/{id}/resend", post(resend))
        .route("/{kinds}", get(list))
        .route("/{kinds}/{name}", get(describe).delete(delete))
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .layer(middleware::from_fn_with_state(auth.clone(), guard::let_in))
        .layer(middleware::from_fn_with_state(
            auth.clone(),
            guard::same_site,
        ))
        .layer(middleware::from_fn_with_state("/api/v1", guard::note));
    Router::new()
        .nest("/api/v1", api)
        .route(
            "/openapi.json",
            get(async || axum::Json(openapi::document())),
        )
        .route("/metrics", get(metrics))
        .route("/", get(index))
        .merge(schema_registry::router(auth))
        .route("/{page}", get(monitor))
        .fallback(nowhere)
        .with_state(management)
}

fn answer(result: Result<Reply, Failure>) -> Response {
    match result {
        Ok(Reply::Value(value)) => axum::Json(value).into_response(),
        Ok(Reply::Lines(mut lines)) => {
            let stream = futures_util::stream::poll_fn(move |context| {
                lines
                    .poll_recv(context)
                    .map(|line| line.map(Ok::<Bytes, std::convert::Infallible>))
            });
            let kind = [(header::CONTENT_TYPE, "application/x-ndjson")];
            (kind, Body::from_stream(stream)).into_response()
        }
        Ok(Reply::File { kind, mut pieces }) => {
            // An error breaks the connection off, so that no part is taken for the whole.
            let failed = |failure: Failure| std::io::Error::other(failure.error.into_owned());
            let stream = futures_util::stream::poll_fn(move |context| {
                let piece = pieces.poll_recv(context);
                piece.map(|piece| piece.map(|piece| piece.map_err(failed)))
            });
            let kind = [(header::CONTENT_TYPE, kind)];
            (kind, Body::from_stream(stream)).into_response()
        }
        Err(failure) => refuse(&failure),
    }
}

pub(crate) fn refuse(failure: &Failure) -> Response {
    let status =
        StatusCode::from_u16(failure.code.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    (status, axum::Json(failure.body())).into_response()
}

async fn run(management: &Arc<dyn Management>, operation: Operation) -> Response {
    answer(management.call(operation).await)
}

async fn status(State(management): Shared) -> Response {
    run(&management, Operation::Status).await
}

async fn verify_journal(State(management): Shared) -> Response {
    run(&management, Operation::VerifyJournal).await
}

async fn apply(State(management): Shared, body: Bytes) -> Response {
    with_body(&management, &body, Operation::Apply).await
}

async fn publish(State(management): Shared, body: Bytes) -> Response {
    with_body(&management, &body, Operation::Publish).await
}

async fn query(State(management): Shared, headers: HeaderMap, body: Bytes) -> Response {
    let accepted = headers.get_all(header::ACCEPT).into_iter();
    let parquet = accepted
        .filter_map(|value| value.to_str().ok())
        .any(|value| value.split([',', ';']).any(|kind| kind.trim() == PARQUET));
    let asked = |request| Operation::Query(QueryRequest { parquet, ..request });
    with_body(&management, &body, asked).await
}

async fn schema_diff(State(management): Shared, body: Bytes) -> Response {
    with_body(&management, &body, Operation::SchemaDiff).await
}

async fn schema_check(State(management): Shared, body: Bytes) -> Response {
    with_body(&management, &body, Operation::SchemaCheck).await
}

async fn function_dry_run(State(management): Shared, body: Bytes) -> Response {
    with_body(&management, &body, Operation::FunctionDryRun).await
}

async fn function_versions(State(management): Shared, Path(name): Path<String>) -> Response {
    run(&management, Operation::FunctionVersions { name }).await
}

/// Carries out what a body asks for.
async fn with_body<T: DeserializeOwned + Default>(
    management: &Arc<dyn Management>,
    body: &Bytes,
    operation: impl FnOnce(T) -> Operation,
) -> Response {
    match read(body) {
        Ok(request) => run(management, operation(request)).await,
        Err(failure) => refuse(&failure),
    }
}

async fn function_switch(
    management: &Arc<dyn Management>,
    name: String,
    action: &str,
    body: &Bytes,
) -> Response {
    let action = action.to_owned();
    let switch = |request| Operation::FunctionSwitch {
        name,
        action,
        request,
    };
    with_body(management, body, switch).await
}

async fn flow_action(
    management: &Arc<dyn Management>,
    name: String,
    action: &str,
    body: &Bytes,
) -> Response {
    let action = action.to_owned();
    let act = |request| Operation::FlowAction {
        name,
        action,
        request,
    };
    with_body(management, body, act).await
}

async fn pause_flow(State(own): Shared, Path(name): Path<String>, body: Bytes) -> Response {
    flow_action(&own, name, "pause", &body).await
}

async fn resume_flow(State(own): Shared, Path(name): Path<String>, body: Bytes) -> Response {
    flow_action(&own, name, "resume", &body).await
}

async fn restart_flow(State(own): Shared, Path(name): Path<String>, body: Bytes) -> Response {
    flow_action(&own, name, "restart", &body).await
}

async fn rerun_flow(State(own): Shared, Path(name): Path<String>, body: Bytes) -> Response {
    flow_action(&own, name, "rerun", &body).await
}

async fn cancel_flow(State(own): Shared, Path(name): Path<String>, body: Bytes) -> Response {
    flow_action(&own, name, "cancel", &body).await
}

async fn promote(State(management): Shared, Path(name): Path<String>, body: Bytes) -> Response {
    function_switch(&management, name, "promote", &body).await
}

async fn rollback(State(management): Shared, Path(name): Path<String>, body: Bytes) -> Response {
    function_switch(&management, name, "rollback", &body).await
}

async fn stop_trial(State(management): Shared, Path(name): Path<String>, body: Bytes) -> Response {
    function_switch(&management, name, "stop", &body).await
}

async fn schema_infer(
    State(management): Shared,
    Path(station): Path<String>,
    query: Result<Query<InferRequest>, axum::extract::rejection::QueryRejection>,
) -> Response {
    match query {
        Ok(Query(request)) => run(&management, Operation::SchemaInfer { station, request }).await,
        Err(error) => refuse(&bad_query(&error.body_text())),
    }
}

async fn list(State(management): Shared, Path(kinds): Path<String>) -> Response {
    run(&management, Operation::List { kind: kinds }).await
}

async fn describe(
    State(management): Shared,
    Path((kind, name)): Path<(String, String)>,
) -> Response {
    run(&management, Operation::Describe { kind, name }).await
}

async fn delete(State(management): Shared, Path((kind, name)): Path<(String, String)>) -> Response {
    run(&management, Operation::Delete { kind, name }).await
}

async fn messages(
    State(management): Shared,
    Path(station): Path<String>,
    query: Result<Query<MessagesRequest>, axum::extract::rejection::QueryRejection>,
) -> Response {
    match query {
        Ok(Query(request)) => run(&management, Operation::Messages { station, request }).await,
        Err(error) => refuse(&bad_query(&error.body_text())),
    }
}

#[derive(Deserialize)]
struct Limit {
    limit: Option<u64>,
}

async fn dead_letters(
    State(management): Shared,
    Path(station): Path<String>,
    query: Result<Query<Limit>, axum::extract::rejection::QueryRejection>,
) -> Response {
    match query {
        Ok(Query(query)) => {
            run(
                &management,
                Operation::DeadLetters {
                    station,
                    limit: query.limit,
                },
            )
            .await
        }
        Err(error) => refuse(&bad_query(&error.body_text())),
    }
}

fn bad_query(text: &str) -> Failure {
    Failure::new(
        FailureCode::BadRequest,
        text.to_owned(),
        "see /openapi.json for the query's fields",
    )
}

type Letter = Result<Path<(String, u64)>, axum::extract::rejection::PathRejection>;

async fn with_letter(
    management: &Arc<dyn Management>,
    path: Letter,
    operation: impl FnOnce(String, u64) -> Operation,
) -> Response {
    match path {
        Ok(Path((station, id))) => run(management, operation(station, id)).await,
        Err(error) => refuse(&Failure::new(
            FailureCode::BadRequest,
            error.body_text(),
            "a dead letter's id is the number in the list",
        )),
    }
}

async fn dead_letter(State(management): Shared, path: Letter) -> Response {
    with_letter(&management, path, |station, id| Operation::DeadLetter {
        station,
        id,
    })
    .await
}

async fn drop_letter(State(management): Shared, path: Letter) -> Response {
    with_letter(&management, path, |station, id| Operation::DropLetter {
        station,
        id,
    })
    .await
}

async fn resend(State(management): Shared, path: Letter) -> Response {
    with_letter(&management, path, |station, id| Operation::Resend {
        station,
        id,
    })
    .await
}

async fn metrics(State(management): Shared) -> Response {
    let kind = [(
        header::CONTENT_TYPE,
        "application/openmetrics-text; version=1.0.0; charset=utf-8",
    )];
    (kind, management.metrics()).into_response()
}

async fn index() -> Response {
    axum::Json(json!({
        "server": "millstream",
        "pages": ["/varz", "/connz", "/jsz", "/healthz", "/metrics", "/openapi.json", "/api/v1/status", "/schema-registry"],
    }))
    .into_response()
}

async fn monitor(
    State(management): Shared,
    Path(page): Path<String>,
    Query(query): Query<MonitorQuery>,
) -> Response {
    match management.monitor(&page, &query) {
        Some((status, value)) => {
            let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            (status, axum::Json::<Value>(value)).into_response()
        }
        None => nowhere().await,
    }
}

async fn nowhere() -> Response {
    refuse(&Failure::new(
        FailureCode::NotFound,
        "there is no such page",
        "`/` lists the pages, /openapi.json the API",
    ))
}
