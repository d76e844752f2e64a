//! One version of a registry subject, ready for use, and the mark that messages carry of it.

use std::fmt::Write as _;
use std::sync::Arc;

use bytes::Bytes;
use millstream_schema_formats::{Format, Schema};

use crate::headers;

/// A compiled version of a registry subject.
///
/// Messages that were checked against it carry `Ms-Schema: <subject>:<version>` and `Ms-Schema-Id: <id>`; where the schema
/// describes several messages and it is not the first, also `Ms-Schema-Message: <full name>`; where the payload is JSON
/// although the schema's format is another, also `Ms-Schema-Format: json`.
#[derive(Debug)]
pub struct VersionSchema {
    /// The registry subject.
    pub subject: String,
    /// The version, from 1.
    pub version: u32,
    /// The schema's number in the registry.
    pub id: u32,
    /// The schema's number anywhere.
    pub guid: u128,
    /// What payloads are checked against.
    pub schema: Schema,
    lines: String,
    block: Bytes,
}

impl PartialEq for VersionSchema {
    fn eq(&self, other: &Self) -> bool {
        (self.id, self.version, &self.lines) == (other.id, other.version, &other.lines)
    }
}

impl VersionSchema {
    /// A version for payloads in the schema's own format.
    #[must_use]
    pub fn new(subject: &str, version: u32, id: u32, guid: u128, schema: Schema) -> Self {
        let lines = format!("Ms-Schema: {subject}:{version}\r\nMs-Schema-Id: {id}");
        Self {
            subject: subject.to_owned(),
            version,
            id,
            guid,
            schema,
            block: headers::with_line(&[], Some(lines.as_bytes())),
            lines,
        }
    }

    /// The same for payloads that are another message of the schema.
    #[must_use]
    pub fn rooted(&self, schema: Schema) -> Arc<Self> {
        let message = schema.name().unwrap_or_default();
        let line = format!("\r\nMs-Schema-Message: {message}");
        self.with(schema, &line)
    }

    /// The same for payloads that are JSON whatever the schema's format is.
    #[must_use]
    pub fn as_json(&self) -> Arc<Self> {
        let line = match self.schema.format() {
            Format::Json => "",
            Format::Avro | Format::Protobuf => "\r\nMs-Schema-Format: json",
        };
        self.with(self.schema.clone(), line)
    }

    fn with(&self, schema: Schema, line: &str) -> Arc<Self> {
        let mut new = Self::new(&self.subject, self.version, self.id, self.guid, schema);
        // Writing to a string does not fail.
        let _written = write!(new.lines, "{line}");
        new.block = headers::with_line(&[], Some(new.lines.as_bytes()));
        Arc::new(new)
    }

    /// A header block with this version's mark, and nobody else's.
    #[must_use]
    pub fn stamped(&self, raw: &[u8]) -> Bytes {
        // Most messages come without headers; they share one block.
        if raw.is_empty() {
            self.block.clone()
        } else {
            headers::with_line(raw, Some(self.lines.as_bytes()))
        }
    }
}
