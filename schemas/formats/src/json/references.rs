//! Which parts of a schema apply to the same value as another part, through references and combinations.
//!
//! References are resolved generously: where embedded `$id`s make more than one target possible, all of them count.

use std::collections::HashMap;

use serde_json::Value;

use super::documents::Documents;

/// What references can lead to.
pub(super) struct Index<'a> {
    /// The documents by the names they are registered under, and every part with an `$id` of its own.
    resources: Vec<(&'a str, &'a Value)>,
    anchors: HashMap<&'a str, Vec<&'a Value>>,
}

impl<'a> Index<'a> {
    pub(super) fn new(documents: &'a Documents) -> Self {
        let mut index = Self {
            resources: documents.all().collect(),
            anchors: HashMap::new(),
        };
        for (_, document) in documents.all() {
            index.collect(document);
        }
        index
    }

    fn collect(&mut self, value: &'a Value) {
        match value {
            Value::Object(members) => {
                for (name, member) in members {
                    match (name.as_str(), member) {
                        ("$anchor" | "$dynamicAnchor", Value::String(anchor)) => {
                            self.anchors.entry(anchor).or_default().push(value);
                        }
                        ("$id" | "id", Value::String(id)) => match id.strip_prefix('#') {
                            Some(anchor) => self.anchors.entry(anchor).or_default().push(value),
                            None => self.resources.push(("", value)),
                        },
                        _ => self.collect(member),
                    }
                }
            }
            Value::Array(items) => items.iter().for_each(|item| self.collect(item)),
            _ => {}
        }
    }

    /// Every place that `reference` may mean. Places outside the document are refused later, when it is compiled.
    fn targets(&self, reference: &'a str) -> Vec<&'a Value> {
        let (base, fragment) = reference.split_once('#').unwrap_or((reference, ""));
        let last = |uri: &'a str| -> &'a str {
            uri.trim_end_matches('#').rsplit('/').next().unwrap_or(uri)
        };
        let names = |(name, resource): &(&'a str, &'a Value)| {
            let id = resource
                .get("$id")
                .or_else(|| resource.get("id"))
                .and_then(Value::as_str);
            base.is_empty()
                || id.is_some_and(|id| last(id) == last(base))
                || !name.is_empty() && last(name) == last(base)
        };
        let resources = self.resources.iter().copied().filter(names);
        let resources = resources.map(|(_, resource)| resource);
        match fragment {
            "" => resources.collect(),
            pointer if pointer.starts_with('/') => {
                let pointer = unescape(pointer);
                resources
                    .filter_map(|resource| resource.pointer(&pointer))
                    .collect()
            }
            anchor => self.anchors.get(anchor).cloned().unwrap_or_default(),
        }
    }

    /// The schemas that a keyword applies to the same value.
    pub(super) fn next(&self, keyword: &str, inner: &'a Value) -> Vec<&'a Value> {
        match (keyword, inner) {
            ("$ref" | "$dynamicRef" | "$recursiveRef", Value::String(reference)) => {
                self.targets(reference)
            }
            ("allOf" | "anyOf" | "oneOf", Value::Array(branches)) => branches.iter().collect(),
            ("not" | "if" | "then" | "else", inner) => vec![inner],
            ("dependentSchemas" | "dependencies", Value::Object(branches)) => {
                branches.values().collect()
            }
            _ => Vec::new(),
        }
    }
}

/// `%25` and the like in the fragment of a URI.
pub(super) fn unescape(pointer: &str) -> String {
    if !pointer.contains('%') {
        return pointer.to_owned();
    }
    let mut bytes = Vec::with_capacity(pointer.len());
    let mut rest = pointer.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let digits = after.get(..2).filter(|_| *first == b'%');
        let byte = digits
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| u8::from_str_radix(digits, 16).ok());
        bytes.push(byte.unwrap_or(*first));
        rest = if byte.is_some() { &after[2..] } else { after };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
