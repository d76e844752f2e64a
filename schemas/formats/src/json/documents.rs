//! A schema and the other schemas it refers to: which text a `$ref` means.
//!
//! A reference is known by the URI that it is registered under, absolute or relative. A relative one is found from wherever
//! it is named: `legs.json` also answers for `https://example.com/schemas/legs.json`, which is what it becomes in a schema
//! whose `$id` is `https://example.com/schemas/flight.json`. Nothing else is ever read.

use std::sync::Arc;

use jsonschema::{Retrieve, Uri};
use serde_json::Value;

use super::limits;
use super::references::unescape;
use crate::{MAX_SCHEMA_BYTES, Reference, SchemaError};

/// Bytes of a schema and all its references together.
const MAX_TOTAL_BYTES: usize = 4 * MAX_SCHEMA_BYTES;

/// The schema (0) and what it refers to.
#[derive(Debug)]
pub(super) struct Documents {
    parts: Vec<(String, Value)>,
}

/// A place in one of the documents.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place<'a> {
    /// Which document it is in.
    pub(super) part: usize,
    /// What stands there.
    pub(super) schema: &'a Value,
}

impl<'a> Place<'a> {
    /// Another place of the same document.
    pub(super) fn at(self, schema: &'a Value) -> Self {
        Self { schema, ..self }
    }

    /// Whether two places are the same one.
    pub(super) fn key(self) -> *const Value {
        std::ptr::from_ref(self.schema)
    }
}

impl Documents {
    pub(super) fn parse(text: &str, references: &[Reference]) -> Result<Self, SchemaError> {
        let mut parts = vec![(String::new(), limits::parse(text)?)];
        let mut size = text.len();
        for reference in references {
            size += reference.text.len();
            if size > MAX_TOTAL_BYTES {
                return Err(SchemaError::TooLarge {
                    size,
                    limit: MAX_TOTAL_BYTES,
                });
            }
            let name = reference.name.trim_end_matches('#').to_owned();
            if !name.is_empty() && !parts.iter().any(|(known, _)| *known == name) {
                parts.push((name, limits::parse(&reference.text)?));
            }
        }
        Ok(Self { parts })
    }

    pub(super) fn root(&self) -> &Value {
        &self.parts[0].1
    }

    /// Where reading starts.
    pub(super) fn top(&self) -> Place<'_> {
        Place {
            part: 0,
            schema: self.root(),
        }
    }

    /// Names and documents, the schema itself first, under no name.
    pub(super) fn all(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.parts
            .iter()
            .map(|(name, value)| (name.as_str(), value))
    }

    /// The document that a URI without fragment means.
    fn named(&self, uri: &str) -> Option<usize> {
        let referred = || self.parts.iter().enumerate().skip(1);
        let id = |value: &Value| value.get("$id").or_else(|| value.get("id")).cloned();
        let same = |value: &Value| {
            id(value).is_some_and(|id| {
                id.as_str()
                    .is_some_and(|id| id.trim_end_matches('#') == uri)
            })
        };
        referred()
            .find(|(_, (name, _))| name == uri)
            .or_else(|| {
                self.parts
                    .iter()
                    .enumerate()
                    .find(|(_, (_, value))| same(value))
            })
            .or_else(|| {
                referred().find(|(_, (name, _))| {
                    let relative = name.trim_start_matches("./").trim_start_matches('/');
                    uri.strip_suffix(relative)
                        .is_some_and(|front| front.ends_with('/'))
                })
            })
            .map(|(at, _)| at)
    }

    /// A relative URI as it is meant in a document: next to that one.
    fn beside(&self, part: usize, uri: &str) -> Option<String> {
        let (name, value) = &self.parts[part];
        let own = value.get("$id").or_else(|| value.get("id"));
        let own = own.and_then(Value::as_str).unwrap_or(name);
        let (folder, _) = own.rsplit_once('/')?;
        Some(format!("{folder}/{uri}"))
    }

    /// What a `$ref` in `from` leads to, when it is a pointer into a whole document; anchors and embedded `$id`s are left to
    /// the validator.
    pub(super) fn follow(&self, from: usize, reference: &str) -> Option<Place<'_>> {
        let (base, fragment) = reference.split_once('#').unwrap_or((reference, ""));
        let part = if base.is_empty() {
            from
        } else {
            self.named(base)
                .or_else(|| self.named(&self.beside(from, base)?))?
        };
        let schema = self.parts[part].1.pointer(&unescape(fragment))?;
        Some(Place { part, schema })
    }
}

impl Documents {
    /// What a `$ref` leads to, also where it is an anchor or the `$id` of a part.
    pub(super) fn seek(&self, from: usize, reference: &str) -> Option<Place<'_>> {
        self.follow(from, reference).or_else(|| {
            let (base, fragment) = reference.split_once('#').unwrap_or((reference, ""));
            let part = if base.is_empty() {
                from
            } else {
                self.named(base)
                    .or_else(|| self.named(&self.beside(from, base)?))
                    .unwrap_or(from)
            };
            let document = &self.parts[part].1;
            let schema = match fragment {
                "" => named_part(document, base),
                anchor if !anchor.starts_with('/') => anchored(document, anchor),
                pointer => named_part(document, base)?.pointer(&unescape(pointer)),
            };
            schema.map(|schema| Place { part, schema })
        })
    }
}

/// The first part, at any depth, that `wanted` takes.
fn first<'a>(value: &'a Value, wanted: &dyn Fn(&Value) -> bool) -> Option<&'a Value> {
    if wanted(value) {
        return Some(value);
    }
    match value {
        Value::Object(members) => members.values().find_map(|member| first(member, wanted)),
        Value::Array(items) => items.iter().find_map(|item| first(item, wanted)),
        _ => None,
    }
}

fn word<'a>(value: &'a Value, keyword: &str) -> Option<&'a str> {
    value.get(keyword).and_then(Value::as_str)
}

fn anchored<'a>(document: &'a Value, anchor: &str) -> Option<&'a Value> {
    first(document, &|value| {
        let ids = ["$id", "id"].iter().filter_map(|name| word(value, name));
        word(value, "$anchor") == Some(anchor)
            || word(value, "$dynamicAnchor") == Some(anchor)
            || ids
                .filter_map(|id| id.strip_prefix('#'))
                .any(|id| id == anchor)
    })
}

fn named_part<'a>(document: &'a Value, uri: &str) -> Option<&'a Value> {
    let last = |uri: &str| uri.rsplit('/').next().map(str::to_owned);
    first(document, &|value| {
        let mut ids = ["$id", "id"].iter().filter_map(|name| word(value, name));
        ids.any(|id| !id.starts_with('#') && last(id) == last(uri))
    })
}

/// Answers the validator's questions for other documents from memory.
pub(super) struct Known(pub(super) Arc<Documents>);

impl Retrieve for Known {
    fn retrieve(
        &self,
        uri: &Uri<String>,
    ) -> Result<Value, Box<dyn std::error::Error + Send + Sync>> {
        let uri = uri.as_str();
        let uri = uri.split_once('#').map_or(uri, |(base, _)| base);
        // A schema without an `$id` has a base of the validator's own making.
        let bare = uri.strip_prefix("json-schema:///").unwrap_or(uri);
        let part = self.0.named(uri).or_else(|| self.0.named(bare));
        part.map(|part| self.0.parts[part].1.clone())
            .ok_or_else(|| "references are never fetched".into())
    }
}

#[cfg(test)]
mod tests;
