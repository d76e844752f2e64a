//! Objects: what is required, which properties there are, and what their absence from a schema means.
//!
//! A schema is open when it allows any other member, closed when it allows none, and partially open when others must match
//! `patternProperties` or a schema in `additionalProperties`.

use jsonschema::PatternOptions;
use serde_json::Value;

use super::view::View;
use super::{Diff, word};

/// What a schema says of members that its `properties` do not name.
enum Model<'a> {
    Open,
    Closed,
    /// The schemas for one such member.
    Partial(Vec<View<'a>>),
}

/// What `additionalProperties` and its kin say.
enum Rest<'a> {
    Any,
    None,
    Schema(View<'a>),
}

fn rest<'a>(view: View<'a>, keyword: &str) -> Rest<'a> {
    match view.sub(keyword) {
        None => Rest::Any,
        Some(schema) => match view.get(keyword) {
            Some(Value::Bool(false)) => Rest::None,
            _ if Diff::free(schema) => Rest::Any,
            _ => Rest::Schema(schema),
        },
    }
}

/// Whether a name matches a pattern; patterns that cannot be read match nothing.
fn matches(pattern: &str, name: &str) -> bool {
    let schema = Value::Object(
        [("pattern".to_owned(), Value::from(pattern))]
            .into_iter()
            .collect(),
    );
    let compiled = jsonschema::options()
        .with_pattern_options(PatternOptions::regex())
        .build(&schema);
    compiled.is_ok_and(|compiled| compiled.is_valid(&Value::from(name)))
}

fn model<'a>(view: View<'a>, name: &str) -> Model<'a> {
    let found: Vec<View<'a>> = view
        .members("patternProperties")
        .filter(|(pattern, _)| matches(pattern, name))
        .map(|(_, schema)| view.within(schema))
        .collect();
    if !found.is_empty() {
        return Model::Partial(found);
    }
    let keyword = if view.has("additionalProperties") {
        "additionalProperties"
    } else {
        "unevaluatedProperties"
    };
    match rest(view, keyword) {
        // Whatever matches no pattern is free, too.
        Rest::Any => Model::Open,
        Rest::None => Model::Closed,
        Rest::Schema(schema) => Model::Partial(vec![schema]),
    }
}

fn required(view: View<'_>, name: &str) -> bool {
    view.list("required").iter().any(|known| known == name)
}

impl<'a> Diff<'a> {
    pub(super) fn objects(&mut self, old: View<'a>, new: View<'a>) {
        self.required_type(old, new);
        self.required(old, new);
        self.at("properties", |diff| diff.properties(old, new));
        self.at("patternProperties", |diff| diff.patterns(old, new));
        self.at("dependencies", |diff| diff.dependencies(old, new));
        self.rest(old, new, "additionalProperties", "ADDITIONAL_PROPERTIES");
        self.rest(old, new, "unevaluatedProperties", "UNEVALUATED_PROPERTIES");
        self.optional("propertyNames", old, new);
        let bounds = [
            ("maxProperties", "MAX_PROPERTIES"),
            ("minProperties", "MIN_PROPERTIES"),
        ];
        self.bounds(old, new, &bounds);
    }

    fn required(&mut self, old: View<'a>, new: View<'a>) {
        for name in new.list("required").iter().filter_map(Value::as_str) {
            let property =
                |view: View<'a>| view.members("properties").find(|(known, _)| *known == name);
            let (was, is) = (property(old), property(new));
            if required(old, name) || was.is_none() && is.is_some() {
                continue;
            }
            // With a default, readers fill it in.
            if is.is_some_and(|(_, is)| new.within(is).has_default()) {
                continue;
            }
            self.at("required", |diff| {
                let message = format!("property `{name}` was optional and is required");
                diff.add_at(name, "REQUIRED_ATTRIBUTE_ADDED", message);
            });
        }
    }

