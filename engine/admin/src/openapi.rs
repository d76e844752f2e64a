//! The OpenAPI document, made from one table, so that no route is without its line.

use serde_json::{Map, Value, json};

use crate::schema_registry;

/// Method, path, NATS subject, summary, and the request body's schema where there is one.
const ROUTES: &[(&str, &str, &str, &str, Option<&str>)] = &[
    (
        "get",
        "/api/v1/status",
        "STATUS",
        "The server in a few numbers",
        None,
    ),
    (
        "post",
        "/api/v1/journal/verify",
        "JOURNAL.VERIFY",
        "Check every byte of the log; the answer says what is damaged",
        None,
    ),
    (
        "post",
        "/api/v1/apply",
        "APPLY",
        "Apply station files; with `dry_run` only say what would change",
        Some("Apply"),
    ),
    (
        "post",
        "/api/v1/publish",
        "PUBLISH",
        "Publish one message; answers after the commit",
        Some("Publish"),
    ),
    (
        "post",
        "/api/v1/query",
        "QUERY",
        "Ask what is stored, in SQL; JSON lines: `columns`, then `row`s with `progress` between, and `end` or an error; a Parquet file where `Accept` says `application/vnd.apache.parquet`",
        Some("Query"),
    ),
    (
        "get",
        "/api/v1/{kinds}",
        "LIST.<kind>",
        "List stations, flows, schemas, functions, sources or sinks",
        None,
    ),
    (
        "get",
        "/api/v1/{kinds}/{name}",
        "DESCRIBE.<kind>.<name>",
        "Everything about one of them",
        None,
    ),
    (
        "delete",
        "/api/v1/{kinds}/{name}",
        "DELETE.<kind>.<name>",
        "Remove one of them",
        None,
    ),
    (
        "post",
        "/api/v1/functions-dry-run",
        "FUNCTION.DRYRUN",
        "Run a function over stored messages without any effect, beside the version that runs; JSON lines, the last has the report",
        Some("DryRun"),
    ),
    (
        "get",
        "/api/v1/functions/{name}/versions",
        "FUNCTION.VERSIONS.<name>",
        "Every version of a function, and what was done with them",
        None,
    ),
    (
        "post",
        "/api/v1/functions/{name}/promote",
        "FUNCTION.PROMOTE.<name>",
        "Make the version that is tried the one that runs",
        Some("Switch"),
    ),
    (
        "post",
        "/api/v1/functions/{name}/rollback",
        "FUNCTION.ROLLBACK.<name>",
        "Make an earlier version the one that runs",
        Some("Switch"),
    ),
    (
        "post",
        "/api/v1/functions/{name}/stop",
        "FUNCTION.STOP.<name>",
        "End the trial of a version",
        Some("Switch"),
    ),
    (
        "post",
        "/api/v1/flows/{name}/pause",
        "FLOW.PAUSE.<name>",
        "Have a flow stand still",
        None,
    ),
    (
        "post",
        "/api/v1/flows/{name}/resume",
        "FLOW.RESUME.<name>",
        "Have it go on",
        None,
    ),
    (
        "post",
        "/api/v1/flows/{name}/restart",
        "FLOW.RESTART.<name>",
        "Have it begin anew; from the beginning when nothing is said",
        Some("FlowRestart"),
    ),
    (
        "post",
        "/api/v1/flows/{name}/rerun",
        "FLOW.RERUN.<name>",
        "Have it read a range once more, beside what it does anyway",
        Some("FlowRerun"),
    ),
    (
        "post",
        "/api/v1/flows/{name}/cancel",
        "FLOW.CANCEL.<name>",
        "Give up the changed query that is built in the background; what runs goes on",
        None,
    ),
    (
        "post",
        "/api/v1/schema-diff",
        "SCHEMA.DIFF",
        "What changed between two schemas, registered ones or texts",
        Some("SchemaDiff"),
    ),
    (
        "post",
        "/api/v1/schema-check",
        "SCHEMA.TRY",
        "What a schema as the next version of a subject would break: other versions, stations, stored messages; JSON lines, the last has the result",
        Some("SchemaCheck"),
    ),
    (
        "get",
        "/api/v1/stations/{name}/infer",
        "SCHEMA.INFER.<name>",
        "A schema proposed from stored messages, with the evidence; query `format`, `limit`, `from_seq`; JSON lines, the last has the result",
        None,
    ),
    (
        "get",
        "/api/v1/stations/{name}/messages",
        "MESSAGES.<name>",
        "Stored messages as JSON lines; query `from_seq`, `limit`, `follow`, `decode`, `as`, `subject`",
        None,
    ),
    (
        "get",
        "/api/v1/stations/{name}/dead-letters",
        "DEADLETTERS.LIST.<name>",
        "Rejected messages with their reasons; query `limit`",
        None,
    ),
    (
        "get",
        "/api/v1/stations/{name}/dead-letters/{id}",
        "DEADLETTERS.SHOW.<name>.<id>",
        "One dead letter",
        None,
    ),
    (
        "delete",
        "/api/v1/stations/{name}/dead-letters/{id}",
        "DEADLETTERS.DROP.<name>.<id>",
        "Remove a dead letter",
        None,
    ),
    (
        "post",
        "/api/v1/stations/{name}/dead-letters/{id}/resend",
        "DEADLETTERS.RESEND.<name>.<id>",
        "Publish its original message again",
        None,
    ),
];

