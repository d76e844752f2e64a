//! A schema seen as one thing: a string, a number, an object … or several combined.

use serde_json::{Map, Value};

use crate::describe::shown;
use crate::json::documents::{Documents, Place};

/// References followed from one schema.
const MAX_HOPS: usize = 64;

const STRINGS: &[&str] = &["minLength", "maxLength", "pattern"];
const NUMBERS: &[&str] = &[
    "minimum",
    "maximum",
    "exclusiveMinimum",
    "exclusiveMaximum",
    "multipleOf",
];
const OBJECTS: &[&str] = &[
    "properties",
    "required",
    "additionalProperties",
    "patternProperties",
    "minProperties",
    "maxProperties",
    "dependencies",
    "dependentRequired",
    "dependentSchemas",
    "propertyNames",
    "unevaluatedProperties",
];
const ARRAYS: &[&str] = &[
    "items",
    "prefixItems",
    "additionalItems",
    "minItems",
    "maxItems",
    "uniqueItems",
    "contains",
    "minContains",
    "maxContains",
    "unevaluatedItems",
];
const COMBINATIONS: [&str; 3] = ["allOf", "anyOf", "oneOf"];

/// Which part of a schema's keywords is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Side<'a> {
    Whole,
    /// Where the reference leads.
    Reference,
    /// Several words of `type`.
    Types,
    /// One word of it, or what the keywords imply.
    Type(&'a str),
    Enum,
    Const,
    Branches(&'static str),
    Not,
    If,
}

pub(super) type Key<'a> = (*const Value, Side<'a>);

/// A schema, or a part of its keywords.
#[derive(Clone, Copy, Debug)]
pub(super) struct View<'a> {
    documents: &'a Documents,
    place: Place<'a>,
    side: Side<'a>,
}

/// How several schemas are one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Criterion {
    All,
    Any,
    One,
}

#[derive(Debug)]
pub(super) struct Parts<'a> {
    pub(super) criterion: Criterion,
    /// The keyword, for paths.
    pub(super) word: &'static str,
    pub(super) views: Vec<View<'a>>,
}

#[derive(Debug)]
pub(super) enum Form<'a> {
    /// Whatever there is.
    Any,
    /// Nothing.
    None,
    Null,
    Bool,
    String,
    Number,
    Enum,
    Const,
    Object,
    Array,
    Not,
    If,
    Combined(Parts<'a>),
    /// A reference that leads to no place known.
    Unknown,
}

impl<'a> View<'a> {
    pub(super) fn top(documents: &'a Documents) -> Self {
        Self {
            documents,
            place: documents.top(),
            side: Side::Whole,
        }
    }

