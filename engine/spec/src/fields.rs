//! Reading a mapping key by key. Every problem is noted and reading goes on.

use std::cell::RefCell;
use std::sync::Arc;
use std::time::Duration;

use millstream_types::{parse_bytes, parse_duration};
use serde_json::{Map, Number, Value as Json};

use crate::node::{Entry, Node, Place, Scalar, Value};
use crate::problem::{At, Problem};
use crate::variables::{Lookup, interpolate};
use millstream_types::nearest;

/// What the readers of one file share.
pub(crate) struct Context<'a> {
    pub(crate) file: Arc<str>,
    pub(crate) variables: &'a Lookup<'a>,
    pub(crate) problems: RefCell<Vec<Problem>>,
}

impl Context<'_> {
    pub(crate) fn at(&self, place: Place) -> At {
        At {
            file: self.file.clone(),
            line: place.line,
            column: place.column,
        }
    }

    pub(crate) fn note(&self, problem: Problem) {
        self.problems.borrow_mut().push(problem);
    }

    pub(crate) fn problem(&self, place: Place, message: impl Into<String>) {
        self.note(self.at(place).problem(message));
    }

    pub(crate) fn later(&self, place: Place, what: &str) {
        let problem = self
            .at(place)
            .problem(format!("{what} is not supported yet"));
        self.note(problem.with_hint("take it out; a later release will bring it"));
    }

    /// The text of a single value with its `${VARIABLES}` put in.
    fn text(&self, node: &Node, key: &str) -> Option<String> {
        let Value::Scalar(scalar) = &node.value else {
            self.problem(
                node.place,
                format!("`{key}` must be a single value, not {}", node.what()),
            );
            return None;
        };
        self.put_in(scalar, node.place)
    }

    fn put_in(&self, scalar: &Scalar, place: Place) -> Option<String> {
        let result = interpolate(&scalar.text, self.variables);
        result
            .map_err(|problem| self.note(problem.at(&self.at(place))))
            .ok()
    }

    /// A value as JSON: quoted texts stay texts, words without quotes become what they look like.
    pub(crate) fn json(&self, node: &Node) -> Json {
        match &node.value {
            Value::List(items) => items.iter().map(|item| self.json(item)).collect(),
            Value::Map(entries) => {
                let pair = |entry: &Entry| (entry.key.clone(), self.json(&entry.value));
                Json::Object(entries.iter().map(pair).collect())
            }
            Value::Scalar(_) if node.is_null() => Json::Null,
            Value::Scalar(scalar) => match self.put_in(scalar, node.place) {
                Some(text) if scalar.plain => plain(text),
                Some(text) => Json::String(text),
                None => Json::Null,
            },
        }
    }
}

/// YAML's core schema for numbers and truth values, as far as JSON can hold them.
fn plain(text: String) -> Json {
    match text.as_str() {
        "true" | "True" | "TRUE" => return Json::Bool(true),
        "false" | "False" | "FALSE" => return Json::Bool(false),
        _ => {}
    }
    let digits = text.strip_prefix(['-', '+']).unwrap_or(&text);
    if !digits.starts_with(|c: char| c.is_ascii_digit() || c == '.') {
        return Json::String(text);
    }
    let integer = text
        .parse::<i64>()
        .map(Number::from)
        .or_else(|_| text.parse::<u64>().map(Number::from));
    let number = integer
        .ok()
        .or_else(|| text.parse::<f64>().ok().and_then(Number::from_f64));
    number.map_or(Json::String(text), Json::Number)
}

/// One mapping whose keys were checked against the known ones.
pub(crate) struct Fields<'n, 'c> {
    context: &'c Context<'c>,
    place: Place,
    what: String,
    entries: &'n [Entry],
}

impl<'n, 'c> Fields<'n, 'c> {
    /// Opens a mapping; `later` are keys that only a later release understands.
    pub(crate) fn open(
        context: &'c Context<'c>,
        node: &'n Node,
        what: impl Into<String>,
        known: &[&str],
        later: &[&str],
    ) -> Option<Self> {
        let what = what.into();
        let Value::Map(entries) = &node.value else {
            context.problem(
                node.place,
                format!("{what} must be a mapping, not {}", node.what()),
            );
            return None;
        };
        for entry in entries {
            let key = entry.key.as_str();
            if key.is_empty() {
                // Noted by the reader: it was no single word.
                continue;
            }
            if later.contains(&key) {
                context.later(entry.key_place, &format!("`{key}` of {what}"));
            } else if !known.contains(&key) {
                let problem = context
                    .at(entry.key_place)
                    .problem(format!("unknown key `{key}` of {what}"))
                    .with_hint(format!("known keys: {}", known.join(", ")));
                context.note(problem.with_nearest(nearest(key, known.iter().copied())));
            }
        }
        Some(Self {
            context,
            place: node.place,
            what,
            entries,
        })
    }

    pub(crate) fn context(&self) -> &'c Context<'c> {
        self.context
    }