/// The document.
pub(crate) fn document() -> Value {
    let mut paths = Map::new();
    for (method, path, subject, summary, body) in ROUTES {
        let mut operation = json!({
            "summary": summary,
            "x-nats-subject": format!("$MS.API.{subject}"),
            "parameters": parameters(path),
            "responses": {
                "200": { "description": "done" },
                "default": {
                    "description": "an error",
                    "content": { "application/json": { "schema": { "$ref": "#/components/schemas/Error" } } },
                },
            },
        });
        if let (Some(body), Some(operation)) = (body, operation.as_object_mut()) {
            let schema = json!({ "$ref": format!("#/components/schemas/{body}") });
            operation.insert(
                "requestBody".to_owned(),
                json!({ "required": true, "content": { "application/json": { "schema": schema } } }),
            );
        }
        let entry = paths.entry((*path).to_owned()).or_insert_with(|| json!({}));
        entry[*method] = operation;
    }
    registry_paths(&mut paths);
    json!({
        "openapi": "3.1.0",
        "info": { "title": "Millstream management API", "version": env!("CARGO_PKG_VERSION") },
        "paths": paths,
        "components": { "schemas": schemas() },
    })
}

/// The schema registry's interface, from its own table.
fn registry_paths(paths: &mut Map<String, Value>) {
    for route in schema_registry::ROUTES {
        let path = format!("/schema-registry{}", route.path);
        let operation = json!({
            "summary": route.summary,
            "x-nats-subject": format!("{}{}", schema_registry::SCHEMA_PREFIX, route.verb.word()),
            "parameters": parameters(route.path),
            "responses": {
                "200": { "description": "done" },
                "default": {
                    "description": "an error",
                    "content": { "application/vnd.schemaregistry.v1+json": {
                        "schema": { "$ref": "#/components/schemas/RegistryError" } } },
                },
            },
        });
        let entry = paths.entry(path).or_insert_with(|| json!({}));
        entry[route.method.to_ascii_lowercase()] = operation;
    }
}

fn parameters(path: &str) -> Value {
    let names = path
        .split('/')
        .filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'));
    names
        .map(|name| {
            let kind = if name == "id" { "integer" } else { "string" };
            json!({ "name": name, "in": "path", "required": true, "schema": { "type": kind } })
        })
        .collect()
}

fn schemas() -> Value {
    let mut schemas = operations();
    for more in [about_schemas(), about_functions()] {
        if let (Some(all), Value::Object(more)) = (schemas.as_object_mut(), more) {
            all.extend(more);
        }
    }
    schemas
}

/// Bodies about functions.
fn about_functions() -> Value {
    json!({
        "Switch": {
            "type": "object",
            "properties": {
                "by": { "type": "string" },
                "why": { "type": "string" },
                "to": { "type": "integer", "minimum": 1, "description": "`rollback`: which version; the one before when absent" },
            },
        },
        "DryRun": {
            "type": "object",
            "required": ["files", "station"],
            "properties": {
                "files": { "type": "array", "items": { "type": "object" } },
                "attachments": { "type": "object", "additionalProperties": { "type": "string", "contentEncoding": "base64" } },
                "variables": { "type": "object", "additionalProperties": { "type": "string" } },
                "station": { "type": "string" },
                "from_seq": { "type": "integer" },
                "from_time": { "type": "string", "format": "date-time" },
                "limit": { "type": "integer" },
            },
        },
    })
}