    fn properties(&mut self, old: View<'a>, new: View<'a>) {
        let named = |view: View<'a>, name: &str| {
            let members = view.get("properties").and_then(Value::as_object);
            members
                .and_then(|members| members.get(name))
                .map(|schema| view.within(schema))
        };
        for (name, schema) in old.members("properties") {
            let was = old.within(schema);
            match named(new, name) {
                Some(is) => self.at(name, |diff| diff.pair(was, is)),
                None => self.at(name, |diff| diff.removed(name, was, new)),
            }
        }
        for (name, schema) in new.members("properties") {
            if named(old, name).is_none() {
                self.at(name, |diff| diff.added(name, old, new, new.within(schema)));
            }
        }
    }

    fn removed(&mut self, name: &str, was: View<'a>, new: View<'a>) {
        match model(new, name) {
            Model::Open => {}
            Model::Closed if was.words() == "nothing" => {}
            Model::Closed => {
                let message = format!(
                    "property `{name}` was {} and no such property is allowed any more",
                    was.words()
                );
                self.add("PROPERTY_REMOVED_FROM_CLOSED_CONTENT_MODEL", message);
            }
            Model::Partial(schemas) => {
                for schema in schemas {
                    if !self.gets_along(was, schema) {
                        self.pair(was, schema);
                        let message = format!(
                            "property `{name}` was {} and other properties have to be {}",
                            was.words(),
                            schema.words()
                        );
                        self.add(
                            "PROPERTY_REMOVED_NOT_COVERED_BY_PARTIALLY_OPEN_CONTENT_MODEL",
                            message,
                        );
                    }
                }
            }
        }
    }

    fn added(&mut self, name: &str, old: View<'a>, new: View<'a>, is: View<'a>) {
        let needed = required(new, name) && !required(old, name);
        let words = is.words();
        match model(old, name) {
            Model::Open => {
                if Self::free(is) && !needed {
                    return;
                }
                let kind = match (needed, is.has_default()) {
                    (false, _) => "OPTIONAL_PROPERTY_ADDED_TO_OPEN_CONTENT_MODEL",
                    (true, true) => "REQUIRED_PROPERTY_WITH_DEFAULT_ADDED_TO_OPEN_CONTENT_MODEL",
                    (true, false) => "REQUIRED_PROPERTY_ADDED_TO_OPEN_CONTENT_MODEL",
                };
                if Self::free(is) && is.has_default() {
                    return;
                }
                let message = format!("property `{name}` could be anything and is {words}");
                return self.add(kind, message);
            }
            Model::Partial(schemas) => {
                // One that the new one covers is enough: a member fits all of them.
                if !schemas.iter().any(|schema| self.gets_along(*schema, is)) {
                    if let Some(schema) = schemas.first() {
                        self.pair(*schema, is);
                    }
                    let message =
                        format!("property `{name}` is {words}, which others did not have to be");
                    self.add(
                        "PROPERTY_ADDED_NOT_COVERED_BY_PARTIALLY_OPEN_CONTENT_MODEL",
                        message,
                    );
                }
            }
            Model::Closed => {}
        }
        if needed && !is.has_default() {
            let message = format!("property `{name}` did not exist and is required");
            self.add("REQUIRED_PROPERTY_ADDED_TO_UNOPEN_CONTENT_MODEL", message);
        }
    }

    fn patterns(&mut self, old: View<'a>, new: View<'a>) {
        for (pattern, schema) in new.members("patternProperties") {
            let is = new.within(schema);
            let was = old
                .members("patternProperties")
                .find(|(known, _)| *known == pattern);
            if let Some((_, was)) = was {
                self.at(pattern, |diff| diff.pair(old.within(was), is));
                continue;
            }
            self.at(pattern, |diff| {
                match rest(old, "additionalProperties") {
                    Rest::None => {}
                    Rest::Any if Self::free(is) => {}
                    Rest::Any => {
                        let message = format!(
                            "properties of such names could be anything and are {}",
                            is.words()
                        );
                        diff.add("OPTIONAL_PROPERTY_ADDED_TO_OPEN_CONTENT_MODEL", message);
                    }
                    Rest::Schema(schema) => diff.pair(schema, is),
                }
                for (name, schema) in old.members("properties") {
                    if matches(pattern, name) {
                        diff.pair(old.within(schema), is);
                    }
                }
                for (other, schema) in old.members("patternProperties") {
                    let was = old.within(schema);
                    if !diff.gets_along(was, is) {
                        let message = format!(
                            "properties that match `{other}` were {} and may have to be {}",
                            was.words(),
                            is.words()
                        );
                        diff.add(
                            "PROPERTY_ADDED_NOT_COVERED_BY_PARTIALLY_OPEN_CONTENT_MODEL",
                            message,
                        );
                    }
                }
            });
        }
        for (pattern, schema) in old.members("patternProperties") {
            if new
                .members("patternProperties")
                .any(|(known, _)| known == pattern)
            {
                continue;
            }
            let was = old.within(schema);
            self.at(pattern, |diff| match rest(new, "additionalProperties") {
                Rest::Any => {}
                Rest::None => {
                    let message = format!(
                        "properties of such names were {} and are not allowed any more",
                        was.words()
                    );
                    diff.add("PROPERTY_REMOVED_FROM_CLOSED_CONTENT_MODEL", message);
                }
                Rest::Schema(schema) => diff.pair(was, schema),
            });
        }
    }

    fn dependencies(&mut self, old: View<'a>, new: View<'a>) {
        let all = |view: View<'a>| {
            let words = ["dependencies", "dependentRequired", "dependentSchemas"];
            words.into_iter().flat_map(move |word| view.members(word))
        };
        for (name, is) in all(new) {
            let same = |value: &Value| value.is_array() == is.is_array();
            let was = all(old).find(|(known, value)| *known == name && same(value));
            self.at(name, |diff| match (was, is) {
                (None, Value::Array(names)) if names.is_empty() => {}
                (None, Value::Array(_)) => {
                    diff.add(
                        "DEPENDENCY_ARRAY_ADDED",
                        format!(
                            "`{name}` depended on nothing and depends on {}",
                            word(Some(is))
                        ),
                    );
                }
                (None, _) if Self::free(new.within(is)) => {}
                (None, _) => {
                    diff.add(
                        "DEPENDENCY_SCHEMA_ADDED",
                        format!("with `{name}`, nothing was asked for and a schema is"),
                    );
                }
                (Some((_, was)), Value::Array(names)) => {
                    let before = was.as_array().map(Vec::as_slice).unwrap_or_default();
                    if names.iter().all(|name| before.contains(name)) {
                        return;
                    }
                    let kind = if before.iter().all(|name| names.contains(name)) {
                        "DEPENDENCY_ARRAY_EXTENDED"
                    } else {
                        "DEPENDENCY_ARRAY_CHANGED"
                    };
                    let message = format!(
                        "`{name}` depended on {} and depends on {}",
                        word(Some(was)),
                        word(Some(is))
                    );
                    diff.add(kind, message);
                }
                (Some((_, was)), is) => diff.pair(old.within(was), new.within(is)),
            });
        }
    }

    /// `additionalProperties`, `unevaluatedItems` and their kin, whose kinds start with `name`.
    pub(super) fn rest(&mut self, old: View<'a>, new: View<'a>, keyword: &str, name: &str) {
        match (rest(old, keyword), rest(new, keyword)) {
            (Rest::None, _) | (_, Rest::Any) => {}
            (Rest::Any, Rest::None) => {
                self.add_at(
                    keyword,
                    &format!("{name}_REMOVED"),
                    "others were allowed and are not",
                );
            }
            (Rest::Schema(was), Rest::None) => {
                let message = format!("others were {} and are not allowed", was.words());
                self.add_at(keyword, &format!("{name}_REMOVED"), message);
            }
            (Rest::Any, Rest::Schema(is)) => {
                let message = format!("others could be anything and are {}", is.words());
                self.add_at(keyword, &format!("{name}_NARROWED"), message);
            }
            (Rest::Schema(was), Rest::Schema(is)) => self.at(keyword, |diff| diff.pair(was, is)),
        }
    }
}