    /// A key's value; an empty one counts as absent.
    pub(crate) fn node(&self, key: &str) -> Option<&'n Node> {
        let entry = self.entries.iter().find(|entry| entry.key == key)?;
        (!entry.value.is_null()).then_some(&entry.value)
    }

    /// The text as it stands, `${…}` included: for texts in other languages.
    pub(crate) fn raw_text(&self, key: &str) -> Option<String> {
        let node = self.node(key)?;
        match &node.value {
            Value::Scalar(scalar) if scalar.text.trim().is_empty() => {
                self.context
                    .problem(node.place, format!("`{key}` of {} is empty", self.what));
                None
            }
            Value::Scalar(scalar) => Some(scalar.text.clone()),
            Value::List(_) | Value::Map(_) => self.context.text(node, key),
        }
    }

    /// A text that must be there and not be empty.
    pub(crate) fn required(&self, key: &str) -> Option<String> {
        let Some(node) = self.node(key) else {
            self.missing(key);
            return None;
        };
        let text = self.context.text(node, key)?;
        if text.trim().is_empty() {
            self.context
                .problem(node.place, format!("`{key}` of {} is empty", self.what));
            return None;
        }
        Some(text)
    }

    pub(crate) fn missing(&self, key: &str) {
        let what = &self.what;
        self.context
            .problem(self.place, format!("`{key}` of {what} is missing"));
    }

    /// Reads the text with `read`; its error is the message.
    pub(crate) fn parsed<T, E: ToString>(
        &self,
        key: &str,
        read: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<T> {
        let node = self.node(key)?;
        let text = self.context.text(node, key)?;
        let note = |error: E| {
            self.context
                .problem(node.place, format!("`{key}`: {}", error.to_string()))
        };
        read(&text).map_err(note).ok()
    }

    /// One of a few words; `later` are words that only a later release understands.
    pub(crate) fn choice<T: Copy>(
        &self,
        key: &str,
        words: &[(&str, T)],
        later: &[&str],
    ) -> Option<T> {
        let node = self.node(key)?;
        let text = self.context.text(node, key)?;
        if let Some((_, value)) = words.iter().find(|(word, _)| *word == text) {
            return Some(*value);
        }
        if later.contains(&text.as_str()) {
            self.context.later(node.place, &format!("`{key}: {text}`"));
            return None;
        }
        let names = || words.iter().map(|(word, _)| *word);
        let all: Vec<&str> = names().collect();
        let problem = self
            .context
            .at(node.place)
            .problem(format!("`{key}` cannot be `{text}`"));
        let problem = problem.with_hint(format!("one of {}", all.join(", ")));
        self.context
            .note(problem.with_nearest(nearest(&text, names())));
        None
    }

    /// `true` or `false`; absent is `false`.
    pub(crate) fn flag(&self, key: &str) -> bool {
        let words = [("true", true), ("false", false)];
        self.choice(key, &words, &[]).unwrap_or_default()
    }

    /// A size above 0.
    pub(crate) fn bytes(&self, key: &str) -> Option<u64> {
        self.positive(key, |text| parse_bytes(text).map_err(|e| e.to_string()), &0)
    }

    /// A duration above 0.
    pub(crate) fn duration(&self, key: &str) -> Option<Duration> {
        self.positive(
            key,
            |text| parse_duration(text).map_err(|e| e.to_string()),
            &Duration::ZERO,
        )
    }

    /// A whole number above 0.
    pub(crate) fn count(&self, key: &str) -> Option<u64> {
        let read = |text: &str| {
            text.parse::<u64>()
                .map_err(|_| format!("`{text}` is not a whole number"))
        };
        self.positive(key, read, &0)
    }

    fn positive<T: PartialEq>(
        &self,
        key: &str,
        read: impl FnOnce(&str) -> Result<T, String>,
        zero: &T,
    ) -> Option<T> {
        let node = self.node(key)?;
        let text = self.context.text(node, key)?;
        match read(&text) {
            Ok(value) if value != *zero => Some(value),
            Ok(_) => {
                let problem = self
                    .context
                    .at(node.place)
                    .problem(format!("`{key}` must be more than 0"));
                self.context
                    .note(problem.with_hint("leave it out to have no limit or the default"));
                None
            }
            Err(message) => {
                self.context
                    .problem(node.place, format!("`{key}`: {message}"));
                None
            }
        }
    }

    /// A list of texts, each with its place.
    pub(crate) fn texts(&self, key: &str) -> Vec<(String, Place)> {
        let items = self.list(key).iter();
        let read = |item: &Node| Some((self.context.text(item, key)?, item.place));
        items.filter_map(read).collect()
    }

    pub(crate) fn list(&self, key: &str) -> &'n [Node] {
        match self.node(key) {
            None => &[],
            Some(Node {
                value: Value::List(items),
                ..
            }) => items,
            Some(node) => {
                let message = format!("`{key}` must be a list, not {}", node.what());
                let problem = self.context.at(node.place).problem(message);
                self.context
                    .note(problem.with_hint(format!("write `{key}: [ … ]`")));
                &[]
            }
        }
    }

    /// A free mapping: its entries in the order written.
    pub(crate) fn map(&self, key: &str) -> &'n [Entry] {
        match self.node(key) {
            None => &[],
            Some(Node {
                value: Value::Map(entries),
                ..
            }) => entries,
            Some(node) => {
                let message = format!("`{key}` must be a mapping, not {}", node.what());
                self.context.problem(node.place, message);
                &[]
            }
        }
    }

    pub(crate) fn json_map(&self, key: &str) -> Map<String, Json> {
        let pair = |entry: &Entry| (entry.key.clone(), self.context.json(&entry.value));
        self.map(key).iter().map(pair).collect()
    }

    /// Single values as texts.
    pub(crate) fn text_map(&self, key: &str) -> impl Iterator<Item = (String, String, Place)> {
        self.map(key).iter().filter_map(|entry| {
            let value = self.context.text(&entry.value, &entry.key)?;
            Some((entry.key.clone(), value, entry.value.place))
        })
    }

    pub(crate) fn place_of(&self, key: &str) -> Place {
        self.node(key).map_or(self.place, |node| node.place)
    }
}
