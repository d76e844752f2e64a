//! The HTTP source: descriptor, listener, one handler.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::header::{ALLOW, CONTENT_TYPE, RETRY_AFTER};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use millstream_connector_api::{
    BoxFuture, BuildError, Config, Connector, ConnectorError, Environment, Kind, OptionDescriptor,
    OptionType, Problem, Progress, Settings, Source, SourceContext, SubjectTemplate,
};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};

use crate::poster::unix_now;
use crate::request::{Malformed, answer, records};
use crate::{SIGNATURE_HEADER, verify};

/// Longest wait for a body.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);
/// Requests worked on at once; more wait, which bounds the memory of bodies.
const MAX_REQUESTS: usize = 64;

const fn option(
    name: &'static str,
    kind: OptionType,
    default: Option<&'static str>,
    doc: &'static str,
) -> OptionDescriptor {
    OptionDescriptor {
        name,
        kind,
        default,
        required: false,
        secret: false,
        doc,
    }
}

const OPTIONS: &[OptionDescriptor] = &[
    OptionDescriptor {
        required: true,
        ..option(
            "listen",
            OptionType::Listen,
            None,
            "address and port of its own listener, such as `127.0.0.1:9000`",
        )
    },
    option(
        "path",
        OptionType::Text,
        Some("/"),
        "path that takes POST requests",
    ),
    OptionDescriptor {
        required: true,
        ..option(
            "subject",
            OptionType::SubjectTemplate,
            None,
            "subject of each record; `{field}` is filled from its top-level JSON key, `_` where there is none",
        )
    },
    OptionDescriptor {
        secret: true,
        ..option(
            "secret",
            OptionType::Text,
            None,
            "key that requests must be signed with (`Millstream-Signature`)",
        )
    },
    option(
        "tolerance",
        OptionType::Duration,
        Some("5m"),
        "how far a signature's time may be from now",
    ),
    option(
        "max_body",
        OptionType::Bytes,
        Some("8MiB"),
        "largest request body",
    ),
];

/// Takes POST requests and answers after the commit.
#[derive(Clone, Copy, Debug, Default)]
pub struct HttpSource;

impl Connector for HttpSource {
    fn name(&self) -> &'static str {
        "http"
    }

    fn kind(&self) -> Kind {
        Kind::Source
    }

    fn doc(&self) -> &'static str {
        "takes one or many JSON records by POST and answers after they are stored"
    }

    fn options(&self) -> &'static [OptionDescriptor] {
        OPTIONS
    }

    fn check(&self, config: &Config) -> Vec<Problem> {
        match plan(config) {
            Ok(_) => Vec::new(),
            Err(problems) => problems,
        }
    }

    fn build_source(
        &self,
        config: &Config,
        _: &Environment,
    ) -> Result<Box<dyn Source>, BuildError> {
        let plan = plan(config).map_err(|problems| BuildError::Invalid {
            connector: self.name(),
            problems,
        })?;
        Ok(Box::new(Listener { plan }))
    }
}

struct Plan {
    listen: SocketAddr,
    path: String,
    subject: SubjectTemplate,
    secret: Option<String>,
    tolerance: Duration,
    max_body: usize,
}

fn plan(config: &Config) -> Result<Plan, Vec<Problem>> {
    let settings = Settings::read(OPTIONS.to_vec(), config)?;
    let problem =
        |option: &str, message: String, hint: &str| vec![Problem::new(option, message, hint)];
    let path = settings.text("path").to_owned();
    if !path.starts_with('/') || path.contains(['?', '#', ' ']) {
        return Err(problem(
            "path",
            format!("option `path` is no path: `{path}`"),
            "such as `/flights`",
        ));
    }
    let listen = settings.text("listen").parse().map_err(|_| {
        problem(
            "listen",
            "option `listen` is no address".to_owned(),
            "such as `127.0.0.1:9000`",
        )
    })?;
    let subject = SubjectTemplate::parse(settings.text("subject"))
        .map_err(|error| problem("subject", error.to_string(), ""))?;
    Ok(Plan {
        listen,
        path,
        subject,
        secret: settings.opt_text("secret").map(str::to_owned),
        tolerance: settings.duration("tolerance"),
        max_body: usize::try_from(settings.bytes("max_body")).unwrap_or(usize::MAX),
    })
}

