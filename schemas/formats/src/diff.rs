//! What changed from one version of a schema to another, for people.
//!
//! Versions are compared by their shapes, so a change of layout alone is none, and schemas of two formats can be compared;
//! what only JSON Schema can say is compared keyword by keyword.

mod keywords;
mod words;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Serialize};

use self::words::{cut, default, field, text, word};
use crate::{EnumShape, FieldShape, RecordShape, Schema, Shape};

/// Differences told; nobody reads more.
const MAX_DIFFERENCES: usize = 1_000;
/// Levels compared; a schema that contains itself has no end.
const MAX_LEVELS: usize = 64;

/// One difference between two versions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Difference {
    /// Names of fields, separated by dots; `[]` stands for the items of a list, `{}` for the values of a map. Empty is the
    /// schema itself.
    pub path: String,
    /// What happened there.
    pub kind: DifferenceKind,
    /// What there was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub old: Option<String>,
    /// What there is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub new: Option<String>,
}

/// What happened at a place of a schema.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DifferenceKind {
    /// It is new.
    Added,
    /// It is gone.
    Removed,
    /// It is another.
    Changed,
}

impl fmt::Display for Difference {
    /// `+ delay_reason: string or null (default null)`, `~ dep_delay: int32 -> int64`, `- tailnum: string`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = match self.kind {
            DifferenceKind::Added => '+',
            DifferenceKind::Removed => '-',
            DifferenceKind::Changed => '~',
        };
        write!(f, "{sign} ")?;
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        match (&self.old, &self.new) {
            (Some(old), Some(new)) => write!(f, "{old} -> {new}"),
            (Some(one), None) | (None, Some(one)) => f.write_str(one),
            (None, None) => Ok(()),
        }
    }
}

/// What changed from `old` to `new`, in the order of the fields; empty when they say the same.
#[must_use]
pub fn diff(old: &Schema, new: &Schema) -> Vec<Difference> {
    let mut found = Found::default();
    if old.format() != new.format() {
        found.changed(
            "",
            format!("format {}", old.format()),
            format!("format {}", new.format()),
        );
    }
    let (mut before, mut after) = (old.shape(), new.shape());
    if let (Schema::Json(old), Schema::Json(new)) = (old, new) {
        // Bounds are told as they are written.
        widen(&mut before);
        widen(&mut after);
        shapes(&before, &after, &mut found);
        keywords::compare(old.document(), new.document(), &mut found);
    } else {
        shapes(&before, &after, &mut found);
    }
    found.all
}

/// Whole numbers of all ranges become one: JSON Schema has no others, shapes read them from bounds.
fn widen(shape: &mut Shape) {
    match shape {
        Shape::Int32 | Shape::UInt32 | Shape::UInt64 => *shape = Shape::Int64,
        Shape::List(inner) | Shape::Map(inner) => widen(inner),
        Shape::Union(branches) => branches.iter_mut().for_each(widen),
        Shape::Record(record) => {
            let fields = record.fields.iter_mut();
            fields.for_each(|field| widen(&mut field.shape));
        }
        _ => {}
    }
}

#[derive(Debug, Default)]
struct Found {
    all: Vec<Difference>,
}

impl Found {
    fn push(&mut self, path: &str, kind: DifferenceKind, old: Option<String>, new: Option<String>) {
        if self.all.len() < MAX_DIFFERENCES {
            let path = path.to_owned();
            self.all.push(Difference {
                path,
                kind,
                old,
                new,
            });
        }
    }

    fn changed(&mut self, path: &str, old: impl Into<String>, new: impl Into<String>) {
        let (old, new) = (Some(old.into()), Some(new.into()));
        self.push(path, DifferenceKind::Changed, old, new);
    }

    fn added(&mut self, path: &str, new: String) {
        self.push(path, DifferenceKind::Added, None, Some(new));
    }

    fn removed(&mut self, path: &str, old: String) {
        self.push(path, DifferenceKind::Removed, Some(old), None);
    }

    /// Whether anything is told about `path` or below it.
    fn covers(&self, path: &str) -> bool {
        self.all.iter().any(|one| {
            let rest = one.path.strip_prefix(path);
            rest.is_some_and(|rest| {
                path.is_empty() || rest.is_empty() || rest.starts_with(['.', '[', '{'])
            })
        })
    }
}

fn shapes(old: &Shape, new: &Shape, found: &mut Found) {
    let mut walk = Walk {
        old: named(old),
        new: named(new),
        done: BTreeSet::new(),
        found,
    };
    walk.compare("", old, new, 0);
}

/// Records and enumerations by their names.
type Named<'a> = BTreeMap<&'a str, &'a Shape>;

fn named(shape: &Shape) -> Named<'_> {
    let mut all = Named::new();
    let mut left = vec![shape];
    while let Some(shape) = left.pop() {
        match shape {
            Shape::Record(record) => {
                all.insert(&record.name, shape);
                left.extend(record.fields.iter().map(|field| &field.shape));
            }
            Shape::Enum(one) => {
                all.insert(&one.name, shape);
            }
            Shape::List(inner) | Shape::Map(inner) => left.push(inner),
            Shape::Union(branches) => left.extend(branches),
            _ => {}
        }
    }
    all
}

struct Walk<'a, 'f> {
    old: Named<'a>,
    new: Named<'a>,
    /// Records compared already.
    done: BTreeSet<(&'a str, &'a str)>,
    found: &'f mut Found,
}

