//! What a stage refuses: everything that needs more than the message at hand.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    ExcludeSelectItem, Expr, Function, GroupByExpr, Ident, LimitClause, ObjectName, Query, Select,
    SelectItem, SetExpr, Spanned, TableFactor, Value, Visit, Visitor, WildcardAdditionalOptions,
};

use crate::SqlError;
use crate::catalog::{Catalog, METADATA, SEQUENCE, TABLE, TIME};
use crate::error::Place;
use crate::functions::{POSITIONS, Sources as _};
use crate::parse::keyword;
use millstream_types::nearest;

mod arrows;
mod unnest;

const ONE_AT_A_TIME: &str = "a stage sees one message at a time: `SELECT … FROM message WHERE …`";

/// A statement that has the form of a stage; its names and types are not checked yet.
#[derive(Clone, Debug)]
pub(crate) struct Shaped {
    /// Wildcards leave out the metadata columns, and the table is called `message`.
    pub(crate) select: Select,
    /// What the statement calls the table: its alias, or `message`.
    pub(crate) table: String,
    /// The columns that `UNNEST` adds to the table.
    pub(crate) elements: Vec<String>,
}

/// Checks the form of `query`, which was read from `text`.
pub(crate) fn check(text: &str, query: Query, catalog: &Catalog) -> Result<Shaped, SqlError> {
    let mut select = only_select(text, query)?;
    clauses(text, &select)?;
    arrows::read_anew(&mut select);
    let start = Place::of(select.select_token.0.span).unwrap_or(Place::START);
    let mut laterals = unnest::behind_table(&mut select, start, refuse)?;
    let table = relation(&mut select)?;
    let elements: Vec<String> = laterals
        .iter()
        .flat_map(unnest::Lateral::columns)
        .map(str::to_owned)
        .collect();
    let mut names = Names {
        catalog,
        elements: &elements,
        taken: Vec::new(),
    };
    for item in &mut select.projection {
        names.output(item)?;
    }
    laterals.extend(unnest::in_list(&mut select)?);
    let mut expressions = Expressions { catalog };
    let mut checked = select.visit(&mut expressions);
    for (list, _) in laterals.iter().flat_map(|lateral| &lateral.lists) {
        if checked.is_continue() {
            checked = list.visit(&mut expressions);
        }
    }
    if let ControlFlow::Break(error) = checked {
        return Err(*error);
    }
    unnest::wrap(&mut select, &table, laterals)?;
    Ok(Shaped {
        select,
        table,
        elements,
    })
}

/// Whether a column that is missing stands for the elements of what is no list: an object has no such column.
pub(crate) fn unnest_of_object(column: &str) -> bool {
    column.starts_with(unnest::HIDDEN)
}

fn refuse(at: Place, what: &str) -> SqlError {
    SqlError::new(at, format!("{what} cannot be used in a stage")).hint(ONE_AT_A_TIME)
}

fn only_select(text: &str, query: Query) -> Result<Select, SqlError> {
    let limit = query.limit_clause.as_ref().map(|clause| {
        matches!(
            clause,
            LimitClause::LimitOffset {
                limit: None,
                offset: Some(_),
                ..
            }
        )
    });
    let others = [
        (query.with.is_some(), "WITH"),
        (query.order_by.is_some(), "ORDER"),
        (limit == Some(true), "OFFSET"),
        (limit.is_some(), "LIMIT"),
        (query.fetch.is_some(), "FETCH"),
        (!query.locks.is_empty() || query.for_clause.is_some(), "FOR"),
        (query.settings.is_some(), "SETTINGS"),
        (query.format_clause.is_some(), "FORMAT"),
        (!query.pipe_operators.is_empty(), "|>"),
    ];
    // A body that is no SELECT is told first: its parts have clauses of their own.
    match *query.body {
        SetExpr::Select(select) => {
            if let Some((_, word)) = others.iter().find(|(used, _)| *used) {
                let name = if *word == "ORDER" { "ORDER BY" } else { word };
                return Err(refuse(keyword(text, word), &format!("`{name}`")));
            }
            Ok(*select)
        }
        SetExpr::SetOperation { op, .. } => {
            let word = op.to_string();
            Err(refuse(keyword(text, &word), &format!("`{word}`")))
        }
        SetExpr::Query(inner) => {
            let at = Place::of(inner.span()).unwrap_or(Place::START);
            Err(SqlError::new(at, "statement stands in parentheses").hint("leave them out"))
        }
        other => {
            let word = other.to_string();
            let word = word.split_whitespace().next().unwrap_or_default();
            Err(
                SqlError::new(keyword(text, word), format!("`{word}` is no transform"))
                    .hint("a stage is one `SELECT … FROM message`"),
            )
        }
    }
}

