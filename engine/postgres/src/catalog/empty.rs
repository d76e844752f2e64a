//! Questions that have no rows, for they read a table of the catalog that never has any: they need not be planned, and so may ask
//! for anything.

use sqlparser::ast::{
    Expr, GroupByExpr, Ident, JoinOperator, Query, Select, SelectItem, SetExpr, TableFactor,
    TableWithJoins,
};

use super::PG_CATALOG;
use super::columns::TABLES;
use super::rewrite::{last, truth, unknown};
use crate::names::name_of;

/// Whether a query has no rows, for it reads a table that never has any.
pub(super) fn is_empty(query: &Query) -> bool {
    match &*query.body {
        SetExpr::Select(select) => is_empty_select(select),
        _ => false,
    }
}

fn is_empty_select(select: &Select) -> bool {
    // Groups of nothing are none; nothing at all is one, which functions that count make a row of.
    let is_grouped = match &select.group_by {
        GroupByExpr::Expressions(by, _) => !by.is_empty(),
        GroupByExpr::All(_) => true,
    };
    select.from.iter().any(is_empty_from) && (is_grouped || !select.projection.iter().any(counts))
}

/// Whether an output is there even where there are no rows.
pub(super) fn counts(item: &SelectItem) -> bool {
    let (SelectItem::UnnamedExpr(Expr::Function(function))
    | SelectItem::ExprWithAlias {
        expr: Expr::Function(function),
        ..
    }) = item
    else {
        return false;
    };
    matches!(
        last(&function.name).as_str(),
        "count"
            | "max"
            | "min"
            | "sum"
            | "array_agg"
            | "string_agg"
            | "json_agg"
            | "jsonb_agg"
            | "bool_or"
            | "bool_and"
    )
}

fn is_empty_from(from: &TableWithJoins) -> bool {
    let inner = from.joins.iter().filter(|join| {
        matches!(
            join.join_operator,
            JoinOperator::Join(_) | JoinOperator::Inner(_) | JoinOperator::CrossJoin(_)
        )
    });
    // The left side of a full or right join is no condition.
    let open = from.joins.iter().any(|join| {
        matches!(
            join.join_operator,
            JoinOperator::Right(_) | JoinOperator::RightOuter(_) | JoinOperator::FullOuter(_)
        )
    });
    let joined = inner.map(|join| &join.relation);
    !open
        && std::iter::once(&from.relation)
            .chain(joined)
            .any(is_empty_table)
}

fn is_empty_table(factor: &TableFactor) -> bool {
    match factor {
        TableFactor::Table {
            name,
            args: Some(_),
            ..
        } => last(name).starts_with("pg_") && last(name) != "pg_get_keywords",
        TableFactor::Table { name, .. } => {
            let group = match name.0.as_slice() {
                [_] => PG_CATALOG.to_owned(),
                [.., group, _] => group.to_string().to_ascii_lowercase(),
                [] => return false,
            };
            let name = last(name);
            TABLES
                .iter()
                .any(|table| table.is_empty && table.group == group && table.name == name)
        }
        TableFactor::NestedJoin {
            table_with_joins, ..
        } => is_empty_from(table_with_joins),
        TableFactor::Derived { subquery, .. } => is_empty(subquery),
        _ => false,
    }
}

/// Leaves of selects that have no rows their names alone; answers whether there was one.
pub(super) fn empty_set(set: &mut SetExpr) -> bool {
    match set {
        // `*` needs the table's columns.
        SetExpr::Select(select)
            if is_empty_select(select) && !select.projection.iter().any(is_star) =>
        {
            select.projection = std::mem::take(&mut select.projection)
                .into_iter()
                .map(named)
                .collect();
            name_outputs(&mut select.projection);
            select.from.clear();
            select.selection = Some(truth(false));
            select.distinct = None;
            select.group_by = GroupByExpr::Expressions(Vec::new(), Vec::new());
            select.having = None;
            true
        }
        SetExpr::SetOperation { left, right, .. } => {
            let left = empty_set(left);
            empty_set(right) || left
        }
        _ => false,
    }
}

fn is_star(item: &SelectItem) -> bool {
    matches!(
        item,
        SelectItem::Wildcard(_) | SelectItem::QualifiedWildcard(..)
    )
}

fn named(item: SelectItem) -> SelectItem {
    let alias = match item {
        SelectItem::ExprWithAlias { alias, .. } => alias,
        SelectItem::UnnamedExpr(expr) => Ident::with_quote('"', name_of(&expr)),
        other => return other,
    };
    SelectItem::ExprWithAlias {
        expr: unknown(),
        alias,
    }
}

/// Gives outputs without a name the one that PostgreSQL gives them, each a different one, as the engine wants it.
pub(super) fn name_outputs(items: &mut [SelectItem]) {
    let mut taken: Vec<String> = Vec::new();
    for item in items {
        let mut name = match item {
            SelectItem::ExprWithAlias { alias, .. } => alias.value.clone(),
            SelectItem::UnnamedExpr(Expr::Identifier(_) | Expr::CompoundIdentifier(_)) => continue,
            SelectItem::UnnamedExpr(expr) => name_of(expr),
            _ => continue,
        };
        let is_first = !taken.contains(&name);
        if !is_first {
            name = format!("{name}_{}", taken.len() + 1);
        }
        let alias = Ident::with_quote('"', name.clone());
        taken.push(name);
        match item {
            SelectItem::UnnamedExpr(expr) => {
                let expr = std::mem::replace(expr, unknown());
                *item = SelectItem::ExprWithAlias { expr, alias };
            }
            SelectItem::ExprWithAlias { alias: own, .. } if !is_first => *own = alias,
            _ => {}
        }
    }
}
