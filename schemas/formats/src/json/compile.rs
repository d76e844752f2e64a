//! The program that [`super::walk`] runs over the bytes of a document: a schema's keywords, references followed, in the form
//! that is quickest to check. `None` when the schema says anything that the walk does not do: then documents are parsed.
//!
//! What the library decides in its own way (formats, patterns, steps of numbers) is asked of the library itself, with a
//! schema of just these keywords.

use std::collections::HashMap;

use jsonschema::{Draft, Validator};
use serde_json::{Map, Value};

use super::documents::{Documents, Place};
use super::options;
use super::rules::{Array, Choice, Constants, Node, Numbers, Object, Program, Strings, Text};

/// Keywords that need more than one look at a value, or more than its text.
const BEYOND: [&str; 26] = [
    "$anchor",
    "$dynamicAnchor",
    "$dynamicRef",
    "$recursiveAnchor",
    "$recursiveRef",
    "$vocabulary",
    "contains",
    "contentEncoding",
    "contentMediaType",
    "contentSchema",
    "dependencies",
    "dependentRequired",
    "dependentSchemas",
    "disallow",
    "discriminator",
    "divisibleBy",
    "else",
    "extends",
    "if",
    "maxContains",
    "minContains",
    "not",
    "propertyNames",
    "then",
    "unevaluatedItems",
    "unevaluatedProperties",
];
/// Most nodes; beyond it a schema is not one of the common ones.
const MAX_NODES: usize = 10_000;
/// Deepest way from schema to schema, so that the stack is bounded.
const MAX_NESTING: usize = 200;
/// Most schemas given to the library, which keeps a few kilobytes for each.
const MAX_ASKED: usize = 500;
/// Names that one object may require, so that a word of bits remembers them.
const MAX_REQUIRED: usize = 64;
/// Whole numbers up to here are told apart by doubles.
const MAX_EXACT: i64 = 1 << 53;

/// The program of a schema.
pub(super) fn compile(documents: &Documents, draft: Draft) -> Option<Program> {
    let mut builder = Builder {
        documents,
        draft,
        nodes: Vec::new(),
        known: HashMap::new(),
        asked: 0,
        nesting: 0,
    };
    let root = documents.root();
    for (at, (_, document)) in documents.all().enumerate() {
        // Other drafts would change what words mean, names of their own what references mean.
        if at > 0
            && document
                .get("$schema")
                .is_some_and(|draft| root.get("$schema") != Some(draft))
        {
            return None;
        }
        if named_within(document, at > 0) {
            return None;
        }
    }
    let top = builder.node(documents.top())?;
    let integers = match draft {
        Draft::Draft4 => {
            Some(builder.library(Map::from_iter([("type".to_owned(), "integer".into())]))?)
        }
        _ => None,
    };
    let mut program = Program {
        nodes: builder.nodes,
        top,
        integers,
    };
    program.settle();
    Some(program)
}

/// Whether a part of a schema has an `$id`, or `outer`, the schema itself.
fn named_within(value: &Value, outer: bool) -> bool {
    match value {
        Value::Object(members) => {
            let named = |word: &str| members.get(word).is_some_and(Value::is_string);
            outer && (named("$id") || named("id"))
                || members.values().any(|member| named_within(member, true))
        }
        Value::Array(items) => items.iter().any(|item| named_within(item, true)),
        _ => false,
    }
}

struct Builder<'a> {
    documents: &'a Documents,
    draft: Draft,
    nodes: Vec<Node>,
    known: HashMap<*const Value, u32>,
    /// Schemas given to the library.
    asked: usize,
    /// Schemas that are open.
    nesting: usize,
}

impl<'a> Builder<'a> {
    fn node(&mut self, place: Place<'a>) -> Option<u32> {
        if let Some(known) = self.known.get(&place.key()) {
            return Some(*known);
        }
        let at = u32::try_from(self.nodes.len()).ok()?;
        if self.nodes.len() >= MAX_NODES {
            return None;
        }
        if self.nesting >= MAX_NESTING {
            return None;
        }
        self.nesting += 1;
        self.nodes.push(Node::any());
        self.known.insert(place.key(), at);
        let node = match place.schema {
            Value::Bool(true) => Node::any(),
            Value::Bool(false) => Node::none(),
            Value::Object(keywords) => self.keywords(place, keywords)?,
            _ => return None,
        };
        self.nesting -= 1;
        self.nodes[at as usize] = node;
        Some(at)
    }