struct Listener {
    plan: Plan,
}

impl Source for Listener {
    fn run(
        self: Box<Self>,
        context: Arc<dyn SourceContext>,
    ) -> BoxFuture<'static, Result<(), ConnectorError>> {
        Box::pin(serve(self.plan, context))
    }
}

/// What the handlers share.
struct Door {
    plan: Plan,
    context: Arc<dyn SourceContext>,
    permits: Semaphore,
    /// Connections outlive the task that accepted them; nothing is committed for them after it ended.
    closed: AtomicBool,
    failed: watch::Sender<Option<ConnectorError>>,
}

/// Closes the door when the source's future ends or is dropped.
struct CloseOnDrop(Arc<Door>);

impl Drop for CloseOnDrop {
    fn drop(&mut self) {
        self.0.closed.store(true, Ordering::Release);
    }
}

async fn serve(plan: Plan, context: Arc<dyn SourceContext>) -> Result<(), ConnectorError> {
    // Requests have no position; asking says that the broker's side is there.
    context.position().await?;
    let listener = TcpListener::bind(plan.listen)
        .await
        .map_err(|error| bind_error(plan.listen, &error))?;
    let address = listener
        .local_addr()
        .map_err(|error| bind_error(plan.listen, &error))?;
    let (failed, mut failure) = watch::channel(None);
    let door = Arc::new(Door {
        plan,
        context: context.clone(),
        permits: Semaphore::new(MAX_REQUESTS),
        closed: AtomicBool::new(false),
        failed,
    });
    let _close = CloseOnDrop(door.clone());
    let router = Router::new().fallback(handle).with_state(door);
    context.progress(Progress::Listening(address));
    let ending = context.clone();
    let serving = axum::serve(listener, router)
        .with_graceful_shutdown(async move { ending.cancelled().await });
    tokio::select! {
        served = serving => served.map_err(|error| ConnectorError::retryable(format!("the listener at `{address}` broke: {error}"))),
        error = failure.wait_for(Option::is_some) => {
            let error = error.ok().and_then(|error| error.clone());
            Err(error.unwrap_or_else(|| ConnectorError::retryable("the listener ended")))
        }
    }
}

fn bind_error(address: SocketAddr, error: &io::Error) -> ConnectorError {
    ConnectorError::fatal(match error.kind() {
        io::ErrorKind::AddrInUse => {
            format!(
                "`{address}` is in use: stop what listens there, or choose another port in `listen`"
            )
        }
        io::ErrorKind::AddrNotAvailable => {
            format!("`{address}` is no address of this machine: correct `listen`")
        }
        io::ErrorKind::PermissionDenied => {
            format!(
                "no permission to listen on `{address}`: choose a port of 1024 or more in `listen`"
            )
        }
        _ => format!("cannot listen on `{address}`: {error}"),
    })
}

/// Why a request gets no result.
fn refuse(status: StatusCode, error: &str, hint: &str) -> Response {
    reply(
        status,
        &json!({"code": status.as_u16(), "error": error, "hint": hint}),
    )
}

fn reply(status: StatusCode, body: &Value) -> Response {
    (
        status,
        [(CONTENT_TYPE, "application/json")],
        body.to_string(),
    )
        .into_response()
}