fn clauses(text: &str, select: &Select) -> Result<(), SqlError> {
    let grouped = match &select.group_by {
        GroupByExpr::All(_) => true,
        GroupByExpr::Expressions(exprs, modifiers) => !exprs.is_empty() || !modifiers.is_empty(),
    };
    let used = [
        (select.distinct.is_some(), "DISTINCT"),
        (select.select_modifiers.is_some(), "SELECT"),
        (select.top.is_some(), "TOP"),
        (select.exclude.is_some(), "EXCLUDE"),
        (select.into.is_some(), "INTO"),
        (!select.lateral_views.is_empty(), "LATERAL"),
        (select.prewhere.is_some(), "PREWHERE"),
        (!select.connect_by.is_empty(), "CONNECT"),
        (grouped, "GROUP"),
        (!select.cluster_by.is_empty(), "CLUSTER"),
        (!select.distribute_by.is_empty(), "DISTRIBUTE"),
        (!select.sort_by.is_empty(), "SORT"),
        (select.having.is_some(), "HAVING"),
        (!select.named_window.is_empty(), "WINDOW"),
        (select.qualify.is_some(), "QUALIFY"),
        (select.value_table_mode.is_some(), "AS"),
    ];
    let Some((_, word)) = used.iter().find(|(used, _)| *used) else {
        return Ok(());
    };
    let name = match *word {
        "GROUP" | "CLUSTER" | "DISTRIBUTE" | "SORT" | "CONNECT" => format!("`{word} BY`"),
        "SELECT" => "a modifier behind `SELECT`".to_owned(),
        "AS" => "`SELECT AS`".to_owned(),
        word => format!("`{word}`"),
    };
    Err(refuse(keyword(text, word), &name))
}

/// Checks that the statement reads `message` alone, and says under which name.
fn relation(select: &mut Select) -> Result<String, SqlError> {
    let start = Place::of(select.select_token.0.span).unwrap_or(Place::START);
    let Some(from) = select.from.first_mut() else {
        return Err(SqlError::new(start, "statement reads no table")
            .hint("add `FROM message`: the message at hand is the only row"));
    };
    let at = Place::of(from.relation.span()).unwrap_or(start);
    let TableFactor::Table {
        name,
        alias,
        args,
        with_hints,
        version,
        with_ordinality,
        partitions,
        json_path,
        sample,
        index_hints,
    } = &mut from.relation
    else {
        let what = match &from.relation {
            TableFactor::Derived { .. } => "a subquery",
            TableFactor::UNNEST { .. } => {
                return Err(SqlError::new(at, "`UNNEST` stands without the message")
                    .hint("write `FROM message, UNNEST(…) AS item`"));
            }
            _ => "a table function",
        };
        return Err(refuse(at, what));
    };
    known_table(name, at)?;
    let extras = args.is_some()
        || !with_hints.is_empty()
        || version.is_some()
        || *with_ordinality
        || !partitions.is_empty()
        || json_path.is_some()
        || sample.is_some()
        || !index_hints.is_empty();
    if extras {
        return Err(refuse(at, "anything but an alias behind `message`"));
    }
    *name = ObjectName::from(vec![Ident::new(TABLE)]);
    match alias {
        Some(alias) if !alias.columns.is_empty() => Err(SqlError::new(
            at,
            "columns cannot be renamed behind the table",
        )
        .hint("rename them in the `SELECT` list with `AS`")),
        Some(alias) => Ok(alias.name.value.clone()),
        None => Ok(TABLE.to_owned()),
    }
}

