//! Stored messages held against a schema.

use std::collections::BTreeMap;
use std::sync::Arc;

use millstream_jetstream::StoredRecord;
use millstream_pipeline::Schemas;
use millstream_schema_formats::{Format, Schema, Value as Decoded, Violation};
use millstream_types::HeaderBlock;
use serde_json::{Value, json};

use crate::manage::scan::Visit;
use crate::shelf::Shelf;

/// Kinds of violations told apart; what else there is is counted.
const MAX_KINDS: usize = 64;

/// See the module.
pub(super) struct History {
    pub(super) candidate: Schema,
    pub(super) schemas: Arc<Shelf>,
    pub(super) fit: u64,
    pub(super) fail: u64,
    kinds: BTreeMap<(String, String), Kind>,
    /// Failures of kinds that came when there were too many.
    others: u64,
}

/// A kind of violation: how often, and the first.
struct Kind {
    count: u64,
    seq: u64,
    violation: Violation,
}

impl History {
    pub(super) fn new(candidate: Schema, schemas: Arc<Shelf>) -> Self {
        Self {
            candidate,
            schemas,
            fit: 0,
            fail: 0,
            kinds: BTreeMap::new(),
            others: 0,
        }
    }

    /// Whether a reader with the new schema gets along with a message, whatever it is stored in.
    fn check(&self, record: &StoredRecord) -> Result<(), Violation> {
        let view = record.view();
        let headers = HeaderBlock::new(view.headers);
        let Some(stored) = headers.get_str("Ms-Schema") else {
            return self.bare(view.payload);
        };
        let is_json = headers.get_str("Ms-Schema-Format").is_some();
        let stored = self.stored(stored, &headers)?;
        let (own, other) = (self.candidate.format(), stored.format());
        if is_json || own == Format::Json && other == Format::Json {
            return self.text(view.payload);
        }
        if own == other {
            let message = headers.get_str("Ms-Schema-Message");
            let candidate = rooted(&self.candidate, message, "the new version")?;
            return candidate.resolve(&stored, view.payload).map(drop);
        }
        let value = stored.decode(view.payload)?;
        self.candidate.encode(&value).map(drop)
    }

    fn stored(&self, name: &str, headers: &HeaderBlock<'_>) -> Result<Schema, Violation> {
        let unknown = |found: String| violation("schema", "a schema that is registered", found);
        let (subject, version) = name.rsplit_once(':').unwrap_or((name, "1"));
        let version: u32 = version.parse().unwrap_or(1);
        let id = headers.get_str("Ms-Schema-Id");
        let id: Option<u32> = id.and_then(|id| id.parse().ok());
        let found = match (self.schemas.version(subject, Some(version)), id) {
            (Ok(found), None) => Ok(found),
            (Ok(found), Some(id)) if found.id == id => Ok(found),
            (_, Some(id)) => self.schemas.by_id(id, subject, version),
            (found, None) => found,
        };
        let found = found.map_err(unknown)?;
        rooted(&found.schema, headers.get_str("Ms-Schema-Message"), name)
    }

    /// A payload that does not say what it is: JSON where it is JSON, else in the format of the new schema.
    fn bare(&self, payload: &[u8]) -> Result<(), Violation> {
        if self.candidate.format() == Format::Json {
            return self.candidate.check(payload);
        }
        let object = payload.first() == Some(&b'{');
        match serde_json::from_slice::<Value>(payload) {
            Ok(document) if object => {
                let value = Decoded::from(document);
                self.candidate.encode(&value).map(drop)
            }
            _ => self.candidate.check(payload),
        }
    }

    fn text(&self, payload: &[u8]) -> Result<(), Violation> {
        if self.candidate.format() == Format::Json {
            return self.candidate.check(payload);
        }
        let document: Value = serde_json::from_slice(payload)
            .map_err(|error| violation("json", "a JSON document", error.to_string()))?;
        self.candidate.encode(&Decoded::from(document)).map(drop)
    }

    /// The counts, the most frequent kind first.
    pub(super) fn report(&self, looked_at: u64) -> Value {
        let mut kinds: Vec<&Kind> = self.kinds.values().collect();
        kinds.sort_by_key(|kind| (std::cmp::Reverse(kind.count), kind.seq));
        let kinds: Vec<Value> = kinds.into_iter().map(Kind::shown).collect();
        json!({ "looked_at": looked_at, "fit": self.fit, "fail": self.fail, "violations": kinds, "others": self.others })
    }
}

impl Kind {
    fn shown(&self) -> Value {
        let Violation {
            path,
            keyword,
            expected,
            found,
        } = &self.violation;
        json!({ "count": self.count, "keyword": keyword, "seq": self.seq, "path": path, "expected": expected, "found": found })
    }
}

/// The schema with the message that a stored one says it is.
fn rooted(schema: &Schema, message: Option<&str>, name: &str) -> Result<Schema, Violation> {
    let (Schema::Protobuf(protobuf), Some(message)) = (schema, message) else {
        return Ok(schema.clone());
    };
    let root = protobuf.select(message).map(Schema::Protobuf);
    let expected = format!("message `{message}`");
    root.ok_or_else(|| violation("schema", &expected, format!("none in `{name}`")))
}

fn violation(keyword: &str, expected: &str, found: String) -> Violation {
    Violation {
        path: String::new(),
        keyword: keyword.to_owned(),
        expected: expected.to_owned(),
        found,
    }
}

/// A path without the numbers of items: the third leg breaks the same rule as the first.
fn place(path: &str) -> String {
    let part = |part: &str| {
        let number = !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
        if number {
            "[]".to_owned()
        } else {
            part.to_owned()
        }
    };
    path.split('/').map(part).collect::<Vec<_>>().join("/")
}

impl Visit for History {
    fn message(&mut self, record: &StoredRecord) {
        let Err(violation) = self.check(record) else {
            self.fit += 1;
            return;
        };
        self.fail += 1;
        let key = (place(&violation.path), violation.keyword.clone());
        if let Some(kind) = self.kinds.get_mut(&key) {
            kind.count += 1;
        } else if self.kinds.len() < MAX_KINDS {
            let seq = record.seq;
            let kind = Kind {
                count: 1,
                seq,
                violation,
            };
            self.kinds.insert(key, kind);
        } else {
            self.others += 1;
        }
    }
}
