//! How often validation may come by one place of a document.
//!
//! Combinations of schemas that go into the same member of a document multiply: two alternatives that both look at `a`,
//! whose schema has two alternatives that both look at `b` … visit the last one two to the power of the depth times. This
//! bounds that number before a schema is accepted, by following schemas and places together. Schemas that contain
//! themselves are cut where they do: there the validator remembers what it found for a place.

use std::collections::HashMap;

use serde_json::Value;

use super::documents::Documents;
use super::references::Index;
use crate::SchemaError;

/// Visits of one place that are accepted.
const MAX_VISITS: usize = 100_000;
/// Steps of this count itself.
const MAX_WORK: usize = 2_000_000;
/// How often the validator comes by a part of a schema with `unevaluated…`: to check it, and to learn what it evaluated.
/// Measured: chains of such schemas take time in proportion to three to the power of their length.
const REVISITS: usize = 3;
/// Levels followed; deeper ones lie beyond any document that is parsed, except in schemas that contain themselves.
const MAX_LEVELS: usize = 400;

/// Refuses a schema that may visit one place more than [`MAX_VISITS`] times. Its chains must have been checked before.
pub(super) fn check(documents: &Documents) -> Result<(), SchemaError> {
    let index = Index::new(documents);
    let mut count = Count {
        index: &index,
        known: HashMap::new(),
        open: HashMap::new(),
        work: 0,
    };
    match count.visits(documents.root(), 0) {
        Some(_) => Ok(()),
        None => Err(SchemaError::TooWide { limit: MAX_VISITS }),
    }
}

struct Count<'a, 'i> {
    index: &'i Index<'a>,
    /// What was counted, by the schema's address.
    known: HashMap<*const Value, usize>,
    /// What is being counted, with the level where it applies.
    open: HashMap<*const Value, usize>,
    work: usize,
}

/// The schemas that apply one level further down.
#[derive(Default)]
struct Below<'a> {
    named: HashMap<&'a str, Vec<&'a Value>>,
    any_member: Vec<&'a Value>,
    items: Vec<&'a Value>,
    opened: Vec<*const Value>,
}

impl<'a> Count<'a, '_> {
    /// The most visits of one place at or below where `schema` applies; `None` when there are too many.
    fn visits(&mut self, schema: &'a Value, level: usize) -> Option<usize> {
        let key = std::ptr::from_ref(schema);
        if let Some(known) = self.known.get(&key) {
            return Some(*known);
        }
        if level > MAX_LEVELS {
            return Some(1);
        }
        let mut below = Below::default();
        let mut most = self.here(schema, level, &mut below)?;
        let anywhere = self.sum(&below.any_member, level)?;
        most = most.max(anywhere).max(self.sum(&below.items, level)?);
        for schemas in below.named.values() {
            most = most.max(bounded(self.sum(schemas, level)? + anywhere)?);
        }
        for schema in &below.opened {
            self.open.remove(schema);
        }
        self.known.insert(key, most);
        Some(most)
    }

    fn sum(&mut self, schemas: &[&'a Value], level: usize) -> Option<usize> {
        schemas.iter().try_fold(0, |sum, schema| {
            bounded(sum + self.visits(schema, level + 1)?)
        })
    }

    /// How many schemas apply to the same place, and what they apply below it.
    fn here(&mut self, schema: &'a Value, level: usize, below: &mut Below<'a>) -> Option<usize> {
        self.work += 1;
        if self.work > MAX_WORK {
            return None;
        }
        let key = std::ptr::from_ref(schema);
        match self.open.get(&key) {
            Some(above) if *above < level => return Some(1),
            Some(_) => {}
            None => {
                self.open.insert(key, level);
                below.opened.push(key);
            }
        }
        let Value::Object(keywords) = schema else {
            return Some(1);
        };
        let mut count = 1;
        let unevaluated = ["unevaluatedProperties", "unevaluatedItems"];
        let again = if unevaluated.iter().any(|word| keywords.contains_key(*word)) {
            REVISITS
        } else {
            1
        };
        for (keyword, inner) in keywords {
            below.add(keyword, inner);
            for next in self.index.next(keyword, inner) {
                for _ in 0..again {
                    count = bounded(count + self.here(next, level, below)?)?;
                }
            }
        }
        Some(count)
    }
}

impl<'a> Below<'a> {
    fn add(&mut self, keyword: &str, inner: &'a Value) {
        match (keyword, inner) {
            ("properties", Value::Object(properties)) => {
                for (name, property) in properties {
                    self.named.entry(name).or_default().push(property);
                }
            }
            ("patternProperties", Value::Object(patterns)) => {
                self.any_member.extend(patterns.values())
            }
            ("additionalProperties" | "unevaluatedProperties", inner) => {
                self.any_member.push(inner)
            }
            ("items" | "prefixItems", Value::Array(items)) => self.items.extend(items),
            ("items" | "additionalItems" | "unevaluatedItems" | "contains", inner) => {
                self.items.push(inner);
            }
            _ => {}
        }
    }
}

fn bounded(count: usize) -> Option<usize> {
    (count <= MAX_VISITS).then_some(count)
}
