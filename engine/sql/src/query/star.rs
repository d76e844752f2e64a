//! What `*` stands for: the columns of the payload. The metadata of a message is there when it is named.

use std::collections::HashSet;
use std::ops::ControlFlow;
use std::sync::Arc;

use datafusion::sql::sqlparser::ast::{
    ExcludeSelectItem, Ident, JoinConstraint, JoinOperator, ObjectName, Query, Select, SelectItem,
    SelectItemQualifiedWildcardKind, SetExpr, Statement, TableFactor, TableWithJoins, Visit,
    VisitMut, Visitor, VisitorMut, WildcardAdditionalOptions,
};

use super::Table;
use super::tables::Named;
use crate::catalog::{METADATA, SEQUENCE};

/// Leaves the metadata out of every `*` and `table.*` over stored messages. A table that has nothing but metadata keeps it, and
/// so does a `*` over tables joined by `USING`, whose columns are one.
pub(super) fn narrow(statement: &mut Statement, tables: &Named) {
    let mut names = Names(HashSet::new());
    let _all = Visit::visit(statement, &mut names);
    let mut stars = Stars {
        tables,
        own: names.0,
    };
    let _all = VisitMut::visit(statement, &mut stars);
}

/// The names that `WITH` gives: they hide tables.
struct Names(HashSet<String>);

impl Visitor for Names {
    type Break = ();

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<()> {
        let with = query.with.iter().flat_map(|with| &with.cte_tables);
        self.0.extend(with.map(|cte| cte.alias.name.value.clone()));
        ControlFlow::Continue(())
    }
}

struct Stars<'a> {
    tables: &'a Named,
    own: HashSet<String>,
}

impl VisitorMut for Stars<'_> {
    type Break = ();

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<()> {
        self.set(&mut query.body);
        ControlFlow::Continue(())
    }
}

/// Something a `FROM` has: by which name its columns are called, and what of them is metadata.
struct Part {
    name: Option<ObjectName>,
    metadata: Vec<&'static str>,
}

impl Stars<'_> {
    fn set(&self, set: &mut SetExpr) {
        match set {
            SetExpr::Select(select) => self.select(select),
            SetExpr::SetOperation { left, right, .. } => {
                self.set(left);
                self.set(right);
            }
            // Queries in parentheses are visited themselves.
            _ => {}
        }
    }

    fn select(&self, select: &mut Select) {
        let has_star = |item: &SelectItem| {
            matches!(
                item,
                SelectItem::Wildcard(_) | SelectItem::QualifiedWildcard(..)
            )
        };
        if !select.projection.iter().any(has_star) {
            return;
        }
        let merged = select.from.iter().flat_map(|from| &from.joins);
        let merged = merged
            .into_iter()
            .any(|join| is_merged(&join.join_operator));
        let parts: Vec<Part> = select
            .from
            .iter()
            .flat_map(|from| self.parts(from))
            .collect();
        let items = std::mem::take(&mut select.projection);
        select.projection = items
            .into_iter()
            .flat_map(|item| narrowed(item, &parts, merged))
            .collect();
    }

    fn parts(&self, from: &TableWithJoins) -> Vec<Part> {
        let joined = from.joins.iter().map(|join| &join.relation);
        std::iter::once(&from.relation)
            .chain(joined)
            .flat_map(|factor| match factor {
                TableFactor::NestedJoin {
                    table_with_joins,
                    alias: None,
                } => self.parts(table_with_joins),
                factor => vec![self.part(factor)],
            })
            .collect()
    }

    fn part(&self, factor: &TableFactor) -> Part {
        let alias = match factor {
            TableFactor::Table { alias, .. }
            | TableFactor::Derived { alias, .. }
            | TableFactor::TableFunction { alias, .. }
            | TableFactor::Function { alias, .. }
            | TableFactor::UNNEST { alias, .. } => alias.as_ref(),
            _ => None,
        };
        let alias = alias.map(|alias| ObjectName::from(vec![alias.name.clone()]));
        let TableFactor::Table {
            name, args: None, ..
        } = factor
        else {
            return Part {
                name: alias,
                metadata: Vec::new(),
            };
        };
        Part {
            metadata: self.metadata(name),
            name: alias.or_else(|| Some(name.clone())),
        }
    }

    fn metadata(&self, name: &ObjectName) -> Vec<&'static str> {
        let mut parts: Vec<&str> = name
            .0
            .iter()
            .filter_map(|part| part.as_ident())
            .map(|ident| ident.value.as_str())
            .collect();
        let table = parts.pop().unwrap_or_default();
        let group = parts.pop();
        if group.is_none() && self.own.contains(table) {
            return Vec::new();
        }
        // What is wrong with a table is told when it is planned.
        let found: Option<Arc<dyn Table>> = self.tables.find(group, table).ok().flatten();
        match found {
            Some(found) if found.is_stored() && !found.columns().is_empty() => {
                METADATA.into_iter().chain([SEQUENCE]).collect()
            }
            _ => Vec::new(),
        }
    }
}

