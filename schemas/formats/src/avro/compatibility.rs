//! Which schemas can read what others wrote: the rules of Apache Avro's `SchemaCompatibility`, with its words and places.
//!
//! A place is one in the reader's schema; within a union it is the number of the writer's branch that finds no place, as in
//! Java. Other than Java, what is wrong below a writer's union that the reader has not is told with its whole place, and a
//! field that is missing is missing also where its enum has a default: that default is for symbols.

use std::collections::HashSet;

use super::reads::Reads;
use super::resolve::promotes;
use super::table::{Enum, Field, Id, Kind, Name, Record, Table};
use crate::Incompatibility;
use crate::scalars::listed;

/// Most incompatibilities that are told.
const MAX_FOUND: usize = 1_000;

impl Table {
    pub(super) fn cannot_read(&self, writer: &Self) -> Vec<Incompatibility> {
        let mut compare = Compare {
            reader: self,
            writer,
            reads: Reads::new(self, writer),
            seen: HashSet::new(),
            found: Vec::new(),
        };
        compare.types(self.root, writer.root, "");
        compare.found
    }
}

struct Compare<'a> {
    reader: &'a Table,
    writer: &'a Table,
    reads: Reads<'a>,
    /// Pairs of types that were compared or are being compared: again they would say nothing new.
    seen: HashSet<(Id, Id)>,
    found: Vec<Incompatibility>,
}

impl<'a> Compare<'a> {
    fn note(&mut self, kind: &str, path: &str, message: String) {
        if self.found.len() < MAX_FOUND {
            self.found.push(Incompatibility {
                kind: kind.to_owned(),
                path: if path.is_empty() { "/" } else { path }.to_owned(),
                message,
            });
        }
    }

    fn types(&mut self, to: Id, from: Id, path: &str) {
        if !self.seen.insert((to, from)) {
            return;
        }
        let (reader, writer) = (&self.reader.get(to).kind, &self.writer.get(from).kind);
        match (reader, writer) {
            (Kind::Union(_), Kind::Union(branches)) => {
                for (index, branch) in branches.iter().enumerate() {
                    self.branch(to, *branch, &format!("{path}/{index}"));
                }
            }
            (_, Kind::Union(branches)) => {
                for branch in branches {
                    self.types(to, *branch, path);
                }
            }
            (Kind::Union(_), _) => self.branch(to, from, path),
            (Kind::Array(to), Kind::Array(from)) => {
                self.types(*to, *from, &format!("{path}/items"));
            }
            (Kind::Map(to), Kind::Map(from)) => self.types(*to, *from, &format!("{path}/values")),
            (Kind::Record(to), Kind::Record(from)) => {
                self.names(&to.name, &from.name, path);
                self.records(to, from, path);
            }
            (Kind::Enum(to), Kind::Enum(from)) => {
                self.names(&to.name, &from.name, path);
                self.symbols(to, from, path);
            }
            (Kind::Fixed(to), Kind::Fixed(from)) => {
                self.names(&to.name, &from.name, path);
                if to.size != from.size {
                    let message = format!(
                        "the fixed `{}` has {} bytes for the reader and {} for the writer",
                        to.name.full, to.size, from.size
                    );
                    self.note("FIXED_SIZE_MISMATCH", &format!("{path}/size"), message);
                }
            }
            _ if promotes(reader, writer) => {}
            _ => {
                let message = format!(
                    "reader type `{}` cannot read writer type `{}`",
                    self.reader.word(to),
                    self.writer.word(from)
                );
                self.note("TYPE_MISMATCH", path, message);
            }
        }
    }

    fn names(&mut self, to: &Name, from: &Name, path: &str) {
        if !to.reads(from) {
            let message = format!(
                "the reader expects the name `{}` and the writer has `{}`",
                to.full, from.full
            );
            self.note("NAME_MISMATCH", &format!("{path}/name"), message);
        }
    }

    fn symbols(&mut self, to: &Enum, from: &Enum, path: &str) {
        let missing = missing(to, from);
        if !missing.is_empty() {
            let message = format!(
                "the reader's enum `{}` has no default and lacks the writer's symbols {}",
                to.name.full,
                listed(missing.into_iter())
            );
            self.note("MISSING_ENUM_SYMBOLS", &format!("{path}/symbols"), message);
        }
    }

    fn records(&mut self, to: &'a Record, from: &'a Record, path: &str) {
        for (index, field) in to.fields.iter().enumerate() {
            let place = format!("{path}/fields/{index}");
            match written(field, from) {
                Some(other) => self.types(field.id, other.id, &format!("{place}/type")),
                None if field.default.is_some() => {}
                None => {
                    let message = format!(
                        "field `{}` of the reader's record `{}` has no default and is missing in the writer's schema",
                        field.name, to.name.full
                    );
                    self.note("READER_FIELD_MISSING_DEFAULT_VALUE", &place, message);
                }
            }
        }
    }

    /// Whether some branch of the reader's union reads the writer's type.
    fn branch(&mut self, to: Id, from: Id, path: &str) {
        if !self.reads.reads(to, from) {
            let message = format!(
                "the reader's union lacks the writer's type `{}`",
                self.writer.word(from)
            );
            self.note("MISSING_UNION_BRANCH", path, message);
        }
    }
}

/// The writer's symbols that the reader has no place for.
pub(super) fn missing<'a>(to: &Enum, from: &'a Enum) -> Vec<&'a str> {
    if to.default.is_some() {
        return Vec::new();
    }
    let known: HashSet<&String> = to.symbols.iter().collect();
    let unknown = from.symbols.iter().filter(|symbol| !known.contains(symbol));
    unknown.map(String::as_str).collect()
}

/// The writer's field that a reader's field is: of its name, else of one of its aliases.
pub(super) fn written<'a>(field: &Field, from: &'a Record) -> Option<&'a Field> {
    let named = |name: &str| from.fields.iter().find(|other| other.name == name);
    named(&field.name).or_else(|| field.aliases.iter().find_map(|alias| named(alias)))
}
