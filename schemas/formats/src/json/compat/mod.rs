//! What keeps one JSON Schema from reading what another allows, by the rules of the Confluent registry: every difference has a
//! kind, and the kind decides. The kinds are named as there (`MAX_LENGTH_DECREASED`, `OPTIONAL_PROPERTY_ADDED_TO_OPEN_CONTENT_MODEL`
//! …), the places as JSON pointers (`#/properties/leg/maxLength`).
//!
//! Schemas are seen as that registry sees them ([`view`]): one thing each, or several combined; a `type` of several words is an
//! `anyOf`, `type` beside `enum` an `allOf`. References are followed, into other documents too; pairs that contain themselves
//! are compared once.
//!
//! Where that registry looks away, this one looks: patterns of properties, names only in `required`, `contains`,
//! `propertyNames`, `if`, a `type` that is new beside other keywords, steps that are no whole numbers. Where it is stricter
//! than it must be, a part of an `allOf` may stand for the whole, and what is not combined is compared with every part.
//!
//! Some rules call compatible what is not for every document, and are kept, because registered histories rely on them:
//! - a property that is required and has a default may be absent in old documents (readers fill it in);
//! - a branch that is added to a `oneOf`, or widened in one, may also fit what another branch fits;
//! - `format`, `contentEncoding` and `contentMediaType` are not compared;
//! - a wider `contains` may find more items than `maxContains` allows;
//! - `not` around a schema that is compared by any of these;
//! - another `$schema` may mean other things by the same words (1.0 is no integer in draft 4);
//! - `unevaluatedProperties` and `unevaluatedItems` are compared alone, without what is evaluated.

mod array;
mod combined;
mod object;
mod scalar;
mod view;

use std::collections::{HashMap, HashSet};

use serde_json::Value;

use self::view::{Form, Key, View};
use super::documents::Documents;
use crate::describe::shown;
use crate::violation::line;
use crate::{Incompatibility, Policy};

/// Pairs of schemas compared before an answer is given without.
const MAX_WORK: usize = 60_000;
/// Of them, pairs that are tried; a try costs as much as several others.
const MAX_TRIES: usize = 20_000;
/// Pairs within one another, so that the stack is bounded.
const MAX_NESTING: usize = 100;
/// Findings reported.
const MAX_FOUND: usize = 1_000;

/// What is accepted of what [`Policy::Strict`] refuses.
const LENIENT: [&str; 15] = [
    "ADDITIONAL_PROPERTIES_NARROWED",
    "ADDITIONAL_PROPERTIES_REMOVED",
    "UNEVALUATED_PROPERTIES_NARROWED",
    "UNEVALUATED_PROPERTIES_REMOVED",
    "ADDITIONAL_ITEMS_NARROWED",
    "ADDITIONAL_ITEMS_REMOVED",
    "UNEVALUATED_ITEMS_NARROWED",
    "UNEVALUATED_ITEMS_REMOVED",
    "OPTIONAL_PROPERTY_ADDED_TO_OPEN_CONTENT_MODEL",
    "REQUIRED_PROPERTY_WITH_DEFAULT_ADDED_TO_OPEN_CONTENT_MODEL",
    "PROPERTY_REMOVED_FROM_CLOSED_CONTENT_MODEL",
    "PROPERTY_REMOVED_NOT_COVERED_BY_PARTIALLY_OPEN_CONTENT_MODEL",
    "PROPERTY_ADDED_NOT_COVERED_BY_PARTIALLY_OPEN_CONTENT_MODEL",
    "ITEM_REMOVED_NOT_COVERED_BY_PARTIALLY_OPEN_CONTENT_MODEL",
    "ITEM_ADDED_NOT_COVERED_BY_PARTIALLY_OPEN_CONTENT_MODEL",
];

/// What keeps `reader` from reading what `writer` allows.
pub(super) fn compare(
    writer: &Documents,
    reader: &Documents,
    policy: Policy,
) -> Vec<Incompatibility> {
    if writer.all().eq(reader.all()) {
        return Vec::new();
    }
    let mut diff = Diff {
        policy,
        open: HashMap::new(),
        fine: HashSet::new(),
        bad: HashSet::new(),
        lowest: usize::MAX,
        work: 0,
        path: Vec::new(),
        found: Vec::new(),
    };
    diff.pair(View::top(writer), View::top(reader));
    diff.found.truncate(MAX_FOUND);
    diff.found
}

type Pair<'a> = (Key<'a>, Key<'a>);

struct Diff<'a> {
    policy: Policy,
    /// Pairs being compared: when one comes up again below itself, it says nothing new.
    open: HashMap<Pair<'a>, usize>,
    /// Pairs known to get along, whatever is open.
    fine: HashSet<Pair<'a>>,
    /// Pairs known not to.
    bad: HashSet<Pair<'a>>,
    /// The outermost open pair that the present answer relies on.
    lowest: usize,
    work: usize,
    path: Vec<String>,
    found: Vec<Incompatibility>,
}

impl<'a> Diff<'a> {
    fn add(&mut self, kind: &str, message: impl AsRef<str>) {
        if self.policy == Policy::Lenient && LENIENT.contains(&kind) {
            return;
        }
        if self.found.len() < MAX_FOUND {
            let path: Vec<&str> = self.path.iter().map(String::as_str).collect();
            self.found.push(Incompatibility {
                kind: kind.to_owned(),
                path: line(&format!("#/{}", path.join("/"))),
                message: line(message.as_ref()),
            });
        }
    }

    /// Further down.
    fn at<T>(&mut self, segment: &str, run: impl FnOnce(&mut Self) -> T) -> T {
        self.path
            .push(segment.replace('~', "~0").replace('/', "~1"));
        let answer = run(self);
        self.path.pop();
        answer
    }

