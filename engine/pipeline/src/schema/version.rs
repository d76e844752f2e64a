//! One version of a registry subject, ready for use, and the mark that messages carry of it.

use std::sync::{Arc, OnceLock};

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
    /// Which message of the schema payloads are, where that was said.
    pub(crate) message: Option<String>,
    lines: String,
    block: Bytes,
    /// See [`VersionSchema::as_json`]; made when it is asked for.
    json: OnceLock<Arc<Self>>,
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
            message: None,
            block: headers::with_line(&[], Some(lines.as_bytes())),
            lines,
            json: OnceLock::new(),
        }
    }

    /// The same for payloads that are another message of the schema; `None` when it has no such message.
    #[must_use]
    pub fn rooted(&self, message: &str) -> Option<Arc<Self>> {
        let Schema::Protobuf(schema) = &self.schema else {
            return None;
        };
        let root = Schema::Protobuf(schema.select(message)?);
        Some(self.with(root, Some(message), false))
    }

    /// This version for payloads that are the same message as those of another version of the subject; `None` when it has no
    /// such message.
    pub(crate) fn like(self: &Arc<Self>, other: &Self) -> Option<Arc<Self>> {
        match &other.message {
            Some(message) if self.subject == other.subject && self.message != other.message => {
                self.rooted(message)
            }
            _ => Some(Arc::clone(self)),
        }
    }

    /// The same for payloads that are JSON whatever the schema's format is.
    #[must_use]
    pub fn as_json(&self) -> Arc<Self> {
        let made = self.json.get_or_init(|| {
            let other = self.schema.format() != Format::Json;
            self.with(self.schema.clone(), self.message.as_deref(), other)
        });
        Arc::clone(made)
    }

    fn with(&self, schema: Schema, message: Option<&str>, json: bool) -> Arc<Self> {
        let mut new = Self::new(&self.subject, self.version, self.id, self.guid, schema);
        if let Some(message) = message {
            new.message = Some(message.to_owned());
            new.lines.push_str("\r\nMs-Schema-Message: ");
            new.lines.push_str(message);
        }
        if json {
            new.lines.push_str("\r\nMs-Schema-Format: json");
        }
        new.block = headers::with_line(&[], Some(new.lines.as_bytes()));
        Arc::new(new)
    }

    /// The header block of messages that come without headers: this version's mark.
    #[must_use]
    pub fn block(&self) -> &Bytes {
        &self.block
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
