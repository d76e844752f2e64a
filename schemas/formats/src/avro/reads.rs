//! Whether a type reads another, as one answer for a whole schema that may hold itself.
//!
//! Types that hold each other read each other unless something in them speaks against it: the answer is the largest
//! relation that contradicts itself nowhere. It is found by taking every pair that is asked for to be well, and taking back
//! what is not, until nothing changes; so each pair is looked at a few times, however the types are entangled.

use std::collections::HashMap;

use super::compatibility::{missing, written};
use super::resolve::promotes;
use super::table::{Id, Kind, Table};

/// Most pairs of types that are compared; what would need more is taken for unreadable.
const MAX_PAIRS: usize = 200_000;

pub(super) struct Reads<'a> {
    reader: &'a Table,
    writer: &'a Table,
    /// What is known of pairs: final ones, and while [`Reads::reads`] runs those taken to be well.
    known: HashMap<(Id, Id), bool>,
}

impl<'a> Reads<'a> {
    pub(super) fn new(reader: &'a Table, writer: &'a Table) -> Self {
        Self {
            reader,
            writer,
            known: HashMap::new(),
        }
    }

    /// Whether every value of the writer's type can be read as the reader's.
    pub(super) fn reads(&mut self, to: Id, from: Id) -> bool {
        if let Some(known) = self.known.get(&(to, from)) {
            return *known;
        }
        // All pairs that the answer depends on, each before what it holds.
        let mut open = vec![(to, from)];
        let mut new: Vec<(Id, Id)> = Vec::new();
        let mut users: HashMap<(Id, Id), Vec<(Id, Id)>> = HashMap::new();
        while let Some(pair) = open.pop() {
            if self.known.contains_key(&pair) {
                continue;
            }
            if self.known.len() >= MAX_PAIRS {
                self.known.insert(pair, false);
                new.push(pair);
                continue;
            }
            self.known.insert(pair, true);
            new.push(pair);
            self.needs(pair, &mut |inner| {
                users.entry(inner).or_default().push(pair);
                open.push(inner);
                true
            });
        }
        // What does not hold is taken back, and then who relied on it.
        let mut doubtful = new;
        while let Some(pair) = doubtful.pop() {
            let held = self.known.get(&pair) == Some(&true);
            if held && self.holds(pair) {
                continue;
            }
            self.known.insert(pair, false);
            if let Some(users) = users.remove(&pair) {
                doubtful.extend(users);
            }
        }
        self.known.get(&(to, from)) == Some(&true)
    }

    fn holds(&self, pair: (Id, Id)) -> bool {
        self.needs(pair, &mut |inner| self.known.get(&inner) == Some(&true))
    }

    #[expect(
        clippy::unnecessary_fold,
        reason = "`all` and `any` end as soon as the answer is clear"
    )]
    /// Whether a pair is well when `inner` says which of those it depends on are.
    fn needs(&self, (to, from): (Id, Id), inner: &mut impl FnMut((Id, Id)) -> bool) -> bool {
        // Every one is asked for, not only until the answer is clear: who depends on whom is learnt here.
        match (&self.reader.get(to).kind, &self.writer.get(from).kind) {
            (_, Kind::Union(branches)) => branches
                .iter()
                .fold(true, |all, branch| inner((to, *branch)) && all),
            (Kind::Union(branches), _) => branches
                .iter()
                .fold(false, |any, branch| inner((*branch, from)) || any),
            (Kind::Array(to), Kind::Array(from)) | (Kind::Map(to), Kind::Map(from)) => {
                inner((*to, *from))
            }
            (Kind::Record(to), Kind::Record(from)) => {
                to.name.reads(&from.name)
                    && to
                        .fields
                        .iter()
                        .fold(true, |all, field| match written(field, from) {
                            Some(other) => inner((field.id, other.id)) && all,
                            None => field.default.is_some() && all,
                        })
            }
            (Kind::Enum(to), Kind::Enum(from)) => {
                to.name.reads(&from.name) && missing(to, from).is_empty()
            }
            (Kind::Fixed(to), Kind::Fixed(from)) => {
                to.size == from.size && to.name.reads(&from.name)
            }
            (reader, writer) => promotes(reader, writer),
        }
    }
}