    fn keywords(&mut self, place: Place<'a>, keywords: &'a Map<String, Value>) -> Option<Node> {
        let top = self
            .documents
            .all()
            .any(|(_, top)| std::ptr::eq(place.schema, top));
        if BEYOND.iter().any(|word| keywords.contains_key(*word)) {
            return None;
        }
        if !top && keywords.contains_key("$schema") {
            return None;
        }
        let mut node = Node::any();
        if let Some(reference) = keywords.get("$ref") {
            let other = self.reference(place, reference)?;
            node.more().also.push(other);
            if matches!(self.draft, Draft::Draft4 | Draft::Draft6 | Draft::Draft7) {
                // There, its neighbours say nothing.
                return Some(node);
            }
        }
        if let Some(types) = keywords.get("type") {
            node.types = types_of(types)?;
        }
        for branch in list(keywords, "allOf")? {
            let other = self.node(place.at(branch))?;
            node.more().also.push(other);
        }
        for (word, one) in [("anyOf", false), ("oneOf", true)] {
            if keywords.contains_key(word) {
                let branches = list(keywords, word)?.iter();
                let branches: Option<Vec<u32>> =
                    branches.map(|branch| self.node(place.at(branch))).collect();
                node.more().choices.push(Choice::new(one, branches?));
            }
        }
        if keywords.contains_key("const") && self.draft == Draft::Draft4 {
            return None;
        }
        for word in ["enum", "const"] {
            if let Some(values) = keywords.get(word) {
                let list = match (word, values) {
                    ("const", value) => std::slice::from_ref(value),
                    (_, values) => values.as_array()?,
                };
                let constants = self.constants(word, values, list)?;
                node.more().constants.push(constants);
            }
        }
        node.numbers = self.numbers(keywords)?.map(Box::new);
        node.strings = self.strings(keywords)?.map(Box::new);
        node.object = self.object(place, keywords)?.map(Box::new);
        node.array = self.array(place, keywords)?.map(Box::new);
        Some(node)
    }

    /// References within documents, and to documents by exactly their names while nothing has an `$id`.
    fn reference(&mut self, place: Place<'a>, reference: &Value) -> Option<u32> {
        let reference = reference.as_str()?;
        if !reference.starts_with('#') {
            let base = reference.split('#').next()?;
            let root = self.documents.root();
            let named = root.get("$id").is_some() || root.get("id").is_some();
            let absolute = base.contains("://");
            let known = self.documents.all().any(|(name, _)| name == base);
            if !known || !absolute && (named || base.contains('/')) {
                return None;
            }
        }
        let target = self.documents.follow(place.part, reference)?;
        self.node(target)
    }

    /// The library, for these keywords alone.
    fn library(&mut self, keywords: Map<String, Value>) -> Option<Validator> {
        self.asked += 1;
        if self.asked > MAX_ASKED {
            return None;
        }
        options()
            .with_draft(self.draft)
            .build(&Value::Object(keywords))
            .ok()
    }

    fn some_of(
        &mut self,
        keywords: &Map<String, Value>,
        words: &[&str],
    ) -> Option<Option<Validator>> {
        let own = |word: &&&str| keywords.contains_key(**word);
        let own: Map<String, Value> = words
            .iter()
            .filter(own)
            .map(|word| ((*word).to_owned(), keywords[*word].clone()))
            .collect();
        if own.is_empty() {
            return Some(None);
        }
        self.library(own).map(Some)
    }

    fn constants(&mut self, word: &str, values: &Value, list: &[Value]) -> Option<Constants> {
        if list
            .iter()
            .any(|value| value.is_array() || value.is_object())
        {
            return None;
        }
        let words = list.iter().filter_map(Value::as_str);
        Some(Constants {
            words: words.map(|word| word.as_bytes().into()).collect(),
            null: list.contains(&Value::Null),
            library: self.library(Map::from_iter([(word.to_owned(), values.clone())]))?,
        })
    }

    fn numbers(&mut self, keywords: &Map<String, Value>) -> Option<Option<Numbers>> {
        let words = [
            "minimum",
            "maximum",
            "exclusiveMinimum",
            "exclusiveMaximum",
            "multipleOf",
        ];
        let Some(library) = self.some_of(keywords, &words)? else {
            return Some(None);
        };
        let mut numbers = Numbers {
            low: f64::NEG_INFINITY,
            low_open: false,
            high: f64::INFINITY,
            high_open: false,
            direct: !keywords.contains_key("multipleOf"),
            library,
        };
        for word in &words[..4] {
            let Some(limit) = keywords.get(*word) else {
                continue;
            };
            let exact = match limit.as_i64() {
                Some(limit) if limit.abs() <= MAX_EXACT => Some(limit as f64),
                Some(_) => None,
                None => limit.as_f64().filter(|_| limit.as_u64().is_none()),
            };
            let Some(limit) = exact else {
                numbers.direct = false;
                continue;
            };
            let open = word.starts_with("exclusive");
            if word.ends_with("inimum") {
                if limit > numbers.low || limit == numbers.low && open {
                    (numbers.low, numbers.low_open) = (limit, open);
                }
            } else if limit < numbers.high || limit == numbers.high && open {
                (numbers.high, numbers.high_open) = (limit, open);
            }
        }
        Some(Some(numbers))
    }