    fn add_at(&mut self, segment: &str, kind: &str, message: impl AsRef<str>) {
        self.at(segment, |diff| diff.add(kind, message));
    }

    /// Whether nothing would be found; it is not reported.
    fn quietly(&mut self, run: impl FnOnce(&mut Self)) -> bool {
        let found = std::mem::take(&mut self.found);
        run(self);
        std::mem::replace(&mut self.found, found).is_empty()
    }

    fn gets_along(&mut self, old: View<'a>, new: View<'a>) -> bool {
        self.work += MAX_WORK / MAX_TRIES;
        if self.work > MAX_WORK {
            return false;
        }
        let ((old, _), (new, _)) = (old.form(), new.form());
        if self.bad.contains(&(old.key(), new.key())) {
            return false;
        }
        self.quietly(|diff| diff.pair(old, new))
    }

    fn pair(&mut self, old: View<'a>, new: View<'a>) {
        self.work += 1;
        if self.work > MAX_WORK {
            return self.entangled();
        }
        let (old, old_form) = old.form();
        let (new, new_form) = new.form();
        let pair = (old.key(), new.key());
        if self.fine.contains(&pair) {
            return;
        }
        if let Some(above) = self.open.get(&pair) {
            self.lowest = self.lowest.min(*above);
            return;
        }
        if self.open.len() > MAX_NESTING {
            return self.entangled();
        }
        let level = self.open.len();
        let above = std::mem::replace(&mut self.lowest, usize::MAX);
        let before = self.found.len();
        self.open.insert(pair, level);
        self.forms(old, old_form, new, new_form);
        self.open.remove(&pair);
        if self.lowest >= level {
            let known = if self.found.len() == before {
                &mut self.fine
            } else {
                &mut self.bad
            };
            known.insert(pair);
            self.lowest = above;
        } else {
            self.lowest = self.lowest.min(above);
        }
    }

    fn entangled(&mut self) {
        let message = "the schemas are too entangled to compare; nothing is known about this part";
        self.add("COMBINED_TYPE_SUBSCHEMAS_CHANGED", message);
    }

    fn forms(&mut self, old: View<'a>, old_form: Form<'a>, new: View<'a>, new_form: Form<'a>) {
        match (old_form, new_form) {
            (Form::None, _)
            | (_, Form::Any)
            | (Form::Null, Form::Null)
            | (Form::Bool, Form::Bool) => {}
            (Form::Combined(old_parts), Form::Combined(new_parts)) => {
                self.combined(&old_parts, &new_parts);
            }
            (_, Form::Combined(parts)) => self.newly_combined(old, new, &parts),
            (Form::Combined(parts), _) => self.no_longer_combined(old, &parts, new),
            (Form::String, Form::String) => self.strings(old, new),
            (Form::Number, Form::Number) => self.numbers(old, new),
            (Form::Enum, Form::Enum) => self.enums(old, new),
            (Form::Const, Form::Const) => self.constants(old, new),
            (Form::Object, Form::Object) => self.objects(old, new),
            (Form::Array, Form::Array) => self.arrays(old, new),
            (Form::Not, Form::Not) => self.nots(old, new),
            (Form::If, Form::If) => self.conditions(old, new),
            _ => self.changed(old, new),
        }
    }

    fn changed(&mut self, old: View<'a>, new: View<'a>) {
        let message = format!("was {} and is {}", old.words(), new.words());
        self.add("TYPE_CHANGED", message);
    }

    /// `type` beside keywords that had none: other types were allowed.
    fn required_type(&mut self, old: View<'a>, new: View<'a>) {
        if !old.has("type") && new.has("type") {
            let message = format!("other types were allowed and only {} is", new.words());
            self.add_at("type", "TYPE_NARROWED", message);
        }
    }

    /// A keyword that bounds from above (`most`) or below. Its kinds start with `name`.
    fn bound(&mut self, keyword: &str, name: &str, most: bool, old: Option<f64>, new: Option<f64>) {
        let (kind, was) = match (old, new) {
            (None, Some(_)) => ("ADDED", "not there".to_owned()),
            (Some(old), Some(new)) if most && new < old => ("DECREASED", old.to_string()),
            (Some(old), Some(new)) if !most && new > old => ("INCREASED", old.to_string()),
            _ => return,
        };
        let is = new.unwrap_or_default();
        let message = format!("`{keyword}` was {was} and is {is}");
        self.add_at(keyword, &format!("{name}_{kind}"), message);
    }

    fn bounds(&mut self, old: View<'a>, new: View<'a>, keywords: &[(&str, &str)]) {
        let contains = old.has("contains") && new.has("contains");
        for (keyword, name) in keywords {
            let number = |view: View<'_>| match view.get(keyword) {
                None if *keyword == "minContains" && contains => Some(1.0),
                number => number.and_then(Value::as_f64),
            };
            let most = keyword.starts_with("max");
            self.bound(keyword, name, most, number(old), number(new));
        }
    }

    /// A schema that both may have under one keyword.
    fn optional(&mut self, keyword: &str, old: View<'a>, new: View<'a>) {
        match (old.sub(keyword), new.sub(keyword)) {
            (Some(old), Some(new)) => self.at(keyword, |diff| diff.pair(old, new)),
            (None, Some(new)) if !matches!(new.form().1, Form::Any) => {
                let message = format!("`{keyword}` was not there and is {}", new.words());
                self.add_at(keyword, "SCHEMA_ADDED", message);
            }
            _ => {}
        }
    }
}

/// A value in a message.
fn word(value: Option<&Value>) -> String {
    value.map_or_else(|| "not there".to_owned(), shown)
}

#[cfg(test)]
mod tests;