fn known_table(name: &ObjectName, at: Place) -> Result<(), SqlError> {
    let written = name.to_string();
    if written.eq_ignore_ascii_case(TABLE) {
        return Ok(());
    }
    let hint = match nearest(&written, [TABLE]) {
        Some(near) => format!("did you mean `{near}`?"),
        None => "a stage reads the message at hand: write `FROM message`".to_owned(),
    };
    Err(SqlError::new(at, format!("no table `{written}`")).hint(hint))
}

/// The names of the outputs so far.
struct Names<'a> {
    catalog: &'a Catalog,
    /// The columns that `UNNEST` adds.
    elements: &'a [String],
    taken: Vec<String>,
}

impl Names<'_> {
    /// Every output has a name of its own, and a wildcard stands for the payload's columns.
    fn output(&mut self, item: &mut SelectItem) -> Result<(), SqlError> {
        let at = Place::of(item.span()).unwrap_or(Place::START);
        match item {
            SelectItem::UnnamedExpr(Expr::Identifier(name)) => self.take(&name.value, at),
            SelectItem::UnnamedExpr(Expr::CompoundIdentifier(parts)) => {
                let Some(alias) = parts.last().cloned() else {
                    return Ok(());
                };
                self.take(&alias.value, at)?;
                // A member of a struct has a longer name by itself.
                let expr = Expr::CompoundIdentifier(std::mem::take(parts));
                *item = SelectItem::ExprWithAlias { expr, alias };
                Ok(())
            }
            SelectItem::ExprWithAlias { alias, .. } => {
                let at = Place::of(alias.span).unwrap_or(at);
                self.take(&alias.value, at)
            }
            SelectItem::UnnamedExpr(expr) => Err(SqlError::new(
                at,
                format!("`{}` has no name", short(&expr.to_string())),
            )
            .hint("add `AS name`: it becomes the member's name in the payload")),
            SelectItem::ExprWithAliases { .. } => {
                Err(SqlError::new(at, "an expression has one name").hint("write `AS name`"))
            }
            SelectItem::Wildcard(options) | SelectItem::QualifiedWildcard(_, options) => {
                self.wildcard(options, at)
            }
        }
    }

    fn take(&mut self, name: &str, at: Place) -> Result<(), SqlError> {
        if [TIME, SEQUENCE].contains(&name) {
            let plain = name.trim_start_matches('_');
            return Err(
                SqlError::new(at, format!("`{name}` is the server's to write")).hint(format!(
                    "write `{name} AS {plain}`: it becomes a member of the payload"
                )),
            );
        }
        if self.taken.iter().any(|taken| taken == name) {
            return Err(SqlError::new(at, format!("two outputs are called `{name}`")).hint(format!(
                "give one another name with `AS`, or leave it out of the wildcard: `* EXCLUDE ({name})`"
            )));
        }
        self.taken.push(name.to_owned());
        Ok(())
    }

    fn wildcard(
        &mut self,
        options: &mut WildcardAdditionalOptions,
        at: Place,
    ) -> Result<(), SqlError> {
        if options.opt_ilike.is_some() {
            return Err(SqlError::new(at, "`ILIKE` cannot choose columns")
                .hint("name them, or leave others out with `* EXCLUDE (…)`"));
        }
        let mut excluded: Vec<ObjectName> = match options.opt_exclude.take() {
            None => Vec::new(),
            Some(ExcludeSelectItem::Single(name)) => vec![name],
            Some(ExcludeSelectItem::Multiple(names)) => names,
        };
        if let Some(except) = options.opt_except.take() {
            let idents = std::iter::once(except.first_element).chain(except.additional_elements);
            excluded.extend(idents.map(|ident| ObjectName::from(vec![ident])));
        }
        let sources = self.catalog.named().map(|source| source.name.as_str());
        let sources: Vec<&str> = sources
            .chain(self.elements.iter().map(String::as_str))
            .collect();
        let known = |name: &ObjectName| sources.contains(&plain(name).as_str());
        if let Some(name) = excluded.iter().find(|name| !known(name)) {
            let at = Place::of(name.span()).unwrap_or(at);
            let error = SqlError::new(at, format!("no column `{}` to leave out", plain(name)));
            let near = nearest(&plain(name), sources.iter().copied());
            return Err(match near {
                Some(near) => error.hint(format!("did you mean `{near}`?")),
                None => error,
            });
        }
        let all = self
            .catalog
            .sources()
            .iter()
            .map(|source| source.name.as_str());
        for name in all.filter(|name| METADATA.contains(name) || !sources.contains(name)) {
            if !excluded.iter().any(|excluded| plain(excluded) == name) {
                excluded.push(ObjectName::from(vec![Ident::with_quote('"', name)]));
            }
        }
        // With RENAME the planner finds out.
        if options.opt_rename.is_none() {
            for source in sources {
                if !excluded.iter().any(|excluded| plain(excluded) == source) {
                    self.take(source, at)?;
                }
            }
        }
        options.opt_exclude = Some(ExcludeSelectItem::Multiple(excluded));
        Ok(())
    }
}