    fn strings(&mut self, keywords: &Map<String, Value>) -> Option<Option<Strings>> {
        let mut texts = Vec::new();
        for word in ["pattern", "format"] {
            if let Some(library) = self.some_of(keywords, &[word])? {
                let value = keywords[word].as_str()?;
                texts.push(Text::new(word, value, library));
            }
        }
        let (least, most) = (size(keywords, "minLength")?, size(keywords, "maxLength")?);
        if texts.is_empty() && least.is_none() && most.is_none() {
            return Some(None);
        }
        Some(Some(Strings {
            least: least.unwrap_or(0),
            most: most.unwrap_or(usize::MAX),
            texts,
        }))
    }

    fn object(
        &mut self,
        place: Place<'a>,
        keywords: &'a Map<String, Value>,
    ) -> Option<Option<Object>> {
        let words = [
            "properties",
            "required",
            "additionalProperties",
            "patternProperties",
            "minProperties",
            "maxProperties",
        ];
        if !words.iter().any(|word| keywords.contains_key(*word)) {
            return Some(None);
        }
        // In the order of the schema, which is the order that most documents have.
        let mut names: Vec<Box<str>> = Vec::new();
        let mut known = Vec::new();
        let mut at = HashMap::new();
        for (name, property) in members(keywords, "properties")? {
            let node = self.node(place.at(property))?;
            at.insert(name.as_str(), known.len());
            names.push(name.as_str().into());
            known.push((Some(node), 0_u64));
        }
        for (bit, name) in list(keywords, "required")?.iter().enumerate() {
            let name = name.as_str()?;
            if bit >= MAX_REQUIRED {
                return None;
            }
            let entry = *at.entry(name).or_insert_with(|| {
                names.push(name.into());
                known.push((None, 0));
                known.len() - 1
            });
            known[entry].1 |= 1 << bit;
        }
        let mut patterns = Vec::new();
        for (pattern, schema) in members(keywords, "patternProperties")? {
            let word = Value::from(pattern.as_str());
            let library = self.library(Map::from_iter([("pattern".to_owned(), word)]))?;
            patterns.push((library, self.node(place.at(schema))?));
        }
        let additional = match keywords.get("additionalProperties") {
            None | Some(Value::Bool(true)) => None,
            Some(schema) => Some(self.node(place.at(schema))?),
        };
        let least = size(keywords, "minProperties")?.unwrap_or(0);
        if least > 1 {
            // Members that repeat count once, and only a tree knows which do.
            return None;
        }
        let most = size(keywords, "maxProperties")?.unwrap_or(usize::MAX);
        Object::new(names, known, patterns, additional, least, most).map(Some)
    }

    fn array(
        &mut self,
        place: Place<'a>,
        keywords: &'a Map<String, Value>,
    ) -> Option<Option<Array>> {
        if !matches!(keywords.get("uniqueItems"), None | Some(Value::Bool(false))) {
            return None;
        }
        let latest = matches!(self.draft, Draft::Draft202012);
        let other = if latest {
            "additionalItems"
        } else {
            "prefixItems"
        };
        if keywords.contains_key(other) {
            return None;
        }
        let (first, rest) = match (keywords.get("items"), latest) {
            (Some(Value::Array(first)), false) => {
                (first.as_slice(), keywords.get("additionalItems"))
            }
            (items, _) => (list(keywords, "prefixItems")?, items),
        };
        let (least, most) = (size(keywords, "minItems")?, size(keywords, "maxItems")?);
        if first.is_empty() && rest.is_none() && least.is_none() && most.is_none() {
            return Some(None);
        }
        let first: Option<Vec<u32>> = first.iter().map(|item| self.node(place.at(item))).collect();
        let rest = match rest {
            Some(schema) => Some(self.node(place.at(schema))?),
            None => None,
        };
        Some(Some(Array {
            first: first?,
            rest,
            least: least.unwrap_or(0),
            most: most.unwrap_or(usize::MAX),
        }))
    }
}

fn types_of(types: &Value) -> Option<u8> {
    let words = match types {
        Value::String(_) => std::slice::from_ref(types),
        Value::Array(words) => words,
        _ => return None,
    };
    words.iter().try_fold(0, |types, word| {
        Some(types | super::rules::type_bit(word.as_str()?)?)
    })
}

/// The members of a keyword; none without it, `None` when it is no object.
fn members<'a>(
    keywords: &'a Map<String, Value>,
    word: &str,
) -> Option<impl Iterator<Item = (&'a String, &'a Value)>> {
    let members = match keywords.get(word) {
        Some(members) => Some(members.as_object()?),
        None => None,
    };
    Some(members.into_iter().flatten())
}

/// The items of a keyword; none without it, `None` when it is no array.
fn list<'a>(keywords: &'a Map<String, Value>, word: &str) -> Option<&'a [Value]> {
    keywords
        .get(word)
        .map_or(Some(&[][..]), |list| list.as_array().map(Vec::as_slice))
}

/// A number of things; `Some(None)` without the keyword, `None` when it is none that this machine counts.
fn size(keywords: &Map<String, Value>, word: &str) -> Option<Option<usize>> {
    match keywords.get(word) {
        None => Some(None),
        Some(value) => Some(Some(usize::try_from(value.as_u64()?).ok()?)),
    }
}