/// The alternatives of a shape, references followed.
fn branches<'a>(shape: &'a Shape, named: &Named<'a>) -> Vec<&'a Shape> {
    let follow = |shape: &'a Shape| match shape {
        Shape::Named(name) => named.get(name.as_str()).copied().unwrap_or(shape),
        other => other,
    };
    match shape {
        Shape::Union(branches) => branches.iter().map(follow).collect(),
        one => vec![follow(one)],
    }
}

/// Whether two alternatives are the same one, perhaps changed inside.
fn alike(old: &Shape, new: &Shape) -> bool {
    match (old, new) {
        (Shape::Record(_), Shape::Record(_))
        | (Shape::Enum(_), Shape::Enum(_))
        | (Shape::List(_), Shape::List(_))
        | (Shape::Map(_), Shape::Map(_)) => true,
        _ => old == new,
    }
}

fn name(shape: &Shape) -> Option<&str> {
    match shape {
        Shape::Record(record) => Some(&record.name),
        Shape::Enum(one) => Some(&one.name),
        _ => None,
    }
}

impl<'a> Walk<'a, '_> {
    fn compare(&mut self, path: &str, old: &'a Shape, new: &'a Shape, level: usize) {
        if level > MAX_LEVELS {
            return;
        }
        let was = branches(old, &self.old);
        let mut is = branches(new, &self.new);
        let mut pairs: Vec<(&'a Shape, &'a Shape)> = Vec::new();
        let mut same = was.len() == is.len();
        // Those of the same name first, so that alternatives that are records are not mixed up.
        for exact in [true, false] {
            for one in &was {
                if pairs.iter().any(|(known, _)| std::ptr::eq(*known, *one)) {
                    continue;
                }
                let fits =
                    |other: &&Shape| alike(one, other) && (!exact || name(one) == name(other));
                if let Some(at) = is.iter().position(fits) {
                    pairs.push((*one, is.swap_remove(at)));
                }
            }
        }
        same &= is.is_empty() && pairs.len() == was.len();
        if !same {
            self.found.changed(path, word(old), word(new));
        }
        for (old, new) in pairs {
            self.inside(path, old, new, level + 1);
        }
    }

    fn inside(&mut self, path: &str, old: &'a Shape, new: &'a Shape, level: usize) {
        match (old, new) {
            (Shape::Record(old), Shape::Record(new)) => self.record(path, old, new, level),
            (Shape::Enum(old), Shape::Enum(new)) => self.symbols(path, old, new),
            (Shape::List(old), Shape::List(new)) => {
                self.compare(&format!("{path}[]"), old, new, level);
            }
            (Shape::Map(old), Shape::Map(new)) => {
                self.compare(&format!("{path}{{}}"), old, new, level);
            }
            _ => {}
        }
    }

    fn record(&mut self, path: &str, old: &'a RecordShape, new: &'a RecordShape, level: usize) {
        if !self.done.insert((&old.name, &new.name)) {
            return;
        }
        if old.name != new.name {
            let name = |name: &str| format!("record {}", cut(name));
            self.found.changed(path, name(&old.name), name(&new.name));
        }
        self.doc(path, old.doc.as_deref(), new.doc.as_deref());
        let below = |name: &str| match path {
            "" => cut(name),
            path => format!("{path}.{}", cut(name)),
        };
        let of = |fields: &'a [FieldShape], name: &str| fields.iter().find(|one| one.name == name);
        for was in &old.fields {
            let path = below(&was.name);
            match of(&new.fields, &was.name) {
                Some(is) => self.field(&path, was, is, level),
                None => self.found.removed(&path, field(was)),
            }
        }
        for is in &new.fields {
            if of(&old.fields, &is.name).is_none() {
                self.found.added(&below(&is.name), field(is));
            }
        }
    }

    fn field(&mut self, path: &str, old: &'a FieldShape, new: &'a FieldShape, level: usize) {
        self.compare(path, &old.shape, &new.shape, level);
        let needed = |optional: bool| if optional { "optional" } else { "required" };
        if old.optional != new.optional {
            self.found
                .changed(path, needed(old.optional), needed(new.optional));
        }
        if old.default != new.default {
            let (old, new) = (old.default.as_ref(), new.default.as_ref());
            self.found.changed(path, default(old), default(new));
        }
        self.doc(path, old.doc.as_deref(), new.doc.as_deref());
    }

    fn symbols(&mut self, path: &str, old: &EnumShape, new: &EnumShape) {
        if old.name != new.name {
            let name = |name: &str| format!("enum {}", cut(name));
            self.found.changed(path, name(&old.name), name(&new.name));
        }
        for symbol in old.symbols.iter().filter(|one| !new.symbols.contains(one)) {
            self.found.removed(path, format!("symbol {}", cut(symbol)));
        }
        for symbol in new.symbols.iter().filter(|one| !old.symbols.contains(one)) {
            self.found.added(path, format!("symbol {}", cut(symbol)));
        }
        if old.default != new.default {
            let of = |symbol: &Option<String>| match symbol {
                Some(symbol) => format!("unknown symbols are {}", cut(symbol)),
                None => "unknown symbols are refused".to_owned(),
            };
            self.found.changed(path, of(&old.default), of(&new.default));
        }
    }

    fn doc(&mut self, path: &str, old: Option<&str>, new: Option<&str>) {
        match (old, new) {
            (Some(old), Some(new)) if old != new => {
                self.found
                    .changed(path, format!("doc {}", text(old)), text(new));
            }
            (Some(old), None) => self.found.removed(path, format!("doc {}", text(old))),
            (None, Some(new)) => self.found.added(path, format!("doc {}", text(new))),
            _ => {}
        }
    }
}