    pub(super) fn key(self) -> Key<'a> {
        (self.place.key(), self.side)
    }

    fn side(self, side: Side<'a>) -> Self {
        Self { side, ..self }
    }

    /// Another schema within this one.
    pub(super) fn within(self, schema: &'a Value) -> Self {
        Self {
            place: self.place.at(schema),
            side: Side::Whole,
            ..self
        }
    }

    pub(super) fn get(self, keyword: &str) -> Option<&'a Value> {
        self.place.schema.get(keyword)
    }

    pub(super) fn has(self, keyword: &str) -> bool {
        self.get(keyword).is_some()
    }

    pub(super) fn sub(self, keyword: &str) -> Option<Self> {
        self.get(keyword).map(|schema| self.within(schema))
    }

    pub(super) fn members(self, keyword: &str) -> impl Iterator<Item = (&'a String, &'a Value)> {
        let members = self.get(keyword).and_then(Value::as_object);
        members.into_iter().flatten()
    }

    pub(super) fn list(self, keyword: &str) -> &'a [Value] {
        let list = self.get(keyword).and_then(Value::as_array);
        list.map(Vec::as_slice).unwrap_or_default()
    }

    /// The draft says that a reference stands alone.
    fn alone(self) -> bool {
        let draft = self.documents.root().get("$schema").and_then(Value::as_str);
        draft.is_some_and(|draft| {
            ["-04/", "-06/", "-07/"]
                .iter()
                .any(|old| draft.contains(old))
        })
    }

    /// What it is, references followed.
    pub(super) fn form(mut self) -> (Self, Form<'a>) {
        for _ in 0..MAX_HOPS {
            let form = match self.side {
                Side::Whole => match self.place.schema {
                    Value::Bool(false) => Form::None,
                    Value::Object(keywords) => {
                        let mut sides = self.sides(keywords);
                        match (sides.len(), sides.pop()) {
                            (1, Some(side)) => {
                                self.side = side;
                                continue;
                            }
                            (_, None) => Form::Any,
                            (_, Some(last)) => {
                                sides.push(last);
                                let views = sides.into_iter().map(|side| self.side(side));
                                combined(Criterion::All, "allOf", views.collect())
                            }
                        }
                    }
                    _ => Form::Any,
                },
                Side::Reference => match self.followed() {
                    Some(place) => {
                        (self.place, self.side) = (place, Side::Whole);
                        continue;
                    }
                    None => Form::Unknown,
                },
                Side::Types => {
                    let words = self.list("type").iter().filter_map(Value::as_str);
                    let views = words.map(|word| self.side(Side::Type(word)));
                    combined(Criterion::Any, "anyOf", views.collect())
                }
                Side::Type(word) => type_form(word),
                Side::Enum => Form::Enum,
                Side::Const => Form::Const,
                Side::Branches(word) => {
                    let views = self.list(word).iter().map(|branch| self.within(branch));
                    let criterion = match word {
                        "allOf" => Criterion::All,
                        "anyOf" => Criterion::Any,
                        _ => Criterion::One,
                    };
                    combined(criterion, word, views.collect())
                }
                Side::Not => Form::Not,
                Side::If => Form::If,
            };
            return (self, form);
        }
        (self, Form::Unknown)
    }

    fn followed(self) -> Option<Place<'a>> {
        let reference = ["$ref", "$dynamicRef", "$recursiveRef"]
            .iter()
            .find_map(|word| self.get(word));
        self.documents.seek(self.place.part, reference?.as_str()?)
    }

    fn sides(self, keywords: &'a Map<String, Value>) -> Vec<Side<'a>> {
        let has = |word: &str| keywords.contains_key(word);
        let mut sides = Vec::new();
        let refers = has("$ref") || has("$dynamicRef") || has("$recursiveRef");
        if refers {
            sides.push(Side::Reference);
            if self.alone() {
                return sides;
            }
        }
        match keywords.get("type") {
            Some(Value::String(word)) => sides.push(Side::Type(word)),
            Some(Value::Array(words)) => match words.as_slice() {
                [Value::String(word)] => sides.push(Side::Type(word)),
                _ => sides.push(Side::Types),
            },
            _ => {
                let groups = [
                    ("string", STRINGS),
                    ("number", NUMBERS),
                    ("object", OBJECTS),
                    ("array", ARRAYS),
                ];
                for (word, group) in groups {
                    if group.iter().any(|keyword| has(keyword)) {
                        sides.push(Side::Type(word));
                    }
                }
            }
        }
        if has("enum") {
            sides.push(Side::Enum);
        }
        if has("const") {
            sides.push(Side::Const);
        }
        let branches = COMBINATIONS.into_iter().filter(|word| has(word));
        sides.extend(branches.map(Side::Branches));
        if has("not") {
            sides.push(Side::Not);
        }
        if has("if") && (has("then") || has("else")) {
            sides.push(Side::If);
        }
        sides
    }

    /// In a few words.
    pub(super) fn words(self) -> String {
        let (view, form) = self.form();
        match form {
            Form::Any => "anything".to_owned(),
            Form::None => "nothing".to_owned(),
            Form::Null => "null".to_owned(),
            Form::Bool => "boolean".to_owned(),
            Form::String => "string".to_owned(),
            Form::Number if view.whole_numbers() => "integer".to_owned(),
            Form::Number => "number".to_owned(),
            Form::Enum => format!("one of {}", view.get("enum").map(shown).unwrap_or_default()),
            Form::Const => format!("only {}", view.get("const").map(shown).unwrap_or_default()),
            Form::Object => "object".to_owned(),
            Form::Array => "array".to_owned(),
            Form::Not => "a `not`".to_owned(),
            Form::If => "an `if`".to_owned(),
            Form::Combined(parts) if view.side == Side::Types => {
                let words: Vec<String> = parts.views.iter().map(|part| part.words()).collect();
                words.join(" or ")
            }
            Form::Combined(parts) => format!("`{}` of {} schemas", parts.word, parts.views.len()),
            Form::Unknown => "a reference that is not known".to_owned(),
        }
    }

    /// `integer`, not `number`.
    pub(super) fn whole_numbers(self) -> bool {
        self.side == Side::Type("integer")
    }

    /// Its `default`, also behind references.
    pub(super) fn has_default(self) -> bool {
        self.has("default") || self.form().0.has("default")
    }
}

fn combined<'a>(criterion: Criterion, word: &'static str, views: Vec<View<'a>>) -> Form<'a> {
    Form::Combined(Parts {
        criterion,
        word,
        views,
    })
}

fn type_form<'a>(word: &str) -> Form<'a> {
    match word {
        "null" => Form::Null,
        "boolean" => Form::Bool,
        "string" => Form::String,
        "integer" | "number" => Form::Number,
        "object" => Form::Object,
        "array" => Form::Array,
        _ => Form::Any,
    }
}
