//! A compiled JSON Schema.

use std::fmt;
use std::sync::Arc;

use jsonschema::error::ValidationErrorKind as Kind;
use jsonschema::{PatternOptions, ReferencingError, ValidationError, Validator};
use serde_json::Value;

use self::budget::affordable;
use crate::describe::{describe, shown};
use crate::{Column, Incompatibility, Policy, Reference, SchemaError, Shape, Violation};

mod budget;
mod chains;
mod columns;
mod explain;
mod limits;
mod references;
mod visits;

pub use columns::columns_of_json_schema;
pub use limits::{MAX_SCHEMA_BYTES, MAX_SCHEMA_DEPTH, MAX_SCHEMA_NODES};

/// Memory of one compiled pattern, in bytes.
const MAX_PATTERN_BYTES: usize = 1 << 20;

/// A schema that was compiled once and checks any number of documents, from any number of threads. Cheap to clone.
///
/// Drafts 4 to 2020-12, taken from `$schema`, 2020-12 without one. `format` is checked. Patterns run in linear time,
/// references are never fetched, recursion through references is remembered, so a hostile document costs time in
/// proportion to its size.
#[derive(Clone)]
pub struct JsonSchema {
    document: Arc<Value>,
    validator: Arc<Validator>,
}

impl JsonSchema {
    /// Compiles a schema.
    ///
    /// # Errors
    /// What is wrong with it and where.
    pub fn compile(text: &str, _references: &[Reference]) -> Result<Self, SchemaError> {
        let document = limits::parse(text)?;
        if !document.is_object() && !document.is_boolean() {
            return Err(SchemaError::NotASchema {
                found: describe(&document),
            });
        }
        chains::check(&document)?;
        visits::check(&document)?;
        let validator = jsonschema::options()
            .offline()
            .should_validate_formats(true)
            .with_pattern_options(
                PatternOptions::regex()
                    .size_limit(MAX_PATTERN_BYTES)
                    .dfa_size_limit(MAX_PATTERN_BYTES),
            )
            .build(&document)
            .map_err(|error| refusal(&error))?;
        Ok(Self {
            document: Arc::new(document),
            validator: Arc::new(validator),
        })
    }

    /// Checks a document.
    ///
    /// # Errors
    /// The first rule it breaks; only that it does not fit when schema and document together would make finding that
    /// rule too expensive.
    pub fn check(&self, document: &Value) -> Result<(), Violation> {
        // The yes-or-no walk is the cheaper one, and almost all documents are valid.
        if self.validator.is_valid(document) {
            return Ok(());
        }
        if !affordable(&self.document, document) {
            return Err(Violation::unexplained(document));
        }
        match self.validator.validate(document) {
            Err(error) => Err(Violation::new(&error)),
            Ok(()) => Ok(()),
        }
    }

    pub(crate) fn canonical(&self) -> String {
        self.document.to_string()
    }

    pub(crate) fn normalized(&self) -> String {
        self.canonical()
    }

    pub(crate) fn name(&self) -> Option<String> {
        let title = self.document.get("title").and_then(Value::as_str);
        title.map(str::to_owned)
    }

    pub(crate) fn check_bytes(&self, payload: &[u8]) -> Result<(), Violation> {
        self.check(&serde_json::from_slice(payload).expect("not yet"))
    }

    pub(crate) fn decode(&self, payload: &[u8]) -> Result<crate::Value, Violation> {
        self.check_bytes(payload)?;
        Ok(serde_json::from_slice::<Value>(payload)
            .expect("not yet")
            .into())
    }

    pub(crate) fn encode(&self, _value: &crate::Value) -> Result<Vec<u8>, Violation> {
        panic!("not yet")
    }

    pub(crate) fn resolve(&self, _writer: &Self, payload: &[u8]) -> Result<Vec<u8>, Violation> {
        self.check_bytes(payload)?;
        Ok(payload.to_vec())
    }

    pub(crate) fn shape(&self) -> Shape {
        panic!("not yet")
    }

    pub(crate) fn text_of(_shape: &Shape) -> String {
        panic!("not yet")
    }

    pub(crate) fn cannot_read(&self, _writer: &Self, _policy: Policy) -> Vec<Incompatibility> {
        Vec::new()
    }

    /// The schema as parsed.
    #[must_use]
    pub fn document(&self) -> &Value {
        &self.document
    }

    /// The columns it describes; see [`columns_of_json_schema`].
    ///
    /// # Errors
    /// When it does not describe an object.
    pub fn columns(&self) -> Result<Vec<Column>, SchemaError> {
        columns_of_json_schema(&self.document)
    }
}

impl fmt::Debug for JsonSchema {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JsonSchema")
            .field("title", &self.document.get("title"))
            .finish_non_exhaustive()
    }
}

fn refusal(error: &ValidationError<'_>) -> SchemaError {
    let path = || error.instance_path().as_str().to_owned();
    match error.kind() {
        Kind::Referencing(reference) => match reference {
            ReferencingError::Unretrievable { uri, .. } => {
                SchemaError::RemoteReference { uri: uri.clone() }
            }
            ReferencingError::UnknownSpecification { specification } => SchemaError::UnknownDraft {
                uri: specification.clone(),
            },
            other => SchemaError::Reference {
                reason: other.to_string(),
            },
        },
        Kind::Format { format } if format == "regex" => SchemaError::Pattern {
            path: path(),
            reason: format!(
                "`{}` is no regular expression this engine knows",
                shown(error.instance())
            ),
        },
        _ => SchemaError::Invalid {
            path: path(),
            reason: Violation::new(error).to_string(),
        },
    }
}

#[cfg(test)]
mod tests;
