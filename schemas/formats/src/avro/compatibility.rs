//! Which schemas can read what others wrote: the rules of Apache Avro's `SchemaCompatibility`, with its words and places.

use std::collections::HashSet;

use super::resolve::promotes;
use super::table::{Id, Kind, Record, Table};
use crate::Incompatibility;

impl Table {
    pub(super) fn cannot_read(&self, writer: &Self) -> Vec<Incompatibility> {
        let mut compare = Compare {
            reader: self,
            writer,
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
    /// Pairs of types that were compared or are being compared: a pair within itself adds nothing.
    seen: HashSet<(Id, Id)>,
    found: Vec<Incompatibility>,
}

impl<'a> Compare<'a> {
    fn note(&mut self, kind: &str, path: &str, message: String) {
        self.found.push(Incompatibility {
            kind: kind.to_owned(),
            path: if path.is_empty() { "/" } else { path }.to_owned(),
            message,
        });
    }

    fn types(&mut self, to: Id, from: Id, path: &str) {
        if !self.seen.insert((to, from)) {
            return;
        }
        let (reader, writer) = (&self.reader.get(to).kind, &self.writer.get(from).kind);
        match (reader, writer) {
            (_, Kind::Union(branches)) => {
                for (index, branch) in branches.iter().enumerate() {
                    let place = format!("{path}/{index}");
                    if matches!(reader, Kind::Union(_)) {
                        self.branch(to, *branch, &place);
                    } else {
                        self.types(to, *branch, &place);
                    }
                }
            }
            (Kind::Union(_), _) => self.branch(to, from, path),
            (Kind::Array(to), Kind::Array(from)) => {
                self.types(*to, *from, &format!("{path}/items"))
            }
            (Kind::Map(to), Kind::Map(from)) => self.types(*to, *from, &format!("{path}/values")),
            (Kind::Record(to), Kind::Record(from)) => {
                self.names(&to.name, &from.name, path);
                self.records(to, from, path);
            }
            (Kind::Enum(to), Kind::Enum(from)) => {
                self.names(&to.name, &from.name, path);
                let unknown = |symbol: &&String| !to.symbols.contains(symbol);
                let missing: Vec<&str> = from
                    .symbols
                    .iter()
                    .filter(unknown)
                    .map(String::as_str)
                    .collect();
                let covered = to
                    .default
                    .as_ref()
                    .is_some_and(|word| to.symbols.contains(word));
                if !missing.is_empty() && !covered {
                    let message = format!(
                        "the reader's enum `{}` has no default and lacks the writer's symbols `{}`",
                        to.name.full,
                        missing.join("`, `")
                    );
                    self.note("MISSING_ENUM_SYMBOLS", &format!("{path}/symbols"), message);
                }
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

    fn names(&mut self, to: &super::table::Name, from: &super::table::Name, path: &str) {
        if !to.reads(from) {
            let message = format!(
                "the reader expects the name `{}` and the writer has `{}`",
                to.full, from.full
            );
            self.note("NAME_MISMATCH", &format!("{path}/name"), message);
        }
    }

    fn records(&mut self, to: &'a Record, from: &'a Record, path: &str) {
        for (index, field) in to.fields.iter().enumerate() {
            let place = format!("{path}/fields/{index}");
            let named = |name: &str| from.fields.iter().find(|other| other.name == name);
            let other =
                named(&field.name).or_else(|| field.aliases.iter().find_map(|alias| named(alias)));
            match other {
                Some(other) => self.types(field.id, other.id, &format!("{place}/type")),
                None if field.default.is_some() => {}
                // A reader's enum has a default of its own (Java: `readerField.schema().getType() == ENUM`).
                None if self.defaults(field.id) => {}
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

    fn defaults(&self, id: Id) -> bool {
        matches!(&self.reader.get(id).kind, Kind::Enum(symbols) if symbols.default.is_some())
    }

    /// Whether some branch of the reader's union reads the writer's type.
    fn branch(&mut self, to: Id, from: Id, path: &str) {
        let Kind::Union(branches) = &self.reader.get(to).kind else {
            return;
        };
        let reads = branches.iter().any(|branch| {
            let mut inner = Compare {
                reader: self.reader,
                writer: self.writer,
                seen: self.seen.clone(),
                found: Vec::new(),
            };
            inner.types(*branch, from, "");
            inner.found.is_empty()
        });
        if !reads {
            let message = format!(
                "the reader's union lacks the writer's type `{}`",
                self.writer.word(from)
            );
            self.note("MISSING_UNION_BRANCH", path, message);
        }
    }
}
