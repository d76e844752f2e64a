//! The interface over HTTP: media types, bodies, statuses.

use std::sync::Arc;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Request as HttpRequest, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use millstream_access::Authenticator;
use millstream_schema_registry::{RegistryError, Reply, Request};
use serde_json::{Map, Value, json};

use super::nats::error_body;
use super::path;
use crate::guard;
use crate::operation::Management;

/// Largest body: a schema of the largest size, escaped, with what goes with it.
const MAX_BODY: usize = 16 * 1024 * 1024;
/// What is answered unless another is asked for.
const DEFAULT_TYPE: &str = "application/vnd.schemaregistry.v1+json";
/// What can be asked for, the preferred first.
const TYPES: [&str; 3] = [
    DEFAULT_TYPE,
    "application/vnd.schemaregistry+json",
    "application/json",
];
const SENT_TYPES: [&str; 4] = [TYPES[0], TYPES[1], TYPES[2], "application/octet-stream"];
/// Where the interface lies beside its own root.
const PREFIX: &str = "/schema-registry";
/// Roots that nothing else on the HTTP port uses.
const ROOTS: [&str; 7] = [
    "subjects",
    "schemas",
    "config",
    "mode",
    "compatibility",
    "contexts",
    "v1/metadata",
];

type Shared = State<Arc<dyn Management>>;

/// The interface on the HTTP port: below `/schema-registry`, and at the root wherever that is free.
pub(crate) fn router(auth: Authenticator) -> Router<Arc<dyn Management>> {
    let mut routes = Router::new()
        .route(PREFIX, any(answer))
        .route(&format!("{PREFIX}/"), any(answer))
        .route(&format!("{PREFIX}/{{*rest}}"), any(answer));
    for root in ROOTS {
        routes = routes
            .route(&format!("/{root}"), any(answer))
            .route(&format!("/{root}/{{*rest}}"), any(answer));
    }
    guarded(routes, auth)
}

/// The interface on a port of its own.
pub(crate) fn own_port(management: Arc<dyn Management>, auth: Authenticator) -> Router {
    let routes = Router::new().fallback(answer);
    guarded(routes, auth).with_state(management)
}

fn guarded(
    routes: Router<Arc<dyn Management>>,
    auth: Authenticator,
) -> Router<Arc<dyn Management>> {
    routes
        .layer(middleware::from_fn_with_state(auth.clone(), guard::let_in))
        .layer(middleware::from_fn_with_state(auth, guard::same_site))
        .layer(middleware::from_fn(refusals))
        .layer(middleware::from_fn_with_state("", guard::note))
}

/// What the guard refuses, as clients of a registry expect it.
async fn refusals(request: HttpRequest, next: Next) -> Response {
    let response = next.run(request).await;
    let status = response.status();
    if status != StatusCode::UNAUTHORIZED && status != StatusCode::FORBIDDEN {
        return response;
    }
    let (mut parts, _) = response.into_parts();
    let message = status.canonical_reason().unwrap_or("refused");
    let body = json!({ "error_code": status.as_u16(), "message": message });
    parts.headers.remove(header::CONTENT_LENGTH);
    parts
        .headers
        .insert(header::CONTENT_TYPE, HeaderValue::from_static(DEFAULT_TYPE));
    Response::from_parts(parts, Body::from(body.to_string()))
}

async fn answer(State(management): Shared, request: HttpRequest) -> Response {
    let kind = accepted(request.headers());
    match exchange(management.as_ref(), request, kind).await {
        Ok(response) => response,
        Err(error) => {
            let status = StatusCode::from_u16(error.status());
            let status = status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            written(status, kind.unwrap_or(DEFAULT_TYPE), &error_body(&error))
        }
    }
}

async fn exchange(
    management: &dyn Management,
    request: HttpRequest,
    kind: Option<&'static str>,
) -> Result<Response, RegistryError> {
    let kind = kind.ok_or(RegistryError::NotAcceptable)?;
    let (parts, body) = request.into_parts();
    let path = parts.uri.path();
    let path = path.strip_prefix(PREFIX).unwrap_or(path);
    let read = parts.method == Method::GET || parts.method == Method::HEAD;
    if let Some(page) = page(path).filter(|_| read) {
        return Ok(metadata(path, kind, &page));
    }
    let method = if parts.method == Method::HEAD {
        "GET"
    } else {
        parts.method.as_str()
    };
    let query = parts.uri.query().unwrap_or_default();
    let target = path::read(method, path, query)?;
    let takes = matches!(parts.method, Method::POST | Method::PUT);
    let body = if takes {
        sent(&parts.headers, body).await?
    } else {
        Map::new()
    };
    let request = Request::new(target.verb, body, target.members)?;
    Ok(match management.schema_registry(request).await? {
        Reply::Json(value) => written(StatusCode::OK, kind, &value),
        Reply::Text(text) => ([(header::CONTENT_TYPE, kind)], text).into_response(),
        Reply::Done => StatusCode::NO_CONTENT.into_response(),
    })
}

