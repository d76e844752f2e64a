//! In front of the management API over HTTP: who may use it, and what the log says of each request.

use std::net::IpAddr;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use millstream_access::{Authenticator, Credentials, Decision};
use millstream_types::Timestamp;
use tracing::{debug, info};

use crate::failure::{Failure, FailureCode};
use crate::http::refuse;

/// Names a request in the log and in its answer; a caller may bring its own.
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// Longest id taken from a caller.
const MAX_ID: usize = 64;

/// Logs a request with its id, which the answer carries too: changes as information, questions for who debugs.
/// `prefix` is where the routes are nested: the path below is all that is seen here.
pub(crate) async fn note(
    State(prefix): State<&'static str>,
    request: Request,
    next: Next,
) -> Response {
    let given = request.headers().get(REQUEST_ID);
    let id = given
        .and_then(|id| id.to_str().ok())
        .filter(|id| id.len() <= MAX_ID)
        .map_or_else(new_id, str::to_owned);
    let method = request.method().clone();
    let path = request.uri().path().to_owned();
    let since = Instant::now();
    let mut response = next.run(request).await;
    let status = response.status().as_u16();
    let ms = since.elapsed().as_millis();
    if method == Method::GET {
        debug!(target: "nats", request = %id, status, ms, "{method} {prefix}{path}");
    } else {
        info!(target: "nats", request = %id, status, ms, "{method} {prefix}{path}");
    }
    if let Ok(id) = HeaderValue::from_str(&id) {
        response.headers_mut().insert(REQUEST_ID, id);
    }
    response
}

/// Unique on this server, restarts included.
fn new_id() -> String {
    static START: LazyLock<i64> = LazyLock::new(|| Timestamp::now().0);
    static NEXT: AtomicU64 = AtomicU64::new(1);
    format!("{:x}-{}", *START, NEXT.fetch_add(1, Ordering::Relaxed))
}

/// Lets a request in whose `Authorization` is `Basic` with a user's name and password, or `Bearer` with the token.
pub(crate) async fn let_in(
    State(auth): State<Authenticator>,
    request: Request,
    next: Next,
) -> Response {
    let given = request.headers().get(header::AUTHORIZATION);
    let login = given.and_then(|value| read_login(value.to_str().ok()?));
    let credentials = match &login {
        Some(Login::Basic(user, pass)) => Credentials {
            user: Some(user),
            pass: Some(pass),
            token: None,
        },
        Some(Login::Bearer(token)) => Credentials {
            token: Some(token),
            ..Credentials::default()
        },
        None => Credentials::default(),
    };
    if let Decision::Allow { .. } = auth.check(&credentials) {
        return next.run(request).await;
    }
    let failure = Failure::new(
        FailureCode::Unauthorized,
        "authorization is required to manage this server",
        "give a user as in `--server http://USER:PASSWORD@HOST:PORT`, or a token as in `--server http://TOKEN@HOST:PORT`",
    );
    let ask = [(header::WWW_AUTHENTICATE, "Basic realm=\"millstream\"")];
    (ask, refuse(&failure)).into_response()
}

/// Refuses what a browser sends for a page of somebody else: with an `Origin` that is not this server, or, where nobody
/// has to log in, under a name that is not this machine's (DNS rebinding).
pub(crate) async fn same_site(
    State(auth): State<Authenticator>,
    request: Request,
    next: Next,
) -> Response {
    let foreign = is_foreign(request.headers(), auth.required());
    if foreign {
        return refuse(&Failure::new(
            FailureCode::Forbidden,
            "request comes from another site's page",
            "use the server's own address, such as http://127.0.0.1:8222",
        ));
    }
    next.run(request).await
}

fn is_foreign(headers: &HeaderMap, login: bool) -> bool {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let host = text(header::HOST).unwrap_or_default();
    let origin = text(header::ORIGIN).is_some_and(|origin| {
        origin
            .split_once("://")
            .is_none_or(|(_, from)| !from.eq_ignore_ascii_case(host))
    });
    origin || (!login && !is_address(host))
}

/// Whether a `Host` is an IP address or `localhost`: names that no foreign DNS can point here.
fn is_address(host: &str) -> bool {
    let name = host.rsplit_once(':').map_or(host, |(name, port)| {
        if port.bytes().all(|byte| byte.is_ascii_digit()) {
            name
        } else {
            host
        }
    });
    let name = name.trim_start_matches('[').trim_end_matches(']');
    name.is_empty() || name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok()
}

enum Login {
    Basic(String, String),
    Bearer(String),
}

/// RFC 7617 and RFC 6750.
fn read_login(header: &str) -> Option<Login> {
    let (scheme, rest) = header.split_once(' ')?;
    if scheme.eq_ignore_ascii_case("bearer") {
        return Some(Login::Bearer(rest.trim().to_owned()));
    }
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let plain = base64::engine::general_purpose::STANDARD
        .decode(rest.trim())
        .ok()?;
    let plain = String::from_utf8(plain).ok()?;
    let (user, pass) = plain.split_once(':')?;
    Some(Login::Basic(user.to_owned(), pass.to_owned()))
}
