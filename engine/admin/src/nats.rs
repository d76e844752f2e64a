//! The same operations over NATS: `$MS.API.<verb>[.<kind>[.<name>[.<id>]]]` with the HTTP body as payload.

use serde::de::DeserializeOwned;

use crate::failure::{Failure, FailureCode};
use crate::operation::{Operation, QueryRequest};

/// What every management subject starts with.
pub const NATS_PREFIX: &str = "$MS.API.";

/// The operation a request subject and payload ask for.
///
/// # Errors
/// When there is no such subject or the payload cannot be read.
pub fn operation_of(subject: &str, payload: &[u8]) -> Result<Operation, Failure> {
    let rest = subject.strip_prefix(NATS_PREFIX).unwrap_or(subject);
    let parts: Vec<&str> = rest.split('.').collect();
    let own = |text: &str| text.to_owned();
    match parts.as_slice() {
        ["STATUS"] => Ok(Operation::Status),
        ["JOURNAL", "VERIFY"] => Ok(Operation::VerifyJournal),
        ["APPLY"] => Ok(Operation::Apply(read(payload)?)),
        ["PUBLISH"] => Ok(Operation::Publish(read(payload)?)),
        ["QUERY"] => query(payload),
        ["LIST", kind] => Ok(Operation::List { kind: own(kind) }),
        ["DESCRIBE", kind, name] => Ok(Operation::Describe {
            kind: own(kind),
            name: own(name),
        }),
        ["DELETE", kind, name] => Ok(Operation::Delete {
            kind: own(kind),
            name: own(name),
        }),
        ["MESSAGES", station] => Ok(Operation::Messages {
            station: own(station),
            request: read(payload)?,
        }),
        ["SCHEMA", "INFER", station] => Ok(Operation::SchemaInfer {
            station: own(station),
            request: read(payload)?,
        }),
        ["FUNCTION", "VERSIONS", name] => Ok(Operation::FunctionVersions { name: own(name) }),
        ["FUNCTION", "DRYRUN"] => Ok(Operation::FunctionDryRun(read(payload)?)),
        ["FUNCTION", action @ ("PROMOTE" | "ROLLBACK" | "STOP"), name] => {
            Ok(Operation::FunctionSwitch {
                name: own(name),
                action: action.to_ascii_lowercase(),
                request: read(payload)?,
            })
        }
        [
            "FLOW",
            action @ ("PAUSE" | "RESUME" | "RESTART" | "RERUN" | "CANCEL"),
            name,
        ] => Ok(Operation::FlowAction {
            name: own(name),
            action: action.to_ascii_lowercase(),
            request: read(payload)?,
        }),
        ["SCHEMA", "DIFF"] => Ok(Operation::SchemaDiff(read(payload)?)),
        ["SCHEMA", "TRY"] => Ok(Operation::SchemaCheck(read(payload)?)),
        ["DEADLETTERS", "LIST", station] => Ok(Operation::DeadLetters {
            station: own(station),
            limit: None,
        }),
        ["DEADLETTERS", verb, station, id] => {
            let id = id.parse().map_err(|_| {
                Failure::new(
                    FailureCode::BadRequest,
                    format!("`{id}` is no dead letter"),
                    "use the id of the list",
                )
            })?;
            let station = own(station);
            match *verb {
                "SHOW" => Ok(Operation::DeadLetter { station, id }),
                "RESEND" => Ok(Operation::Resend { station, id }),
                "DROP" => Ok(Operation::DropLetter { station, id }),
                _ => Err(unknown(subject)),
            }
        }
        _ => Err(unknown(subject)),
    }
}

/// Whether a request under `$MS.API.SCHEMA.` is one of these, and not one of the registry's.
#[must_use]
pub fn is_management(subject: &str) -> bool {
    let rest = subject.strip_prefix(crate::SCHEMA_PREFIX);
    let verb = rest.and_then(|rest| rest.split('.').next());
    verb.is_none_or(|verb| matches!(verb, "INFER" | "DIFF" | "TRY"))
}

fn unknown(subject: &str) -> Failure {
    Failure::new(
        FailureCode::NotFound,
        format!("there is no management request `{subject}`"),
        "see `operation_of` subjects in the OpenAPI document, under `x-nats-subject`",
    )
}

pub(crate) fn read<T: DeserializeOwned + Default>(payload: &[u8]) -> Result<T, Failure> {
    if payload.is_empty() {
        return Ok(T::default());
    }
    serde_json::from_slice(payload).map_err(|error| {
        Failure::new(
            FailureCode::BadRequest,
            format!("request body cannot be read: {error}"),
            "see /openapi.json for the fields",
        )
    })
}

/// Permissions are by subject: who may ask here need not be one who may apply.
fn query(payload: &[u8]) -> Result<Operation, Failure> {
    Ok(Operation::Query(QueryRequest {
        reads_only: true,
        ..read(payload)?
    }))
}

#[cfg(test)]
mod tests {
    use super::{is_management, operation_of};
    use crate::operation::Operation;

    #[test]
    fn subjects_become_operations() {
        let of = |subject: &str| operation_of(subject, b"");
        assert!(matches!(of("$MS.API.STATUS"), Ok(Operation::Status)));
        let asked = operation_of("$MS.API.QUERY", b"{\"sql\":\"SELECT 1\"}");
        assert!(
            matches!(asked, Ok(Operation::Query(asked)) if asked.sql == "SELECT 1" && asked.reads_only)
        );
        assert!(
            matches!(of("$MS.API.DESCRIBE.station.a"), Ok(Operation::Describe { kind, name }) if kind == "station" && name == "a")
        );
        assert!(matches!(
            of("$MS.API.DEADLETTERS.RESEND.a.7"),
            Ok(Operation::Resend { id: 7, .. })
        ));
        assert!(of("$MS.API.DEADLETTERS.RESEND.a.x").is_err());
        assert!(
            matches!(of("$MS.API.SCHEMA.INFER.flights"), Ok(Operation::SchemaInfer { station, .. }) if station == "flights")
        );
        assert!(matches!(
            of("$MS.API.SCHEMA.DIFF"),
            Ok(Operation::SchemaDiff(_))
        ));
        assert!(matches!(
            of("$MS.API.SCHEMA.TRY"),
            Ok(Operation::SchemaCheck(_))
        ));
        assert!(is_management("$MS.API.SCHEMA.INFER.REGISTER"));
        assert!(!is_management("$MS.API.SCHEMA.REGISTER.INFER"));
        assert!(
            matches!(of("$MS.API.FUNCTION.ROLLBACK.f"), Ok(Operation::FunctionSwitch { name, action, .. }) if name == "f" && action == "rollback")
        );
        assert!(of("$MS.API.FUNCTION.EAT.f").is_err());
        let asked = operation_of("$MS.API.FLOW.RERUN.late", b"{\"from_seq\":3}");
        assert!(
            matches!(asked, Ok(Operation::FlowAction { name, action, request }) if name == "late" && action == "rerun" && request.from_seq == Some(3))
        );
        assert!(of("$MS.API.FLOW.DRY.late").is_err());
        assert!(of("$MS.API.FLY").is_err());
        assert!(operation_of("$MS.API.APPLY", b"{\"dry\":1}").is_err());
    }
}
