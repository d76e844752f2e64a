//! A statement as it was sent and as it is run.

use std::fmt;
use std::sync::Arc;

use millstream_sql::query::{CellKind, Parameter, Tables};

use crate::catalog::{Catalog, rewritten};
use crate::errors::Asked;
use crate::lists::{Bound, Lists};
use crate::names::Names;
use crate::serve::Shared;
use crate::session::Session;
use crate::written::{count, written};

/// A statement of a text.
#[derive(Clone)]
pub(crate) struct Text(Arc<Inner>);

struct Inner {
    whole: String,
    at: Option<usize>,
    own: String,
    /// What is run where it is not what was sent.
    run: Option<String>,
    lists: Option<Lists>,
    names: Names,
    asks: Asks,
}

/// What is asked.
enum Asks {
    /// Tables, and nothing else.
    Tables(Arc<dyn Tables>),
    /// PostgreSQL's catalog, with so many values.
    Catalog(Arc<Catalog>, usize),
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Text").field(&self.0.own).finish()
    }
}

impl Text {
    /// A statement of a text, which begins so many bytes in.
    pub(crate) fn new(
        whole: &str,
        at: Option<usize>,
        own: &str,
        shared: &Shared,
        session: &Arc<Session>,
    ) -> Self {
        let catalog = Catalog::new(&shared.options.tables, &shared.cache, session);
        let names = Names::of(own);
        let sent = names.distinct.as_deref().unwrap_or(own);
        let run = rewritten(sent, &catalog);
        let (run, asks) = match run {
            // Only a question to PostgreSQL's catalog sees it. With values, it is put in other words when they are known.
            Some(run) => match count(sent) {
                0 => (Some(run), Asks::Catalog(Arc::new(catalog), 0)),
                count => (
                    Some(sent.to_owned()),
                    Asks::Catalog(Arc::new(catalog), count),
                ),
            },
            None => (names.distinct.clone(), Asks::Tables(catalog.plain())),
        };
        Self(Arc::new(Inner {
            whole: whole.to_owned(),
            at,
            lists: Lists::of(run.as_deref().unwrap_or(own)),
            own: own.to_owned(),
            run,
            names,
            asks,
        }))
    }

    fn sql(&self) -> &str {
        self.0.run.as_deref().unwrap_or(&self.0.own)
    }

    /// What can be asked.
    pub(crate) fn tables(&self) -> Arc<dyn Tables> {
        match &self.0.asks {
            Asks::Tables(tables) => Arc::clone(tables),
            Asks::Catalog(catalog, _) => Arc::clone(catalog) as Arc<dyn Tables>,
        }
    }

    /// The types of the parameters that are written in before the engine sees the statement, as far as a client says them: what is
    /// not said is text.
    pub(crate) fn written(&self, known: &[Option<CellKind>]) -> Option<Vec<CellKind>> {
        let Asks::Catalog(_, count @ 1..) = &self.0.asks else {
            return None;
        };
        let kind = |at: usize| known.get(at).cloned().flatten().unwrap_or(CellKind::Text);
        Some((0..*count).map(kind).collect())
    }

    /// The statement with its values, where it asks the catalog with any.
    fn write(&self, sql: &str, values: &[Parameter]) -> Option<String> {
        match &self.0.asks {
            Asks::Catalog(catalog, 1..) => rewritten(&written(sql, values)?, catalog),
            _ => None,
        }
    }

    /// Whether a parameter, counted from 1, is a list.
    pub(crate) fn has_list(&self, number: usize) -> bool {
        let lists = self.0.lists.as_ref();
        lists.is_some_and(|lists| lists.has(number))
    }

    /// What is asked before values are known.
    pub(crate) fn with_values(&self, known: &[Option<CellKind>]) -> String {
        let lists = self.0.lists.as_ref();
        let sql = lists.map_or_else(|| self.sql().to_owned(), Lists::with_values);
        let kinds = self.written(known).unwrap_or_default();
        let values: Vec<_> = kinds.into_iter().map(Parameter::Null).collect();
        self.write(&sql, &values).unwrap_or(sql)
    }

    /// What is asked with values.
    pub(crate) fn with(&self, bound: Vec<Bound>) -> (String, Vec<Parameter>) {
        let (sql, parameters) = match &self.0.lists {
            Some(lists) => lists.written_out(bound),
            None => {
                let one = |bound| match bound {
                    Bound::One(value) => Some(value),
                    Bound::Many(_) => None,
                };
                let parameters = bound.into_iter().filter_map(one).collect();
                (self.sql().to_owned(), parameters)
            }
        };
        match self.write(&sql, &parameters) {
            Some(sql) => (sql, Vec::new()),
            None => (sql, parameters),
        }
    }

    /// Gives columns the names that clients expect.
    pub(crate) fn name<T>(&self, columns: &mut [(String, T)]) {
        self.0.names.apply(columns);
    }

    pub(crate) fn asked(&self) -> Asked<'_> {
        let is_verbatim = self.0.run.is_none() && self.0.lists.is_none();
        Asked {
            whole: &self.0.whole,
            at: self.0.at.filter(|_| is_verbatim),
        }
    }
}