/// Bodies about schemas.
fn about_schemas() -> Value {
    json!({
        "SchemaText": {
            "type": "object",
            "description": "either `subject` and perhaps `version`, or `schema` with `format` and `references`",
            "properties": {
                "subject": { "type": "string" },
                "version": { "type": "integer", "minimum": 1 },
                "schema": { "type": "string" },
                "format": { "enum": ["json", "avro", "protobuf"] },
                "references": { "type": "array", "items": { "type": "object" } },
            },
        },
        "SchemaDiff": {
            "type": "object",
            "required": ["old", "new"],
            "properties": {
                "old": { "$ref": "#/components/schemas/SchemaText" },
                "new": { "$ref": "#/components/schemas/SchemaText" },
            },
        },
        "SchemaCheck": {
            "type": "object",
            "required": ["subject", "schema"],
            "properties": {
                "subject": { "type": "string" },
                "schema": { "type": "string" },
                "format": { "enum": ["json", "avro", "protobuf"] },
                "references": { "type": "array", "items": { "type": "object" } },
                "against_history": { "type": "object", "required": ["station"], "properties": {
                    "station": { "type": "string" }, "from_seq": { "type": "integer" },
                    "from_time": { "type": "string", "format": "date-time" }, "limit": { "type": "integer" } } },
            },
        },
    })
}

fn operations() -> Value {
    json!({
        "Error": {
            "type": "object",
            "required": ["code", "error", "hint"],
            "properties": {
                "code": { "type": "integer", "description": "never reused for another error" },
                "error": { "type": "string" },
                "hint": { "type": "string", "description": "what to do" },
                "problems": { "type": "array", "items": { "type": "object" } },
            },
        },
        "RegistryError": {
            "type": "object",
            "required": ["error_code", "message"],
            "properties": { "error_code": { "type": "integer" }, "message": { "type": "string" } },
        },
        "Apply": {
            "type": "object",
            "required": ["files"],
            "properties": {
                "dry_run": { "type": "boolean" }, "history": { "type": "string", "description": "with `dry_run`: run queries of flows over what is stored since then" },
                "files": { "type": "array", "items": { "type": "object", "required": ["name", "text"],
                    "properties": { "name": { "type": "string" }, "text": { "type": "string" } } } },
                "attachments": { "type": "object", "additionalProperties": { "type": "string", "contentEncoding": "base64" } },
                "variables": { "type": "object", "additionalProperties": { "type": "string" } },
                "by": { "type": "string", "description": "who, for the history of functions" },
                "why": { "type": "string" },
                "trial": { "type": "object", "required": ["mode"], "properties": {
                    "mode": { "enum": ["shadow", "canary"] },
                    "percent": { "type": "number", "exclusiveMinimum": 0, "maximum": 100 },
                    "subjects": { "type": "string" },
                    "max_error_rate": { "type": "number", "minimum": 0, "maximum": 1 },
                    "min_messages": { "type": "integer", "minimum": 1 } } },
            },
        },
        "FlowRestart": {
            "type": "object",
            "properties": {
                "from_seq": { "type": "integer", "minimum": 1 },
                "from_time": { "type": "string", "format": "date-time" },
                "from_end": { "type": "boolean" },
            },
        },
        "FlowRerun": {
            "type": "object",
            "properties": {
                "from_seq": { "type": "integer", "minimum": 1, "description": "1 when absent" },
                "to_seq": { "type": "integer", "minimum": 1, "description": "the newest message when absent" },
                "to": { "type": "string", "description": "station for what keeps its subject; the flow's when absent" },
            },
        },
        "Query": {
            "type": "object", "required": ["sql"],
            "properties": {
                "sql": { "type": "string", "description": "one `SELECT`, or `EXPLAIN` of one" },
                "timeout": { "type": "integer", "minimum": 1, "maximum": 3600, "description": "seconds; 60 when absent" },
                "preview": { "type": "object", "description": "run it as a flow would, for ever, and store nothing: `from` (`beginning`, a time, an age such as `1h`, a sequence; from now on when absent), `follow` (go on behind what is stored), `limit` (most results)" },
            },
        },
        "Publish": {
            "type": "object",
            "required": ["subject"],
            "properties": {
                "subject": { "type": "string" },
                "headers": { "type": "object", "additionalProperties": { "type": "string" } },
                "payload": { "type": "string" },
                "payload_base64": { "type": "string", "contentEncoding": "base64" },
            },
        },
    })
}

#[cfg(test)]
mod tests {
    use super::{ROUTES, document};

    #[test]
    fn every_route_is_in_the_document() {
        let document = document();
        for (method, path, ..) in ROUTES {
            assert!(
                document["paths"][path][method].is_object(),
                "{method} {path}"
            );
        }
        // And the other way round: what the router serves under the prefix has a line in the table.
        let source = include_str!("http.rs");
        let api = &source[..source
            .find(".layer(")
            .expect("the API's routes end with its layer")];
        for route in api.split(".route(\"").skip(1) {
            let path = format!("/api/v1{}", route.split('"').next().expect("closing quote"));
            assert!(ROUTES.iter().any(|(_, known, ..)| *known == path), "{path}");
        }
    }
}
