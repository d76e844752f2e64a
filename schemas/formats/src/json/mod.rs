//! A compiled JSON Schema.

use std::fmt;
use std::sync::Arc;

use jsonschema::error::ValidationErrorKind as Kind;
use jsonschema::{PatternOptions, ReferencingError, ValidationError, ValidationOptions, Validator};
use serde_json::Value;

use self::budget::affordable;
use self::documents::{Documents, Known};
use self::rules::Program;
use crate::describe::{describe, shown};
use crate::{Column, Incompatibility, Policy, Reference, SchemaError, Shape, Violation};

mod budget;
mod chains;
mod columns;
mod compat;
mod compile;
mod derive;
mod documents;
mod explain;
#[cfg(test)]
mod generated;
pub(crate) mod limits;
mod nulls;
mod references;
mod resolve;
mod rules;
mod scale;
mod shape;
mod visits;
mod walk;

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
    inner: Arc<Inner>,
}

struct Inner {
    documents: Arc<Documents>,
    validator: Validator,
    program: Option<Program>,
}

impl JsonSchema {
    /// Compiles a schema. `references` are the schemas it may refer to, by the URIs it refers to them with.
    ///
    /// # Errors
    /// What is wrong with it and where.
    pub fn compile(text: &str, references: &[Reference]) -> Result<Self, SchemaError> {
        let documents = Documents::parse(text, references)?;
        for (_, document) in documents.all() {
            if !document.is_object() && !document.is_boolean() {
                return Err(SchemaError::NotASchema {
                    found: describe(document),
                });
            }
        }
        chains::check(&documents)?;
        visits::check(&documents)?;
        let documents = Arc::new(documents);
        let validator = options()
            .with_retriever(Known(Arc::clone(&documents)))
            .build(documents.root())
            .map_err(|error| refusal(&error))?;
        let program = compile::compile(&documents, validator.draft());
        let inner = Inner {
            documents,
            validator,
            program,
        };
        Ok(Self {
            inner: Arc::new(inner),
        })
    }

    /// Checks a document.
    ///
    /// # Errors
    /// The first rule it breaks; only that it does not fit when schema and document together would make finding that
    /// rule too expensive.
    pub fn check(&self, document: &Value) -> Result<(), Violation> {
        // The yes-or-no walk is the cheaper one, and almost all documents are valid.
        if self.inner.validator.is_valid(document) {
            return Ok(());
        }
        if !affordable(&self.inner.documents, document) {
            return Err(Violation::unexplained(document));
        }
        match self.inner.validator.validate(document) {
            Err(error) => Err(Violation::new(&error)),
            Ok(()) => Ok(()),
        }
    }

    /// Checks the text of a document.
    ///
    /// # Errors
    /// As [`JsonSchema::check`]; keyword `json` when it is none.
    pub fn check_bytes(&self, payload: &[u8]) -> Result<(), Violation> {
        if self.fits(payload) {
            return Ok(());
        }
        self.check(&parse(payload)?)
    }

    /// Whether a walk over the text finds that it fits; see [`crate::Schema::fits`].
    #[must_use]
    pub fn fits(&self, payload: &[u8]) -> bool {
        let program = self.inner.program.as_ref();
        program.is_some_and(|program| walk::fits(program, payload))
    }

    /// Whether documents that fit are checked without being parsed: the schema says only what a walk over bytes can check.
    #[must_use]
    pub fn walks(&self) -> bool {
        self.inner.program.is_some()
    }

    /// As parsed, without white space, members in the order written.
    pub(crate) fn canonical(&self) -> String {
        self.document().to_string()
    }

    /// As [`JsonSchema::canonical`], members in alphabetical order.
    pub(crate) fn normalized(&self) -> String {
        let mut document = self.document().clone();
        document.sort_all_objects();
        document.to_string()
    }

    pub(crate) fn name(&self) -> Option<String> {
        let title = self.document().get("title").and_then(Value::as_str);
        title.map(str::to_owned)
    }

    /// What JSON has kinds for; bytes and times stay text.
    pub(crate) fn decode(&self, payload: &[u8]) -> Result<crate::Value, Violation> {
        let document = parse(payload)?;
        self.check(&document)?;
        Ok(document.into())
    }

    pub(crate) fn encode(&self, value: &crate::Value) -> Result<Vec<u8>, Violation> {
        let mut document = value.to_json();
        nulls::fill(&self.inner.documents, &mut document);
        let payload = document.to_string().into_bytes();
        self.check_bytes(&payload)?;
        Ok(payload)
    }

    pub(crate) fn resolve(&self, writer: &Self, payload: &[u8]) -> Result<Vec<u8>, Violation> {
        let mut document = parse(payload)?;
        writer.check(&document)?;
        resolve::fit(&self.inner.documents, &mut document);
        self.check(&document)?;
        Ok(document.to_string().into_bytes())
    }

    /// See [`shape`].
    pub(crate) fn shape(&self) -> Shape {
        shape::shape(&self.inner.documents)
    }

    /// See [`derive`].
    pub(crate) fn text_of(shape: &Shape) -> String {
        derive::text(shape)
    }

    /// See [`compat`].
    pub(crate) fn cannot_read(&self, writer: &Self, policy: Policy) -> Vec<Incompatibility> {
        compat::compare(&writer.inner.documents, &self.inner.documents, policy)
    }

    /// The schema as parsed.
    #[must_use]
    pub fn document(&self) -> &Value {
        self.inner.documents.root()
    }

    /// The columns it describes; see [`columns_of_json_schema`].
    ///
    /// # Errors
    /// When it does not describe an object.
    pub fn columns(&self) -> Result<Vec<Column>, SchemaError> {
        columns_of_json_schema(self.document())
    }
}

impl fmt::Debug for JsonSchema {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JsonSchema")
            .field("title", &self.document().get("title"))
            .finish_non_exhaustive()
    }
}

/// How everything is compiled: formats count, patterns are bounded, nothing is fetched.
fn options<'a>() -> ValidationOptions<'a> {
    jsonschema::options()
        .offline()
        .should_validate_formats(true)
        .with_pattern_options(
            PatternOptions::regex()
                .size_limit(MAX_PATTERN_BYTES)
                .dfa_size_limit(MAX_PATTERN_BYTES),
        )
}

fn parse(payload: &[u8]) -> Result<Value, Violation> {
    serde_json::from_slice(payload)
        .map_err(|error| Violation::of("", "json", "a JSON document", error.to_string()))
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
