//! What JSON Schema says and a shape does not: bounds, patterns, combinations.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::Found;
use super::words::json;

/// Levels compared.
const MAX_LEVELS: usize = 64;
/// References followed from one place.
const MAX_HOPS: usize = 16;

/// Keywords that describe no values, or that shapes say.
const SILENT: [&str; 14] = [
    "$schema",
    "$id",
    "id",
    "$anchor",
    "$comment",
    "$defs",
    "definitions",
    "$ref",
    "title",
    "description",
    "type",
    "default",
    "required",
    "examples",
];
/// Keywords that shapes say in part: told about where shapes see no difference.
const PARTLY: [&str; 10] = [
    "enum",
    "const",
    "format",
    "anyOf",
    "oneOf",
    "allOf",
    "contentEncoding",
    "x-millstream",
    "prefixItems",
    "nullable",
];

/// Compares two documents place by place.
pub(super) fn compare(old: &Value, new: &Value, found: &mut Found) {
    let mut walk = Walk {
        old,
        new,
        done: BTreeSet::from([("#".to_owned(), "#".to_owned())]),
        found,
    };
    walk.compare("", old, new, 0);
}

struct Walk<'a, 'f> {
    old: &'a Value,
    new: &'a Value,
    /// References compared already: a schema may contain itself.
    done: BTreeSet<(String, String)>,
    found: &'f mut Found,
}

/// The schema behind references within a document, and the last of them.
fn follow<'a>(root: &'a Value, mut schema: &'a Value) -> (&'a Value, Option<&'a str>) {
    let mut last = None;
    for _ in 0..MAX_HOPS {
        let Some(target) = schema.get("$ref").and_then(Value::as_str) else {
            break;
        };
        last = Some(target);
        match target
            .strip_prefix('#')
            .and_then(|pointer| root.pointer(pointer))
        {
            Some(next) => schema = next,
            None => break,
        }
    }
    (schema, last)
}

impl Walk<'_, '_> {
    fn compare(&mut self, path: &str, old: &Value, new: &Value, level: usize) {
        if level > MAX_LEVELS {
            return;
        }
        let (old_root, new_root) = (self.old, self.new);
        let (old, old_name) = follow(old_root, old);
        let (new, new_name) = follow(new_root, new);
        if let (Some(old), Some(new)) = (old_name, new_name)
            && !self.done.insert((old.to_owned(), new.to_owned()))
        {
            return;
        }
        let (Value::Object(old), Value::Object(new)) = (old, new) else {
            if old != new && !self.found.covers(path) {
                self.found.changed(path, json(old), json(new));
            }
            return;
        };
        self.keywords(path, old, new);
        self.below(path, old, new, level);
    }

    fn keywords(&mut self, path: &str, old: &Map<String, Value>, new: &Map<String, Value>) {
        let more = new.keys().filter(|word| !old.contains_key(*word));
        for word in old.keys().chain(more) {
            let (was, is) = (old.get(word), new.get(word));
            let nested = match word.as_str() {
                "properties" | "patternProperties" => true,
                // Schemas in both are looked into.
                "additionalProperties" | "items" | "not" | "contains" | "propertyNames" => {
                    was.is_some_and(Value::is_object) && is.is_some_and(Value::is_object)
                }
                _ => false,
            };
            let silent = SILENT.contains(&word.as_str());
            if was == is || nested || silent {
                continue;
            }
            if PARTLY.contains(&word.as_str()) && self.found.covers(path) {
                continue;
            }
            let told = |value: &Value| format!("{word} {}", json(value));
            match (was, is) {
                (Some(was), Some(is)) => self.found.changed(path, told(was), json(is)),
                (Some(was), None) => self.found.removed(path, told(was)),
                (None, Some(is)) => self.found.added(path, told(is)),
                (None, None) => {}
            }
        }
    }

    fn below(
        &mut self,
        path: &str,
        old: &Map<String, Value>,
        new: &Map<String, Value>,
        level: usize,
    ) {
        let below = |name: &str| match path {
            "" => name.to_owned(),
            path => format!("{path}.{name}"),
        };
        for word in ["properties", "patternProperties"] {
            let members =
                |schema: &Map<String, Value>| schema.get(word).and_then(Value::as_object).cloned();
            let (was, is) = (
                members(old).unwrap_or_default(),
                members(new).unwrap_or_default(),
            );
            for (name, was) in &was {
                if let Some(is) = is.get(name) {
                    self.compare(&below(name), was, is, level + 1);
                }
            }
            // Shapes tell about properties that came or went.
            if word == "patternProperties" {
                let gone = was.keys().filter(|name| !is.contains_key(*name));
                gone.for_each(|name| {
                    self.found
                        .removed(&below(name), "pattern of names".to_owned())
                });
                let come = is.keys().filter(|name| !was.contains_key(*name));
                come.for_each(|name| {
                    self.found
                        .added(&below(name), "pattern of names".to_owned())
                });
            }
        }
        for (word, sign) in [
            ("items", "[]"),
            ("contains", "[contains]"),
            ("additionalProperties", "{}"),
            ("propertyNames", "{names}"),
            ("not", "[not]"),
        ] {
            if let (Some(was @ Value::Object(_)), Some(is @ Value::Object(_))) =
                (old.get(word), new.get(word))
            {
                self.compare(&format!("{path}{sign}"), was, is, level + 1);
            }
        }
    }
}