/// Whether columns of both sides become one.
fn is_merged(join: &JoinOperator) -> bool {
    let (JoinOperator::Join(constraint)
    | JoinOperator::Inner(constraint)
    | JoinOperator::Left(constraint)
    | JoinOperator::LeftOuter(constraint)
    | JoinOperator::Right(constraint)
    | JoinOperator::RightOuter(constraint)
    | JoinOperator::FullOuter(constraint)) = join
    else {
        // Half of a semi join is no part of `*`.
        return !matches!(join, JoinOperator::CrossJoin(_));
    };
    matches!(
        constraint,
        JoinConstraint::Using(_) | JoinConstraint::Natural
    )
}

fn narrowed(item: SelectItem, parts: &[Part], merged: bool) -> Vec<SelectItem> {
    match item {
        SelectItem::Wildcard(mut options) => match parts {
            _ if merged || parts.iter().all(|part| part.metadata.is_empty()) => {
                vec![SelectItem::Wildcard(options)]
            }
            [only] => {
                exclude(&mut options, &only.metadata);
                vec![SelectItem::Wildcard(options)]
            }
            // Each by itself, for names of several tables are not told apart otherwise.
            parts if is_plain(&options) && parts.iter().all(|part| part.name.is_some()) => parts
                .iter()
                .filter_map(|part| Some((part.name.clone()?, &part.metadata)))
                .map(|(name, metadata)| {
                    let mut options = options.clone();
                    exclude(&mut options, metadata);
                    let kind = SelectItemQualifiedWildcardKind::ObjectName(name);
                    SelectItem::QualifiedWildcard(kind, options)
                })
                .collect(),
            _ => vec![SelectItem::Wildcard(options)],
        },
        SelectItem::QualifiedWildcard(kind, mut options) => {
            let of = match &kind {
                SelectItemQualifiedWildcardKind::ObjectName(name) => parts.iter().find(|part| {
                    let own = part.name.as_ref();
                    own.is_some_and(|own| own == name || own.0.last() == name.0.last())
                }),
                SelectItemQualifiedWildcardKind::Expr(_) => None,
            };
            if let Some(part) = of {
                exclude(&mut options, &part.metadata);
            }
            vec![SelectItem::QualifiedWildcard(kind, options)]
        }
        other => vec![other],
    }
}

fn is_plain(options: &WildcardAdditionalOptions) -> bool {
    options.opt_exclude.is_none()
        && options.opt_except.is_none()
        && options.opt_ilike.is_none()
        && options.opt_rename.is_none()
        && options.opt_replace.is_none()
}

/// Adds to what is left out already.
fn exclude(options: &mut WildcardAdditionalOptions, metadata: &[&str]) {
    if metadata.is_empty() || options.opt_ilike.is_some() {
        return;
    }
    let mut left_out: Vec<ObjectName> = match options.opt_exclude.take() {
        None => Vec::new(),
        Some(ExcludeSelectItem::Single(name)) => vec![name],
        Some(ExcludeSelectItem::Multiple(names)) => names,
    };
    if let Some(except) = options.opt_except.take() {
        let idents = std::iter::once(except.first_element).chain(except.additional_elements);
        left_out.extend(idents.map(|ident| ObjectName::from(vec![ident])));
    }
    for name in metadata {
        let named = |own: &ObjectName| {
            own.0
                .last()
                .and_then(|part| part.as_ident())
                .is_some_and(|ident| ident.value == *name)
        };
        if !left_out.iter().any(named) {
            left_out.push(ObjectName::from(vec![Ident::new(*name)]));
        }
    }
    options.opt_exclude = Some(ExcludeSelectItem::Multiple(left_out));
}
