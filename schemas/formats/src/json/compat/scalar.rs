//! Strings, numbers, and values listed.

use serde_json::Value;

use super::view::View;
use super::{Diff, word};
use crate::json::scale::multiple;

impl<'a> Diff<'a> {
    pub(super) fn strings(&mut self, old: View<'a>, new: View<'a>) {
        self.required_type(old, new);
        self.bounds(
            old,
            new,
            &[("maxLength", "MAX_LENGTH"), ("minLength", "MIN_LENGTH")],
        );
        let (was, is) = (old.get("pattern"), new.get("pattern"));
        if is.is_some() && was != is {
            let kind = if was.is_none() {
                "PATTERN_ADDED"
            } else {
                "PATTERN_CHANGED"
            };
            let message = format!("`pattern` was {} and is {}", word(was), word(is));
            self.add_at("pattern", kind, message);
        }
    }

    pub(super) fn numbers(&mut self, old: View<'a>, new: View<'a>) {
        self.required_type(old, new);
        if new.whole_numbers() && !old.whole_numbers() {
            self.add("TYPE_NARROWED", "was number and is integer");
        }
        let bounds = [
            ("maximum", "exclusiveMaximum", "MAXIMUM", true),
            ("minimum", "exclusiveMinimum", "MINIMUM", false),
        ];
        for (closed, open, name, most) in bounds {
            let limits = |view: View<'_>| {
                let limit = view.get(closed).and_then(Value::as_f64);
                // Draft 4 says with a boolean that the limit itself is out.
                match view.get(open) {
                    Some(Value::Bool(true)) => (limit, limit),
                    other => (limit, other.and_then(Value::as_f64)),
                }
            };
            let (old, new) = (limits(old), limits(new));
            self.bound(closed, name, most, old.0, new.0);
            self.bound(open, &format!("EXCLUSIVE_{name}"), most, old.1, new.1);
        }
        let (was, is) = (old.get("multipleOf"), new.get("multipleOf"));
        let kind = match (was, is) {
            (None, Some(_)) => "MULTIPLE_OF_ADDED",
            (Some(was), Some(is)) if was.as_f64() == is.as_f64() || multiple(was, is) => return,
            (Some(was), Some(is)) if multiple(is, was) => "MULTIPLE_OF_EXPANDED",
            (Some(_), Some(_)) => "MULTIPLE_OF_CHANGED",
            (_, None) => return,
        };
        let message = format!("`multipleOf` was {} and is {}", word(was), word(is));
        self.add_at("multipleOf", kind, message);
    }

    pub(super) fn enums(&mut self, old: View<'a>, new: View<'a>) {
        let (was, is) = (old.list("enum"), new.list("enum"));
        let holds = |list: &[Value], value: &Value| list.iter().any(|known| same(known, value));
        let gone: Vec<String> = was
            .iter()
            .filter(|value| !holds(is, value))
            .map(|value| word(Some(value)))
            .collect();
        if gone.is_empty() {
            return;
        }
        let kind = if is.iter().all(|value| holds(was, value)) {
            "ENUM_ARRAY_NARROWED"
        } else {
            "ENUM_ARRAY_CHANGED"
        };
        let message = format!("`enum` had {} and has not", gone.join(", "));
        self.add_at("enum", kind, message);
    }

    pub(super) fn constants(&mut self, old: View<'a>, new: View<'a>) {
        let (was, is) = (old.get("const"), new.get("const"));
        if !was.zip(is).is_some_and(|(was, is)| same(was, is)) {
            let message = format!("`const` was {} and is {}", word(was), word(is));
            self.add_at("const", "ENUM_ARRAY_CHANGED", message);
        }
    }
}

/// Equal as JSON Schema has it: 1 is 1.0.
fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => {
            a == b || a.as_f64() == b.as_f64() && a.is_f64() != b.is_f64()
        }
        _ => a == b,
    }
}
