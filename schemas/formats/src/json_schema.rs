//! A compiled JSON Schema.

use std::fmt;

use jsonschema::error::ValidationErrorKind as Kind;
use jsonschema::{PatternOptions, ReferencingError, ValidationError, Validator};
use serde_json::Value;

use crate::budget::affordable;
use crate::describe::{describe, shown};
use crate::{Column, SchemaError, Violation, chains, columns_of_json_schema, limits, visits};

/// Memory of one compiled pattern, in bytes.
const MAX_PATTERN_BYTES: usize = 1 << 20;

/// A schema that was compiled once and checks any number of documents, from any number of threads.
///
/// Drafts 4 to 2020-12, taken from `$schema`, 2020-12 without one. `format` is checked. Patterns run in linear time,
/// references are never fetched, recursion through references is remembered, so a hostile document costs time in
/// proportion to its size.
pub struct JsonSchema {
    document: Value,
    validator: Validator,
}

impl JsonSchema {
    /// Compiles a schema.
    ///
    /// # Errors
    /// What is wrong with it and where.
    pub fn compile(text: &str) -> Result<Self, SchemaError> {
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
            document,
            validator,
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
