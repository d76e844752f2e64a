//! Why a schema is refused.

use thiserror::Error;

/// Why a schema text cannot be used. Every variant says where and what to do.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum SchemaError {
    /// Longer than [`crate::MAX_SCHEMA_BYTES`].
    #[error(
        "schema has {size} bytes and at most {limit} are allowed; split it into smaller schemas"
    )]
    TooLarge {
        /// Bytes of the text.
        size: usize,
        /// Bytes allowed.
        limit: usize,
    },
    /// Nested deeper than [`crate::MAX_SCHEMA_DEPTH`].
    #[error(
        "schema is nested more than {limit} levels deep; move inner parts to `$defs` and refer to them"
    )]
    TooDeep {
        /// Levels allowed.
        limit: usize,
    },
    /// More values than [`crate::MAX_SCHEMA_NODES`].
    #[error("schema has more than {limit} values; split it into smaller schemas")]
    TooMany {
        /// Values allowed.
        limit: usize,
    },
    /// Not JSON.
    #[error("schema is not JSON: {reason} at line {line} column {column}")]
    Syntax {
        /// What the parser expected.
        reason: String,
        /// Line, from 1.
        line: usize,
        /// Column, from 1.
        column: usize,
    },
    /// JSON, but neither an object nor a boolean.
    #[error("schema must be a JSON object, found {found}")]
    NotASchema {
        /// What it is instead.
        found: String,
    },
    /// A keyword has a value that JSON Schema does not allow.
    #[error("schema is not valid at `{path}`: {reason}")]
    Invalid {
        /// JSON pointer into the schema; `/` followed by nothing is the top.
        path: String,
        /// What is expected there and what was found.
        reason: String,
    },
    /// A `pattern` the linear-time engine does not take.
    #[error(
        "schema has a pattern at `{path}` that cannot be used: {reason}; look-around and back-references are not supported because their run time is not bounded"
    )]
    Pattern {
        /// JSON pointer to the pattern.
        path: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A reference to another document.
    #[error(
        "schema refers to `{uri}`, which is not part of it; references are never fetched: copy that schema into `$defs`"
    )]
    RemoteReference {
        /// The address it wants.
        uri: String,
    },
    /// A reference into the document that leads nowhere.
    #[error("schema refers to a place it does not have: {reason}")]
    Reference {
        /// Which one.
        reason: String,
    },
    /// `$schema` names no known draft.
    #[error(
        "schema says `$schema` is `{uri}`, which is no known draft; use `https://json-schema.org/draft/2020-12/schema` or leave it out"
    )]
    UnknownDraft {
        /// What it says.
        uri: String,
    },
    /// Too many schemas apply to one value, each reached from the one before.
    #[error(
        "schema at `{path}` leads through more than {limit} references and combinations (`$ref`, `allOf`, `anyOf`, `not` …) for one value, or back to itself; shorten the chain"
    )]
    TooEntangled {
        /// JSON pointer to where the chain starts.
        path: String,
        /// Links allowed.
        limit: usize,
    },
    /// Too many schemas apply to one place of a document, side by side.
    #[error(
        "schema may visit one place of a document more than {limit} times; alternatives that hold alternatives multiply: tell them apart further up, or share them"
    )]
    TooWide {
        /// Visits allowed.
        limit: usize,
    },
    /// The schema's top level does not describe an object, so it has no columns.
    #[error("schema does not describe an object with `properties`, so SQL has no columns to read")]
    NotAnObject,
}