async fn handle(State(door): State<Arc<Door>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    if parts.uri.path() != door.plan.path {
        return refuse(
            StatusCode::NOT_FOUND,
            "nothing is here",
            &format!("POST to `{}`", door.plan.path),
        );
    }
    if parts.method != Method::POST {
        let mut response = refuse(
            StatusCode::METHOD_NOT_ALLOWED,
            "only POST is taken here",
            "POST the records",
        );
        response
            .headers_mut()
            .insert(ALLOW, HeaderValue::from_static("POST"));
        return response;
    }
    let Ok(_permit) = door.permits.acquire().await else {
        return unavailable("the source is ending");
    };
    let body = match read(&parts.headers, body, door.plan.max_body).await {
        Ok(body) => body,
        Err(response) => return response,
    };
    if let Some(secret) = &door.plan.secret {
        let given = parts
            .headers
            .get(SIGNATURE_HEADER)
            .and_then(|value| value.to_str().ok());
        if let Err(error) = verify(
            secret.as_bytes(),
            given,
            &body,
            unix_now(),
            door.plan.tolerance,
        ) {
            return refuse(
                StatusCode::UNAUTHORIZED,
                &error.to_string(),
                "the server's documentation has the form",
            );
        }
    }
    door.take(&parts.headers, &body).await
}

async fn read(headers: &HeaderMap, body: Body, max: usize) -> Result<Bytes, Response> {
    let too_large = || {
        let error = format!("the body is larger than {max} bytes");
        refuse(
            StatusCode::PAYLOAD_TOO_LARGE,
            &error,
            "send fewer records at once, or raise `max_body`",
        )
    };
    let announced = headers
        .get("content-length")
        .and_then(|value| value.to_str().ok()?.parse::<usize>().ok());
    if announced.is_some_and(|length| length > max) {
        return Err(too_large());
    }
    match tokio::time::timeout(BODY_TIMEOUT, axum::body::to_bytes(body, max)).await {
        Ok(Ok(body)) => Ok(body),
        // Without a length announced the limit shows only while reading; a broken connection gets no answer anyway.
        Ok(Err(_)) => Err(too_large()),
        Err(_) => Err(refuse(
            StatusCode::REQUEST_TIMEOUT,
            "the body did not come in time",
            "send it again",
        )),
    }
}

fn unavailable(error: &str) -> Response {
    let mut response = refuse(
        StatusCode::SERVICE_UNAVAILABLE,
        error,
        "nothing is known to be stored; send it again",
    );
    response
        .headers_mut()
        .insert(RETRY_AFTER, HeaderValue::from_static("1"));
    response
}

impl Door {
    async fn take(&self, headers: &HeaderMap, body: &Bytes) -> Response {
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        let kind = text("content-type")
            .unwrap_or_default()
            .to_ascii_lowercase();
        let ndjson = ["ndjson", "jsonl", "jsonlines"]
            .iter()
            .any(|word| kind.contains(word));
        let id = text("nats-msg-id").or_else(|| text("idempotency-key"));
        let records = match records(body, ndjson, &self.plan.subject, id) {
            Ok(records) => records,
            Err(malformed) => return bad_request(&malformed),
        };
        if records.is_empty() {
            return reply(StatusCode::OK, &json!({"accepted": 0, "results": []}));
        }
        if self.closed.load(Ordering::Acquire) {
            return unavailable("the source has ended");
        }
        match self.context.commit(records, None).await {
            Ok(results) => {
                let (status, body) = answer(&results);
                reply(status, &body)
            }
            Err(error) => {
                // A listener serves others meanwhile: only an error that will not pass ends it.
                if matches!(error, ConnectorError::Fatal { .. }) {
                    self.failed.send_replace(Some(error.clone()));
                }
                unavailable(&format!("the broker cannot store now: {error}"))
            }
        }
    }
}

fn bad_request(malformed: &Malformed) -> Response {
    let Malformed {
        reason,
        line,
        column,
    } = malformed;
    let error = format!("the body is no JSON: {reason} at line {line} column {column}");
    let hint =
        "send one JSON value, an array of them, or one per line; nothing of this body was stored";
    let body = json!({"code": 400, "error": error, "hint": hint, "line": line, "column": column});
    reply(StatusCode::BAD_REQUEST, &body)
}

#[cfg(test)]
mod tests;
