//! `$MS.API.SCHEMA.<VERB>[.<subject>]`: the body is a JSON object with the members that path, query and body have over HTTP.

use millstream_schema_registry::{RegistryError, Reply, Request, Verb};
use serde_json::{Map, Value, json};

/// What requests to the registry start with.
pub const SCHEMA_PREFIX: &str = "$MS.API.SCHEMA.";

/// The request a NATS subject and payload ask for. The tokens behind the verb are a registry subject, dots included.
///
/// # Errors
/// When there is no such verb or the payload is no JSON object of this form.
pub fn schema_request(subject: &str, payload: &[u8]) -> Result<Request, RegistryError> {
    let rest = subject.strip_prefix(SCHEMA_PREFIX).unwrap_or(subject);
    let (word, name) = rest.split_once('.').unwrap_or((rest, ""));
    let verb = Verb::read(word).ok_or(RegistryError::NotFound)?;
    let body = if payload.is_empty() {
        Map::new()
    } else {
        serde_json::from_slice(payload)
            .map_err(|error| RegistryError::Body(format!("request cannot be read: {error}")))?
    };
    let mut members = Map::new();
    if !name.is_empty() {
        members.insert("subject".to_owned(), name.into());
    }
    // Settings are told apart from these over HTTP by standing in the path and the query.
    for key in ["defaultToGlobal", "force", "recursive"] {
        members.extend(body.get(key).map(|value| (key.to_owned(), value.clone())));
    }
    Request::new(verb, body, members)
}

/// An answer as one JSON value; a text that is not JSON is `{"schema": text}`.
#[must_use]
pub fn reply_body(reply: Reply) -> Value {
    match reply {
        Reply::Json(value) => value,
        Reply::Text(text) => json!({ "schema": text }),
        Reply::Done => json!({}),
    }
}

/// `{"error_code": number, "message": text}`.
#[must_use]
pub fn error_body(error: &RegistryError) -> Value {
    json!({ "error_code": error.code(), "message": error.to_string() })
}