/// A name without its quotes.
fn plain(name: &ObjectName) -> String {
    let parts: Vec<_> = name.0.iter().filter_map(|part| part.as_ident()).collect();
    parts
        .iter()
        .map(|ident| ident.value.as_str())
        .collect::<Vec<_>>()
        .join(".")
}

/// Refuses what only looks like an expression of one row.
struct Expressions<'a> {
    catalog: &'a Catalog,
}

impl Expressions<'_> {
    fn function(&self, function: &Function, at: Place) -> Result<(), SqlError> {
        let name = function.name.to_string().to_lowercase();
        if function.over.is_some() {
            return Err(refuse(at, &format!("the window function `{name}`")));
        }
        if self.catalog.functions().is_aggregate(&name) {
            return Err(refuse(at, &format!("the aggregate `{name}`")));
        }
        if name == "unnest" {
            return Err(
                SqlError::new(at, "`unnest` stands where it cannot make messages")
                    .hint("write `FROM message, UNNEST(…) AS item` and use `item` here"),
            );
        }
        if name == POSITIONS {
            return Ok(());
        }
        if !self.catalog.functions().is_scalar(&name) {
            let error = SqlError::new(at, format!("no function `{name}`"));
            return Err(error.hint(self.catalog.functions().instead_of(&name)));
        }
        Ok(())
    }
}

impl Visitor for Expressions<'_> {
    type Break = Box<SqlError>;

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<Self::Break> {
        let at = Place::of(query.span()).unwrap_or(Place::START);
        ControlFlow::Break(Box::new(refuse(at, "a subquery")))
    }

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<Self::Break> {
        let at = Place::of(expr.span()).unwrap_or(Place::START);
        let checked = match expr {
            Expr::Function(function) => self.function(function, at),
            Expr::Value(value) if matches!(value.value, Value::Placeholder(_)) => Err(
                SqlError::new(at, format!("`{expr}` is a parameter without a value"))
                    .hint("write the value itself"),
            ),
            _ => Ok(()),
        };
        match checked {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => ControlFlow::Break(Box::new(error)),
        }
    }
}

/// An expression as an error shows it.
pub(crate) fn short(text: &str) -> String {
    const MOST: usize = 60;
    if text.chars().count() <= MOST {
        return text.to_owned();
    }
    text.chars().take(MOST - 1).chain(['…']).collect()
}
