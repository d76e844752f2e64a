//! Who would no longer work if a schema became the next version of a subject.

use std::sync::Arc;

use millstream_admin::{CheckRequest, Failure, FailureCode};
use millstream_cluster::Kind;
use millstream_schema_registry::{Compiled, Registry, RegistryError, Reply, Request, Verb, plan};
use millstream_types::Timestamp;
use serde_json::{Map, Value, json};

use super::{Manager, format_of, gone_wrong};
use crate::schemas::{millis, readers};

impl Manager {
    /// Compatibility with the versions there are, and every user of the subject with what keeps it from working.
    pub(super) async fn what_breaks(&self, request: &CheckRequest) -> Result<Value, Failure> {
        let format = format_of(request.format.as_deref())?;
        let subject = request.subject.clone();
        let Value::Object(body) = json!({
            "subject": subject,
            "schema": request.schema,
            "schemaType": format.as_str().to_uppercase(),
            "references": request.references,
            "verbose": true,
        }) else {
            return Err(gone_wrong("the request is no object"));
        };
        let mut catalog = self.node.catalog().clone();
        let (compiled, compiler) = (Arc::clone(&self.schemas), Arc::clone(&self.compiler));
        let blobs = self.blobs.clone();
        let time = millis(Timestamp::now());
        let worked = tokio::task::spawn_blocking(move || {
            let answer = ask(&catalog.schemas, &compiled, time, Verb::Check, body.clone());
            let (_, answer) = answer.map_err(refused)?;
            let users = catalog.users_of(Kind::Schema, &subject);
            let before = catalog.clone();
            let version =
                registered(&mut catalog.schemas, &compiled, time, body).map_err(refused)?;
            let modules = |name: &str| blobs.get(name);
            let mut broken = Vec::new();
            for (name, entry) in &catalog.stations {
                if !entry.spec.schemas().any(|(_, own)| own == subject) {
                    continue;
                }
                // Who does not work as it is is not broken by this.
                if before
                    .stations
                    .get(name)
                    .is_some_and(|old| compiler.plan(&before, old, &modules).is_err())
                {
                    continue;
                }
                if let Err(problem) = compiler.plan(&catalog, entry, &modules) {
                    broken.push(json!({ "kind": "station", "name": name, "path": problem.path, "reason": problem.message }));
                }
            }
            for reader in readers(&compiler, &catalog, &subject, &modules) {
                broken.push(json!({ "kind": reader.kind, "name": reader.name, "path": "schema", "reason": reader.reason }));
            }
            Ok(json!({
                "subject": subject,
                "version": version,
                "compatible": answer.get("is_compatible").cloned().unwrap_or(Value::Bool(true)),
                "messages": answer.get("messages").cloned().unwrap_or_else(|| json!([])),
                "users": users,
                "breaks": broken,
            }))
        });
        worked
            .await
            .unwrap_or_else(|error| Err(gone_wrong(&error.to_string())))
    }
}

type Answer = (Vec<millstream_schema_registry::RegistryChange>, Value);

fn ask(
    registry: &Registry,
    compiled: &Compiled,
    time: i64,
    verb: Verb,
    body: Map<String, Value>,
) -> Result<Answer, RegistryError> {
    let request = Request::new(verb, body, Map::new())?;
    let planned = plan(registry, compiled, time, &request)?;
    let value = match planned.reply {
        Reply::Json(value) => value,
        Reply::Text(_) | Reply::Done => Value::Null,
    };
    Ok((planned.changes, value))
}

/// Registers in a copy of the registry, whether or not it is compatible; the version it would have.
fn registered(
    registry: &mut Registry,
    compiled: &Compiled,
    time: i64,
    body: Map<String, Value>,
) -> Result<Option<u64>, RegistryError> {
    let config = json!({ "subject": body.get("subject"), "compatibility": "NONE" });
    if let Value::Object(config) = config {
        let (changes, _) = ask(registry, compiled, time, Verb::SetConfig, config)?;
        changes
            .into_iter()
            .for_each(|change| registry.apply(change));
    }
    let (changes, answer) = ask(registry, compiled, time, Verb::Register, body)?;
    changes
        .into_iter()
        .for_each(|change| registry.apply(change));
    Ok(answer.get("version").and_then(Value::as_u64))
}

/// A refusal by the registry.
fn refused(error: RegistryError) -> Failure {
    let code = match error.status() {
        404 => FailureCode::NotFound,
        409 => FailureCode::Conflict,
        _ => FailureCode::Refused,
    };
    Failure::new(
        code,
        error.to_string(),
        "see the message; nothing was changed",
    )
}