fn written(status: StatusCode, kind: &'static str, value: &Value) -> Response {
    let mut response = (status, value.to_string()).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(header::VARY, HeaderValue::from_static("Accept-Encoding"));
    response
}

/// What `GET` answers without asking the registry.
fn page(path: &str) -> Option<Value> {
    let version = env!("CARGO_PKG_VERSION");
    match path.trim_end_matches('/') {
        "" => Some(json!({})),
        "/v1/metadata/id" => {
            let clusters = json!({ "schema-registry-cluster": "millstream" });
            Some(json!({ "scope": { "path": [], "clusters": clusters }, "id": "" }))
        }
        "/v1/metadata/version" => Some(json!({ "version": version, "commitId": "" })),
        "/v1/metadata/deployment" => Some(json!({ "attributes": [] })),
        _ => None,
    }
}

fn metadata(path: &str, kind: &'static str, page: &Value) -> Response {
    let mut response = written(StatusCode::OK, kind, page);
    if path.starts_with("/v1/") {
        let headers = response.headers_mut();
        let xss = HeaderName::from_static("x-xss-protection");
        headers.insert(xss, HeaderValue::from_static("1; mode=block"));
        let cache = HeaderValue::from_static("no-cache, no-store, must-revalidate");
        headers.insert(header::CACHE_CONTROL, cache);
    }
    response
}

/// The media type to answer with; none when none of ours is asked for.
fn accepted(headers: &HeaderMap) -> Option<&'static str> {
    let mut asked = headers
        .get_all(header::ACCEPT)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .peekable();
    if asked.peek().is_none() {
        return Some(DEFAULT_TYPE);
    }
    let mut best: Option<(f32, &'static str)> = None;
    for one in asked {
        let mut parts = one.split(';').map(str::trim);
        let name = parts.next().unwrap_or_default().to_ascii_lowercase();
        let quality = parts
            .find_map(|part| part.strip_prefix("q=")?.parse().ok())
            .unwrap_or(1.0_f32);
        let ours = match name.as_str() {
            "*/*" | "application/*" | "" => Some(DEFAULT_TYPE),
            name => TYPES.into_iter().find(|known| *known == name),
        };
        if let Some(ours) = ours
            && quality > 0.0
            && best.is_none_or(|(known, _)| quality > known)
        {
            best = Some((quality, ours));
        }
    }
    best.map(|(_, kind)| kind)
}

/// The body as a JSON object; whatever charset the type names, it is told by its first bytes (RFC 4627, section 3).
async fn sent(headers: &HeaderMap, body: Body) -> Result<Map<String, Value>, RegistryError> {
    if let Some(kind) = headers.get(header::CONTENT_TYPE) {
        let kind = kind.to_str().unwrap_or_default();
        let name = kind.split(';').next().unwrap_or_default().trim();
        if !SENT_TYPES
            .iter()
            .any(|known| known.eq_ignore_ascii_case(name))
        {
            return Err(RegistryError::MediaType);
        }
    }
    let bytes = to_bytes(body, MAX_BODY)
        .await
        .map_err(|error| RegistryError::Body(format!("request body cannot be read: {error}")))?;
    if bytes.is_empty() {
        return Err(RegistryError::Body(
            "request body is missing or empty".to_owned(),
        ));
    }
    let read = match unicode(&bytes) {
        Some(text) => serde_json::from_str(&text),
        None => serde_json::from_slice(&bytes),
    };
    read.map_err(|error| RegistryError::Body(format!("request body cannot be read: {error}")))
}

/// A text in UTF-16, by its byte order mark or the zeros between ASCII characters.
fn unicode(bytes: &[u8]) -> Option<String> {
    let (big, skip) = match bytes {
        [0xfe, 0xff, ..] => (true, 2),
        [0xff, 0xfe, ..] => (false, 2),
        [0, one, ..] if *one != 0 => (true, 0),
        [one, 0, ..] if *one != 0 => (false, 0),
        _ => return None,
    };
    let units = bytes[skip..].chunks_exact(2).map(|pair| {
        let pair = [pair[0], pair[1]];
        if big {
            u16::from_be_bytes(pair)
        } else {
            u16::from_le_bytes(pair)
        }
    });
    String::from_utf16(&units.collect::<Vec<_>>()).ok()
}
